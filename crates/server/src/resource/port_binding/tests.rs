//! An instance moves from one host to another, in the order in which the compute service does it.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use oslo::{
    context::Context,
    keystone::{Auth, Options, Session},
    messaging::Listener,
};
use rpc::l2::{Callee as _, Details};
use serde_json::{Value, json};
use testkit::nova::Nova;

use super::*;
use crate::{event, nova, rpc::Endpoint, testing};

const VM: &str = "22222222-2222-4222-8222-222222222222";

struct Cloud {
    ctx: Ctx,
    nova: Nova,
    port: Port,
    path: String,
}

async fn cloud() -> Cloud {
    let nova = Nova::start().unwrap();
    let session = Session::new(Auth::None { endpoint: Some(nova.endpoint()) }, &Options::default()).unwrap();
    let settings = nova::Settings { interval: Duration::from_millis(20), ..nova::Settings::default() };
    let told = nova::Notifier::new(settings, nova::Client::new(session, "public", None));
    let ctx = testing::server_of(|parts| parts.with_nova(told)).await;
    testing::host(&ctx, "old").await;
    testing::host(&ctx, "new").await;
    let network = testing::network(&ctx).await;
    let body =
        json!({"network_id": network.id, "device_owner": "compute:nova", "device_id": VM, "binding:host_id": "old"});
    let port: Port = testing::create(&ctx, body).await;
    tokio::spawn(event::follow(Arc::clone(&ctx.parts)));
    let path = format!("/v2.0/ports/{}/bindings", port.id);
    Cloud { ctx, nova, port, path }
}

impl Cloud {
    async fn ask(&self, method: &str, below: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let uri = format!("{}{below}", self.path);
        let request = axum::http::Request::builder().method(method).uri(uri).body(body).unwrap();
        let response = crate::http::answer_request(Arc::clone(&self.ctx.parts), request).await;
        let status = response.status().as_u16();
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn refused(&self, method: &str, below: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.ask(method, below, body).await;
        (status, answer["NeutronError"]["type"].as_str().unwrap_or_default().to_owned())
    }

    async fn details(&self, host: &str) -> Details {
        let device = format!("tap{}", &self.port.id.to_string()[..11]);
        let (endpoint, caller) = (Endpoint { ctx: &self.ctx }, Context::admin());
        let asked = endpoint.get_device_details(&caller, device.as_str().into(), None, Some(host.to_owned()));
        asked.await.unwrap()
    }

    async fn wired(&self, host: &str) {
        assert!(matches!(self.details(host).await, Details::Port(_)));
        self.up(host).await;
    }

    async fn up(&self, host: &str) {
        let device = format!("tap{}", &self.port.id.to_string()[..11]);
        let (endpoint, caller) = (Endpoint { ctx: &self.ctx }, Context::admin());
        let up = endpoint.update_device_up(&caller, device.as_str().into(), None, Some(host.to_owned()), None);
        up.await.unwrap();
    }

    async fn unplugged(&self, host: &str) -> bool {
        let device = format!("tap{}", &self.port.id.to_string()[..11]);
        let (endpoint, caller) = (Endpoint { ctx: &self.ctx }, Context::admin());
        let down = endpoint.update_device_down(&caller, device.as_str().into(), None, Some(host.to_owned()));
        down.await.unwrap().exists
    }

    async fn status(&self) -> String {
        let mut conn = self.ctx.db().reader().await.unwrap();
        find::<Port>(&self.ctx, &mut conn, &self.port.id.to_string()).await.unwrap().status
    }

    async fn nova_heard(&self, wanted: &[&str]) {
        let began = std::time::Instant::now();
        let heard = || -> Vec<String> {
            self.nova.events().iter().map(|event| event["name"].as_str().unwrap().to_owned()).collect()
        };
        while heard() != wanted && began.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(heard(), wanted);
    }
}

async fn next(listener: &mut Listener) -> (String, Value) {
    let told = tokio::time::timeout(Duration::from_secs(20), listener.next()).await.unwrap().unwrap();
    (told.method, told.args)
}

#[tokio::test]
async fn an_instance_migrates() {
    const PLUGGED: &str = "network-vif-plugged";
    const UNPLUGGED: &str = "network-vif-unplugged";
    let cloud = cloud().await;
    let topics = [rpc::l2_agent::BINDING_ACTIVATE, rpc::l2_agent::BINDING_DEACTIVATE];
    let mut agents = cloud.ctx.parts.bus.listen_all(&topics, "x");
    cloud.wired("old").await;
    assert_eq!(cloud.status().await, "ACTIVE");
    cloud.nova_heard(&[PLUGGED]).await;

    // A binding on the target, which is ready and not in use.
    let (status, made) = cloud.ask("POST", "", json!({"binding": {"host": "new"}})).await;
    let made = &made["binding"];
    assert_eq!((status, &made["status"], &made["vif_type"]), (201, &json!("INACTIVE"), &json!("bridge")));
    assert_eq!(cloud.refused("POST", "", json!({"binding": {"host": "new"}})).await.0, 409);
    assert_eq!(cloud.status().await, "ACTIVE", "the instance runs on");

    // The agent there sees the tap, is not to wire it yet, and says that it is there: the compute service waits for it.
    assert!(matches!(cloud.details("new").await, Details::Absent { no_active_binding: true, .. }));
    cloud.up("new").await;
    assert_eq!(cloud.status().await, "ACTIVE");
    cloud.nova_heard(&[PLUGGED, PLUGGED]).await;

    // The instance arrives.
    let (status, active) = cloud.ask("PUT", "/new/activate", Value::Null).await;
    assert_eq!((status, &active["binding"]["status"]), (200, &json!("ACTIVE")));
    assert_eq!(cloud.status().await, "DOWN");
    let (id, network) = (cloud.port.id, cloud.port.network_id);
    let left = json!({"port_id": id, "host": "old", "network_id": network});
    assert_eq!(next(&mut agents).await, ("binding_deactivate".to_owned(), left));
    assert_eq!(next(&mut agents).await, ("binding_activate".to_owned(), json!({"port_id": id, "host": "new"})));
    cloud.nova_heard(&[PLUGGED, PLUGGED, UNPLUGGED]).await;
    assert_eq!(cloud.refused("PUT", "/new/activate", Value::Null).await, (409, "PortBindingAlreadyActive".into()));
    let (_, listed) = cloud.ask("GET", "", Value::Null).await;
    let states: Vec<(&Value, &Value, &Value)> = listed["bindings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|binding| (&binding["host"], &binding["status"], &binding["vif_type"]))
        .collect();
    let wanted = [json!("new"), json!("ACTIVE"), json!("bridge"), json!("old"), json!("INACTIVE"), json!("unbound")];
    assert_eq!(states, [(&wanted[0], &wanted[1], &wanted[2]), (&wanted[3], &wanted[4], &wanted[5])]);

    // It is wired where it is; that the old host loses it is no news.
    cloud.wired("new").await;
    assert_eq!(cloud.status().await, "ACTIVE");
    cloud.nova_heard(&[PLUGGED, PLUGGED, UNPLUGGED, PLUGGED]).await;
    assert!(cloud.unplugged("old").await, "the old host is told that the device exists");
    assert_eq!(cloud.status().await, "ACTIVE");
    assert_eq!(cloud.ask("DELETE", "/old", Value::Null).await.0, 204);
    assert_eq!(cloud.refused("GET", "/old", Value::Null).await, (404, "PortBindingNotFound".into()));
    cloud.nova_heard(&[PLUGGED, PLUGGED, UNPLUGGED, PLUGGED]).await;
}

#[tokio::test]
async fn a_binding_that_is_not_in_use_is_changed_in_silence_and_the_active_one_is_wired_anew() {
    let cloud = cloud().await;
    let mut updates = cloud.ctx.parts.bus.listen(rpc::l2_agent::PORT_UPDATE, "x");
    cloud.wired("old").await;
    cloud.ask("POST", "", json!({"binding": {"host": "new"}})).await;
    let given = json!({"binding": {"profile": {"migrating_to": "x"}}});
    let (status, changed) = cloud.ask("PUT", "/new", given.clone()).await;
    assert_eq!((status, &changed["binding"]["profile"]), (200, &given["binding"]["profile"]));
    assert_eq!(changed["binding"]["status"], "INACTIVE");
    assert_eq!(cloud.status().await, "ACTIVE");
    // The same again changes nothing, not even the active one.
    assert_eq!(cloud.ask("PUT", "/old", json!({"binding": {"profile": {}}})).await.0, 200);
    assert_eq!(cloud.status().await, "ACTIVE");
    assert_eq!(cloud.ask("PUT", "/old", given).await.0, 200);
    assert_eq!(cloud.status().await, "DOWN");
    let (method, told) = next(&mut updates).await;
    assert_eq!((method.as_str(), &told["port"]["binding:host_id"]), ("port_update", &json!("old")));
    assert_eq!(cloud.refused("PUT", "/old", json!({"binding": {"host": "new"}})).await.0, 409);
}

#[tokio::test]
async fn what_cannot_be_is_refused_as_upstream_refuses_it() {
    let cloud = cloud().await;
    let nowhere = json!({"binding": {"host": "nowhere"}});
    assert_eq!(cloud.refused("POST", "", nowhere).await, (500, "PortBindingError".into()));
    assert_eq!(cloud.refused("PUT", "/nowhere/activate", Value::Null).await, (404, "PortBindingNotFound".into()));
    assert_eq!(cloud.refused("DELETE", "/nowhere", Value::Null).await, (404, "PortBindingNotFound".into()));
    let body = json!({"network_id": cloud.port.network_id, "device_owner": "network:dhcp"});
    let other: Port = testing::create(&cloud.ctx, body).await;
    let cloud = Cloud { path: format!("/v2.0/ports/{}/bindings", other.id), ..cloud };
    assert_eq!(cloud.refused("GET", "", Value::Null).await.0, 400);
    // A port that has lost its last binding is bound again as an active one.
    let cloud = Cloud { path: format!("/v2.0/ports/{}/bindings", cloud.port.id), ..cloud };
    assert_eq!(cloud.ask("DELETE", "/old", Value::Null).await.0, 204);
    let (status, made) = cloud.ask("POST", "", json!({"binding": {"host": "new"}})).await;
    assert_eq!((status, &made["binding"]["status"]), (201, &json!("ACTIVE")));
    cloud.wired("new").await;
    assert_eq!(cloud.status().await, "ACTIVE");
}
