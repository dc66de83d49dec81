//! Port binding: which mechanism driver plugs a port on its host, and into which segment.
//!
//! A driver binds when an agent of its kind on the host is alive and can carry one of the network's segments. All that
//! is asked is in the database, so binding is part of the transaction that makes it necessary.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use db::{Conn, agent::Agent, port::BindingLevel};
use serde_json::{Map, Value, json};
use types::{Segment, agent::kind, port::Port};

use crate::{
    Ctx, Result,
    config::{Config, Mechanism, VifType},
    schedule::choice,
};

/// Values of `binding:vif_type`.
pub mod vif_type {
    /// No host is known.
    pub const UNBOUND: &str = "unbound";
    /// No driver could bind it on its host.
    pub const BINDING_FAILED: &str = "binding_failed";
    /// Into a Linux bridge that the compute service makes.
    pub const BRIDGE: &str = "bridge";
    /// A tap that the compute service makes and the agent plugs.
    pub const TAP: &str = "tap";
    /// Into Open vSwitch.
    pub const OVS: &str = "ovs";
}

/// Agents seen while binding several ports, so that each is loaded once.
#[derive(Debug, Default)]
pub struct Agents(HashMap<(&'static str, String), Option<Agent>>);

impl Agents {
    async fn on_host(&mut self, conn: &mut Conn, kind: &'static str, host: &str) -> Result<Option<&Agent>> {
        let key = (kind, host.to_owned());
        if !self.0.contains_key(&key) {
            let agent = db::agent::agent_on_host(conn, kind, host).await?;
            self.0.insert(key.clone(), agent);
        }
        Ok(self.0.get(&key).and_then(Option::as_ref))
    }
}

/// Binds the port on its host: sets its vif type and details, and returns the level to store when it is bound.
pub async fn bind(
    ctx: &Ctx,
    conn: &mut Conn,
    agents: &mut Agents,
    port: &mut Port,
    segments: &[Segment],
) -> Result<Option<BindingLevel>> {
    port.binding.vif_details = Map::new();
    if port.binding.host.is_empty() {
        vif_type::UNBOUND.clone_into(&mut port.binding.vif_type);
        return Ok(None);
    }
    let now = db::standard::now();
    for mechanism in &ctx.config().ml2.mechanism_drivers {
        if !mechanism.plugs(&port.binding.vnic_type) {
            continue;
        }
        let Some(agent) = agents.on_host(conn, mechanism.agent_kind(), &port.binding.host).await? else { continue };
        let Some(bound) = mechanism.try_bind(ctx.config(), agent, now, segments) else { continue };
        bound.vif_type.clone_into(&mut port.binding.vif_type);
        port.binding.vif_details = bound.vif_details;
        port.binding.vif_details.insert("bound_drivers".to_owned(), json!({"0": mechanism.name()}));
        return Ok(Some(BindingLevel {
            port_id: port.id,
            host: port.binding.host.clone(),
            driver: mechanism.name(),
            segment_id: bound.segment.id,
        }));
    }
    tracing::warn!(port = %port.id, host = %port.binding.host, "no mechanism driver could bind the port");
    vif_type::BINDING_FAILED.clone_into(&mut port.binding.vif_type);
    Ok(None)
}

struct Bound<'a> {
    vif_type: &'static str,
    vif_details: Map<String, Value>,
    segment: &'a Segment,
}

impl Mechanism {
    /// Its name in `mechanism_drivers` and in binding levels.
    pub fn name(self) -> &'static str {
        match self {
            Self::LinuxBridge => "linuxbridge",
            Self::OpenVSwitch => "openvswitch",
        }
    }

    /// The kind of agent that does its work on a host.
    pub fn agent_kind(self) -> &'static str {
        match self {
            Self::LinuxBridge => kind::LINUX_BRIDGE,
            Self::OpenVSwitch => kind::OPEN_VSWITCH,
        }
    }

    /// Whether it can plug this kind of NIC.
    pub fn plugs(self, vnic_type: &str) -> bool {
        match self {
            Self::LinuxBridge => vnic_type == "normal",
            Self::OpenVSwitch => matches!(vnic_type, "normal" | "direct" | "smart-nic" | "vdpa"),
        }
    }

    fn try_bind<'a>(
        self,
        config: &Config,
        agent: &Agent,
        now: NaiveDateTime,
        segments: &'a [Segment],
    ) -> Option<Bound<'a>> {
        if !choice::is_alive(agent.heartbeat_timestamp, now, config.agent_down_time) {
            tracing::warn!(host = %agent.host, "the {} is dead, ports are not bound there", agent.agent_type);
            return None;
        }
        let configurations: Map<String, Value> = serde_json::from_str(&agent.configurations).unwrap_or_default();
        let segment = segments.iter().find(|segment| choice::carries(&configurations, segment))?;
        let mut details = Map::new();
        details.insert("connectivity".to_owned(), json!("l2"));
        details.insert("port_filter".to_owned(), json!(config.enable_security_group));
        let vif_type = match (self, config.ml2.linuxbridge_vif_type) {
            (Self::LinuxBridge, VifType::Bridge) => vif_type::BRIDGE,
            (Self::LinuxBridge, VifType::Tap) => vif_type::TAP,
            (Self::OpenVSwitch, _) => {
                openvswitch_details(&configurations, &mut details);
                vif_type::OVS
            }
        };
        Some(Bound { vif_type, vif_details: details, segment })
    }
}

fn openvswitch_details(configurations: &Map<String, Value>, details: &mut Map<String, Value>) {
    let reported = |key: &str, default: Value| configurations.get(key).cloned().unwrap_or(default);
    details.insert("ovs_hybrid_plug".to_owned(), reported("ovs_hybrid_plug", json!(false)));
    details.insert("datapath_type".to_owned(), reported("datapath_type", json!("system")));
    details.insert("bridge_name".to_owned(), reported("integration_bridge", json!("br-int")));
}

#[cfg(test)]
mod tests {
    use types::{NetworkId, NetworkType, SegmentId};

    use super::*;

    fn agent(configurations: Value) -> Agent {
        let now = db::standard::now();
        Agent {
            id: types::AgentId::random(),
            agent_type: kind::LINUX_BRIDGE.to_owned(),
            binary: "neutron-linuxbridge-agent".to_owned(),
            topic: "N/A".to_owned(),
            host: "h".to_owned(),
            admin_state_up: true,
            created_at: now,
            started_at: now,
            heartbeat_timestamp: now,
            description: None,
            configurations: configurations.to_string(),
            load: 0,
            availability_zone: None,
            resource_versions: None,
            resources_synced: None,
        }
    }

    fn flat(physical_network: &str) -> Segment {
        Segment {
            id: SegmentId::random(),
            network_id: NetworkId::random(),
            network_type: NetworkType::Flat,
            physical_network: Some(physical_network.to_owned()),
            segmentation_id: None,
            segment_index: 0,
        }
    }

    #[test]
    fn linuxbridge_binds_by_its_mappings() {
        let agent = agent(json!({"interface_mappings": {"public": "eth0"}}));
        let segments = [flat("other"), flat("public")];
        let now = agent.heartbeat_timestamp;
        let bound = Mechanism::LinuxBridge.try_bind(&Config::default(), &agent, now, &segments).unwrap();
        assert_eq!((bound.vif_type, bound.segment), ("bridge", &segments[1]));
        assert_eq!(Value::from(bound.vif_details), json!({"connectivity": "l2", "port_filter": true}));
        assert!(Mechanism::LinuxBridge.try_bind(&Config::default(), &agent, now, &segments[..1]).is_none());
    }

    #[test]
    fn nothing_binds_to_a_dead_agent() {
        let agent = agent(json!({"interface_mappings": {"public": "eth0"}}));
        let late = agent.heartbeat_timestamp + chrono::TimeDelta::seconds(76);
        assert!(Mechanism::LinuxBridge.try_bind(&Config::default(), &agent, late, &[flat("public")]).is_none());
    }
}
