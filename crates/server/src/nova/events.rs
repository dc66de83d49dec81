//! Which events of ports concern the compute service.

use serde::{Deserialize, Serialize};
use types::port::Port;

use super::Settings;
use crate::{
    event::{Action, Event},
    notification::Announced,
    provisioning::{Entity, status},
};

/// Owners whose ports belong to instances.
const COMPUTE: &str = "compute:";
/// Where the binding of an instance that migrates names its destination.
const MIGRATING_TO: &str = "migrating_to";

const PLUGGED: &str = "network-vif-plugged";
const UNPLUGGED: &str = "network-vif-unplugged";
const DELETED: &str = "network-vif-deleted";
const CHANGED: &str = "network-changed";

/// One event, as the compute service takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerEvent {
    /// What happened.
    pub name: String,
    /// To which instance.
    pub server_uuid: String,
    /// Whether it succeeded, for those that can fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The port.
    pub tag: String,
}

/// What the compute service has to hear of an event. Changes of data are told when a request made them, changes of
/// status whoever did.
pub(super) fn of(
    settings: &Settings,
    announced: Option<&Announced>,
    event: &Event,
) -> impl Iterator<Item = ServerEvent> + use<> {
    let status = match event {
        Event::PortUpdated { before, after } | Event::PortBindingActivated { before, after } => {
            status_changed(settings, before, after)
        }
        Event::PortProvisioned { before, after, by } => {
            let migrates = after.binding.profile.get(MIGRATING_TO).is_some_and(|host| !host.is_null() && host != "");
            let silent = settings.live_migration_events && migrates && *by != Entity::L2;
            if silent { None } else { status_changed(settings, before, after) }
        }
        Event::PortWiredElsewhere(port) if settings.status_changes => told(port, PLUGGED, Some("completed")),
        _ => None,
    };
    let data = match (event, announced) {
        // Upstream tells of a floating IP whoever changed it; here a port's end takes it along, and is told itself.
        (
            Event::FloatingIpCreated { inside, .. }
            | Event::FloatingIpUpdated { inside, .. }
            | Event::FloatingIpDeleted { inside, .. },
            _,
        ) if settings.data_changes => inside.iter().filter_map(|port| told(port, CHANGED, None)).collect(),

        (Event::PortUpdated { after, .. }, Some(by)) if settings.data_changes && by.is_of("port", Action::Update) => {
            Vec::from_iter(told(after, CHANGED, None))
        }
        (Event::PortDeleted(port), Some(by)) if settings.data_changes && by.is_of("port", Action::Delete) => {
            Vec::from_iter(told(port, DELETED, None))
        }
        _ => Vec::new(),
    };
    status.into_iter().chain(data)
}

fn status_changed(settings: &Settings, before: &Port, after: &Port) -> Option<ServerEvent> {
    const ERROR: &str = "ERROR";
    if !settings.status_changes {
        return None;
    }
    match (before.status.as_str(), after.status.as_str()) {
        (status::ACTIVE, status::DOWN) => told(after, UNPLUGGED, Some("completed")),
        (status::DOWN | status::BUILD, status::ACTIVE) => told(after, PLUGGED, Some("completed")),
        (status::DOWN | status::BUILD, ERROR) => told(after, PLUGGED, Some("failed")),
        _ => None,
    }
}

/// Only ports of instances are told.
fn told(port: &Port, name: &str, status: Option<&str>) -> Option<ServerEvent> {
    let is_compute = port.device_owner.starts_with(COMPUTE) && uuid::Uuid::try_parse(&port.device_id).is_ok();
    is_compute.then(|| ServerEvent {
        name: name.to_owned(),
        server_uuid: port.device_id.clone(),
        status: status.map(str::to_owned),
        tag: port.id.to_string(),
    })
}
