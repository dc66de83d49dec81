//! What operations cost as one network grows.

use std::time::{Duration, Instant};

use crate::endpoint::Endpoint;
use crate::load::{self, Load};
use crate::plan::Plan;
use crate::say;
use crate::stats::Sample;
use crate::throughput::{Test, told};
use crate::workload::{self, Arena};

/// The medians at one size.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Ports in the network.
    pub(crate) ports: usize,
    /// Creating one port.
    pub(crate) create: Option<Duration>,
    /// Creating a hundred at once.
    pub(crate) bulk: Option<Duration>,
    /// Listing up to a thousand in full.
    pub(crate) list: Option<Duration>,
    /// Deleting one port.
    pub(crate) delete: Option<Duration>,
}

/// The name of the test that lists.
pub(crate) const LIST: &str = "list 1,000 ports, full";

/// Grows a network at each endpoint: the points at each, and how lists go at several numbers of clients.
pub(crate) async fn measure(endpoints: &[Endpoint], plan: &Plan) -> anyhow::Result<(Vec<Vec<Point>>, Vec<Test>)> {
    let mut lists: Vec<Test> =
        plan.clients.iter().map(|&clients| Test { operation: LIST, clients, samples: Vec::new() }).collect();
    let mut all = Vec::new();
    for endpoint in endpoints {
        say(&format!("  {}: growing a network", endpoint.name));
        let keep_large = endpoint.lasting;
        let arena = Arena::create(endpoint).await?;
        let points = grow(endpoint, &arena, plan, &mut lists).await?;
        for test in &mut lists {
            // An endpoint too slow to hold a thousand ports in time has no such list.
            test.samples.resize(all.len() + 1, None);
        }
        if points.last().is_none_or(|point| point.ports <= 2 * Plan::PAGE) {
            if let Err(error) = arena.remove(endpoint).await {
                say(&format!("  {}: left behind: {error:#}", endpoint.name));
            }
        } else if keep_large {
            // Taking a network this large down port by port may take hours.
            say(&format!("  {}: the network {} stays, with all its ports", endpoint.name, arena.network));
        }
        all.push(points);
    }
    Ok((all, lists))
}

async fn grow(endpoint: &Endpoint, arena: &Arena, plan: &Plan, lists: &mut [Test]) -> anyhow::Result<Vec<Point>> {
    let begin = Instant::now();
    let mut points = Vec::new();
    let mut size = 0;
    for &goal in &plan.sizes {
        while size < goal && begin.elapsed() < plan.grow_time {
            // Single ports where a bulk request would overshoot; two clients keep a server of two workers busy.
            let missing = (goal - size).div_ceil(Plan::BULK);
            let batch = Plan::BULK.min(goal - size);
            let call = arena.port_create_bulk(batch);
            let load = Load { clients: missing.min(2), count: missing.min(20), time: plan.time, keep: false };
            let (sample, _) = load::run(endpoint, load, move |_| call.clone()).await?;
            if sample.count() == 0 {
                let complaint = sample.complaint.unwrap_or_default();
                say(&format!("  {}: cannot grow past {size}: {complaint}", endpoint.name));
                return Ok(points);
            }
            size += sample.count() * batch;
        }
        if size < goal {
            let name = &endpoint.name;
            say(&format!("  {name}: {size} ports after {} s; not growing further", plan.grow_time.as_secs()));
            break;
        }
        let (point, grown) = measure_at(endpoint, arena, plan, size).await?;
        size += grown;
        say(&format!("  {}: {}", endpoint.name, described(&point)));
        points.push(point);
        if goal == Plan::PAGE {
            for test in &mut *lists {
                let call = arena.port_list(Plan::PAGE);
                let count = plan.lists.max(test.clients);
                let load = Load { clients: test.clients, count, time: plan.time, keep: false };
                let (sample, _) = load::run(endpoint, load, move |_| call.clone()).await?;
                test.samples.push(Some(told(endpoint, LIST, test.clients, sample)));
            }
        }
    }
    Ok(points)
}

/// Measures at the size as it is; tells also by how much the network grew through it.
async fn measure_at(endpoint: &Endpoint, arena: &Arena, plan: &Plan, ports: usize) -> anyhow::Result<(Point, usize)> {
    let load = |count, keep| Load { clients: 1, count, time: plan.time, keep };
    let call = arena.port_create();
    let (create, made) = load::run(endpoint, load(plan.samples, true), move |_| call.clone()).await?;
    let call = arena.port_list(Plan::PAGE);
    let (list, _) = load::run(endpoint, load(plan.samples, false), move |_| call.clone()).await?;
    let call = arena.port_create_bulk(Plan::BULK);
    let (bulk, _) = load::run(endpoint, load(2, false), move |_| call.clone()).await?;
    let ids: Vec<String> = made.iter().flat_map(|body| ids_of(body)).collect();
    let (delete, _) =
        load::run(endpoint, load(ids.len(), false), move |index| workload::port_delete(&ids[index])).await?;
    let grown = create.count() + bulk.count() * Plan::BULK - delete.count();
    let median = |sample: &Sample| sample.median();
    let point =
        Point { ports, create: median(&create), bulk: median(&bulk), list: median(&list), delete: median(&delete) };
    Ok((point, grown))
}

fn ids_of(body: &[u8]) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let one = body["port"]["id"].as_str().map(str::to_owned);
    one.into_iter().chain(workload::ids_in(&body["ports"])).collect()
}

fn described(point: &Point) -> String {
    let ms = |duration: Option<Duration>| {
        duration.map_or_else(|| "–".into(), |d| format!("{:.2} ms", d.as_secs_f64() * 1e3))
    };
    let Point { ports, create, bulk, list, delete } = point;
    format!("{ports} ports: create {}, bulk {}, list {}, delete {}", ms(*create), ms(*bulk), ms(*list), ms(*delete))
}
