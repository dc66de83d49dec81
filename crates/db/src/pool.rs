//! The connections to one server: as many as `[database]` allows, kept for the next request, replaced when they are old.
//!
//! Those beyond `max_pool_size` are closed once nobody has wanted them for [`SPARE`], not at once: under load they would
//! be wanted again the next moment.
//!
//! A connection that broke takes all idle ones of its age with it: when a server restarts, every connection to it is
//! gone, and whoever finds that out first spares the others the attempt.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{DbError, Reconnect, Settings, Usage};

/// How long a connection beyond `max_pool_size` waits for its next use.
const SPARE: Duration = Duration::from_secs(10);

/// Makes connections of one kind.
pub(crate) trait Connector: Send + Sync + 'static {
    /// What it makes.
    type Connection: Send + 'static;

    /// A new connection, ready for its first statement.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, DbError>> + Send;
}

/// The connections to one server; clones share them.
pub(crate) struct Pool<C: Connector>(Arc<Shared<C>>);

struct Shared<C: Connector> {
    connector: C,
    limits: Limits,
    /// One for each connection that may be open; none if there is no limit.
    permits: Option<Arc<Semaphore>>,
    /// The one used last is used next, so that what a lull leaves idle grows old together.
    idle: Mutex<Vec<Kept<C::Connection>>>,
    /// How often a connection was found broken.
    broken: AtomicU64,
    /// Somebody will look at what is spare.
    trimming: AtomicBool,
    /// Each lease has a copy of this, and the copies are counted.
    used: Arc<()>,
    /// Whoever waits for a connection has a copy of this.
    waiting: Arc<()>,
}

/// What an operator may set of a pool.
#[derive(Debug, Clone, Copy)]
struct Limits {
    idle: usize,
    wait: Duration,
    age: Option<Duration>,
    connect: Duration,
    again: Reconnect,
}

struct Kept<T> {
    connection: T,
    born: Instant,
    /// [`Shared::broken`] at its birth.
    generation: u64,
    /// When it was given back.
    since: Instant,
}

/// A connection in use. Dropped without [`Lease::give_back`], it is closed.
pub(crate) struct Lease<C: Connector> {
    pool: Pool<C>,
    kept: Kept<C::Connection>,
    /// Others have used it before.
    reused: bool,
    _permit: Option<OwnedSemaphorePermit>,
    _used: Arc<()>,
}

impl<C: Connector> Pool<C> {
    pub(crate) fn new(connector: C, settings: &Settings, connect: Duration) -> Self {
        let idle = if settings.max_pool_size > 0 { settings.max_pool_size } else { usize::MAX };
        let limits = Limits { idle, wait: settings.wait, age: settings.max_age, connect, again: settings.reconnect };
        let permits = settings.max_open().map(|open| Arc::new(Semaphore::new(open)));
        let (idle, broken, trimming) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        let (used, waiting) = Default::default();
        Self(Arc::new(Shared { connector, limits, permits, idle, broken, trimming, used, waiting }))
    }

    /// A connection: an idle one that is young enough, or a new one. Waits while as many as may be are in use.
    pub(crate) async fn get(&self) -> Result<Lease<C>, DbError> {
        let permit = match &self.0.permits {
            None => None,
            Some(permits) => Some(self.permit(permits).await?),
        };
        if let Some(kept) = self.idle() {
            return Ok(self.lease(kept, true, permit));
        }
        Ok(self.lease(self.connect().await?, false, permit))
    }

    fn lease(&self, kept: Kept<C::Connection>, reused: bool, permit: Option<OwnedSemaphorePermit>) -> Lease<C> {
        Lease { pool: self.clone(), kept, reused, _permit: permit, _used: Arc::clone(&self.0.used) }
    }

    /// How it is used now. `limit` is left to who knows it.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            in_use: Arc::strong_count(&self.0.used) - 1,
            idle: self.0.idle.lock().len(),
            waiting: Arc::strong_count(&self.0.waiting) - 1,
        }
    }

    async fn permit(&self, permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, DbError> {
        let wait = self.0.limits.wait;
        let _waiting = Arc::clone(&self.0.waiting);
        match tokio::time::timeout(wait, Arc::clone(permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(DbError::unavailable(format!(
                "no connection came free within {} s; max_pool_size and max_overflow bound their number",
                wait.as_secs_f32()
            ))),
        }
    }

    /// The idle connection used last. Those that are too old, or of the time before a break, are closed on the way.
    fn idle(&self) -> Option<Kept<C::Connection>> {
        let generation = self.0.broken.load(Ordering::Acquire);
        let mut idle = self.0.idle.lock();
        while let Some(kept) = idle.pop() {
            let old = self.0.limits.age.is_some_and(|age| kept.born.elapsed() > age);
            if kept.generation == generation && !old {
                return Some(kept);
            }
        }
        None
    }

    /// A new connection. One that is not to be had is tried again as often as the settings say.
    async fn connect(&self) -> Result<Kept<C::Connection>, DbError> {
        let Reconnect { attempts, mut pause, longest } = self.0.limits.again;
        let mut attempt = 0;
        loop {
            match self.connect_once().await {
                Err(DbError::Unavailable { .. }) if attempts.is_none_or(|attempts| attempt < attempts) => {
                    attempt += 1;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
                done => return done,
            }
        }
    }

    async fn connect_once(&self) -> Result<Kept<C::Connection>, DbError> {
        let generation = self.0.broken.load(Ordering::Acquire);
        let limit = self.0.limits.connect;
        let connection = tokio::time::timeout(limit, self.0.connector.connect()).await.map_err(|_| {
            DbError::unavailable(format!("the server did not take the connection within {} s", limit.as_secs_f32()))
        })??;
        let now = Instant::now();
        Ok(Kept { connection, born: now, generation, since: now })
    }

    /// Keeps a connection for its next use.
    fn keep(&self, mut kept: Kept<C::Connection>) {
        kept.since = Instant::now();
        let mut idle = self.0.idle.lock();
        idle.push(kept);
        let spare = idle.len() > self.0.limits.idle;
        drop(idle);
        if spare
            && !self.0.trimming.swap(true, Ordering::AcqRel)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let pool = Arc::downgrade(&self.0);
            runtime.spawn(async move {
                loop {
                    tokio::time::sleep(SPARE).await;
                    if pool.upgrade().is_none_or(|shared| shared.trim()) {
                        return;
                    }
                }
            });
        }
    }
}

impl<C: Connector> Shared<C> {
    /// Closes what is spare and has long not been used; true if nothing is left that may have to be closed later.
    fn trim(&self) -> bool {
        let mut idle = self.idle.lock();
        let spare = idle.len().saturating_sub(self.limits.idle);
        let unused = idle.iter().take(spare).take_while(|kept| kept.since.elapsed() >= SPARE).count();
        drop(idle.drain(..unused));
        let done = idle.len() <= self.limits.idle;
        if done {
            self.trimming.store(false, Ordering::Release);
        }
        done
    }
}

impl<C: Connector> Lease<C> {
    /// The connection.
    pub(crate) fn connection(&mut self) -> &mut C::Connection {
        &mut self.kept.connection
    }

    /// Others have used it before, so that it may have broken while nobody looked.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Puts it back for the next one; closes it if others of its age broke.
    pub(crate) fn give_back(self) {
        let Self { pool, kept, _permit, .. } = self;
        if kept.generation == pool.0.broken.load(Ordering::Acquire) {
            pool.keep(kept);
        }
    }

    /// Tells that it broke: none of its age will be given out again.
    pub(crate) fn broke(&self) {
        let next = self.kept.generation + 1;
        let broken = &self.pool.0.broken;
        // Others of the same generation tell nothing new.
        let _ = broken.compare_exchange(self.kept.generation, next, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Takes a new connection in the place of this one.
    pub(crate) async fn replace(&mut self) -> Result<(), DbError> {
        self.kept = self.pool.connect().await?;
        self.reused = false;
        Ok(())
    }
}

impl<C: Connector> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Connector> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.0.limits).finish()
    }
}

impl<C: Connector> fmt::Debug for Lease<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("reused", &self.reused).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in order instead of connections.
    struct Counter(AtomicU64);

    impl Connector for Counter {
        type Connection = u64;

        async fn connect(&self) -> Result<u64, DbError> {
            Ok(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    fn pool(size: usize, overflow: Option<usize>, age: Option<Duration>) -> Pool<Counter> {
        let mut settings = Settings::new("");
        (settings.max_pool_size, settings.max_overflow, settings.max_age) = (size, overflow, age);
        settings.wait = Duration::from_millis(20);
        Pool::new(Counter(AtomicU64::new(0)), &settings, Duration::from_secs(1))
    }

    async fn get(pool: &Pool<Counter>) -> (u64, Lease<Counter>) {
        let mut lease = pool.get().await.unwrap();
        (*lease.connection(), lease)
    }

    #[tokio::test]
    async fn no_more_are_open_than_allowed() {
        let pool = pool(1, Some(1), None);
        let ((zero, a), (one, b)) = (get(&pool).await, get(&pool).await);
        assert_eq!((zero, one), (0, 1));
        assert_eq!(pool.usage(), Usage { in_use: 2, idle: 0, waiting: 0 });
        let error = pool.get().await.unwrap_err();
        assert!(matches!(&error, DbError::Unavailable { source } if source.to_string().contains("max_pool_size")));
        a.give_back();
        assert_eq!(pool.usage(), Usage { in_use: 1, idle: 1, waiting: 0 });
        b.give_back();
        let ((one, a), (zero, _b)) = (get(&pool).await, get(&pool).await);
        assert_eq!((one, zero), (1, 0), "the one used last comes first");
        assert!(a.is_reused());
    }

    #[tokio::test]
    async fn what_is_spare_is_closed_after_a_while() {
        let pool = pool(1, Some(2), None);
        let (a, b, c) = (get(&pool).await.1, get(&pool).await.1, get(&pool).await.1);
        for lease in [a, b, c] {
            lease.give_back();
        }
        assert!(!pool.0.trim(), "all were used just now");
        for (kept, age) in pool.0.idle.lock().iter_mut().zip([SPARE, Duration::ZERO, SPARE]) {
            kept.since = Instant::now().checked_sub(age).unwrap();
        }
        assert!(!pool.0.trim());
        assert_eq!(pool.0.idle.lock().iter().map(|kept| kept.connection).collect::<Vec<_>>(), [1, 2]);
    }

    #[tokio::test]
    async fn without_a_limit_there_is_none() {
        for pool in [pool(0, Some(1), None), pool(1, None, None)] {
            let mut leases = Vec::new();
            for _ in 0..9 {
                leases.push(pool.get().await.unwrap());
            }
        }
    }

    #[tokio::test]
    async fn old_ones_are_replaced() {
        let pool = pool(5, Some(0), Some(Duration::ZERO));
        get(&pool).await.1.give_back();
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(get(&pool).await.0, 1);
    }

    #[tokio::test]
    async fn a_break_takes_all_of_its_age() {
        let pool = pool(5, Some(0), None);
        let (a, b, c) = (get(&pool).await.1, get(&pool).await.1, get(&pool).await.1);
        a.give_back();
        b.broke();
        drop(b);
        c.give_back();
        let (three, mut lease) = get(&pool).await;
        assert_eq!((three, lease.is_reused()), (3, false), "neither the idle one nor that which came back later");
        lease.replace().await.unwrap();
        assert_eq!(*lease.connection(), 4);
        lease.give_back();
        assert_eq!(get(&pool).await.0, 4);
    }
}
