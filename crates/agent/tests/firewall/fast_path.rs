//! The fast path takes what passes the firewall, and nothing else.

use std::{
    net::UdpSocket,
    process::Command,
    time::{Duration, Instant},
};

use kernel::{Kernel, Namespace, conntrack};

use crate::lab::{Instance, Lab, alive, egress, eventually, rules};

const PORT: u16 = 53;
/// The state of connections that are up, by the kernel's number.
const ESTABLISHED: u8 = 3;
const TIME_WAIT: u8 = 7;

/// A rule of nobody's, which every packet passes that takes the long way across a bridge.
async fn count(lab: &Lab) {
    let table = "table bridge counted { chain forward { type filter hook forward priority 300; counter; }; }";
    lab.root.nft(table).await.unwrap();
}

/// Packets that passed it.
fn filtered(root: &Namespace) -> u64 {
    let mut command = Command::new("nft");
    command.args(["list", "chain", "bridge", "counted", "forward"]);
    let output = root.run(|| command.output()).unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no counter: {text}"))
}

/// At how many links of the host there are programs of an agent that ended.
async fn left(lab: &Lab) -> usize {
    let links: Vec<u32> = lab.root.links().await.unwrap().iter().map(|link| link.index).collect();
    lab.root.silence_flows(&links).unwrap().len()
}

/// A client and a server that answers it, and the group of the server.
struct Pair {
    client: Instance,
    server: Instance,
    group: types::SecurityGroupId,
    socket: UdpSocket,
}

impl Pair {
    async fn new(lab: &Lab) -> Self {
        count(lab).await;
        let group = lab.group(&rules(&["ingress IPv4 udp 53 53 -", "ingress IPv4 tcp 22 22 -"]));
        let server = lab.instance(&["10.0.0.5"], &[group]).await;
        // Where nothing is tracked answers need a rule as well.
        let client = lab.instance(&["10.0.0.7"], &[lab.group(&rules(&["ingress IPv4 udp - - -"]))]).await;
        server.serve_udp(server.v4(), PORT);
        let socket = client.socket(4000);
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Self { client, server, group, socket }
    }

    /// How many of so many datagrams were answered, each after the answer to the one before.
    fn ask(&self, count: usize) -> usize {
        let to = (self.server.v4(), PORT);
        (0..count).filter(|_| self.socket.send_to(b"?", to).is_ok() && self.socket.recv(&mut [0; 8]).is_ok()).count()
    }

    /// How many of 200 packets, all of which pass, are filtered.
    fn filtered(&self, root: &Namespace) -> u64 {
        let before = filtered(root);
        assert_eq!(self.ask(100), 100);
        filtered(root) - before
    }

    /// Next to none.
    fn is_fast(&self, root: &Namespace) -> bool {
        self.filtered(root) < 40
    }
}

/// Whether this kernel can have programs at devices that way (TCX): Linux 6.6. Where somebody says that it can, it must.
fn is_possible(lab: &Lab) -> bool {
    let opened = lab.root.flows();
    assert!(opened.is_ok() || std::env::var_os("ISOSPIN_TEST_FAST_PATH").is_none(), "{:?}", opened.err());
    opened.inspect_err(|error| println!("skipped, this kernel has no fast path: {error}")).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_are_fast_until_their_rule_goes_and_others_never_are() {
    flows_are_fast_until_their_rule_goes(Lab::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_are_fast_until_their_rule_goes_and_others_never_are_with_nftables() {
    flows_are_fast_until_their_rule_goes(Lab::untracked().await).await;
}

async fn flows_are_fast_until_their_rule_goes(lab: Lab) {
    if !is_possible(&lab) {
        return;
    }
    let root = lab.machine.system.root();
    let agent = lab.agent();
    let pair = Pair::new(&lab).await;
    eventually!("packets take the fast path", pair.is_fast(&root));

    // Somebody else sends what passes, in every byte.
    let forger = lab.instance(&["10.0.0.9"], &[lab.group(&egress())]).await;
    eventually!("packets take the fast path", pair.is_fast(&root));
    let wanted = |frame: &[u8]| frame.get(23) == Some(&17) && frame.get(36..38) == Some(&PORT.to_be_bytes()[..]);
    let outgoing = pair.server.wire();
    pair.socket.send_to(b"caught", (pair.server.v4(), PORT)).unwrap();
    let caught = outgoing.receive(Duration::from_secs(2), wanted).expect("the frame arrives");
    let forging = forger.wire();
    let arriving = pair.server.wire();
    for _ in 0..20 {
        forging.send(&caught).unwrap();
    }
    assert!(arriving.receive(Duration::from_millis(300), |frame| frame == caught).is_none(), "a forgery arrived");
    while pair.socket.recv(&mut [0; 8]).is_ok() {}

    // A rule more does not disturb it; that its rule goes does.
    let more = rules(&["ingress IPv4 udp 53 53 -", "ingress IPv4 tcp 22 22 -", "ingress IPv4 tcp 80 80 -"]);
    lab.server.set_rules(pair.group, more);
    lab.server.rules_updated(pair.group).await;
    eventually!("packets take the fast path", pair.is_fast(&root));
    pair.socket.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    lab.server.set_rules(pair.group, egress().to_vec());
    lab.server.rules_updated(pair.group).await;
    eventually!("nothing passes any more", pair.ask(1) == 0);
    assert_eq!(pair.ask(5), 0);

    lab.server.set_rules(pair.group, rules(&["ingress IPv4 udp 53 53 -"]));
    lab.server.rules_updated(pair.group).await;
    pair.socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    eventually!("it passes again", pair.ask(1) == 1);
    eventually!("packets take the fast path", pair.is_fast(&root));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lives_on_and_ends_as_it_should() {
    let lab = Lab::new().await;
    if !is_possible(&lab) {
        return;
    }
    let root = lab.machine.system.root();
    let agent = lab.agent();
    let pair = Pair::new(&lab).await;
    pair.server.serve_tcp(pair.server.v4(), 22);
    eventually!("packets take the fast path", pair.is_fast(&root));
    let stream = pair.client.connect(pair.server.v4(), 22).await.unwrap();
    let from = stream.local_addr().unwrap().port();
    let state = || {
        let all = conntrack::list(&root, 4).unwrap();
        all.into_iter().find(|it| it.original.source_port == Some(from)).and_then(|it| it.tcp_state)
    };
    let (began, before) = (Instant::now(), filtered(&root));
    let mut times = 0;
    while began.elapsed() < Duration::from_millis(3500) {
        assert!(alive(&stream).await, "after {times} times");
        times += 1;
    }
    assert_eq!(state(), Some(ESTABLISHED));
    let filtered = filtered(&root) - before;
    assert!(filtered < times, "{filtered} packets were filtered of {times} times at least two");
    drop(stream);
    eventually!("its end is known", state() == Some(TIME_WAIT));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_sent_on_while_no_agent_runs_and_nothing_is_lost() {
    let mut lab = Lab::new().await;
    if !is_possible(&lab) {
        return;
    }
    let root = lab.machine.system.root();
    let agent = lab.agent();
    let pair = Pair::new(&lab).await;
    eventually!("packets take the fast path", pair.is_fast(&root));
    let asking = std::thread::spawn({
        let (socket, to) = (pair.socket.try_clone().unwrap(), (pair.server.v4(), PORT));
        move || {
            let began = Instant::now();
            let ask = || socket.send_to(b"?", to).is_ok() && socket.recv(&mut [0; 8]).is_ok();
            let mut lost = 0;
            while began.elapsed() < Duration::from_secs(2) {
                lost += usize::from(!ask());
            }
            lost
        }
    });
    agent.stop().await;
    let agent = lab.agent();
    let lost = tokio::task::spawn_blocking(|| asking.join().unwrap()).await.unwrap();
    assert_eq!(lost, 0);
    eventually!("packets take the fast path again", pair.is_fast(&root));
    agent.stop().await;
    assert_eq!(pair.filtered(&root), 200, "without the agent there is none, at once");
    assert!(left(&lab).await >= 2, "what it left does nothing");
    lab.config.firewall.fast_path = false;
    let agent = lab.agent();
    eventually!("where it is switched off nothing is left", left(&lab).await == 0);
    assert_eq!(pair.filtered(&root), 200);
    agent.stop().await;
}
