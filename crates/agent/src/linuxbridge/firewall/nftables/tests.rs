use kernel::testing::Machine;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::*;
use crate::linuxbridge::firewall::testing::policy;

/// From any policy to any other, by the same driver and by one that has to read: then there is nothing left to do.
fn settles(tracking: bool, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let machine = runtime.block_on(Machine::new()).unwrap();
    let kernel = runtime.block_on(async { machine.netlink() }).unwrap();
    let open = || runtime.block_on(Nftables::open(kernel.clone(), tracking)).unwrap();
    let driver = parking_lot::Mutex::new(open());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let settles = |(policy, forgets): (Policy, bool)| {
        let mut driver = driver.lock();
        if forgets {
            driver.forget();
        }
        runtime.block_on(driver.apply(&policy, &Keep::Nothing)).map_err(|e| TestCaseError::fail(crate::chain(&e)))?;
        let table = runtime.block_on(kernel.nft_table(FAMILY, TABLE)).unwrap();
        prop_assert_eq!(table.is_some(), !policy.ports.is_empty());
        if policy.ports.is_empty() {
            return Ok(());
        }
        let (mut next, actual) = (open(), Actual::of(table));
        next.zones.choose(&policy, actual.zones());
        if tracking {
            let used =
                |zones: &Zones| zones.used(&policy).map(|(bridge, zone)| (bridge.clone(), zone)).collect::<Vec<_>>();
            prop_assert_eq!(used(&next.zones), used(&driver.zones));
        }
        let wanted = render(&policy, next.zones.used(&policy).filter(|_| tracking), tracking);
        let (left, _) = script(&wanted, actual, true);
        prop_assert!(left.is_empty(), "left to do:\n{left}");
        Ok(())
    };
    runner.run(&(policy(), any::<bool>()), settles).unwrap();
}

/// No connections are tracked, for that is not in every kernel.
#[test]
fn every_policy_settles() {
    settles(false, 64);
}

#[test]
#[ignore = "needs connections tracked on bridges: make test-vm"]
fn every_policy_settles_where_connections_are_tracked() {
    settles(true, 32);
}
