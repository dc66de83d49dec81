//! What rules let pass, by connections, datagrams and pings.

use rpc::security_group::Rule;
use types::SecurityGroupId;

use crate::lab::{Lab, egress, from_group, rule, rules};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_let_pass_what_they_say_and_nothing_else() {
    let lab = Lab::new().await;
    let agent = lab.agent();
    let group = lab.group(&rules(&[
        "ingress IPv4 tcp 22 22 -",
        "ingress IPv4 tcp 8000 8010 10.0.0.0/28",
        "ingress IPv4 17 53 53 10.0.0.1/32",
        "ingress IPv6 tcp 22 22 2001:db8::/64",
        "ingress IPv6 udp 53 53 2001:db8:f::/64",
        "ingress IPv4 icmp 8 0 -",
        "ingress IPv6 ipv6-icmp 128 - -",
    ]));
    let server = lab.instance(&["10.0.0.5", "2001:db8::5"], &[group]).await;
    let near = lab.instance(&["10.0.0.1", "2001:db8::1"], &[]).await;
    let far = lab.instance(&["10.0.0.99", "2001:db8::99"], &[]).await;
    for address in [server.v4(), server.v6()] {
        [22, 23, 8000, 8010, 8011].into_iter().for_each(|port| server.serve_tcp(address, port));
        server.serve_udp(address, 53);
        server.serve_udp(address, 54);
    }
    assert!(near.tcp(server.v4(), 22).await && far.tcp(server.v4(), 22).await);
    assert!(near.no_tcp(server.v4(), 23).await);
    assert!(near.tcp(server.v4(), 8000).await && near.tcp(server.v4(), 8010).await);
    assert!(near.no_tcp(server.v4(), 8011).await && far.no_tcp(server.v4(), 8000).await);
    assert!(near.udp(server.v4(), 53).await);
    assert!(near.no_udp(server.v4(), 54).await && far.no_udp(server.v4(), 53).await);
    assert!(near.tcp(server.v6(), 22).await);
    assert!(near.no_tcp(server.v6(), 8000).await && near.no_udp(server.v6(), 53).await);
    assert!(near.pings(server.v4()).await && near.pings(server.v6()).await);
    agent.stop().await;
}

/// Answers pass without a rule, in both directions, and only answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_pass_and_ports_without_rules_are_closed() {
    let lab = Lab::new().await;
    let agent = lab.agent();
    let only_out = lab.group(&egress());
    let nothing = lab.group(&[]);
    let client = lab.instance(&["10.0.0.5", "2001:db8::5"], &[only_out]).await;
    let silent = lab.instance(&["10.0.0.6", "2001:db8::6"], &[nothing]).await;
    let server = lab.instance(&["10.0.0.7", "2001:db8::7"], &[]).await;
    for address in [server.v4(), server.v6()] {
        server.serve_tcp(address, 80);
        server.serve_udp(address, 53);
        assert!(client.tcp(address, 80).await && client.udp(address, 53).await && client.pings(address).await);
        assert!(silent.no_tcp(address, 80).await && silent.no_udp(address, 53).await);
    }
    client.serve_tcp(client.v4(), 80);
    assert!(server.no_tcp(client.v4(), 80).await && server.no_pings(client.v4()).await);
    agent.stop().await;
}

/// Only the first piece of a datagram has ports, and an error about one has none of its own: tracked, they pass with what
/// they belong to, and with nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_and_errors_pass_with_what_they_belong_to() {
    const LARGE: usize = 4000;
    let lab = Lab::new().await;
    let agent = lab.agent();
    let group = lab.group(&rules(&["ingress IPv4 udp 53 54 -", "ingress IPv6 udp 53 54 -"]));
    let server = lab.instance(&["10.0.0.5", "2001:db8::5"], &[group]).await;
    let only_out = lab.group(&egress());
    let client = lab.instance(&["10.0.0.7", "2001:db8::7"], &[only_out]).await;
    for address in [server.v4(), server.v6()] {
        server.serve_udp(address, 53);
        server.serve_udp(address, 55);
        client.datagram(address, 53, LARGE).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        // Nobody listens, and the host says so; or the datagram does not even arrive.
        let refused = client.datagram(address, 54, 1).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(client.no_datagram(address, 55, LARGE).await);
    }
    agent.stop().await;
}

/// Members of a group, of an address group, and their changes, between two ports of one host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_addresses_are_the_other_side() {
    let lab = Lab::new().await;
    let agent = lab.agent();
    let (web, addresses) = (SecurityGroupId::random(), SecurityGroupId::random());
    let by_address = Rule { remote_address_group_id: Some(addresses.to_string()), ..rule("ingress IPv4 tcp 81 81 -") };
    let group = lab.group(&[egress().to_vec(), vec![from_group("ingress IPv4 tcp 80 80 -", web), by_address]].concat());
    let six = Rule { ..from_group("ingress IPv6 tcp 80 80 -", web) };
    let both = lab.group(&[six]);
    lab.server.set_rules(web, egress().to_vec());
    lab.server.set_members(web, &["10.0.0.6".to_owned(), "2001:db8::6".to_owned()]);
    lab.server.set_members(addresses, &["10.0.0.64/26".to_owned(), "0.0.0.0/32".to_owned()]);
    let server = lab.instance(&["10.0.0.5", "2001:db8::5"], &[group, both]).await;
    let member = lab.instance(&["10.0.0.6", "2001:db8::6"], &[web]).await;
    let other = lab.instance(&["10.0.0.70", "2001:db8::70"], &[web]).await;
    for address in [server.v4(), server.v6()] {
        server.serve_tcp(address, 80);
        server.serve_tcp(address, 81);
    }
    assert!(member.tcp(server.v4(), 80).await && member.tcp(server.v6(), 80).await);
    assert!(member.no_tcp(server.v4(), 81).await);
    assert!(other.no_tcp(server.v4(), 80).await && other.no_tcp(server.v6(), 80).await);
    assert!(other.tcp(server.v4(), 81).await);
    agent.stop().await;
}

async fn without_state(lab: Lab) {
    let agent = lab.agent();
    let stateless = |text: &str| Rule { stateful: Some(false), ..rule(text) };
    let all: Vec<Rule> = ["egress IPv4", "egress IPv6", "ingress IPv4 tcp 80 80 -"].map(stateless).into();
    let group = lab.group(&all);
    let port = lab.instance(&["10.0.0.5", "2001:db8::5"], &[group]).await;
    let peer = lab.instance(&["10.0.0.7", "2001:db8::7"], &[]).await;
    port.serve_tcp(port.v4(), 80);
    peer.serve_tcp(peer.v4(), 90);
    peer.serve_udp(peer.v4(), 53);
    assert!(peer.tcp(port.v4(), 80).await);
    // An answer comes from port 90 or 53, and no rule lets that in.
    assert!(port.no_tcp(peer.v4(), 90).await && port.no_udp(peer.v4(), 53).await);
    assert!(peer.no_tcp(port.v4(), 81).await);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_without_state_lets_no_answers_pass() {
    without_state(Lab::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_without_state_lets_no_answers_pass_with_nftables() {
    without_state(Lab::untracked().await).await;
}

/// Rules of every protocol that has a name, and by number: the kernel takes them all, and they settle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_protocol_of_the_api_is_understood() {
    for lab in [Lab::new().await, Lab::untracked().await] {
        let agent = lab.agent();
        let names = [
            "ah",
            "dccp",
            "egp",
            "esp",
            "gre",
            "icmp",
            "igmp",
            "ipip",
            "ipv6-encap",
            "ipv6-frag",
            "ipv6-icmp",
            "ipv6-nonxt",
            "ipv6-opts",
            "ipv6-route",
            "ospf",
            "pgm",
            "rsvp",
            "sctp",
            "tcp",
            "udp",
            "udplite",
            "vrrp",
            "0",
            "any",
            "99",
            "255",
        ];
        let mut all = Vec::new();
        for name in names {
            for family in ["IPv4", "IPv6"] {
                all.push(rule(&format!("ingress {family} {name}")));
                all.push(rule(&format!("egress {family} {name}")));
            }
        }
        for name in ["tcp", "udp", "dccp", "sctp", "udplite"] {
            all.push(rule(&format!("ingress IPv4 {name} 5 5 -")));
            all.push(rule(&format!("ingress IPv6 {name} 5 50 2001:db8::/32")));
            all.push(rule(&format!("egress IPv4 {name} 1 65535 10.0.0.0/8")));
            all.push(rule(&format!("egress IPv4 {name} 7 7 10.1.0.0/16")));
        }
        all.extend(rules(&["ingress IPv4 icmp 3 4 -", "ingress IPv6 icmpv6 1 - -", "ingress IPv4 tcp - - 0.0.0.0/0"]));
        let group = lab.group(&all);
        let port = lab.instance(&["10.0.0.5", "2001:db8::5"], &[group]).await;
        assert!(lab.server.are_up(&[port.port]));
        agent.stop().await;
    }
}
