//! Restarts, swaps of drivers, and what is left when ports go.

use std::time::Duration;

use isospin_agent::linuxbridge::FirewallDriver;

use crate::lab::{Lab, alive, eventually, rules};

/// kill -9 under a flow: the flow goes on, rules stay while nobody looks, and are not made anew by the next agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_changes_nothing_and_opens_nothing() {
    let lab = Lab::new().await;
    let agent = lab.agent();
    let group = lab.group(&rules(&["ingress IPv4 tcp 22 22 -", "ingress IPv4 icmp - - -"]));
    let server = lab.instance(&["10.0.0.5", "2001:db8::5"], &[group]).await;
    let client = lab.instance(&["10.0.0.7", "2001:db8::7"], &[]).await;
    server.serve_tcp(server.v4(), 22);
    server.serve_tcp(server.v4(), 23);
    let stream = client.connect(server.v4(), 22).await.unwrap();
    assert!(alive(&stream).await);
    let before = lab.everything().await;

    let (from, to) = (client.namespace.clone(), server.v4());
    let traffic = tokio::task::spawn_blocking(move || kernel::testing::ping(&from, to, 150));
    tokio::time::sleep(Duration::from_millis(200)).await;
    agent.stop().await;
    assert!(alive(&stream).await && client.no_tcp(server.v4(), 23).await);
    lab.server.forget();
    let agent = lab.agent();
    eventually!("both are up again", lab.server.are_up(&[server.port, client.port]));
    assert!(alive(&stream).await && client.no_tcp(server.v4(), 23).await);
    assert!(traffic.await.unwrap(), "packets were lost");
    assert_eq!(lab.everything().await, before);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_when_ports_go() {
    for lab in [Lab::new().await, Lab::untracked().await] {
        let before = lab.everything().await;
        let agent = lab.agent();
        let group = lab.group(&rules(&["ingress IPv4 tcp 22 22 -"]));
        let a = lab.instance(&["10.0.0.5", "2001:db8::5"], &[group]).await;
        let b = lab.instance(&["10.0.0.6"], &[group]).await;
        let c = lab.instance(&["10.0.0.7"], &[]).await;
        assert_ne!(lab.everything().await, before);
        lab.unplug(&a).await;
        let name = types::device::tap(a.port)[3..].to_owned();
        eventually!("the first one's rules are gone", !lab.everything().await.contains(&name[..10]));
        assert!(lab.everything().await.contains(&types::device::tap(b.port)));
        lab.unplug(&b).await;
        lab.unplug(&c).await;
        eventually!("all is gone", lab.everything().await == before);
        agent.stop().await;
    }
}

/// One driver takes over from the other: there is always one in force, and in the end only the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_take_over_from_one_another() {
    let mut lab = Lab::untracked().await;
    let agent = lab.agent();
    let group = lab.group(&rules(&["ingress IPv4 tcp 22 22 -", "ingress IPv4 tcp 32768 65535 -"]));
    let server = lab.instance(&["10.0.0.5"], &[group]).await;
    let client = lab.instance(&["10.0.0.7"], &[]).await;
    server.serve_tcp(server.v4(), 22);
    server.serve_tcp(server.v4(), 23);
    assert!(client.tcp(server.v4(), 22).await && client.no_tcp(server.v4(), 23).await);
    let by_nftables = lab.everything().await;
    agent.stop().await;

    lab.config.firewall.driver = FirewallDriver::Iptables;
    let agent = lab.agent();
    eventually!("nftables is gone", !lab.has_table().await);
    assert!(lab.everything().await.contains("neutron-linuxbri-sg-chain"));
    assert!(client.tcp(server.v4(), 22).await && client.no_tcp(server.v4(), 23).await);
    agent.stop().await;

    lab.config.firewall.driver = FirewallDriver::Nftables;
    let agent = lab.agent();
    eventually!("iptables is gone", lab.everything().await == by_nftables);
    assert!(client.tcp(server.v4(), 22).await && client.no_tcp(server.v4(), 23).await);
    agent.stop().await;
}

/// What is drifted is repaired when the agent looks again, as at its start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_repaired() {
    let lab = Lab::new().await;
    let agent = lab.agent();
    let group = lab.group(&rules(&["ingress IPv4 tcp 22 22 -"]));
    let server = lab.instance(&["10.0.0.5"], &[group]).await;
    let before = lab.everything().await;
    agent.stop().await;
    let root = lab.machine.system.root();
    if lab.config.firewall.driver == FirewallDriver::Iptables {
        let chain = format!("neutron-linuxbri-i{}", &types::device::tap(server.port)[3..13]);
        let script = format!("*filter\n:{chain} - [0:0]\nCOMMIT\n");
        kernel::xtables::Tool::Iptables.restore(&root, &script).await.unwrap();
    } else {
        use kernel::Kernel;
        let chain = format!("i-{}", types::device::tap(server.port));
        lab.root.nft(&format!("flush chain bridge isospin_ports {chain}\n")).await.unwrap();
    }
    assert_ne!(lab.everything().await, before);
    let agent = lab.agent();
    eventually!("it is as it was", lab.everything().await == before);
    agent.stop().await;
}

/// A driver that this kernel cannot do is refused, with the reason; `auto` takes nftables where it can, else iptables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_cannot_work_is_refused_with_the_reason() {
    let asked = Lab::new().await.config.firewall.driver;
    let mut lab = Lab::untracked().await;
    lab.config.firewall.tracking = true;
    let run = isospin_agent::linuxbridge::run(lab.config.clone(), lab.server.bus.clone(), std::future::ready(()));
    let refused = run.await.err().map(|error| error.to_string());
    assert!(refused.is_none() || asked == FirewallDriver::Iptables, "{refused:?}");
    let reason = "firewall_driver = nftables cannot work on this host: this kernel does not track";
    assert!(refused.iter().all(|text| text.starts_with(reason)), "{refused:?}");
    lab.config.firewall.driver = FirewallDriver::Auto;
    let agent = lab.agent();
    let group = lab.group(&rules(&[]));
    lab.instance(&["10.0.0.5"], &[group]).await;
    let (nftables, iptables) = (lab.has_table().await, lab.everything().await.contains("neutron-linuxbri-sg-chain"));
    assert_eq!((nftables, iptables), (refused.is_none(), refused.is_some()), "{refused:?}");
    println!("auto: {}", if nftables { "nftables" } else { "iptables" });
    agent.stop().await;
}
