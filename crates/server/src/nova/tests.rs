//! What the compute service hears, against what upstream sends (`tests/data/nova-events.json`).

use std::time::Duration;

use oslo::keystone::{Auth, Options, Session};
use serde_json::{Value, json};
use testkit::nova::Nova;
use types::port::Port;

use super::*;
use crate::{
    Parts,
    event::{Action, outbox::Audience},
    notification::Announced,
    provisioning::Entity,
    resource::{Condition, Resource},
    testing,
};

const VM: &str = "22222222-2222-4222-8222-222222222222";

fn captured() -> Value {
    serde_json::from_str(include_str!("../../tests/data/nova-events.json")).unwrap()
}

fn client(nova: &Nova) -> Client {
    let session = Session::new(Auth::None { endpoint: Some(nova.endpoint()) }, &Options::default()).unwrap();
    Client::new(session, "public", None)
}

fn quick() -> Settings {
    Settings { interval: Duration::from_millis(50), ..Settings::default() }
}

/// A server that tells `nova`, and takes over rows after half a second.
async fn server(nova: &Nova, settings: Settings) -> Ctx {
    let ctx = testing::server_of(|parts| {
        let parts = parts.with_nova(Notifier::new(settings, client(nova)));
        parts.storing(&[Audience::Nova], Duration::from_millis(500))
    });
    let ctx = ctx.await;
    tokio::spawn(crate::event::follow(Arc::clone(&ctx.parts)));
    ctx
}

async fn port(ctx: &Ctx) -> Port {
    testing::host(ctx, "a").await;
    let network = testing::network(ctx).await;
    let body =
        json!({"network_id": network.id, "device_owner": "compute:nova", "device_id": VM, "binding:host_id": "a"});
    testing::create(ctx, body).await
}

fn names(nova: &Nova) -> Vec<String> {
    nova.events().iter().map(|event| event["name"].as_str().unwrap().to_owned()).collect()
}

async fn until_names(nova: &Nova, wanted: &[&str]) {
    let began = std::time::Instant::now();
    while names(nova) != wanted && began.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(names(nova), wanted);
}

async fn until_nothing_waits(ctx: &Ctx) {
    let began = std::time::Instant::now();
    loop {
        let waiting = db::outbox::count(&mut ctx.db().reader().await.unwrap()).await.unwrap();
        if waiting == 0 {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{waiting} events wait");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn changes_of_status_are_told_as_upstream_tells_them() {
    let ctx = testing::server(|_| {}).await;
    let port = port(&ctx).await;
    let with = |status: &str| Arc::new(Port { status: status.to_owned(), ..port.clone() });
    for case in captured()["status"].as_array().unwrap() {
        let [was, now] = ["was", "now"].map(|name| with(case[name].as_str().unwrap()));
        let mut wanted = case["event"].clone();
        if wanted.is_object() {
            wanted["tag"] = json!(port.id);
        }
        for event in [
            Event::PortUpdated { before: was.clone(), after: now.clone() },
            Event::PortProvisioned { before: was.clone(), after: now.clone(), by: Entity::Dhcp },
            Event::PortBindingActivated { before: was, after: now },
        ] {
            let told: Vec<Value> =
                events::of(&quick(), None, &event).map(|event| serde_json::to_value(event).unwrap()).collect();
            let wanted: Vec<Value> = Some(wanted.clone()).filter(Value::is_object).into_iter().collect();
            assert_eq!(told, wanted, "{case}");
        }
    }
}

#[tokio::test]
async fn only_ports_of_instances_are_told_and_of_those_that_migrate_only_the_wiring() {
    let ctx = testing::server(|_| {}).await;
    let mut port = port(&ctx).await;
    port.status = "BUILD".to_owned();
    let told = |port: &Port, by: Entity, settings: &Settings| {
        let after = Arc::new(Port { status: "ACTIVE".to_owned(), ..port.clone() });
        let event = Event::PortProvisioned { before: Arc::new(port.clone()), after, by };
        events::of(settings, None, &event).count()
    };
    assert_eq!(told(&port, Entity::Dhcp, &quick()), 1);
    assert_eq!(told(&port, Entity::Dhcp, &Settings { status_changes: false, ..quick() }), 0);
    port.binding.profile.insert("migrating_to".to_owned(), json!("b"));
    assert_eq!((told(&port, Entity::Dhcp, &quick()), told(&port, Entity::L2, &quick())), (0, 1));
    assert_eq!(told(&port, Entity::Dhcp, &Settings { live_migration_events: false, ..quick() }), 1);
    for (owner, device) in [("network:dhcp", VM), ("compute:nova", "no-uuid"), ("compute:nova", ""), ("", VM)] {
        let other = Port { device_owner: owner.to_owned(), device_id: device.to_owned(), ..port.clone() };
        assert_eq!(told(&other, Entity::L2, &quick()), 0, "{owner} {device}");
    }
}

#[tokio::test]
async fn a_request_looks_as_upstreams_does() {
    let nova = Nova::start().unwrap();
    let ctx = testing::server(|_| {}).await;
    let mut port = port(&ctx).await;
    port.id = "11111111-1111-4111-8111-111111111111".parse().unwrap();
    let by = |action| Announced { singular: "port", plural: "ports", action, bulk: false };
    let is = |status: &str| Arc::new(Port { status: status.to_owned(), ..port.clone() });
    let told: Vec<ServerEvent> = [
        (Event::PortUpdated { before: is("ACTIVE"), after: is("DOWN") }, None),
        (Event::PortUpdated { before: is("BUILD"), after: is("ACTIVE") }, None),
        (Event::PortUpdated { before: is("DOWN"), after: is("DOWN") }, Some(by(Action::Update))),
        (Event::PortDeleted(is("DOWN")), Some(by(Action::Delete))),
    ]
    .iter()
    .flat_map(|(event, by)| events::of(&quick(), by.as_ref(), event))
    .collect();
    assert!(matches!(client(&nova).send(&told.iter().collect::<Vec<_>>()).await, Outcome::Done));
    let (ours, theirs) = (nova.requests().pop().unwrap(), &captured()["request"]);
    assert_eq!(ours.line, format!("{} {}", theirs["method"].as_str().unwrap(), theirs["path"].as_str().unwrap()));
    assert_eq!(ours.body, theirs["body"]);
    for (name, value) in theirs["headers"].as_object().unwrap() {
        // Without authentication upstream sends a token that says so; we send none.
        if name != "X-Auth-Token" {
            let wanted = (name.to_lowercase(), value.as_str().unwrap().to_owned());
            assert!(ours.headers.contains(&wanted), "{wanted:?} in {:?}", ours.headers);
        }
    }
}

#[tokio::test]
async fn the_life_of_a_port_is_told() {
    let nova = Nova::start().unwrap();
    let ctx = server(&nova, quick()).await;
    let made = port(&ctx).await;
    let by_request = Ctx { announced: None, ..ctx.announcing(Port::TABLE, Action::Update, false).into_owned() };
    // The agent fetches the details, wires the port, fetches again, loses it.
    crate::provisioning::set_status(&ctx, made.id, "BUILD").await.unwrap();
    crate::provisioning::release(&ctx, made.id, Entity::L2).await.unwrap();
    until_names(&nova, &["network-vif-plugged"]).await;
    crate::provisioning::set_status(&ctx, made.id, "BUILD").await.unwrap();
    crate::provisioning::release(&ctx, made.id, Entity::L2).await.unwrap();
    crate::provisioning::wiring_lost(&ctx, made.id).await.unwrap();
    let lived = ["network-vif-plugged", "network-vif-plugged", "network-vif-unplugged"];
    until_names(&nova, &lived).await;
    // What no request did is no change of data.
    let given =
        || types::attribute::Attributes::for_update(Port::TABLE, json!({"name": "n"}).as_object().unwrap().clone());
    Port::update(&by_request, &made.id.to_string(), given().unwrap(), Condition::default()).await.unwrap();
    let updating = ctx.announcing(Port::TABLE, Action::Update, false);
    Port::update(&updating, &made.id.to_string(), given().unwrap(), Condition::default()).await.unwrap();
    let deleting = ctx.announcing(Port::TABLE, Action::Delete, false);
    Port::delete(&deleting, &made.id.to_string(), Condition::default()).await.unwrap();
    until_names(&nova, &[&lived[..], &["network-changed", "network-vif-deleted"]].concat()).await;
    until_nothing_waits(&ctx).await;
}

#[tokio::test]
async fn what_nova_cannot_take_now_it_gets_later() {
    let nova = Nova::start().unwrap();
    let ctx = server(&nova, quick()).await;
    let port = port(&ctx).await;
    nova.answer(503);
    crate::provisioning::release(&ctx, port.id, Entity::L2).await.unwrap();
    while nova.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    nova.answer(200);
    until_names(&nova, &["network-vif-plugged"]).await;
    until_nothing_waits(&ctx).await;
    // What it will never take is not sent twice.
    for status in [400, 404] {
        nova.answer(status);
        let before = nova.requests().len();
        crate::provisioning::wiring_lost(&ctx, port.id).await.unwrap();
        until_nothing_waits(&ctx).await;
        assert_eq!(nova.requests().len(), before + 1);
        crate::provisioning::set_status(&ctx, port.id, "BUILD").await.unwrap();
        crate::provisioning::release(&ctx, port.id, Entity::L2).await.unwrap();
        until_nothing_waits(&ctx).await;
    }
    // Nor what it takes and finds no instance for.
    nova.answer(200);
    nova.answer_each(422);
    crate::provisioning::wiring_lost(&ctx, port.id).await.unwrap();
    until_nothing_waits(&ctx).await;
    assert_eq!(nova.requests().last().unwrap().status, 207);
}

#[tokio::test]
async fn a_server_tells_what_another_left_untold() {
    let nova = Nova::start().unwrap();
    let first = testing::server_of(|parts| parts.with_nova(Notifier::new(quick(), client(&nova)))).await;
    // This server records and commits, and tells nothing.
    let port = port(&first).await;
    crate::provisioning::release(&first, port.id, Entity::L2).await.unwrap();
    assert_eq!(db::outbox::count(&mut first.db().reader().await.unwrap()).await.unwrap(), 1);
    let parts = Parts::new(first.db().clone(), oslo::messaging::Bus::in_process(), first.config().clone());
    let parts = parts.with_nova(Notifier::new(quick(), client(&nova)));
    let parts = Arc::new(parts.storing(&[Audience::Nova], Duration::from_millis(300)));
    let second = Ctx::system(Arc::clone(&parts));
    tokio::spawn(crate::event::follow(parts));
    until_names(&nova, &["network-vif-plugged"]).await;
    until_nothing_waits(&second).await;
}
