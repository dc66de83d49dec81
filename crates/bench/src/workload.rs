//! The requests that are measured, and a network of one's own to send them to.

use std::time::Duration;

use anyhow::{Context, bail};
use hyper::Method;
use serde_json::{Value, json};

use crate::endpoint::{Call, Connection, Endpoint};
use crate::load::{self, Load};
use crate::plan::Plan;

/// A network with room for a million ports, in a project of its own.
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    /// The network.
    pub(crate) network: String,
    subnet: String,
    project: String,
}

impl Arena {
    /// Makes one.
    pub(crate) async fn create(endpoint: &Endpoint) -> anyhow::Result<Self> {
        let mut connection = endpoint.connection();
        let project = uuid::Uuid::new_v4().simple().to_string();
        // Servers that do not let us lift the quota may not have one; the first failing create will tell.
        let limits = json!({"quota": {"port": -1, "network": -1, "subnet": -1}});
        let _ = connection.send(&Call::json(Method::PUT, format!("quotas/{project}"), &limits)).await;
        let network = json!({"network": {"name": "bench", "project_id": project}});
        let network = id_of(&mut connection, "networks", "network", &network).await?;
        let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/12",
            "enable_dhcp": false, "project_id": project}});
        let subnet = id_of(&mut connection, "subnets", "subnet", &subnet).await?;
        Ok(Self { network, subnet, project })
    }

    fn port(&self) -> Value {
        json!({"network_id": self.network, "project_id": self.project, "name": "bench"})
    }

    /// Creates one port.
    pub(crate) fn port_create(&self) -> Call {
        Call::json(Method::POST, "ports", &json!({"port": self.port()}))
    }

    /// Creates many ports at once.
    pub(crate) fn port_create_bulk(&self, ports: usize) -> Call {
        Call::json(Method::POST, "ports", &json!({"ports": vec![self.port(); ports]}))
    }

    /// Shows the network.
    pub(crate) fn network_show(&self) -> Call {
        Call::bare(Method::GET, format!("networks/{}", self.network))
    }

    /// Lists one page of ports in full.
    pub(crate) fn port_list(&self, ports: usize) -> Call {
        Call::bare(Method::GET, format!("ports?network_id={}&limit={ports}", self.network))
    }

    /// Deletes all ports of the network, then the network.
    pub(crate) async fn remove(self, endpoint: &Endpoint) -> anyhow::Result<()> {
        let mut connection = endpoint.connection();
        loop {
            let page = connection.expect(&self.port_list(Plan::PAGE)).await?;
            let ids = ids_in(&page["ports"]);
            if ids.is_empty() {
                break;
            }
            let load = Load { clients: 4, count: ids.len(), time: Duration::MAX, keep: false };
            let (sample, _) = load::run(endpoint, load, move |index| port_delete(&ids[index])).await?;
            if sample.count() == 0 {
                bail!(sample.complaint.unwrap_or_default());
            }
        }
        connection.expect(&Call::bare(Method::DELETE, format!("subnets/{}", self.subnet))).await?;
        connection.expect(&Call::bare(Method::DELETE, format!("networks/{}", self.network))).await?;
        Ok(())
    }
}

/// Shows a port.
pub(crate) fn port_show(id: &str) -> Call {
    Call::bare(Method::GET, format!("ports/{id}"))
}

/// Deletes a port.
pub(crate) fn port_delete(id: &str) -> Call {
    Call::bare(Method::DELETE, format!("ports/{id}"))
}

/// The ids in a list of resources.
pub(crate) fn ids_in(resources: &Value) -> Vec<String> {
    let resources = resources.as_array().into_iter().flatten();
    resources.filter_map(|resource| resource["id"].as_str()).map(str::to_owned).collect()
}

async fn id_of(connection: &mut Connection, path: &str, name: &str, body: &Value) -> anyhow::Result<String> {
    let answer = connection.expect(&Call::json(Method::POST, path, body)).await?;
    answer[name]["id"].as_str().map(str::to_owned).with_context(|| format!("POST {path}: the answer has no id"))
}
