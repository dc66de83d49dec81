//! The agent's memory, without kernel and server: each test is a story of what comes in and what must go out.

use kernel::Kind;
use types::NetworkType;

use super::*;
use crate::linuxbridge::desired::tests::port;

const TAP: &str = "tap11111111-22";

fn link(index: u32, up: bool, master: Option<u32>) -> Link {
    Link {
        index,
        name: TAP.to_owned(),
        kind: Kind::Tun,
        mac: None,
        mtu: 1500,
        up,
        master,
        parent: None,
        alias: None,
        group: 0,
    }
}

fn details() -> PortDetails {
    port(NetworkType::Local, None, None)
}

fn wired() -> Pass<Key> {
    let unchanged = vec![Key::Bridge("brqaaaaaaaa-bb".to_owned()), Key::Tap(TAP.to_owned())];
    Pass { created: vec![], updated: vec![], removed: vec![], unchanged, failed: vec![] }
}

/// A state that was scanned, with the tap in it and the server's answer taken.
fn answered(link: Link, details: PortDetails) -> (State, Instant) {
    let now = Instant::now();
    let mut state = State::new(Config::new("host-a"));
    state.scan(&[link], now);
    assert!(!state.is_complete());
    assert_eq!(state.take_questions(10, now), [TAP]);
    assert!(state.take_questions(10, now).is_empty(), "one question at a time");
    assert!(state.take_details(vec![TAP.to_owned()], Ok(vec![Details::Port(Box::new(details))]), now).is_none());
    assert!(state.is_complete());
    (state, now)
}

fn has_tap(state: &mut State, now: Instant) -> bool {
    state.wanted(now, |_| true).contains_key(&Key::Tap(TAP.to_owned()))
}

#[tokio::test]
async fn a_tap_is_asked_for_wired_and_told_once() {
    let (mut state, now) = answered(link(5, true, None), details());
    assert!(has_tap(&mut state, now));
    assert!(!state.has_news(), "not before it is wired");
    state.take_pass(&wired());
    let news = state.take_news(10);
    assert_eq!(news, News { up: vec![TAP.to_owned()], ..News::default() });
    assert!(state.take_news(10).is_empty());
    state.take_told(news, Ok(DeviceList::default()));
    state.take_pass(&wired());
    assert!(!state.has_news());
}

#[tokio::test]
async fn what_the_server_did_not_take_is_told_again() {
    let (mut state, _) = answered(link(5, true, None), details());
    state.take_pass(&wired());
    let news = state.take_news(10);
    let failed = DeviceList { failed_devices_up: vec![TAP.into()], ..DeviceList::default() };
    assert!(state.take_told(news, Ok(failed)).is_none());
    let news = state.take_news(10);
    assert_eq!(news.up, [TAP]);
    let silence = CallError::Unavailable { topic: "q-plugin".to_owned() };
    assert!(state.take_told(news, Err(silence)).is_some());
    assert!(state.has_news());
}

#[tokio::test]
async fn an_answer_that_leaves_a_device_out_is_asked_again_later() {
    let now = Instant::now();
    let mut state = State::new(Config::new("host-a"));
    state.scan(&[link(5, true, None)], now);
    let asked = state.take_questions(10, now);
    state.take_details(asked, Ok(vec![]), now);
    assert!(state.take_questions(10, now).is_empty());
    assert_eq!(state.take_questions(10, now + RETRY), [TAP]);
}

#[tokio::test]
async fn a_replaced_tap_is_news_also_while_its_question_is_under_way() {
    let (mut state, now) = answered(link(5, true, None), details());
    state.take_pass(&wired());
    let news = state.take_news(10);
    state.take_told(news, Ok(DeviceList::default()));
    state.link(&link(6, true, None), now);
    assert!(state.take_dirty().contains(&Key::Tap(TAP.to_owned())));
    assert!(has_tap(&mut state, now), "wired at once by what was known");
    assert_eq!(state.take_questions(10, now), [TAP]);
    state.link(&link(7, true, None), now);
    state.take_details(vec![TAP.to_owned()], Ok(vec![Details::Port(Box::new(details()))]), now);
    assert_eq!(state.take_questions(10, now), [TAP], "the third tap is asked for as well");
    state.link_gone(&link(6, true, None));
    assert_eq!(state.device_count(), 1, "the end of an earlier tap is not the end of this one");
}

#[tokio::test]
async fn a_tap_that_went_is_told_and_its_network_kept_for_a_while() {
    let (mut state, now) = answered(link(5, true, None), details());
    state.take_pass(&wired());
    state.take_news(10);
    state.link_gone(&link(5, true, None));
    assert_eq!(state.take_news(10).down, [TAP]);
    let bridge = Key::Bridge("brqaaaaaaaa-bb".to_owned());
    assert!(state.wanted(now, |_| true).contains_key(&bridge));
    let grace = Config::new("h").empty_bridge_grace;
    assert_eq!(state.next_time(now), Some(now + grace));
    state.expire(now + grace);
    assert!(state.wanted(now, |_| true).is_empty());
}

#[tokio::test]
async fn a_deleted_network_goes_at_once() {
    let (mut state, now) = answered(link(5, true, None), details());
    state.hint(Hint::NetworkDeleted(details().network_id));
    assert!(state.wanted(now, |_| true).is_empty());
    assert_eq!(state.take_given_up(), [details().network_id].into());
}

#[tokio::test]
async fn an_answer_from_before_a_network_was_deleted_does_not_bring_it_back() {
    let now = Instant::now();
    let mut state = State::new(Config::new("host-a"));
    state.scan(&[link(5, true, None)], now);
    assert_eq!(state.take_questions(10, now), [TAP]);
    state.hint(Hint::NetworkDeleted(details().network_id));
    state.take_details(vec![TAP.to_owned()], Ok(vec![Details::Port(Box::new(details()))]), now);
    assert!(state.wanted(now, |_| true).is_empty());
    assert_eq!(state.take_given_up(), [details().network_id].into());
}

#[tokio::test]
async fn a_hypervisor_that_plugs_by_itself_is_let_go_first() {
    let (mut state, now) = answered(link(5, false, None), details());
    assert!(!has_tap(&mut state, now), "made, not yet up: libvirt may be about to put it into the bridge");
    assert_eq!(state.next_time(now), Some(now + HYPERVISOR));
    assert!(has_tap(&mut state, now + HYPERVISOR), "nobody did");
    assert_eq!(state.next_time(now + HYPERVISOR), None, "and nothing is waited for any more");
    state.link(&link(5, true, None), now);
    assert!(has_tap(&mut state, now), "up: whoever made it has done his part");
    let service = PortDetails { device_owner: "network:dhcp".to_owned(), ..details() };
    let (mut state, now) = answered(link(5, false, None), service);
    assert!(has_tap(&mut state, now), "taps of services are ours alone");
}

#[tokio::test]
async fn a_port_whose_uplink_failed_is_not_told_up() {
    let mut config = Config::new("host-a");
    config.physical_interface_mappings = [("physnet1".to_owned(), "eth1".to_owned())].into();
    let now = Instant::now();
    let mut state = State::new(config);
    state.scan(&[link(5, true, None)], now);
    let asked = state.take_questions(10, now);
    let flat = port(NetworkType::Flat, None, Some("physnet1"));
    state.take_details(asked, Ok(vec![Details::Port(Box::new(flat))]), now);
    let uplink = Key::Uplink("eth1".to_owned());
    state.take_pass(&Pass { failed: vec![(uplink.clone(), "no".to_owned())], ..wired() });
    assert!(!state.has_news());
    state.take_pass(&Pass { unchanged: vec![uplink], ..wired() });
    assert!(state.has_news());
}

#[tokio::test]
async fn an_inactive_binding_is_taken_out_and_not_told() {
    let (mut state, now) = answered(link(5, true, None), details());
    state.hint(Hint::Deactivated(details().port_id, "host-a".to_owned()));
    let wanted = state.wanted(now, |_| true).remove(&Key::Tap(TAP.to_owned())).unwrap();
    assert!(matches!(wanted, Wanted::Tap { bridge: None, .. }));
    state.take_pass(&wired());
    assert!(!state.has_news());
    state.hint(Hint::Activated(details().port_id, "host-a".to_owned()));
    assert_eq!(state.take_questions(10, Instant::now()), [TAP]);
}

#[tokio::test]
async fn a_server_that_forgot_us_is_told_everything_again() {
    let (mut state, now) = answered(link(5, true, None), details());
    state.take_pass(&wired());
    let news = state.take_news(10);
    state.take_told(news, Ok(DeviceList::default()));
    state.server_forgot(Status::Revived);
    let later = Instant::now().max(now);
    let asked = state.take_questions(10, later);
    assert_eq!(asked, [TAP]);
    state.take_details(asked, Ok(vec![Details::Port(Box::new(details()))]), later);
    state.take_pass(&wired());
    assert_eq!(state.take_news(10).up, [TAP]);
}
