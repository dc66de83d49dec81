use std::time::{Duration, Instant};

use super::*;

fn networks<const N: usize>() -> [NetworkId; N] {
    std::array::from_fn(|_| NetworkId::random())
}

fn port(id: PortId, revision: i64) -> Update {
    let network = NetworkId::random();
    let json = serde_json::json!({
        "id": id, "network_id": network, "mac_address": "fa:16:3e:00:00:01", "revision_number": revision,
    });
    Update::Port(Box::new(serde_json::from_value(json).unwrap()))
}

fn next(queue: &mut Queue) -> Option<(NetworkId, Work)> {
    queue.next(Instant::now())
}

fn ports(work: &Work) -> Vec<(PortId, Option<i64>)> {
    work.ports.iter().map(|(id, port)| (*id, port.as_ref().map(|port| port.revision_number))).collect()
}

#[test]
fn the_most_urgent_network_is_first_and_then_the_oldest() {
    let [late, urgent, early] = networks();
    let mut queue = Queue::default();
    queue.push(early, 6, Update::Check);
    queue.push(late, 6, Update::Check);
    queue.push(urgent, 6, Update::Check);
    queue.push(urgent, 0, Update::Fetch);
    let order: Vec<NetworkId> = std::iter::from_fn(|| next(&mut queue).map(|(network, _)| network)).collect();
    assert_eq!(order, [urgent, early, late]);
}

#[test]
fn a_network_is_worked_on_once_at_a_time() {
    let [network] = networks();
    let mut queue = Queue::default();
    queue.push(network, 6, Update::Check);
    assert!(next(&mut queue).is_some());
    queue.push(network, 0, Update::Fetch);
    assert_eq!(next(&mut queue), None);
    assert!(!queue.is_idle());
    queue.done(network);
    assert_eq!(next(&mut queue), Some((network, Work { fetch: true, ..Work::default() })));
    queue.done(network);
    assert!(queue.is_idle());
}

#[test]
fn what_waits_is_folded() {
    let [network] = networks();
    let [a, b] = [PortId::random(), PortId::random()];
    let mut queue = Queue::default();
    for update in [port(a, 3), port(b, 1), port(a, 2), Update::PortGone(b), port(b, 9), Update::Check] {
        queue.push(network, 6, update);
    }
    let (_, work) = next(&mut queue).unwrap();
    assert_eq!(ports(&work), [(a, Some(3)), (b, None)]);
    assert!(!work.fetch && !work.disable);
}

#[test]
fn a_network_that_went_forgets_what_was_before_and_may_come_back() {
    let [network] = networks();
    let mut queue = Queue::default();
    queue.push(network, 6, port(PortId::random(), 1));
    queue.push(network, 2, Update::Disable);
    let (_, work) = next(&mut queue).unwrap();
    assert_eq!(work, Work { disable: true, ..Work::default() });
    queue.done(network);
    queue.push(network, 2, Update::Disable);
    // Of a lower priority number, and yet later: the server gave it back to us.
    queue.push(network, 0, Update::Fetch);
    let (_, work) = next(&mut queue).unwrap();
    assert_eq!(work, Work { fetch: true, ..Work::default() });
}

#[test]
fn a_delay_holds_up_only_its_own_network_and_only_until_something_happens() {
    let [failed, other] = networks();
    let mut queue = Queue::default();
    let hour = Duration::from_secs(3600);
    queue.retry(failed, Update::Check, hour);
    queue.push(other, 6, Update::Check);
    assert_eq!(next(&mut queue).map(|(network, _)| network), Some(other));
    assert_eq!(next(&mut queue), None);
    assert!(queue.next_wake().is_some_and(|at| at > Instant::now() + hour / 2));
    queue.retry(failed, Update::Fetch, Duration::ZERO);
    assert_eq!(next(&mut queue), Some((failed, Work { fetch: true, ..Work::default() })));
    queue.done(failed);
    queue.retry(failed, Update::Check, hour);
    queue.push(failed, 6, Update::Check);
    assert_eq!(next(&mut queue).map(|(network, _)| network), Some(failed));
    assert_eq!(queue.next_wake(), None);
}
