use kernel::testing::Machine;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::*;
use crate::linuxbridge::firewall::testing::policy;

/// What is to be done for a policy by an agent that has just started, where it is in force.
async fn left_to_do(driver: &Iptables, policy: &Policy) -> Vec<String> {
    let mut next = Iptables::open(driver.namespace.clone(), driver.sets != Sets::Expanded).unwrap();
    let actual = next.read().await.unwrap();
    next.zones.choose(policy, actual.zones());
    let before = actual.sets.clone();
    let plan = next.plan(policy, &Keep::Nothing, actual);
    let mut scripts: Vec<String> = vec![plan.set_script];
    scripts.extend(plan.scripts.into_iter().flat_map(|scripts| [scripts.apply, scripts.clean]));
    scripts.extend(before.into_keys().filter(|name| !plan.sets.contains_key(name)));
    scripts.retain(|script| !script.is_empty());
    scripts
}

/// From any policy to any other, by the same driver and by one that has to read: then there is nothing left to do.
#[test]
fn every_policy_settles() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for ipset in [true, false] {
        let machine = runtime.block_on(Machine::new()).unwrap();
        let driver = parking_lot::Mutex::new(Iptables::open(machine.system.root(), ipset).unwrap());
        let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
        let settles = |(policy, forgets): (Policy, bool)| {
            let mut driver = driver.lock();
            if forgets {
                driver.forget();
            }
            runtime
                .block_on(driver.apply(&policy, &Keep::Nothing))
                .map_err(|e| TestCaseError::fail(crate::chain(&e)))?;
            let left = runtime.block_on(left_to_do(&driver, &policy));
            prop_assert!(left.is_empty(), "left to do:\n{}", left.join("\n"));
            Ok(())
        };
        runner.run(&(policy(), any::<bool>()), settles).unwrap();
        runtime.block_on(driver.lock().apply(&Policy::default(), &Keep::Nothing)).unwrap();
        let nothing = runtime.block_on(driver.lock().read()).unwrap();
        let ours = |(tool, tables): (&Tool, &Tables)| {
            tables
                .0
                .iter()
                .any(|(table, chains)| chains.keys().any(|chain| is_ours(*tool, table, chain) || chain == TOP))
        };
        assert!(!nothing.rules.iter().any(ours) && nothing.sets.is_empty(), "{nothing:?}");
    }
}
