//! What is recorded is told, whoever ends between the commit and the telling.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use oslo::messaging::{Bus, Listener};
use serde_json::json;
use types::port::Port;

use super::*;
use crate::{config::Config, resource::Condition, resource::Resource, testing};

const LEASE: Duration = Duration::from_millis(400);

fn stored(parts: Parts) -> Parts {
    parts.storing(&[Audience::Agents], LEASE)
}

async fn waiting(ctx: &Ctx) -> i64 {
    db::outbox::count(&mut ctx.db().reader().await.unwrap()).await.unwrap()
}

async fn until_nothing_waits(ctx: &Ctx) {
    let began = std::time::Instant::now();
    while waiting(ctx).await > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "events wait");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Another server on the same database and bus, which tells.
fn another(first: &Ctx) -> (Ctx, tokio::task::JoinHandle<()>) {
    let parts = stored(Parts::new(first.db().clone(), first.parts.bus.clone(), Config::default()));
    let ctx = Ctx::system(Arc::new(parts));
    let following = tokio::spawn(follow(Arc::clone(&ctx.parts)));
    (ctx, following)
}

async fn port(ctx: &Ctx, network: &Network) -> Port {
    let body = json!({"network_id": network.id, "project_id": "p"});
    let given = types::attribute::Attributes::for_create(Port::TABLE, body.as_object().unwrap().clone()).unwrap();
    Port::create(ctx, vec![given]).await.unwrap().pop().unwrap()
}

/// The ports of which agents were told that they are gone, until as many as wanted, or until nothing comes any more.
async fn deleted(listener: &mut Listener, wanted: usize) -> BTreeSet<String> {
    let mut gone = BTreeSet::new();
    while gone.len() < wanted {
        let Ok(Some(told)) = tokio::time::timeout(Duration::from_secs(20), listener.next()).await else { break };
        gone.insert(told.args["port_id"].as_str().unwrap().to_owned());
    }
    gone
}

#[tokio::test]
async fn nothing_is_stored_where_nobody_outside_listens() {
    // There is not even a table.
    let ctx = testing::server(|_| {}).await;
    let network = testing::network(&ctx).await;
    let made = port(&ctx, &network).await;
    Port::delete(&ctx, &made.id.to_string(), Condition::default()).await.unwrap();
    assert!(ctx.parts.outbox.is_none());
    assert!(db::outbox::count(&mut ctx.db().reader().await.unwrap()).await.is_err());
}

#[tokio::test]
async fn what_was_told_is_removed_and_what_agents_need_not_know_is_not_stored() {
    let ctx = testing::server_of(stored).await;
    let mut listener = ctx.parts.bus.listen(rpc::l2_agent::PORT_DELETE, "a");
    let network = testing::network(&ctx).await;
    let made = port(&ctx, &network).await;
    until_nothing_waits_after_following(&ctx).await;
    Port::delete(&ctx, &made.id.to_string(), Condition::default()).await.unwrap();
    assert_eq!(deleted(&mut listener, 1).await.len(), 1);
    until_nothing_waits(&ctx).await;
    testing::network(&ctx).await;
    assert_eq!(waiting(&ctx).await, 0, "a network without subnets is nobody's business");
}

async fn until_nothing_waits_after_following(ctx: &Ctx) {
    assert!(waiting(ctx).await > 0);
    tokio::spawn(follow(Arc::clone(&ctx.parts)));
    until_nothing_waits(ctx).await;
}

#[tokio::test]
async fn a_rolled_back_transaction_tells_nothing() {
    let ctx = testing::server_of(stored).await;
    let network = testing::network(&ctx).await;
    let made = port(&ctx, &network).await;
    let before = waiting(&ctx).await;
    let mut tx = ctx.db().begin().await.unwrap();
    let _ = record(&ctx, &mut tx, vec![Event::PortDeleted(Arc::new(made))]).await.unwrap();
    drop(tx);
    assert_eq!(waiting(&ctx).await, before);
}

/// Servers end at a hundred moments between their commits and what follows; a last one tells what they did not.
#[tokio::test]
async fn no_end_of_a_server_loses_an_event() {
    let ctx = testing::server_of(stored).await;
    let mut listener = ctx.parts.bus.listen(rpc::l2_agent::PORT_DELETE, "a");
    let network = testing::network(&ctx).await;
    let mut wanted = BTreeSet::new();
    for round in 0..100_usize {
        let (server, following) = another(&ctx);
        for step in 0..=round % 7 {
            let made = port(&server, &network).await;
            Port::delete(&server, &made.id.to_string(), Condition::default()).await.unwrap();
            wanted.insert(made.id.to_string());
            for _ in 0..(round * 31 + step * 17) % 5 {
                tokio::task::yield_now().await;
            }
        }
        // What follows is dropped wherever it is.
        following.abort();
        let _ = following.await;
    }
    let (last, following) = another(&ctx);
    until_nothing_waits(&last).await;
    let told = deleted_so_far(&mut listener).await;
    let lost: Vec<_> = wanted.difference(&told).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", wanted.len());
    following.abort();
}

async fn deleted_so_far(listener: &mut Listener) -> BTreeSet<String> {
    let mut gone = BTreeSet::new();
    while let Ok(Some(told)) = tokio::time::timeout(Duration::from_millis(200), listener.next()).await {
        gone.insert(told.args["port_id"].as_str().unwrap().to_owned());
    }
    gone
}

#[tokio::test]
async fn events_of_a_port_are_told_in_order_by_whoever_tells_them() {
    let first = testing::server_of(stored).await;
    let mut listener = first.parts.bus.listen(rpc::l2_agent::SECURITY_GROUP_UPDATE, "a");
    let group: SecurityGroup = testing::create(&first, json!({"name": "g"})).await;
    let mut gone = first.parts.bus.listen(rpc::l2_agent::PORT_DELETE, "a");
    let network = testing::network(&first).await;
    testing::subnet(&first, &network, "10.0.0.0/24").await;
    let mut ports = Vec::new();
    for _ in 0..20 {
        let body = json!({"network_id": network.id, "project_id": "p", "security_groups": [group.id]});
        let given = types::attribute::Attributes::for_create(Port::TABLE, body.as_object().unwrap().clone()).unwrap();
        ports.push(Port::create(&first, vec![given]).await.unwrap().pop().unwrap());
    }
    for port in &ports {
        Port::delete(&first, &port.id.to_string(), Condition::default()).await.unwrap();
    }
    let (_, following) = another(&first);
    let told = deleted(&mut gone, ports.len()).await;
    assert_eq!(told.len(), ports.len());
    assert!(listener.next().await.is_some());
    following.abort();
}

#[test]
fn what_is_stored_is_read_again() {
    let news = json!([
        {"port_updated": {"id": "11111111-1111-4111-8111-111111111111", "dhcp": true, "wiring": false, "groups": []}},
        {"dhcp_network_added": {"network_id": "11111111-1111-4111-8111-111111111111", "host": "h"}},
    ]);
    let read: Vec<Telling> = serde_json::from_value(news.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), news);
}

/// Two buses are two sets of agents; there is one lane to those in the process.
#[test]
fn one_lane_within_the_process() {
    assert!(matches!(Bus::in_process(), Bus::InProcess(_)));
    assert_ne!(format!("{:?}", Queue::new(true)), format!("{:?}", Queue::new(false)));
}

#[tokio::test]
async fn a_server_that_ends_in_order_leaves_what_is_untold_to_others_at_once() {
    let ctx = testing::server_of(|parts| parts.storing(&[Audience::Agents], Duration::from_secs(3600))).await;
    let network = testing::network(&ctx).await;
    let made = port(&ctx, &network).await;
    // Nobody follows, so that it stays untold.
    drain(&ctx.parts).await;
    let mut conn = ctx.db().reader().await.unwrap();
    let hour_ago = chrono::Utc::now().timestamp_millis() - 3_600_000;
    let left = db::outbox::abandoned(&mut conn, "", &["agents"], hour_ago, 10).await.unwrap();
    assert_eq!(left.len(), 1, "{made:?}");
}

#[tokio::test]
async fn a_callers_token_is_not_stored() {
    let mut ctx = testing::server_of(stored).await;
    let network = testing::network(&ctx).await;
    ctx.caller.auth_token = Some(oslo::context::Token::new("gAAAA-secret"));
    port(&ctx, &network).await;
    let mut conn = ctx.db().reader().await.unwrap();
    let far = chrono::Utc::now().timestamp_millis() + 1_000_000;
    let rows = db::outbox::abandoned(&mut conn, "", &["agents"], far, 10).await.unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let messages = db::outbox::messages(&mut conn, &ids).await.unwrap();
    assert!(!messages.is_empty());
    for message in messages.values() {
        assert!(message.context.contains(&ctx.caller.request_id) && !format!("{message:?}").contains("secret"));
    }
}
