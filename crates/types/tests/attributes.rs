//! The attribute tables against dumps of the reference's (`scripts/regenerate-api-attributes`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use isospin_types::{
    attribute::{Attribute, Check, Convert, Default, ResourceTable, table},
    extension,
};
use serde_json::{Map, Value, json};

/// Attributes of ours that no API definition of neutron-lib has, and where they are defined instead. For these the
/// effective maps alone are compared.
fn is_defined_elsewhere(table: &ResourceTable, attribute: &Attribute) -> bool {
    match attribute.extension {
        // Added to every resource with a row in standardattributes when the maps are built.
        "standard-attr-description" | "standard-attr-revisions" | "standard-attr-tag" | "standard-attr-timestamp" => {
            true
        }
        // Defined in neutron itself.
        "security-group" | "security-groups-default-rules" | "rbac-policies" => true,
        // Follows tenant_id.
        "project-id" => attribute.name == "project_id" && table.attribute("tenant_id").is_some(),
        _ => false,
    }
}

/// Attributes of the reference's effective maps that belong to extensions we do not serve yet.
const NOT_SERVED: [(&str, &str); 17] = [
    ("networks", "qos_policy_id"),
    ("networks", "is_default"),
    ("networks", "dns_domain"),
    ("ports", "device_profile"),
    ("ports", "numa_affinity_policy"),
    ("ports", "resource_request"),
    ("ports", "qos_policy_id"),
    ("ports", "qos_network_policy_id"),
    ("ports", "trunk_details"),
    ("ports", "dns_name"),
    ("ports", "dns_assignment"),
    ("routers", "enable_ndp_proxy"),
    ("routers", "conntrack_helpers"),
    ("floatingips", "qos_policy_id"),
    ("floatingips", "dns_name"),
    ("floatingips", "dns_domain"),
    ("floatingips", "port_forwardings"),
];

/// Attributes that are shown, and may be null or false only, though their extension is not served.
const SHOWN_UNSERVED: [&str; 3] = ["dvr", "l3-flavors", "qos-gateway-ip"];

/// Attributes that differ from the reference's for a reason. Its groups are always stateful unless they say otherwise,
/// since it fills that in before it would look at what the project has chosen.
const DIFFERENT: [(&str, &str); 1] = [("security_groups", "stateful")];

fn is_different(table: &ResourceTable, attribute: &Attribute) -> bool {
    DIFFERENT.contains(&(table.plural, attribute.name))
}

fn definitions() -> Map<String, Value> {
    serde_json::from_str(include_str!("data/api-attributes.json")).unwrap()
}

fn effective() -> Map<String, Value> {
    serde_json::from_str(include_str!("data/effective-attributes.json")).unwrap()
}

/// Our row in the reference's terms.
fn row(attribute: &Attribute) -> Value {
    let mut row = json!({
        "allow_post": attribute.create,
        "allow_put": attribute.update,
        "is_visible": attribute.visible,
        "is_filter": attribute.filter,
        "is_sort_key": attribute.sort,
        "enforce_policy": attribute.enforce_policy,
        "required_by_policy": attribute.required_by_policy,
    });
    let members = row.as_object_mut().unwrap();
    match attribute.default {
        Default::Required => {}
        Default::Unset => drop(members.insert("default".into(), "UNSET".into())),
        default => drop(members.insert("default".into(), default.value().unwrap())),
    }
    members.extend(validator(attribute.check).map(|validator| ("validate".into(), validator)));
    members.extend(converter(attribute.convert).map(|name| ("convert_to".into(), name.into())));
    row
}

/// The reference's row with what it leaves out spelled out, and without what we keep elsewhere.
fn reference(row: &Value) -> Value {
    let mut row = row.clone();
    let members = row.as_object_mut().unwrap();
    for flag in ["is_visible", "is_filter", "is_sort_key", "enforce_policy", "required_by_policy"] {
        members.entry(flag).or_insert(false.into());
    }
    // Keys are named `id` but for bindings; pairs in filters are taken apart by the server.
    members.remove("primary_key");
    members.remove("convert_list_to");
    row
}

fn validator(check: Check) -> Option<Value> {
    let validator = match check {
        Check::Any | Check::AnyText(_) => return None,
        Check::Uuid => json!({"type:uuid": null}),
        Check::UuidOrNone => json!({"type:uuid_or_none": null}),
        Check::UuidList => json!({"type:uuid_list": null}),
        Check::TargetProject => json!({"type:valid_target_project": null}),
        Check::String(length) => json!({"type:string": length}),
        Check::StringOrNone(length) => json!({"type:string_or_none": length}),
        Check::Name(length) => json!({"type:name_string": length}),
        Check::NameOrNone(length) => json!({"type:name_string_or_none": length}),
        Check::NotEmptyName(_) => json!({"type:not_empty_name_string": null}),
        Check::NameNotDefault(length) => json!({"type:name_not_default": length}),
        Check::Texts(words) => json!({"type:values": words}),
        Check::TextsOrNone(words) => {
            json!({"type:values": words.iter().copied().map(Some).chain([None]).collect::<Vec<_>>()})
        }
        Check::Ints(numbers) => json!({"type:values": numbers}),
        Check::NonNegative => json!({"type:non_negative": null}),
        Check::Mac => json!({"type:mac_address": null}),
        Check::SubnetOrNone => json!({"type:subnet_or_none": null}),
        Check::SubnetList => json!({"type:subnet_list": null}),
        Check::SubnetPoolIdOrNone => json!({"type:subnetpool_id_or_none": null}),
        Check::IpAddressOrNone => json!({"type:ip_address_or_none": null}),
        Check::IpPools => json!({"type:ip_pools": null}),
        Check::NameServers => json!({"type:nameservers": null}),
        Check::HostRoutes => json!({"type:hostroutes": null}),
        Check::SubnetServiceTypes => json!({"type:list_of_subnet_service_types": null}),
        Check::FixedIps => json!({"type:fixed_ips": null}),
        Check::DictOrNone => json!({"type:dict_or_none": null}),
        Check::AddressPairs => json!({"type:allowed_address_pairs": null}),
        Check::ExtraDhcpOpts => json!({"type:list_of_any_key_specs_or_none": dhcp_option_specs()}),
        Check::NetworkSegments => json!({"type:network_segments": null}),
        Check::AvailabilityZoneHints => json!({"type:availability_zone_hint_list": null}),
        Check::GatewayInfo => json!({"type:dict_or_nodata": {
            "network_id": {"type:uuid": null, "required": true},
            "external_fixed_ips": {"type:fixed_ips": null, "required": false},
            "enable_snat": {"type:boolean": null, "required": false, "convert_to": "convert_to_boolean"},
            "qos_policy_id": {"type:uuid_or_none": null, "required": false},
        }}),
        Check::UniqueStrings(length) => json!({"type:list_of_unique_strings": length}),
    };
    Some(validator)
}

fn dhcp_option_specs() -> Value {
    let ip_version = json!({"convert_to": "convert_to_int", "type:values": [4, 6], "required": false});
    json!([
        {
            "opt_name": {"type:values": ["router", "classless-static-route"], "required": true},
            "opt_value": {"type:string_or_none": 255, "required": true},
            "ip_version": ip_version,
        },
        {
            "opt_name": {"type:oneline_not_empty_string": 64, "required": true},
            "opt_value": {"type:oneline_not_empty_string_or_none": 255, "required": true},
            "ip_version": ip_version,
        },
    ])
}

fn converter(convert: Convert) -> Option<&'static str> {
    match convert {
        Convert::None => None,
        Convert::Boolean => Some("convert_to_boolean"),
        Convert::BooleanIfNotNone => Some("convert_to_boolean_if_not_none"),
        Convert::Int => Some("convert_to_int"),
        Convert::NoneToEmptyList => Some("convert_none_to_empty_list"),
        Convert::Mac => Some("convert_to_mac_if_none"),
        Convert::Cidr => Some("convert_cidr_to_canonical_format"),
        Convert::IpAddress => Some("convert_ip_to_canonical_format"),
        Convert::AllocationPools => Some("convert_allocation_pools_to_canonical_format"),
        Convert::Protocol => Some("convert_protocol"),
        Convert::Ethertype => Some("convert_ethertype_to_case_insensitive"),
        Convert::PortValue => Some("convert_validate_port_value"),
        Convert::IpPrefix => Some("convert_ip_prefix_to_cidr"),
        Convert::RbacObjectType => Some("convert_valid_object_type"),
    }
}

#[test]
fn every_attribute_is_as_its_api_definition_says() {
    let definitions = definitions();
    let mut compared = 0;
    for table in table::ALL {
        for attribute in table.attributes.iter().filter(|a| !is_defined_elsewhere(table, a) && !is_different(table, a))
        {
            let at = format!("/{}/resources/{}/{}", attribute.extension, table.plural, attribute.name);
            let definition = Value::Object(definitions.clone());
            let theirs = definition.pointer(&at).unwrap_or_else(|| panic!("no definition at {at}"));
            assert_eq!(row(attribute), reference(theirs), "{at}");
            compared += 1;
        }
    }
    assert!(compared > 60, "only {compared} compared");
}

#[test]
fn bindings_are_as_their_api_definition_says() {
    let definitions = Value::Object(definitions());
    let theirs = definitions.pointer("/binding-extended/sub_resources/bindings/parameters").unwrap();
    let ours: BTreeMap<&str, Value> = table::BINDING.attributes.iter().map(|a| (a.name, row(a))).collect();
    let theirs: BTreeMap<&str, Value> =
        theirs.as_object().unwrap().iter().map(|(name, row)| (name.as_str(), reference(row))).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn every_attribute_is_as_in_the_effective_maps() {
    let effective = effective();
    for table in table::ALL {
        for attribute in table.attributes.iter().filter(|a| !is_different(table, a)) {
            let map = effective.get(table.plural).unwrap_or_else(|| panic!("no {} in the reference", table.plural));
            let theirs = map.get(attribute.name).or_else(|| map.get(followed(attribute.name)));
            let theirs = theirs.unwrap_or_else(|| panic!("no {}.{} there", table.plural, attribute.name));
            assert_eq!(row(attribute), reference(theirs), "{}.{}", table.plural, attribute.name);
        }
    }
}

/// The attribute that this one is another name of.
fn followed(name: &str) -> &str {
    if name == "project_id" { "tenant_id" } else { name }
}

#[test]
fn no_attribute_of_the_reference_is_forgotten() {
    let effective = effective();
    for table in table::ALL {
        let theirs = effective.get(table.plural).and_then(Value::as_object).unwrap();
        for name in theirs.keys() {
            let excused = NOT_SERVED.contains(&(table.plural, name.as_str()));
            let known = table.attribute(name).is_some();
            assert!(known != excused, "{}.{name} is {}", table.plural, if known { "excused" } else { "missing" });
        }
    }
}

#[test]
fn attributes_and_extensions_name_each_other() {
    let core: Vec<&str> = table::ALL.iter().map(|table| table.singular).collect();
    for attribute in table::ALL.iter().flat_map(|table| table.attributes).chain(table::BINDING.attributes) {
        let alias = attribute.extension;
        let served = extension::by_alias(alias).is_some();
        let excused = core.contains(&alias) || SHOWN_UNSERVED.contains(&alias);
        assert!(served || excused, "{} is brought by {alias}, which is not served", attribute.name);
    }
    for alias in SHOWN_UNSERVED {
        assert!(extension::by_alias(alias).is_none(), "{alias} is served by now");
    }
}

#[test]
fn extensions_are_listed_as_by_the_reference() {
    let reference: Value = serde_json::from_str(include_str!("data/extensions.json")).unwrap();
    let reference = reference.pointer("/extensions").and_then(Value::as_array).unwrap();
    for extension in extension::ALL {
        let ours = serde_json::to_value(extension).unwrap();
        assert!(reference.contains(&ours), "{ours}");
    }
    assert!(extension::ALL.is_sorted_by_key(|extension| extension.alias));
}

#[test]
fn extensions_bring_what_they_require() {
    let definitions = definitions();
    for extension in extension::ALL {
        let required = definitions.get(extension.alias).and_then(|d| d.get("required")).and_then(Value::as_array);
        for alias in required.into_iter().flatten().filter_map(Value::as_str) {
            assert!(extension::by_alias(alias).is_some(), "{} requires {alias}", extension.alias);
        }
    }
}
