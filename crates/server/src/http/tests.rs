//! Requests of callers with different roles: what each may do, sees, and is told.

use std::sync::Arc;

use axum::body::Body;
use http_body_util::BodyExt;
use oslo::{context::Context, policy::Settings};
use serde_json::{Value, json};

use super::{Answer, Request, dispatch};
use crate::{Ctx, policy::Policy, testing};

const OWN: &str = "11111111-1111-4111-8111-111111111111";
const OTHER: &str = "22222222-2222-4222-8222-222222222222";
const THIRD: &str = "33333333-3333-4333-8333-333333333333";

const ADMIN: (&[&str], &str) = (&["admin", "member", "reader"], THIRD);
const MANAGER: (&[&str], &str) = (&["manager", "member", "reader"], OWN);
const MEMBER: (&[&str], &str) = (&["member", "reader"], OWN);
const READER: (&[&str], &str) = (&["reader"], OWN);
const STRANGER: (&[&str], &str) = (&["member", "reader"], OTHER);
const SERVICE: (&[&str], &str) = (&["service"], THIRD);
const NOBODY: (&[&str], &str) = (&[], OWN);
const EVERYONE: [(&[&str], &str); 7] = [ADMIN, MANAGER, MEMBER, READER, STRANGER, SERVICE, NOBODY];

/// A server with the default rules.
struct Server {
    ctx: Ctx,
}

impl Server {
    async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        let policy = Arc::new(Policy::load(settings).unwrap());
        Self { ctx: testing::server(|config| config.policy = policy).await }
    }

    async fn send(&self, caller: Context, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = axum::http::Request::builder().method(method).uri(format!("/v2.0/{path}")).body(body).unwrap();
        let ctx = Ctx::of(Arc::clone(&self.ctx.parts), caller);
        let request = Request::read(request).await.unwrap();
        let answer = dispatch::route(&ctx, &request).await;
        let response = answer.unwrap_or_else(|error| Answer::refusal(&error.into_refusal())).into_response("req-1");
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    fn context(&self, (roles, project): (&[&str], &str)) -> Context {
        let mut caller = Context::user("u", project, roles.iter().map(|role| (*role).to_owned()).collect());
        self.ctx.config().policy.admit(&mut caller);
        caller
    }

    async fn ask(&self, who: (&[&str], &str), method: &str, path: &str, body: Value) -> (u16, Value) {
        self.send(self.context(who), method, path, body).await
    }

    async fn get(&self, who: (&[&str], &str), path: &str) -> (u16, Value) {
        self.ask(who, "GET", path, Value::Null).await
    }

    /// Makes a resource, and tells its id.
    async fn make(&self, who: (&[&str], &str), collection: &str, singular: &str, given: Value) -> String {
        let (status, made) = self.ask(who, "POST", collection, json!({ singular: given })).await;
        assert_eq!(status, 201, "{made}");
        made[singular]["id"].as_str().unwrap().to_owned()
    }

    /// Names of what a list shows, sorted.
    async fn names(&self, who: (&[&str], &str), collection: &str) -> Vec<String> {
        let (status, listed) = self.get(who, collection).await;
        assert_eq!(status, 200, "{listed}");
        let plural = collection.split('?').next().unwrap().replace('-', "_");
        let items = listed[&plural].as_array().unwrap();
        let mut names: Vec<String> = items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    async fn status(&self, who: (&[&str], &str), method: &str, path: &str, body: Value) -> u16 {
        self.ask(who, method, path, body).await.0
    }

    /// One network of each kind: the member's own, another's, a shared and an external one.
    async fn networks(&self) -> [String; 4] {
        let external = json!({"name": "external", "router:external": true, "shared": false});
        [
            self.make(MEMBER, "networks", "network", json!({"name": "own"})).await,
            self.make(STRANGER, "networks", "network", json!({"name": "other"})).await,
            self.make(ADMIN, "networks", "network", json!({"name": "shared", "shared": true})).await,
            self.make(ADMIN, "networks", "network", external).await,
        ]
    }
}

fn kind(answer: &Value) -> (&str, &str) {
    let error = &answer["NeutronError"];
    (error["type"].as_str().unwrap_or_default(), error["message"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn lists_show_what_is_owned_shared_or_external() {
    let server = Server::start().await;
    server.networks().await;
    let all = ["external", "other", "own", "shared"];
    for who in [ADMIN, SERVICE] {
        assert_eq!(server.names(who, "networks").await, all);
    }
    for who in [MANAGER, MEMBER, READER] {
        assert_eq!(server.names(who, "networks").await, ["external", "own", "shared"]);
    }
    assert_eq!(server.names(STRANGER, "networks").await, ["external", "other", "shared"]);
    // Without a role that reads, only what anyone may see.
    assert_eq!(server.names(NOBODY, "networks").await, ["external", "shared"]);
    assert_eq!(server.names(MEMBER, "networks?shared=True").await, ["shared"]);
    assert_eq!(server.names(MEMBER, &format!("networks?project_id={OTHER}")).await, Vec::<String>::new());
}

#[tokio::test]
async fn pages_hold_what_is_seen_and_nothing_else() {
    let server = Server::start().await;
    for i in 0..7 {
        let name = format!("n{i}");
        server.make(if i % 2 == 0 { MEMBER } else { STRANGER }, "networks", "network", json!({"name": name})).await;
    }
    server.make(ADMIN, "networks", "network", json!({"name": "s", "shared": true})).await;
    let mut seen = Vec::new();
    let mut path = "networks?limit=2&sort_key=name&sort_dir=asc".to_owned();
    loop {
        let (_, page) = server.get(MEMBER, &path).await;
        let items = page["networks"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        let links = page["networks_links"].as_array().cloned().unwrap_or_default();
        let Some(next) = links.iter().find(|link| link["rel"] == "next") else { break };
        path = next["href"].as_str().unwrap().split("/v2.0/").nth(1).unwrap().to_owned();
    }
    assert_eq!(seen, ["n0", "n2", "n4", "n6", "s"]);
    // Nobody's roles read its own: rows that the project has are left out, and pages are still full.
    let (_, page) = server.get(NOBODY, "networks?limit=1").await;
    assert_eq!(page["networks"][0]["name"], "s");
    let (_, others) = server.get(STRANGER, "networks?name=n1").await;
    let marker = others["networks"][0]["id"].as_str().unwrap();
    let unseen = server.status(MEMBER, "GET", &format!("networks?limit=1&marker={marker}"), Value::Null).await;
    assert_eq!(unseen, 404);
}

#[tokio::test]
async fn showing_hides_what_is_not_seen() {
    let server = Server::start().await;
    let [own, other, shared, external] = server.networks().await;
    for id in [&own, &shared, &external] {
        assert_eq!(server.status(MEMBER, "GET", &format!("networks/{id}"), Value::Null).await, 200);
    }
    let (status, hidden) = server.get(MEMBER, &format!("networks/{other}")).await;
    assert_eq!((status, kind(&hidden).0), (404, "NetworkNotFound"));
    // Found, but not for those without the role: a bare body.
    let (status, hidden) = server.get(NOBODY, &format!("networks/{own}")).await;
    let bare = json!({"type": "HTTPNotFound", "message": "The resource could not be found.", "detail": ""});
    assert_eq!((status, hidden), (404, bare));
}

#[tokio::test]
async fn guarded_attributes_are_shown_to_those_whom_rules_name() {
    let server = Server::start().await;
    let [own, ..] = server.networks().await;
    let port = server.make(MEMBER, "ports", "port", json!({"network_id": own})).await;
    let attributes = async |who, path: String, singular: &str| {
        let (_, shown) = server.get(who, &path).await;
        shown[singular].as_object().unwrap().keys().cloned().collect::<Vec<String>>()
    };
    let provider = "provider:network_type".to_owned();
    for (who, sees) in [(ADMIN, true), (MEMBER, false), (READER, false), (SERVICE, false)] {
        let shown = attributes(who, format!("networks/{own}"), "network").await;
        assert_eq!(shown.contains(&provider), sees, "{who:?}");
        assert!(shown.contains(&"name".to_owned()) && shown.contains(&"tenant_id".to_owned()));
    }
    for (who, sees) in [(ADMIN, true), (SERVICE, true), (MANAGER, false)] {
        let shown = attributes(who, format!("ports/{port}"), "port").await;
        for name in ["binding:host_id", "binding:vif_type", "binding:profile"] {
            assert_eq!(shown.contains(&name.to_owned()), sees, "{who:?}");
        }
        assert!(shown.contains(&"binding:vnic_type".to_owned()));
    }
    let (_, listed) = server.get(MEMBER, "networks").await;
    assert!(listed["networks"].as_array().unwrap().iter().all(|network| network.get(&provider).is_none()));
    let (_, listed) = server.get(MEMBER, "networks?fields=name&fields=provider:network_type&name=own").await;
    assert_eq!(listed, json!({"networks": [{"name": "own"}]}));
    // What a request answers is no way round.
    let (_, made) = server.ask(MEMBER, "POST", "networks", json!({"network": {"name": "m"}})).await;
    assert!(made["network"].get(&provider).is_none());
    let (_, changed) = server.ask(MEMBER, "PUT", &format!("ports/{port}"), json!({"port": {"name": "q"}})).await;
    assert!(changed["port"].get("binding:host_id").is_none() && changed["port"]["name"] == "q");
}

#[tokio::test]
async fn creating_takes_the_role_and_more_for_guarded_attributes() {
    let server = Server::start().await;
    for who in EVERYONE {
        let allowed = ![READER, SERVICE, NOBODY].contains(&who);
        let (status, answer) = server.ask(who, "POST", "networks", json!({"network": {"name": "n"}})).await;
        assert_eq!(status, if allowed { 201 } else { 403 }, "{who:?}: {answer}");
    }
    let shared = json!({"network": {"name": "n", "shared": true}});
    let (status, refused) = server.ask(MEMBER, "POST", "networks", shared).await;
    let message = "(rule:create_network and rule:create_network:shared) is disallowed by policy";
    assert_eq!((status, kind(&refused)), (403, ("PolicyNotAuthorized", message)));
    let explicit = json!({"network": {"name": "n", "shared": false}});
    assert_eq!(server.status(MEMBER, "POST", "networks", explicit).await, 201);
    let many = json!({"networks": [{"name": "a"}, {"name": "b", "router:external": true}]});
    assert_eq!(server.status(MEMBER, "POST", "networks", many).await, 403);
    assert!(!server.names(ADMIN, "networks").await.contains(&"a".to_owned()));
    let others = json!({"network": {"name": "n", "project_id": OTHER}});
    let (status, refused) = server.ask(MEMBER, "POST", "networks", others.clone()).await;
    assert_eq!((status, kind(&refused).0), (400, "HTTPBadRequest"));
    assert!(kind(&refused).1.starts_with("Specifying 'project_id' other than the authenticated project"));
    assert_eq!(server.status(ADMIN, "POST", "networks", others).await, 201);
}

#[tokio::test]
async fn changing_is_forbidden_or_hidden() {
    let server = Server::start().await;
    let [own, other, shared, _] = server.networks().await;
    let rename = json!({"network": {"name": "m"}});
    for (who, id, expected) in [
        (MEMBER, &own, 200),
        (ADMIN, &other, 200),
        (READER, &own, 403),
        (MEMBER, &shared, 403),
        (MEMBER, &other, 404),
        (NOBODY, &own, 404),
        (SERVICE, &own, 403),
    ] {
        let (status, answer) = server.ask(who, "PUT", &format!("networks/{id}"), rename.clone()).await;
        assert_eq!(status, expected, "{who:?}: {answer}");
        if status == 403 {
            assert_eq!(kind(&answer), ("PolicyNotAuthorized", "rule:update_network is disallowed by policy"));
        }
    }
    let share = json!({"network": {"shared": true}});
    let (_, refused) = server.ask(MEMBER, "PUT", &format!("networks/{own}"), share).await;
    assert_eq!(kind(&refused).1, "(rule:update_network and rule:update_network:shared) is disallowed by policy");
    for (who, id, expected) in
        [(READER, &own, 403), (MEMBER, &shared, 403), (STRANGER, &own, 404), (NOBODY, &own, 404), (MEMBER, &own, 204)]
    {
        assert_eq!(server.status(who, "DELETE", &format!("networks/{id}"), Value::Null).await, expected, "{who:?}");
    }
}

#[tokio::test]
async fn an_operators_file_has_the_last_word_and_may_change() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.yaml");
    std::fs::write(&file, "create_network: role:boss\nget_network:provider:network_type: '@'\n").unwrap();
    let server = Server::with(Settings { files: vec![file.clone()], ..Settings::default() }).await;
    let given = json!({"network": {"name": "n"}});
    assert_eq!(server.status(MEMBER, "POST", "networks", given.clone()).await, 403);
    assert_eq!(server.status(ADMIN, "POST", "networks", given.clone()).await, 403, "not even an administrator");
    let boss: (&[&str], &str) = (&["boss", "reader"], OWN);
    let id = server.make(boss, "networks", "network", json!({"name": "n"})).await;
    let sees = async || {
        let (_, shown) = server.get(MEMBER, &format!("networks/{id}")).await;
        ["provider:network_type", "provider:segmentation_id"].map(|name| shown["network"].get(name).is_some())
    };
    assert_eq!(sees().await, [true, false]);
    // Another's network is shown only where the database is asked for all, which a rule of its own decides.
    std::fs::write(&file, "context_with_global_access: role:auditor\nget_network: role:reader\n").unwrap();
    server.ctx.config().policy.refresh();
    assert_eq!(sees().await, [false, false]);
    assert_eq!(server.status(MEMBER, "POST", "networks", given).await, 201);
    let auditor: (&[&str], &str) = (&["auditor", "reader"], THIRD);
    assert_eq!(server.names(auditor, "networks").await, ["n", "n"]);
    assert_eq!(server.names(STRANGER, "networks").await, Vec::<String>::new());
}

#[tokio::test]
async fn ports_depend_on_their_network() {
    let server = Server::start().await;
    let [own, other, shared, external] = server.networks().await;
    let on = |network: &str, more: Value| {
        let mut port = json!({"network_id": network, "name": "p"});
        port.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "port": port })
    };
    for (network, more, expected) in [
        (&own, json!({"mac_address": "fa:16:3e:00:00:01"}), 201),
        (&shared, json!({}), 201),
        (&shared, json!({"mac_address": "fa:16:3e:00:00:01"}), 403),
        (&shared, json!({"device_owner": "network:dhcp"}), 403),
        (&shared, json!({"port_security_enabled": false}), 403),
        (&own, json!({"binding:host_id": "h"}), 403),
        (&external, json!({}), 403),
        (&other, json!({}), 404),
    ] {
        let (status, answer) = server.ask(MEMBER, "POST", "ports", on(network, more.clone())).await;
        assert_eq!(status, expected, "{more}: {answer}");
        if status == 404 {
            assert_eq!(kind(&answer).0, "NetworkNotFound");
        }
    }
    // The owner of a network sees what others have on it.
    let lent = server.make(ADMIN, "ports", "port", json!({"network_id": own, "project_id": OTHER})).await;
    assert_eq!(server.status(MEMBER, "GET", &format!("ports/{lent}"), Value::Null).await, 200);
    assert_eq!(server.status(MEMBER, "PUT", &format!("ports/{lent}"), json!({"port": {"name": "x"}})).await, 403);
    assert_eq!(server.names(STRANGER, "ports?name=p").await, Vec::<String>::new());
    let instance = json!({"network_id": own, "device_owner": "compute:nova", "device_id": "i"});
    let instance = server.make(MEMBER, "ports", "port", instance).await;
    let path = format!("ports/{instance}");
    assert_eq!(server.status(MEMBER, "DELETE", &path, Value::Null).await, 403);
    let mut through_nova = server.context(MEMBER);
    through_nova.service_roles = vec!["service".to_owned()];
    assert_eq!(server.send(through_nova, "DELETE", &path, Value::Null).await.0, 204);
    let group = server.make(STRANGER, "security-groups", "security_group", json!({"name": "theirs"})).await;
    let subnet = json!({"network_id": own, "cidr": "10.0.0.0/24", "ip_version": 4});
    server.make(MEMBER, "subnets", "subnet", subnet).await;
    let (status, refused) = server.ask(MEMBER, "POST", "ports", on(&own, json!({"security_groups": [group]}))).await;
    assert_eq!((status, kind(&refused).0), (404, "SecurityGroupNotFound"), "{refused}");
}

#[tokio::test]
async fn subnets_follow_their_network() {
    let server = Server::start().await;
    let [own, other, shared, external] = server.networks().await;
    let subnet = |network: &str, name: &str| json!({"network_id": network, "cidr": "10.0.0.0/24", "ip_version": 4, "name": name});
    server.make(MEMBER, "subnets", "subnet", subnet(&own, "own")).await;
    for (network, name) in [(&other, "other"), (&shared, "shared"), (&external, "external")] {
        server.make(ADMIN, "subnets", "subnet", subnet(network, name)).await;
    }
    assert_eq!(server.names(MEMBER, "subnets").await, ["external", "own", "shared"]);
    assert_eq!(server.names(MEMBER, "subnets?shared=False").await, ["external", "own"]);
    // Another's subnet on one's own network is the network owner's too, but SQL shows it by the network's grants only.
    assert_eq!(server.names(STRANGER, "subnets").await, ["external", "shared"]);
    let (status, refused) = server.ask(MEMBER, "POST", "subnets", json!({"subnet": subnet(&shared, "x")})).await;
    assert_eq!((status, kind(&refused).1), (403, "rule:create_subnet is disallowed by policy"));
    let (_, shown) = server.get(MEMBER, "subnets?name=own").await;
    assert!(shown["subnets"][0].get("shared").is_none());
}

#[tokio::test]
async fn a_network_is_shared_with_a_project() {
    let server = Server::start().await;
    let [own, ..] = server.networks().await;
    let give = |target: &str, action: &str| json!({"object_type": "network", "object_id": own, "target_tenant": target, "action": action});
    let post = async |who, given: Value| server.ask(who, "POST", "rbac-policies", json!({"rbac_policy": given})).await;
    let (status, made) = post(MEMBER, give(OTHER, "access_as_shared")).await;
    let policy = &made["rbac_policy"];
    let id = policy["id"].as_str().unwrap().to_owned();
    let expected = json!({"id": id, "project_id": OWN, "tenant_id": OWN, "action": "access_as_shared", "object_id": own,
                          "target_tenant": OTHER, "object_type": "network"});
    assert_eq!((status, policy), (201, &expected));
    // Those it is shared with see it as shared, its owner and others do not.
    let path = format!("networks/{own}");
    assert_eq!(server.get(STRANGER, &path).await.1["network"]["shared"], true);
    assert_eq!(server.get(MEMBER, &path).await.1["network"]["shared"], false);
    assert_eq!(server.status((&["member", "reader"], THIRD), "GET", &path, Value::Null).await, 404);
    assert_eq!(server.names(STRANGER, "networks?shared=True").await, ["own", "shared"]);
    for (given, status, wanted) in [
        (give(OTHER, "access_as_shared"), 409, "DuplicateRbacPolicy"),
        (give("*", "access_as_shared"), 403, "PolicyNotAuthorized"),
        (give(THIRD, "access_as_wished"), 400, "InvalidActionForType"),
        (give("everybody", "access_as_shared"), 400, "InvalidInput"),
        (
            json!({"object_type": "planet", "object_id": own, "target_tenant": THIRD, "action": "a"}),
            400,
            "InvalidInput",
        ),
    ] {
        let (answered, refused) = post(MEMBER, given.clone()).await;
        assert_eq!((answered, kind(&refused).0), (status, wanted), "{given}: {refused}");
    }
    assert_eq!(post(STRANGER, give(THIRD, "access_as_shared")).await.0, 400, "only its owner shares a network");
    assert_eq!(post(READER, give(THIRD, "access_as_shared")).await.0, 403);
    // In use it stays.
    let port = server.make(STRANGER, "ports", "port", json!({"network_id": own})).await;
    let one = format!("rbac-policies/{id}");
    let (status, refused) = server.ask(MEMBER, "DELETE", &one, Value::Null).await;
    assert_eq!((status, kind(&refused).0), (409, "RbacPolicyInUse"));
    let elsewhere = json!({"rbac_policy": {"target_tenant": THIRD}});
    assert_eq!(server.status(MEMBER, "PUT", &one, elsewhere.clone()).await, 409);
    assert_eq!(server.status(STRANGER, "DELETE", &one, Value::Null).await, 404);
    assert_eq!(server.status(STRANGER, "DELETE", &format!("ports/{port}"), Value::Null).await, 204);
    assert_eq!(server.status(MEMBER, "PUT", &one, elsewhere).await, 200);
    assert_eq!(server.status(STRANGER, "GET", &path, Value::Null).await, 404);
    let listed = server.get(MEMBER, "rbac-policies?object_type=network&fields=target_tenant").await.1;
    assert_eq!(listed, json!({"rbac_policies": [{"target_tenant": THIRD}]}));
    assert_eq!(server.get(STRANGER, "rbac-policies").await.1, json!({"rbac_policies": []}));
    assert_eq!(server.status(MEMBER, "DELETE", &one, Value::Null).await, 204);
    let (status, gone) = server.get(MEMBER, &one).await;
    assert_eq!((status, kind(&gone).0), (404, "RbacPolicyNotFound"));
}

#[tokio::test]
async fn a_policy_makes_a_network_external_and_the_last_one_gone_internal() {
    let server = Server::start().await;
    let [own, ..] = server.networks().await;
    let given = json!({"object_type": "network", "object_id": own, "target_tenant": OTHER,
                       "action": "access_as_external"});
    let id = server.make(MEMBER, "rbac-policies", "rbac_policy", given).await;
    let (_, seen) = server.get(STRANGER, &format!("networks/{own}")).await;
    assert_eq!((&seen["network"]["router:external"], &seen["network"]["shared"]), (&json!(true), &json!(false)));
    let revision = seen["network"]["revision_number"].as_i64().unwrap();
    assert_eq!(server.status(MEMBER, "DELETE", &format!("rbac-policies/{id}"), Value::Null).await, 204);
    let (_, seen) = server.get(MEMBER, &format!("networks/{own}")).await;
    assert_eq!(seen["network"]["router:external"], false);
    assert!(seen["network"]["revision_number"].as_i64().unwrap() > revision);
}

#[tokio::test]
async fn a_security_group_is_shared_and_its_rules_are_not() {
    let server = Server::start().await;
    let [_, _, shared, _] = server.networks().await;
    let group = server.make(MEMBER, "security-groups", "security_group", json!({"name": "g"})).await;
    let path = format!("security-groups/{group}");
    assert_eq!(server.status(STRANGER, "GET", &path, Value::Null).await, 404);
    let given = json!({"object_type": "security_group", "object_id": group, "target_tenant": OTHER,
                       "action": "access_as_shared"});
    let id = server.make(MEMBER, "rbac-policies", "rbac_policy", given).await;
    assert_eq!(server.get(STRANGER, &path).await.1["security_group"]["shared"], true);
    let rules = server.get(STRANGER, &format!("security-group-rules?security_group_id={group}")).await.1;
    assert_eq!(rules, json!({"security_group_rules": []}));
    assert_eq!(server.status(STRANGER, "PUT", &path, json!({"security_group": {"name": "h"}})).await, 403);
    let rule = json!({"security_group_rule": {"security_group_id": group, "direction": "ingress"}});
    assert_eq!(server.status(STRANGER, "POST", "security-group-rules", rule).await, 403);
    let subnet = json!({"network_id": shared, "cidr": "10.0.0.0/24", "ip_version": 4});
    server.make(ADMIN, "subnets", "subnet", subnet).await;
    let port = json!({"network_id": shared, "security_groups": [group]});
    let port = server.make(STRANGER, "ports", "port", port).await;
    let (status, used) = server.ask(MEMBER, "DELETE", &format!("rbac-policies/{id}"), Value::Null).await;
    assert_eq!((status, kind(&used).0), (409, "RbacPolicyInUse"));
    assert_eq!(server.status(STRANGER, "DELETE", &format!("ports/{port}"), Value::Null).await, 204);
    let (_, mine) = server.get(MEMBER, "security-group-rules").await;
    let mine = mine["security_group_rules"].as_array().unwrap().clone();
    assert!(!mine.is_empty());
    let one = format!("security-group-rules/{}", mine[0]["id"].as_str().unwrap());
    assert_eq!(server.status(MEMBER, "GET", &one, Value::Null).await, 200);
    assert_eq!(server.status(STRANGER, "GET", &one, Value::Null).await, 404);
    assert_eq!(server.status(STRANGER, "DELETE", &one, Value::Null).await, 404);
    assert_eq!(server.status(READER, "DELETE", &one, Value::Null).await, 403);
    assert_eq!(server.status(MEMBER, "DELETE", &one, Value::Null).await, 204);
    assert_eq!(server.status(MEMBER, "DELETE", &format!("rbac-policies/{id}"), Value::Null).await, 204);
}

#[tokio::test]
async fn what_is_not_a_resource_has_rules_too() {
    let server = Server::start().await;
    testing::host(&server.ctx, "h").await;
    let [own, ..] = server.networks().await;
    let (_, agents) = server.get(ADMIN, "agents").await;
    let agent = agents["agents"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(server.get(MEMBER, "agents").await.1, json!({"agents": []}));
    assert_eq!(server.status(MANAGER, "GET", &format!("agents/{agent}"), Value::Null).await, 404);
    let off = json!({"agent": {"admin_state_up": false}});
    assert_eq!(server.status(MANAGER, "PUT", &format!("agents/{agent}"), off).await, 404);
    for (who, path, expected) in [
        (MEMBER, format!("agents/{agent}/dhcp-networks"), 403),
        (ADMIN, format!("networks/{own}/dhcp-agents"), 200),
        (MEMBER, format!("networks/{own}/dhcp-agents"), 403),
        (MANAGER, "quotas".to_owned(), 200),
        (MEMBER, "quotas".to_owned(), 403),
        (MEMBER, format!("quotas/{OWN}"), 200),
        (READER, format!("quotas/{OTHER}"), 403),
        (MEMBER, format!("quotas/{OWN}/details"), 200),
        (MEMBER, format!("quotas/{OTHER}/details"), 403),
        (NOBODY, format!("networks/{own}/tags"), 403),
        (READER, format!("networks/{own}/tags"), 200),
        (STRANGER, format!("networks/{own}/tags"), 403),
    ] {
        let (status, answer) = server.get(who, &path).await;
        assert_eq!(status, expected, "{who:?} {path}: {answer}");
    }
    let limit = json!({"quota": {"network": 5}});
    assert_eq!(server.status(MANAGER, "PUT", &format!("quotas/{OWN}"), limit.clone()).await, 403);
    assert_eq!(server.status(ADMIN, "PUT", &format!("quotas/{OWN}"), limit).await, 200);
    assert_eq!(server.status(READER, "PUT", &format!("networks/{own}/tags/a"), Value::Null).await, 403);
    assert_eq!(server.status(MEMBER, "PUT", &format!("networks/{own}/tags/a"), Value::Null).await, 201);
    let (_, zones) = server.get(READER, "availability_zones").await;
    assert!(!zones["availability_zones"].as_array().unwrap().is_empty());
    assert_eq!(server.get(NOBODY, "availability_zones").await.1, json!({"availability_zones": []}));
    let port = json!({"network_id": own, "device_owner": "compute:nova", "device_id": "i"});
    let port = server.make(MEMBER, "ports", "port", port).await;
    let bindings = format!("ports/{port}/bindings");
    let binding = json!({"binding": {"host": "h"}});
    assert_eq!(server.status(ADMIN, "POST", &bindings, binding.clone()).await, 403, "services alone");
    assert_eq!(server.status(MEMBER, "POST", &bindings, binding).await, 403);
    assert_eq!(server.get(MEMBER, &bindings).await, (200, json!({"bindings": []})));
    assert_eq!(server.status(STRANGER, "GET", &bindings, Value::Null).await, 404);
    assert_eq!(server.status(MEMBER, "PUT", &format!("{bindings}/h/activate"), json!({})).await, 404);
}
