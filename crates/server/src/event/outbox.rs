//! What must not be lost, in the database until it has been told.
//!
//! Each transaction leaves one row for each audience outside this process that has to hear of it. The server that wrote
//! a row tells it right after the commit, from memory, and removes it, with others, when everything in it has been told.
//! While that takes long, it renews its claim. A row whose claim is older than [`LEASE`] has lost its server: any server
//! that serves the audience takes it over, reads it and tells it. So an event is told at least once, at the latest a
//! lease and a [check](CHECKS) after the server that knew of it ended; if that server was only slow, it is told twice.
//! After [`KEPT`] nobody is interested any more.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use db::{
    Later, Tx,
    outbox::{self as rows, Abandoned, Message},
};
use oslo::context::Context;
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use super::lane::Item;
use crate::{Ctx, Parts, Result};

/// How long a row belongs to a server that does not renew its claim.
pub const LEASE: Duration = Duration::from_secs(20);
/// Claims are renewed, and rows without owner looked for, so often within a lease.
pub const CHECKS: u32 = 4;
/// How long a row is kept that no server takes over.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What one row holds at most, so that it fits any database's longest statement.
const PER_ROW: usize = 500;
/// Rows taken over at once.
const AT_ONCE: usize = 200;
/// How long told rows are collected, to be removed together.
const COLLECTED: Duration = Duration::from_millis(20);
/// How long an end waits for what is still to be told.
const ENDING: Duration = Duration::from_secs(3);
/// Pause after the database failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// L2 and DHCP agents.
    Agents,
    /// The compute service.
    Nova,
    /// Whoever listens to notifications of the API.
    Watchers,
}

/// What one row holds, or, without a row, what needs none.
#[derive(Debug)]
pub(super) struct Stored<T> {
    pub(super) row: Option<Later>,
    pub(super) items: Vec<T>,
}

/// The rows that this server works on.
#[derive(Debug)]
pub struct Outbox {
    owner: String,
    audiences: Vec<Audience>,
    lease: Duration,
    /// Rows of which something is still to be told, and when they were claimed last.
    held: Mutex<BTreeMap<i64, Instant>>,
    told: Mutex<Vec<i64>>,
    something_told: Notify,
    /// Rows of ours are in the database and not in memory.
    behind: AtomicBool,
}

/// A row of which something is still to be told. When the last clone is dropped, it has been, and the row goes.
#[derive(Debug)]
pub struct Receipt {
    outbox: Arc<Outbox>,
    row: i64,
    left: AtomicBool,
}

impl Audience {
    fn as_str(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Nova => "nova",
            Self::Watchers => "watchers",
        }
    }
}

/// Stores what an audience has to hear, if that audience is outside this process.
pub(super) async fn store<T: Serialize>(
    outbox: Option<&Outbox>,
    ctx: &Ctx,
    tx: &mut Tx,
    audience: Audience,
    items: Vec<T>,
) -> Result<Vec<Stored<T>>> {
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let Some(outbox) = outbox.filter(|outbox| outbox.audiences.contains(&audience)) else {
        return Ok(vec![Stored { row: None, items }]);
    };
    let mut stored = Vec::with_capacity(1 + items.len() / PER_ROW);
    let mut items = items.into_iter();
    loop {
        let some: Vec<T> = items.by_ref().take(PER_ROW).collect();
        if some.is_empty() {
            return Ok(stored);
        }
        let body = serde_json::to_string(&some)
            .map_err(|error| crate::Error::Internal(format!("an event cannot be written: {error}")))?;
        let message = Message { audience: audience.as_str().to_owned(), context: written(&ctx.caller), body };
        let row = rows::insert(tx, &outbox.owner, now(), &message).await?;
        stored.push(Stored { row: Some(row), items: some });
    }
}

/// The caller, whose token is not stored.
fn written(caller: &Context) -> String {
    let mut map = caller.to_map();
    map.remove("auth_token");
    Value::Object(map).to_string()
}

/// Milliseconds since 1970.
fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Outbox {
    /// The outbox of a server that has just started, for these audiences.
    pub fn new(audiences: Vec<Audience>, lease: Duration) -> Self {
        Self {
            owner: uuid::Uuid::new_v4().to_string(),
            audiences,
            lease,
            held: Mutex::default(),
            told: Mutex::default(),
            something_told: Notify::new(),
            behind: AtomicBool::new(false),
        }
    }

    /// Whom it stores for.
    pub fn audiences(&self) -> &[Audience] {
        &self.audiences
    }

    fn hold(self: &Arc<Self>, row: i64) -> Arc<Receipt> {
        self.held.lock().insert(row, Instant::now());
        Arc::new(Receipt { outbox: Arc::clone(self), row, left: AtomicBool::new(false) })
    }

    /// Removes what was told and takes over what others left, until it is dropped.
    pub(super) async fn run(self: &Arc<Self>, parts: &Arc<Parts>) {
        tokio::join!(self.remove_told(parts), self.check(parts));
    }

    async fn remove_told(&self, parts: &Parts) {
        loop {
            self.something_told.notified().await;
            tokio::time::sleep(COLLECTED).await;
            while let Err(error) = self.remove_now(parts).await {
                tracing::warn!("what was told could not be removed, it may be told again: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Removes the rows that have been told.
    pub async fn remove_now(&self, parts: &Parts) -> Result<()> {
        let told = std::mem::take(&mut *self.told.lock());
        if told.is_empty() {
            return Ok(());
        }
        let removed = async {
            let mut tx = parts.db.begin().await?;
            rows::remove(&mut tx, &self.owner, &told).await?;
            tx.commit().await
        };
        if let Err(error) = removed.await {
            self.told.lock().extend(told);
            return Err(error.into());
        }
        let mut held = self.held.lock();
        for row in &told {
            held.remove(row);
        }
        Ok(())
    }

    /// Waits, not for long, until everything held has been told, and leaves the rest to others at once.
    pub(super) async fn drain(&self, parts: &Parts) {
        let began = Instant::now();
        while !self.held.lock().is_empty() && began.elapsed() < ENDING {
            tokio::time::sleep(COLLECTED).await;
        }
        if self.held.lock().is_empty() {
            return;
        }
        let released = async {
            self.remove_now(parts).await?;
            let mut tx = parts.db.begin().await?;
            rows::release(&mut tx, &self.owner, now() - millis(self.lease) - 1).await?;
            Ok::<_, crate::Error>(tx.commit().await?)
        };
        if let Err(error) = released.await {
            tracing::warn!("what is still to be told was not left to other servers: {error}");
        }
    }

    async fn check(self: &Arc<Self>, parts: &Arc<Parts>) {
        let interval = self.lease / CHECKS;
        // Servers that start together do not check together.
        tokio::time::sleep(interval.mul_f64(rand::random())).await;
        loop {
            if let Err(error) = self.renew(parts, interval).await {
                tracing::warn!("claims on what is still to be told could not be renewed: {error}");
            }
            if let Err(error) = self.take_over(parts).await {
                tracing::warn!("what other servers left to be told was not looked at: {error}");
            }
            tokio::time::sleep(interval).await;
        }
    }

    async fn renew(&self, parts: &Parts, interval: Duration) -> Result<()> {
        let began = Instant::now();
        let old = |claimed: &Instant| began.duration_since(*claimed) >= interval;
        let due: Vec<i64> = self.held.lock().iter().filter(|(_, claimed)| old(claimed)).map(|(row, _)| *row).collect();
        if due.is_empty() {
            return Ok(());
        }
        let mut tx = parts.db.begin().await?;
        rows::renew(&mut tx, &self.owner, &due, now()).await?;
        tx.commit().await?;
        let mut held = self.held.lock();
        for row in due {
            held.entry(row).and_modify(|claimed| *claimed = began);
        }
        Ok(())
    }

    /// Takes over the rows without a living owner, and our own that found no room, the oldest first.
    async fn take_over(self: &Arc<Self>, parts: &Arc<Parts>) -> Result<()> {
        self.behind.store(!self.take_over_some(parts).await?, Ordering::Relaxed);
        Ok(())
    }

    /// True when none is left.
    async fn take_over_some(self: &Arc<Self>, parts: &Arc<Parts>) -> Result<bool> {
        let audiences: Vec<&str> = self.audiences.iter().map(|audience| audience.as_str()).collect();
        let own = if self.behind.load(Ordering::Relaxed) { self.owner.as_str() } else { "" };
        loop {
            let limit = AT_ONCE + self.held.lock().len();
            let mut conn = parts.db.reader().await?;
            let before = now() - millis(self.lease);
            let mut found = rows::abandoned(&mut conn, own, &audiences, before, limit).await?;
            drop(conn);
            {
                let held = self.held.lock();
                found.retain(|row| !held.contains_key(&row.id));
            }
            found.truncate(AT_ONCE);
            if found.is_empty() {
                return self.purge(parts).await.map(|()| true);
            }
            let others = found.iter().filter(|row| row.owner != self.owner).count();
            if others > 0 {
                tracing::info!("telling {others} changes that another server left untold");
            }
            if !self.push_all(parts, found).await? {
                return Ok(false);
            }
        }
    }

    /// Claims rows and puts them on their way; false when there is no room for all of them.
    async fn push_all(self: &Arc<Self>, parts: &Arc<Parts>, found: Vec<Abandoned>) -> Result<bool> {
        let mut tx = parts.db.begin().await?;
        let mut claimed = Vec::with_capacity(found.len());
        for row in &found {
            if rows::claim(&mut tx, row, &self.owner, now()).await? {
                claimed.push(row.id);
            }
        }
        let messages = rows::messages(&mut tx, &claimed).await?;
        tx.commit().await?;
        let receipts: Vec<_> = messages.into_iter().map(|(row, message)| (self.hold(row), message)).collect();
        for (receipt, message) in &receipts {
            push(parts, receipt, message).await;
        }
        Ok(receipts.iter().all(|(receipt, _)| !receipt.left.load(Ordering::Relaxed)))
    }

    /// Removes what nobody has taken over for long: its audience is configured nowhere any more.
    async fn purge(&self, parts: &Parts) -> Result<()> {
        let before = now() - millis(KEPT);
        let mut conn = parts.db.reader().await?;
        let audiences = [Audience::Agents, Audience::Nova, Audience::Watchers].map(Audience::as_str);
        let old = rows::abandoned(&mut conn, "", &audiences, before, 1).await?;
        drop(conn);
        if old.is_empty() {
            return Ok(());
        }
        let mut tx = parts.db.begin().await?;
        let removed = rows::purge(&mut tx, before).await?;
        tx.commit().await?;
        tracing::warn!("forgot {removed} changes that nobody could be told for {} hours", KEPT.as_secs() / 3600);
        Ok(())
    }
}

/// Puts what a row says on its way again.
async fn push(parts: &Arc<Parts>, receipt: &Arc<Receipt>, message: &Message) {
    let caller = match serde_json::from_str::<Map<String, Value>>(&message.context) {
        Ok(map) => Context::from_map(&map),
        Err(_) => Context::admin(),
    };
    let receipt = || Some(Arc::clone(receipt));
    match message.audience.as_str() {
        "agents" => {
            let ctx = Ctx::of(Arc::clone(parts), caller);
            for telling in read(message) {
                parts.events.push(Item { ctx: ctx.clone(), telling, receipt: receipt() }).await;
            }
        }
        "nova" => {
            if let Some(nova) = &parts.nova {
                read(message).into_iter().for_each(|event| nova.push(event, receipt()));
            }
        }
        "watchers" => {
            if let Some(notifier) = &parts.notifier {
                read(message).into_iter().for_each(|notice| notifier.push(&caller, notice, receipt()));
            }
        }
        other => tracing::error!("nobody here tells the audience '{other}'"),
    }
}

/// What cannot be read can never be told.
fn read<T: DeserializeOwned>(message: &Message) -> Vec<T> {
    serde_json::from_str(&message.body).unwrap_or_else(|error| {
        tracing::error!("a change that was left to be told to {} is not understood: {error}", message.audience);
        Vec::new()
    })
}

impl Receipt {
    /// It cannot be told now: it is to be read from the database again.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
        self.outbox.behind.store(true, Ordering::Relaxed);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.left.load(Ordering::Relaxed) {
            self.outbox.held.lock().remove(&self.row);
        } else {
            self.outbox.told.lock().push(self.row);
            self.outbox.something_told.notify_one();
        }
    }
}

impl Parts {
    /// The receipt of a row, if there is one: whoever holds a clone of it keeps the row. Nothing while rows of ours wait
    /// in the database: what is stored now is told after them, so it has to wait there as well.
    pub(super) fn receipt_unless_behind(&self, row: Option<Later>) -> Option<Option<Arc<Receipt>>> {
        // It is known after the commit; without a receipt it would only be told again.
        match (&self.outbox, row.and_then(|row| row.get().ok())) {
            (Some(outbox), Some(_)) if outbox.behind.load(Ordering::Relaxed) => None,
            (Some(outbox), Some(row)) => Some(Some(outbox.hold(row))),
            _ => Some(None),
        }
    }
}
