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

#[cfg(test)]
mod tests {
    use rpc::metadata::Client;
    use serde_json::json;

    use super::*;
    use crate::{Ctx, testing};

    async fn owners(ctx: &Ctx, filters: Value) -> Vec<String> {
        let client = Client::new(ctx.parts.bus.clone());
        let filters = filters.as_object().unwrap().clone();
        let found = client.get_port_owners(&Context::admin(), filters).await.unwrap();
        let mut devices: Vec<String> = found.into_iter().map(|port| port.device_id).collect();
        devices.sort();
        devices
    }

    /// As the metadata agent asks: networks may have the same addresses.
    #[tokio::test]
    async fn ports_are_found_by_their_addresses_on_a_network() {
        let ctx = testing::serving(|_| {}).await;
        let mut made = Vec::new();
        for device in ["one", "two"] {
            let network = testing::network(&ctx).await;
            testing::subnet(&ctx, &network, "10.0.0.0/24").await;
            let body =
                json!({"network_id": network.id, "device_id": device, "fixed_ips": [{"ip_address": "10.0.0.5"}]});
            made.push(testing::create::<Port>(&ctx, body).await);
        }
        let [one, two] = made.as_slice() else { panic!("two ports") };
        let by_ip = |networks: Value| json!({"fixed_ips": {"ip_address": ["10.0.0.5"]}, "network_id": networks});
        assert_eq!(owners(&ctx, by_ip(json!([one.network_id]))).await, ["one"]);
        assert_eq!(owners(&ctx, by_ip(json!([one.network_id, two.network_id]))).await, ["one", "two"]);
        assert_eq!(owners(&ctx, by_ip(json!([]))).await, [""; 0]);
        let by_mac = json!({"mac_address": [two.mac_address], "network_id": [two.network_id]});
        assert_eq!(owners(&ctx, by_mac).await, ["two"]);
        let elsewhere = json!({"mac_address": [two.mac_address], "network_id": [one.network_id]});
        assert_eq!(owners(&ctx, elsewhere).await, [""; 0]);
        let by_device = json!({"device_id": ["two"], "device_owner": [""]});
        assert_eq!(owners(&ctx, by_device).await, ["two"]);
        assert_eq!(owners(&ctx, json!({"no_such_attribute": ["x"]})).await, [""; 0]);
    }
}
