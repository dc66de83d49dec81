//! A list chunk by chunk: of a database that is another program, the next one is read while the last is written.

use db::{
    Backend, Conn,
    list::{Items, ListQuery},
};
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::{Ctx, Error, Result, resource::Resource};

/// The chunks of a list, from one snapshot.
pub(super) struct Chunks<R> {
    ctx: Ctx,
    query: ListQuery,
    /// Here, unless the next chunk is being read.
    conn: Option<Conn>,
    ahead: Option<JoinHandle<(Conn, Result<Items<R>>)>>,
}

impl<R: Resource> Chunks<R> {
    /// Those of what `query` finds, whatever limit it has.
    pub(super) fn new(ctx: &Ctx, conn: Conn, query: ListQuery) -> Self {
        Self { ctx: ctx.clone(), query, conn: Some(conn), ahead: None }
    }

    /// The next so many resources; fewer are the last. What is read ahead already is as much as was said then.
    pub(super) async fn next(&mut self, count: u64) -> Result<Items<R>> {
        let mut items = match self.ahead.take() {
            Some(ahead) => {
                let (conn, items) =
                    ahead.await.map_err(|error| Error::Internal(format!("a list was not read on: {error}")))?;
                self.conn = Some(conn);
                items?
            }
            None => {
                let conn = self.conn.as_mut().ok_or_else(given_away)?;
                self.query.limit = Some(count);
                R::page(&self.ctx, conn, &self.query).await?
            }
        };
        self.query.after = items.last.take();
        Ok(items)
    }

    /// Begins to read the next so many resources, if the database is another program: what is part of this one would only
    /// be in the way, and twice as much in memory.
    pub(super) fn read_ahead(&mut self, count: u64) {
        if self.ctx.db().backend() == Backend::Sqlite {
            return;
        }
        let Some(mut conn) = self.conn.take() else { return };
        self.query.limit = Some(count);
        let (ctx, query) = (self.ctx.clone(), self.query.clone());
        let reading = async move {
            let items = R::page(&ctx, &mut conn, &query).await;
            (conn, items)
        };
        self.ahead = Some(tokio::spawn(reading.in_current_span()));
    }

    /// The connection, while nothing is read ahead.
    pub(super) fn conn(&mut self) -> Result<&mut Conn> {
        self.conn.as_mut().ok_or_else(given_away)
    }
}

fn given_away() -> Error {
    Error::Internal("the connection of a list is in use".to_owned())
}
