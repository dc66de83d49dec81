//! The operator's command: `neutron agent-list`, `net-create` and the rest, in the words of the old tool.
//!
//! Commands, options, tables and messages are those of python-neutronclient, which scripts and habits know;
//! a command is a row of the table in `catalog`. It talks to any Neutron, found by `OS_*` variables,
//! `clouds.yaml` or flags.

mod action;
mod api;
mod args;
mod body;
mod catalog;
mod error;
mod extra;
mod format;
mod help;
mod http;
mod keystone;
mod python;
mod routed;
mod settings;
mod spec;
#[cfg(test)]
mod tests;
mod view;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use settings::Environment;

use action::Run;
use api::Api;
use error::ClientError;
use format::Look;
use http::Http;
use oslo::http::Tls;
use settings::Settings;
use spec::Command;

/// Runs the client in a process of its own, with the words after its name.
pub(crate) fn run(words: Vec<String>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut environment = Environment::of_process();
    if std::io::stdout().is_terminal() {
        environment.width = comfy_table::Table::new().width();
    }
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let status = runtime.block_on(async {
        tokio::select! {
            status = execute(&words, &environment, &mut out, &mut err) => status,
            _ = tokio::signal::ctrl_c() => 130,
        }
    });
    ExitCode::from(status)
}

/// Runs one command and returns its exit status: 0, 1 if it failed, 2 if it was misused.
pub(crate) async fn execute(
    words: &[String],
    environment: &Environment,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> u8 {
    let result = match Invocation::read(words) {
        Ok(invocation) => {
            let name = invocation.command.map(|command| command.name);
            invocation.run(environment, out).await.map_err(|error| (error, name))
        }
        Err(error) => Err((error, None)),
    };
    let Err((error, name)) = result else { return 0 };
    match (&error, name.and_then(catalog::find)) {
        (ClientError::Output(_), _) => {}
        (ClientError::Usage(reason), Some(command)) => {
            let name = command.name;
            let _ = writeln!(err, "{}\nneutron {name}: error: {reason}", help::usage(command));
            let _ = writeln!(err, "Try 'neutron help {name}' for more information.");
        }
        _ => {
            let _ = writeln!(err, "{error}");
        }
    }
    error.exit_status()
}

/// A command line sorted into what is the client's and what is the command's.
#[derive(Default)]
struct Invocation {
    flags: Vec<(&'static str, String)>,
    retries: u32,
    insecure: bool,
    help: bool,
    version: bool,
    command: Option<&'static Command>,
    words: Vec<String>,
}

impl Invocation {
    fn read(words: &[String]) -> Result<Self, ClientError> {
        let mut own = Self::default();
        let mut name: Option<&str> = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (flag, inline) = match word.split_once('=') {
                Some((flag, value)) if word.starts_with("--") => (flag, Some(value)),
                _ => (word.as_str(), None),
            };
            let mut value = || {
                let next = inline.map(str::to_owned).or_else(|| words.next().cloned());
                next.ok_or_else(|| ClientError::Usage(format!("argument {flag}: expected one argument")))
            };
            if let Some(setting) = Settings::of_flag(flag) {
                own.flags.push((setting, value()?));
                continue;
            }
            match flag {
                // These only ever changed what was logged, never what is printed.
                "-q" | "--quiet" | "-v" | "--verbose" | "--debug" => {}
                "--insecure" => own.insecure = true,
                "--version" => own.version = true,
                "-h" | "--help" => own.help = true,
                "help" if name.is_none() => own.help = true,
                "-r" | "--retries" => {
                    let text = value()?;
                    own.retries = text.parse().map_err(|_| {
                        ClientError::Usage(format!("argument -r/--retries: invalid int value: '{text}'"))
                    })?;
                }
                "--" if name.is_some() => {
                    own.words.push(word.clone());
                    own.words.extend(words.by_ref().cloned());
                }
                _ if name.is_none() && !word.starts_with('-') => name = Some(word),
                _ if name.is_none() => {
                    return Err(ClientError::Usage(format!("unknown option {word}; 'neutron --help' lists them")));
                }
                _ => own.words.push(word.clone()),
            }
        }
        own.command = match name {
            Some(name) => Some(catalog::find(name).ok_or_else(|| unknown_command(name))?),
            None => None,
        };
        Ok(own)
    }

    async fn run(&self, environment: &Environment, out: &mut (dyn Write + Send)) -> Result<(), ClientError> {
        if self.version {
            return Ok(writeln!(out, "{}", env!("CARGO_PKG_VERSION"))?);
        }
        let Some(command) = self.command else {
            help::write_overview(out)?;
            return if self.help { Ok(()) } else { Err(ClientError::Usage("a command is needed".into())) };
        };
        if self.help {
            return Ok(help::write_command(out, command)?);
        }
        let parsed = args::parse(command, &self.words)?;
        let look = Look::new(&parsed, environment.width)?;
        let settings = Settings::resolve(self.flags.clone(), environment)?;
        let timeout = settings.get("http-timeout").and_then(|text| text.parse().ok());
        let timeout = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let tls = Tls {
            cafile: settings.get("cacert").map(Into::into),
            certfile: settings.get("cert").map(Into::into),
            keyfile: settings.get("key").map(Into::into),
            insecure: self.insecure,
        };
        let http = Http::new(&tls, timeout, self.retries)?;
        let session = keystone::open(&settings, tls, timeout).await?;
        let api = Api::new(http, session);
        Run { command, parsed: &parsed, api: &api, look, out }.run().await
    }
}

/// What to say to a command that does not exist, with those that are close.
fn unknown_command(name: &str) -> ClientError {
    let near: Vec<&str> = catalog::COMMANDS
        .iter()
        .map(|command| command.name)
        .filter(|known| known.contains(name) || name.split('-').next() == known.split('-').next())
        .take(8)
        .collect();
    let hint = if near.is_empty() { String::new() } else { format!("\nDid you mean: {}?", near.join(", ")) };
    ClientError::Refused(format!("Unknown command ['{name}']{hint}"))
}
