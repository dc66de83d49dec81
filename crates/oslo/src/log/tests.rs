use super::*;

/// Runs something under a log of its own and gives the lines without time and process id.
fn lines(debug: bool, what: impl FnOnce(&Log)) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.log");
    let verbosity = Verbosity { debug, ..Verbosity::default() };
    // The places in the source move; what is told there does not.
    let format = Format { debug_suffix: None, ..Format::default() };
    let settings = Settings { file: Some(file.clone()), verbosity, format, ..Settings::default() };
    let log = Log { output: Arc::new(Output::open(&settings).unwrap()) };
    let subscriber = tracing_subscriber::registry().with(Lines { output: log.output.clone() });
    tracing::subscriber::with_default(subscriber, || what(&log));
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned()).collect()
}

#[test]
fn a_line_has_the_known_parts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.log");
    let output = Output::open(&Settings { file: Some(file.clone()), ..Settings::default() }).unwrap();
    let subscriber = tracing_subscriber::registry().with(Lines { output: Arc::new(output) });
    tracing::subscriber::with_default(subscriber, || tracing::info!(port = 5, "bound {}", "it"));
    let text = std::fs::read_to_string(file).unwrap();
    let (time, rest) = text.split_at("2026-11-22 11:42:42.123".len());
    assert!(chrono::NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S%.3f").is_ok(), "{text}");
    let pid = std::process::id();
    assert_eq!(rest, format!(" {pid} INFO isospin.oslo.log.tests [-] bound it port=5\n"));
}

#[test]
fn a_request_can_be_followed() {
    let mut context = Context::user("u1", "p1", Vec::new());
    context.request_id = "req-1".into();
    let lines = lines(false, |_| {
        request_span(&context).in_scope(|| {
            tracing::info_span!("inner").in_scope(|| tracing::warn!("inside"));
        });
        tracing::info_span!("rpc", request_id = "req-2").in_scope(|| tracing::info!("at an agent"));
        tracing::error!("outside");
    });
    assert_eq!(
        lines,
        [
            "WARNING isospin.oslo.log.tests [None req-1 u1 p1 - - - -] inside",
            "INFO isospin.oslo.log.tests [None req-2 - - - - - -] at an agent",
            "ERROR isospin.oslo.log.tests [-] outside",
        ]
    );
}

#[test]
fn debug_can_be_switched_while_running() {
    let lines = lines(false, |log| {
        for debug in [false, true, false] {
            log.set_debug(debug);
            tracing::debug!("detail");
            tracing::info!("fact");
        }
    });
    let words: Vec<_> = lines.iter().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(words, ["fact", "detail", "fact", "fact"]);
}

#[test]
fn libraries_are_heard_from_a_warning_on() {
    let lines = lines(false, |_| {
        tracing::info!(target: "hyper::proto", "noise");
        tracing::warn!(target: "hyper::proto", "trouble");
    });
    assert_eq!(lines, ["WARNING hyper.proto [-] trouble"]);
}

/// A log as its settings want it, for events of a test.
struct Trial {
    log: Log,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Trial {
    fn new(settings: &Settings) -> Self {
        let log = Log { output: Arc::new(Output::open(settings).unwrap()) };
        let subscriber = tracing_subscriber::registry().with(Lines { output: log.output.clone() });
        Self { log, _guard: tracing::subscriber::set_default(subscriber) }
    }
}

#[test]
#[allow(clippy::disallowed_methods)]
fn a_moved_file_is_opened_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (file, moved) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
    let trial = Trial::new(&Settings { file: Some(file.clone()), ..Settings::default() });
    tracing::info!("one");
    std::fs::rename(&file, &moved).unwrap();
    tracing::info!("two");
    trial.log.reopen().unwrap();
    tracing::info!("three");
    let told = |file: &std::path::Path| {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told(&moved), ["one", "two"]);
    assert_eq!(told(&file), ["three"]);
    // Without being told, it is noticed within a second.
    std::fs::remove_file(&file).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1050));
    tracing::info!("four");
    assert_eq!(told(&file), ["four"]);
}

/// Settings as a file's options make them.
fn settings(text: &str) -> Result<Settings, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.conf");
    std::fs::write(&file, format!("[DEFAULT]\n{text}")).unwrap();
    let sources = crate::config::Sources { files: vec![file], ..Default::default() };
    let options = crate::config::Config::load(sources).unwrap();
    Settings::from_oslo("neutron-server", &options)
        .map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

#[test]
fn without_options_the_defaults_are_oslo_logs() {
    let format = |settings: &Settings| format!("{:?}", settings.format);
    assert_eq!(format(&settings("").unwrap()), format(&Settings::default()));
    assert_eq!(settings("").unwrap().verbosity, Verbosity::default());
}

#[test]
fn lines_follow_the_format_options() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.log");
    let text = "debug = true\nlog_date_format = %H\nlogging_default_format_string = %(levelname)-7s|%(message)s\n\
                logging_context_format_string = %(request_id)s %(user_name)s <%(user_identity)s> %(instance)s%(message)s\n\
                logging_user_identity_format = %(user)s@%(project)s\nlogging_debug_format_suffix = in %(module)s\n";
    let settings = Settings { file: Some(file.clone()), ..settings(text).unwrap() };
    let _trial = Trial::new(&settings);
    let mut context = Context::user("u1", "p1", Vec::new());
    context.request_id = "req-1".into();
    tracing::warn!("alone");
    tracing::debug!("detail");
    request_span(&context).in_scope(|| tracing::info!("one"));
    context.project_id = None;
    context.resource_uuid = Some("r1".into());
    request_span(&context).in_scope(|| tracing::info!("two"));
    let told = std::fs::read_to_string(file).unwrap();
    let expected =
        "WARNING|alone\nDEBUG  |detail in tests\nreq-1 None <u1@p1> one\nreq-1 None <u1@-> [instance: r1] two\n";
    assert_eq!(told, expected);
}

#[test]
fn json_lines_have_the_known_shape() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.log");
    let settings = Settings { file: Some(file.clone()), ..settings("use_json = true").unwrap() };
    let _trial = Trial::new(&settings);
    let context = Context::user("u1", "p1", Vec::new());
    request_span(&context).in_scope(|| tracing::info!(port = 5, "bound \"it\""));
    let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let keys: Vec<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
    let known = [
        "message",
        "asctime",
        "name",
        "msg",
        "args",
        "levelname",
        "levelno",
        "pathname",
        "filename",
        "module",
        "lineno",
        "funcname",
        "created",
        "msecs",
        "relative_created",
        "thread",
        "thread_name",
        "process_name",
        "process",
        "traceback",
        "hostname",
        "error_summary",
        "context",
        "extra",
    ];
    assert_eq!(keys, known);
    assert_eq!(told["message"], "bound \"it\" port=5");
    assert_eq!(told["levelno"], 20);
    assert_eq!(told["extra"]["port"], "5");
    assert_eq!(told["context"]["request_id"], context.request_id);
    assert_eq!(told["context"]["user"], "u1");
    assert_eq!(told["context"]["project_id"], "p1");
    assert!(told["context"]["user_domain"].is_null());
}

#[test]
fn modules_have_levels_of_their_own() {
    let configured = settings("default_log_levels = neutron=WARNING, isospin.oslo.log=INFO, hyper=10").unwrap();
    let verbosity = configured.verbosity;
    assert_eq!(verbosity.level_of("isospin_server::http"), LevelFilter::WARN);
    assert_eq!(verbosity.level_of("isospin_oslo::log::tests"), LevelFilter::INFO);
    assert_eq!(verbosity.level_of("hyper::proto"), LevelFilter::DEBUG);
    assert_eq!(verbosity.level_of("hyperactive"), LevelFilter::WARN);
    assert_eq!(verbosity.level_of("isospin"), LevelFilter::WARN);
    assert_eq!(verbosity.level_of("lapin::io_loop"), LevelFilter::OFF);
    let named = settings("default_log_levels = lapin=INFO").unwrap().verbosity;
    assert_eq!(named.level_of("lapin::io_loop"), LevelFilter::INFO);
}

#[test]
fn syslog_and_the_journal_get_datagrams() {
    let dir = tempfile::tempdir().unwrap();
    let [syslog, journal] = ["syslog", "journal"].map(|name| dir.path().join(name));
    let listen = |path: &std::path::Path| std::os::unix::net::UnixDatagram::bind(path).unwrap();
    let (at_syslog, at_journal) = (listen(&syslog), listen(&journal));
    let settings = settings("syslog_log_facility = daemon\nlogging_context_format_string = %(message)s").unwrap();
    let settings = Settings { syslog: Some(syslog.clone()), journal: Some(journal.clone()), ..settings };
    let _trial = Trial::new(&settings);
    let mut context = Context::user("u1", "p1", Vec::new());
    context.request_id = "req-1".into();
    let say = || request_span(&context).in_scope(|| tracing::warn!("two\nlines"));
    say();
    let mut buffer = [0; 4096];
    let length = at_syslog.recv(&mut buffer).unwrap();
    let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(told.starts_with("<28>") && told.ends_with(" neutron-server: two\nlines"), "{told}");
    let length = at_journal.recv(&mut buffer).unwrap();
    let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(told.starts_with("MESSAGE\n\u{9}\0\0\0\0\0\0\0two\nlines\nPRIORITY=4\n"), "{told:?}");
    assert!(told.contains("\nREQUEST_ID=req-1\nUSER_ID=u1\nPROJECT_ID=p1\n"), "{told:?}");
    // A syslog that was started anew is found again.
    drop(at_syslog);
    std::fs::remove_file(&syslog).unwrap();
    let at_syslog = listen(&syslog);
    say();
    assert!(at_syslog.recv(&mut buffer).unwrap() > 0);
}

#[test]
fn a_flood_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.log");
    let text = "rate_limit_burst = 2\nrate_limit_interval = 600\nrate_limit_except_level = ERROR\n\
                logging_default_format_string = %(message)s\n";
    let settings = Settings { file: Some(file.clone()), ..settings(text).unwrap() };
    let trial = Trial::new(&settings);
    (0..5).for_each(|number| tracing::info!("{number}"));
    tracing::error!("serious");
    let limit = "Logging rate limit: drop after 2 records/600 sec";
    let told = std::fs::read_to_string(&file).unwrap();
    assert_eq!(told.lines().collect::<Vec<_>>(), ["0", "1", limit, "serious"]);
    trial.log.set_verbosity(Verbosity::default());
    tracing::info!("again");
    assert!(std::fs::read_to_string(&file).unwrap().ends_with("again\n"));
}

#[test]
fn what_means_nothing_is_refused() {
    let cases = [
        (
            "logging_default_format_string = %(mesage)s",
            "a.conf:2: [DEFAULT] logging_default_format_string = %(mesage)s: lines have no mesage; allowed: %(name)s for \
             each of the names that docs/operating.md lists",
        ),
        (
            "log_date_format = %Q",
            "a.conf:2: [DEFAULT] log_date_format = %Q: not a format of times; allowed: a strftime format such as %Y-%m-%d \
             %H:%M:%S",
        ),
        (
            "default_log_levels = a=INFO,b=LOUD",
            "a.conf:2: [DEFAULT] default_log_levels = a=INFO,b=LOUD: `b=LOUD` has no level after the =; allowed: CRITICAL, \
             ERROR, WARNING, WARN, INFO, DEBUG, NOTSET",
        ),
        (
            "syslog_log_facility = LOG_LOCAL9",
            "a.conf:2: [DEFAULT] syslog_log_facility = LOG_LOCAL9: no such facility; allowed: LOG_USER, LOG_DAEMON, \
             LOG_LOCAL0 and the others of syslog(3)",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(settings(text).unwrap_err(), message);
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let settings = Settings { file: Some("/nonexistent/a.log".into()), ..Settings::default() };
    assert_eq!(init(&settings).unwrap_err().to_string(), "cannot open the log file /nonexistent/a.log");
}
