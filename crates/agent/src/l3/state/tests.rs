use super::*;
use crate::l3::testing::router;

fn router_with(id: RouterId) -> Router {
    Router { id, ..router("floating") }
}

fn next(state: &mut State) -> Option<(RouterId, Work)> {
    let next = state.queue.next(Instant::now());
    next.iter().for_each(|(router, _)| state.queue.done(*router));
    next
}

const SERVE: Work = Work { remove: false };
const REMOVE: Work = Work { remove: true };

#[test]
fn what_is_hinted_at_is_fetched_and_what_is_missing_then_goes() {
    let mut state = State::default();
    let (one, two) = (RouterId::random(), RouterId::random());
    state.hint([one, two]);
    let asked = state.begin_fetch(10);
    assert_eq!(asked.len(), 2);
    state.fetched(&asked, vec![router_with(one)]);
    let mut work = vec![next(&mut state).unwrap(), next(&mut state).unwrap()];
    work.sort_by_key(|(id, _)| *id == two);
    assert_eq!(work, [(one, SERVE), (two, REMOVE)]);
    assert_eq!(state.begin_fetch(10), []);
}

#[test]
fn failures_are_counted_of_routers_that_are_served_and_of_those_that_leave() {
    let mut state = State::default();
    let id = RouterId::random();
    state.synced_some(vec![router_with(id)]);
    assert_eq!([true, true, false, true].map(|failed| state.failures(id, failed)), [1, 2, 0, 1]);
    state.forget(id);
    assert_eq!([true, true, true].map(|failed| state.failures(id, failed)), [1, 2, 3]);
    state.synced_some(vec![router_with(id)]);
    state.forget(id);
    assert_eq!([true, false, true].map(|failed| state.failures(id, failed)), [1, 0, 1]);
}

#[test]
fn an_answer_that_is_older_than_a_hint_is_not_believed() {
    let mut state = State::default();
    let (gone, changed) = (RouterId::random(), RouterId::random());
    state.hint([gone, changed]);
    let asked = state.begin_fetch(10);
    state.remove(gone);
    state.hint([changed]);
    state.fetched(&asked, vec![router_with(gone), router_with(changed)]);
    assert_eq!(next(&mut state), Some((gone, REMOVE)));
    assert_eq!(next(&mut state), None);
    assert_eq!(state.begin_fetch(10), [changed]);
}

#[test]
fn a_router_that_is_given_back_at_once_stays() {
    let mut state = State::default();
    let id = RouterId::random();
    state.remove(id);
    state.hint([id]);
    let asked = state.begin_fetch(10);
    state.fetched(&asked, vec![router_with(id)]);
    assert_eq!(next(&mut state), Some((id, SERVE)));
}

#[test]
fn a_question_that_failed_is_asked_again_but_for_what_went() {
    let mut state = State::default();
    let (one, gone) = (RouterId::random(), RouterId::random());
    state.hint([one, gone]);
    let asked = state.begin_fetch(10);
    state.remove(gone);
    state.fetch_failed(asked);
    assert_eq!(state.begin_fetch(10), [one]);
}

#[test]
fn only_after_everything_was_told_what_is_not_ours_goes() {
    let mut state = State::default();
    let (ours, stray, late) = (RouterId::random(), RouterId::random(), RouterId::random());
    state.begin_sync();
    state.synced_some(vec![router_with(ours)]);
    assert_eq!(next(&mut state), Some((ours, SERVE)));
    assert_eq!(next(&mut state), None);
    state.hint([late]);
    state.finish_sync(&HashSet::from([ours]), vec![ours, stray, late]);
    assert_eq!(next(&mut state), Some((stray, REMOVE)));
    assert_eq!(next(&mut state), None);
}

#[test]
fn the_server_is_told_of_floating_ips_once() {
    let mut state = State::default();
    let told = router("floating");
    let [one, two] = [told.floating_ips[0].id, told.floating_ips[1].id];
    state.hint([told.id]);
    let asked = state.begin_fetch(1);
    state.fetched(&asked, vec![told.clone()]);
    let both = || BTreeMap::from([(one, "ACTIVE"), (two, "ERROR")]);
    let news = state.set_statuses(told.id, both());
    assert_eq!(news, BTreeMap::from([(one, "ACTIVE".to_owned()), (two, "ERROR".to_owned())]));
    assert_eq!(state.set_statuses(told.id, both()), BTreeMap::new());
    // One that went is down.
    let news = state.set_statuses(told.id, BTreeMap::from([(one, "ACTIVE")]));
    assert_eq!(news, BTreeMap::from([(two, "DOWN".to_owned())]));
}

#[test]
fn networks_lead_to_their_routers() {
    let mut state = State::default();
    let told = router("floating");
    let network = told.gw_port.as_ref().unwrap().network_id;
    state.synced_some(vec![told.clone()]);
    state.hint_network(NetworkId::random());
    assert_eq!(state.begin_fetch(10), []);
    state.hint_network(network);
    assert_eq!(state.begin_fetch(10), [told.id]);
    assert_eq!(state.counts(), [1, 1, 1, 2]);
}
