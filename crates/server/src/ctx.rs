//! What every operation is given: the caller and the parts of the server.

use std::sync::Arc;

use db::Database;
use oslo::{context::Context, messaging::Bus};

use crate::config::Config;

/// The parts of a running server that operations use.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub db: Database,
    /// The way to the agents.
    pub bus: Bus,
    /// The configuration.
    pub config: Config,
    /// Where free addresses were seen last; a hint that may be wrong, the database decides.
    pub ipam: crate::ipam::Hints,
    /// Committed changes that agents are still to hear of.
    pub events: crate::event::Queue,
    /// When this server started; reports that agents sent before tell nothing of now.
    pub started: chrono::NaiveDateTime,
}

impl Parts {
    /// The parts of a server that has just started.
    pub fn new(db: Database, bus: Bus, config: Config) -> Self {
        let (ipam, events) = (crate::ipam::Hints::default(), crate::event::Queue::default());
        Self { db, bus, config, ipam, events, started: db::standard::now() }
    }
}

/// One caller's view of the server; the first argument of every operation.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// The parts of the server.
    pub parts: Arc<Parts>,
    /// Who asks, and under which request id.
    pub caller: Context,
}

impl Ctx {
    /// The server's own doing, under a request id of its own.
    pub fn system(parts: Arc<Parts>) -> Self {
        Self { parts, caller: Context::admin() }
    }

    /// The database.
    pub fn db(&self) -> &Database {
        &self.parts.db
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    /// The project new resources belong to when the request names none.
    pub fn project_id(&self) -> &str {
        self.caller.project_id.as_deref().unwrap_or_default()
    }
}
