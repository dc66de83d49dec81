use super::*;
use crate::l3::testing::{config, router};

const CASES: [&str; 8] = ["isolated", "floating", "no-snat", "v6", "ecmp", "scopes", "scopes-no-snat", "ha"];

/// Everything of a router, in the shape of a file that can be read.
fn describe(wanted: &Wanted) -> String {
    let mut text = format!("namespace {}\n", wanted.namespace);
    for device in &wanted.devices {
        let mtu = device.mtu.unwrap_or_default();
        text += &format!("device {} tap {} mac {} mtu {mtu}\n", device.name, device.tap, device.mac);
        device.addresses.iter().for_each(|address| text += &format!("    address {address}\n"));
    }
    for (destination, hops) in &wanted.routes {
        text += &format!("route {destination}");
        for hop in hops {
            text += &hop.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
            text += &format!(" dev {}", hop.device);
        }
        text.push('\n');
    }
    for (key, value) in wanted.parameters.iter().filter(|(key, _)| key.contains("qg-")) {
        text += &format!("parameter {key} {value}\n");
    }
    text
}

fn compare(case: &str, file: &str, text: &str) {
    let path = format!("{}/tests/data/l3/{case}/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("ISOSPIN_WRITE_GOLDENS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "{path}");
}

#[test]
fn routers_become_what_their_files_say() {
    for case in CASES {
        let wanted = Wanted::new(&router(case), &config(), true);
        compare(case, "objects", &describe(&wanted));
        compare(case, "rules.nft", &wanted.rules.body);
        compare(case, "radvd.conf", &wanted.radvd.map(|radvd| radvd.text).unwrap_or_default());
        if let Some(keepalived) = &wanted.ha {
            compare(case, "keepalived.conf", &keepalived.text);
        }
    }
}

#[test]
fn each_case_has_its_files_and_no_file_is_without_a_case() {
    let directory = format!("{}/tests/data/l3", env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<String> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    let mut expected = CASES.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn what_is_not_to_be_served() {
    let mut told = router("isolated");
    assert!(is_served(&told, &config()));
    assert!(!is_served(&told, &Config { handle_internal_only_routers: false, ..config() }));
    told.admin_state_up = false;
    assert!(!is_served(&told, &config()));
    told.admin_state_up = true;
    told.distributed = true;
    assert!(!is_served(&told, &config()));
}

#[test]
fn a_port_that_is_down_has_no_device() {
    let mut told = router("v6");
    told.interfaces[0].admin_state_up = false;
    let wanted = Wanted::new(&told, &config(), true);
    assert!(!wanted.devices.iter().any(|device| device.port == told.interfaces[0].id));
    assert!(!wanted.radvd.unwrap().text.contains(&device::router_interface(told.interfaces[0].id)));
}

#[test]
fn without_an_ipv6_gateway_outside_it_is_learnt_or_given() {
    let mut told = router("v6");
    told.gw_port.as_mut().unwrap().subnets.retain(|subnet| matches!(subnet.cidr, IpNet::V4(_)));
    let key = "net/ipv6/conf/qg-33330009-00/accept_ra";
    let learnt = Wanted::new(&told, &config(), true);
    assert_eq!(learnt.parameters[key], "2");
    assert!(!learnt.routes.contains_key(&"::/0".parse().unwrap()));
    let given = Wanted::new(&told, &Config { ipv6_gateway: "fe80::99".parse().ok(), ..config() }, true);
    assert_eq!(given.parameters[key], "0");
    assert_eq!(given.routes[&"::/0".parse().unwrap()][0].gateway, "fe80::99".parse().ok());
}

#[test]
fn the_same_router_has_the_same_rules_however_its_parts_are_ordered() {
    let mut told = router("floating");
    let before = Wanted::new(&told, &config(), true).rules;
    told.floating_ips.reverse();
    assert_eq!(Wanted::new(&told, &config(), true).rules, before);
    told.floating_ips.pop();
    assert_ne!(Wanted::new(&told, &config(), true).rules.digest, before.digest);
}

#[test]
fn a_host_that_waits_neither_forwards_nor_speaks() {
    let serves = Wanted::new(&router("ha"), &config(), true);
    let waits = Wanted::new(&router("ha"), &config(), false);
    assert_eq!(serves.ha, waits.ha);
    assert_eq!(serves.ha.as_ref().unwrap().primary, "169.254.0.7/24".parse().unwrap());
    assert_eq!((serves.parameters[IPV6_FORWARDING], waits.parameters[IPV6_FORWARDING]), ("1", "0"));
    assert!(serves.radvd.is_some() && serves.metadata.is_some());
    assert!(waits.radvd.is_none() && waits.metadata.is_none());
    assert!(!serves.rules.body.contains("mld") && waits.rules.body.contains("mld"));
}

#[test]
fn a_primary_address_is_of_a_net_that_nobody_has() {
    let mut told = router("ha");
    told.ha_interface.as_mut().unwrap().fixed_ips[0].ip_address = "169.254.0.5".parse().unwrap();
    let primary = |told: &Router| Wanted::new(told, &config(), true).ha.unwrap().primary.to_string();
    assert_eq!(primary(&told), "169.254.128.7/24");
}

#[test]
fn the_way_out_is_checked_where_that_is_asked_for_and_there_is_one() {
    let mut config = config();
    config.ha.vrrp_health_check_interval = 5;
    let ha = |told: &Router, config: &Config| Wanted::new(told, config, true).ha.unwrap();
    let (never, checked) = (
        ha(&router("ha"), &Config { ha: Config::new("host-a", "/").ha, ..config.clone() }),
        ha(&router("ha"), &config),
    );
    assert!(never.check.text.is_none() && !never.text.contains("script"));
    assert_eq!(
        checked.check.text.unwrap(),
        "#!/bin/sh\n\
         ip -oneline address show dev ha-33330077-00 | grep -qF ' 169.254.0.7/24 ' || exit 0\n\
         ping -q -n -c 1 -w 1 -I qg-33330009-00 198.51.100.1 >/dev/null 2>&1 || exit 1\n\
         ping -q -n -c 1 -w 1 -I qg-33330009-00 fe80::1 >/dev/null 2>&1 || exit 1\n"
    );
    assert_eq!(checked.check.file.file_name().unwrap(), "ha_check_script_7.sh");
    let script =
        format!("vrrp_script ha_health_check_7 {{\n    script \"{}\"\n    interval 5\n", checked.check.file.display());
    assert!(checked.text.contains(&script) && checked.text.contains("track_script {\n        ha_health_check_7\n"));
    let mut inside_only = router("ha");
    inside_only.gw_port = None;
    assert!(ha(&inside_only, &config).check.text.is_none());
}
