//! Options of the log, the health check and the metrics.

use super::super::option::{Group, boolean, choice, int, list, retired, text};

const ROTATION: &str = "rotate with logrotate; a moved file is made anew";

pub(super) static GROUPS: &[Group] = &[
    Group {
        name: "DEFAULT",
        options: &[
            boolean("debug", false).mutable().help("Whether the log has every detail."),
            text("log_file").was(&[("DEFAULT", "logfile")]).help("File to log to; standard error when unset."),
            text("log_dir").was(&[("DEFAULT", "logdir")]).help("Directory of log_file, or of <program>.log."),
            boolean("use_stderr", false).help("Whether to log to standard error as well as to a file."),
            boolean("use_syslog", false).help("Whether to log to syslog too."),
            boolean("use_journal", false)
                .help("Whether to log to systemd's journal too, with the fields of each line."),
            text("syslog_log_facility").default("LOG_USER").help("Facility of lines for syslog and the journal."),
            boolean("use_json", false).help("Whether lines are JSON instead of text."),
            text("log_date_format").default("%Y-%m-%d %H:%M:%S").help("strftime format of times in the log."),
            text("logging_context_format_string")
                .default(
                    "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s [%(global_request_id)s %(request_id)s \
                     %(user_identity)s] %(instance)s%(message)s",
                )
                .help("Lines about a request."),
            text("logging_default_format_string")
                .default("%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s [-] %(instance)s%(message)s")
                .help("Lines about no request."),
            text("logging_debug_format_suffix")
                .default("%(funcName)s %(pathname)s:%(lineno)d")
                .help("What follows lines of debug level."),
            text("logging_user_identity_format")
                .default("%(user)s %(project)s %(domain)s %(system_scope)s %(user_domain)s %(project_domain)s")
                .help("What %(user_identity)s stands for."),
            text("instance_uuid_format")
                .default("[instance: %(uuid)s] ")
                .help("What %(instance)s stands for where a request is about a resource."),
            list("default_log_levels")
                .mutable()
                .help("Levels of modules as module=LEVEL; others tell what debug asks for, libraries only trouble."),
            int("rate_limit_interval").min(0).default("0").mutable().help("Seconds over which lines are counted."),
            int("rate_limit_burst")
                .min(0)
                .default("0")
                .mutable()
                .help("Most lines in that time; with 0 for either there is no limit."),
            choice("rate_limit_except_level", &["CRITICAL", "ERROR", "INFO", "WARNING", "DEBUG", ""])
                .default("CRITICAL")
                .mutable()
                .help("Level from which on lines are not counted."),
            retired("log_format", "use logging_default_format_string"),
            retired("log_rotation_type", ROTATION),
            retired("log_rotate_interval", ROTATION),
            retired("log_rotate_interval_type", ROTATION),
            retired("max_logfile_count", ROTATION),
            retired("max_logfile_size_mb", ROTATION),
            retired("use_syslog_rfc_format", "the journal has structured lines; see use_journal"),
        ],
    },
    Group {
        name: "healthcheck",
        options: &[
            list("backends")
                .default("disable_by_file")
                .help("What /healthcheck asks: disable_by_file, disable_by_files_ports, enable_by_files, database."),
            boolean("detailed", false).help("Whether /healthcheck tells more than OK; it then tells paths too."),
            text("disable_by_file_path")
                .default("$state_path/healthcheck_disable")
                .help("File whose presence takes this server out of service."),
            list("disable_by_file_paths").help("Such files by port: port:path."),
            list("enable_by_file_paths").help("Files without which this server is out of service."),
            list("allowed_source_ranges").help("Networks whose hosts may ask; all when empty."),
            boolean("ignore_proxied_requests", false).help("Whether requests that came through a proxy are refused."),
        ],
    },
    Group {
        name: "isospin",
        options: &[text("metrics_bind").help(
            "Address and port on which this program shows its metrics, such as 127.0.0.1:9698; off when unset. Each \
             program on a host needs a port of its own.",
        )],
    },
];
