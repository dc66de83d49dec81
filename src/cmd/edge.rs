//! What a service sets up before its work: the configuration it was given and the log, and what SIGHUP changes of them.

use std::path::PathBuf;

use oslo::config::{Config, ConfigError, Sources};
use oslo::log::{self, Log, Settings};

use super::Stop;
use super::stop::chain;

/// The configuration and the log of a running program.
pub(super) struct Edge {
    config: Config,
    log: Log,
}

impl Edge {
    /// Reads the configuration, then starts the log that it asks for and tells what was odd.
    pub(super) fn new(program: &str, sources: Sources) -> Result<Self, Stop> {
        let config = Config::load(sources)?;
        let log = log::init(&log_settings(program, &config)?)?;
        warn(&config);
        Ok(Self { config, log })
    }

    /// The configuration as last read.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// What SIGHUP asks for: opens the log file anew, reads the files again and takes over what a running service can
    /// take over. A mistake in the files leaves everything as it was.
    pub(super) fn reload(&mut self) {
        if let Err(error) = self.log.reopen() {
            tracing::error!("{}", chain(&error));
        }
        match self.config.reload() {
            Err(error) => tracing::error!("the configuration stays as it was: {error}"),
            Ok((config, changes)) => {
                warn(&config);
                for change in changes {
                    let what = format!("[{}] {}", change.group, change.name);
                    match change.mutable {
                        true => tracing::info!("{what} has a new value"),
                        false => tracing::warn!("{what} has a new value, which waits for a restart"),
                    }
                }
                if let Ok(debug) = config.get("DEFAULT", "debug") {
                    self.log.set_debug(debug);
                }
                self.config = config;
            }
        }
    }
}

fn warn(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let idle = config.idle();
    if !idle.is_empty() {
        tracing::info!("nothing acts on these options yet: {}", idle.join(", "));
    }
}

fn log_settings(program: &str, config: &Config) -> Result<Settings, ConfigError> {
    let file: Option<PathBuf> = config.get("DEFAULT", "log_file")?;
    let dir: Option<PathBuf> = config.get("DEFAULT", "log_dir")?;
    let file = match (dir, file) {
        (Some(dir), Some(file)) => Some(dir.join(file)),
        (Some(dir), None) => Some(dir.join(format!("{program}.log"))),
        (None, file) => file,
    };
    Ok(Settings { file, stderr: config.get("DEFAULT", "use_stderr")?, debug: config.get("DEFAULT", "debug")? })
}
