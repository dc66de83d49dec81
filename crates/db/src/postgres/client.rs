//! One connection and the statements prepared on it.

use std::{collections::HashMap, sync::Arc};

use tokio_postgres::{Client, Error, Statement, types::ToSql};

use crate::{Row, Value, conn::Outcome};

/// Statements kept prepared by each connection.
const STATEMENT_CACHE: usize = 256;

/// One connection.
pub(crate) struct Connection {
    pub(super) client: Arc<Client>,
    prepared: HashMap<String, Statement>,
}

impl Connection {
    pub(super) fn new(client: Client) -> Self {
        Self { client: Arc::new(client), prepared: HashMap::new() }
    }

    pub(super) async fn run(&mut self, text: &str, binds: &[Value]) -> Result<Outcome, Error> {
        let statement = self.prepare(text).await?;
        let params: Vec<&(dyn ToSql + Sync)> = binds.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        if statement.columns().is_empty() {
            let affected = self.client.execute(&statement, &params).await?;
            return Ok(Outcome { rows: Vec::new(), affected, last_id: 0 });
        }
        let mut rows = Vec::new();
        for row in self.client.query(&statement, &params).await? {
            rows.push(Row::new((0..row.len()).map(|i| row.try_get(i)).collect::<Result<_, _>>()?));
        }
        let affected = rows.len() as u64;
        Ok(Outcome { rows, affected, last_id: 0 })
    }

    async fn prepare(&mut self, text: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.prepared.get(text) {
            return Ok(statement.clone());
        }
        if self.prepared.len() >= STATEMENT_CACHE {
            // It has no order of age; texts of hot statements are back soon.
            self.prepared.clear();
        }
        let statement = self.client.prepare(text).await?;
        self.prepared.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }
}
