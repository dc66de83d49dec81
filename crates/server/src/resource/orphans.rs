//! What a project has is deleted in any order, and nothing of it is left in any table.

use std::collections::BTreeMap;

use db::{Conn, schema::tables};
use serde_json::{Value, json};
use testkit::dice::Dice;
use types::agent::kind;

use super::{
    Condition, Resource, address_group::AddressGroup, address_scope::AddressScope,
    default_security_group_rule::DefaultSecurityGroupRule, default_statefulness::DefaultStatefulness,
    floatingip::FloatingIp, network::Network, port::Port, rbac_policy::RbacPolicy, router::Router,
    security_group::SecurityGroup, security_group_rule::SecurityGroupRule, subnet::Subnet, subnet_pool::SubnetPool,
};
use crate::{Ctx, Error, retry::retrying, testing};

/// Orders tried.
const ORDERS: u64 = 24;
/// What outlives the resources: the lock of a project's quota.
const KEPT: [&str; 1] = ["quotausages"];

/// How many rows each table has.
async fn rows(conn: &mut Conn) -> BTreeMap<&'static str, i64> {
    let mut counts = BTreeMap::new();
    for table in tables::ALL.iter().filter(|table| !KEPT.contains(&table.name)) {
        let counted = conn.sql(&format!("SELECT COUNT(*) FROM {}", table.name), Vec::new()).await.unwrap();
        counts.insert(table.name, counted[0].get(0).unwrap());
    }
    counts
}

/// Something to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    AddressGroup(String),
    AddressScope(String),
    DefaultRule(String),
    FloatingIp(String),
    Group(String),
    Interface(String, String),
    Network(String),
    Policy(String),
    Pool(String),
    Port(String),
    Router(String),
    Rule(String),
    Statefulness(String),
    Subnet(String),
}

impl Thing {
    async fn delete(&self, ctx: &Ctx) -> Result<(), Error> {
        async fn gone<R: Resource>(ctx: &Ctx, id: &str) -> Result<(), Error> {
            retrying(|| R::delete(ctx, id, Condition::default())).await
        }
        match self {
            Self::AddressGroup(id) => gone::<AddressGroup>(ctx, id).await,
            Self::AddressScope(id) => gone::<AddressScope>(ctx, id).await,
            Self::DefaultRule(id) => gone::<DefaultSecurityGroupRule>(ctx, id).await,
            Self::FloatingIp(id) => gone::<FloatingIp>(ctx, id).await,
            Self::Group(id) => gone::<SecurityGroup>(ctx, id).await,
            Self::Interface(router, subnet) => {
                let body = json!({ "subnet_id": subnet });
                super::router::interface::remove(ctx, router, &body).await.map(|_| ())
            }
            Self::Network(id) => gone::<Network>(ctx, id).await,
            Self::Policy(id) => gone::<RbacPolicy>(ctx, id).await,
            Self::Pool(id) => gone::<SubnetPool>(ctx, id).await,
            Self::Port(id) => gone::<Port>(ctx, id).await,
            Self::Router(id) => gone::<Router>(ctx, id).await,
            Self::Rule(id) => gone::<SecurityGroupRule>(ctx, id).await,
            Self::Statefulness(id) => gone::<DefaultStatefulness>(ctx, id).await,
            Self::Subnet(id) => gone::<Subnet>(ctx, id).await,
        }
    }
}

async fn made<R: Resource>(ctx: &Ctx, body: Value) -> String {
    testing::create::<R>(ctx, body).await.id()
}

/// A project with one of everything, each in use by others.
async fn project(ctx: &Ctx) -> Vec<Thing> {
    let mut things = Vec::new();
    let scope = made::<AddressScope>(ctx, json!({"name": "s", "ip_version": 4, "shared": true})).await;
    let pool = json!({"name": "p", "prefixes": ["10.0.0.0/8"], "default_prefixlen": 24, "address_scope_id": scope});
    let pool = made::<SubnetPool>(ctx, pool).await;
    let addresses = made::<AddressGroup>(ctx, json!({"name": "a", "addresses": ["192.0.2.0/24"]})).await;
    let groups = [
        made::<SecurityGroup>(ctx, json!({"name": "one"})).await,
        made::<SecurityGroup>(ctx, json!({"name": "two"})).await,
    ];
    for rule in [
        json!({"security_group_id": groups[0], "remote_group_id": groups[1], "direction": "ingress"}),
        json!({"security_group_id": groups[1], "remote_address_group_id": addresses, "direction": "egress"}),
    ] {
        things.push(Thing::Rule(made::<SecurityGroupRule>(ctx, rule).await));
    }
    let outside = made::<Network>(ctx, json!({"name": "outside", "router:external": true})).await;
    let floating = json!({"network_id": outside, "ip_version": 4, "cidr": "203.0.113.0/24"});
    things.push(Thing::Subnet(made::<Subnet>(ctx, floating).await));
    let inside = made::<Network>(ctx, json!({"name": "inside", "shared": true})).await;
    let pooled = made::<Subnet>(ctx, json!({"network_id": inside, "ip_version": 4, "subnetpool_id": pool})).await;
    let slaac = json!({"network_id": inside, "ip_version": 6, "cidr": "2001:db8::/64", "ipv6_ra_mode": "slaac",
        "ipv6_address_mode": "slaac"});
    things.push(Thing::Subnet(made::<Subnet>(ctx, slaac).await));
    let port = json!({"network_id": inside, "security_groups": groups, "binding:host_id": "a",
        "device_owner": "compute:nova", "allowed_address_pairs": [{"ip_address": "10.9.9.9"}],
        "extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1400"}]});
    let port = made::<Port>(ctx, port).await;
    let gateway = json!({"network_id": outside});
    let router = made::<Router>(ctx, json!({"name": "r", "external_gateway_info": gateway})).await;
    super::router::interface::add(ctx, &router, &json!({ "subnet_id": pooled })).await.unwrap();
    let public = json!({"floating_network_id": outside, "port_id": port});
    things.push(Thing::FloatingIp(made::<FloatingIp>(ctx, public).await));
    for (kind, object) in [
        ("network", &inside),
        ("security_group", &groups[0]),
        ("address_group", &addresses),
        ("subnetpool", &pool),
        ("address_scope", &scope),
    ] {
        let policy = json!({"object_type": kind, "object_id": object, "action": "access_as_shared",
            "target_tenant": "0f4f1c3e-0b7d-4f8a-a2c4-9e8d7c6b5a40"});
        things.push(Thing::Policy(made::<RbacPolicy>(ctx, policy).await));
    }
    let template = json!({"direction": "ingress", "protocol": "tcp", "used_in_default_sg": false, "used_in_non_default_sg": false});
    things.push(Thing::DefaultRule(made::<DefaultSecurityGroupRule>(ctx, template).await));
    things.push(Thing::Statefulness(made::<DefaultStatefulness>(ctx, json!({"stateful": false})).await));
    things.push(Thing::Interface(router.clone(), pooled.clone()));
    things.extend([Thing::Router(router), Thing::Subnet(pooled), Thing::Port(port)]);
    things.extend([Thing::Network(outside), Thing::Network(inside), Thing::Pool(pool), Thing::AddressGroup(addresses)]);
    things.push(Thing::AddressScope(scope));
    things.extend(groups.map(Thing::Group));
    things
}

/// Those default groups that were made beside what was asked for.
async fn default_groups(ctx: &Ctx) -> Vec<Thing> {
    let mut conn = ctx.db().reader().await.unwrap();
    let rows = conn.sql("SELECT security_group_id FROM default_security_group", Vec::new()).await.unwrap();
    rows.iter().map(|row| Thing::Group(row.get(0).unwrap())).collect()
}

#[tokio::test]
async fn nothing_is_left_of_a_project_whatever_goes_first() {
    let ctx = testing::server(|_| {}).await;
    testing::host(&ctx, "a").await;
    let mut l3 = testing::linux_bridge("a");
    (l3.agent_type, l3.topic) = (kind::L3.to_owned(), "l3_agent".to_owned());
    l3.configurations = json!({"agent_mode": "legacy"}).as_object().unwrap().clone();
    testing::report(&ctx, l3).await;
    let before = rows(&mut ctx.db().reader().await.unwrap()).await;
    for seed in 0..ORDERS {
        let mut dice = Dice(seed);
        let mut left = project(&ctx).await;
        left.extend(default_groups(&ctx).await);
        let mut refused = 0;
        while !left.is_empty() {
            let thing = left.swap_remove(dice.below(left.len()));
            match thing.delete(&ctx).await {
                Ok(()) => refused = 0,
                // It went with another, or has to wait for one.
                Err(Error::Refused(refusal)) if refusal.status == axum::http::StatusCode::NOT_FOUND => {}
                Err(Error::Refused(refusal)) => {
                    refused += 1;
                    assert!(refused < 1000, "seed {seed}: {thing:?} of {left:?} stays: {refusal:?}");
                    left.push(thing);
                }
                Err(error) => panic!("seed {seed}: {thing:?}: {error}"),
            }
            crate::event::settle(&ctx).await;
        }
        let after = rows(&mut ctx.db().reader().await.unwrap()).await;
        let grown: Vec<_> = after.iter().filter(|(table, count)| before.get(*table) != Some(*count)).collect();
        assert!(grown.is_empty(), "seed {seed}: rows are left: {grown:?}");
    }
}
