//! nftables on the real kernel. Needs root and libnftables1.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::time::Instant;

use isospin_kernel::{Host, Kernel, fake::FakeHost, nft::Nft, testing::Machine};

const SCRIPT: &str = "\
add table inet t { comment \"made by a test\"; }
add set inet t s { type ipv4_addr; flags interval; }
add chain inet t c { comment \"rev 1\"; }
add rule inet t c ip saddr @s tcp dport { 22, 80-90 } accept comment \"allowed\"
add element inet t s { 10.0.0.0/24, 10.0.1.1 }
";

#[tokio::test]
async fn a_script_is_in_force_whole_or_not_at_all() {
    let machine = Machine::new().await.unwrap();
    let nft = Nft::open(&machine.system.root()).unwrap();
    assert_eq!(nft.tables().unwrap(), []);
    assert_eq!(nft.table("inet", "t").unwrap(), None);
    nft.run(SCRIPT).unwrap();
    let table = nft.table("inet", "t").unwrap().unwrap();
    assert_eq!(table.comment.as_deref(), Some("made by a test"));
    assert_eq!(table.chains["c"].comment.as_deref(), Some("rev 1"));
    assert_eq!(table.chains["c"].rules[0].text, "ip saddr @s tcp dport { 22, 80-90 } accept");
    assert_eq!(table.chains["c"].rules[0].comment.as_deref(), Some("allowed"));
    assert_eq!(table.sets["s"].elements, ["10.0.0.0/24", "10.0.1.1"]);

    let error = nft.run("flush chain inet t c\nadd rule inet t nowhere accept\n").unwrap_err();
    assert!(error.is_missing(), "{error}");
    assert!(error.to_string().contains("add rule inet t nowhere accept"), "{error}");
    assert_eq!(nft.table("inet", "t").unwrap().unwrap(), table);

    // One element is added and no other touched; a table is swapped for another in one go.
    nft.run("add element inet t s { 10.0.2.1 }").unwrap();
    assert_eq!(nft.table("inet", "t").unwrap().unwrap().sets["s"].elements.len(), 3);
    nft.run("add table inet t\ndelete table inet t\nadd table inet t { comment \"second\"; }\n").unwrap();
    let table = nft.table("inet", "t").unwrap().unwrap();
    assert_eq!((table.comment.as_deref(), table.sets.len()), (Some("second"), 0));
    nft.run("delete table inet t").unwrap();
    assert_eq!(nft.tables().unwrap(), []);
}

#[tokio::test]
async fn rules_are_of_the_namespace_they_were_made_in() {
    let machine = Machine::new().await.unwrap();
    let inside = machine.system.namespace_create("qrouter-1").unwrap();
    let (root, router) = (machine.netlink().unwrap(), inside.open().unwrap());
    router.nft("add table ip nat").await.unwrap();
    assert_eq!(router.nft_tables().await.unwrap(), [("ip".to_owned(), "nat".to_owned())]);
    assert_eq!(root.nft_tables().await.unwrap(), []);
}

/// The kernel in memory understands the same scripts.
#[tokio::test]
async fn the_fake_answers_as_the_kernel_does() {
    let (machine, fake) = (Machine::new().await.unwrap(), FakeHost::new());
    let (real, fake) = (machine.netlink().unwrap(), fake.root().unwrap());
    let block = "table bridge b {\n map m {\n type ifname : verdict\n elements = { \"tap1\" : jump p }\n }\n \
                 chain p {\n ip saddr 10.0.0.1 accept\n drop\n }\n}\n";
    let steps = [
        SCRIPT,
        "delete element inet t s { 10.0.1.1 }\nadd element inet t s { 10.0.3.0/24 }",
        block,
        "flush chain bridge b p\nadd rule bridge b p counter drop comment \"x\"",
        "delete element bridge b m { \"tap1\" }",
        "add rule inet t nowhere accept",
        "delete chain bridge b p\nflush set inet t s",
        "delete table inet t",
    ];
    for step in steps {
        let (ours, theirs) = (fake.nft(step).await, real.nft(step).await);
        assert_eq!(ours.is_ok(), theirs.is_ok(), "{step}: {ours:?}, {theirs:?}");
        assert_eq!(fake.nft_tables().await.unwrap(), real.nft_tables().await.unwrap());
        for (family, name) in [("inet", "t"), ("bridge", "b")] {
            let (ours, theirs) = (fake.nft_table(family, name).await.unwrap(), real.nft_table(family, name).await);
            assert_eq!(ours, theirs.unwrap(), "{step}");
        }
    }
}

#[tokio::test]
async fn one_element_of_many_costs_microseconds() {
    let machine = Machine::new().await.unwrap();
    let nft = Nft::open(&machine.system.root()).unwrap();
    let address = |n: usize| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
    let all: Vec<String> = (0..2000).map(address).collect();
    nft.run("add table ip t\nadd set ip t s { type ipv4_addr; }").unwrap();
    nft.run(&format!("add element ip t s {{ {} }}", all.join(", "))).unwrap();
    let mut times = Vec::new();
    for n in 2001..2101 {
        let started = Instant::now();
        nft.run(&format!("add element ip t s {{ {} }}", address(n * 2))).unwrap();
        times.push(started.elapsed());
    }
    times.sort();
    println!("one element added to 2,000: median {:?}, worst {:?}", times[50], times[99]);
    assert_eq!(nft.table("ip", "t").unwrap().unwrap().sets["s"].elements.len(), 2100);
}
