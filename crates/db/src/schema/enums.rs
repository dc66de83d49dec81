//! The enumerations of the schema; their names are types on PostgreSQL.

use super::Enum;

macro_rules! enums {
    ($($(#[$doc:meta])* $id:ident = $name:literal [$($value:literal),*];)*) => {
        $($(#[$doc])* pub static $id: Enum = Enum { name: $name, values: &[$($value),*] };)*

        /// All of them.
        pub static ALL: &[&Enum] = &[$(&$id),*];
    };
}

enums! {
    /// State of a highly available router on an agent.
    L3_HA_STATES = "l3_ha_states" ["active", "standby", "unknown"];
    /// Direction a metering rule counts.
    METERING_DIRECTION = "meteringlabels_direction" ["ingress", "egress"];
    /// Network types that have ranges of segmentation ids.
    SEGMENT_RANGE_TYPE = "network_segment_range_network_type" ["vlan", "vxlan", "gre", "geneve"];
    /// NUMA affinity of a port.
    NUMA_AFFINITY_POLICY = "numa_affinity_policy" ["required", "preferred", "legacy", "socket"];
    /// Role of a port in a private VLAN.
    PVLAN_TYPE = "pvlan_type_enum" ["isolated", "promiscuous", "community"];
    /// Direction of a bandwidth rule.
    DIRECTIONS = "directions" ["egress", "ingress"];
    /// Direction of a minimum packet rate rule.
    MINIMUM_PACKET_RATE_DIRECTIONS = "qos_minimum_packet_rate_rules_directions" ["any", "ingress", "egress"];
    /// Direction of a packet rate limit.
    PACKET_RATE_LIMIT_DIRECTIONS = "qos_packet_rate_limit_rules_directions" ["egress", "ingress"];
    /// Direction of a default security group rule.
    DEFAULT_RULE_DIRECTION = "defaultsecuritygrouprules_direction" ["ingress", "egress"];
    /// Direction of a security group rule.
    RULE_DIRECTION = "securitygrouprules_direction" ["ingress", "egress"];
    /// Who announces an IPv6 prefix, and how.
    IPV6_RA_MODES = "ipv6_ra_modes" ["slaac", "dhcpv6-stateful", "dhcpv6-stateless"];
    /// How an IPv6 address is had.
    IPV6_ADDRESS_MODES = "ipv6_address_modes" ["slaac", "dhcpv6-stateful", "dhcpv6-stateless"];
}
