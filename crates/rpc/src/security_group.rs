//! What firewalls ask of the server: the rules of the groups of their devices, and the addresses of group members.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::l2;

/// Topic of the server.
pub const TOPIC: &str = l2::TOPIC;

/// Rules, members and devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroupInfo {
    /// Rules by group.
    pub security_groups: BTreeMap<String, Vec<Rule>>,
    /// Member addresses by group and ethertype.
    pub sg_member_ips: BTreeMap<String, BTreeMap<String, Vec<Member>>>,
    /// Ports by id; ports of the system are left out, which agents take as trusted.
    pub devices: BTreeMap<String, SecuredDevice>,
}

/// A rule; what is null is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// `ingress` or `egress`.
    pub direction: String,
    /// `IPv4` or `IPv6`.
    pub ethertype: String,
    /// The group it is part of; in the older method only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_group_id: Option<String>,
    /// Name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// First port, or ICMP type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range_min: Option<i32>,
    /// Last port, or ICMP code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range_max: Option<i32>,
    /// First source port; of the built-in rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port_range_min: Option<i32>,
    /// Last source port; of the built-in rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port_range_max: Option<i32>,
    /// The other side of an ingress rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip_prefix: Option<String>,
    /// The other side of an egress rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dest_ip_prefix: Option<String>,
    /// The other side as members of a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_group_id: Option<String>,
    /// The other side as an address group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_address_group_id: Option<String>,
    /// Whether answers pass; absent from built-in rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stateful: Option<bool>,
}

/// An address of a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Member {
    /// With its MAC, which only address pairs have.
    Pair(String, Option<String>),
    /// As callers older than 1.3 know it.
    Address(String),
}

/// A port with what a firewall needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecuredDevice {
    /// The port.
    pub id: String,
    /// The name it was asked for by.
    pub device: String,
    /// Its addresses.
    pub fixed_ips: Vec<String>,
    /// Its groups.
    pub security_groups: Vec<String>,
    /// Built-in rules; the expanded rules too in the older method.
    pub security_group_rules: Vec<Rule>,
    /// Groups its rules name as the other side.
    pub security_group_source_groups: Vec<String>,
    /// Address groups its rules name.
    #[serde(default)]
    pub security_group_remote_address_groups: Vec<String>,
    /// False: no filtering.
    #[serde(default)]
    pub port_security_enabled: bool,
    /// The other keys of the port.
    #[serde(flatten)]
    pub port: Map<String, Value>,
}

interface! {
    version "1.3";
    calls {
        /// Groups, members and devices, each once.
        security_group_info_for_devices "1.3" on TOPIC: (devices: Vec<String>, call_version: Option<String>) -> SecurityGroupInfo;
        /// Each device with its rules expanded.
        security_group_rules_for_devices "1.1" on TOPIC: (devices: Vec<String>) -> BTreeMap<String, SecuredDevice>;
    }
    casts {}
}
