//! Which versions of objects agents take.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use db::{Conn, standard::now};

use super::Kind;
use crate::{Ctx, Result};

/// How long what agents reported is taken to hold. Another server may have heard of one since.
const HOLDS: Duration = Duration::from_secs(10);

type Versions = BTreeMap<String, BTreeSet<String>>;

/// The versions that living agents take, by the kind of object, as last read from the database.
#[derive(Debug, Default)]
pub struct Takers(Mutex<Option<(Instant, Arc<Versions>)>>);

impl Takers {
    /// Has them read again: an agent has said what it takes.
    pub fn forget(&self) {
        self.set(None);
    }

    /// The versions of a kind.
    pub async fn versions(&self, ctx: &Ctx, conn: &mut Conn, kind: Kind) -> Result<Vec<String>> {
        let versions = self.current(ctx, conn).await?;
        Ok(versions.get(kind.as_str()).into_iter().flatten().cloned().collect())
    }

    /// Whether an agent takes any object at all.
    pub async fn any(&self, ctx: &Ctx, conn: &mut Conn) -> Result<bool> {
        Ok(!self.current(ctx, conn).await?.is_empty())
    }

    async fn current(&self, ctx: &Ctx, conn: &mut Conn) -> Result<Arc<Versions>> {
        let known = self.0.lock().ok().and_then(|known| known.clone());
        if let Some((read, versions)) = known.filter(|(read, _)| read.elapsed() < HOLDS) {
            let _ = read;
            return Ok(versions);
        }
        let versions = Arc::new(read(ctx, conn).await?);
        self.set(Some((Instant::now(), Arc::clone(&versions))));
        Ok(versions)
    }

    fn set(&self, known: Option<(Instant, Arc<Versions>)>) {
        if let Ok(mut held) = self.0.lock() {
            *held = known;
        }
    }
}

/// As upstream counts them: agents that are enabled and were heard of within twice the time after which they are dead.
async fn read(ctx: &Ctx, conn: &mut Conn) -> Result<Versions> {
    let oldest = now() - ctx.config().agent_down_time * 2;
    let mut versions = Versions::new();
    for agent in db::agent::agents(conn, None, None).await? {
        let Some(taken) = agent.resource_versions.filter(|_| agent.admin_state_up) else { continue };
        if agent.heartbeat_timestamp < oldest {
            continue;
        }
        let taken: BTreeMap<String, String> = serde_json::from_str(&taken).unwrap_or_default();
        for (kind, version) in taken {
            versions.entry(kind).or_default().insert(version);
        }
    }
    Ok(versions)
}
