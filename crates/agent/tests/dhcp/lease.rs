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
