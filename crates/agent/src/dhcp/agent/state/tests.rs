use serde_json::{Value, json};

use super::*;

fn port(network: NetworkId, address: &str, more: Value) -> Port {
    let mut port = json!({
        "id": PortId::random(), "network_id": network, "mac_address": "fa:16:3e:00:00:01", "status": "DOWN",
        "fixed_ips": [{"subnet_id": types::SubnetId::random(), "ip_address": address}], "revision_number": 3,
    });
    for (key, value) in more.as_object().unwrap() {
        port[key] = value.clone();
    }
    serde_json::from_value(port).unwrap()
}

fn network(ports: Vec<Port>, id: NetworkId) -> NetworkInfo {
    NetworkInfo {
        id,
        project_id: String::new(),
        admin_state_up: true,
        mtu: 1500,
        subnets: Vec::new(),
        non_local_subnets: Vec::new(),
        ports,
    }
}

fn boxed(port: &Port) -> Update {
    Update::Port(Box::new(port.clone()))
}

fn work(state: &mut State) -> Vec<(NetworkId, crate::dhcp::queue::Work)> {
    let next = |state: &mut State| state.queue.next(Instant::now());
    let all: Vec<_> = std::iter::from_fn(|| next(state)).collect();
    all.iter().for_each(|(network, _)| state.queue.done(*network));
    all
}

#[test]
fn old_and_dead_ports_are_dropped_on_arrival() {
    let id = NetworkId::random();
    let known = port(id, "10.0.0.3", json!({}));
    let mut state = State::default();
    state.set(network(vec![known.clone()], id));
    state.push(id, 6, boxed(&Port { revision_number: 2, ..known.clone() }));
    assert_eq!(work(&mut state).len(), 0);
    state.push(id, 6, boxed(&known));
    assert_eq!(work(&mut state).len(), 1);
    state.push(id, 6, Update::PortGone(known.id));
    assert_eq!(work(&mut state).len(), 1);
    state.push(id, 6, boxed(&Port { revision_number: 9, ..known.clone() }));
    assert_eq!(work(&mut state).len(), 0);
    // Neither does an answer bring it back that was made before it went.
    state.set(network(vec![known], id));
    assert_eq!(state.network(id).unwrap().ports, []);
}

#[test]
fn only_ports_that_wait_are_told_and_new_ones_first() {
    let id = NetworkId::random();
    let [waiting, active] = ["DOWN", "ACTIVE"].map(|status| port(id, "10.0.0.3", json!({ "status": status })));
    let new = port(id, "10.0.0.4", json!({"status": "ACTIVE"}));
    let mut state = State::default();
    state.set(network(vec![waiting.clone(), active], id));
    assert_eq!(state.merge(id, vec![(new.id, Some(new.clone()))], "own"), Merged::Done);
    let (urgent, ready) = state.succeeded(id, "tap1".to_owned());
    assert_eq!((urgent, ready), (BTreeSet::from([new.id]), BTreeSet::from([waiting.id])));
    assert_eq!(state.succeeded(id, "tap1".to_owned()), Default::default());
    assert_eq!(state.network_of_tap("tap1"), Some(id));
}

#[test]
fn doubt_makes_the_agent_ask() {
    let id = NetworkId::random();
    let own = port(id, "10.0.0.2", json!({"device_id": "own"}));
    let vm = port(id, "10.0.0.3", json!({}));
    let served = || {
        let mut state = State::default();
        state.set(network(vec![own.clone(), vm.clone()], id));
        state
    };
    let merge = |port: PortId, now: Option<Port>| served().merge(id, vec![(port, now)], "own");
    assert_eq!(merge(vm.id, None), Merged::Done);
    // Its own port went, or has other addresses.
    assert_eq!(merge(own.id, None), Merged::Doubtful);
    let moved = Port { fixed_ips: vm.fixed_ips.clone(), ..own.clone() };
    assert_eq!(merge(own.id, Some(moved)), Merged::Doubtful);
    assert_eq!(merge(own.id, Some(Port { revision_number: 4, ..own.clone() })), Merged::Done);
    // Another port has the address already.
    let twin = port(id, "10.0.0.3", json!({}));
    assert_eq!(merge(twin.id, Some(twin)), Merged::Doubtful);
    assert_eq!(State::default().merge(id, vec![(vm.id, None)], "own"), Merged::Unknown);
}

#[test]
fn a_full_answer_sets_keeps_and_takes_away() {
    let [kept, new, gone, files] = std::array::from_fn(|_| NetworkId::random());
    let mut state = State::default();
    state.set(network(Vec::new(), kept));
    state.set(network(Vec::new(), gone));
    state.begin_sync();
    let again = state.finish_sync(vec![network(Vec::new(), kept), network(Vec::new(), new)], vec![files, kept]);
    assert!(!again);
    let mut disabled: Vec<NetworkId> =
        work(&mut state).into_iter().filter(|(_, work)| work.disable).map(|(network, _)| network).collect();
    disabled.sort();
    let mut expected = vec![gone, files];
    expected.sort();
    assert_eq!(disabled, expected);
    assert!(state.network(new).is_some());
}

#[test]
fn a_message_during_a_full_answer_is_newer_than_the_answer() {
    let [listed, missing] = std::array::from_fn(|_| NetworkId::random());
    let mut state = State::default();
    state.begin_sync();
    state.push(listed, 6, boxed(&port(listed, "10.0.0.3", json!({}))));
    state.push(missing, 0, Update::Fetch);
    assert!(state.finish_sync(vec![network(Vec::new(), listed)], vec![missing]));
    let work = work(&mut state);
    assert_eq!(work.len(), 2);
    assert!(work.iter().all(|(_, work)| work.fetch && !work.disable));
}

#[test]
fn a_dnsmasq_is_missed_once_and_only_if_it_is_the_one() {
    let id = NetworkId::random();
    let mut state = State::default();
    state.set(network(Vec::new(), id));
    assert!(state.watch(id, 41) && !state.watch(id, 41) && state.watch(id, 42));
    state.died(id, 41);
    assert_eq!(work(&mut state).len(), 0);
    state.died(id, 42);
    state.died(id, 42);
    assert_eq!(work(&mut state).len(), 1);
}

#[test]
fn the_dead_are_forgotten_after_a_day() {
    let mut dead = DeadPorts::default();
    let start = Instant::now();
    let [old, new] = std::array::from_fn(|_| PortId::random());
    dead.add(old, start);
    dead.add(new, start + DEAD_FOR + Duration::from_secs(1));
    assert!(!dead.ids.contains(&old) && dead.ids.contains(&new));
    assert_eq!(dead.order.len(), 1);
}
