//! One connection and the statements prepared on it.

use std::{borrow::Cow, collections::HashMap, fmt::Write as _, sync::Arc};

use futures_util::future::{self, OptionFuture};
use tokio_postgres::{Client, Error, Statement as Prepared, types::ToSql};

use crate::{
    Row, Value,
    flight::{Outcome, Statement},
};

/// Statements kept prepared by each connection.
const STATEMENT_CACHE: usize = 256;
/// Statements on their way at once.
const TOGETHER: usize = 30;

/// One connection.
pub(crate) struct Connection {
    pub(super) client: Arc<Client>,
    prepared: HashMap<Arc<str>, Prepared>,
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self { client: Arc::new(client), prepared: HashMap::new() }
    }

    /// Sends statements one after the other without waiting for answers in between, `begin` before and `end` behind
    /// them. The server takes no more of a transaction than up to the first that fails, whose place comes with the error.
    pub(super) async fn fly(
        &mut self,
        begin: Option<&str>,
        statements: &[&Statement],
        end: Option<&str>,
    ) -> Result<Vec<Outcome>, (usize, Error)> {
        let mut prepared = Vec::with_capacity(statements.len());
        for (at, statement) in statements.iter().enumerate() {
            prepared.push((self.prepare(&statement.text).await.map_err(|e| (at, e))?, &*statement.binds));
        }
        let client = &*self.client;
        let (mut begin, mut outcomes) = (begin, Vec::with_capacity(statements.len()));
        let mut left = &*prepared;
        loop {
            let (some, rest) = left.split_at(left.len().min(TOGETHER));
            left = rest;
            let end = end.filter(|_| left.is_empty());
            // Joined futures are polled in their order, and the first poll sends.
            let (begun, done, ended) = future::join3(
                OptionFuture::from(begin.take().map(|begin| client.batch_execute(begin))),
                future::join_all(some.iter().map(|(prepared, binds)| run(client, prepared, binds))),
                OptionFuture::from(end.map(|end| client.batch_execute(end))),
            )
            .await;
            begun.transpose().map_err(|e| (0, e))?;
            for outcome in done {
                outcomes.push(outcome.map_err(|e| (outcomes.len(), e))?);
            }
            ended.transpose().map_err(|e| (outcomes.len(), e))?;
            if left.is_empty() {
                return Ok(outcomes);
            }
        }
    }

    async fn prepare(&mut self, text: &Arc<str>) -> Result<Prepared, Error> {
        if let Some(prepared) = self.prepared.get(text) {
            return Ok(prepared.clone());
        }
        if self.prepared.len() >= STATEMENT_CACHE {
            // It has no order of age; texts of hot statements are back soon.
            self.prepared.clear();
        }
        let prepared = self.client.prepare(&numbered(text)).await?;
        self.prepared.insert(Arc::clone(text), prepared.clone());
        Ok(prepared)
    }
}

async fn run(client: &Client, prepared: &Prepared, binds: &[Value]) -> Result<Outcome, Error> {
    let params: Vec<&(dyn ToSql + Sync)> = binds.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
    if prepared.columns().is_empty() {
        let affected = client.execute(prepared, &params).await?;
        return Ok(Outcome { rows: Vec::new(), affected, last_id: 0 });
    }
    let mut rows = Vec::new();
    for row in client.query(prepared, &params).await? {
        rows.push(Row::new((0..row.len()).map(|i| row.try_get(i)).collect::<Result<_, _>>()?));
    }
    let affected = rows.len() as u64;
    Ok(Outcome { rows, affected, last_id: 0 })
}

/// `?` outside quotes becomes `$1`, `$2` …
fn numbered(text: &str) -> Cow<'_, str> {
    if !text.contains('?') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut number = 0;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (None, '?') => {
                number += 1;
                let _ = write!(out, "${number}");
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        out.push(c);
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_outside_quotes() {
        assert_eq!(
            numbered("SELECT '?' FROM \"a?\" WHERE x = ? AND y = ?"),
            "SELECT '?' FROM \"a?\" WHERE x = $1 AND y = $2"
        );
    }
}
