//! Attributes of what networks have left; nothing of them can be given.

use super::*;

const CORE: &str = "network-ip-availability";

/// Attributes of what networks have left.
pub static NETWORK_IP_AVAILABILITY: ResourceTable = ResourceTable {
    singular: "network_ip_availability",
    plural: "network_ip_availabilities",
    path: "network-ip-availabilities",
    noun: "Network",
    attributes: &[
        Attribute::new("network_id", CORE).filter().sort(),
        Attribute::new("network_name", CORE).filter(),
        Attribute::new("tenant_id", CORE).filter(),
        Attribute::new("project_id", "project-id").filter(),
        Attribute::new("total_ips", CORE),
        Attribute::new("used_ips", CORE),
        Attribute::new("subnet_ip_availability", CORE),
        Attribute::new("ip_version", CORE).hidden().filter(),
        Attribute::new("ip_availability_details", "network-ip-availability-details"),
    ],
};
