//! Whole operations at once, by several servers on one database.

use std::{collections::HashSet, sync::Arc};

use isospin_server::{
    Ctx, Error, Parts, Result,
    config::Config,
    resource::{Resource, network::Network, port::Port, subnet::Subnet},
    retry::retrying,
};
use oslo::messaging::Bus;
use serde_json::{Value, json};
use types::attribute::Attributes;

use crate::world::{World, refusal};

/// Servers of their own on the database. What follows a commit is not under test, so it is taken and dropped.
async fn servers(world: &World, count: usize) -> Vec<Ctx> {
    let mut servers = Vec::new();
    for _ in 0..count {
        let db = crate::connect(&world.url).await;
        let ctx = Ctx::system(Arc::new(Parts::new(db, Bus::in_process(), Config::default())));
        tokio::spawn(isospin_server::event::follow(Arc::clone(&ctx.parts)));
        servers.push(ctx);
    }
    servers
}

async fn create<R: Resource>(ctx: &Ctx, body: Value) -> Result<R> {
    let Value::Object(body) = body else { panic!("a body is an object") };
    let given = vec![Attributes::for_create(R::TABLE, body).unwrap()];
    retrying(|| R::create(ctx, given.clone())).await.map(|mut made| made.remove(0))
}

pub async fn ports_at_once_are_all_different(world: &World, creators: usize, each: usize) {
    let servers = servers(world, 4).await;
    let network: Network = create(&servers[0], json!({"name": "n", "project_id": "at-once"})).await.unwrap();
    let body = json!({"network_id": network.id, "ip_version": 4, "cidr": "10.0.0.0/16", "project_id": "at-once"});
    create::<Subnet>(&servers[0], body).await.unwrap();
    let tasks: Vec<_> = (0..creators)
        .map(|i| {
            let ctx = servers[i % servers.len()].clone();
            let body = json!({"network_id": network.id, "project_id": format!("at-once-{}", i % 3)});
            tokio::spawn(async move {
                let mut ports: Vec<Port> = Vec::new();
                for _ in 0..each {
                    ports.push(create(&ctx, body.clone()).await.unwrap());
                }
                ports
            })
        })
        .collect();
    let (mut addresses, mut macs) = (HashSet::new(), HashSet::new());
    for task in tasks {
        for port in task.await.unwrap() {
            addresses.extend(port.fixed_ips.iter().map(|ip| ip.ip_address));
            macs.insert(port.mac_address);
        }
    }
    assert_eq!((addresses.len(), macs.len()), (creators * each, creators * each));
    let (held, taken) = world.addresses(network.id).await;
    assert_eq!((held.len(), held), (creators * each, taken));
}

/// More creators than the quota has places.
pub async fn a_quota_is_exact(world: &World, creators: usize, limit: i64) {
    let mut tx = world.db.begin().await.unwrap();
    db::quota::limit_set(&mut tx, "metered", "network", limit).await.unwrap();
    tx.commit().await.unwrap();
    let servers = servers(world, 4).await;
    let tasks: Vec<_> = (0..creators)
        .map(|i| {
            let ctx = servers[i % servers.len()].clone();
            tokio::spawn(async move {
                create::<Network>(&ctx, json!({"name": "n", "project_id": "metered"})).await.map(|_| ())
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => made += 1,
            Err(error @ Error::Refused(_)) => {
                let refused = refusal::<()>(Err(error));
                let expected = (409, "OverQuota", "Quota exceeded for resources: ['network'].");
                assert_eq!((refused.status.as_u16(), refused.kind.as_str(), refused.message.as_str()), expected);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(made, limit);
}
