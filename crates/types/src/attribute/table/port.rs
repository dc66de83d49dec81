//! Attributes of ports.

use super::*;

const CORE: &str = "port";

/// Longest `device_owner`, in characters.
pub const DEVICE_OWNER_LENGTH: usize = 255;

pub(super) const VNIC_TYPES: &[&str] = &[
    "normal",
    "direct",
    "macvtap",
    "baremetal",
    "direct-physical",
    "virtio-forwarder",
    "smart-nic",
    "vdpa",
    "accelerator-direct",
    "accelerator-direct-physical",
    "remote-managed",
];

/// Attributes of ports.
pub static PORT: ResourceTable = ResourceTable {
    singular: "port",
    plural: "ports",
    path: "ports",
    noun: "Port",
    attributes: &[
        id(CORE),
        name(CORE),
        network_id(CORE),
        admin_state_up(CORE),
        // As in core, except that a null asks for a new address.
        Attribute::new("mac_address", "port-mac-address-regenerate")
            .create()
            .update()
            .default(Default::Unset)
            .convert(Convert::Mac)
            .check(Check::Mac)
            .filter()
            .sort()
            .enforce_policy(),
        Attribute::new("fixed_ips", CORE)
            .create()
            .update()
            .default(Default::Unset)
            .check(Check::FixedIps)
            .filter()
            .enforce_policy(),
        device("device_id", 255),
        device("device_owner", DEVICE_OWNER_LENGTH),
        tenant_id(CORE),
        Attribute::new("status", CORE).filter().sort(),
        Attribute::new("allowed_address_pairs", "allowed-address-pairs")
            .create()
            .update()
            .default(Default::Unset)
            .convert(Convert::NoneToEmptyList)
            .check(Check::AddressPairs)
            .enforce_policy(),
        Attribute::new("extra_dhcp_opts", "extra_dhcp_opt")
            .create()
            .update()
            .default(Default::Null)
            .check(Check::ExtraDhcpOpts),
        Attribute::new("ip_allocation", "ip_allocation").filter().sort(),
        Attribute::new("binding:vif_type", "binding").default(Default::Unset).enforce_policy(),
        Attribute::new("binding:vif_details", "binding")
            .default(Default::Unset)
            .check(Check::DictOrNone)
            .enforce_policy(),
        Attribute::new("binding:vnic_type", "binding")
            .create()
            .update()
            .default(Default::Text("normal"))
            .check(Check::Texts(VNIC_TYPES))
            .enforce_policy(),
        Attribute::new("binding:host_id", "binding")
            .create()
            .update()
            .default(Default::Unset)
            .check(Check::AnyText(255))
            .filter()
            .enforce_policy(),
        Attribute::new("binding:profile", "binding")
            .create()
            .update()
            .default(Default::Unset)
            .check(Check::DictOrNone)
            .enforce_policy(),
        Attribute::new("port_security_enabled", "port-security")
            .create()
            .update()
            .default(Default::Unset)
            .convert(Convert::Boolean)
            .enforce_policy(),
        REVISION_NUMBER,
        // Only ports take tags on create.
        Attribute::new("tags", "standard-attr-tag")
            .create()
            .default(Default::EmptyList)
            .check(Check::UniqueStrings(TAG_LENGTH))
            .filter(),
        TAGS_ANY,
        NOT_TAGS,
        NOT_TAGS_ANY,
        CREATED_AT,
        UPDATED_AT,
        DESCRIPTION,
        Attribute::new("security_groups", "security-group")
            .create()
            .update()
            .default(Default::Unset)
            .convert(Convert::NoneToEmptyList)
            .check(Check::UuidList)
            .filter(),
        project_id(),
    ],
};

const fn device(name: &'static str, length: usize) -> Attribute {
    Attribute::new(name, CORE)
        .create()
        .update()
        .default(Default::Text(""))
        .check(Check::String(length))
        .filter()
        .sort()
        .enforce_policy()
}
