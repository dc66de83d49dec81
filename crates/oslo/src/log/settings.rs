//! oslo.log's options, typed.

use std::path::PathBuf;
use std::time::Duration;

use chrono::format::{Item, StrftimeItems};
use tracing::level_filters::LevelFilter;

use super::template::Template;
use crate::config::{Config, ConfigError};

/// The words that a level may be named by.
const LEVELS: [&str; 7] = ["CRITICAL", "ERROR", "WARNING", "WARN", "INFO", "DEBUG", "NOTSET"];

/// Facilities of syslog; the place of each is its code.
const FACILITIES: [&str; 24] = [
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP", "", "", "",
    "", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6", "LOCAL7",
];

/// Where the log goes, how much it says and what its lines look like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the program, for syslog and the journal.
    pub program: String,
    /// The file; standard error when there is neither file nor journal.
    pub file: Option<PathBuf>,
    /// Whether to write to standard error in any case.
    pub stderr: bool,
    /// Socket of syslog, to log there too.
    pub syslog: Option<PathBuf>,
    /// Socket of the journal, to log there too.
    pub journal: Option<PathBuf>,
    /// Code of the facility for syslog and the journal.
    pub facility: u8,
    /// What may change without a restart.
    pub verbosity: Verbosity,
    /// What lines look like.
    pub format: Format,
}

/// How much the log says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verbosity {
    /// Whether to say every detail.
    pub debug: bool,
    /// Modules with a level of their own, by the names that lines show.
    pub levels: Vec<(String, LevelFilter)>,
    /// The limit on lines.
    pub rate: Option<Rate>,
}

/// At most so many lines in so long, except serious ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Lines.
    pub burst: u64,
    /// In this time.
    pub interval: Duration,
    /// From this level on lines are not counted; `None` counts all.
    pub except: Option<tracing::Level>,
}

/// What lines look like.
#[derive(Clone, Debug)]
pub struct Format {
    /// JSON instead of text.
    pub json: bool,
    /// `strftime` format of times.
    pub date: String,
    /// Lines of a request.
    pub context: Template,
    /// Other lines.
    pub default: Template,
    /// What follows the lines of debug level.
    pub debug_suffix: Option<Template>,
    /// How `user_identity` is made.
    pub identity: Template,
    /// How a resource that a request is about is named.
    pub instance: Template,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            program: "isospin".to_owned(),
            file: None,
            stderr: false,
            syslog: None,
            journal: None,
            facility: 1,
            verbosity: Verbosity::default(),
            format: Format::default(),
        }
    }
}

impl Default for Format {
    fn default() -> Self {
        let head = "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s";
        let context =
            format!("{head} [%(global_request_id)s %(request_id)s %(user_identity)s] %(instance)s%(message)s");
        let template = |text: &str| Template::parse(text).unwrap_or_default();
        Self {
            json: false,
            date: "%Y-%m-%d %H:%M:%S".to_owned(),
            context: template(&context),
            default: template(&format!("{head} [-] %(instance)s%(message)s")),
            debug_suffix: Some(template("%(funcName)s %(pathname)s:%(lineno)d")),
            identity: template("%(user)s %(project)s %(domain)s %(system_scope)s %(user_domain)s %(project_domain)s"),
            instance: template("[instance: %(uuid)s] "),
        }
    }
}

impl Settings {
    /// Reads the options for a program of that name.
    pub fn from_oslo(program: &str, options: &Config) -> Result<Self, ConfigError> {
        let socket = |wanted: bool, path: &str| wanted.then(|| PathBuf::from(path));
        Ok(Self {
            program: program.to_owned(),
            file: file(program, options)?,
            stderr: options.get("DEFAULT", "use_stderr")?,
            syslog: socket(options.get("DEFAULT", "use_syslog")?, "/dev/log"),
            journal: socket(options.get("DEFAULT", "use_journal")?, "/run/systemd/journal/socket"),
            facility: facility(options)?,
            verbosity: Verbosity::from_oslo(options)?,
            format: Format::from_oslo(options)?,
        })
    }
}

impl Verbosity {
    /// Reads the options that a running service takes over.
    pub fn from_oslo(options: &Config) -> Result<Self, ConfigError> {
        Ok(Self { debug: options.get("DEFAULT", "debug")?, levels: levels(options)?, rate: rate(options)? })
    }
}

impl Format {
    fn from_oslo(options: &Config) -> Result<Self, ConfigError> {
        let template = |name: &str| template(options, name);
        let suffix: Option<String> = options.get("DEFAULT", "logging_debug_format_suffix")?;
        Ok(Self {
            json: options.get("DEFAULT", "use_json")?,
            date: date(options)?,
            context: template("logging_context_format_string")?,
            default: template("logging_default_format_string")?,
            debug_suffix: match suffix.filter(|text| !text.is_empty()) {
                Some(_) => Some(template("logging_debug_format_suffix")?),
                None => None,
            },
            identity: template("logging_user_identity_format")?,
            instance: template("instance_uuid_format")?,
        })
    }
}

fn template(options: &Config, name: &str) -> Result<Template, ConfigError> {
    let text: String = options.get("DEFAULT", name)?;
    Template::parse(&text).map_err(|problem| {
        let allowed = ["%(name)s for each of the names that docs/operating.md lists"];
        options.refuse("DEFAULT", name, problem, &allowed)
    })
}

fn file(program: &str, options: &Config) -> Result<Option<PathBuf>, ConfigError> {
    let file: Option<PathBuf> = options.get("DEFAULT", "log_file")?;
    let dir: Option<PathBuf> = options.get("DEFAULT", "log_dir")?;
    Ok(match (dir, file) {
        (Some(dir), Some(file)) => Some(dir.join(file)),
        (Some(dir), None) => Some(dir.join(format!("{program}.log"))),
        (None, file) => file,
    })
}

fn date(options: &Config) -> Result<String, ConfigError> {
    let text: String = options.get("DEFAULT", "log_date_format")?;
    match StrftimeItems::new(&text).any(|item| item == Item::Error) {
        false => Ok(text),
        true => {
            let allowed = ["a strftime format such as %Y-%m-%d %H:%M:%S"];
            Err(options.refuse("DEFAULT", "log_date_format", "not a format of times", &allowed))
        }
    }
}

fn facility(options: &Config) -> Result<u8, ConfigError> {
    let text: String = options.get("DEFAULT", "syslog_log_facility")?;
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("LOG_").unwrap_or(&upper);
    let code = FACILITIES.iter().position(|known| *known == name && !name.is_empty());
    code.and_then(|code| u8::try_from(code).ok()).ok_or_else(|| {
        let allowed = ["LOG_USER, LOG_DAEMON, LOG_LOCAL0 and the others of syslog(3)"];
        options.refuse("DEFAULT", "syslog_log_facility", "no such facility", &allowed)
    })
}

/// `module=LEVEL`, where upstream's names of modules stand for ours.
fn levels(options: &Config) -> Result<Vec<(String, LevelFilter)>, ConfigError> {
    let pairs: Vec<String> = options.get("DEFAULT", "default_log_levels")?;
    let pair = |pair: &String| {
        let (module, level) = pair.split_once('=').unwrap_or((pair, ""));
        let level = level_named(level.trim()).ok_or_else(|| {
            let problem = "has no level after the =";
            options.refuse_item("DEFAULT", "default_log_levels", pair, problem, &LEVELS)
        })?;
        Ok((our_name(module.trim()), level))
    };
    pairs.iter().filter(|pair| !pair.trim().is_empty()).map(pair).collect()
}

/// A level by its word, or by its number in Python.
fn level_named(text: &str) -> Option<LevelFilter> {
    let number = text.parse::<u32>().ok();
    Some(match (text.to_uppercase().as_str(), number) {
        ("CRITICAL" | "FATAL" | "ERROR", _) | (_, Some(31..)) => LevelFilter::ERROR,
        ("WARNING" | "WARN", _) | (_, Some(21..=30)) => LevelFilter::WARN,
        ("INFO", _) | (_, Some(11..=20)) => LevelFilter::INFO,
        ("DEBUG" | "NOTSET" | "TRACE", _) | (_, Some(0..=10)) => LevelFilter::DEBUG,
        _ => return None,
    })
}

/// The name that lines of ours show for a module of upstream's.
fn our_name(module: &str) -> String {
    let known = [
        ("neutron", "isospin"),
        ("oslo_messaging", "isospin.oslo.messaging"),
        ("oslo.messaging", "isospin.oslo.messaging"),
        ("oslo_policy", "isospin.oslo.policy"),
        ("keystonemiddleware", "isospin.oslo.keystone"),
    ];
    known.iter().find(|(theirs, _)| *theirs == module).map_or(module, |(_, ours)| ours).to_owned()
}

fn rate(options: &Config) -> Result<Option<Rate>, ConfigError> {
    let burst: u64 = options.get("DEFAULT", "rate_limit_burst")?;
    let interval: Duration = options.get("DEFAULT", "rate_limit_interval")?;
    let except: String = options.get("DEFAULT", "rate_limit_except_level")?;
    let except = match except.as_str() {
        "DEBUG" => Some(tracing::Level::DEBUG),
        "INFO" => Some(tracing::Level::INFO),
        "WARNING" => Some(tracing::Level::WARN),
        // Nothing here is more than an error.
        "ERROR" => Some(tracing::Level::ERROR),
        _ => None,
    };
    Ok((burst > 0 && !interval.is_zero()).then_some(Rate { burst, interval, except }))
}
