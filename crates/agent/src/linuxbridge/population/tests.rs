//! What is wanted after messages, in whatever order and however often they come.

use serde_json::{Value, json};

use super::*;

const NET: &str = "3b6e0f1c-8d2a-4f0e-9b57-1c2d3e4f5a6b";
const OTHER: &str = "c0ffee00-1111-4222-8333-444455556666";
const OWN: &str = "10.0.0.1";

fn network() -> NetworkId {
    NET.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mac(last: u8) -> Mac {
    Mac([0xfa, 0x16, 0x3e, 0, 0, last])
}

fn population() -> Population {
    let mut population = Population::new(ip(OWN), true);
    population.carry(network());
    population
}

/// Entries of one network: `{"10.0.0.2": ["*", "1=10.9.0.1"]}` are what is flooded, and a MAC and address.
fn entries(network: &str, ports: Value) -> wire::Entries {
    let entry = |text: &Value| match text.as_str().unwrap().split_once('=') {
        Some((last, address)) => (mac(last.parse().unwrap()).to_string(), address.to_owned()),
        None => (wire::FLOOD.0.to_owned(), wire::FLOOD.1.to_owned()),
    };
    let ports = ports.as_object().unwrap().iter();
    let ports = ports.map(|(host, list)| (host.clone(), list.as_array().unwrap().iter().map(entry).collect()));
    let entries =
        wire::NetworkEntries { segment_id: Some(5), network_type: NetworkType::Vxlan, ports: ports.collect() };
    [(network.parse().unwrap(), entries)].into()
}

fn add(ports: Value, everything: bool) -> News {
    News::Add { entries: entries(NET, ports), everything }
}

fn remove(ports: Value) -> News {
    News::Remove(entries(NET, ports))
}

/// Forwarding entries as `1>10.0.0.2`, `*>10.0.0.2`, and neighbours as `10.9.0.1=1`.
fn shown(entries: &Entries) -> Vec<String> {
    let name = |mac: Mac| if mac == FLOOD { "*".to_owned() } else { mac.0[5].to_string() };
    let forwardings = entries.forwardings.iter().map(|(mac, remote)| format!("{}>{remote}", name(*mac)));
    let neighbours = entries.neighbours.iter().map(|(address, mac)| format!("{address}={}", name(*mac)));
    forwardings.chain(neighbours).collect()
}

#[test]
fn entries_of_other_hosts_are_wanted_and_nothing_of_this_one() {
    let mut population = population();
    population.take(add(json!({OWN: ["*", "9=10.9.0.9"], "10.0.0.2": ["*", "1=10.9.0.1", "1=2001:db8::1"]}), true));
    population.take(add(json!({"10.0.0.3": ["*"], "null": ["7=10.9.0.7"]}), false));
    let wanted = population.entries(network());
    let expected =
        ["*>10.0.0.2", "*>10.0.0.3", "1>10.0.0.2", "10.9.0.1=1", "2001:db8::1=1", "fe80::f816:3eff:fe00:1=1"];
    assert_eq!(shown(&wanted), expected);
    assert_eq!(wanted.others, Others::Go);
}

#[test]
fn without_the_responder_nothing_is_answered() {
    let mut population = Population::new(ip(OWN), false);
    population.carry(network());
    population.take(add(json!({"10.0.0.2": ["*", "1=10.9.0.1"]}), false));
    assert_eq!(shown(&population.entries(network())), ["*>10.0.0.2", "1>10.0.0.2"]);
}

#[test]
fn a_network_that_is_not_here_costs_the_others_nothing() {
    let mut population = population();
    let mut both = entries(OTHER, json!({"10.0.0.2": ["*"]}));
    both.extend(entries(NET, json!({"10.0.0.2": ["*", "1=10.9.0.1"]})));
    population.take(News::Add { entries: both, everything: false });
    assert_eq!(population.entries(network()).forwardings.len(), 2);
    assert_eq!(population.entries(OTHER.parse().unwrap()), Entries::default());
}

#[test]
fn until_everything_was_told_only_what_is_gone_goes() {
    let mut population = population();
    assert!(population.is_refresh_due(network()));
    population.set_asked(network(), Some(Instant::now()));
    assert!(!population.is_refresh_due(network()));
    population.take(add(json!({"10.0.0.2": ["1=10.9.0.1"]}), false));
    population.take(remove(json!({"10.0.0.3": ["*", "2=10.9.0.2"]})));
    let wanted = population.entries(network());
    assert_eq!(shown(&wanted), ["1>10.0.0.2", "10.9.0.1=1"]);
    let gone = Others::Stay {
        forwardings: [(FLOOD, ip("10.0.0.3")), (mac(2), ip("10.0.0.3"))].into(),
        neighbours: [ip("10.9.0.2")].into(),
    };
    assert_eq!(wanted.others, gone);
    population.take(add(json!({"10.0.0.3": ["*"]}), true));
    let wanted = population.entries(network());
    assert_eq!(shown(&wanted), ["*>10.0.0.3", "1>10.0.0.2", "10.9.0.1=1"], "what was told meanwhile stays");
    assert_eq!(wanted.others, Others::Go);
}

#[test]
fn a_later_message_with_everything_replaces_an_earlier_one() {
    let mut population = population();
    population.take(add(json!({"10.0.0.2": ["*", "1=10.9.0.1"]}), true));
    population.take(add(json!({"10.0.0.3": ["*"]}), true));
    assert_eq!(shown(&population.entries(network())), ["*>10.0.0.3"]);
}

#[test]
fn what_was_told_before_a_gap_stays_until_everything_is_told_again() {
    let mut population = population();
    population.take(add(json!({"10.0.0.2": ["*"]}), true));
    population.take(add(json!({"10.0.0.3": ["*"]}), false));
    population.doubt();
    assert!(population.is_refresh_due(network()));
    let wanted = population.entries(network());
    assert_eq!(shown(&wanted), ["*>10.0.0.2", "*>10.0.0.3"]);
    assert_ne!(wanted.others, Others::Go);
    population.take(add(json!({"10.0.0.3": ["*"]}), true));
    assert_eq!(shown(&population.entries(network())), ["*>10.0.0.3"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_has_nothing_to_say() {
    let mut population = population();
    population.set_asked(network(), Some(Instant::now()));
    let due = population.next_time().unwrap();
    population.expire(due - Duration::from_millis(1));
    assert_ne!(population.entries(network()).others, Others::Go);
    population.expire(due);
    assert_eq!(population.entries(network()).others, Others::Go);
    assert_eq!(population.next_time(), None);
}

#[test]
fn a_port_that_moved_is_where_it_was_told_last() {
    let mut population = population();
    population.take(add(json!({"10.0.0.2": ["*", "1=10.9.0.1"], "10.0.0.3": ["*"]}), true));
    population.take(add(json!({"10.0.0.3": ["1=10.9.0.1"]}), false));
    let expected = ["*>10.0.0.2", "*>10.0.0.3", "1>10.0.0.3", "10.9.0.1=1"];
    assert_eq!(shown(&population.entries(network())), expected);
    population.take(remove(json!({"10.0.0.2": ["*", "1=10.9.0.1"]})));
    assert_eq!(shown(&population.entries(network())), ["*>10.0.0.3", "1>10.0.0.3", "10.9.0.1=1"]);
}

#[test]
fn an_address_changes_and_its_port_stays() {
    let mut population = population();
    population.take(add(json!({"10.0.0.2": ["*", "1=10.9.0.1"]}), true));
    let change = json!({"chg_ip": {NET: {
        "10.0.0.2": {"before": [[mac(1), "10.9.0.1"]], "after": [[mac(1), "10.9.0.7"]]},
        OWN: {"after": [[mac(9), "10.9.0.9"]]}}}});
    population.take(News::Change(serde_json::from_value(change).unwrap()));
    assert_eq!(shown(&population.entries(network())), ["*>10.0.0.2", "1>10.0.0.2", "10.9.0.7=1"]);
}

#[test]
fn a_network_that_left_is_forgotten() {
    let mut population = population();
    population.take(add(json!({"10.0.0.2": ["*"]}), true));
    population.retain(|_| false);
    assert_eq!(population.entries(network()), Entries::default());
}

#[test]
fn floods_go_to_every_end_but_this() {
    let mut population = Population::new(ip(OWN), false);
    let now = Instant::now();
    population.ask_for_ends(now);
    assert!(population.take_question(now));
    assert!(!population.take_question(now), "one question at a time");
    population.set_end(ip("10.0.0.4"), true);
    population.set_end(ip("10.0.0.3"), false);
    assert_ne!(population.floods().others, Others::Go);
    // The answer was written before the two were told.
    population.take_ends([OWN, "10.0.0.2", "10.0.0.3"].map(ip));
    let floods = population.floods();
    assert_eq!(shown(&floods), ["*>10.0.0.2", "*>10.0.0.4"]);
    assert_eq!(floods.others, Others::Go);
}
