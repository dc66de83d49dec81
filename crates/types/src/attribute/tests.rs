use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{
    AttributeError, Attributes,
    body::{Owner, claim_for},
    table,
};

fn body(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn refusal(result: Result<Attributes, AttributeError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_network_needs_an_owner_only() {
    let network = Attributes::for_create(&table::NETWORK, body(json!({"tenant_id": "p"}))).unwrap();
    assert_eq!(network.text("name"), Some(""));
    assert_eq!(network.text("project_id"), Some("p"));
    assert_eq!(network.bool("admin_state_up"), Some(true));
    assert_eq!(network.int("mtu"), Some(0));
    assert_eq!(network.list("availability_zone_hints"), Some(&[][..]));
    assert!(!network.contains("provider:network_type"));
    assert!(!network.contains("status"));
}

#[test]
fn values_are_stored_converted() {
    let given = json!({"project_id": "p", "admin_state_up": "off", "mtu": "1400", "provider:segmentation_id": "7"});
    let network = Attributes::for_create(&table::NETWORK, body(given)).unwrap();
    assert_eq!(network.get("admin_state_up"), Some(&json!(false)));
    assert_eq!(network.get("mtu"), Some(&json!(1400)));
    assert_eq!(network.get("provider:segmentation_id"), Some(&json!(7)));
}

#[test]
fn refusals_are_in_the_words_of_the_api() {
    let create = |given| refusal(Attributes::for_create(&table::NETWORK, body(given)));
    assert_eq!(create(json!({})), "Running without keystone AuthN requires that project_id is specified");
    assert_eq!(create(json!({"project_id": "p", "tenant_id": "q"})), "'project_id' and 'tenant_id' do not match");
    assert_eq!(create(json!({"project_id": "p", "colour": 1})), "Unrecognized attribute(s) 'colour'");
    assert_eq!(create(json!({"project_id": "p", "status": "UP"})), "Attribute 'status' not allowed in POST");
    assert_eq!(
        create(json!({"project_id": "p", "name": 7})),
        "Invalid input for name. Reason: '7' is not a valid string."
    );
    assert_eq!(
        create(json!({"project_id": "p", "shared": "maybe"})),
        "Invalid input for operation: 'maybe' cannot be converted to boolean."
    );
    assert_eq!(
        refusal(Attributes::for_create(&table::PORT, body(json!({"project_id": "p"})))),
        "Failed to parse request. Required attribute 'network_id' not specified"
    );
    assert_eq!(
        refusal(Attributes::for_update(&table::NETWORK, body(json!({"id": "x"})))),
        "Cannot update read-only attribute id"
    );
}

#[test]
fn an_update_has_what_was_given_only() {
    let port = Attributes::for_update(&table::PORT, body(json!({"security_groups": null, "mac_address": null})));
    let expected = json!({"security_groups": [], "mac_address": null});
    assert_eq!(port.unwrap().0, body(expected));
}

#[test]
fn a_null_mac_address_on_create_is_no_address() {
    let given = json!({"project_id": "p", "network_id": "c5f5a9d6-5b8c-4b62-8f0c-0a7f6f3f2f6e", "mac_address": null});
    assert!(!Attributes::for_create(&table::PORT, body(given)).unwrap().contains("mac_address"));
}

#[test]
fn the_reserved_group_name_is_a_conflict() {
    let refused = Attributes::for_create(&table::SECURITY_GROUP, body(json!({"project_id": "p", "name": "DEFAULT"})));
    let error = refused.unwrap_err();
    assert_eq!((error.status(), error.kind()), (409, "SecurityGroupDefaultAlreadyExists"));
}

#[test]
fn a_body_is_for_the_caller_unless_it_may_say_otherwise() {
    let plain = Owner { project_id: Some("mine"), may_be_other: false };
    let mut given = body(json!({}));
    claim_for(plain, &table::NETWORK, &mut given, true).unwrap();
    assert_eq!(Value::Object(given), json!({"project_id": "mine", "tenant_id": "mine"}));

    let mut given = body(json!({"tenant_id": "theirs"}));
    assert!(claim_for(plain, &table::NETWORK, &mut given.clone(), true).is_err());
    claim_for(Owner { may_be_other: true, ..plain }, &table::NETWORK, &mut given, true).unwrap();
    assert_eq!(given.get("project_id"), Some(&json!("theirs")));

    let mut update = body(json!({"name": "n"}));
    claim_for(plain, &table::NETWORK, &mut update, false).unwrap();
    assert_eq!(Value::Object(update), json!({"name": "n"}));

    // Agents have no owner.
    let mut agent = body(json!({}));
    claim_for(Owner::default(), &table::AGENT, &mut agent, true).unwrap();
    assert!(agent.is_empty());
}

#[test]
fn filter_pairs_are_gathered_by_key() {
    let pairs = ["subnet_id=a", "ip_address=1", "subnet_id = b", "subnet_id=a"].map(String::from);
    let gathered = super::convert::key_values(&pairs).unwrap();
    let expected = [("subnet_id", vec!["a", "b"]), ("ip_address", vec!["1"])];
    let expected = expected.map(|(k, vs)| (k.to_owned(), vs.into_iter().map(String::from).collect::<Vec<_>>()));
    assert_eq!(gathered, expected);
    assert!(super::convert::key_values(&["nonsense".into()]).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let address = prop_oneof![
        any::<std::net::Ipv4Addr>().prop_map(|a| a.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|a| a.to_string()),
        (any::<std::net::IpAddr>(), any::<u8>()).prop_map(|(a, l)| format!("{a}/{l}")),
        any::<[u8; 6]>().prop_map(|octets| crate::Mac(octets).to_string()),
        ".{0,8}",
        "[0-9a-f:./+_-]{0,20}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        address.prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("ip_address"),
        Just("subnet_id"),
        Just("mac_address"),
        Just("start"),
        Just("end"),
        Just("destination"),
        Just("nexthop"),
        Just("opt_name"),
        Just("opt_value"),
        Just("ip_version"),
        Just("provider:segmentation_id"),
    ];
    leaf.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    /// Whatever comes in is refused or stored, and what was stored is stored as it is.
    #[test]
    fn accepted_values_are_stable(value in any_json()) {
        for attribute in table::ALL.iter().flat_map(|table| table.attributes).chain(table::BINDING.attributes) {
            let settle = |value: Value| {
                let mut value = attribute.convert.apply(value)?;
                attribute.check.apply(attribute.name, &mut value).map(|()| value)
            };
            if let Ok(stored) = settle(value.clone()) {
                prop_assert_eq!(settle(stored.clone()), Ok(stored), "{}", attribute.name);
            }
        }
    }
}
