//! What takes part, on the fake kernel.

use kernel::{Bridge, Errno, Kind, LinkChange, fake::FakeHost, fake::FakeKernel};

use super::*;

struct World {
    host: FakeHost,
    fast_path: FastPath<FakeKernel>,
    objects: BTreeMap<Key, Wanted>,
    filtered: BTreeSet<String>,
}

impl World {
    /// Bridges `brq1`, with filtered ports, and `brq2`, with others.
    async fn new() -> Self {
        let host = FakeHost::new();
        for bridge in ["brq1", "brq2"] {
            host.plug(bridge, Kind::Bridge(Bridge::default()));
        }
        let fast_path = FastPath::new(host.kernel(), true);
        Self { host, fast_path, objects: BTreeMap::new(), filtered: ["brq1".to_owned()].into() }
    }

    async fn index(&self, name: &str) -> u32 {
        self.host.kernel().link(name).await.unwrap().unwrap().index
    }

    /// A tap that shall be, and is, in a bridge.
    async fn tap(&mut self, name: &str, bridge: &str) -> u32 {
        let index = self.host.plug(name, Kind::Tun);
        self.want(name, bridge);
        self.put(name, bridge).await;
        index
    }

    fn want(&mut self, name: &str, bridge: &str) {
        let wanted = Wanted::Tap { bridge: Some(bridge.to_owned()), mtu: 1500, up: true };
        self.objects.insert(Key::Tap(name.to_owned()), wanted);
    }

    async fn put(&mut self, name: &str, bridge: &str) {
        let change = LinkChange::default().with_master(self.index(bridge).await);
        self.host.kernel().link_set(name, &change).await.unwrap();
    }

    /// What is asked of the cache once the links are as they are now.
    async fn update(&mut self) -> Vec<String> {
        self.host.take_changes();
        let links = self.host.kernel().links().await.unwrap();
        let bridges = links.iter().filter(|link| matches!(link.kind, Kind::Bridge(_)));
        let bridges = bridges.map(|link| (link.index, link.name.clone())).collect();
        self.fast_path.scan(&links);
        self.fast_path.update(&self.objects, &self.filtered, &bridges).await;
        self.fast_path.clear_up();
        self.fast_path.settle();
        self.host.take_changes()
    }
}

#[tokio::test]
async fn what_is_where_it_shall_be_takes_part_as_long_as_it_is() {
    let mut world = World::new().await;
    assert_eq!(world.update().await, [""; 0], "nothing is opened for nothing");
    let one = world.tap("tap1", "brq1").await;
    world.tap("tap2", "brq2").await;
    world.host.plug("tap3", Kind::Tun);
    world.put("tap3", "brq1").await;
    let bridge = world.index("brq1").await;
    let liberal = LIBERAL.map(|parameter| format!("write sysctl {parameter}"));
    let [first, second] = liberal;
    let attach = |device: u32| format!("attach flows of {device} in {bridge}");
    let expected = ["open flows".to_owned(), attach(one), first, second, "resume flows".to_owned()];
    assert_eq!(world.update().await, expected, "not in an unfiltered bridge, not a stranger");
    assert_eq!(world.update().await, [""; 0]);
    world.fast_path.suspend();
    assert_eq!(world.host.take_changes(), ["suspend flows"]);
    assert_eq!(world.update().await, ["resume flows"]);
    world.fast_path.renew();
    assert_eq!(world.update().await, ["resume flows"]);

    // It moves to another filtered bridge, where it shall not be, and then shall.
    world.filtered.insert("brq2".to_owned());
    world.update().await;
    world.put("tap1", "brq2").await;
    assert_eq!(world.update().await, [format!("detach flows of {one}")]);
    world.want("tap1", "brq2");
    assert_eq!(world.update().await, [format!("attach flows of {one} in {}", world.index("brq2").await)]);
    // Another under the same name.
    world.host.kernel().link_delete("tap1").await.unwrap();
    let again = world.tap("tap1", "brq2").await;
    let changes = world.update().await;
    assert_eq!(changes[0], format!("detach flows of {one}"));
    assert!(changes[1].starts_with(&format!("attach flows of {again} ")), "{changes:?}");
    world.filtered.clear();
    assert_eq!(world.update().await.len(), 2, "nothing is left to filter");
}

#[tokio::test]
async fn what_somebody_polices_takes_the_long_way() {
    let mut world = World::new().await;
    let (one, two) = (world.tap("tap1", "brq1").await, world.tap("tap2", "brq1").await);
    world.host.police(one, true);
    let attached =
        |changes: &[String], device: u32| changes.iter().any(|it| it.contains(&format!("flows of {device} ")));
    let changes = world.update().await;
    assert!(attached(&changes, two) && !attached(&changes, one), "{changes:?}");
    world.host.police(two, true);
    world.host.police(one, false);
    world.fast_path.look_again().await;
    let changes = world.update().await;
    assert_eq!(changes[0], format!("detach flows of {two}"));
    assert!(attached(&changes[1..], one), "{changes:?}");
}

#[tokio::test]
async fn whatever_the_kernel_refuses_ends_it() {
    for refused in ["open flows", "attach flows", "suspend flows", "resume flows", "write sysctl", "queueing"] {
        let mut world = World::new().await;
        world.host.fail(refused, Errno::EPERM, 1);
        world.tap("tap1", "brq1").await;
        world.update().await;
        world.fast_path.suspend();
        assert!(world.fast_path.flows.is_none(), "{refused}");
        world.tap("tap2", "brq1").await;
        assert_eq!(world.update().await, [""; 0], "{refused}: it is not tried again");
    }
    let mut world = World::new().await;
    world.tap("tap1", "brq1").await;
    world.host.fail("queueing", Errno::EAGAIN, 1);
    assert_eq!(world.update().await, [""; 0], "links came and went");
    assert!(world.update().await.contains(&"open flows".to_owned()));
}

#[tokio::test]
async fn what_an_agent_before_left_is_taken_over_or_removed() {
    for (is_on, is_allowed) in [(true, true), (false, true), (true, false), (false, false)] {
        let mut world = World::new().await;
        world.fast_path = FastPath::new(world.host.kernel(), is_on);
        let (one, two) = (world.tap("tap1", "brq1").await, world.tap("tap2", "brq2").await);
        world.host.leave_flows(one);
        world.host.leave_flows(two);
        if !is_allowed {
            world.host.fail("silence flows", Errno::EPERM, 1);
        }
        world.fast_path.take_over(&world.host.kernel().links().await.unwrap());
        let flows = |changes: Vec<String>| -> Vec<String> {
            changes.into_iter().filter(|change| change.contains("flows of")).collect()
        };
        let attach = format!("attach flows of {one} in {}", world.index("brq1").await);
        let detach = |device: u32| format!("detach flows of {device}");
        let expected = match (is_on, is_allowed) {
            (true, true) => vec![attach, detach(two)],
            (false, true) => vec![detach(one), detach(two)],
            (_, false) => vec![],
        };
        assert_eq!(flows(world.update().await), expected, "{is_on} {is_allowed}");
        assert_eq!(flows(world.update().await), [""; 0], "once");
    }
}

#[tokio::test]
async fn switched_off_it_does_nothing() {
    let mut world = World::new().await;
    world.fast_path = FastPath::new(world.host.kernel(), false);
    world.tap("tap1", "brq1").await;
    assert_eq!(world.update().await, [""; 0]);
}
