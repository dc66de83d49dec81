//! What every operation is given: the caller and the parts of the server.

use std::{sync::Arc, time::Duration};

use db::{Database, list::Viewer};
use oslo::{context::Context, messaging::Bus};

use crate::{
    config::Config,
    event::outbox::{self, Audience, Outbox},
    http::caller::Strategy,
    notification::{Announced, Notifier},
    nova,
    policy::Guard,
};

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
    /// The compute service, where it is to hear of ports.
    pub nova: Option<nova::Notifier>,
    /// Those who watch the API, where there are any.
    pub notifier: Option<Notifier>,
    /// Which versions of objects agents take.
    pub takers: crate::rpc::object::Takers,
    /// What is told to others than this process.
    pub outbox: Option<Arc<Outbox>>,
    /// How callers are known.
    pub auth: Strategy,
    /// When this server started; reports that agents sent before tell nothing of now.
    pub started: chrono::NaiveDateTime,
}

impl Parts {
    /// The parts of a server that has just started.
    pub fn new(db: Database, bus: Bus, config: Config) -> Self {
        let elsewhere = !matches!(bus, Bus::InProcess(_));
        let events = crate::event::Queue::new(elsewhere);
        let (ipam, started) = (crate::ipam::Hints::default(), db::standard::now());
        let parts = Self {
            db,
            bus,
            config,
            ipam,
            events,
            nova: None,
            notifier: None,
            takers: crate::rpc::object::Takers::default(),
            outbox: None,
            auth: Strategy::Noauth,
            started,
        };
        if elsewhere { parts.storing(&[Audience::Agents], outbox::LEASE) } else { parts }
    }

    /// Callers are known in this way.
    pub fn with_auth(self, auth: Strategy) -> Self {
        Self { auth, ..self }
    }

    /// The compute service is to hear of its instances' ports.
    pub fn with_nova(self, nova: nova::Notifier) -> Self {
        Self { nova: Some(nova), ..self }.storing(&[Audience::Nova], outbox::LEASE)
    }

    /// Notifications of the API are sent.
    pub fn with_notifier(self, notifier: Notifier) -> Self {
        Self { notifier: Some(notifier), ..self }.storing(&[Audience::Watchers], outbox::LEASE)
    }

    /// What these audiences are to hear is stored until they have, too; a row without owner is taken over after `lease`.
    pub fn storing(mut self, audiences: &[Audience], lease: Duration) -> Self {
        let before = self.outbox.as_ref().map(|outbox| outbox.audiences().to_vec()).unwrap_or_default();
        let audiences = before.into_iter().chain(audiences.iter().copied()).collect();
        self.outbox = Some(Arc::new(Outbox::new(audiences, lease)));
        self
    }

    /// Makes what the server needs beside upstream's tables. To be called before the first request.
    pub async fn prepare(&self) -> Result<(), db::DbError> {
        match &self.outbox {
            Some(_) => db::outbox::ensure(&self.db).await,
            None => Ok(()),
        }
    }
}

/// One caller's view of the server; the first argument of every operation.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// The parts of the server.
    pub parts: Arc<Parts>,
    /// Who asks, and under which request id.
    pub caller: Context,
    /// What the request does, where somebody is told of requests.
    pub announced: Option<Announced>,
}

impl Ctx {
    /// The server's own doing, under a request id of its own.
    pub fn system(parts: Arc<Parts>) -> Self {
        Self::of(parts, Context::admin())
    }

    /// A caller's view, of whose request nobody is told.
    pub fn of(parts: Arc<Parts>, caller: Context) -> Self {
        Self { parts, caller, announced: None }
    }

    /// The database.
    pub fn db(&self) -> &Database {
        &self.parts.db
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    /// What of the database the caller sees.
    pub fn viewer(&self) -> Viewer {
        Viewer { project_id: self.caller.project_id.clone(), scoped: self.caller.is_scoped_to_project() }
    }

    /// What checks the caller's requests; none where it may do everything.
    pub fn guard(&self) -> Option<Guard> {
        self.config().policy.guard(self)
    }

    /// The project new resources belong to when the request names none.
    pub fn project_id(&self) -> &str {
        self.caller.project_id.as_deref().unwrap_or_default()
    }
}
