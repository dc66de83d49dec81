//! What a change costs and what it ends.

use std::time::{Duration, Instant};

use kernel::{Kernel, LinkChange, xtables::Tool};
use types::{SecurityGroupId, device};

use crate::lab::{Lab, alive, answered, dead, egress, eventually, from_group, rule, rules, unanswered};

/// Connections that no rule allows any more end with the rule, and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_removed_rules_members_and_groups_end() {
    let lab = Lab::new().await;
    let agent = lab.agent();
    let web = SecurityGroupId::random();
    lab.server.set_members(web, &["10.0.0.7".to_owned()]);
    let both = [egress().to_vec(), vec![rule("ingress IPv4 tcp 22 22 -"), from_group("ingress IPv4 tcp 80 80 -", web)]];
    let group = lab.group(&both.concat());
    let server = lab.instance(&["10.0.0.5"], &[group]).await;
    let client = lab.instance(&["10.0.0.7"], &[]).await;
    server.serve_tcp(server.v4(), 22);
    server.serve_tcp(server.v4(), 80);
    let shell = client.connect(server.v4(), 22).await.unwrap();
    let page = client.connect(server.v4(), 80).await.unwrap();
    assert!(alive(&shell).await && alive(&page).await);

    lab.server.set_members(web, &["10.0.0.8".to_owned()]);
    lab.server.members_updated(web).await;
    eventually!("the member's connection ended", dead(&page).await);
    assert!(alive(&shell).await, "the other connection goes on");

    lab.server.set_members(web, &["10.0.0.7".to_owned()]);
    lab.server.members_updated(web).await;
    eventually!("the member is back", client.tcp(server.v4(), 80).await);
    eventually!("with the connection it had", alive(&page).await);
    let page = client.connect(server.v4(), 80).await.unwrap();
    lab.server.set_rules(group, [egress().to_vec(), vec![from_group("ingress IPv4 tcp 80 80 -", web)]].concat());
    lab.server.rules_updated(group).await;
    eventually!("the rule's connection ended", dead(&shell).await);
    assert!(alive(&page).await, "the other connection goes on");
    assert!(client.no_tcp(server.v4(), 22).await);
    agent.stop().await;
}

/// An entry that ended is of who was first seen to send, who need not have begun: the other side may, but for that does
/// not bring back what is no longer let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_ask_is_not_silenced_by_what_it_may_not_be_asked() {
    let lab = Lab::new().await;
    let agent = lab.agent();
    let group = lab.group(&rules(&["ingress IPv4 udp 53 53 -"]));
    let server = lab.instance(&["10.0.0.5"], &[group]).await;
    let own = lab.group(&rules(&["ingress IPv4 udp 4000 4000 -"]));
    let client = lab.instance(&["10.0.0.7"], &[own]).await;
    let (asking, answering) = (client.socket(4000), server.socket(53));
    // As seen on a host to which the client comes while it is being answered.
    eventually!("the server's packets arrive", {
        answering.send_to(b"answer", (client.v4(), 4000)).unwrap();
        asking.recv(&mut [0; 16]).is_ok()
    });
    drop(answering);
    server.serve_udp(server.v4(), 53);
    assert!(answered(&asking, server.v4(), 53).await);

    lab.server.set_rules(own, egress().to_vec());
    lab.server.rules_updated(own).await;
    eventually!("what the server began has ended", unanswered(&asking, server.v4(), 53).await);
    eventually!("what the client begins is let pass", answered(&asking, server.v4(), 53).await);

    // The server may send where it wants, so whoever asks it could be taken for somebody who is asked.
    lab.server.set_rules(group, egress().to_vec());
    lab.server.rules_updated(group).await;
    eventually!("the rule's connection ended", unanswered(&asking, server.v4(), 53).await);
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(8) {
        assert!(unanswered(&asking, server.v4(), 53).await, "after {:?}", began.elapsed());
    }
    agent.stop().await;
}

/// Two networks with the same addresses, and in each of them the same connection, to the ports: each has a zone of its
/// own, and what ends in one goes on in the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_networks_with_the_same_addresses_are_apart() {
    let mut lab = Lab::new().await;
    let agent = lab.agent();
    let mut sides = Vec::new();
    for _ in 0..2 {
        let group = lab.group(&rules(&["ingress IPv4 udp 53 53 -"]));
        let server = lab.instance(&["10.0.0.5"], &[group]).await;
        let client = lab.instance(&["10.0.0.7"], &[]).await;
        server.serve_udp(server.v4(), 53);
        let socket = client.socket(4000);
        sides.push((group, server, socket));
        lab.next_network();
    }
    for (_, server, socket) in &sides {
        assert!(answered(socket, server.v4(), 53).await);
    }
    let root = lab.machine.system.root();
    let zones = || {
        let all = kernel::conntrack::list(&root, 4).unwrap();
        let ours = all.into_iter().filter(|it| it.original.source_port == Some(4000));
        ours.map(|it| (it.zone, it.mark != 0)).collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(zones().len(), 2, "{:?}", zones());
    assert!(!zones().contains_key(&0), "{:?}", zones());

    let (group, server, socket) = &sides[0];
    lab.server.set_rules(*group, egress().to_vec());
    lab.server.rules_updated(*group).await;
    eventually!("the rule's connection ended", unanswered(socket, server.v4(), 53).await);
    eventually!("its entry says so", zones().values().filter(|ended| **ended).count() == 1);
    let (_, server, socket) = &sides[1];
    assert!(answered(socket, server.v4(), 53).await, "the other network's goes on");
    agent.stop().await;
}

/// A neighbour asks an instance that was elsewhere and was let in there, as it no longer is: this host has seen both the
/// question and the answer, and what it remembers does not let the neighbour in when the instance comes here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_host_remembers_of_a_port_elsewhere_lets_nobody_in_when_it_arrives() {
    let lab = Lab::new().await;
    let agent = lab.agent();
    let group = lab.group(&egress());
    let client = lab.instance(&["10.0.0.7"], &[group]).await;
    let server = lab.instance(&["10.0.0.5"], &[group]).await;
    server.serve_udp(server.v4(), 53);
    let socket = client.socket(4000);
    lab.unplug(&server).await;
    lab.card(&server, "far0").await;
    let bridge = lab.root.link(&device::bridge(lab.network)).await.unwrap().unwrap().index;
    lab.root.link_set("far0", &LinkChange { master: Some(Some(bridge)), ..LinkChange::default() }).await.unwrap();
    eventually!("it answers from elsewhere", answered(&socket, server.v4(), 53).await);

    lab.root.link_delete("far0").await.unwrap();
    let tap = device::tap(server.port);
    lab.card(&server, &tap).await;
    eventually!("it is here", lab.root.link(&tap).await.unwrap().is_some_and(|tap| tap.master == Some(bridge)));
    assert!(unanswered(&socket, server.v4(), 53).await, "it was let in by what is remembered of its neighbour");
    agent.stop().await;
}

/// A group of 2,000 members gets one more: one element of one set, nothing else; and how long that takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_more_is_one_element_more() {
    for (lab, nft) in [(Lab::new().await, false), (Lab::untracked().await, true)] {
        let nft = nft || lab.config.firewall.driver == isospin_agent::linuxbridge::FirewallDriver::Nftables;
        let agent = lab.agent();
        let large = SecurityGroupId::random();
        let mut members: Vec<String> = (0..2000).map(|n| format!("10.1.{}.{}", n / 250, n % 250)).collect();
        lab.server.set_members(large, &members);
        let group = lab.group(&[egress().to_vec(), vec![from_group("ingress IPv4 tcp - - -", large)]].concat());
        for n in 0..4 {
            lab.instance(&[&format!("10.0.0.{n}")], &[group]).await;
        }
        let count = |text: &str| text.matches("10.1.").count();
        let looking = Instant::now();
        let before = lab.everything().await;
        let looking = looking.elapsed();
        assert_eq!(count(&before), 2000);
        lab.server.take_asked_groups();
        let mut times = Vec::new();
        for n in 0..20 {
            let member = format!("10.2.0.{n}");
            members.push(member.clone());
            lab.server.set_members(large, &members);
            let started = Instant::now();
            lab.server.members_updated(large).await;
            if nft {
                let has = |table: kernel::nft::Table| table.sets.values().any(|set| set.elements.contains(&member));
                eventually!(
                    "it is in force",
                    lab.root.nft_table("bridge", "isospin_ports").await.unwrap().is_some_and(has)
                );
            } else {
                let root = lab.machine.system.root();
                eventually!("it is in force", Tool::Ipset.save(&root).await.unwrap().contains(&format!(" {member}\n")));
            }
            times.push(started.elapsed());
        }
        times.sort();
        println!(
            "a member more of 2,000, nftables {nft}: median {:?}, worst {:?}, looking included",
            times[10], times[19]
        );
        let asked = lab.server.take_asked_groups();
        assert!(asked.iter().all(|devices| devices.len() == 1), "asked by one device each: {asked:?}");
        let after = lab.everything().await;
        let rest = |text: &str| {
            let mut words: Vec<String> = text.split([' ', ',', '\n']).map(str::to_owned).collect();
            words.retain(|word| !word.contains("10.1.") && !word.contains("10.2."));
            words.sort();
            words.dedup();
            words
        };
        assert_eq!(rest(&before), rest(&after), "nothing but elements changed");
        // Under emulation it is looking that takes the time.
        assert!(times[10] < Duration::from_secs(10) + 2 * looking, "{:?}, and looking took {looking:?}", times[10]);
        agent.stop().await;
    }
}

/// What one port's rules are refused for holds up no other, and the refused port is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_come_up_only_when_their_rules_are_in_force() {
    let lab = Lab::new().await;
    let agent = lab.agent();
    let group = lab.group(&rules(&["ingress IPv4 tcp 22 22 -"]));
    let mut ports = Vec::new();
    for n in 1..=10 {
        ports.push(lab.plug(&[&format!("10.0.0.{n}")], &[group]).await);
    }
    let ids: Vec<_> = ports.iter().map(|instance| instance.port).collect();
    eventually!("some port is up", ids.iter().any(|port| lab.server.are_up(&[*port])));
    for instance in ids.iter().filter(|port| lab.server.are_up(&[**port])) {
        let text = lab.everything().await;
        assert!(text.contains(&types::device::tap(*instance)), "up without rules");
    }
    eventually!("all are up", lab.server.are_up(&ids));
    agent.stop().await;
}

/// Many rules of a group, which may be one set: each lets in what it says and no more, also as there come more and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rules_let_in_what_each_of_them_says() {
    let lab = Lab::new().await;
    let agent = lab.agent();
    let wish = |ports: std::ops::Range<u16>| {
        let one = |port: u16| rule(&format!("ingress IPv4 tcp {port} {port} 10.0.0.7/32"));
        [egress().to_vec(), ports.map(one).collect()].concat()
    };
    let group = lab.group(&wish(20000..20040));
    let server = lab.instance(&["10.0.0.5"], &[group]).await;
    let client = lab.instance(&["10.0.0.7"], &[]).await;
    let other = lab.instance(&["10.0.0.8"], &[]).await;
    for port in [20000, 20039, 20040] {
        server.serve_tcp(server.v4(), port);
    }
    assert!(client.tcp(server.v4(), 20000).await && client.tcp(server.v4(), 20039).await);
    assert!(client.no_tcp(server.v4(), 20040).await && other.no_tcp(server.v4(), 20000).await);
    lab.server.set_rules(group, wish(20000..20041));
    lab.server.rules_updated(group).await;
    eventually!("a rule more", client.tcp(server.v4(), 20040).await);
    lab.server.set_rules(group, wish(20000..20010));
    lab.server.rules_updated(group).await;
    eventually!("most rules are gone", client.no_tcp(server.v4(), 20039).await);
    assert!(client.tcp(server.v4(), 20000).await && other.no_tcp(server.v4(), 20000).await);
    // As a word of its own it can be part of no identifier.
    let all = lab.everything().await;
    assert!(!all.split(|it: char| !it.is_alphanumeric()).any(|word| word == "20039"), "nothing is left of them: {all}");
    agent.stop().await;
}
