//! Routers and floating IPs, as requests make them.

use rpc::l3::{Client, HaState};
use serde_json::json;
use types::{Mac, agent::kind, floatingip::FloatingIp};

use super::*;
use crate::{
    resource::router::{interface, route::Change},
    testing,
};

/// An external network with a subnet, and a network inside with one.
struct World {
    ctx: Ctx,
    outside: Network,
    inside: Network,
    subnet: Subnet,
}

use types::network::Network;

async fn world(ctx: Ctx) -> World {
    let outside = testing::create::<Network>(&ctx, json!({"name": "ext", "router:external": true})).await;
    testing::subnet(&ctx, &outside, "203.0.113.0/24").await;
    let inside = testing::network(&ctx).await;
    let subnet = testing::subnet(&ctx, &inside, "10.0.0.0/24").await;
    World { ctx, outside, inside, subnet }
}

fn kind_of<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Refused(refusal)) => refusal.kind,
        other => panic!("not refused: {other:?}"),
    }
}

impl World {
    async fn router(&self, body: Value) -> Router {
        testing::create(&self.ctx, body).await
    }

    /// A router between the two networks.
    async fn connected(&self) -> Router {
        let router = self.router(json!({"external_gateway_info": {"network_id": self.outside.id}})).await;
        self.add(&router, json!({"subnet_id": self.subnet.id})).await.unwrap();
        self.again(&router).await
    }

    async fn add(&self, router: &Router, body: Value) -> Result<types::router::RouterInterface> {
        interface::add(&self.ctx, &router.id.to_string(), &body).await
    }

    async fn remove(&self, router: &Router, body: Value) -> Result<types::router::RouterInterface> {
        interface::remove(&self.ctx, &router.id.to_string(), &body).await
    }

    async fn update(&self, router: &Router, body: Value) -> Result<Router> {
        let given = Attributes::for_update(&ROUTER, body.as_object().unwrap().clone()).unwrap();
        Router::update(&self.ctx, &router.id.to_string(), given, Condition::default()).await
    }

    async fn again(&self, router: &Router) -> Router {
        let mut conn = self.ctx.db().reader().await.unwrap();
        find(&self.ctx, &mut conn, &router.id.to_string()).await.unwrap()
    }

    async fn delete<R: Resource>(&self, resource: &R) -> Result<()> {
        R::delete(&self.ctx, &resource.id(), Condition::default()).await
    }

    async fn floatingip(&self, body: Value) -> Result<FloatingIp> {
        let mut body = body;
        body["floating_network_id"] = json!(self.outside.id);
        body["project_id"] = json!("p");
        let given = Attributes::for_create(FloatingIp::TABLE, body.as_object().unwrap().clone()).unwrap();
        Ok(FloatingIp::create(&self.ctx, vec![given]).await?.pop().unwrap())
    }

    async fn associate(&self, floatingip: &FloatingIp, body: Value) -> Result<FloatingIp> {
        let given = Attributes::for_update(FloatingIp::TABLE, body.as_object().unwrap().clone()).unwrap();
        FloatingIp::update(&self.ctx, &floatingip.id.to_string(), given, Condition::default()).await
    }

    async fn ports_of(&self, router: &Router) -> Vec<Port> {
        let mut conn = self.ctx.db().reader().await.unwrap();
        find_all(&self.ctx, &mut conn, &ListQuery::default().matching("device_id", router.id)).await.unwrap()
    }
}

/// How many rows each table has.
async fn rows(ctx: &Ctx) -> Vec<(String, i64)> {
    let mut conn = ctx.db().reader().await.unwrap();
    let mut counts = Vec::new();
    for table in db::schema::tables::ALL {
        let rows = conn.sql(&format!("SELECT COUNT(*) FROM {}", table.name), Vec::new()).await.unwrap();
        counts.push((table.name.to_owned(), rows[0].get(0).unwrap()));
    }
    counts
}

#[tokio::test]
async fn a_gateway_is_a_port_outside() {
    let world = world(testing::server(|_| {}).await).await;
    let router = world.connected().await;
    let gateway = router.external_gateway_info.clone().unwrap();
    assert_eq!((gateway.network_id, gateway.enable_snat), (world.outside.id, true));
    let ports = world.ports_of(&router).await;
    let port = ports.iter().find(|port| port.device_owner == owner::ROUTER_GATEWAY).unwrap();
    assert_eq!((port.project_id.as_str(), port.name.as_str(), &port.fixed_ips), ("", "", &gateway.external_fixed_ips));
    let inner = ports.iter().find(|port| port.device_owner == owner::ROUTER_INTERFACE).unwrap();
    assert_eq!((inner.project_id.as_str(), inner.fixed_ips[0].ip_address), ("p", "10.0.0.1".parse().unwrap()));

    let addresses = json!([{"ip_address": "203.0.113.77"}, {"ip_address": "203.0.113.78"}]);
    let info = json!({"network_id": world.outside.id, "external_fixed_ips": addresses, "enable_snat": false});
    let moved = world.update(&router, json!({"external_gateway_info": info})).await.unwrap();
    let gateway = moved.external_gateway_info.unwrap();
    let ips: Vec<String> = gateway.external_fixed_ips.iter().map(|ip| ip.ip_address.to_string()).collect();
    assert_eq!((ips.join(" ").as_str(), gateway.enable_snat), ("203.0.113.77 203.0.113.78", false));
    assert_eq!(moved.gw_port_id, router.gw_port_id);

    let cleared = world.update(&router, json!({"external_gateway_info": null})).await.unwrap();
    assert_eq!((cleared.external_gateway_info, cleared.gw_port_id), (None, None));
    assert_eq!(world.ports_of(&router).await.len(), 1);
}

#[tokio::test]
async fn what_would_not_route_is_refused() {
    let world = world(testing::server(|_| {}).await).await;
    let router = world.connected().await;
    assert_eq!(kind_of(world.add(&router, json!({})).await), "BadRequest");
    assert_eq!(kind_of(world.add(&router, json!({"subnet_id": "x"})).await), "BadRequest");
    assert_eq!(kind_of(world.add(&router, json!({"subnet_id": world.subnet.id})).await), "BadRequest");
    let beside = testing::network(&world.ctx).await;
    let overlapping = testing::subnet(&world.ctx, &beside, "10.0.0.0/16").await;
    assert_eq!(kind_of(world.add(&router, json!({"subnet_id": overlapping.id})).await), "BadRequest");
    let outer = testing::subnet(&world.ctx, &beside, "203.0.0.0/16").await;
    assert_eq!(kind_of(world.add(&router, json!({"subnet_id": outer.id})).await), "BadRequest");
    let other = world.router(json!({})).await;
    assert_eq!(kind_of(world.add(&other, json!({"subnet_id": world.subnet.id})).await), "IpAddressAlreadyAllocated");
    let port: Port = testing::create(&world.ctx, json!({"network_id": beside.id, "device_id": "vm"})).await;
    assert_eq!(kind_of(world.add(&other, json!({"port_id": port.id})).await), "PortInUse");
    let bare: Port = testing::create(&world.ctx, json!({"network_id": beside.id, "fixed_ips": []})).await;
    assert_eq!(kind_of(world.add(&other, json!({"port_id": bare.id})).await), "BadRequest");
    let info = json!({"external_gateway_info": {"network_id": world.inside.id}});
    assert_eq!(kind_of(world.update(&router, info).await), "BadRequest");
    assert_eq!(kind_of(world.update(&router, json!({"distributed": true})).await), "BadRequest");
    let missing = world.remove(&other, json!({"subnet_id": world.subnet.id})).await;
    assert_eq!(kind_of(missing), "RouterInterfaceNotFoundForSubnet");
    assert_eq!(kind_of(world.remove(&other, json!({"port_id": port.id})).await), "RouterInterfaceNotFound");
}

#[tokio::test]
async fn what_is_in_use_stays() {
    let world = world(testing::server(|_| {}).await).await;
    let router = world.connected().await;
    assert_eq!(kind_of(world.delete(&router).await), "RouterInUse");
    assert_eq!(kind_of(world.delete(&world.outside).await), "NetworkInUse");
    assert_eq!(kind_of(world.delete(&world.inside).await), "NetworkInUse");
    assert_eq!(kind_of(world.delete(&world.subnet).await), "SubnetInUse");
    for port in world.ports_of(&router).await {
        assert_eq!(kind_of(world.delete(&port).await), "ServicePortInUse");
    }
    let given = json!({"router:external": false});
    let given = Attributes::for_update(Network::TABLE, given.as_object().unwrap().clone()).unwrap();
    let internal = Network::update(&world.ctx, &world.outside.id.to_string(), given, Condition::default()).await;
    assert_eq!(kind_of(internal), "ExternalNetworkInUse");

    let vm: Port = testing::create(&world.ctx, json!({"network_id": world.inside.id, "device_id": "vm"})).await;
    let floatingip = world.floatingip(json!({"port_id": vm.id})).await.unwrap();
    assert_eq!((floatingip.router_id, floatingip.status.as_str()), (Some(router.id), "DOWN"));
    assert_eq!(floatingip.port_details.as_ref().unwrap().device_id, "vm");
    let on = json!({"subnet_id": world.subnet.id});
    assert_eq!(kind_of(world.remove(&router, on.clone()).await), "RouterInterfaceInUseByFloatingIP");
    let cleared = world.update(&router, json!({"external_gateway_info": {}})).await;
    assert_eq!(kind_of(cleared), "RouterExternalGatewayInUseByFloatingIp");
    let second = world.floatingip(json!({"port_id": vm.id})).await;
    assert_eq!(kind_of(second), "FloatingIPPortAlreadyAssociated");
    let given = json!({"fixed_ips": [{"ip_address": "10.0.0.200"}]});
    let given = Attributes::for_update(Port::TABLE, given.as_object().unwrap().clone()).unwrap();
    let readdressed = Port::update(&world.ctx, &vm.id.to_string(), given, Condition::default()).await;
    assert_eq!(kind_of(readdressed), "BadRequest");

    // With its port a floating IP stands for nothing, and holds nothing.
    world.delete(&vm).await.unwrap();
    let mut conn = world.ctx.db().reader().await.unwrap();
    let idle: FloatingIp = find(&world.ctx, &mut conn, &floatingip.id.to_string()).await.unwrap();
    drop(conn);
    assert_eq!((idle.port_id, idle.router_id, idle.last_known_router_id), (None, None, Some(router.id)));
    let routes = json!({"routes": [{"destination": "192.0.2.0/24", "nexthop": "10.0.0.9"}]});
    world.update(&router, routes).await.unwrap();
    assert_eq!(kind_of(world.remove(&router, on.clone()).await), "RouterInterfaceInUseByRoute");
    world.update(&router, json!({"routes": []})).await.unwrap();
    let removed = world.remove(&router, on).await.unwrap();
    assert_eq!(removed.subnet_ids, [world.subnet.id]);
    world.delete(&router).await.unwrap();
    world.delete(&world.outside).await.unwrap();
    world.delete(&world.inside).await.unwrap();
}

#[tokio::test]
async fn a_floating_ip_moves() {
    let world = world(testing::server(|_| {}).await).await;
    let router = world.connected().await;
    let network = world.inside.id;
    let one: Port = testing::create(&world.ctx, json!({"network_id": network})).await;
    let two: Port = testing::create(
        &world.ctx,
        json!({"network_id": network, "fixed_ips": [{"ip_address": "10.0.0.50"}, {"ip_address": "10.0.0.51"}]}),
    )
    .await;
    let chosen = json!({"floating_ip_address": "203.0.113.200"});
    let floatingip = world.floatingip(chosen).await.unwrap();
    assert_eq!((floatingip.floating_ip_address.to_string().as_str(), floatingip.port_id), ("203.0.113.200", None));
    let on_one = world.associate(&floatingip, json!({"port_id": one.id})).await.unwrap();
    assert_eq!(on_one.fixed_ip_address, Some(one.fixed_ips[0].ip_address));
    let ambiguous = world.associate(&floatingip, json!({"port_id": two.id})).await;
    assert_eq!(kind_of(ambiguous), "BadRequest");
    let address = json!({"port_id": two.id, "fixed_ip_address": "10.0.0.51"});
    let on_two = world.associate(&floatingip, address).await.unwrap();
    assert_eq!((on_two.port_id, on_two.router_id), (Some(two.id), Some(router.id)));
    let described = world.associate(&floatingip, json!({"description": "d"})).await.unwrap();
    assert_eq!((described.port_id, described.fixed_ip_address), (on_two.port_id, on_two.fixed_ip_address));
    assert_eq!(kind_of(world.associate(&floatingip, json!({"fixed_ip_address": "10.0.0.50"})).await), "BadRequest");
    let nothing = world.associate(&floatingip, json!({"port_id": null})).await.unwrap();
    assert_eq!((nothing.port_id, nothing.router_id, nothing.port_details), (None, None, None));
    let elsewhere = testing::network(&world.ctx).await;
    testing::subnet(&world.ctx, &elsewhere, "10.9.0.0/24").await;
    let far: Port = testing::create(&world.ctx, json!({"network_id": elsewhere.id})).await;
    let unreachable = world.associate(&floatingip, json!({"port_id": far.id})).await;
    assert_eq!(kind_of(unreachable), "ExternalGatewayForFloatingIPNotFound");
    let other = world.router(json!({})).await;
    let chosen = world.associate(&floatingip, json!({"port_id": one.id, "router_id": other.id})).await;
    assert_eq!(kind_of(chosen), "Conflict");
    assert_eq!(crate::resource::floatingip::pools(&world.ctx).await.unwrap().len(), 1);
}

#[tokio::test]
async fn extra_routes_are_added_and_removed_one_by_one() {
    let world = world(testing::server(|_| {}).await).await;
    let router = world.connected().await;
    let id = router.id.to_string();
    let body = |destination: &str, nexthop: &str| json!({"router": {"routes": [{"destination": destination, "nexthop": nexthop}]}});
    route::change(&world.ctx, &id, &body("192.0.2.0/24", "10.0.0.9"), Change::Add).await.unwrap();
    let two = route::change(&world.ctx, &id, &body("198.51.100.0/24", "203.0.113.9"), Change::Add).await.unwrap();
    assert_eq!(two.routes.len(), 2);
    let unknown = route::change(&world.ctx, &id, &body("192.0.2.0/24", "172.16.0.1"), Change::Add).await;
    assert_eq!(kind_of(unknown), "InvalidRoutes");
    let own = route::change(&world.ctx, &id, &body("192.0.2.0/24", "10.0.0.1"), Change::Add).await;
    assert_eq!(kind_of(own), "InvalidRoutes");
    // A route by the outside holds the outside.
    let cleared = world.update(&router, json!({"external_gateway_info": null})).await;
    assert_eq!(kind_of(cleared), "InvalidRoutes");
    let one = route::change(&world.ctx, &id, &body("198.51.100.0/24", "203.0.113.9"), Change::Remove).await.unwrap();
    assert_eq!(one.routes.len(), 1);
    let again = route::change(&world.ctx, &id, &body("198.51.100.0/24", "203.0.113.9"), Change::Remove).await.unwrap();
    assert_eq!(again.routes, one.routes);
    let many: Vec<Value> =
        (0..31).map(|i| json!({"destination": format!("192.0.{i}.0/24"), "nexthop": "10.0.0.9"})).collect();
    assert_eq!(kind_of(world.update(&router, json!({"routes": many})).await), "OverQuota");
}

#[tokio::test]
async fn prefixes_of_ipv6_share_a_port() {
    let world = world(testing::server(|_| {}).await).await;
    let router = world.router(json!({})).await;
    let mut ids = Vec::new();
    for prefix in ["2001:db8:1::/64", "2001:db8:2::/64"] {
        let body = json!({"network_id": world.inside.id, "ip_version": 6, "cidr": prefix, "ipv6_ra_mode": "slaac",
            "ipv6_address_mode": "slaac"});
        let subnet: Subnet = testing::create(&world.ctx, body).await;
        ids.push((world.add(&router, json!({"subnet_id": subnet.id})).await.unwrap().port_id, subnet));
    }
    assert_eq!(ids[0].0, ids[1].0);
    assert_eq!(world.ports_of(&router).await[0].fixed_ips.len(), 2);
    let port: Port = testing::create(&world.ctx, json!({"network_id": world.inside.id})).await;
    assert_eq!(kind_of(world.add(&router, json!({"port_id": port.id})).await), "BadRequest");
    world.remove(&router, json!({"subnet_id": ids[0].1.id})).await.unwrap();
    assert_eq!(world.ports_of(&router).await[0].fixed_ips.len(), 1);
    world.remove(&router, json!({"subnet_id": ids[1].1.id})).await.unwrap();
    assert!(world.ports_of(&router).await.is_empty());
}

/// As the agent of a host sees it: routers with all that hangs on them, bound to the host.
#[tokio::test]
async fn an_agent_gets_routers_and_their_ports_are_bound_to_it() {
    let world = world(testing::serving(|_| {}).await).await;
    let ctx = &world.ctx;
    for host in ["a", "b"] {
        testing::host(ctx, host).await;
        testing::report(ctx, testing::l3(host)).await;
    }
    let router = world.connected().await;
    event::settle(ctx).await;
    let client = Client::new(ctx.parts.bus.clone());
    let caller = oslo::context::Context::admin();
    let mut conn = ctx.db().reader().await.unwrap();
    let agents = db::l3_binding::agents_of_router(&mut conn, router.id).await.unwrap();
    drop(conn);
    let [agent] = agents.as_slice() else { panic!("one agent, not {agents:?}") };
    let vm = testing::instance_port(ctx, &world.inside, "a").await;
    let floatingip = world.floatingip(json!({"port_id": vm.id})).await.unwrap();

    let other = if agent.host == "a" { "b" } else { "a" };
    assert_eq!(client.get_router_ids(&caller, agent.host.clone()).await.unwrap(), [router.id]);
    assert_eq!(client.get_router_ids(&caller, other.to_owned()).await.unwrap(), []);
    assert_eq!(client.sync_routers(&caller, other.to_owned(), Some(vec![router.id])).await.unwrap(), []);
    let seen = client.sync_routers(&caller, agent.host.clone(), None).await.unwrap();
    let [seen] = seen.as_slice() else { panic!("one router, not {seen:?}") };
    let gateway = seen.gw_port.as_ref().unwrap();
    assert_eq!(
        (gateway.host.as_str(), gateway.rest["binding:vif_type"].as_str()),
        (agent.host.as_str(), Some("bridge"))
    );
    assert_eq!((gateway.fixed_ips[0].prefixlen, gateway.subnets[0].cidr), (24, "203.0.113.0/24".parse().unwrap()));
    let inner = &seen.interfaces[0];
    assert_eq!((inner.host.as_str(), inner.mtu), (agent.host.as_str(), Some(world.inside.mtu)));
    assert_eq!(seen.gw_port_host.as_deref(), Some(agent.host.as_str()));
    assert_eq!(seen.floating_ips[0].fixed_ip_address, Some(vm.fixed_ips[0].ip_address));
    assert!(!seen.ha && seen.ha_interface.is_none());

    let said = [(floatingip.id, "ACTIVE".to_owned())].into_iter().collect();
    client.update_floatingip_statuses(&caller, router.id, said).await.unwrap();
    let status = async |world: &World| {
        let mut conn = world.ctx.db().reader().await.unwrap();
        find::<FloatingIp>(&world.ctx, &mut conn, &floatingip.id.to_string()).await.unwrap().status
    };
    assert_eq!(status(&world).await, "ACTIVE");
    world.associate(&floatingip, json!({"port_id": null})).await.unwrap();
    client.update_floatingip_statuses(&caller, router.id, Default::default()).await.unwrap();
    assert_eq!(status(&world).await, "DOWN");
    assert_eq!(client.get_host_ha_router_count(&caller, agent.host.clone()).await.unwrap(), 0);

    // Taken from its agent, the router goes to another, and its ports with it.
    crate::schedule::l3::remove(ctx, agent.id, router.id).await.unwrap();
    testing::silence(ctx, &agent.host, 200).await;
    world.update(&router, json!({"name": "again"})).await.unwrap();
    event::settle(ctx).await;
    let seen = client.sync_routers(&caller, other.to_owned(), None).await.unwrap();
    assert_eq!(seen[0].gw_port.as_ref().unwrap().host, other);
}

#[tokio::test]
async fn routers_of_dead_agents_are_served_by_others() {
    let world = world(testing::server(|config| config.l3.allow_automatic_failover = true).await).await;
    let ctx = &world.ctx;
    testing::report(ctx, testing::l3("a")).await;
    let router = world.connected().await;
    event::settle(ctx).await;
    testing::silence(ctx, "a", 500).await;
    testing::report(ctx, testing::l3("b")).await;
    let bus = ctx.parts.bus.clone();
    let mut agent = bus.listen(rpc::l3_agent::TOPIC, "b");
    let listening = tokio::spawn(async move {
        loop {
            let mut incoming = agent.next().await.unwrap();
            if let Some(reply) = incoming.reply.take() {
                reply.send(Ok(Value::Null));
                return (incoming.method, incoming.args);
            }
        }
    });
    crate::schedule::failover::reschedule_routers(ctx).await.unwrap();
    let (method, args) = listening.await.unwrap();
    assert_eq!((method.as_str(), args), ("router_added_to_agent", json!({"payload": [router.id]})));
    let mut conn = ctx.db().reader().await.unwrap();
    let agents = db::l3_binding::agents_of_router(&mut conn, router.id).await.unwrap();
    assert_eq!(agents.iter().map(|agent| agent.host.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn an_ha_router_has_instances_on_a_network_of_their_own() {
    let world = world(testing::serving(|_| {}).await).await;
    let ctx = &world.ctx;
    for host in ["a", "b", "c", "d"] {
        testing::report(ctx, testing::linux_bridge(host)).await;
        testing::report(ctx, testing::l3(host)).await;
    }
    let before = rows(ctx).await;
    let router = world.router(json!({"ha": true, "external_gateway_info": {"network_id": world.outside.id}})).await;
    world.add(&router, json!({"subnet_id": world.subnet.id})).await.unwrap();
    event::settle(ctx).await;
    let mut conn = ctx.db().reader().await.unwrap();
    let instances = db::ha_router::instances(&mut conn, &[router.id]).await.unwrap();
    drop(conn);
    assert_eq!(instances.len(), 3, "as many as max_l3_agents_per_router");
    let (client, caller) = (Client::new(ctx.parts.bus.clone()), oslo::context::Context::admin());
    let host = instances[0].host.clone().unwrap();
    let seen = client.sync_routers(&caller, host.clone(), Some(vec![router.id])).await.unwrap();
    let own = seen[0].ha_interface.as_ref().unwrap();
    assert_eq!((own.host.as_str(), own.fixed_ips[0].prefixlen), (host.as_str(), 18));
    assert_eq!((seen[0].ha_state, seen[0].interfaces[0].host.as_str()), (Some(HaState::Standby), ""));
    assert!((1..=254).contains(&seen[0].ha_vr_id));
    assert_eq!(seen[0].interfaces[0].device_owner, owner::HA_REPLICATED_INTERFACE);
    let port = seen[0].interfaces[0].mac_address;
    assert_ne!(port, Mac([0; 6]));

    // The ports follow the instance that is active.
    for host in [&instances[0].host, &instances[1].host].into_iter().flatten() {
        let states = [(router.id, HaState::Active)].into_iter().collect();
        client.update_ha_routers_states(&caller, host.clone(), states).await.unwrap();
        let moved = async {
            loop {
                let seen = client.sync_routers(&caller, host.clone(), Some(vec![router.id])).await.unwrap();
                if seen[0].interfaces[0].host == *host && seen[0].ha_state == Some(HaState::Active) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), moved).await.unwrap();
    }
    assert_eq!(client.get_host_ha_router_count(&caller, host.clone()).await.unwrap(), 1);

    // A second router has another number on the same network.
    let second = world.router(json!({"ha": true})).await;
    event::settle(ctx).await;
    let numbers = [world.again(&router).await.ha_vr_id.unwrap(), world.again(&second).await.ha_vr_id.unwrap()];
    assert_ne!(numbers[0], numbers[1]);
    world.delete(&second).await.unwrap();
    world.remove(&router, json!({"subnet_id": world.subnet.id})).await.unwrap();
    let plain = world.update(&router, json!({"ha": false})).await;
    assert_eq!(kind_of(plain), "BadRequest");
    let plain = world.update(&router, json!({"ha": false, "admin_state_up": false})).await.unwrap();
    assert!(!plain.ha && plain.ha_vr_id.is_none());
    event::settle(ctx).await;
    world.delete(&router).await.unwrap();
    assert_eq!(rows(&world.ctx).await, before, "the HA network goes with the last HA router");
}

#[tokio::test]
async fn numbers_of_ha_routers_run_out() {
    let world = world(testing::server(|_| {}).await).await;
    let router = world.router(json!({"ha": true})).await;
    let mut tx = world.ctx.db().begin().await.unwrap();
    let network = db::ha_router::network_of_project(&mut tx, "p").await.unwrap().unwrap();
    for number in (1..=254).filter(|number| Some(*number) != router.ha_vr_id) {
        db::ha_router::vr_id_insert(&mut tx, network, number).await.unwrap();
    }
    tx.commit().await.unwrap();
    let last = world.router(json!({"ha": true})).await;
    assert_eq!((last.status.as_str(), last.ha_vr_id), ("ERROR", None));
}

#[tokio::test]
async fn an_operator_gives_routers_to_agents() {
    let world = world(testing::server(|_| {}).await).await;
    let ctx = &world.ctx;
    for host in ["a", "b"] {
        testing::report(ctx, testing::l3(host)).await;
    }
    testing::report(ctx, testing::dhcp("a")).await;
    let router = world.router(json!({})).await;
    let mut conn = ctx.db().reader().await.unwrap();
    let agents = db::agent::agents(&mut conn, Some(kind::L3), None).await.unwrap();
    let dhcp = db::agent::agents(&mut conn, Some(kind::DHCP), None).await.unwrap();
    drop(conn);
    use crate::schedule::l3;
    assert_eq!(kind_of(l3::add(ctx, dhcp[0].id, router.id).await), "InvalidL3Agent");
    l3::add(ctx, agents[0].id, router.id).await.unwrap();
    l3::add(ctx, agents[0].id, router.id).await.unwrap();
    assert_eq!(kind_of(l3::add(ctx, agents[1].id, router.id).await), "RouterHostedByL3Agent");
    assert_eq!(l3::routers_of_agent(ctx, agents[0].id).await.unwrap(), [router.id]);
    l3::remove(ctx, agents[0].id, router.id).await.unwrap();
    assert_eq!(l3::routers_of_agent(ctx, agents[0].id).await.unwrap(), []);
    assert_eq!(kind_of(l3::routers_of_agent(ctx, types::AgentId::random()).await), "AgentNotFound");
}

/// Whatever the order in which all that there is is deleted, as often as it takes, nothing is left of it.
#[tokio::test]
async fn deleted_in_any_order_nothing_is_left() {
    use rand::{SeedableRng, seq::SliceRandom};
    let seed: u64 = std::env::var("ISOSPIN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut dice = rand::rngs::StdRng::seed_from_u64(seed);
    for round in 0..6 {
        let ctx = testing::server(|_| {}).await;
        testing::report(&ctx, testing::l3("a")).await;
        testing::report(&ctx, testing::l3("b")).await;
        // What a project gets once and for all is there before.
        let first = testing::network(&ctx).await;
        Network::delete(&ctx, &first.id.to_string(), Condition::default()).await.unwrap();
        let before = rows(&ctx).await;
        let world = world(ctx.clone()).await;
        let router = world.connected().await;
        let ha = world.router(json!({"ha": true, "external_gateway_info": {"network_id": world.outside.id}})).await;
        let vm: Port = testing::create(&ctx, json!({"network_id": world.inside.id})).await;
        let carried = world.floatingip(json!({"port_id": vm.id})).await.unwrap();
        let idle = world.floatingip(json!({})).await.unwrap();
        event::settle(&ctx).await;
        let mut steps: Vec<usize> = (0..10).collect();
        steps.shuffle(&mut dice);
        for _ in 0..5 {
            for step in &steps {
                let _ = match step {
                    0 => world.delete(&router).await,
                    1 => world.delete(&ha).await,
                    2 => world.delete(&vm).await,
                    3 => world.delete(&carried).await,
                    4 => world.delete(&idle).await,
                    5 => world.delete(&world.inside).await,
                    6 => world.delete(&world.outside).await,
                    7 => world.delete(&world.subnet).await,
                    8 => world.update(&router, json!({"external_gateway_info": null})).await.map(|_| ()),
                    _ => world.remove(&router, json!({"subnet_id": world.subnet.id})).await.map(|_| ()),
                };
            }
        }
        event::settle(&ctx).await;
        assert_eq!(rows(&world.ctx).await, before, "seed {seed}, round {round}, order {steps:?}");
    }
}
