//! What the Linux bridge agent of release 25 puts in force with its iptables driver, for one port on a bridge: the
//! chains, their order, the zones and the sets of addresses.

use std::fmt::Write as _;

/// A port.
pub(super) struct Port<'a> {
    pub(super) tap: &'a str,
    pub(super) bridge: &'a str,
    pub(super) mac: &'a str,
    pub(super) address: &'a str,
}

/// Rules that let nothing in that is asked for, before the one that does.
pub(super) struct Load {
    pub(super) rules: usize,
    pub(super) members: usize,
}

const SET: &str = "NIPv41050d13f-c2e6-4906-ab55-";
const ZONE: u16 = 4097;
const WRAP: &str = "neutron-linuxbri";

/// For `ipset restore`.
pub(super) fn sets(load: &Load) -> String {
    let mut text = format!("create {SET} hash:net family inet maxelem 131072\n");
    for member in 0..load.members {
        let _ = writeln!(text, "add {SET} 10.9.{}.{}", member / 250, member % 250 + 1);
    }
    text
}

/// For `iptables-restore`.
pub(super) fn tables(ports: &[Port<'_>], load: &Load) -> String {
    let mut text = String::from("*raw\n");
    let _ = writeln!(text, ":{WRAP}-PREROUTING - [0:0]\n-A PREROUTING -j {WRAP}-PREROUTING");
    for port in ports {
        let rule = format!("-A {WRAP}-PREROUTING");
        let _ = writeln!(text, "{rule} -m physdev --physdev-in {} -j CT --zone {ZONE}", port.bridge);
        let _ = writeln!(text, "{rule} -i {} -j CT --zone {ZONE}", port.bridge);
        let _ = writeln!(text, "{rule} -m physdev --physdev-in {} -j CT --zone {ZONE}", port.tap);
    }
    text.push_str("COMMIT\n*filter\n");
    text.push_str(":neutron-filter-top - [0:0]\n");
    for chain in ["FORWARD", "INPUT", "OUTPUT", "local", "sg-chain", "sg-fallback"] {
        let _ = writeln!(text, ":{WRAP}-{chain} - [0:0]");
    }
    for device in ports.iter().map(device) {
        for letter in ["i", "o", "s"] {
            let _ = writeln!(text, ":{WRAP}-{letter}{device} - [0:0]");
        }
    }
    text.push_str("-A FORWARD -j neutron-filter-top\n-A OUTPUT -j neutron-filter-top\n");
    let _ = writeln!(text, "-A neutron-filter-top -j {WRAP}-local");
    let _ = writeln!(text, "-A FORWARD -j {WRAP}-FORWARD\n-A INPUT -j {WRAP}-INPUT\n-A OUTPUT -j {WRAP}-OUTPUT");
    for port in ports {
        for direction in ["out", "in"] {
            let matching = format!("-m physdev --physdev-{direction} {} --physdev-is-bridged", port.tap);
            let _ = writeln!(text, "-A {WRAP}-FORWARD {matching} -j {WRAP}-sg-chain");
        }
        let matching = format!("-m physdev --physdev-in {} --physdev-is-bridged", port.tap);
        let _ = writeln!(text, "-A {WRAP}-INPUT {matching} -j {WRAP}-o{}", device(port));
    }
    for port in ports {
        for (direction, letter) in [("out", "i"), ("in", "o")] {
            let matching = format!("-m physdev --physdev-{direction} {} --physdev-is-bridged", port.tap);
            let _ = writeln!(text, "-A {WRAP}-sg-chain {matching} -j {WRAP}-{letter}{}", device(port));
        }
    }
    let _ = writeln!(text, "-A {WRAP}-sg-chain -j ACCEPT\n-A {WRAP}-sg-fallback -j DROP");
    for port in ports {
        port_chains(&mut text, port, load);
    }
    text.push_str("COMMIT\n");
    text
}

/// For `ebtables-restore`: from which MAC a port sends, and as whom it speaks ARP.
pub(super) fn frames(ports: &[Port<'_>]) -> String {
    let (mut chains, mut rules) = (String::new(), String::new());
    for Port { tap, mac, address, .. } in ports {
        let _ = writeln!(chains, ":neutronMAC-{tap} DROP\n:neutronARP-{tap} DROP");
        let _ = writeln!(rules, "-A PREROUTING -i {tap} -j neutronMAC-{tap}");
        let _ = writeln!(rules, "-A PREROUTING -p ARP -i {tap} -j neutronARP-{tap}");
        let _ = writeln!(rules, "-A neutronMAC-{tap} -i {tap} --among-src {mac} -j RETURN");
        let _ = writeln!(rules, "-A neutronARP-{tap} -p ARP --arp-ip-src {address} -j ACCEPT");
    }
    format!("*nat\n{chains}{rules}COMMIT\n")
}

fn device(port: &Port<'_>) -> String {
    port.tap.trim_start_matches("tap").chars().take(10).collect()
}

fn port_chains(text: &mut String, port: &Port<'_>, load: &Load) {
    let device = device(port);
    let (into, out, source) =
        (format!("-A {WRAP}-i{device}"), format!("-A {WRAP}-o{device}"), format!("-A {WRAP}-s{device}"));
    let _ = writeln!(text, "{into} -m state --state RELATED,ESTABLISHED -j RETURN");
    let _ = writeln!(text, "{into} -d {}/32 -p udp -m udp --sport 67 --dport 68 -j RETURN", port.address);
    let _ = writeln!(text, "{into} -d 255.255.255.255/32 -p udp -m udp --sport 67 --dport 68 -j RETURN");
    let _ = writeln!(text, "{into} -m set --match-set {SET} src -j RETURN");
    for rule in 0..load.rules {
        let _ = writeln!(
            text,
            "{into} -s 172.16.{}.{}/32 -p udp -m udp --dport {} -j RETURN",
            rule / 256,
            rule % 256,
            1 + rule % 60_000
        );
    }
    let _ = writeln!(text, "{into} -p tcp -j RETURN\n{into} -p udp -j RETURN\n{into} -p icmp -j RETURN");
    let _ = writeln!(text, "{into} -m state --state INVALID -j DROP\n{into} -j {WRAP}-sg-fallback");
    let _ = writeln!(text, "{out} -s 0.0.0.0/32 -d 255.255.255.255/32 -p udp -m udp --sport 68 --dport 67 -j RETURN");
    let _ = writeln!(text, "{out} -j {WRAP}-s{device}");
    let _ = writeln!(
        text,
        "{out} -p udp -m udp --sport 68 --dport 67 -j RETURN\n{out} -p udp -m udp --sport 67 --dport 68 -j DROP"
    );
    let _ = writeln!(text, "{out} -m state --state RELATED,ESTABLISHED -j RETURN\n{out} -j RETURN");
    let _ = writeln!(text, "{out} -m state --state INVALID -j DROP\n{out} -j {WRAP}-sg-fallback");
    let _ =
        writeln!(text, "{source} -s {}/32 -m mac --mac-source {} -j RETURN\n{source} -j DROP", port.address, port.mac);
}
