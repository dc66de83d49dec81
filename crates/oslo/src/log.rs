//! The log, in oslo.log's line format:
//!
//! `2026-11-22 11:42:42.123 PID INFO module [None req-… user project domain scope user_domain project_domain] message`
//!
//! One line is one write, to standard error or to a file that [`Log::reopen`] opens anew after a rotation. What happens
//! inside a [`request_span`] carries the identity of the request, so that one request can be followed by its id through
//! servers and agents; everything else shows `[-]`.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Span, Subscriber};
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::context::Context;

/// Modules of the program have names with this start; what others say is shown from a warning on.
const OWN_PREFIX: &str = "isospin";

/// Where the log goes and how much it says.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The file; standard error when there is none.
    pub file: Option<PathBuf>,
    /// Whether to write to standard error as well as to the file.
    pub stderr: bool,
    /// Whether to say every detail.
    pub debug: bool,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log file {}", .file.display())]
pub struct LogError {
    file: PathBuf,
    source: io::Error,
}

/// The running log: what may change without a restart.
#[derive(Clone, Debug)]
pub struct Log {
    output: Arc<Output>,
}

/// Starts the log of this process. A second call keeps the first log's lines going where they went.
pub fn init(settings: &Settings) -> Result<Log, LogError> {
    let output = Arc::new(Output::open(settings)?);
    let subscriber = tracing_subscriber::registry().with(Lines { output: output.clone() });
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    }
    Ok(Log { output })
}

/// A span under which every line carries the identity of a request.
pub fn request_span(context: &Context) -> Span {
    tracing::info_span!("request", context = %Identity(context))
}

impl Log {
    /// Opens the file anew, after it was moved away.
    pub fn reopen(&self) -> Result<(), LogError> {
        if let Some(path) = &self.output.path {
            *self.output.file.lock() = Some(open(path)?);
        }
        Ok(())
    }

    /// Says every detail from now on, or no longer.
    pub fn set_debug(&self, debug: bool) {
        self.output.debug.store(debug, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }
}

#[derive(Debug)]
struct Output {
    path: Option<PathBuf>,
    file: Mutex<Option<File>>,
    stderr: bool,
    debug: AtomicBool,
}

impl Output {
    fn open(settings: &Settings) -> Result<Self, LogError> {
        let file = settings.file.as_deref().map(open).transpose()?;
        Ok(Self {
            stderr: settings.stderr || file.is_none(),
            path: settings.file.clone(),
            file: Mutex::new(file),
            debug: AtomicBool::new(settings.debug),
        })
    }

    fn level_of(&self, target: &str) -> LevelFilter {
        match (target.starts_with(OWN_PREFIX), self.debug.load(Ordering::Relaxed)) {
            (true, true) => LevelFilter::DEBUG,
            (true, false) | (false, true) => LevelFilter::INFO,
            (false, false) => LevelFilter::WARN,
        }
    }

    /// A line that cannot be written is lost: there is no better place to tell of it.
    fn write(&self, line: &str) {
        if let Some(file) = self.file.lock().as_mut() {
            let _ = file.write_all(line.as_bytes());
        }
        if self.stderr {
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
    }
}

fn open(path: &Path) -> Result<File, LogError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|source| LogError { file: path.to_owned(), source })
}

/// The layer that turns events into lines.
struct Lines {
    output: Arc<Output>,
}

/// The identity that a span gives to the lines under it.
struct SpanIdentity(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match *metadata.level() <= self.output.level_of(metadata.target()) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: LayerContext<'_, S>) -> bool {
        *metadata.level() <= self.output.level_of(metadata.target())
    }

    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, id: &tracing::Id, context: LayerContext<'_, S>) {
        let mut identity = IdentityField(None);
        attributes.record(&mut identity);
        if let (Some(text), Some(span)) = (identity.0, context.span(id)) {
            span.extensions_mut().insert(SpanIdentity(text));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: LayerContext<'_, S>) {
        let mut line = String::with_capacity(256);
        let mut scope = context.event_scope(event).into_iter().flatten();
        let found = scope.find_map(|span| span.extensions().get::<SpanIdentity>().map(|identity| identity.0.clone()));
        let _ = write_head(&mut line, event.metadata(), found.as_deref().unwrap_or("-"));
        event.record(&mut Text(&mut line));
        line.push('\n');
        self.output.write(&line);
    }
}

fn write_head(line: &mut String, metadata: &Metadata<'_>, identity: &str) -> fmt::Result {
    let level = match *metadata.level() {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    };
    let time = chrono::Local::now().format("%Y-%m-%d %H:%M:%S%.3f");
    write!(line, "{time} {} {level} ", std::process::id())?;
    // `isospin_server::http` reads `isospin.server.http`, as a Python module would.
    let target = metadata.target();
    let (own, rest) = target.strip_prefix("isospin_").map_or(("", target), |rest| ("isospin.", rest));
    line.push_str(own);
    for (index, part) in rest.split("::").enumerate() {
        write!(line, "{}{part}", if index == 0 { "" } else { "." })?;
    }
    write!(line, " [{identity}] ")
}

/// Picks the field `context` of a span, or makes one of a field `request_id` where that is all there is.
struct IdentityField(Option<String>);

impl Visit for IdentityField {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "context" => self.0 = Some(format!("{value:?}")),
            "request_id" if self.0.is_none() => self.0 = Some(format!("None {value:?} - - - - - -")),
            _ => {}
        }
    }
}

/// Writes the message of an event and its further fields as `name=value`.
struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            // Fields that the `log` crate's records bring repeat what the line says.
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.0, "{}{name}={value:?}", if self.0.ends_with(' ') { "" } else { " " }),
        };
    }
}

/// The identity of a request in the words of oslo.log.
struct Identity<'a>(&'a Context);

impl fmt::Display for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = self.0;
        write!(f, "{} {}", context.global_request_id.as_deref().unwrap_or("None"), context.request_id)?;
        let rest = [
            &context.user_id,
            &context.project_id,
            &context.domain_id,
            &context.system_scope,
            &context.user_domain_id,
            &context.project_domain_id,
        ];
        rest.iter().try_for_each(|part| write!(f, " {}", part.as_deref().unwrap_or("-")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs something under a log of its own and gives the lines without time and process id.
    fn lines(debug: bool, what: impl FnOnce(&Log)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.log");
        let settings = Settings { file: Some(file.clone()), stderr: false, debug };
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

    #[test]
    fn a_moved_file_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.log");
        let settings = Settings { file: Some(file.clone()), ..Settings::default() };
        let log = Log { output: Arc::new(Output::open(&settings).unwrap()) };
        log.output.write("one\n");
        std::fs::rename(&file, dir.path().join("a.log.1")).unwrap();
        log.output.write("two\n");
        log.reopen().unwrap();
        log.output.write("three\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("a.log.1")).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(file).unwrap(), "three\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let settings = Settings { file: Some("/nonexistent/a.log".into()), ..Settings::default() };
        assert_eq!(init(&settings).unwrap_err().to_string(), "cannot open the log file /nonexistent/a.log");
    }
}
