//! The commands that join routers to networks and floating IPs to ports.

use hyper::Method;
use serde_json::{Map, Value, json};

use super::action::Run;
use super::api::Query;
use super::catalog::{NETWORK, PORT, ROUTER, SUBNET};
use super::error::ClientError;
use super::extra::object;
use super::spec::Routed;
use oslo::http::encode;

impl Run<'_> {
    /// Does one of them.
    pub(super) async fn routed(&mut self, what: Routed) -> Result<(), ClientError> {
        match what {
            Routed::GatewaySet => self.gateway_set().await,
            Routed::GatewayClear => {
                self.router_update(json!({"external_gateway_info": {}})).await?;
                self.say(&format!("Removed gateway from router {}", self.argument(0)))
            }
            Routed::InterfaceAdd => {
                let answer = self.interface("add_router_interface").await?;
                let port = answer["port_id"].as_str().unwrap_or_default();
                self.say(&format!("Added interface {port} to router {}.", self.argument(0)))
            }
            Routed::InterfaceRemove => {
                self.interface("remove_router_interface").await?;
                self.say(&format!("Removed interface from router {}.", self.argument(0)))
            }
            Routed::Associate => {
                let port = self.api.find(&PORT, self.argument(1)).await?;
                let mut body = json!({"port_id": port});
                if let Some(address) = self.parsed.value("--fixed-ip-address") {
                    body["fixed_ip_address"] = address.into();
                }
                self.floatingip_update(body).await?;
                self.say(&format!("Associated floating IP {}", self.argument(0)))
            }
            Routed::Disassociate => {
                self.floatingip_update(json!({"port_id": null})).await?;
                self.say(&format!("Disassociated floating IP {}", self.argument(0)))
            }
        }
    }

    async fn gateway_set(&mut self) -> Result<(), ClientError> {
        let network = self.api.find(&NETWORK, self.argument(1)).await?;
        let mut info = Map::from_iter([("network_id".to_owned(), Value::from(network))]);
        if self.parsed.has("--disable-snat") {
            info.insert("enable_snat".to_owned(), false.into());
        }
        let mut addresses = Vec::new();
        for text in self.parsed.values("--fixed-ip") {
            let mut address = object(text, &[], &["subnet_id", "ip_address"])
                .map_err(|reason| ClientError::Usage(format!("argument --fixed-ip: {reason}")))?;
            if let Some(subnet) = address.get("subnet_id").and_then(Value::as_str) {
                let id = self.api.find(&SUBNET, subnet).await?;
                address.insert("subnet_id".to_owned(), id.into());
            }
            addresses.push(Value::Object(address));
        }
        if !addresses.is_empty() {
            info.insert("external_fixed_ips".to_owned(), addresses.into());
        }
        self.router_update(json!({"external_gateway_info": info})).await?;
        self.say(&format!("Set gateway for router {}", self.argument(0)))
    }

    async fn router_update(&self, attributes: Value) -> Result<(), ClientError> {
        let router = self.api.find(&ROUTER, self.argument(0)).await?;
        let path = format!("routers/{}", encode(&router));
        self.api.request(Method::PUT, &path, &Query::new(), Some(&json!({"router": attributes}))).await.map(|_| ())
    }

    async fn floatingip_update(&self, attributes: Value) -> Result<(), ClientError> {
        let path = format!("floatingips/{}", encode(self.argument(0)));
        self.api.request(Method::PUT, &path, &Query::new(), Some(&json!({"floatingip": attributes}))).await.map(|_| ())
    }

    /// The interface is a subnet, as `SUBNET` or `subnet=SUBNET`, or a port, as `port=PORT`.
    async fn interface(&self, action: &str) -> Result<Value, ClientError> {
        let router = self.api.find(&ROUTER, self.argument(0)).await?;
        let body = match self.argument(1).split_once('=') {
            Some(("port", port)) => json!({"port_id": self.api.find(&PORT, port).await?}),
            Some(("subnet", subnet)) => json!({"subnet_id": self.api.find(&SUBNET, subnet).await?}),
            Some(_) => {
                return Err(ClientError::Refused(
                    "You must specify either subnet or port for INTERFACE parameter.".to_owned(),
                ));
            }
            None => json!({"subnet_id": self.api.find(&SUBNET, self.argument(1)).await?}),
        };
        let path = format!("routers/{}/{action}", encode(&router));
        self.api.request(Method::PUT, &path, &Query::new(), Some(&body)).await
    }
}
