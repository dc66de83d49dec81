use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use proptest::{collection::vec, prelude::*};
use tokio::sync::Mutex;

use super::*;
use crate::{Plan, testing::settles};

type World = BTreeMap<u8, Object>;

/// An object of the toy world: its value and whether somebody else made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Object {
    value: u8,
    foreign: bool,
}

/// A world in memory in which the listed keys fail.
#[derive(Default)]
struct Toy {
    world: Mutex<World>,
    broken: Mutex<BTreeSet<u8>>,
    unreadable: Mutex<bool>,
    log: Mutex<Vec<(&'static str, u8)>>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot touch {0}")]
struct Refused(u8, #[source] std::fmt::Error);

impl Toy {
    async fn touch(&self, verb: &'static str, key: u8) -> Result<(), Refused> {
        if self.broken.lock().await.contains(&key) {
            return Err(Refused(key, std::fmt::Error));
        }
        self.log.lock().await.push((verb, key));
        Ok(())
    }
}

impl Driver for Toy {
    type Key = u8;
    type Wanted = u8;
    type Actual = Object;
    type Error = Refused;

    async fn read(&self) -> Result<World, Refused> {
        if *self.unreadable.lock().await {
            Err(Refused(0, std::fmt::Error))
        } else {
            Ok(self.world.lock().await.clone())
        }
    }

    async fn read_some(&self, keys: &BTreeSet<u8>) -> Result<World, Refused> {
        let mut world = self.read().await?;
        world.retain(|key, _| keys.contains(key));
        Ok(world)
    }

    fn in_sync(&self, wanted: &u8, actual: &Object) -> bool {
        *wanted == actual.value
    }

    fn owns(&self, _: &u8, actual: &Object) -> bool {
        !actual.foreign
    }

    async fn apply(&self, key: &u8, wanted: &u8, actual: Option<&Object>) -> Result<(), Refused> {
        self.touch("apply", *key).await?;
        let foreign = actual.is_some_and(|object| object.foreign);
        self.world.lock().await.insert(*key, Object { value: *wanted, foreign });
        Ok(())
    }

    async fn remove(&self, key: &u8, _: &Object) -> Result<(), Refused> {
        self.touch("remove", *key).await?;
        self.world.lock().await.remove(key);
        Ok(())
    }
}

fn toy(objects: &[(u8, u8, bool)]) -> Toy {
    let world = objects.iter().map(|&(key, value, foreign)| (key, Object { value, foreign })).collect();
    Toy { world: Mutex::new(world), ..Toy::default() }
}

/// A paused clock: time passes only when the test says so.
fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

#[test]
fn a_plan_tells_missing_different_surplus_and_equal_apart() {
    let toy = toy(&[(1, 1, false), (2, 0, false), (4, 4, false), (5, 5, true), (6, 6, false)]);
    let actual = run(toy.read()).unwrap();
    let mut desired: Desired<u8, u8> = Desired::new();
    [(1, 1), (2, 2), (3, 3)].into_iter().for_each(|(key, value)| assert!(desired.set(key, value)));
    let expected = Plan { create: vec![3], update: vec![2], remove: vec![], unchanged: vec![1] };
    assert_eq!(plan(&toy, &desired, &actual), expected, "nothing is removed while the wanted state is incomplete");
    desired.complete();
    assert_eq!(plan(&toy, &desired, &actual), Plan { remove: vec![6, 4], ..expected });
}

#[test]
fn objects_are_removed_in_reverse_and_made_in_order() {
    run(async {
        let mut reconciler = Reconciler::new(toy(&[(1, 0, false), (7, 7, false), (8, 8, false)]), Settings::default());
        [(3, 3), (1, 1), (2, 2)].into_iter().for_each(|(key, value)| reconciler.set(key, value));
        reconciler.complete();
        let pass = reconciler.pass().await.unwrap();
        assert_eq!((pass.created, pass.updated, pass.removed), (vec![2, 3], vec![1], vec![8, 7]));
        let log = reconciler.driver().log.lock().await.clone();
        assert_eq!(log, [("remove", 8), ("remove", 7), ("apply", 1), ("apply", 2), ("apply", 3)]);
    });
}

#[test]
fn a_failing_object_blocks_no_other_waits_longer_each_time_and_recovers() {
    run(async {
        let mut reconciler = Reconciler::new(toy(&[]), Settings::default());
        reconciler.driver().broken.lock().await.insert(1);
        [(1, 1), (2, 2)].into_iter().for_each(|(key, value)| reconciler.set(key, value));
        let pass = reconciler.pass().await.unwrap();
        assert_eq!(pass.created, [2]);
        let reason = "cannot touch 1: an error occurred when formatting an argument";
        assert_eq!(pass.failed, [(1, reason.to_owned())]);
        for delay in [200, 400, 800, 1600] {
            assert_eq!(reconciler.next_pass() - Instant::now(), Duration::from_millis(delay));
            reconciler.hint_all();
            assert!(reconciler.pass().await.unwrap().failed.is_empty(), "a full pass leaves it its time");
            tokio::time::advance(Duration::from_millis(delay)).await;
            assert_eq!(reconciler.pass().await.unwrap().failed.len(), 1);
        }
        assert_eq!(reconciler.failures()[&1].attempts, 5);
        reconciler.driver().broken.lock().await.clear();
        reconciler.hint(1);
        assert_eq!(reconciler.pass().await.unwrap().created, [1], "a hint does not wait");
        assert!(reconciler.failures().is_empty());
    });
}

#[test]
fn an_unreadable_world_keeps_what_was_dirty() {
    run(async {
        let mut reconciler = Reconciler::new(toy(&[]), Settings::default());
        assert!(reconciler.pass().await.unwrap().is_idle());
        reconciler.set(1, 1);
        *reconciler.driver().unreadable.lock().await = true;
        assert!(reconciler.pass().await.is_err());
        *reconciler.driver().unreadable.lock().await = false;
        assert_eq!(reconciler.pass().await.unwrap().created, [1]);
    });
}

#[test]
fn a_pass_for_hints_leaves_other_keys_alone_until_the_timer() {
    run(async {
        let mut reconciler = Reconciler::new(toy(&[]), Settings::default());
        [(1, 1), (2, 2)].into_iter().for_each(|(key, value)| reconciler.set(key, value));
        reconciler.pass().await.unwrap();
        reconciler.driver().world.lock().await.clear();
        reconciler.hint(1);
        assert_eq!(reconciler.pass().await.unwrap().created, [1]);
        tokio::time::advance(Settings::default().resync).await;
        assert_eq!(reconciler.pass().await.unwrap().created, [2]);
    });
}

/// Anything that can happen to a reconciler or to the world it looks after.
#[derive(Debug, Clone)]
enum Step {
    Set(u8, u8),
    Unset(u8),
    Hint(u8),
    Complete,
    Break(u8),
    Mend(u8),
    Meddle(u8, Option<u8>),
    Wait(u16),
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..6u8;
    prop_oneof![
        (key.clone(), 0..3u8).prop_map(|(key, value)| Step::Set(key, value)),
        key.clone().prop_map(Step::Unset),
        key.clone().prop_map(Step::Hint),
        Just(Step::Complete),
        key.clone().prop_map(Step::Break),
        key.clone().prop_map(Step::Mend),
        (key, proptest::option::of(0..3u8)).prop_map(|(key, value)| Step::Meddle(key, value)),
        (0..5000u16).prop_map(Step::Wait),
        Just(Step::Pass),
        Just(Step::Pass),
    ]
}

async fn take(step: Step, reconciler: &mut Reconciler<Toy>, removed_early: &RefCell<bool>) {
    let toy = reconciler.driver();
    match step {
        Step::Set(key, value) => reconciler.set(key, value),
        Step::Unset(key) => reconciler.unset(&key),
        Step::Hint(key) => reconciler.hint(key),
        Step::Complete => reconciler.complete(),
        Step::Break(key) => drop(toy.broken.lock().await.insert(key)),
        Step::Mend(key) => drop(toy.broken.lock().await.remove(&key)),
        Step::Meddle(key, Some(value)) => {
            toy.world.lock().await.entry(key).or_insert(Object { value, foreign: false }).value = value;
        }
        Step::Meddle(key, None) => drop(toy.world.lock().await.remove(&key)),
        Step::Wait(time) => tokio::time::advance(Duration::from_millis(time.into())).await,
        Step::Pass => {
            let complete = reconciler.desired().is_complete();
            let pass = reconciler.pass().await.unwrap();
            *removed_early.borrow_mut() |= !complete && !pass.removed.is_empty();
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_before_the_world_ends_as_wanted(steps in vec(step(), 0..60)) {
        let removed_early = Rc::new(RefCell::new(false));
        run(async {
            let mut reconciler = Reconciler::new(toy(&[(0, 9, false), (5, 9, false), (9, 9, true)]), Settings::default());
            for step in steps {
                take(step, &mut reconciler, &removed_early).await;
            }
            reconciler.driver().broken.lock().await.clear();
            reconciler.complete();
            tokio::time::advance(Settings::default().last_retry).await;
            reconciler.pass().await.unwrap();

            let wanted: BTreeMap<u8, u8> = reconciler.desired().objects().clone();
            let world = reconciler.driver().world.lock().await.clone();
            let ours: BTreeMap<u8, u8> = world.iter().filter(|(_, o)| !o.foreign).map(|(k, o)| (*k, o.value)).collect();
            prop_assert_eq!(ours, wanted);
            prop_assert_eq!(world.get(&9), Some(&Object { value: 9, foreign: true }), "what is not ours stays");
            prop_assert!(reconciler.failures().is_empty());
            prop_assert!(reconciler.pass().await.unwrap().is_idle());
            Ok(())
        })?;
        prop_assert!(!*removed_early.borrow(), "removed before the wanted state was whole");
    }

    #[test]
    fn one_pass_settles_any_wanted_state(
        world in vec((0..8u8, 0..3u8, any::<bool>()), 0..8),
        wanted in vec((0..8u8, 0..3u8), 0..8),
    ) {
        run(settles(toy(&world), wanted.into_iter().collect())).map_err(TestCaseError::fail)?;
    }
}
