//! Routers and floating IPs by several servers on one database at once: one HA network for a project however many make
//! its first HA router, one interface on a subnet, one floating IP for an address, and nothing left of what all delete.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

use std::{path::Path, process::Command, sync::Barrier, thread};

use serde_json::{Value, json};
use testkit::{
    galera::Galera,
    http::{Answer, id, text},
    mariadb::MariaDb,
    postgres::Postgres,
    standalone::{Plan, Service},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
const SERVERS: usize = 3;
const CLIENTS: usize = 24;

fn servers(urls: &[String], options: &str, directory: &Path) -> Vec<Service> {
    let configuration = |url: &String| {
        format!(
            "[DEFAULT]\nauth_strategy = noauth\ntransport_url = fake://\ncore_plugin = ml2\nstate_path = {}\n[database]\n\
         connection = {url}\n{options}[quotas]\nquota_router = -1\nquota_floatingip = -1\n[ml2]\n\
         mechanism_drivers = linuxbridge\nextension_drivers = port_security\n",
            directory.display()
        )
    };
    let upgrade = Command::new(PROGRAM).args(["db", "upgrade", "head", "--url", &urls[0]]).output().unwrap();
    assert!(upgrade.status.success(), "{}", String::from_utf8_lossy(&upgrade.stderr));
    let urls = urls.iter().cycle().take(SERVERS);
    urls.map(|url| Plan::server(PROGRAM).configuration(&configuration(url)).start().unwrap()).collect()
}

/// Has all clients send a request of their own at the same moment.
fn at_once(servers: &[Service], request: impl Fn(usize) -> (&'static str, String, Value) + Sync) -> Vec<Answer> {
    let barrier = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let client = servers[number % servers.len()].client();
                let (barrier, request) = (&barrier, &request);
                scope.spawn(move || {
                    let (method, path, body) = request(number);
                    barrier.wait();
                    match &body {
                        Value::Null => client.send(method, &path, &[], None).unwrap(),
                        body => client.json(method, &path, body).unwrap(),
                    }
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// How many were answered so; all others were refused with a type among these.
fn succeeded(answers: &[Answer], status: u16, refusals: &[&str]) -> usize {
    for answer in answers.iter().filter(|answer| answer.status != status) {
        let error = answer.json();
        let kind = error.pointer("/NeutronError/type").and_then(Value::as_str).unwrap_or_default();
        assert!(refusals.contains(&kind), "{} {}", answer.status, answer.text());
    }
    answers.iter().filter(|answer| answer.status == status).count()
}

fn contend(urls: &[String], options: &str, directory: &Path) {
    let servers = servers(urls, options, directory);
    let client = servers[0].client();
    let network = |cidr: &str, attributes: Value| {
        let network = id(&client.create("networks", attributes).unwrap());
        let subnet = json!({"network_id": network, "ip_version": 4, "cidr": cidr});
        (network, id(&client.create("subnets", subnet).unwrap()))
    };
    let (outside, _) = network("203.0.113.0/24", json!({"router:external": true}));
    let (inside, subnet) = network("10.0.0.0/24", json!({}));

    // The first HA routers of a project.
    let router = json!({"router": {"ha": true, "external_gateway_info": {"network_id": outside}}});
    let made = at_once(&servers, |_| ("POST", "/v2.0/routers".to_owned(), router.clone()));
    assert_eq!(succeeded(&made, 201, &[]), CLIENTS);
    let routers: Vec<Value> = made.iter().map(|answer| answer.json()["router"].clone()).collect();
    assert!(routers.iter().all(|router| text(router, "status") == "ACTIVE"));
    let ha_networks = || {
        let all = client.list("networks", "").unwrap();
        all.iter().filter(|network| text(network, "name").starts_with("HA network")).count()
    };
    assert_eq!(ha_networks(), 1);

    // One router, one subnet, many requests.
    let one = id(&client.create("routers", json!({"external_gateway_info": {"network_id": outside}})).unwrap());
    let path = format!("/v2.0/routers/{one}/add_router_interface");
    let added = at_once(&servers, |_| ("PUT", path.clone(), json!({"subnet_id": subnet})));
    assert_eq!(succeeded(&added, 200, &["BadRequest", "IpAddressAlreadyAllocated"]), 1);
    assert_eq!(client.list("ports", &format!("?device_id={one}&network_id={inside}")).unwrap().len(), 1);

    // Many floating IPs for one address.
    let port = id(&client.create("ports", json!({"network_id": inside})).unwrap());
    let floating = json!({"floatingip": {"floating_network_id": outside, "port_id": port}});
    let floating = at_once(&servers, |_| ("POST", "/v2.0/floatingips".to_owned(), floating.clone()));
    assert_eq!(succeeded(&floating, 201, &["FloatingIPPortAlreadyAssociated"]), 1);
    let held = client.list("ports", "?device_owner=network:floatingip").unwrap();
    assert_eq!(held.len(), 1, "what was refused holds no address");

    // While some take the interface away, others let floating IPs stand for what is behind it.
    let floating = id(&floating.iter().find(|answer| answer.status == 201).unwrap().json()["floatingip"]);
    let path = format!("/v2.0/floatingips/{floating}");
    client.json("PUT", &path, &json!({"floatingip": {"port_id": null}})).unwrap();
    let remove = format!("/v2.0/routers/{one}/remove_router_interface");
    let race = at_once(&servers, |number| match number % 2 {
        0 => ("PUT", path.clone(), json!({"floatingip": {"port_id": port}})),
        _ => ("PUT", remove.clone(), json!({"subnet_id": subnet})),
    });
    let refusals = [
        "RouterInterfaceInUseByFloatingIP",
        "RouterInterfaceNotFoundForSubnet",
        "ExternalGatewayForFloatingIPNotFound",
    ];
    succeeded(&race, 200, &refusals);
    let carried = !client.list("floatingips", &format!("?router_id={one}")).unwrap().is_empty();
    let there = !client.list("ports", &format!("?device_id={one}&network_id={inside}")).unwrap().is_empty();
    assert_eq!(carried, there, "a floating IP is carried where the router is on the subnet, and only there");

    // All HA routers go, and their network with the last.
    let gone = at_once(&servers, |number| ("DELETE", format!("/v2.0/routers/{}", id(&routers[number])), Value::Null));
    assert_eq!(succeeded(&gone, 204, &[]), CLIENTS);
    assert_eq!(ha_networks(), 0);
    for server in servers {
        server.finish().unwrap();
    }
}

#[test]
fn on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:///{}", directory.path().join("neutron.sqlite").display());
    contend(&[url], "", directory.path());
}

#[test]
fn on_mariadb() {
    let (directory, mariadb) = (tempfile::tempdir().unwrap(), MariaDb::start().unwrap());
    contend(&[mariadb.url()], "", directory.path());
}

#[test]
fn on_postgres() {
    let (directory, postgres) = (tempfile::tempdir().unwrap(), Postgres::start().unwrap());
    contend(&[postgres.url()], "", directory.path());
}

/// Each server has a node of its own.
#[test]
#[ignore = "needs galera-4 and mariadb-server: make test-cluster"]
fn on_galera() {
    let (directory, cluster) = (tempfile::tempdir().unwrap(), Galera::with_schema(SERVERS, PROGRAM).unwrap());
    contend(&cluster.urls(), "mysql_wsrep_sync_wait = 1\n", directory.path());
}
