//! What clients get.

use serde_json::json;

use super::lab::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_gets_address_gateway_dns_and_mtu() {
    let mut lab = Lab::new().await;
    let subnet = json!({"gateway_ip": "10.21.0.1", "dns_nameservers": ["9.9.9.9", "1.1.1.1"]});
    let network = lab.serve(&[("10.21.0.0/24", subnet)]).await;
    let (port, instance) = lab.boot(network, "vm", json!([])).await;
    let address = port.fixed_ips[0].ip_address.to_string();

    let lease = instance.udhcpc(&[]).await;
    assert_eq!(lease["ip"], address);
    assert_eq!(lease["subnet"], "255.255.255.0");
    assert_eq!(lease["router"], "10.21.0.1");
    assert_eq!(lease["dns"], "9.9.9.9 1.1.1.1");
    assert_eq!(lease["mtu"], "1450");
    assert_eq!(lease["domain"], "openstacklocal");
    assert_eq!(lease["lease"], "86400");

    let lease = instance.dhclient("-4", "BOUND").await;
    assert_eq!(lease["new_ip_address"], address);
    assert_eq!(lease["new_routers"], "10.21.0.1");
    assert_eq!(lease["new_interface_mtu"], "1450");
    assert_eq!(lease["new_domain_name_servers"], "9.9.9.9 1.1.1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn host_routes_and_options_of_a_port_reach_its_client() {
    let mut lab = Lab::new().await;
    let routes = json!([{"destination": "10.99.0.0/16", "nexthop": "10.22.0.9"}]);
    let subnet = json!({"gateway_ip": "10.22.0.1", "host_routes": routes});
    let network = lab.serve(&[("10.22.0.0/24", subnet)]).await;
    let options = json!([
        {"opt_name": "bootfile-name", "opt_value": "pxelinux.0", "ip_version": 4},
        {"opt_name": "42", "opt_value": "10.22.0.7", "ip_version": 4},
        {"opt_name": "mtu", "opt_value": "1300", "ip_version": 4},
    ]);
    let (_, instance) = lab.boot(network, "vm", options).await;
    let lease = instance.udhcpc(&["-O", "bootfile", "-O", "ntpsrv"]).await;
    // The default gateway has to be among the routes, as clients ignore the router option beside them. The metadata
    // route leads to the gateway, which is a router's.
    assert_eq!(lease["staticroutes"], "10.99.0.0/16 10.22.0.9 0.0.0.0/0 10.22.0.1");
    assert_eq!(lease["bootfile"], "pxelinux.0");
    assert_eq!(lease["ntpsrv"], "10.22.0.7");
    // Without name servers of its own the subnet's instances ask dnsmasq.
    assert_eq!(lease["dns"], lease["serverid"]);
    // What is said of the port goes before what is said of all.
    assert_eq!(lease["mtu"], "1300");
}

#[tokio::test(flavor = "multi_thread")]
async fn dnsmasq_answers_names_of_the_network() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.23.0.0/24", json!({"gateway_ip": "10.23.0.1"}))]).await;
    let (port, instance) = lab.boot(network, "vm", json!([])).await;
    let (other, _) = lab.boot(network, "other", json!([])).await;
    let lease = instance.udhcpc(&[]).await;
    let address = format!("{}/24", port.fixed_ips[0].ip_address).parse().unwrap();
    let inside = instance.namespace.open().unwrap();
    let link = inside.link("eth0").await.unwrap().unwrap();
    inside.address_set(&kernel::Address::new(link.index, address)).await.unwrap();
    let name = other.dns_assignment[0].fqdn.clone();
    let answer = instance.resolve(&name, &lease["dns"]).await;
    assert_eq!(answer, Some(other.fixed_ips[0].ip_address.to_string()));
    assert_eq!(instance.resolve("nobody.openstacklocal.", &lease["dns"]).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_clients_get_their_ipv6_address_and_dns() {
    let mut lab = Lab::new().await;
    let stateful = json!({
        "ipv6_address_mode": "dhcpv6-stateful", "ipv6_ra_mode": "dhcpv6-stateful", "gateway_ip": "2001:db8:24::1",
        "dns_nameservers": ["2001:4860:4860::8888"],
    });
    let four = json!({"gateway_ip": "10.24.0.1"});
    let network = lab.serve(&[("10.24.0.0/24", four), ("2001:db8:24::/64", stateful)]).await;
    let options = json!([{"opt_name": "domain-search", "opt_value": "vm.example.org", "ip_version": 6}]);
    let (port, instance) = lab.boot(network, "vm", options).await;
    let lease = instance.dhclient("-6", "BOUND6").await;
    assert_eq!(lease["new_ip6_address"], port.fixed_ips[1].ip_address.to_string());
    assert_eq!(lease["new_dhcp6_name_servers"], "2001:4860:4860::8888");
    assert!(lease["new_dhcp6_domain_search"].contains("vm.example.org"), "{lease:?}");
    // The same port by IPv4.
    assert_eq!(instance.udhcpc(&[]).await["ip"], port.fixed_ips[0].ip_address.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn stateless_clients_get_options_but_no_address() {
    let mut lab = Lab::new().await;
    let stateless = json!({
        "ipv6_address_mode": "dhcpv6-stateless", "ipv6_ra_mode": "dhcpv6-stateless",
        "dns_nameservers": ["2001:4860:4860::8844"],
    });
    let network = lab.serve(&[("2001:db8:25::/64", stateless)]).await;
    let options = json!([{"opt_name": "domain-search", "opt_value": "vm.example.org", "ip_version": 6}]);
    let (_, instance) = lab.boot(network, "vm", options).await;
    let lease = instance.dhclient("-6 -S", "RENEW6").await;
    assert_eq!(lease["new_dhcp6_name_servers"], "2001:4860:4860::8844");
    assert!(lease["new_dhcp6_domain_search"].contains("vm.example.org"), "{lease:?}");
    assert!(!lease.contains_key("new_ip6_address"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strange_client_gets_nothing() {
    let mut lab = Lab::new().await;
    let network = lab.serve(&[("10.26.0.0/24", json!({}))]).await;
    let (mut port, _) = lab.boot(network, "vm", json!([])).await;
    port.mac_address = "fa:16:3e:ff:ff:fe".parse().unwrap();
    port.id = types::PortId::random();
    let stranger = lab.host.plug(network, "stranger", &port).await;
    assert!(!stranger.run(&["udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "2", "-T", "1", "-s", "/bin/true"]).await);
}
