//! What a service sets up before its work: the configuration it was given and the log, and what SIGHUP changes of them.

use oslo::config::{Change, Config, Sources};
use oslo::log::{self, Log, Settings, Verbosity};

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
        let log = log::init(&Settings::from_oslo(program, &config)?)?;
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
            Ok((config, changes)) => self.take(config, &changes),
        }
    }

    /// Takes over what a running service can, and says of every option that changed whether that was so.
    fn take(&mut self, config: Config, changes: &[Change]) {
        let verbosity = match Verbosity::from_oslo(&config) {
            Ok(verbosity) => verbosity,
            Err(error) => return tracing::error!("the configuration stays as it was: {error}"),
        };
        warn(&config);
        for change in changes {
            let (group, name) = (change.group, change.name);
            let value = config.shown(group, name);
            match change.mutable {
                true => tracing::info!("[{group}] {name} is now {value}"),
                false => tracing::warn!("[{group}] {name} is to be {value}, which waits for a restart"),
            }
        }
        if changes.is_empty() {
            tracing::info!("read the configuration again: nothing has changed");
        }
        self.log.set_verbosity(verbosity);
        self.config = config;
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
