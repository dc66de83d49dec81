//! The deployment that this project exists for, from its files as an operator typed them: a controller with MariaDB,
//! RabbitMQ, memcached and Keystone, and a compute host with nothing but the Linux bridge agent. Real parts, two hosts in
//! namespaces with the deployment's addresses, the operator's commands in the operator's order. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

mod lab;

use std::time::{Duration, Instant};

use lab::{COMPUTE, CONTROLLER, Lab};
use serde_json::{Value, json};
use testkit::{deployment::Plugged, http::text};

/// The rows of `neutron agent-list` as the operator reads them: type, host, zone, alive, admin state, binary.
fn agents(lab: &Lab) -> Vec<Vec<String>> {
    let printed = lab.admin("neutron agent-list").unwrap();
    let rows = printed.lines().filter(|line| line.starts_with('|'));
    let rows =
        rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    let mut rows: Vec<_> = rows.collect();
    let head = rows.remove(0);
    assert_eq!(
        head,
        ["id", "agent_type", "host", "availability_zone", "alive", "admin_state_up", "binary"],
        "{printed}"
    );
    let mut rows: Vec<_> = rows.into_iter().map(|row| row[1..].to_vec()).collect();
    rows.sort();
    rows
}

fn row(kind: &str, host: &str, zone: &str, binary: &str) -> Vec<String> {
    [kind, host, zone, ":-)", "True", binary].map(str::to_owned).to_vec()
}

/// An instance on a host, on a port that the compute service asked for; ACTIVE, with the address it was told.
fn boot(lab: &Lab, host: &str, network: &str) -> (Plugged, Value) {
    let wish = json!({
        "network_id": network, "binding:host_id": host, "device_owner": "compute:nova",
        "device_id": uuid(),
    });
    let port = lab.api().create("ports", wish).unwrap();
    assert_eq!(port["binding:vif_type"], "bridge", "{port}");
    let plugged = lab.node(host).plug(&port).unwrap();
    lab.until("the port is ACTIVE", || lab.api().show("ports", &text(&port, "id")).unwrap()["status"] == "ACTIVE");
    let lease = plugged.instance.dhcp().unwrap();
    assert_eq!(lease["ip"], address(&port));
    assert_eq!((lease["router"].as_str(), lease["dns"].as_str()), ("192.168.56.1", "192.0.2.53"));
    (plugged, port)
}

fn address(port: &Value) -> String {
    text(&port["fixed_ips"][0], "ip_address")
}

fn uuid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned()
}

#[test]
fn the_deployment_is_served_from_its_files() {
    let mut lab = Lab::start().unwrap();

    // The schema, twice, as the service's own account.
    let upgrade = "neutron-db-manage --config-file /etc/neutron/neutron.conf \
                   --config-file /etc/neutron/plugins/ml2/ml2_conf.ini upgrade head";
    lab.as_neutron(upgrade).unwrap();
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'neutron'";
    let before = lab.mariadb.query(tables).unwrap();
    lab.as_neutron(upgrade).unwrap();
    assert_eq!(lab.mariadb.query(tables).unwrap(), before);
    assert!(before[0].parse::<usize>().unwrap() > 100);

    // The services of the controller, and their registration.
    lab.start_server().unwrap();
    for agent in ["linuxbridge", "dhcp", "metadata"] {
        lab.start_agent(CONTROLLER, agent).unwrap();
    }
    lab.admin("openstack service create --name neutron --description OpenStack-Networking network").unwrap();
    for interface in ["public", "internal", "admin"] {
        lab.admin(&format!(
            "openstack endpoint create --region RegionOne network {interface} http://192.168.56.11:9696"
        ))
        .unwrap();
    }

    // What the operator looks at.
    let mut three = vec![
        row("DHCP agent", CONTROLLER, "nova", "neutron-dhcp-agent"),
        row("Linux bridge agent", CONTROLLER, "", "neutron-linuxbridge-agent"),
        row("Metadata agent", CONTROLLER, "", "neutron-metadata-agent"),
    ];
    lab.until("three agents live", || agents(&lab) == three);
    lab.start_agent(COMPUTE, "linuxbridge").unwrap();
    three.insert(2, row("Linux bridge agent", COMPUTE, "", "neutron-linuxbridge-agent"));
    lab.until("four agents live", || agents(&lab) == three);

    // Strangers stay out.
    assert_eq!(lab.api().with_token("no-token").send("GET", "/v2.0/networks", &[], None).unwrap().status, 401);

    // The provider network of the deployment, by the client of the operator.
    lab.admin(
        "openstack network create --share --provider-physical-network public --provider-network-type flat public -f value -c id",
    )
    .unwrap();
    lab.admin(
        "openstack subnet create --network public --allocation-pool start=192.168.56.100,end=192.168.56.200 \
         --dns-nameserver 192.0.2.53 --gateway 192.168.56.1 --subnet-range 192.168.56.0/24 public-subnet",
    )
    .unwrap();
    let network = text(&lab.api().list("networks", "?name=public").unwrap()[0], "id");
    lab.until("dnsmasq serves", || lab.dnsmasq(&network).is_some());

    // An instance on either host: address, each other, the physical network.
    let (first, first_port) = boot(&lab, CONTROLLER, &network);
    let (second, second_port) = boot(&lab, COMPUTE, &network);
    assert_eq!(first.instance.ping(&address(&second_port), 10).unwrap(), 10);
    assert_eq!(second.instance.ping(&address(&first_port), 10).unwrap(), 10);
    for plugged in [&first, &second] {
        assert_eq!(plugged.instance.ping("192.168.56.1", 5).unwrap(), 5);
    }
    // The hosts themselves kept their addresses, by which their services talk.
    assert_eq!(lab.physical_pings("192.168.56.11"), 5);
    assert_eq!(lab.physical_pings("192.168.56.12"), 5);

    // The compute service was told of both.
    let plugged = |port: &Value| {
        lab.nova.events().iter().any(|event| {
            event["name"] == "network-vif-plugged"
                && event["tag"] == port["id"]
                && event["server_uuid"] == port["device_id"]
                && event["status"] == "completed"
        })
    };
    lab.until("the compute service knows of both", || plugged(&first_port) && plugged(&second_port));

    // A project's member sees the shared network and makes ports, and may not make such networks.
    let member = lab.member();
    assert_eq!(member.list("networks", "").unwrap().len(), 1);
    let refused =
        member.json("POST", "/v2.0/networks", &json!({"network": {"provider:network_type": "flat"}})).unwrap();
    assert_eq!(refused.status, 403, "{}", refused.text());

    // Metadata: not with the file as it was typed, but with the switch that the text speaks of.
    assert!(lab.metadata(&second).is_err());
    lab.stop_agent(CONTROLLER, "dhcp").unwrap();
    let file = lab
        .seed("controller/dhcp_agent.ini")
        .replace("enable_isolated_metadata = false", "enable_isolated_metadata = true");
    lab.node(CONTROLLER).write("dhcp_agent.ini", file).unwrap();
    let pings = first.instance.pings(&address(&second_port)).unwrap();
    lab.start_agent(CONTROLLER, "dhcp").unwrap();
    // The network has a gateway which is no router of ours, so its metadata is reached through the DHCP namespace.
    lab.until("metadata is answered", || {
        second.instance.dhcp().is_ok()
            && lab.metadata(&second).is_ok_and(|said| said.contains(&text(&second_port, "device_id")))
    });
    let (sent, answered) = pings.stop().unwrap();
    assert_eq!(sent, answered, "packets were lost while the DHCP agent started");

    // A host whose agent dies and comes back loses no packet, and the agents are found alive again.
    let pings = first.instance.pings(&address(&second_port)).unwrap();
    lab.kill_agent(COMPUTE, "linuxbridge").unwrap();
    lab.start_agent(COMPUTE, "linuxbridge").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let (sent, answered) = pings.stop().unwrap();
    assert!(sent > 10 && sent == answered, "{answered} of {sent}");

    // The broker is away for a moment; afterwards an instance starts as before.
    lab.restart_broker().unwrap();
    let began = Instant::now();
    let (third, third_port) = boot(&lab, COMPUTE, &network);
    println!("a port became ACTIVE {:?} after the broker came back", began.elapsed());
    assert_eq!(third.instance.ping(&address(&first_port), 5).unwrap(), 5);

    // One request is followed through the server and the agents by its id.
    let id = lab.follow(&third_port).unwrap();
    println!("request {id} is in the logs of the server and the DHCP agent");

    for (host, plugged, port) in
        [(CONTROLLER, first, first_port), (COMPUTE, second, second_port), (COMPUTE, third, third_port)]
    {
        lab.node(host).unplug(&plugged).unwrap();
        lab.api().delete("ports", &text(&port, "id")).unwrap();
    }
    lab.admin("openstack network delete public").unwrap();
    lab.until("nothing is left", || lab.left_behind() == [""; 0]);
    lab.stop().unwrap();
}

#[test]
fn mistakes_of_the_operator_are_told() {
    let lan = testkit::deployment::Lan::start("192.168.56.1/24").unwrap();
    let node = lab::node(&lan, COMPUTE).unwrap();
    let linuxbridge = "neutron-linuxbridge-agent --config-file /etc/neutron/neutron.conf \
                       --config-file /etc/neutron/plugins/ml2/linuxbridge_agent.ini";
    let file = lab::seed("compute/linuxbridge_agent.ini").replace("public:eth0", "public:eth7");
    node.write("plugins/ml2/linuxbridge_agent.ini", file).unwrap();
    let output = node.attempt(linuxbridge).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(0));
    for named in ["public", "eth7", "linuxbridge_agent.ini"] {
        assert!(said.contains(named), "{said}");
    }

    let controller = lab::node(&lan, CONTROLLER).unwrap();
    let file = lab::seed("controller/neutron.conf").replace("core_plugin = ml2", "core_plugin = m12");
    controller.write("neutron.conf", file).unwrap();
    let output = controller
        .attempt("neutron-server --config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugin.ini")
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(0));
    assert!(said.contains("m12") && said.contains("ml2"), "{said}");
}
