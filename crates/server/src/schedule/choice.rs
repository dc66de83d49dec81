//! Who may serve a network, and who is chosen: pure functions over what was loaded.

use std::time::Duration;

use chrono::NaiveDateTime;
use db::agent::Agent;
use serde_json::{Map, Value};
use types::{NetworkType, Segment};

/// The first place on a network.
const FIRST_INDEX: i32 = 1;
/// How long an agent may take to start serving one network.
const START_PER_NETWORK: Duration = Duration::from_secs(2);

/// The agent reported within `down_time`.
pub fn is_alive(heartbeat: NaiveDateTime, now: NaiveDateTime, down_time: Duration) -> bool {
    (now - heartbeat).to_std().is_ok_and(|age| age <= down_time) || heartbeat > now
}

/// Silence after which an agent's networks are given to others.
pub fn dead_limit(down_time: Duration) -> Duration {
    down_time * 2
}

/// The agent started so recently that it may be silent because it is still busy with its networks.
pub fn is_starting(started: NaiveDateTime, networks: usize, now: NaiveDateTime, down_time: Duration) -> bool {
    let networks = u32::try_from(networks).unwrap_or(u32::MAX);
    let grace = dead_limit(down_time).saturating_add(START_PER_NETWORK.saturating_mul(networks));
    (now - started).to_std().map_or(started > now, |age| age < grace)
}

/// The zones wanted (of the network, else of the configuration) include the agent's.
pub fn in_zone(agent: &Agent, hints: &[String], defaults: &[String]) -> bool {
    let wanted = if hints.is_empty() { defaults } else { hints };
    wanted.is_empty() || agent.availability_zone.as_ref().is_some_and(|zone| wanted.contains(zone))
}

/// The least loaded, at most `count`.
pub fn lightest(mut agents: Vec<Agent>, count: usize) -> Vec<Agent> {
    agents.sort_by_key(|agent| agent.load);
    agents.truncate(count);
    agents
}

/// The lowest free place on a network of which at most `limit` are to be taken; an operator may exceed the limit.
pub fn vacant_index(taken: &[i32], limit: usize, exceed: bool) -> Option<i32> {
    if taken.len() >= limit && !exceed {
        return None;
    }
    (FIRST_INDEX..).find(|index| !taken.contains(index))
}

/// An L2 agent with these configurations can carry the segment: by its mappings for flat and VLAN, by its tunnel types
/// for overlays.
pub fn carries(configurations: &Map<String, Value>, segment: &Segment) -> bool {
    let maps = |key: &str, network: &str| {
        configurations.get(key).and_then(Value::as_object).is_some_and(|mappings| mappings.contains_key(network))
    };
    match segment.network_type {
        NetworkType::Local => true,
        NetworkType::Flat | NetworkType::Vlan => segment
            .physical_network
            .as_deref()
            .is_some_and(|network| maps("interface_mappings", network) || maps("bridge_mappings", network)),
        tunnel => configurations
            .get("tunnel_types")
            .and_then(Value::as_array)
            .is_some_and(|types| types.iter().any(|t| t.as_str() == Some(tunnel.as_str()))),
    }
}
