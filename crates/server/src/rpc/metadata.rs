//! Lookups of ports by filter.

use db::{Value as DbValue, list::ListQuery};
use oslo::context::Context;
use rpc::{
    metadata::{Callee, Filters},
    payload,
};
use serde_json::Value;
use types::port::Port;

use super::{Endpoint, RpcError};
use crate::resource::{self, Resource};

impl Callee for Endpoint<'_> {
    type Error = RpcError;

    async fn get_ports(&self, _: &Context, filters: Option<Filters>) -> Result<Vec<payload::Port>, RpcError> {
        let query = list_query(filters.unwrap_or_default());
        // A filter that is not known matches everything upstream; here it must not, or one port becomes all ports.
        if query.filters.iter().any(|filter| !Port::LISTING.can_filter(&filter.attribute)) {
            return Ok(Vec::new());
        }
        let mut conn = self.ctx.db().reader().await?;
        let ports = resource::find_all::<Port>(self.ctx, &mut conn, &query).await?;
        Ok(ports.into_iter().map(|port| payload::Port::new(port, &self.ctx.config().dns_domain)).collect())
    }
}

/// Filters of a message as those of a list: values are lists, or objects of lists for `fixed_ips`.
pub(super) fn list_query(filters: Filters) -> ListQuery {
    let mut query = ListQuery::default();
    for (attribute, values) in filters {
        match values {
            Value::Object(inner) => {
                for (name, values) in inner {
                    query = query.matching_any(&format!("{attribute}.{name}"), column_values(values));
                }
            }
            values => query = query.matching_any(&attribute, column_values(values)),
        }
    }
    query
}

fn column_values(values: Value) -> Vec<DbValue> {
    match values {
        Value::Array(values) => values.into_iter().flat_map(column_values).collect(),
        Value::Null => vec![DbValue::Null],
        Value::Bool(b) => vec![b.into()],
        Value::Number(n) => vec![n.as_i64().into()],
        Value::String(text) => vec![text.into()],
        Value::Object(_) => Vec::new(),
    }
}
