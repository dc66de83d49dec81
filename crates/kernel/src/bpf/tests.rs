//! On real bridges, whose packets nothing filters: which frames are sent on, and which are not.

use std::{
    net::UdpSocket,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    Address, Bridge, LinkChange, Netlink, NewKind, NewLink,
    testing::{Machine, Wire, ping},
};

const PORT: u16 = 4000;

/// A bridge with instances `one`, `two` and `three` at 10.0.0.1 and so on, and a cache for their taps.
struct Lab {
    machine: Machine,
    netlink: Netlink,
    cache: FlowCache,
    taps: Vec<u32>,
    master: u32,
}

/// A socket of an instance, at its address.
fn socket(namespace: &Namespace, number: usize) -> UdpSocket {
    let bind = || UdpSocket::bind((format!("10.0.0.{number}").as_str(), PORT));
    let socket = namespace.run(bind).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket
}

impl Lab {
    async fn new() -> Self {
        let machine = Machine::new().await.unwrap();
        let netlink = machine.netlink().unwrap();
        for family in ["iptables", "ip6tables"] {
            // It is not there where bridges never hand anything over.
            let _ = crate::sysctl::write(&machine.system.root(), &format!("net/bridge/bridge-nf-call-{family}"), "0");
        }
        let kind = NewKind::Bridge(Bridge::default());
        let bridge = NewLink { name: "br0".to_owned(), kind, settings: LinkChange::up() };
        netlink.link_create(&bridge).await.unwrap();
        let master = netlink.link("br0").await.unwrap().unwrap().index;
        let mut cache = FlowCache::open(&machine.system.root()).unwrap();
        let mut taps = Vec::new();
        for (number, name) in (1..).zip(["one", "two", "three"]) {
            let tap = format!("tap{number}");
            let namespace = machine.plug(name, &tap).await.unwrap();
            netlink.link_set(&tap, &LinkChange::default().with_master(master)).await.unwrap();
            let inside = namespace.open().unwrap();
            let link = inside.link("eth0").await.unwrap().unwrap().index;
            let net = format!("10.0.0.{number}/24").parse().unwrap();
            inside.address_set(&Address::new(link, net)).await.unwrap();
            taps.push(netlink.link(&tap).await.unwrap().unwrap().index);
        }
        for tap in &taps {
            cache.attach(*tap, master).unwrap();
        }
        cache.resume().unwrap();
        let lab = Self { machine, netlink, cache, taps, master };
        lab.eventually("the programs see all taps", || lab.programs().iter().all(|ids| ids.len() == 1)).await;
        lab
    }

    /// The programs at each tap and end of it.
    fn programs(&self) -> Vec<Vec<u32>> {
        let ends = || self.taps.iter().flat_map(|tap| [(*tap, Hook::Ingress), (*tap, Hook::Egress)]);
        let programs = || ends().map(|(tap, hook)| syscall::attached(tap, hook).unwrap_or_default()).collect();
        self.machine.system.root().run(programs).unwrap()
    }

    async fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(20), "{what}, of {:?}", self.programs());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn sockets(&self) -> [UdpSocket; 2] {
        [("one", 1), ("two", 2)].map(|(name, number)| socket(&self.machine.system.namespace(name), number))
    }

    fn set_validity(&self, bytes: &[u8]) {
        let [ids, ..] = &self.programs()[..] else { panic!("there are programs") };
        let maps = syscall::maps_of(&syscall::program_by_id(ids[0]).unwrap()).unwrap();
        let maps = maps.into_iter().map(|id| syscall::map_by_id(id).unwrap());
        let map = maps.into_iter().find(|map| syscall::map_info(map).unwrap().0 == VALIDITY);
        syscall::set(&map.unwrap(), &0_u32.to_ne_bytes(), bytes).unwrap();
    }

    fn sent(&self) -> u64 {
        self.cache.counts().unwrap().sent
    }

    /// Both send each other so many datagrams, and all arrive. Says how many were sent on.
    fn exchange(&self, [one, two]: &[UdpSocket; 2], count: u64) -> u64 {
        let before = self.sent();
        for _ in 0..count {
            one.send_to(b"ping", ("10.0.0.2", PORT)).unwrap();
            let (_, from) = two.recv_from(&mut [0; 16]).unwrap();
            two.send_to(b"pong", from).unwrap();
            one.recv_from(&mut [0; 16]).unwrap();
        }
        self.sent() - before
    }
}

#[tokio::test]
async fn what_passed_once_is_sent_on_until_something_changes() {
    let mut lab = Lab::new().await;
    let sockets = lab.sockets();
    assert!(lab.exchange(&sockets, 20) >= 30, "all but the first of each way, and those after a second");
    lab.cache.suspend().unwrap();
    assert_eq!(lab.exchange(&sockets, 5), 0);
    lab.cache.resume().unwrap();
    let learnt = lab.cache.counts().unwrap().learnt;
    assert!(lab.exchange(&sockets, 20) >= 30);
    assert!(lab.cache.counts().unwrap().learnt >= learnt + 2, "what was known before does not count");
    lab.cache.detach(lab.taps[1]);
    assert_eq!(lab.exchange(&sockets, 5), 0, "one end is not ours any more");
    lab.eventually("its programs go, and no others", || lab.programs().iter().map(Vec::len).eq([1, 1, 0, 0, 1, 1]))
        .await;
    lab.cache.attach(lab.taps[1], lab.master).unwrap();
    lab.eventually("it is ours again", || lab.exchange(&sockets, 5) > 0).await;
}

#[tokio::test]
async fn what_nobody_looks_after_holds_no_longer() {
    let lab = Lab::new().await;
    let sockets = lab.sockets();
    assert!(lab.exchange(&sockets, 20) >= 30);
    // As if the one that did were gone, all but a moment, and the lease had ended.
    let generation = lab.cache.last_generation;
    let ended = Validity { generation, until: 1 }.bytes();
    let began = Instant::now();
    let sent = loop {
        lab.set_validity(&ended);
        let sent = lab.exchange(&sockets, 5);
        if sent == 0 || began.elapsed() > Duration::from_secs(5) {
            break sent;
        }
    };
    assert_eq!(sent, 0);
    lab.eventually("it is looked after each second", || lab.exchange(&sockets, 5) > 0).await;
    drop(lab.cache.keeper);
}

#[tokio::test]
async fn the_next_one_takes_over_what_one_before_left() {
    let mut lab = Lab::new().await;
    let root = lab.machine.system.root();
    let sockets = lab.sockets();
    assert!(lab.exchange(&sockets, 20) >= 30);
    let taps = BTreeSet::from_iter(lab.taps.iter().copied());
    let mut asked = lab.taps.clone();
    asked.extend([lab.master, 4_000_000]);
    assert_eq!(FlowCache::silence(&root, &asked).unwrap(), taps);
    let (sent, left) = (lab.sent(), lab.programs());
    // That the one before may be at work still does not matter but for the lease, which it renews each second.
    let mut next = FlowCache::open(&root).unwrap();
    std::mem::swap(&mut next, &mut lab.cache);
    drop(next);
    lab.exchange(&sockets, 5);
    assert_eq!(lab.programs(), left, "they stay");
    for tap in lab.taps.clone() {
        lab.cache.attach(tap, lab.master).unwrap();
    }
    assert!(sent > 0 && lab.sent() == 0);
    lab.cache.resume().unwrap();
    lab.eventually("the next one is at work", || lab.exchange(&sockets, 5) > 0).await;
    lab.eventually("its programs have taken their places", || {
        let now = lab.programs();
        now.iter().zip(&left).all(|(now, left)| now.len() == 1 && now != left)
    })
    .await;
    let two = [lab.taps[1]];
    lab.cache.detach(two[0]);
    lab.eventually("it takes them away", || FlowCache::silence(&root, &two).unwrap().is_empty()).await;
}

#[tokio::test]
async fn each_second_a_frame_takes_the_long_way_however_many_are_sent_on() {
    let lab = Lab::new().await;
    let sockets = lab.sockets();
    let (began, before) = (Instant::now(), lab.cache.counts().unwrap());
    let mut exchanged = 0;
    while began.elapsed() < Duration::from_millis(3500) {
        lab.exchange(&sockets, 1);
        exchanged += 1;
    }
    let after = lab.cache.counts().unwrap();
    let learnt = after.learnt - before.learnt;
    assert!((6..=10).contains(&learnt), "twice a second, once for each way: {learnt}");
    assert!(after.sent - before.sent + learnt + 4 >= 2 * exchanged, "all others were sent on");
}

/// Ethernet and what is in it.
fn frame(to: [u8; 6], from: [u8; 6], parts: &[&[u8]]) -> Vec<u8> {
    let mut frame = [&to[..], &from[..], &parts.concat()].concat();
    frame.resize(frame.len().max(80), 0);
    frame
}

/// An IPv4 header from 10.0.0.1 to 10.0.0.2, with its type and the words that differ.
fn four(first: u8, class: u8, fragment: u16, protocol: u8) -> Vec<u8> {
    let [high, low] = fragment.to_be_bytes();
    let start = [8, 0, first, class, 0, 60, 0, 1, high, low, 64, protocol, 0, 0];
    [&start[..], &[10, 0, 0, 1, 10, 0, 0, 2]].concat()
}

/// An IPv6 header, with its type.
fn six(class: u8, next: u8) -> Vec<u8> {
    let start = [0x86, 0xdd, 0x60 | class >> 4, class << 4, 0, 0, 0, 26, next, 64];
    [&start[..], &[0xfd; 16], &[0xfc; 16]].concat()
}

fn tcp(flags: u8) -> Vec<u8> {
    [&[0x10, 0x00, 0x10, 0x01], &[0; 8][..], &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]].concat()
}

const PORTS: &[u8] = &[0x20, 0, 0x20, 1, 0, 26, 0, 0];

impl Lab {
    async fn mac(&self, name: &str) -> [u8; 6] {
        let inside = self.machine.system.namespace(name).open().unwrap();
        inside.link("eth0").await.unwrap().unwrap().mac.unwrap().0
    }

    fn wire(&self, name: &str) -> Wire {
        Wire::open(&self.machine.system.namespace(name), "eth0").unwrap()
    }

    /// Sends a frame, which must arrive. How many flows were learnt, and frames sent on, by that.
    fn pass(&self, (from, to): (&Wire, &Wire), sent: &[u8]) -> (u64, u64) {
        let before = self.cache.counts().unwrap();
        from.send(sent).unwrap();
        // Where it is tagged the tag is not among what arrives.
        let same = |frame: &[u8]| frame.starts_with(&sent[..12]) && frame.ends_with(&sent[40..]);
        assert!(to.receive(Duration::from_secs(2), same).is_some(), "it arrives: {sent:?}");
        let after = self.cache.counts().unwrap();
        (after.learnt - before.learnt, after.sent - before.sent)
    }
}

#[tokio::test]
async fn only_what_is_known_whole_is_sent_on() {
    let lab = Lab::new().await;
    let (one, two) = (lab.mac("one").await, lab.mac("two").await);
    assert!(ping(&lab.machine.system.namespace("one"), "10.0.0.2".parse().unwrap(), 1));
    let (from, to) = (lab.wire("one"), lab.wire("two"));
    let pass = |parts: &[&[u8]]| lab.pass((&from, &to), &frame(two, one, parts));
    let twice = |parts: &[&[u8]]| [pass(parts), pass(parts)];
    let taken = [(1, 0), (0, 1)];
    let left = [(0, 0), (0, 0)];
    let udp = |class| four(0x45, class, 0, 17);
    assert_eq!(twice(&[&udp(0), PORTS]), taken);
    assert_eq!(twice(&[&udp(0x20), PORTS]), taken, "another class is another flow");
    assert_eq!(twice(&[&udp(0), &[0x20, 0, 0x20, 2, 0, 26, 0, 0]]), taken, "as is another port");
    assert_eq!(twice(&[&six(0x21, 17), PORTS]), taken);
    assert_eq!(twice(&[&six(0x31, 17), PORTS]), taken);
    for (name, parts) in [
        ("options", four(0x46, 0, 0, 17)),
        ("a first fragment", four(0x45, 0, 0x2000, 17)),
        ("a later fragment", four(0x45, 0, 0x0010, 17)),
        ("a protocol without ports", four(0x45, 0, 0, 1)),
        ("extension headers", six(0, 0)),
        ("a fragment of IPv6", six(0, 44)),
        ("a tag", [&[0x81, 0, 0, 7][..], &udp(0)].concat()),
        ("another type", [&[0x88, 0xb5][..], &[0; 20]].concat()),
    ] {
        assert_eq!(twice(&[&parts, PORTS]), left, "{name}");
    }

    for header in [four(0x45, 0, 0, 6), six(0, 6)] {
        let [ack, syn, fin, reset] = [0x10, 0x02, 0x11, 0x14].map(tcp);
        assert_eq!(twice(&[&header, &syn]), left);
        for end in [syn, fin, reset] {
            assert_eq!(twice(&[&header, &ack]), taken, "data");
            assert_eq!(pass(&[&header, &end]), (0, 0), "a turn");
            assert_eq!(pass(&[&header, &ack]), (1, 0), "what follows proves itself");
            assert_eq!(pass(&[&header, &end]), (0, 0));
        }
    }
}

#[tokio::test]
async fn a_longer_frame_proves_itself() {
    let lab = Lab::new().await;
    let (one, two) = (lab.mac("one").await, lab.mac("two").await);
    assert!(ping(&lab.machine.system.namespace("one"), "10.0.0.2".parse().unwrap(), 1));
    let (from, to) = (lab.wire("one"), lab.wire("two"));
    let pass = |length: usize| {
        let mut frame = frame(two, one, &[&four(0x45, 0, 0, 17), PORTS]);
        frame.resize(length, 0);
        lab.pass((&from, &to), &frame)
    };
    assert_eq!([80, 80, 1000, 1000, 1001, 900].map(pass), [(1, 0), (0, 1), (0, 0), (0, 1), (0, 0), (0, 1)]);
}

#[tokio::test]
async fn a_flow_is_of_its_device_and_its_addresses() {
    let lab = Lab::new().await;
    let (one, two, three) = (lab.mac("one").await, lab.mac("two").await, lab.mac("three").await);
    assert!(ping(&lab.machine.system.namespace("one"), "10.0.0.2".parse().unwrap(), 1));
    let wires = ["one", "two", "three"].map(|name| lab.wire(name));
    let parts: [&[u8]; 2] = [&four(0x45, 0, 0, 17), PORTS];
    let genuine = frame(two, one, &parts);
    assert_eq!([(); 2].map(|()| lab.pass((&wires[0], &wires[1]), &genuine)), [(1, 0), (0, 1)]);
    let (_, sent) = lab.pass((&wires[2], &wires[1]), &frame(two, three, &parts));
    assert_eq!(sent, 0, "another sender");
    let (_, sent) = lab.pass((&wires[2], &wires[1]), &genuine);
    assert_eq!(sent, 0, "another sender under the same name");
}

#[tokio::test]
async fn what_is_sent_by_all_devices_is_not_sent_on_by_one() {
    let lab = Lab::new().await;
    let one = lab.mac("one").await;
    assert!(ping(&lab.machine.system.namespace("one"), "10.0.0.2".parse().unwrap(), 1));
    let [from, two, three] = ["one", "two", "three"].map(|name| lab.wire(name));
    let ghost = [0x02, 0, 0, 0, 0, 9];
    let parts: [&[u8]; 2] = [&four(0x45, 0, 0, 17), PORTS];
    for to in [ghost, [0xff; 6]] {
        let sent = frame(to, one, &parts);
        for _ in 0..3 {
            assert_eq!(lab.pass((&from, &two), &sent), (0, 0), "{to:?}");
            assert!(three.receive(Duration::from_secs(2), |frame| frame == sent).is_some(), "{to:?}");
        }
    }
    // It speaks, and is known; then it moves.
    let hello = frame([0xff; 6], ghost, &[&[0x08, 0x06], &[7; 40]]);
    let sent = frame(ghost, one, &parts);
    for (home, other) in [(&two, &three), (&three, &two)] {
        lab.pass((home, &from), &hello);
        assert_eq!(lab.pass((&from, home), &sent), (1, 0), "it goes where it now is, at once");
        let began = Instant::now();
        while lab.pass((&from, home), &sent) != (0, 1) {
            assert!(began.elapsed() < Duration::from_secs(5), "it is sent on there");
        }
        while other.receive(Duration::from_millis(50), |frame| frame == sent).is_some() {}
        lab.pass((&from, home), &sent);
        assert!(other.receive(Duration::from_millis(50), |frame| frame == sent).is_none(), "and nowhere else");
    }
}

#[tokio::test]
async fn a_device_that_went_takes_nothing_with_it() {
    let mut lab = Lab::new().await;
    let sockets = lab.sockets();
    assert!(lab.exchange(&sockets, 10) > 10);
    lab.netlink.link_delete("tap3").await.unwrap();
    lab.cache.detach(lab.taps[2]);
    assert!(lab.exchange(&sockets, 10) > 10, "the others go on");
    let gone = lab.taps[2];
    lab.cache.attach(gone, lab.master).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    lab.cache.resume().expect("that it has gone is no failure");
    assert!(lab.exchange(&sockets, 10) > 10, "the others go on");
}

#[tokio::test]
async fn what_the_kernel_refuses_beside_its_callers_they_are_told() {
    let mut lab = Lab::new().await;
    let sockets = lab.sockets();
    assert!(lab.exchange(&sockets, 10) > 10);
    // Every device has room for so many programs only.
    let maps = maps().unwrap();
    let load = || syscall::program("isospin_other", &program::egress(&maps).unwrap()).unwrap();
    let others: Vec<_> = (0..64).map(|_| load()).collect();
    let home = lab.machine.system.root();
    let lo = home.run(|| others.iter().take_while(|it| syscall::attach(it.as_fd(), 1, Hook::Egress).is_ok()).count());
    assert!(lo.unwrap() < others.len());
    lab.cache.attach(1, lab.master).unwrap();
    let began = Instant::now();
    let refused = loop {
        match lab.cache.resume() {
            Err(error) => break error,
            Ok(()) => assert!(began.elapsed() < Duration::from_secs(20)),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(refused.to_string().contains("the packets of device 1"), "{refused}");
    lab.cache.counts().unwrap_err();
    sockets[0].send_to(b"still", ("10.0.0.2", PORT)).unwrap();
    sockets[1].recv_from(&mut [0; 16]).expect("packets take the long way");
}

#[tokio::test]
async fn without_the_cache_all_goes_on_the_long_way() {
    let lab = Lab::new().await;
    let sockets = lab.sockets();
    assert!(lab.exchange(&sockets, 10) > 10);
    let Lab { machine, cache, .. } = lab;
    let counts = cache.counts().unwrap();
    let map = cache.counts.try_clone().unwrap();
    drop(cache);
    let mut sent = vec![0; 8 * possible_cpus()];
    assert!(ping(&machine.system.namespace("one"), "10.0.0.2".parse().unwrap(), 3));
    sockets[0].send_to(b"still", ("10.0.0.2", PORT)).unwrap();
    sockets[1].recv_from(&mut [0; 16]).unwrap();
    syscall::get(&map, &COUNT_SENT.to_ne_bytes(), &mut sent).unwrap();
    let sent: u64 = sent.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes)).sum();
    assert_eq!(sent, counts.sent, "and none by what is left of it");
}
