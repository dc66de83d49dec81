//! What must hold, on every backend.

use std::{
    collections::HashSet,
    net::IpAddr,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use db::ipam as rows;
use isospin_server::ipam::{self, FixedIpRequest, Party};
use types::{Mac, NetworkId, SubnetId, port::FixedIp};

use crate::world::{World, insert_subnet, refusal};

/// Tells a child process what to do: URL, network, creators, ports each.
pub const WORK: &str = "ISOSPIN_TEST_ADDRESSES";

fn at(subnet: SubnetId, address: &str) -> FixedIpRequest {
    FixedIpRequest { subnet_id: Some(subnet), ip_address: Some(address.parse().unwrap()), delete_subnet: false }
}

fn texts(ips: &[FixedIp]) -> Vec<String> {
    ips.iter().map(|ip| ip.ip_address.to_string()).collect()
}

pub async fn requests_and_releases(world: &World) {
    let network = world.network().await;
    let (_, none) = world.port(network, None).await.unwrap();
    assert_eq!(none, [], "a network without subnets gives no addresses");
    let subnet = world.subnet(network, "10.0.0.0/29", None).await;
    let (port, ips) = world.port(network, Some(&[at(subnet, "10.0.0.4")])).await.unwrap();
    assert_eq!(texts(&ips), ["10.0.0.4"]);

    let taken = refusal(world.port(network, Some(&[at(subnet, "10.0.0.4")])).await);
    assert_eq!((taken.status.as_u16(), taken.kind.as_str()), (409, "IpAddressAlreadyAllocated"));
    assert_eq!(taken.message, format!("IP address 10.0.0.4 already allocated in subnet {subnet}"));
    let unknown = SubnetId::random();
    let asked = [FixedIpRequest { subnet_id: Some(unknown), ..FixedIpRequest::default() }];
    let missing = refusal(world.port(network, Some(&asked)).await);
    assert_eq!((missing.status.as_u16(), missing.kind.as_str()), (404, "SubnetNotFound"));

    let mut got = HashSet::new();
    for _ in 0..4 {
        got.extend(texts(&world.port(network, None).await.unwrap().1));
    }
    assert_eq!(got, ["10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"].map(str::to_owned).into());
    let full = refusal(world.port(network, None).await);
    assert_eq!((full.status.as_u16(), full.kind.as_str()), (409, "IpAddressGenerationFailure"));
    assert_eq!(full.message, format!("No more IP addresses available on network {network}."));

    // The gateway is in no pool, but may be asked for.
    world.port(network, Some(&[at(subnet, "10.0.0.1")])).await.unwrap();
    world.delete_port(port).await;
    assert_eq!(texts(&world.port(network, None).await.unwrap().1), ["10.0.0.4"]);
    let (held, taken) = world.addresses(network).await;
    assert_eq!(held, taken);
}

pub async fn updates(world: &World) {
    let network = world.network().await;
    let v4 = world.subnet(network, "10.0.0.0/24", None).await;
    let v6 = world.subnet(network, "2001:db8::/64", Some("slaac")).await;
    let (port_id, before) = world.port(network, Some(&[at(v4, "10.0.0.9")])).await.unwrap();
    assert_eq!(before.len(), 2);
    let mac = |last| Mac([0xfa, 0x16, 0x3e, 0, 0, last]);
    let party = |mac| Party { network_id: network, device_owner: "compute:test", mac, host: "" };
    let current = |mac, fixed_ips| ipam::Current {
        port_id,
        party: party(mac),
        old_mac: mac,
        old_host: "",
        ip_allocation: "immediate",
        fixed_ips,
    };

    let mut tx = world.db.begin().await.unwrap();
    let asked = [at(v4, "10.0.0.9"), at(v4, "10.0.0.10")];
    let more = ipam::reassign(&world.hints, &mut tx, &current(mac(1), &before), Some(&asked)).await.unwrap();
    assert_eq!((texts(&more.added), more.removed.len(), more.fixed_ips.len()), (vec!["10.0.0.10".to_owned()], 0, 3));
    let less = ipam::reassign(&world.hints, &mut tx, &current(mac(1), &more.fixed_ips), Some(&[])).await.unwrap();
    assert_eq!(texts(&less.removed), ["10.0.0.10", "10.0.0.9"], "in the order of their texts");
    assert_eq!(less.fixed_ips.len(), 1, "what the host forms itself stays");
    let moved = ipam::Current { old_mac: mac(1), ..current(mac(2), &less.fixed_ips) };
    let moved = ipam::reassign(&world.hints, &mut tx, &moved, None).await.unwrap();
    assert_eq!(texts(&moved.fixed_ips), ["2001:db8::f816:3eff:fe00:2"]);
    let stored = rows::fixed_ips_of(&mut tx, &[port_id]).await.unwrap();
    assert_eq!(stored.get(&port_id), Some(&moved.fixed_ips));
    tx.commit().await.unwrap();
    let (held, taken) = world.addresses(network).await;
    assert_eq!((&held, held.len()), (&taken, 1));
    assert!(world.port(network, Some(&[at(v6, "2001:db8::5")])).await.is_err());
}

/// Its row in `ipamsubnets` has an id of its own.
pub async fn a_subnet_that_upstream_made(world: &World) {
    let network = world.network().await;
    let subnet = SubnetId::random();
    let other = uuid::Uuid::new_v4();
    let mut tx = world.db.begin().await.unwrap();
    insert_subnet(&mut tx, network, subnet, "10.0.0.0/24", None).await;
    let insert = "INSERT INTO ipamsubnets (id, neutron_subnet_id) VALUES (?, ?)";
    tx.execute(insert, vec![other.into(), subnet.into()]).await.unwrap();
    let pool =
        "INSERT INTO ipamallocationpools (id, ipam_subnet_id, first_ip, last_ip) VALUES (?, ?, '10.0.0.7', '10.0.0.7')";
    tx.execute(pool, vec![uuid::Uuid::new_v4().into(), other.into()]).await.unwrap();
    tx.commit().await.unwrap();
    let (port, ips) = world.port(network, None).await.unwrap();
    assert_eq!(texts(&ips), ["10.0.0.7"]);
    world.delete_port(port).await;
    assert_eq!(world.addresses(network).await, (vec![], vec![]));
}

pub async fn automatic_addresses_come_with_the_subnet(world: &World) {
    let network = world.network().await;
    world.subnet(network, "10.0.0.0/24", None).await;
    let ports = world.ports(network, 30).await.unwrap();
    let subnet = world.subnet(network, "2001:db8::/64", Some("dhcpv6-stateless")).await;
    let mut tx = world.db.begin().await.unwrap();
    let candidate = rows::candidates(&mut tx, network).await.unwrap().into_iter().find(|s| s.id == subnet).unwrap();
    let updated = ipam::add_auto_addresses(&world.hints, &mut tx, network, &candidate).await.unwrap();
    assert_eq!(updated.len(), ports.len());
    tx.commit().await.unwrap();
    let (held, taken) = world.addresses(network).await;
    assert_eq!((&held, held.len()), (&taken, 60));
}

pub async fn bulk(world: &World) {
    let network = world.network().await;
    let small = world.subnet(network, "10.0.0.0/26", None).await;
    world.subnet(network, "10.1.0.0/22", None).await;
    let ports = world.ports(network, 500).await.unwrap();
    let all: HashSet<IpAddr> = ports.iter().flat_map(|(_, ips)| ips.iter().map(|ip| ip.ip_address)).collect();
    assert_eq!(all.len(), 500);
    let from_small = ports.iter().filter(|(_, ips)| ips[0].subnet_id == small).count();
    assert_eq!(from_small, 61, "the first subnet is used up before the next");
    assert!(world.ports(network, 1000).await.is_err());
    assert_eq!(world.addresses(network).await.0.len(), 500, "a bulk that fails leaves nothing");
}

/// `creators` tasks in this process, as four servers on one database, with `each` ports to make.
pub async fn creators_at_once_never_share_an_address(world: &World, creators: usize, each: usize) {
    let network = world.network().await;
    world.subnet(network, "10.0.0.0/16", None).await;
    let started = Instant::now();
    create_many(&world.url, network, creators, each).await;
    let (held, taken) = world.addresses(network).await;
    eprintln!("{:?}: {} ports by {creators} creators in {:?}", world.backend(), held.len(), started.elapsed());
    let distinct: HashSet<&String> = held.iter().collect();
    assert_eq!((held.len(), distinct.len()), (creators * each, creators * each));
    assert_eq!(held, taken);
}

async fn create_many(url: &str, network: NetworkId, creators: usize, each: usize) {
    let mut servers = Vec::new();
    for _ in 0..4 {
        servers.push(Arc::new(World::on(url).await));
    }
    let tasks: Vec<_> = (0..creators)
        .map(|i| {
            let server = servers[i % servers.len()].clone();
            tokio::spawn(async move {
                for _ in 0..each {
                    server.port(network, None).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// More creators at once than there are addresses: as many succeed as there are addresses, the others are told.
pub async fn a_pool_gives_exactly_its_size(world: &World, creators: usize) {
    let network = world.network().await;
    world.subnet(network, "10.0.0.0/26", None).await;
    let servers = [Arc::new(World::on(&world.url).await), Arc::new(World::on(&world.url).await)];
    let tasks: Vec<_> = (0..creators)
        .map(|i| {
            let server = servers[i % 2].clone();
            tokio::spawn(async move { server.port(network, None).await })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        if let Err(error) = task.await.unwrap() {
            assert_eq!(refusal::<()>(Err(error)).kind, "IpAddressGenerationFailure");
            refused += 1;
        }
    }
    assert_eq!(refused, creators - 61);
    assert_eq!(world.addresses(network).await.0.len(), 61);
}

/// The same with several processes.
pub async fn processes_never_share_an_address(world: &World, processes: usize, creators: usize, each: usize) {
    let network = world.network().await;
    world.subnet(network, "10.0.0.0/16", None).await;
    let program = std::env::current_exe().unwrap();
    let children: Vec<_> = (0..processes)
        .map(|_| {
            Command::new(&program)
                .args(["--exact", "process"])
                .env(WORK, format!("{} {network} {creators} {each}", world.url))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let (held, taken) = world.addresses(network).await;
    let distinct: HashSet<&String> = held.iter().collect();
    let all = processes * creators * each;
    assert_eq!((held.len(), distinct.len()), (all, all));
    assert_eq!(held, taken);
}

/// What one of the processes does.
pub async fn work(work: &str) {
    let parts: Vec<&str> = work.split(' ').collect();
    let [url, network, creators, each] = parts.as_slice() else { panic!("{work}") };
    create_many(url, network.parse().unwrap(), creators.parse().unwrap(), each.parse().unwrap()).await;
}

pub async fn macs_are_unique(world: &World) {
    let network = world.network().await;
    // A base that leaves 256 * 256 MACs: collisions come often.
    let base = [0xfa, 0x16, 0x3e, 0xaa, 0, 0];
    let made = world.ports(network, 1).await.unwrap();
    let mut tx = world.db.begin().await.unwrap();
    let macs = isospin_server::mac::generate(&mut tx, network, base, 5000, 16).await.unwrap();
    assert_eq!(macs.iter().collect::<HashSet<_>>().len(), 5000);
    let set = "UPDATE ports SET mac_address = ? WHERE id = ?";
    tx.execute(set, vec![macs[0].into(), made[0].0.into()]).await.unwrap();
    let refused = isospin_server::mac::check_free(&mut tx, network, macs[0]).await.unwrap_err().to_string();
    let expected =
        format!("Unable to complete operation for network {network}. The mac address {} is in use.", macs[0]);
    assert_eq!(refused, expected);
    isospin_server::mac::check_free(&mut tx, NetworkId::random(), macs[0]).await.unwrap();
}

/// Time of one allocation with few and with many addresses taken.
pub async fn cost_does_not_grow(world: &World, many: usize) {
    let network = world.network().await;
    world.subnet(network, "10.0.0.0/14", None).await;
    world.ports(network, 100).await.unwrap();
    let few = time_of_one(world, network).await;
    for _ in 0..many / 1000 {
        world.ports(network, 1000).await.unwrap();
    }
    let lots = time_of_one(world, network).await;
    let cold = World::on(&world.url).await;
    let started = Instant::now();
    cold.port(network, None).await.unwrap();
    let cold = started.elapsed();
    let backend = world.backend();
    eprintln!("{backend:?}: a port with 100 there: {few:?}, with {many}: {lots:?}, the first after a start: {cold:?}");
    assert!(lots < few * 4, "a port costs {few:?} with 100 there and {lots:?} with {many}");
}

/// The fastest of some creations, as other tests run beside.
async fn time_of_one(world: &World, network: NetworkId) -> std::time::Duration {
    let mut times = Vec::new();
    for _ in 0..101 {
        let started = Instant::now();
        world.port(network, None).await.unwrap();
        times.push(started.elapsed());
    }
    times.into_iter().min().unwrap_or_default()
}
