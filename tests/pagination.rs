//! Pages of thousands of ports, while others are created and deleted: every port that was there all the time is seen
//! exactly once, whatever the size of the page, the order and the direction.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{
    http::{Client, id},
    standalone::{Plan, Service},
};

const PORTS: usize = 5000;
const UNLIMITED: &str = "[quotas]\nquota_network = -1\nquota_subnet = -1\nquota_port = -1\n";

/// The order of a walk, as the query has it. Names repeat; `ip_allocation` and `tenant_id` are the same for all.
const ORDERS: [&str; 5] = [
    "",
    "sort_key=mac_address&sort_dir=desc",
    "sort_key=name&sort_dir=asc",
    "sort_key=device_id&sort_dir=desc&sort_key=name&sort_dir=asc",
    "sort_key=ip_allocation&sort_dir=desc&sort_key=tenant_id&sort_dir=asc",
];

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Forth,
    Back,
}

fn start() -> Service {
    Plan::api_only(env!("CARGO_BIN_EXE_isospin")).configuration(UNLIMITED).start().unwrap()
}

fn network(client: &Client) -> String {
    let network = id(&client.create("networks", json!({"name": "n"})).unwrap());
    let subnet = json!({"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"});
    client.create("subnets", subnet).unwrap();
    network
}

fn original(network: &str, number: usize) -> Value {
    let name = format!("name-{}", number % 7);
    json!({"network_id": network, "name": name, "device_id": format!("device-{}", number % 3)})
}

/// The path and query of a link, if there is one.
fn link(answer: &Value, rel: &str) -> Option<String> {
    let links = answer.get("ports_links").and_then(Value::as_array)?;
    let href = links.iter().find(|link| link["rel"] == rel)?["href"].as_str()?;
    let after_host = href.split_once("://")?.1;
    after_host.find('/').map(|slash| after_host[slash..].to_owned())
}

/// Follows links from the first page to the last, or from the last to the first. How often each original was seen.
fn walk(client: &Client, originals: &BTreeMap<String, usize>, order: &str, size: usize, direction: Direction) -> usize {
    let (rel, reverse) = match direction {
        Direction::Forth => ("next", ""),
        Direction::Back => ("previous", "&page_reverse=True"),
    };
    let base = format!("/v2.0/ports?{order}&fields=id&fields=name&limit={size}{reverse}").replace("?&", "?");
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let (mut path, mut last, mut pages) = (base.clone(), None::<String>, 0);
    loop {
        let answer = client.send("GET", &path, &[], None).unwrap();
        if answer.status == 404 {
            // The marker was deleted meanwhile; a client goes back to the last port that it knows to be there.
            let marker = last.as_ref().expect("the first page has no marker");
            path = format!("{base}&marker={marker}");
            continue;
        }
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        pages += 1;
        let body = answer.json();
        let mut ids: Vec<String> = body["ports"].as_array().unwrap().iter().map(id).collect();
        assert!(ids.len() <= size, "{path} has {} ports", ids.len());
        if direction == Direction::Back {
            ids.reverse();
        }
        for port in ids.into_iter().filter(|port| originals.contains_key(port)) {
            *seen.entry(port.clone()).or_default() += 1;
            last = Some(port);
        }
        match link(&body, rel) {
            Some(next) => path = next,
            None => break,
        }
    }
    let wrong: Vec<_> = originals.keys().filter(|port| seen.get(*port) != Some(&1)).collect();
    assert!(wrong.is_empty(), "{} of {} not seen exactly once by {base}", wrong.len(), originals.len());
    pages
}

/// Creates and deletes ports of its own, with names among those of the originals, until told to stop.
fn churn(client: &Client, network: &str, stop: &AtomicBool, count: &AtomicUsize) {
    let mut own: Vec<String> = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let ports = client.create_all("ports", (0..3).map(|part| original(network, number + part)).collect()).unwrap();
        own.extend(ports.iter().map(id));
        while own.len() > 12 {
            client.delete("ports", &own.remove(own.len() / 2)).unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
        // The walks are what is tested, and shall not take minutes.
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_port_is_seen_exactly_once() {
    let service = start();
    let client = service.client();
    let network = network(&client);
    let mut originals = BTreeMap::new();
    let began = Instant::now();
    for batch in 0..PORTS / 250 {
        let ports = (0..250).map(|number| original(&network, batch * 250 + number)).collect();
        originals.extend(client.create_all("ports", ports).unwrap().iter().map(|port| (id(port), 0)));
    }
    println!("{PORTS} ports created in {:?}", began.elapsed());
    assert_eq!(originals.len(), PORTS);
    let (stop, churned) = (AtomicBool::new(false), AtomicUsize::new(0));
    let began = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let client = service.client();
                let (network, stop, churned) = (&network, &stop, &churned);
                scope.spawn(move || churn(&client, network, stop, churned))
            })
            .collect();
        let walks = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            use Direction::{Back, Forth};
            let walks = [
                (100, 0, Forth),
                (999, 1, Back),
                (1000, 2, Forth),
                (1001, 3, Back),
                (PORTS, 4, Forth),
                (10 * PORTS, 1, Back),
                (307, 3, Forth),
            ];
            walks.map(|(size, order, direction)| walk(&client, &originals, ORDERS[order], size, direction))
        }));
        stop.store(true, Ordering::Relaxed);
        let pages: [usize; 7] = walks.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        for worker in workers {
            worker.join().unwrap();
        }
        let (deleted, took) = (churned.load(Ordering::Relaxed), began.elapsed());
        println!("walks of {pages:?} pages in {took:?} while {deleted} other ports were created and deleted");
        assert!(deleted > 0);
    });
    service.finish().unwrap();
}

/// In every order, with pages of one and of seven, and lists that fill their chunks exactly.
#[test]
fn small_pages_and_full_chunks() {
    let service = start();
    let client = service.client();
    let network = network(&client);
    let mut originals = BTreeMap::new();
    for total in [60_usize, 1000, 2000] {
        while originals.len() < total {
            let count = (total - originals.len()).min(250);
            let ports = (0..count).map(|number| original(&network, number)).collect();
            originals.extend(client.create_all("ports", ports).unwrap().iter().map(|port| (id(port), 0)));
        }
        if total == 60 {
            for order in ORDERS {
                for (size, direction) in [(1, Direction::Forth), (7, Direction::Back), (60, Direction::Forth)] {
                    walk(&client, &originals, order, size, direction);
                }
            }
        }
        assert_eq!(client.list("ports", "").unwrap().len(), total);
        assert_eq!(client.list("ports", "?limit=1000").unwrap().len(), total.min(1000));
    }
    service.finish().unwrap();
}

/// Subnets have columns that are null in some rows, which databases put at different ends.
#[test]
fn columns_that_are_null_in_places() {
    let service = start();
    let client = service.client();
    let network = id(&client.create("networks", json!({})).unwrap());
    let mut expected = Vec::new();
    for number in 0..23 {
        let mut subnet = json!({"network_id": network, "ip_version": 6, "cidr": format!("2001:db8:{number}::/64")});
        if number % 3 == 0 {
            subnet["ipv6_address_mode"] = "slaac".into();
        }
        if number % 4 == 0 {
            subnet["gateway_ip"] = Value::Null;
        }
        expected.push(id(&client.create("subnets", subnet).unwrap()));
    }
    expected.sort();
    for key in ["ipv6_address_mode", "ipv6_ra_mode", "gateway_ip"] {
        for (size, dir) in [(1, "asc"), (4, "desc"), (7, "asc"), (23, "desc")] {
            let base = format!("?fields=id&sort_key={key}&sort_dir={dir}&limit={size}");
            for reverse in ["", "&page_reverse=True"] {
                let mut seen: Vec<String> = Vec::new();
                let mut marker = String::new();
                loop {
                    let page = client.list("subnets", &format!("{base}{reverse}{marker}")).unwrap();
                    let next = if reverse.is_empty() { page.last() } else { page.first() };
                    let Some(next) = next else { break };
                    marker = format!("&marker={}", id(next));
                    seen.extend(page.iter().map(id));
                    assert!(seen.len() <= expected.len(), "{base}{reverse} goes in circles");
                }
                seen.sort();
                assert_eq!(seen, expected, "{base}{reverse}");
            }
        }
    }
    service.finish().unwrap();
}
