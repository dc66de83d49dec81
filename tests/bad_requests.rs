//! Bad requests are refused as the reference refuses them: the table `tests/data/bad_requests.json`, recorded by
//! `scripts/record-bad-requests`, replayed against a service of our own. None makes a 5xx or a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, path::Path};

use serde_json::{Map, Value, json};
use testkit::{
    http::{Answer, Client},
    standalone::Plan,
};

/// The drivers and ranges that the reference was configured with.
const CONFIGURATION: &str = "\
[ml2]
type_drivers = flat,vlan,gre,vxlan,geneve,local
tenant_network_types = vxlan
mechanism_drivers = openvswitch,l2population
extension_drivers = port_security
[ml2_type_flat]
flat_networks = public
[ml2_type_vlan]
network_vlan_ranges = physnet1:100:4000
[ml2_type_vxlan]
vni_ranges = 1:100000
[ml2_type_gre]
tunnel_id_ranges = 1:1000
[ml2_type_geneve]
vni_ranges = 1:10000
max_header_size = 38
[quotas]
quota_port = -1
quota_network = -1
quota_subnet = -1
quota_security_group = -1
quota_security_group_rule = -1
";

/// Owner of all that requests refer to.
const PROJECT: &str = "5f8a3c1d9e7b4a60b2c4d6e8f0a1b3c5";
/// An id that nothing has.
const MISSING: &str = "d0c3c2b4-7a52-4f1e-9c55-3c1a0e6b9f11";

/// Sends a request as JSON unless its headers say otherwise; an empty header is one to leave out.
fn send(client: &Client, method: &str, path: &str, headers: &Map<String, Value>, body: Option<&[u8]>) -> Answer {
    let json = [("Content-Type", "application/json")].into_iter().filter(|(name, _)| !headers.contains_key(*name));
    let given = headers.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
    let sent: Vec<(&str, &str)> = json.chain(given).filter(|(_, value)| !value.is_empty()).collect();
    client.send(method, path, &sent, body).unwrap()
}

/// What the words of the table stand for, longer words first.
struct Words(Vec<(&'static str, String)>);

impl Words {
    fn prepare(client: &Client) -> Self {
        let make = |collection: &str, mut attributes: Value| {
            attributes.as_object_mut().unwrap().insert("project_id".into(), PROJECT.into());
            testkit::http::id(&client.create(collection, attributes).unwrap())
        };
        let network = make("networks", json!({"name": "bad-requests"}));
        let other = make("networks", json!({"name": "bad-requests-other"}));
        let ipv4 = |network, cidr| json!({"network_id": network, "ip_version": 4, "cidr": cidr});
        let subnet = make("subnets", ipv4(&network, "192.0.2.0/24"));
        let ipv6 = json!({"network_id": network, "ip_version": 6, "cidr": "2001:db8::/64",
            "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"});
        let subnet6 = make("subnets", ipv6);
        let other_subnet = make("subnets", ipv4(&other, "198.51.100.0/24"));
        let group = make("security-groups", json!({"name": "bad-requests"}));
        let rule = json!({"security_group_id": group, "direction": "ingress", "protocol": "tcp",
            "port_range_min": 22, "port_range_max": 22});
        let rule = make("security-group-rules", rule);
        let addresses = json!({"name": "bad-requests", "addresses": ["203.0.113.0/24"]});
        let addresses = make("address-groups", addresses);
        let named = json!({"security_group_id": group, "direction": "egress", "remote_address_group_id": addresses});
        make("security-group-rules", named);
        let scope = make("address-scopes", json!({"name": "bad-requests", "ip_version": 4}));
        let pool = json!({"name": "bad-requests", "prefixes": ["100.64.0.0/16"], "default_prefixlen": 24,
            "min_prefixlen": 20, "max_prefixlen": 28, "address_scope_id": scope});
        let pool = make("subnetpools", pool);
        let pooled = make("networks", json!({"name": "bad-requests-pooled"}));
        let mut from_pool = ipv4(&pooled, "100.64.0.0/24");
        from_pool["subnetpool_id"] = pool.as_str().into();
        make("subnets", from_pool);
        let port = json!({"network_id": network, "mac_address": "fa:16:3e:0b:ad:01", "security_groups": [group],
            "fixed_ips": [{"subnet_id": subnet, "ip_address": "192.0.2.10"}]});
        let port = make("ports", port);
        let query = format!("?name=default&project_id={PROJECT}");
        let default_group = testkit::http::id(&client.list("security-groups", &query).unwrap()[0]);
        let mut words = Self::routers(client, &make);
        words.extend([
            ("$other_network", other),
            ("$other_subnet", other_subnet),
            ("$default_group", default_group),
            ("$addresses", addresses),
            ("$pooled", pooled),
            ("$pool", pool),
            ("$scope", scope),
            ("$network", network),
            ("$subnet6", subnet6),
            ("$subnet", subnet),
            ("$port", port),
            ("$group", group),
            ("$rule", rule),
            ("$missing", MISSING.to_owned()),
            ("$project", PROJECT.to_owned()),
        ]);
        Self(words)
    }

    /// A router between an external network and one inside, and what is in its way.
    fn routers(client: &Client, make: &impl Fn(&str, Value) -> String) -> Vec<(&'static str, String)> {
        let network = |cidr, attributes: Value, gateway: Value| {
            let network = make("networks", attributes);
            let mut subnet = json!({"network_id": network, "ip_version": 4, "cidr": cidr});
            subnet.as_object_mut().unwrap().extend(gateway.as_object().unwrap().clone());
            (network, make("subnets", subnet))
        };
        let put = |path: String, body: Value| client.json("PUT", &path, &body).unwrap();
        let (external, external_subnet) = network("100.64.0.0/24", json!({"router:external": true}), json!({}));
        let (inner, inner_subnet) = network("100.65.0.0/24", json!({}), json!({}));
        let (_, bare_subnet) = network("100.66.0.0/24", json!({}), json!({"gateway_ip": null}));
        let (_, overlapping) = network("100.65.0.0/25", json!({}), json!({}));
        let address = json!([{"subnet_id": external_subnet, "ip_address": "100.64.0.10"}]);
        let gateway = json!({"network_id": external, "external_fixed_ips": address});
        let router = make("routers", json!({"external_gateway_info": gateway}));
        let other = make("routers", json!({}));
        let on = json!({"subnet_id": inner_subnet});
        let interface = put(format!("/v2.0/routers/{router}/add_router_interface"), on).json();
        let port = make("ports", json!({"network_id": inner, "fixed_ips": [{"ip_address": "100.65.0.20"}]}));
        let double = json!([{"ip_address": "100.65.0.30"}, {"ip_address": "100.65.0.31"}]);
        let double = make("ports", json!({"network_id": inner, "fixed_ips": double}));
        let outside =
            |address, port| json!({"floating_network_id": external, "floating_ip_address": address, "port_id": port});
        let floating = make("floatingips", outside("100.64.0.20", Some(&port)));
        let idle = make("floatingips", outside("100.64.0.21", None));
        let routes = json!([{"destination": "100.67.0.0/24", "nexthop": "100.65.0.40"}]);
        assert_eq!(put(format!("/v2.0/routers/{router}"), json!({"router": {"routes": routes}})).status, 200);
        let held = testkit::http::id(&client.list("ports", &format!("?device_id={floating}")).unwrap()[0]);
        vec![
            ("$external_subnet", external_subnet),
            ("$external", external),
            ("$inner_subnet", inner_subnet),
            ("$inner", inner),
            ("$bare_subnet", bare_subnet),
            ("$overlapping", overlapping),
            ("$unlinked_router", other),
            ("$router_interface", interface["port_id"].as_str().unwrap().to_owned()),
            ("$router", router),
            ("$behind", port),
            ("$double", double),
            ("$floating_port", held),
            ("$floating", floating),
            ("$idle", idle),
        ]
    }

    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }
}

fn payload(row: &Value, words: &Words) -> Option<Vec<u8>> {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    if let Some(body) = row.get("body") {
        return Some(words.fill(&body.to_string()).into_bytes());
    }
    if let Some(body) = text("text") {
        return Some(words.fill(body).into_bytes());
    }
    if let Some(body) = text("base64") {
        return Some(from_base64(body));
    }
    let repeat = row.get("repeat")?;
    let part = |name: &str| repeat.get(name).and_then(Value::as_str).unwrap();
    let times = usize::try_from(repeat.get("times").and_then(Value::as_u64).unwrap()).unwrap();
    Some(words.fill(&(part("before").to_owned() + &part("unit").repeat(times) + part("after"))).into_bytes())
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = 0_u32;
    let mut out = Vec::new();
    for (index, byte) in text.bytes().filter(|b| *b != b'=').enumerate() {
        bits = bits << 6 | u32::try_from(DIGITS.iter().position(|d| *d == byte).unwrap()).unwrap();
        if index % 4 != 0 {
            out.push(u8::try_from(bits >> (6 - 2 * (index % 4)) & 0xff).unwrap());
        }
    }
    out
}

/// Python prints sets and objects in an order that is not ours: then only the letters are compared.
fn is_same_message(theirs: &str, ours: &str) -> bool {
    let letters = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    theirs == ours || (theirs.contains('{') && letters(theirs) == letters(ours))
}

/// How an answer differs from what is expected, if it does.
fn difference(expect: &Value, answer: &Answer, words: &Words) -> Option<String> {
    let body = answer.json();
    let of_error =
        |name: &str| body.pointer(&format!("/NeutronError/{name}")).and_then(Value::as_str).unwrap_or_default();
    let expected = |name: &str| expect.get(name).and_then(Value::as_str).map(|text| words.fill(text));
    let kind = expected("type").is_none_or(|kind| kind == of_error("type"));
    let message = expected("message").is_none_or(|message| is_same_message(&message, of_error("message")));
    let status = expect.get("status").and_then(Value::as_u64) == Some(answer.status.into());
    (!(status && kind && message)).then(|| {
        let ours: String = answer.text().chars().take(300).collect();
        format!("  expected {}\n  answered {} {ours}", words.fill(&expect.to_string()), answer.status)
    })
}

/// Deletes what a request made though it was bad.
fn forget(client: &Client, path: &str, answer: &Answer) {
    let made = answer.json();
    let several = made.as_object().into_iter().flat_map(Map::values).flat_map(|made| match made {
        Value::Array(made) => made.clone(),
        one => vec![one.clone()],
    });
    for id in several.filter_map(|made| made.get("id").and_then(Value::as_str).map(str::to_owned)) {
        send(client, "DELETE", &format!("{path}/{id}"), &Map::new(), None);
    }
}

fn rows() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bad_requests.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn bad_requests_are_refused_as_by_the_reference() {
    let rows = rows();
    let service = Plan::api_only(env!("CARGO_BIN_EXE_isospin")).configuration(CONFIGURATION).start().unwrap();
    let client = service.client();
    let words = Words::prepare(&client);
    let mut differing = Vec::new();
    let none = Map::new();
    for row in &rows {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap();
        let headers = row.get("headers").and_then(Value::as_object).unwrap_or(&none);
        let path = words.fill(text("path"));
        let answer = send(&client, text("method"), &path, headers, payload(row, &words).as_deref());
        assert!(answer.status < 500, "{}: {}", text("name"), answer.text());
        let expect = row.get("ours").or(row.get("expect")).unwrap();
        differing
            .extend(difference(expect, &answer, &words).map(|difference| format!("{}\n{difference}", text("name"))));
        if text("method") == "POST" && answer.status < 300 {
            forget(&client, &path, &answer);
        }
    }
    service.finish().unwrap();
    assert!(differing.is_empty(), "{} of {} differ:\n{}", differing.len(), rows.len(), differing.join("\n"));
}

#[test]
fn the_table_is_whole() {
    let rows = rows();
    let status = |row: &Value, of: &str| row.pointer(&format!("/{of}/status")).and_then(Value::as_u64);
    let refused = rows.iter().filter(|row| status(row, "expect").is_some_and(|status| status >= 400));
    assert!(refused.count() >= 150);
    for row in &rows {
        let name = row.get("name").and_then(Value::as_str).unwrap();
        assert!(status(row, "ours").or(status(row, "expect")).unwrap() < 500, "{name}: no answer of ours is decided");
        assert_eq!(row.get("ours").is_some(), row.get("why").is_some(), "{name}: an answer of ours needs a reason");
    }
}
