//! One line of the log: what it tells, as text by a template or as JSON.

use std::fmt::{self, Write as _};

use chrono::{DateTime, Local};
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::Attributes;
use tracing::{Level, Metadata};

use super::settings::Format;

/// Who asks, as the lines of a request tell it. Absent parts are `None`, as Python shows them.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    pub(super) request_id: String,
    /// Names as oslo.context has them, with their values.
    pub(super) parts: Vec<(&'static str, String)>,
}

/// An event with what goes with it.
pub(super) struct Line<'a> {
    pub(super) time: DateTime<Local>,
    pub(super) metadata: &'static Metadata<'static>,
    pub(super) identity: Option<&'a Identity>,
    pub(super) text: &'a Text,
}

/// What an event says.
#[derive(Default)]
pub(super) struct Text {
    /// The message, followed by the other fields as `name=value`.
    pub(super) whole: String,
    /// The other fields.
    pub(super) fields: Vec<(&'static str, String)>,
}

impl Identity {
    /// The identity that the fields of a span hold, if they name a request.
    pub(super) fn of(attributes: &Attributes<'_>) -> Option<Self> {
        let mut identity = Self::default();
        attributes.record(&mut identity);
        (!identity.request_id.is_empty()).then_some(identity)
    }

    pub(super) fn part(&self, name: &str) -> Option<&str> {
        self.parts.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

impl Visit for Identity {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "request_id" => self.request_id = format!("{value:?}"),
            name => self.parts.push((name, format!("{value:?}"))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "request_id" => value.clone_into(&mut self.request_id),
            name => self.parts.push((name, value.to_owned())),
        }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            // The message comes first, whatever the order of the fields.
            "message" if self.fields.is_empty() => self.whole = format!("{value:?}"),
            "message" => self.whole = format!("{value:?} {}", self.whole),
            // Fields that the `log` crate's records bring repeat what the line says.
            name if name.starts_with("log.") => {}
            name => {
                let value = format!("{value:?}");
                let space = if self.whole.is_empty() { "" } else { " " };
                let _ = write!(self.whole, "{space}{name}={value}");
                self.fields.push((name, value));
            }
        }
    }
}

/// `isospin_server::http` reads `isospin.server.http`, as a Python module would.
pub(super) fn module(target: &str) -> String {
    let (own, rest) = target.strip_prefix("isospin_").map_or(("", target), |rest| ("isospin.", rest));
    format!("{own}{}", rest.replace("::", "."))
}

/// The name and the number of a level in Python.
pub(super) fn level(level: Level) -> (&'static str, u8) {
    match level {
        Level::ERROR => ("ERROR", 40),
        Level::WARN => ("WARNING", 30),
        Level::INFO => ("INFO", 20),
        _ => ("DEBUG", 10),
    }
}

impl Line<'_> {
    /// The line with its end.
    pub(super) fn render(&self, format: &Format) -> String {
        let mut line = String::with_capacity(256);
        let written =
            if format.json { write!(line, "{}", self.json(format)) } else { self.write_text(&mut line, format) };
        if written.is_err() {
            line.push_str(&self.text.whole);
        }
        line.push('\n');
        line
    }

    fn write_text(&self, line: &mut String, format: &Format) -> fmt::Result {
        let template = if self.identity.is_some() { &format.context } else { &format.default };
        template.render(line, |line, name| self.fill(line, name, format))?;
        match &format.debug_suffix {
            Some(suffix) if *self.metadata.level() >= Level::DEBUG => {
                line.push(' ');
                suffix.render(line, |line, name| self.fill(line, name, format))
            }
            _ => Ok(()),
        }
    }

    fn fill(&self, line: &mut String, name: &str, format: &Format) -> fmt::Result {
        match name {
            "asctime" => write!(line, "{}", self.time.format(&format.date)),
            "msecs" => write!(line, "{}", self.time.timestamp_subsec_millis()),
            "isotime" => write!(line, "{}", self.time.format("%Y-%m-%dT%H:%M:%S%.6f%:z")),
            "created" => write!(line, "{}", self.time.format("%s%.6f")),
            "process" => write!(line, "{}", std::process::id()),
            "processName" => line.write_str("MainProcess"),
            "thread" => write!(line, "{}", thread_number()),
            "threadName" => line.write_str(std::thread::current().name().unwrap_or("")),
            "levelname" => line.write_str(level(*self.metadata.level()).0),
            "levelno" => write!(line, "{}", level(*self.metadata.level()).1),
            "name" => line.write_str(&module(self.metadata.target())),
            "module" => line.write_str(last(self.metadata.target())),
            // A function is not known, its module is.
            "funcName" => line.write_str(last(self.metadata.target())),
            "pathname" => line.write_str(self.metadata.file().unwrap_or("")),
            "filename" => line.write_str(self.file_name()),
            "lineno" => write!(line, "{}", self.metadata.line().unwrap_or(0)),
            "message" => line.write_str(&self.text.whole),
            "version" => line.write_str(env!("CARGO_PKG_VERSION")),
            "hostname" => line.write_str(&hostname()),
            "error_summary" => line.write_str("-"),
            "user_identity" => self.write_identity(line, format),
            "instance" => self.write_instance(line, format),
            "color" | "reset_color" | "resource" => Ok(()),
            // What oslo.log fills with nothing where there is no request, and with None where the request lacks it.
            _ => match self.identity {
                Some(identity) => line.write_str(value_of(identity, name).unwrap_or("None")),
                None => Ok(()),
            },
        }
    }

    fn write_identity(&self, line: &mut String, format: &Format) -> fmt::Result {
        let Some(identity) = self.identity else { return Ok(()) };
        format.identity.render(line, |line, name| line.write_str(value_of(identity, name).unwrap_or("-")))
    }

    fn write_instance(&self, line: &mut String, format: &Format) -> fmt::Result {
        match self.identity.and_then(|identity| identity.part("resource_uuid")) {
            Some(uuid) => format.instance.render(line, |line, _| line.write_str(uuid)),
            None => Ok(()),
        }
    }

    fn file_name(&self) -> &str {
        self.metadata.file().unwrap_or("").rsplit('/').next().unwrap_or("")
    }

    /// The record as oslo.log's JSON formatter shapes it.
    fn json(&self, format: &Format) -> Value {
        let (level, number) = level(*self.metadata.level());
        let created = self.time.timestamp_micros();
        let fields = self.text.fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into()));
        json!({
            "message": self.text.whole,
            "asctime": self.time.format(&format.date).to_string(),
            "name": module(self.metadata.target()),
            "msg": self.text.whole,
            "args": [],
            "levelname": level,
            "levelno": number,
            "pathname": self.metadata.file(),
            "filename": self.file_name(),
            "module": last(self.metadata.target()),
            "lineno": self.metadata.line(),
            "funcname": last(self.metadata.target()),
            "created": created as f64 / 1e6,
            "msecs": self.time.timestamp_subsec_millis(),
            "relative_created": 0,
            "thread": thread_number(),
            "thread_name": std::thread::current().name(),
            "process_name": "MainProcess",
            "process": std::process::id(),
            "traceback": null,
            "hostname": hostname(),
            "error_summary": "",
            "context": self.identity.map_or_else(Map::new, context),
            "extra": fields.collect::<Map<_, _>>(),
        })
    }
}

/// What a name of oslo.context's stands for.
fn value_of<'a>(identity: &'a Identity, name: &str) -> Option<&'a str> {
    match name {
        "request_id" => Some(&identity.request_id),
        "user" | "user_id" => identity.part("user_id"),
        "project" | "project_id" | "tenant" => identity.part("project_id"),
        "auth_token" => Some("***"),
        other => identity.part(other),
    }
}

/// The context of a record in JSON: each name with its value or null.
fn context(identity: &Identity) -> Map<String, Value> {
    let names = [
        "user_name",
        "project_name",
        "user",
        "project_id",
        "system_scope",
        "project",
        "domain",
        "user_domain",
        "project_domain",
        "request_id",
        "global_request_id",
        "resource_uuid",
    ];
    names.iter().map(|name| ((*name).to_owned(), value_of(identity, name).into())).collect()
}

fn last(target: &str) -> &str {
    target.rsplit("::").next().unwrap_or(target)
}

/// Threads have numbers here, though not the system's.
fn thread_number() -> u64 {
    let text = format!("{:?}", std::thread::current().id());
    text.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0)
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}
