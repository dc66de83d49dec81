//! The log, by oslo.log's options:
//!
//! `2026-11-22 11:42:42.123 PID INFO module [None req-… user project domain scope user_domain project_domain] message`
//!
//! One line is one write to each place that the options name: a file, which may be moved away at any time and is then
//! made anew, standard error, syslog, the journal. What happens inside a [`request_span`] carries the identity of the
//! request, so that one request can be followed by its id through servers and agents; everything else shows `[-]`.

mod line;
mod rate;
mod settings;
mod sink;
mod template;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Span, Subscriber};
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::context::Context;
use line::{Identity, Line, Text};
use rate::Limiter;
pub use settings::{Format, Rate, Settings, Verbosity};
use sink::Sinks;
pub use template::Template;

/// Modules of the program have names with this start; what others say is shown from a warning on.
const OWN_PREFIX: &str = "isospin";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be written.
    #[error("cannot open the log file {}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
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
    tracing::info_span!(
        "request",
        request_id = context.request_id.as_str(),
        global_request_id = context.global_request_id.as_deref(),
        user_id = context.user_id.as_deref(),
        user_name = context.user_name.as_deref(),
        project_id = context.project_id.as_deref(),
        project_name = context.project_name.as_deref(),
        domain = context.domain_id.as_deref(),
        system_scope = context.system_scope.as_deref(),
        user_domain = context.user_domain_id.as_deref(),
        project_domain = context.project_domain_id.as_deref(),
        resource_uuid = context.resource_uuid.as_deref(),
    )
}

impl Log {
    /// Opens the file anew, after it was moved away.
    pub fn reopen(&self) -> Result<(), LogError> {
        self.output.sinks.reopen()
    }

    /// Says more or less from now on.
    pub fn set_verbosity(&self, verbosity: Verbosity) {
        self.output.limiter.set(verbosity.rate);
        *self.output.verbosity.write() = verbosity;
        tracing::callsite::rebuild_interest_cache();
    }

    /// Says every detail from now on, or no longer.
    pub fn set_debug(&self, debug: bool) {
        let verbosity = Verbosity { debug, ..self.output.verbosity.read().clone() };
        self.set_verbosity(verbosity);
    }
}

#[derive(Debug)]
struct Output {
    sinks: Sinks,
    format: Format,
    verbosity: RwLock<Verbosity>,
    limiter: Limiter,
}

impl Output {
    fn open(settings: &Settings) -> Result<Self, LogError> {
        Ok(Self {
            sinks: Sinks::open(settings)?,
            format: settings.format.clone(),
            limiter: Limiter::new(settings.verbosity.rate),
            verbosity: RwLock::new(settings.verbosity.clone()),
        })
    }

    /// Asked once for each place in the code that logs, and again when the verbosity changes.
    fn shows(&self, metadata: &Metadata<'_>) -> bool {
        // A request is known whatever the level of what is said about it.
        metadata.is_span() && metadata.target().starts_with(OWN_PREFIX)
            || *metadata.level() <= self.verbosity.read().level_of(metadata.target())
    }
}

impl Verbosity {
    /// The level of the longest name that the module is in, or what all modules have.
    fn level_of(&self, target: &str) -> LevelFilter {
        let name = line::module(target);
        let within =
            |module: &str| name.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let named = self.levels.iter().filter(|(module, _)| within(module)).max_by_key(|(module, _)| module.len());
        let all = match (target.starts_with(OWN_PREFIX), self.debug) {
            (true, true) => LevelFilter::DEBUG,
            (true, false) | (false, true) => LevelFilter::INFO,
            (false, false) => LevelFilter::WARN,
        };
        let all = if REPORT_TO_US.iter().any(|library| within(library)) { LevelFilter::OFF } else { all };
        named.map_or(all, |(_, level)| *level)
    }
}

/// Libraries that log as errors what they return to us as well, and what we then tell once. An operator who wants to
/// read them gives them a level of their own.
const REPORT_TO_US: [&str; 1] = ["lapin"];

/// The layer that turns events into lines.
struct Lines {
    output: Arc<Output>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.output.shows(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: LayerContext<'_, S>) -> bool {
        self.output.shows(metadata)
    }

    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, id: &tracing::Id, context: LayerContext<'_, S>) {
        if let (Some(identity), Some(span)) = (Identity::of(attributes), context.span(id)) {
            span.extensions_mut().insert(identity);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: LayerContext<'_, S>) {
        let output = &self.output;
        let Some(notice) = output.limiter.passes(*event.metadata().level()) else { return };
        let mut text = Text::default();
        event.record(&mut text);
        if let Some(notice) = notice {
            text = Text { whole: notice, ..Text::default() };
        }
        let mut scope = context.event_scope(event).into_iter().flatten();
        let found = scope.find(|span| span.extensions().get::<Identity>().is_some());
        let extensions = found.as_ref().map(|span| span.extensions());
        let identity = extensions.as_ref().and_then(|extensions| extensions.get::<Identity>());
        let line = Line { time: chrono::Local::now(), metadata: event.metadata(), identity, text: &text };
        output.sinks.write(&line, &line.render(&output.format));
    }
}

#[cfg(test)]
mod tests;
