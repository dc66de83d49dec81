use kernel::Bridge;
use types::{Mac, PortId};

use super::*;
use crate::linuxbridge::config::Overlay;

pub(in crate::linuxbridge) fn port(network_type: NetworkType, id: Option<u32>, physical: Option<&str>) -> PortDetails {
    let port_id: PortId = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    PortDetails {
        device: device::tap(port_id),
        network_id: "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee".parse().unwrap(),
        port_id,
        mac_address: Mac([0xfa, 0x16, 0x3e, 0, 0, 1]),
        admin_state_up: true,
        network_type,
        segmentation_id: id,
        physical_network: physical.map(str::to_owned),
        mtu: Some(1450),
        fixed_ips: Vec::new(),
        device_owner: "compute:nova".to_owned(),
        allowed_address_pairs: Vec::new(),
        port_security_enabled: true,
        qos_policy_id: None,
        qos_network_policy_id: None,
        profile: serde_json::Map::new(),
        propagate_uplink_status: false,
    }
}

fn config() -> Config {
    let mut config = Config::new("host-a");
    config.physical_interface_mappings = [("physnet1".to_owned(), "eth1".to_owned())].into();
    config.bridge_mappings = [("given".to_owned(), "br-ex".to_owned())].into();
    config.vxlan = Some(Overlay::new("10.0.0.11".parse().unwrap()));
    config
}

#[test]
fn each_network_type_has_its_uplink() {
    let uplink = |port: &PortDetails| carrier(&config(), port).map(|carrier| carrier.uplink);
    let overlay = Overlay::new("10.0.0.11".parse().unwrap());
    assert_eq!(uplink(&port(NetworkType::Local, None, None)), Ok(None));
    let flat = Some(("eth1".to_owned(), Uplink::Physical));
    assert_eq!(uplink(&port(NetworkType::Flat, None, Some("physnet1"))), Ok(flat));
    let vlan = Some(("eth1.7".to_owned(), Uplink::Vlan { interface: "eth1".to_owned(), id: 7 }));
    assert_eq!(uplink(&port(NetworkType::Vlan, Some(7), Some("physnet1"))), Ok(vlan));
    let vxlan = Some(("vxlan-565".to_owned(), Uplink::Vxlan { vni: 565, overlay }));
    assert_eq!(uplink(&port(NetworkType::Vxlan, Some(565), None)), Ok(vxlan));
}

#[test]
fn a_given_bridge_takes_the_place_of_bridge_and_uplink() {
    let port = port(NetworkType::Flat, None, Some("given"));
    let carrier = carrier(&config(), &port).unwrap();
    let objects = network_objects(port.network_id, &carrier);
    assert_eq!(objects, [(Key::Bridge("br-ex".to_owned()), Wanted::GivenBridge)].into());
    assert_eq!(tap(&carrier, &port), Wanted::Tap { bridge: Some("br-ex".to_owned()), mtu: 1450, up: true });
}

#[test]
fn what_cannot_be_wired_says_why() {
    let why = |port: &PortDetails, config: &Config| carrier(config, port).unwrap_err().to_string();
    let unmapped = why(&port(NetworkType::Flat, None, Some("other")), &config());
    assert!(unmapped.starts_with("physical network 'other' is in neither"), "{unmapped}");
    assert!(why(&port(NetworkType::Geneve, Some(1), None), &config()).starts_with("network type 'geneve'"));
    assert!(why(&port(NetworkType::Vxlan, Some(1), None), &Config::new("h")).starts_with("VXLAN is not enabled"));
    assert!(why(&port(NetworkType::Vlan, None, Some("physnet1")), &config()).contains("segmentation id"));
    assert!(why(&port(NetworkType::Flat, None, None), &config()).contains("physical network"));
}

#[test]
fn a_vlan_device_fits_fifteen_characters() {
    assert_eq!(vlan_device("eth0", 4094), "eth0.4094");
    assert_eq!(vlan_device("enp0s31f6x", 4094), "enp0s31f6x.4094");
    let long = vlan_device("enp0s31f6np0", 4094);
    assert_eq!((long.len(), &long[..4], &long[10..]), (15, "enp0", ".4094"));
}

#[test]
fn only_a_bridge_with_the_host_on_it_speaks_ipv6() {
    let ipv6 = |port: PortDetails| {
        let objects = network_objects(port.network_id, &carrier(&config(), &port).unwrap());
        matches!(objects[&Key::Bridge("brqaaaaaaaa-bb".to_owned())], Wanted::Bridge { ipv6: true, .. })
    };
    assert!(ipv6(port(NetworkType::Flat, None, Some("physnet1"))));
    assert!(!ipv6(port(NetworkType::Vlan, Some(7), Some("physnet1"))));
    assert!(!Bridge::default().stp);
}
