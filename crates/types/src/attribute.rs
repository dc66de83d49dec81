//! Attribute tables: the single source for what a resource's attributes are.
//!
//! Each resource has one [`ResourceTable`]. From it come the validation of bodies, defaults, conversions, which
//! attributes a list may filter and sort by, what is shown, which attribute needs a policy check, and which extension
//! alias brings each attribute. An extension is a column value of this table, never a plug-in.
//!
//! The vocabulary ([`Check`], [`Convert`]) is that of the Networking API's own attribute maps, so the tables can be
//! compared mechanically with a dump of the reference (`tests/data/api-attributes.json`).

pub mod body;
pub mod check;
pub mod convert;
mod notation;
pub mod table;

use serde_json::Value;

pub use body::{AttributeError, Attributes};

/// What is stored when a create request leaves an attribute out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Default {
    /// Nothing: the client must give a value, if it may at all.
    Required,
    /// The attribute stays unset and the operation decides (`UNSET` in the reference's dump).
    Unset,
    /// JSON null.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A text.
    Text(&'static str),
    /// An empty list.
    EmptyList,
}

/// What a value must be, by the API's own names for validators (`type:uuid` is [`Check::Uuid`]).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Check {
    /// Anything.
    Any,
    /// Null, a number, which becomes a text, or a text of at most so many characters. The reference has no validator
    /// here and fails with a 500 on what its database does not take.
    AnyText(usize),
    /// `type:uuid`
    Uuid,
    /// `type:uuid_or_none`
    UuidOrNone,
    /// `type:uuid_list`
    UuidList,
    /// `type:valid_target_project`: a project's UUID, or `*`.
    TargetProject,
    /// `type:string` of at most so many characters.
    String(usize),
    /// `type:string_or_none`; no bound when `None`.
    StringOrNone(Option<usize>),
    /// `type:name_string`: like a string, but not only blanks.
    Name(usize),
    /// `type:name_string_or_none`
    NameOrNone(usize),
    /// `type:not_empty_name_string`, of any length there; here of what the column holds.
    NotEmptyName(usize),
    /// `type:name_not_default`: a string other than `default`.
    NameNotDefault(usize),
    /// `type:values`: one of these texts.
    Texts(&'static [&'static str]),
    /// `type:values`: one of these texts, or null.
    TextsOrNone(&'static [&'static str]),
    /// `type:values`: one of these numbers.
    Ints(&'static [i64]),
    /// `type:non_negative`
    NonNegative,
    /// `type:mac_address`
    Mac,
    /// `type:subnet_or_none`
    SubnetOrNone,
    /// `type:subnet_list`
    SubnetList,
    /// `type:subnetpool_id_or_none`
    SubnetPoolIdOrNone,
    /// `type:ip_address_or_none`
    IpAddressOrNone,
    /// `type:ip_pools`
    IpPools,
    /// `type:nameservers`
    NameServers,
    /// `type:hostroutes`
    HostRoutes,
    /// `type:list_of_subnet_service_types`
    SubnetServiceTypes,
    /// `type:fixed_ips`
    FixedIps,
    /// `type:dict_or_none`
    DictOrNone,
    /// `type:allowed_address_pairs`
    AddressPairs,
    /// `type:list_of_any_key_specs_or_none` with the two shapes of an extra DHCP option.
    ExtraDhcpOpts,
    /// `type:network_segments`
    NetworkSegments,
    /// `type:availability_zone_hint_list`
    AvailabilityZoneHints,
    /// `type:dict_or_nodata` with the shape of a router's gateway.
    GatewayInfo,
    /// `type:list_of_unique_strings` of at most so many characters each (tags).
    UniqueStrings(usize),
}

/// How a value is brought to its stored form before it is checked, by the API's own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convert {
    /// As it is.
    None,
    /// `convert_to_boolean`
    Boolean,
    /// `convert_to_boolean_if_not_none`
    BooleanIfNotNone,
    /// `convert_to_int`
    Int,
    /// `convert_none_to_empty_list`
    NoneToEmptyList,
    /// `convert_to_mac_if_none`: lower case with colons. Null stays, for the operation to choose an address.
    Mac,
    /// `convert_cidr_to_canonical_format`
    Cidr,
    /// `convert_ip_to_canonical_format`
    IpAddress,
    /// `convert_allocation_pools_to_canonical_format`
    AllocationPools,
    /// `convert_protocol`: name or number of an IP protocol, null for any.
    Protocol,
    /// `convert_ethertype_to_case_insensitive`
    Ethertype,
    /// `convert_validate_port_value`: a port, or an ICMP type or code.
    PortValue,
    /// `convert_ip_prefix_to_cidr`
    IpPrefix,
    /// `convert_valid_object_type`: what an RBAC policy can be about.
    RbacObjectType,
}

/// One attribute of a resource.
#[derive(Debug, Clone, Copy)]
pub struct Attribute {
    /// Its name in JSON.
    pub name: &'static str,
    /// Alias of the extension that brings it; the resource's singular for what is core. Where several extensions
    /// define an attribute this is the last one, whose definition counts.
    pub extension: &'static str,
    /// May be given on create (`allow_post`).
    pub create: bool,
    /// May be given on update (`allow_put`).
    pub update: bool,
    /// When left out on create.
    pub default: Default,
    /// What it must be.
    pub check: Check,
    /// How it is brought to its stored form.
    pub convert: Convert,
    /// Shown in answers.
    pub visible: bool,
    /// Lists may be filtered by it.
    pub filter: bool,
    /// Lists may be sorted by it.
    pub sort: bool,
    /// Setting it needs a policy check of its own.
    pub enforce_policy: bool,
    /// Policy checks need its value.
    pub required_by_policy: bool,
}

/// All attributes of a resource.
#[derive(Debug)]
pub struct ResourceTable {
    /// `network`
    pub singular: &'static str,
    /// `networks`
    pub plural: &'static str,
    /// As it stands in URLs, with dashes where the API has them: `security-groups`.
    pub path: &'static str,
    /// Word of the `NotFound` error type, such as `Network` in `NetworkNotFound`.
    pub noun: &'static str,
    /// Its attributes, in the order in which the reference checks them, which decides the error that is reported.
    pub attributes: &'static [Attribute],
}

impl ResourceTable {
    /// The attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes.iter().find(|a| a.name == name)
    }
}

impl Default {
    /// The value to store, if there is one.
    pub fn value(self) -> Option<Value> {
        match self {
            Self::Required | Self::Unset => None,
            Self::Null => Some(Value::Null),
            Self::Bool(b) => Some(Value::Bool(b)),
            Self::Int(i) => Some(Value::from(i)),
            Self::Text(t) => Some(Value::from(t)),
            Self::EmptyList => Some(Value::Array(Vec::new())),
        }
    }
}

#[cfg(test)]
mod tests;
