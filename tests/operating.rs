//! What an operator relies on: one request followed by its id through server and agents, metrics that tell what happened,
//! a health check that takes a server out of service. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

use serde_json::json;
use testkit::{
    host::{Host, NAME},
    http::{Client, id},
    process::Signal,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
/// In a namespace of its own, where every port is free.
const METRICS: &str = "127.0.0.1:9698";

/// The lines of the log that carry a request's id.
fn lines(host: &Host, request: &str) -> Vec<String> {
    host.service.log().lines().filter(|line| line.contains(request)).map(str::to_owned).collect()
}

fn metrics(host: &Host) -> String {
    let answer = Client::new(METRICS, host.root()).send("GET", "/metrics", &[], None).unwrap();
    assert_eq!(answer.status, 200);
    answer.text()
}

/// The value of a series that begins so.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series} in {page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_request_can_be_followed_and_what_it_took_is_counted() {
    let text = format!("[DEFAULT]\ndebug = true\n[isospin]\nmetrics_bind = {METRICS}\n");
    let host = Host::start(PROGRAM, &text).unwrap();
    let client = host.client();
    let network = id(&client.create("networks", json!({})).unwrap());
    let subnet = json!({"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"});
    client.create("subnets", subnet).unwrap();
    host.until("dnsmasq serves", || Ok(host.dnsmasq(&network).is_some())).unwrap();
    let wish =
        json!({"network_id": network, "binding:host_id": NAME, "device_owner": "compute:nova", "device_id": "vm"});
    let port = client.create("ports", wish).unwrap();
    let instance = host.plug("one", &port).unwrap();
    host.until_active(&id(&port)).unwrap();

    // The caller's own id goes along with ours.
    let global = "req-11111111-2222-4333-8444-555555555555";
    let fixed_ips = json!([{"ip_address": "10.0.0.77"}]);
    let body = json!({"port": {"admin_state_up": false, "fixed_ips": fixed_ips}}).to_string();
    let path = format!("/v2.0/ports/{}", id(&port));
    let headers = [("content-type", "application/json"), ("x-openstack-request-id", global)];
    let answer = client.send("PUT", &path, &headers, Some(body.as_bytes())).unwrap();
    let request = answer.header("x-openstack-request-id").unwrap().to_owned();
    for agent in ["received port_update ", "received port_update_end "] {
        let heard = || Ok(lines(&host, &request).iter().any(|line| line.contains(agent)));
        host.until(agent, heard).unwrap_or_else(|error| panic!("{error}: {:#?}", lines(&host, &request)));
    }
    let all = lines(&host, &request);
    assert!(all.iter().any(|line| line.contains("\"PUT /v2.0/ports/") && line.contains("status: 200")), "{all:#?}");
    assert!(all.iter().all(|line| line.contains(&format!("[{global} {request} "))), "{all:#?}");

    // The instance's port and the DHCP server's.
    let wired = "isospin_port_wiring_seconds_count{agent=\"linuxbridge\"}";
    host.until("both ports are wired", || Ok(metrics(&host).lines().any(|line| line == format!("{wired} 2"))))
        .unwrap_or_else(|error| panic!("{error}: {}", metrics(&host)));
    let page = metrics(&host);
    let series = "isospin_api_request_seconds_count{route=\"/v2.0/ports/{id}\",method=\"PUT\",status=\"200\"}";
    assert_eq!(value(&page, series), 1.0);
    assert!(value(&page, "isospin_agent_sync_seconds_count{agent=\"dhcp\"}") >= 1.0);
    assert_eq!(value(&page, "isospin_agent_served{agent=\"linuxbridge\"}"), 2.0);
    let alive = format!("isospin_agent_alive{{agent_type=\"Linux bridge agent\",host=\"{NAME}\"}}");
    assert_eq!(value(&page, &alive), 1.0);
    assert!(value(&page, "isospin_rpc_call_seconds_count{method=\"update_device_list\",outcome=\"ok\"}") >= 1.0);
    assert!(value(&page, "process_resident_memory_bytes") > 1e6);

    // Without details from now on; what needs a restart is said.
    let file = host.service.directory().join("isospin.conf");
    let changed = text.replace("debug = true", "debug = false\nagent_down_time = 80");
    std::fs::write(&file, changed).unwrap();
    host.service.signal(Signal::SIGHUP).unwrap();
    let waits = "[DEFAULT] agent_down_time is to be 80, which waits for a restart";
    for said in [waits, "[DEFAULT] debug is now false"] {
        host.until(said, || Ok(host.service.log().contains(said))).unwrap();
    }

    let health = || client.send("GET", "/healthcheck", &[], None).map(|answer| (answer.status, answer.text()));
    assert_eq!(health().unwrap(), (200, "OK".to_owned()));
    let disable = host.service.state_dir().join("healthcheck_disable");
    std::fs::write(&disable, "").unwrap();
    assert_eq!(health().unwrap(), (503, "DISABLED BY FILE".to_owned()));
    std::fs::remove_file(&disable).unwrap();
    host.unplug(&instance).unwrap();
    assert_eq!(host.service.faults(), [""; 0]);
}
