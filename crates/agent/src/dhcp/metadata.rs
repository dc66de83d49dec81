//! Whether a network's DHCP server is also its way to the metadata service. Pure.
//!
//! It is where no router is: on networks with a subnet that DHCP serves and whose gateway is no router of ours. It can be
//! forced everywhere; and where OVN serves metadata it never is.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use rpc::dhcp::NetworkInfo;

use super::{
    Config,
    desired::is_ovn_metadata,
    files::{ROUTER_INTERFACES, isolated_subnets, subnets},
};
use crate::metadata::{
    Scope,
    proxy::{Place, Wanted},
};

/// A subnet of these addresses is for nothing but metadata, which then comes for all networks of its router.
const LINK_LOCAL: (Ipv4Addr, u8) = (Ipv4Addr::new(169, 254, 0, 0), 16);

/// The proxy that a network shall have, if any; `interface` is that of its DHCP server.
pub(super) fn proxy(network: &NetworkInfo, interface: &str, config: &Config) -> Option<Wanted> {
    if network.ports.iter().any(is_ovn_metadata) || !subnets(network).any(|subnet| subnet.enable_dhcp) {
        return None;
    }
    let is_metadata_network = config.enable_metadata_network && has_metadata_subnet(network);
    if !config.force_metadata {
        let isolated = isolated_subnets(network);
        let mut served = subnets(network).filter(|subnet| subnet.enable_dhcp);
        let is_isolated = is_metadata_network || served.any(|subnet| isolated.contains(&subnet.id));
        if !config.enable_isolated_metadata || !is_isolated {
            return None;
        }
    }
    let has_v6 = network.subnets.iter().any(|subnet| subnet.ip_version == 6);
    let router = network.ports.iter().find(|port| ROUTER_INTERFACES.contains(&port.device_owner.as_str()));
    let scope = match router.filter(|_| is_metadata_network) {
        Some(interface) => Scope::Router(interface.device_id.clone()),
        None => Scope::Network(network.id.to_string()),
    };
    Some(Wanted { scope, place: Place::Service { interface: has_v6.then(|| interface.to_owned()) } })
}

fn has_metadata_subnet(network: &NetworkInfo) -> bool {
    let Ok(link_local) = Ipv4Net::new(LINK_LOCAL.0, LINK_LOCAL.1) else { return false };
    subnets(network).any(|subnet| match subnet.cidr {
        IpNet::V4(cidr) => link_local.contains(&cidr),
        IpNet::V6(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(case: &str) -> NetworkInfo {
        let path = format!("{}/tests/data/dhcp/{case}/network.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn config(set: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::new("host-a", "/var/lib/neutron");
        set(&mut config);
        config
    }

    /// A router's interface on the gateway of the network's first subnet.
    fn with_router(mut network: NetworkInfo) -> NetworkInfo {
        let mut interface = network.ports[0].clone();
        interface.device_owner = "network:router_interface".to_owned();
        interface.device_id = "the-router".to_owned();
        interface.fixed_ips[0].ip_address = network.subnets[0].gateway_ip.unwrap();
        network.ports.push(interface);
        network
    }

    #[test]
    fn isolated_networks_have_a_proxy_when_that_is_asked_for() {
        let plain = network("plain");
        let id = plain.id.to_string();
        assert_eq!(proxy(&plain, "ns-1", &config(|_| {})), None);
        let isolated = config(|config| config.enable_isolated_metadata = true);
        let expected = Wanted { scope: Scope::Network(id.clone()), place: Place::Service { interface: None } };
        assert_eq!(proxy(&plain, "ns-1", &isolated), Some(expected.clone()));
        let routed = with_router(plain);
        assert_eq!(proxy(&routed, "ns-1", &isolated), None);
        assert_eq!(proxy(&routed, "ns-1", &config(|config| config.force_metadata = true)), Some(expected));
    }

    #[test]
    fn ipv6_clients_need_the_interface() {
        let isolated = config(|config| config.enable_isolated_metadata = true);
        let wanted = proxy(&network("forced"), "ns-1", &isolated).unwrap();
        assert_eq!(wanted.place, Place::Service { interface: Some("ns-1".to_owned()) });
    }

    #[test]
    fn where_ovn_serves_metadata_there_is_no_proxy() {
        let forced = config(|config| config.force_metadata = true);
        assert_eq!(proxy(&network("ovn-metadata"), "ns-1", &forced), None);
    }

    #[test]
    fn a_network_without_dhcp_has_no_proxy() {
        let mut plain = network("plain");
        plain.subnets.iter_mut().for_each(|subnet| subnet.enable_dhcp = false);
        assert_eq!(proxy(&plain, "ns-1", &config(|config| config.force_metadata = true)), None);
    }

    #[test]
    fn a_metadata_network_serves_its_router() {
        let with_network = config(|config| {
            config.enable_isolated_metadata = true;
            config.enable_metadata_network = true;
        });
        let mut plain = network("plain");
        plain.subnets[0].cidr = "169.254.169.0/24".parse().unwrap();
        plain.subnets[0].gateway_ip = Some([169, 254, 169, 1].into());
        let alone = proxy(&plain, "ns-1", &with_network).unwrap();
        assert_eq!(alone.scope, Scope::Network(plain.id.to_string()));
        let routed = proxy(&with_router(plain.clone()), "ns-1", &with_network).unwrap();
        assert_eq!(routed.scope, Scope::Router("the-router".to_owned()));
        let without = config(|config| config.enable_isolated_metadata = true);
        assert_eq!(proxy(&with_router(plain), "ns-1", &without), None);
    }
}
