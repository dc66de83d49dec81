use super::*;

fn network(case: &str) -> NetworkInfo {
    let path = format!("{}/tests/data/dhcp/{case}/network.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn config() -> Config {
    Config::new("host-a", "/var/lib/neutron")
}

fn service(case: &str, config: &Config) -> Service {
    let network = network(case);
    let own = network.ports[0].clone();
    Service::new(&network, &own, config)
}

fn texts(addresses: &BTreeSet<IpNet>) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn a_port_is_told_by_the_host_and_the_network() {
    let network: NetworkId = "3c6e5fd4-4b4c-4d1e-9a43-3f1a4b6d2e01".parse().unwrap();
    let expected = format!("dhcp645ab895-b76a-5ada-8177-739c5b8ac740-{network}");
    assert_eq!(device_id("host-a", network), expected);
    assert_eq!(device_id("host-a.example.org", network), expected);
    assert_ne!(device_id("host-b", network), expected);
}

#[test]
fn names_are_made_of_ids() {
    let service = service("plain", &config());
    assert_eq!(service.namespace, "qdhcp-3c6e5fd4-4b4c-4d1e-9a43-3f1a4b6d2e01");
    assert_eq!(service.interface, "ns-22222222-22");
    assert_eq!(service.tap, "tap22222222-22");
    assert_eq!(service.directory.to_str(), Some("/var/lib/neutron/dhcp/3c6e5fd4-4b4c-4d1e-9a43-3f1a4b6d2e01"));
}

#[test]
fn addresses_are_the_ports_and_the_metadata_services() {
    let mut config = config();
    assert_eq!(texts(&service("forced", &config).addresses), ["10.0.0.2/24", "2001:db8:1::2/64"]);
    config.enable_isolated_metadata = true;
    let with_metadata = ["10.0.0.2/24", "169.254.169.254/32", "2001:db8:1::2/64", "fe80::a9fe:a9fe/128"];
    assert_eq!(texts(&service("forced", &config).addresses), with_metadata);
    assert_eq!(texts(&service("plain", &config).addresses), ["10.0.0.2/24", "169.254.169.254/32"]);
}

#[test]
fn the_first_subnet_with_a_gateway_gives_the_default_route() {
    let gateways = service("v6", &config()).gateways;
    let addresses: Vec<String> = gateways.iter().map(|g| g.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.1", "2001:db8:1::1"]);
    assert!(gateways.iter().all(|gateway| !gateway.on_link));
    assert_eq!(service("no-gateway", &config()).gateways, []);
}

#[test]
fn a_gateway_outside_its_subnet_is_reached_first() {
    let mut network = network("plain");
    network.subnets[0].gateway_ip = Some("192.0.2.1".parse().unwrap());
    let own = network.ports[0].clone();
    let gateways = Service::new(&network, &own, &config()).gateways;
    assert_eq!(gateways, [Gateway { address: "192.0.2.1".parse().unwrap(), on_link: true }]);
}

#[test]
fn an_agent_keeps_its_port() {
    let network = network("plain");
    let id = device_id("host-a", network.id);
    assert_eq!(port_step(&network, &id), PortStep::Keep(Box::new(network.ports[0].clone())));
}

#[test]
fn a_port_gains_and_loses_subnets() {
    let mut network = network("several-v4");
    let [first, second] = [network.subnets[0].id, network.subnets[1].id];
    network.ports[0].fixed_ips.remove(0);
    network.subnets[1].enable_dhcp = false;
    let wanted = vec![any_address(first)];
    let id = device_id("host-a", network.id);
    assert_eq!(port_step(&network, &id), PortStep::Update(network.ports[0].id, wanted));
    network.subnets[1].enable_dhcp = true;
    let kept = FixedIpRequest { subnet_id: Some(second), ip_address: "10.0.1.2".parse().ok() };
    assert_eq!(port_step(&network, &id), PortStep::Update(network.ports[0].id, vec![kept, any_address(first)]));
    assert_eq!(missing_subnets(&network, &network.ports[0]), [first]);
}

#[test]
fn a_reserved_port_is_adopted_before_another_is_made() {
    let mut network = network("two-servers");
    let other = network.ports[1].id;
    network.ports.remove(0);
    let id = device_id("host-a", network.id);
    let all = network.subnets.iter().map(|subnet| any_address(subnet.id)).collect();
    assert_eq!(port_step(&network, &id), PortStep::Create(all));
    network.ports[0].device_id = RESERVED_DEVICE_ID.to_owned();
    assert_eq!(port_step(&network, &id), PortStep::Adopt(other));
}

#[test]
fn a_network_is_served_while_it_is_up_and_has_a_subnet_with_dhcp() {
    let mut network = network("plain");
    assert!(is_served(&network));
    network.admin_state_up = false;
    assert!(!is_served(&network));
    network.admin_state_up = true;
    network.subnets[0].enable_dhcp = false;
    assert!(!is_served(&network));
    assert_eq!(trimmed(network).subnets, []);
}
