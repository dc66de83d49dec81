//! How to reach the database, from the options of `[database]`, and how often to try.

use std::time::Duration;

use db::{Database, DbError, Reconnect, Settings};
use server::retry::Policy;

use super::Stop;
use super::db::database_failed;
use super::edge::Edge;
use super::stop::chain;

/// How to reach the database, and how often to try.
pub(super) struct Connection {
    settings: Settings,
    /// Further attempts at start; `None` for ever.
    retries: Option<u32>,
    pause: Duration,
}

impl Connection {
    /// The options of `[database]` for a database with this URL.
    pub(super) fn new(edge: &Edge, url: &str) -> Result<Self, Stop> {
        let config = edge.config();
        let parameters: Option<String> = config.get("database", "connection_parameters")?;
        let mut settings = Settings::new(db::url_with_parameters(url, &parameters.unwrap_or_default()));
        settings.max_pool_size = config.get("database", "max_pool_size")?;
        settings.max_overflow = usize::try_from(config.get::<i64>("database", "max_overflow")?).ok();
        if let Some(timeout) = config.get::<Option<Duration>>("database", "pool_timeout")? {
            settings.wait = timeout;
        }
        let age: i64 = config.get("database", "connection_recycle_time")?;
        settings.max_age = u64::try_from(age).ok().map(Duration::from_secs);
        let mode: String = config.get("database", "mysql_sql_mode")?;
        settings.mysql_sql_mode = Some(mode).filter(|mode| !mode.is_empty());
        settings.mysql_wsrep_sync_wait = config.get("database", "mysql_wsrep_sync_wait")?;
        let limit: i64 = config.get("database", "db_max_retries")?;
        let attempts = u32::try_from(limit).ok();
        let again: bool = config.get("database", "use_db_reconnect")?;
        let pause: Duration = config.get("database", "db_retry_interval")?;
        let grows: bool = config.get("database", "db_inc_retry_interval")?;
        let longest: Duration = config.get("database", "db_max_retry_interval")?;
        let longest = if grows { longest.max(pause) } else { pause };
        settings.reconnect = Reconnect { attempts: if again { attempts } else { Some(0) }, pause, longest };
        server::retry::set(Policy { attempts });
        if config.get::<Option<String>>("database", "slave_connection")?.is_some() {
            tracing::warn!(
                "[database] slave_connection is not used: what was written a moment ago is read at once, so all reads go to connection"
            );
        }
        let retries: i64 = config.get("database", "max_retries")?;
        let pause = config.get("database", "retry_interval")?;
        Ok(Self { settings, retries: u32::try_from(retries).ok(), pause })
    }

    /// Connects. A server that is not there yet is waited for: machines start their services in any order.
    pub(super) async fn open(&self) -> Result<Database, Stop> {
        let mut attempt = 0;
        loop {
            match Database::connect(&self.settings).await {
                Err(error @ DbError::Unavailable { .. }) if self.retries.is_none_or(|retries| attempt < retries) => {
                    tracing::warn!("{}; trying again in {} s", chain(&error), self.pause.as_secs());
                    attempt += 1;
                    tokio::time::sleep(self.pause).await;
                }
                done => return done.map_err(database_failed),
            }
        }
    }

    /// Connects, or tells at once that it cannot: for a command that somebody waits for.
    pub(super) async fn open_once(&self) -> Result<Database, Stop> {
        Database::connect(&self.settings).await.map_err(database_failed)
    }
}
