//! Whole commands against a server that answers from a table, with the output to the letter.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::{Environment, execute};

const NET: &str = "bf24d33c-531f-4e15-99b8-dda4f4c8cf47";
const SUBNET: &str = "c1114d51-0ef8-4b0d-9392-a6cc295b11b8";

/// A server that knows some requests and remembers all it got.
struct Fake {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// Answers `METHOD /path?query` with a status and a body; the rest is 404.
    async fn start(answers: Vec<(&'static str, u16, Value)>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answers, log) = (Arc::new(answers), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, log) = (Arc::clone(&answers), Arc::clone(&log));
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (answers, log) = (Arc::clone(&answers), Arc::clone(&log));
                    async move {
                        let key = format!("{} {}", request.method(), request.uri());
                        let token = request.headers().get("x-auth-token").cloned();
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let text = String::from_utf8(body.to_vec()).unwrap();
                        let token = token.map(|token| format!(" [{}]", token.to_str().unwrap())).unwrap_or_default();
                        log.lock().unwrap().push(format!("{key}{token} {text}").trim_end().to_owned());
                        let known = answers.iter().find(|(known, ..)| *known == key);
                        let (status, body) = known.map_or_else(
                            || (404, json!({"NeutronError": {"type": "NotFound", "message": "no", "detail": ""}})),
                            |(_, status, body)| (*status, body.clone()),
                        );
                        Response::builder()
                            .status(status)
                            .header("x-openstack-request-id", "req-1")
                            .header("x-subject-token", "secret")
                            .body(Full::new(Bytes::from(if body.is_null() { String::new() } else { body.to_string() })))
                    }
                });
                tokio::spawn(async move {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { url, seen }
    }

    /// Runs a command line against it: exit status, output, errors.
    async fn run(&self, line: &[&str]) -> (u8, String, String) {
        self.run_with(&[("OS_URL", &self.url), ("OS_TOKEN", "x")], line).await
    }

    async fn run_with(&self, variables: &[(&str, &str)], line: &[&str]) -> (u8, String, String) {
        let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = Environment { variables, directory: "/nonexistent".into(), width: None };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = execute(&words, &environment, &mut out, &mut err).await;
        (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn networks() -> Vec<(&'static str, u16, Value)> {
    vec![
        (
            "GET /v2.0/networks",
            200,
            json!({"networks": [{"id": NET, "name": "foo", "subnets": [SUBNET], "mtu": 1500, "shared": false, "tags": ["a", "it's"]}]}),
        ),
        (
            "GET /v2.0/subnets?fields=id&fields=cidr&id=c1114d51-0ef8-4b0d-9392-a6cc295b11b8",
            200,
            json!({"subnets": [{"id": SUBNET, "cidr": "10.9.0.0/24"}]}),
        ),
        ("GET /v2.0/networks?fields=id&name=foo", 200, json!({"networks": [{"id": NET}]})),
        ("GET /v2.0/networks?fields=id&name=twice", 200, json!({"networks": [{"id": NET}, {"id": SUBNET}]})),
        ("GET /v2.0/networks?fields=id&name=nope", 200, json!({"networks": []})),
        (
            "GET /v2.0/networks?fields=id&id=bf24d33c-531f-4e15-99b8-dda4f4c8cf47",
            200,
            json!({"networks": [{"id": NET}]}),
        ),
        (
            "GET /v2.0/networks/bf24d33c-531f-4e15-99b8-dda4f4c8cf47",
            200,
            json!({"network": {"name": "foo", "id": NET, "admin_state_up": true, "qos_policy_id": null, "subnets": ["a", "b"], "mtu": 1500}}),
        ),
        ("DELETE /v2.0/networks/bf24d33c-531f-4e15-99b8-dda4f4c8cf47", 204, Value::Null),
        ("PUT /v2.0/networks/bf24d33c-531f-4e15-99b8-dda4f4c8cf47", 200, json!({"network": {}})),
        ("POST /v2.0/networks", 201, json!({"network": {"id": NET, "name": "foo", "provider:segmentation_id": null}})),
    ]
}

#[tokio::test]
async fn a_list_is_the_old_table() {
    let fake = Fake::start(networks()).await;
    let (status, out, err) = fake.run(&["net-list"]).await;
    assert_eq!((status, err.as_str()), (0, ""));
    let expected = "\
+--------------------------------------+------+--------------------------------------------------+
| id                                   | name | subnets                                          |
+--------------------------------------+------+--------------------------------------------------+
| bf24d33c-531f-4e15-99b8-dda4f4c8cf47 | foo  | c1114d51-0ef8-4b0d-9392-a6cc295b11b8 10.9.0.0/24 |
+--------------------------------------+------+--------------------------------------------------+
";
    assert_eq!(out, expected);
    let (_, out, _) = fake.run(&["net-list", "-c", "tags", "-c", "mtu", "-c", "shared"]).await;
    let expected = "\
+---------------+------+--------+
| tags          |  mtu | shared |
+---------------+------+--------+
| ['a', \"it's\"] | 1500 | False  |
+---------------+------+--------+
";
    assert_eq!(out, expected);
}

#[tokio::test]
async fn other_formats_hold_the_raw_values() {
    let fake = Fake::start(networks()).await;
    let run = async |format: &str| fake.run(&["net-list", "-f", format, "-c", "name", "-c", "subnets"]).await.1;
    let subnet = format!("{{'id': '{SUBNET}', 'cidr': '10.9.0.0/24'}}");
    assert_eq!(run("csv").await, format!("\"name\",\"subnets\"\n\"foo\",\"[{subnet}]\"\n"));
    assert_eq!(run("value").await, format!("foo [{subnet}]\n"));
    let json: Value = serde_json::from_str(&run("json").await).unwrap();
    assert_eq!(json, json!([{"name": "foo", "subnets": [{"id": SUBNET, "cidr": "10.9.0.0/24"}]}]));
    let yaml: Value = serde_saphyr::from_str(&run("yaml").await).unwrap();
    assert_eq!(yaml, json);
    let (_, out, _) = fake.run(&["net-show", "foo", "-f", "shell"]).await;
    assert_eq!(
        out,
        format!(
            "admin_state_up=\"True\"\nid=\"{NET}\"\nmtu=\"1500\"\nname=\"foo\"\nqos_policy_id=\"None\"\nsubnets=\"['a', 'b']\"\n"
        )
    );
}

#[tokio::test]
async fn a_thing_is_shown_as_fields_and_values() {
    let fake = Fake::start(networks()).await;
    let (status, out, _) = fake.run(&["net-show", NET]).await;
    let expected = "\
+----------------+--------------------------------------+
| Field          | Value                                |
+----------------+--------------------------------------+
| admin_state_up | True                                 |
| id             | bf24d33c-531f-4e15-99b8-dda4f4c8cf47 |
| mtu            | 1500                                 |
| name           | foo                                  |
| qos_policy_id  |                                      |
| subnets        | a                                    |
|                | b                                    |
+----------------+--------------------------------------+
";
    assert_eq!((status, out.as_str()), (0, expected));
}

#[tokio::test]
async fn create_update_and_delete_say_what_they_did() {
    let fake = Fake::start(networks()).await;
    let line = [
        "net-create",
        "foo",
        "--shared",
        "--provider:network_type",
        "vlan",
        "--router:external",
        "True",
        "--mtu",
        "type=int",
        "9000",
    ];
    let (status, out, err) = fake.run(&line).await;
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.starts_with("Created a new network:\n+---"), "{out}");
    let sent = r#"POST /v2.0/networks [x] {"network":{"name":"foo","shared":true,"provider:network_type":"vlan","admin_state_up":true,"router:external":"True","mtu":9000}}"#;
    assert_eq!(fake.seen(), [sent]);
    let (_, out, _) = fake.run(&["net-update", "foo", "--name", "bar"]).await;
    assert_eq!(out, "Updated network: foo\n");
    assert!(fake.seen().last().unwrap().ends_with(r#"[x] {"network":{"name":"bar"}}"#));
    let (status, out, err) = fake.run(&["net-delete", "foo", "nope", "twice"]).await;
    assert_eq!((status, out.as_str()), (1, "Deleted network(s): foo\n"));
    assert_eq!(
        err,
        "Unable to find network(s) with id(s) 'nope'.\n\
         Multiple network(s) matches found for name(s) 'twice'. Please use an ID to be more specific.\n"
    );
}

#[tokio::test]
async fn failures_have_the_old_messages() {
    let mut answers = networks();
    let refusal = json!({"NeutronError": {"type": "NetworkInUse", "message": "In use.", "detail": "By a port."}});
    answers.insert(0, ("DELETE /v2.0/networks/bf24d33c-531f-4e15-99b8-dda4f4c8cf47", 409, refusal));
    let fake = Fake::start(answers).await;
    let fails = async |line: &[&str]| {
        let (status, out, err) = fake.run(line).await;
        assert_eq!(out, "");
        (status, err)
    };
    assert_eq!(fails(&["net-show", "nope"]).await, (1, "Unable to find network with name or id 'nope'\n".into()));
    assert_eq!(
        fails(&["net-show", "twice"]).await,
        (1, "Multiple network matches found for name 'twice', use an ID to be more specific.\n".into())
    );
    assert_eq!(
        fails(&["net-delete", "foo"]).await,
        (1, "In use.\nBy a port.\nNeutron server returns request_ids: ['req-1']\n".into())
    );
    assert_eq!(fails(&["net-update", "foo"]).await, (1, "Must specify new values to update network\n".into()));
    let (status, err) = fails(&["net-show"]).await;
    assert_eq!(status, 2);
    assert!(err.contains("neutron net-show: error: the following arguments are required: NETWORK\n"), "{err}");
    assert!(fails(&["bogus"]).await.1.starts_with("Unknown command ['bogus']"));
    let (status, _, err) = fake.run_with(&[("OS_URL", "http://127.0.0.1:1")], &["net-list"]).await;
    assert_eq!(status, 1);
    assert!(
        err.starts_with("Unable to establish connection to http://127.0.0.1:1/v2.0/networks: Connection refused"),
        "{err}"
    );
    let (_, _, err) = fake.run_with(&[], &["net-list"]).await;
    assert!(err.contains("auth_url"), "{err}");
}

#[tokio::test]
async fn agents_wear_a_face() {
    let agents = json!({"agents": [
        {"id": NET, "agent_type": "Linux bridge agent", "host": "h1", "availability_zone": null, "alive": true,
         "admin_state_up": true, "binary": "neutron-linuxbridge-agent", "configurations": {"a": 1}},
        {"id": SUBNET, "agent_type": "DHCP agent", "host": "h2", "availability_zone": "nova", "alive": false,
         "admin_state_up": false, "binary": "neutron-dhcp-agent", "configurations": {}}]});
    let shown = json!({"agent": {"id": NET, "configurations": {"a": {"b": []}}}});
    let fake = Fake::start(vec![
        ("GET /v2.0/agents", 200, agents),
        ("GET /v2.0/agents/bf24d33c-531f-4e15-99b8-dda4f4c8cf47", 200, shown),
    ])
    .await;
    let (_, out, _) =
        fake.run(&["agent-list", "-c", "host", "-c", "availability_zone", "-c", "alive", "-c", "admin_state_up"]).await;
    let expected = "\
+------+-------------------+-------+----------------+
| host | availability_zone | alive | admin_state_up |
+------+-------------------+-------+----------------+
| h1   |                   | :-)   | True           |
| h2   | nova              | xxx   | False          |
+------+-------------------+-------+----------------+
";
    assert_eq!(out, expected);
    let (_, out, _) = fake.run(&["agent-show", NET, "-c", "configurations"]).await;
    let expected = "\
+----------------+-------------------+
| Field          | Value             |
+----------------+-------------------+
| configurations | {                 |
|                |      \"a\": {       |
|                |           \"b\": [] |
|                |      }            |
|                | }                 |
+----------------+-------------------+
";
    assert_eq!(out, expected);
}

#[tokio::test]
async fn pages_are_followed_and_filters_sent() {
    let next = "http://elsewhere/v2.0/ports?limit=1&marker=a&name=x";
    let fake = Fake::start(vec![
        (
            "GET /v2.0/ports?fields=id&name=x&limit=1&sort_key=id&sort_dir=desc",
            200,
            json!({"ports": [{"id": "a"}], "ports_links": [{"rel": "next", "href": next}]}),
        ),
        (
            "GET /v2.0/ports?limit=1&marker=a&name=x",
            200,
            json!({"ports": [{"id": "b"}], "ports_links": [{"rel": "previous", "href": next}]}),
        ),
    ])
    .await;
    let line =
        ["port-list", "--name", "x", "-F", "id", "-P", "1", "--sort-key", "id", "--sort-dir", "desc", "-f", "value"];
    assert_eq!(fake.run(&line).await.1, "a\nb\n");
    assert_eq!(fake.run(&["port-list", "--name", "none"]).await.0, 1);
}

#[tokio::test]
async fn rules_are_summed_up() {
    let rule = |id: &str, protocol: Value, from: Value, to: Value, prefix: Value, group: Value| {
        json!({"id": id, "security_group_id": NET, "direction": "ingress", "ethertype": "IPv4", "protocol": protocol,
               "port_range_min": from, "port_range_max": to, "remote_ip_prefix": prefix, "remote_group_id": group})
    };
    let null = Value::Null;
    let rules = json!({"security_group_rules": [
        rule("1", json!("tcp"), json!(22), json!(22), json!("10.0.0.0/8"), null.clone()),
        rule("2", json!("udp"), json!(1), json!(9), null.clone(), json!(NET)),
        rule("3", json!("icmp"), json!(8), json!(0), null.clone(), null.clone()),
        rule("4", null.clone(), null.clone(), null.clone(), null.clone(), null)]});
    let fake = Fake::start(vec![
        ("GET /v2.0/security-group-rules", 200, rules),
        (
            "GET /v2.0/security-groups?fields=id&fields=name&id=bf24d33c-531f-4e15-99b8-dda4f4c8cf47",
            200,
            json!({"security_groups": [{"id": NET, "name": "web"}]}),
        ),
    ])
    .await;
    let (_, out, _) = fake.run(&["security-group-rule-list"]).await;
    let expected = "\
+----+----------------+-----------+-----------+-----------------------+-------------------+
| id | security_group | direction | ethertype | port/protocol         | remote            |
+----+----------------+-----------+-----------+-----------------------+-------------------+
| 1  | web            | ingress   | IPv4      | 22/tcp                | 10.0.0.0/8 (CIDR) |
| 2  | web            | ingress   | IPv4      | 1-9/udp               | web (group)       |
| 3  | web            | ingress   | IPv4      | icmp (type:8, code:0) | any               |
| 4  | web            | ingress   | IPv4      | any                   | any               |
+----+----------------+-----------+-----------+-----------------------+-------------------+
";
    assert_eq!(out, expected);
}

#[tokio::test]
async fn keystone_is_asked_for_a_token_and_the_endpoint() {
    let keystone = Fake::start(networks()).await;
    let endpoints = json!([
        {"interface": "internal", "region_id": "R", "url": "http://wrong"},
        {"interface": "public", "region_id": "Q", "url": "http://wrong"},
        {"interface": "public", "region_id": "R", "url": keystone.url}]);
    let token = json!({"token": {
        "user": {"id": "u1"}, "expires_at": "2100-01-01T00:00:00.000000Z",
        "roles": [{"name": "admin"}], "catalog": [{"type": "network", "endpoints": endpoints}]}});
    let fake = Fake::start(vec![("POST /v3/auth/tokens", 201, token)]).await;
    let variables = [
        ("OS_AUTH_URL", fake.url.as_str()),
        ("OS_USERNAME", "u"),
        ("OS_PASSWORD", "p"),
        ("OS_PROJECT_NAME", "t"),
        ("OS_USER_DOMAIN_NAME", "D"),
        ("OS_REGION_NAME", "R"),
    ];
    let (status, _, err) = fake.run_with(&variables, &["net-show", NET]).await;
    assert_eq!((status, err.as_str()), (0, ""));
    let asked = r#"POST /v3/auth/tokens {"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"u","domain":{"name":"D"},"password":"p"}}},"scope":{"project":{"name":"t","domain":{"id":"default"}}}}}"#;
    assert_eq!(fake.seen(), [asked]);
    assert!(keystone.seen().iter().all(|request| request.contains(" [secret]")));
}

#[tokio::test]
async fn tags_and_agents_take_their_own_paths() {
    let fake = Fake::start({
        let mut answers = networks();
        answers.push(("PUT /v2.0/networks/bf24d33c-531f-4e15-99b8-dda4f4c8cf47/tags/a%20b", 201, Value::Null));
        answers.push(("POST /v2.0/agents/A/dhcp-networks", 201, Value::Null));
        answers.push(("GET /v2.0/quotas/tenant", 200, json!({"tenant": {"tenant_id": "t"}})));
        answers.push(("GET /v2.0/quotas/t", 200, json!({"quota": {"port": -1}})));
        answers
    })
    .await;
    let tag = ["tag-add", "--resource-type", "network", "--resource", "foo", "--tag", "a b"];
    assert_eq!(fake.run(&tag).await, (0, String::new(), String::new()));
    let (_, out, _) = fake.run(&["dhcp-agent-network-add", "A", "foo"]).await;
    assert_eq!(out, "Added network foo to DHCP agent\n");
    assert_eq!(fake.run(&["quota-show", "-f", "value"]).await.1, "-1\n");
}
