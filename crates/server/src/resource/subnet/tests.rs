//! Every rule with the status, type and text that the reference gives, and what a subnet does to its network and ports.

use serde_json::{Map, Value, json};
use types::{Mac, NetworkId, network::Network, port::Port};

use super::*;
use crate::{resource::find_all, testing};

fn given(body: Value) -> Attributes {
    let Value::Object(mut body) = body else { panic!("a body is an object") };
    body.entry("project_id").or_insert_with(|| json!("p"));
    Attributes::for_create(Subnet::TABLE, body).unwrap()
}

fn body(network: NetworkId, rest: Value) -> Value {
    let mut all = Map::from_iter([("network_id".to_owned(), json!(network))]);
    if let Value::Object(rest) = rest {
        all.extend(rest);
    }
    Value::Object(all)
}

async fn create(ctx: &Ctx, network: NetworkId, rest: Value) -> Result<Subnet> {
    Ok(Subnet::create(ctx, vec![given(body(network, rest))]).await?.remove(0))
}

async fn update(ctx: &Ctx, subnet: &Subnet, change: Value) -> Result<Subnet> {
    let Value::Object(change) = change else { panic!("a body is an object") };
    let change = Attributes::for_update(Subnet::TABLE, change).unwrap();
    Subnet::update(ctx, &subnet.id.to_string(), change, Condition::default()).await
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> (u16, String, String) {
    match result {
        Err(Error::Refused(refusal)) => (refusal.status.as_u16(), refusal.kind, refusal.message),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn shown(subnet: &Subnet) -> Value {
    serde_json::to_value(subnet).unwrap()
}

#[tokio::test]
async fn a_subnet_has_defaults() {
    let ctx = testing::server(|_| ()).await;
    let network = testing::network(&ctx).await;
    let subnet = create(&ctx, network.id, json!({"ip_version": 4, "cidr": "10.0.0.5/24"})).await.unwrap();
    let shown = shown(&subnet);
    for (name, expected) in [
        ("cidr", json!("10.0.0.0/24")),
        ("gateway_ip", json!("10.0.0.1")),
        ("allocation_pools", json!([{"start": "10.0.0.2", "end": "10.0.0.254"}])),
        ("enable_dhcp", json!(true)),
        ("host_routes", json!([])),
        ("dns_nameservers", json!([])),
        ("service_types", json!([])),
        ("ipv6_ra_mode", Value::Null),
        ("subnetpool_id", Value::Null),
        ("segment_id", Value::Null),
        ("router:external", json!(false)),
        ("revision_number", json!(0)),
        ("tenant_id", json!("p")),
    ] {
        assert_eq!(shown[name], expected, "{name}");
    }
    let v6 = create(&ctx, network.id, json!({"ip_version": 6, "cidr": "2001:db8::/64"})).await.unwrap();
    assert_eq!(v6.gateway_ip, Some("2001:db8::".parse().unwrap()));
    let mut conn = ctx.db().reader().await.unwrap();
    let loaded: Subnet = find(&ctx, &mut conn, &subnet.id.to_string()).await.unwrap();
    assert_eq!(self::shown(&loaded), shown);
    let network: Network = find(&ctx, &mut conn, &network.id.to_string()).await.unwrap();
    assert_eq!((network.subnets.len(), network.standard.revision_number), (2, 3));
}

#[tokio::test]
async fn what_is_given_is_kept() {
    let ctx = testing::server(|_| ()).await;
    let network = testing::network(&ctx).await;
    let subnet = create(
        &ctx,
        network.id,
        json!({
            "ip_version": 4, "cidr": "10.3.0.0/24", "gateway_ip": null, "enable_dhcp": false, "description": "d",
            "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.3.0.7"}, {"destination": "10.8.0.0/16", "nexthop": "10.3.0.7"}],
            "dns_nameservers": ["9.9.9.9", "8.8.8.8"], "service_types": ["network:dhcp", "compute:nova"],
            "allocation_pools": [{"start": "10.3.0.20", "end": "10.3.0.30"}, {"start": "10.3.0.2", "end": "10.3.0.9"}]
        }),
    )
    .await
    .unwrap();
    let mut conn = ctx.db().reader().await.unwrap();
    let loaded: Subnet = find(&ctx, &mut conn, &subnet.id.to_string()).await.unwrap();
    assert_eq!(shown(&loaded), shown(&subnet));
    assert_eq!(loaded.gateway_ip, None);
    assert_eq!(loaded.dns_nameservers, ["9.9.9.9", "8.8.8.8"]);
    assert_eq!(loaded.service_types, ["compute:nova", "network:dhcp"]);
    assert_eq!((loaded.host_routes.len(), loaded.allocation_pools.len()), (2, 2));
    assert_eq!((loaded.standard.description.as_deref(), loaded.standard.revision_number), (Some("d"), 1));
}

/// What follows `Invalid input for operation: ` in a 400 `InvalidInput`.
const INVALID: &[(&str, &str)] = &[
    (r#"{"ip_version": 6, "cidr": "10.1.0.0/24"}"#, "cidr '10.1.0.0/24' does not match the ip_version '6'."),
    (r#"{"ip_version": 4, "cidr": "10.2.0.0/24", "gateway_ip": "10.2.0.255"}"#, "Gateway is not valid on subnet."),
    (
        r#"{"ip_version": 4, "cidr": "10.2.0.0/24", "gateway_ip": "fe80::1"}"#,
        "gateway_ip 'fe80::1' does not match the ip_version '4'.",
    ),
    (
        r#"{"ip_version": 6, "cidr": "2001:db8::/63", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}"#,
        "Invalid CIDR 2001:db8::/63 for IPv6 address mode. OpenStack uses the EUI-64 address format, which requires the prefix to be /64.",
    ),
    (
        r#"{"ip_version": 6, "cidr": "2001:db8::/64", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "dhcpv6-stateful"}"#,
        "ipv6_ra_mode set to 'slaac' with ipv6_address_mode set to 'dhcpv6-stateful' is not valid. If both attributes are set, they must be the same value.",
    ),
    (
        r#"{"ip_version": 6, "cidr": "2001:db8::/64", "ipv6_ra_mode": "slaac", "enable_dhcp": false}"#,
        "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False.",
    ),
    (
        r#"{"ip_version": 4, "cidr": "10.2.0.0/24", "ipv6_ra_mode": "slaac"}"#,
        "ipv6_ra_mode is not valid when ip_version is 4.",
    ),
    (
        r#"{"ip_version": 4, "cidr": "10.2.0.0/24", "host_routes": [{"destination": "10.0.0.0/8", "nexthop": "fe80::1"}]}"#,
        "nexthop 'fe80::1' does not match the ip_version '4'.",
    ),
    (
        r#"{"ip_version": 4, "cidr": "10.2.0.0/24", "dns_nameservers": ["fe80::1"]}"#,
        "dns_nameserver 'fe80::1' does not match the ip_version '4'.",
    ),
    (r#"{"ip_version": 4, "cidr": "224.0.0.0/24"}"#, "Multicast IP subnet is not supported if enable_dhcp is True."),
    (r#"{"ip_version": 4, "cidr": "127.0.0.0/24"}"#, "Loopback IP subnet is not supported if enable_dhcp is True."),
    (
        r#"{"ip_version": 4, "cidr": "0.0.0.0/24"}"#,
        "First IP '0.0.0.0' of network is not supported if enable_dhcp is True..",
    ),
    (r#"{"ip_version": 4, "cidr": "0.0.0.0/0", "enable_dhcp": false}"#, "0 is not allowed as CIDR prefix length."),
    (
        r#"{"ip_version": 4, "cidr": "10.2.0.0/31"}"#,
        "Subnet has a prefix length that is incompatible with DHCP service enabled.",
    ),
    (r#"{"ip_version": 6, "cidr": "::/64"}"#, "IPv6 subnet '::' is not supported."),
    (
        r#"{"ip_version": 4, "cidr": "10.0.0.128/25"}"#,
        "Requested subnet with cidr: 10.0.0.128/25 for network: NETWORK overlaps with another subnet.",
    ),
    (
        r#"{"ip_version": 4, "cidr": "10.0.0.0/16"}"#,
        "Requested subnet with cidr: 10.0.0.0/16 for network: NETWORK overlaps with another subnet.",
    ),
];

/// Other refusals: status, type, message.
const REFUSED: &[(&str, u16, &str, &str)] = &[
    (
        r#"{"ip_version": 4, "cidr": "10.2.0.0/31", "enable_dhcp": false}"#,
        409,
        "IpamValueInvalid",
        "Gateway IP 10.2.0.1 cannot be the network or broadcast IP address 10.2.0.0/31",
    ),
    (
        r#"{"ip_version": 4, "cidr": "10.2.0.0/24", "gateway_ip": "10.2.0.5", "allocation_pools": [{"start": "10.2.0.2", "end": "10.2.0.9"}]}"#,
        409,
        "GatewayConflictWithAllocationPools",
        "Gateway ip 10.2.0.5 conflicts with allocation pool 10.2.0.2-10.2.0.9.",
    ),
    (
        r#"{"ip_version": 4, "cidr": "10.2.0.0/24", "allocation_pools": [{"start": "10.2.0.2", "end": "10.2.1.9"}]}"#,
        400,
        "OutOfBoundsAllocationPool",
        "The allocation pool 10.2.0.2-10.2.1.9 spans beyond the subnet cidr 10.2.0.0/24.",
    ),
    (
        r#"{"ip_version": 4}"#,
        400,
        "BadRequest",
        "Bad subnets request: a subnetpool must be specified in the absence of a cidr.",
    ),
    (
        r#"{"ip_version": 4, "cidr": "10.2.0.0/24", "prefixlen": 24}"#,
        400,
        "BadRequest",
        "Bad subnets request: cidr and prefixlen must not be supplied together.",
    ),
    (
        r#"{"ip_version": 4, "subnetpool_id": "11111111-1111-1111-1111-111111111111"}"#,
        404,
        "SubnetPoolNotFound",
        "Subnet pool 11111111-1111-1111-1111-111111111111 could not be found.",
    ),
    (
        r#"{"ip_version": 6, "use_default_subnetpool": true}"#,
        400,
        "BadRequest",
        "Bad subnets request: No default subnetpool found for IPv6.",
    ),
    (
        r#"{"ip_version": 6, "subnetpool_id": "prefix_delegation"}"#,
        400,
        "BadRequest",
        "Bad subnets request: IPv6 RA Mode must be SLAAC or Stateless for Prefix Delegation..",
    ),
    (
        r#"{"ip_version": 4, "cidr": "10.2.0.0/24", "segment_id": "11111111-1111-1111-1111-111111111111"}"#,
        404,
        "SegmentNotFound",
        "Segment 11111111-1111-1111-1111-111111111111 could not be found.",
    ),
    (
        r#"{"ip_version": 4, "cidr": "10.2.0.0/24", "dns_nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5", "1.1.1.6"]}"#,
        400,
        "DNSNameServersExhausted",
        "Unable to complete operation for new subnet. The number of DNS nameservers exceeds the limit 5.",
    ),
];

#[tokio::test]
async fn wrong_subnets_are_refused_as_the_reference_does() {
    let ctx = testing::server(|_| ()).await;
    let network = testing::network(&ctx).await;
    testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let try_one = async |rest: &str| refusal(create(&ctx, network.id, serde_json::from_str(rest).unwrap()).await);
    for (rest, reason) in INVALID {
        let reason = reason.replace("NETWORK", &network.id.to_string());
        let expected = (400, "InvalidInput".to_owned(), format!("Invalid input for operation: {reason}"));
        assert_eq!(try_one(rest).await, expected, "{rest}");
    }
    for (rest, status, kind, message) in REFUSED {
        let expected = (*status, (*kind).to_owned(), (*message).to_owned());
        assert_eq!(try_one(rest).await, expected, "{rest}");
    }
    let nowhere = NetworkId::random();
    let missing = refusal(create(&ctx, nowhere, json!({"ip_version": 4, "cidr": "10.2.0.0/24"})).await);
    assert_eq!(missing, (404, "NetworkNotFound".to_owned(), format!("Network {nowhere} could not be found.")));
}

#[tokio::test]
async fn a_bulk_create_is_all_or_nothing() {
    let ctx = testing::server(|_| ()).await;
    let network = testing::network(&ctx).await;
    let one = |cidr: &str| given(body(network.id, json!({"ip_version": 4, "cidr": cidr})));
    assert_eq!(refusal(Subnet::create(&ctx, vec![one("10.0.0.0/24"), one("10.0.0.0/25")]).await).1, "InvalidInput");
    let made = Subnet::create(&ctx, vec![one("10.0.0.0/24"), one("10.0.1.0/24")]).await.unwrap();
    assert_eq!(made.len(), 2);
    let mut conn = ctx.db().reader().await.unwrap();
    let all: Vec<Subnet> = find_all(&ctx, &mut conn, &ListQuery::default()).await.unwrap();
    assert_eq!(all.len(), 2);
}

#[tokio::test]
async fn updates_count_as_the_reference_counts() {
    let ctx = testing::server(|_| ()).await;
    let network = testing::network(&ctx).await;
    let subnet = testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    for (change, revision, network_revision) in [
        (json!({"name": "x"}), 1, 3),
        (json!({"name": "x"}), 1, 3),
        (json!({"gateway_ip": null}), 2, 4),
        (json!({"allocation_pools": [{"start": "10.0.0.10", "end": "10.0.0.20"}]}), 2, 4),
        (json!({"gateway_ip": "10.0.0.1"}), 3, 5),
        (json!({"allocation_pools": []}), 3, 5),
        (json!({"dns_nameservers": ["1.1.1.1"]}), 3, 5),
        (json!({"host_routes": [{"destination": "10.0.0.0/8", "nexthop": "10.0.0.9"}]}), 3, 5),
        (json!({"enable_dhcp": false}), 4, 6),
        (json!({"service_types": ["compute:nova"]}), 5, 7),
        (json!({"description": "d"}), 6, 7),
    ] {
        let after = update(&ctx, &subnet, change.clone()).await.unwrap();
        assert_eq!(after.standard.revision_number, revision, "{change}");
        let mut conn = ctx.db().reader().await.unwrap();
        let loaded: Subnet = find(&ctx, &mut conn, &subnet.id.to_string()).await.unwrap();
        assert_eq!(shown(&loaded), shown(&after), "{change}");
        let network: Network = find(&ctx, &mut conn, &network.id.to_string()).await.unwrap();
        assert_eq!(network.standard.revision_number, network_revision, "{change}");
    }
}

#[tokio::test]
async fn wrong_updates_are_refused() {
    let ctx = testing::server(|_| ()).await;
    let network = testing::network(&ctx).await;
    let subnet = testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let conflict = refusal(update(&ctx, &subnet, json!({"gateway_ip": "10.0.0.5"})).await);
    assert_eq!((conflict.0, conflict.1.as_str()), (409, "GatewayConflictWithAllocationPools"));
    let broadcast = refusal(update(&ctx, &subnet, json!({"gateway_ip": "10.0.0.255"})).await);
    assert_eq!(broadcast.2, "Invalid input for operation: Gateway is not valid on subnet.");
    let routes: Vec<Value> =
        (0..21).map(|i| json!({"destination": format!("10.1.{i}.0/24"), "nexthop": "10.0.0.9"})).collect();
    let many = refusal(update(&ctx, &subnet, json!({"host_routes": routes})).await);
    let text = "The number of host routes exceeds the limit 20.";
    let expected = format!("Unable to complete operation for {}. {text}", subnet.id);
    assert_eq!(many, (400, "HostRoutesExhausted".to_owned(), expected));
    let slaac =
        json!({"ip_version": 6, "cidr": "2001:db8::/64", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"});
    let slaac = create(&ctx, network.id, slaac).await.unwrap();
    let disabled = refusal(update(&ctx, &slaac, json!({"enable_dhcp": false})).await);
    assert_eq!(disabled.2, "Invalid input for operation: Cannot disable enable_dhcp with ipv6 attributes set.");
}

#[tokio::test]
async fn new_pools_are_what_addresses_come_from() {
    let ctx = testing::server(|_| ()).await;
    let network = testing::network(&ctx).await;
    let subnet = testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    testing::instance_port(&ctx, &network, "").await;
    update(&ctx, &subnet, json!({"allocation_pools": [{"start": "10.0.0.77", "end": "10.0.0.77"}]})).await.unwrap();
    let port = testing::instance_port(&ctx, &network, "").await;
    assert_eq!(port.fixed_ips[0].ip_address.to_string(), "10.0.0.77");
}

#[tokio::test]
async fn a_subnet_in_use_stays() {
    let ctx = testing::server(|_| ()).await;
    let network = testing::network(&ctx).await;
    let subnet = testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let port = testing::instance_port(&ctx, &network, "").await;
    let id = subnet.id.to_string();
    let used = refusal(Subnet::delete(&ctx, &id, Condition::default()).await);
    let reason = "One or more ports have an IP allocation from this subnet.";
    let expected = format!("Unable to complete operation on subnet {id}: {reason}");
    assert_eq!(used, (409, "SubnetInUse".to_owned(), expected));
    Port::delete(&ctx, &port.id.to_string(), Condition::default()).await.unwrap();
    Subnet::delete(&ctx, &id, Condition::default()).await.unwrap();
    let gone = refusal(Subnet::delete(&ctx, &id, Condition::default()).await);
    assert_eq!(gone, (404, "SubnetNotFound".to_owned(), format!("Subnet {id} could not be found.")));
    let mut conn = ctx.db().reader().await.unwrap();
    for table in ["ipamsubnets", "ipamallocationpools", "ipamallocations", "ipallocationpools", "ipallocations"] {
        let left = conn.sql(&format!("SELECT * FROM {table}"), Vec::new()).await.unwrap();
        assert_eq!(left.len(), 0, "rows are left in {table}");
    }
}

#[tokio::test]
async fn automatic_addresses_come_and_go_with_their_subnet() {
    let ctx = testing::server(|_| ()).await;
    let network = testing::network(&ctx).await;
    testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    let port = testing::instance_port(&ctx, &network, "").await;
    let slaac =
        json!({"ip_version": 6, "cidr": "2001:db8::/64", "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"});
    let subnet = create(&ctx, network.id, slaac).await.unwrap();
    let load = async || {
        let mut conn = ctx.db().reader().await.unwrap();
        find::<Port>(&ctx, &mut conn, &port.id.to_string()).await.unwrap()
    };
    let with = load().await;
    let mac: Mac = with.mac_address;
    let expected: Vec<IpAddr> = vec![port.fixed_ips[0].ip_address, mac.eui64("2001:db8::".parse().unwrap()).into()];
    assert_eq!(with.fixed_ips.iter().map(|ip| ip.ip_address).collect::<Vec<_>>(), expected);
    assert_eq!(with.standard.revision_number, port.standard.revision_number + 1);
    Subnet::delete(&ctx, &subnet.id.to_string(), Condition::default()).await.unwrap();
    let without = load().await;
    assert_eq!(without.fixed_ips, port.fixed_ips);
    assert_eq!(without.standard.revision_number, port.standard.revision_number + 2);
}

#[tokio::test]
async fn lists_can_be_filtered() {
    let ctx = testing::server(|_| ()).await;
    let network = testing::network(&ctx).await;
    let other = testing::network(&ctx).await;
    testing::subnet(&ctx, &network, "10.0.0.0/24").await;
    testing::subnet(&ctx, &other, "10.1.0.0/24").await;
    create(&ctx, network.id, json!({"ip_version": 6, "cidr": "2001:db8::/64", "enable_dhcp": false})).await.unwrap();
    let mut conn = ctx.db().reader().await.unwrap();
    let mut count = async |query: ListQuery| find_all::<Subnet>(&ctx, &mut conn, &query).await.unwrap().len();
    let by = |attribute: &str, value: db::Value| ListQuery::default().matching(attribute, value);
    assert_eq!(count(by("ip_version", 4.into())).await, 2);
    assert_eq!(count(by("network_id", network.id.into())).await, 2);
    assert_eq!(count(by("cidr", "10.1.0.0/24".into())).await, 1);
    assert_eq!(count(by("gateway_ip", "10.0.0.1".into())).await, 1);
    assert_eq!(count(by("enable_dhcp", false.into())).await, 1);
    assert_eq!(count(by("shared", false.into())).await, 3);
    assert_eq!(count(by("router:external", true.into())).await, 0);
}
