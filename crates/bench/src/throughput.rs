//! Rates and latencies of single operations at several numbers of clients.

use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::floor::Floors;
use crate::load::{self, Load};
use crate::plan::Plan;
use crate::say;
use crate::stats::Sample;
use crate::workload::{self, Arena};

/// One test: an operation at a number of clients, at each endpoint.
pub(crate) struct Test {
    /// What is done.
    pub(crate) operation: &'static str,
    /// By how many at once.
    pub(crate) clients: usize,
    /// How it went, in the order of the endpoints; `None` where it was left out.
    pub(crate) samples: Vec<Option<Sample>>,
}

/// Names of the operations, as the report has them.
pub(crate) const CREATE: &str = "create a port";
/// See [`CREATE`].
pub(crate) const SHOW_PORT: &str = "show a port";
/// See [`CREATE`].
pub(crate) const SHOW_NETWORK: &str = "show a network";
/// See [`CREATE`].
pub(crate) const DELETE: &str = "delete a port";
/// See [`CREATE`].
pub(crate) const BULK: &str = "bulk create 100 ports";

/// A bulk request that takes longer than this is not also sent by several clients.
const SLOW_BULK: Duration = Duration::from_secs(2);

/// Runs all tests.
pub(crate) async fn measure(endpoints: &[Endpoint], floors: &mut Floors, plan: &Plan) -> anyhow::Result<Vec<Test>> {
    let mut tests = Vec::new();
    let mut arenas = Vec::new();
    for endpoint in endpoints {
        arenas.push(Arena::create(endpoint).await?);
    }
    for &clients in plan.clients {
        singles(endpoints, &arenas, floors, plan, clients, &mut tests).await?;
    }
    bulks(endpoints, &arenas, plan, &mut tests).await?;
    for (endpoint, arena) in endpoints.iter().zip(arenas) {
        say(&format!("  {}: cleaning up", endpoint.name));
        if let Err(error) = arena.remove(endpoint).await {
            say(&format!("  {}: left behind: {error:#}", endpoint.name));
        }
    }
    Ok(tests)
}

/// Creates ports, shows them and the network, and deletes them.
async fn singles(
    endpoints: &[Endpoint],
    arenas: &[Arena],
    floors: &mut Floors,
    plan: &Plan,
    clients: usize,
    tests: &mut Vec<Test>,
) -> anyhow::Result<()> {
    let load = |count, keep| Load { clients, count, time: plan.time, keep };
    let mut test = |operation, samples| tests.push(Test { operation, clients, samples });
    let mut ports: Vec<Vec<String>> = Vec::new();
    let mut samples = Vec::new();
    for (endpoint, arena) in endpoints.iter().zip(arenas) {
        let call = arena.port_create();
        let (sample, bodies) = load::run(endpoint, load(plan.creates, true), move |_| call.clone()).await?;
        ports.push(bodies.iter().filter_map(|body| id_of_port(body)).collect());
        samples.push(Some(told(endpoint, CREATE, clients, sample)));
    }
    test(CREATE, samples);
    floors.commit(plan, clients).await?;

    let mut samples = Vec::new();
    for (endpoint, ids) in endpoints.iter().zip(&ports) {
        if ids.is_empty() {
            samples.push(None);
            continue;
        }
        let ids = ids.clone();
        let make = move |index: usize| workload::port_show(&ids[index % ids.len()]);
        let (sample, _) = load::run(endpoint, load(plan.shows, false), make).await?;
        samples.push(Some(told(endpoint, SHOW_PORT, clients, sample)));
    }
    test(SHOW_PORT, samples);
    floors.read(plan, clients).await?;

    let mut samples = Vec::new();
    for (endpoint, arena) in endpoints.iter().zip(arenas) {
        let call = arena.network_show();
        let (sample, _) = load::run(endpoint, load(plan.shows, false), move |_| call.clone()).await?;
        samples.push(Some(told(endpoint, SHOW_NETWORK, clients, sample)));
    }
    test(SHOW_NETWORK, samples);

    let mut samples = Vec::new();
    for (endpoint, ids) in endpoints.iter().zip(ports) {
        let load = load(ids.len(), false);
        let (sample, _) = load::run(endpoint, load, move |index| workload::port_delete(&ids[index])).await?;
        samples.push(Some(told(endpoint, DELETE, clients, sample)));
    }
    test(DELETE, samples);
    Ok(())
}

async fn bulks(endpoints: &[Endpoint], arenas: &[Arena], plan: &Plan, tests: &mut Vec<Test>) -> anyhow::Result<()> {
    let mut slow = vec![false; endpoints.len()];
    for &clients in plan.clients {
        let mut samples = Vec::new();
        for ((endpoint, arena), slow) in endpoints.iter().zip(arenas).zip(&mut slow) {
            if *slow {
                samples.push(None);
                continue;
            }
            let call = arena.port_create_bulk(Plan::BULK);
            let load = Load { clients, count: plan.bulks.max(clients), time: plan.time, keep: false };
            let (sample, _) = load::run(endpoint, load, move |_| call.clone()).await?;
            *slow = sample.median().is_none_or(|median| median > SLOW_BULK);
            samples.push(Some(told(endpoint, BULK, clients, sample)));
        }
        tests.push(Test { operation: BULK, clients, samples });
    }
    Ok(())
}

fn id_of_port(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body["port"]["id"].as_str().map(str::to_owned)
}

/// Says how a test went, and passes it on.
pub(crate) fn told(endpoint: &Endpoint, operation: &str, clients: usize, sample: Sample) -> Sample {
    let median = sample.median().unwrap_or_default().as_secs_f64() * 1000.0;
    let (name, rate) = (&endpoint.name, sample.rate());
    say(&format!("  {name}: {operation}, {clients} at once: {rate:.1} /s, p50 {median:.2} ms"));
    if let Some(complaint) = &sample.complaint {
        say(&format!("  {name}: {} failed, the first: {complaint}", sample.failures));
    }
    sample
}
