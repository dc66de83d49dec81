use kernel::{Errno, Kind, Link, fake::FakeHost};
use rpc::l3::Router;
use types::device;

use super::*;
use crate::l3::testing::{config, router};

/// A driver on a kernel in memory. It has no radvd, so only routers without advertisements settle.
fn driver(host: &FakeHost) -> Driver<FakeHost> {
    let state = STATE.with(|directory| directory.path().to_owned());
    Driver::new(Arc::new(Config::new("host-a", state)), host.clone()).unwrap()
}

thread_local! {
    /// The files of a test.
    static STATE: tempfile::TempDir = tempfile::tempdir().unwrap();
}

fn wanted(told: &Router) -> Wanted {
    Wanted::new(told, &config(), true)
}

fn namespace(told: &Router) -> String {
    device::router_namespace(told.id)
}

async fn addresses(host: &FakeHost, told: &Router) -> Vec<String> {
    let inside = host.open(&namespace(told)).unwrap();
    let mut addresses: Vec<String> =
        inside.addresses().await.unwrap().iter().map(|address| address.net.to_string()).collect();
    addresses.sort();
    addresses
}

async fn settle(driver: &Driver<FakeHost>, host: &FakeHost, told: &Router) {
    let outcome = driver.reconcile(&wanted(told)).await.unwrap();
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    host.take_changes();
    driver.reconcile(&wanted(told)).await.unwrap();
    assert_eq!(host.take_changes(), Vec::<String>::new(), "a second time there is nothing to do");
}

#[tokio::test]
async fn routers_settle() {
    for case in ["isolated", "floating", "no-snat", "ecmp", "scopes", "scopes-no-snat"] {
        let host = FakeHost::new();
        let (driver, told) = (driver(&host), router(case));
        settle(&driver, &host, &told).await;
        assert_eq!(driver.routers().await.unwrap(), BTreeSet::from([told.id]));
        driver.tear_down(told.id).await.unwrap();
        assert_eq!(driver.routers().await.unwrap(), BTreeSet::new());
        let links = host.root().unwrap().links().await.unwrap();
        assert_eq!(links.len(), 1, "only the loopback is left: {links:?}");
    }
}

#[tokio::test]
async fn from_any_router_to_any_other() {
    let cases = ["isolated", "floating", "no-snat", "ecmp", "scopes", "scopes-no-snat"];
    for before in cases {
        for after in cases {
            let host = FakeHost::new();
            let driver = driver(&host);
            settle(&driver, &host, &router(before)).await;
            settle(&driver, &host, &router(after)).await;
        }
    }
}

#[tokio::test]
async fn a_change_of_one_floating_ip_touches_nothing_else() {
    let host = FakeHost::new();
    let (driver, mut told) = (driver(&host), router("floating"));
    settle(&driver, &host, &told).await;
    told.floating_ips.pop();
    driver.reconcile(&wanted(&told)).await.unwrap();
    let changes: Vec<String> = host.take_changes().into_iter().filter(|change| !change.starts_with("nft ")).collect();
    assert_eq!(changes, ["delete address 203.0.113.32/32"]);
    assert_eq!(addresses(&host, &told).await, ["10.0.0.1/24", "203.0.113.10/24", "203.0.113.31/32"]);
}

#[tokio::test]
async fn an_address_that_cannot_be_set_keeps_no_other_from_working() {
    let host = FakeHost::new();
    let (driver, told) = (driver(&host), router("floating"));
    host.fail("set address 203.0.113.31", Errno::EINVAL, 1);
    let outcome = driver.reconcile(&wanted(&told)).await.unwrap();
    assert_eq!(Vec::from_iter(outcome.without), [told.floating_ips[0].floating_ip_address]);
    assert!(outcome.error.is_some());
    assert!(addresses(&host, &told).await.contains(&"203.0.113.32/32".to_owned()));
    settle(&driver, &host, &told).await;
}

#[tokio::test]
async fn what_was_cut_short_is_finished() {
    // However far a former attempt came, the next one completes it.
    let (mut failures, told) = (0, router("floating"));
    for request in ["create namespace", "write sysctl", "create link", "nft script", "set address", "set route"] {
        for nth in 0..3 {
            let host = FakeHost::new();
            let driver = driver(&host);
            host.fail(request, Errno::ENOMEM, nth);
            failures += usize::from(driver.reconcile(&wanted(&told)).await.is_err());
            host.fail(request, Errno::ENOMEM, 0);
            for _ in 0..3 {
                let _ = driver.reconcile(&wanted(&told)).await;
            }
            settle(&driver, &host, &told).await;
        }
    }
    assert!(failures >= 3, "{failures}");
}

#[tokio::test]
async fn connections_that_were_not_ended_are_by_the_next_agent() {
    let host = FakeHost::new();
    let (first, mut told) = (driver(&host), router("floating"));
    settle(&first, &host, &told).await;
    told.floating_ips.pop();
    // As if killed between the rules and what they end.
    host.fail("end connections", Errno::ENOMEM, 1);
    first.reconcile(&wanted(&told)).await.unwrap_err();
    host.take_changes();
    let next = driver(&host);
    next.reconcile(&wanted(&told)).await.unwrap();
    let changes = host.take_changes();
    assert!(changes.iter().any(|change| change.starts_with("nft ")), "{changes:?}");
    settle(&next, &host, &told).await;
}

#[tokio::test]
async fn addresses_that_were_not_announced_are_by_the_next_agent() {
    let host = FakeHost::new();
    let told = router("floating");
    settle(&driver(&host), &host, &told).await;
    // As if killed between the last address and its announcement.
    let next = driver(&host);
    next.note(told.id, Unfinished::Announcements, true);
    next.reconcile(&wanted(&told)).await.unwrap();
    let mut changes = Vec::new();
    while !changes.iter().any(|change: &String| change.starts_with("announce ")) {
        tokio::task::yield_now().await;
        changes.extend(host.take_changes());
    }
    assert!(changes.iter().any(|change| change.contains("203.0.113.31")), "{changes:?}");
    assert_eq!(changes.iter().filter(|change| !change.starts_with("announce ")).count(), 0, "{changes:?}");
}

#[test]
fn programs_read_what_was_written_for_them() {
    for (case, what, step) in
        [("ha", Unfinished::Keepalived, Step::ReloadKeepalived), ("v6", Unfinished::Radvd, Step::ReloadRadvd)]
    {
        let wanted = wanted(&router(case));
        let running = |command: &Vec<String>| Some(Running { arguments: command.clone(), here: true });
        let mut state = State {
            keepalived_file: wanted.ha.as_ref().map(|it| it.text.clone()),
            keepalived: wanted.ha.as_ref().and_then(|it| running(&it.command)),
            radvd_file: wanted.radvd.as_ref().map(|it| it.text.clone()),
            radvd: wanted.radvd.as_ref().and_then(|it| running(&it.command)),
            ..State::default()
        };
        // Its devices stand, so they are no reason.
        let link = |name: &String| Link {
            index: 1,
            name: name.clone(),
            kind: Kind::Veth,
            mac: None,
            mtu: 1500,
            up: true,
            master: None,
            parent: None,
            alias: None,
            group: 0,
        };
        state.links = wanted.devices.iter().map(|device| link(&device.name)).collect();
        state.taps = wanted.devices.iter().map(|device| (device.tap.clone(), link(&device.tap))).collect();
        assert!(!plan(&wanted, &state).contains(&step), "{case}");
        // An agent was killed after it wrote the file.
        state.unfinished = Unfinished::read(&Unfinished::write(&[what].into()));
        assert!(plan(&wanted, &state).contains(&step), "{case}");
    }
}

#[tokio::test]
async fn rules_of_upstreams_agent_go_when_ours_stand() {
    let host = FakeHost::new();
    let (driver, told) = (driver(&host), router("floating"));
    driver.reconcile(&wanted(&told)).await.unwrap();
    let inside = host.open(&namespace(&told)).unwrap();
    inside.nft("table ip nat {\n    chain neutron-l3-agent-PREROUTING {\n    }\n}\n").await.unwrap();
    inside.nft("table ip filter {\n    chain INPUT {\n    }\n}\n").await.unwrap();
    host.take_changes();
    settle(&driver, &host, &told).await;
    let tables = inside.nft_tables().await.unwrap();
    let own = (TABLE.0.to_owned(), TABLE.1.to_owned());
    assert_eq!(tables, [own, ("ip".to_owned(), "filter".to_owned())]);
}

#[tokio::test]
async fn what_another_host_has_is_not_ours() {
    // Namespaces may be seen by several hosts of a test; the other ends of the devices are not.
    let (host, told) = (FakeHost::new(), router("floating"));
    let driver = driver(&host);
    settle(&driver, &host, &told).await;
    std::fs::remove_file(driver.config.mark(told.id)).unwrap();
    assert!(driver.has(told.id).await.unwrap(), "its devices are wired to here");
    driver.tear_down(told.id).await.unwrap();
    host.namespace_create(&namespace(&told)).unwrap();
    assert!(!driver.has(told.id).await.unwrap());
    assert_eq!(driver.routers().await.unwrap(), BTreeSet::new());
}

fn connection(original: (&str, &str), reply: (&str, &str)) -> Connection {
    let tuple = |(source, destination): (&str, &str)| kernel::conntrack::Tuple {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: 6,
        source_port: Some(1),
        destination_port: Some(2),
    };
    Connection::between(tuple(original), tuple(reply))
}

#[test]
fn connections_of_addresses_that_went_elsewhere_end() {
    let translations = wanted(&router("floating")).rules.translations;
    let stays = |original, reply| is_current(&translations, &connection(original, reply));
    let (client, other) = ("198.51.100.7", "10.0.0.77");
    // In by a floating IP, to its instance and to one that had it before; and by one that is no more.
    assert!(stays((client, "203.0.113.31"), ("10.0.0.5", client)));
    assert!(!stays((client, "203.0.113.31"), (other, client)));
    assert!(!stays((client, "203.0.113.99"), ("10.0.0.5", client)));
    // To a floating IP, by somebody who sent before anybody had it.
    assert!(!stays((client, "203.0.113.31"), ("203.0.113.31", client)));
    // Out by a floating IP, likewise.
    assert!(stays(("10.0.0.5", client), (client, "203.0.113.31")));
    assert!(!stays((other, client), (client, "203.0.113.31")));
    // Out by the gateway's address, also where the instance has a floating IP by now; but not by one that is no more.
    assert!(stays((other, client), (client, "203.0.113.10")));
    assert!(stays(("10.0.0.5", client), (client, "203.0.113.10")));
    assert!(!stays((other, client), (client, "203.0.113.9")));
    // From one instance to the floating IP of another, and back by way of the router.
    assert!(stays((other, "203.0.113.31"), ("10.0.0.5", "203.0.113.10")));
    // To metadata, and untranslated.
    assert!(stays((other, "169.254.169.254"), ("10.0.0.1", other)));
    assert!(stays((other, "10.1.0.1"), ("10.1.0.1", other)));
}
