//! Changes of routers and floating IPs.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::{
    cloud::HOSTS,
    dice::Dice,
    http::{Client, id, text},
    process::{Signal, signal},
};

use super::{attempt, one};
use crate::scene::{BEYOND, Scene, TENANTS};

/// Floating IPs of a tenant.
const MOST_FLOATING: usize = 3;

/// A floating IP comes to somebody, moves to another, or is of nobody.
pub(super) fn floating(api: &Client, scene: &Scene, dice: &mut Dice, associate: bool) -> Result<Option<String>> {
    let Some(tenant) = dice.pick(&TENANTS) else { return Ok(None) };
    let mut all = api.list("floatingips", &format!("?project_id={tenant}"))?;
    all.sort_by_key(|floating| text(floating, "description"));
    let Some(floating) = dice.pick(&all) else { return Ok(None) };
    let own: Vec<_> = scene.instances.iter().filter(|instance| instance.name.starts_with(tenant)).collect();
    let to = dice.pick(&own).filter(|_| associate);
    let port = to.map(|instance| instance.port.clone());
    let answer =
        api.json("PUT", &format!("/v2.0/floatingips/{}", id(floating)), &json!({"floatingip": {"port_id": port}}))?;
    // A fixed address takes one floating IP on one router, and a router must lead to it.
    anyhow::ensure!(matches!(answer.status, 200 | 404 | 409), "{}", answer.text());
    let name = to.map_or("nobody", |instance| instance.name.as_str());
    Ok((answer.status == 200).then(|| format!("{} is of {name}", text(floating, "floating_ip_address"))))
}

/// A tenant gets one more floating IP, or loses one.
pub(super) fn floating_ip(api: &Client, dice: &mut Dice) -> Result<Option<String>> {
    let Some(tenant) = dice.pick(&TENANTS) else { return Ok(None) };
    let mut all = api.list("floatingips", &format!("?project_id={tenant}"))?;
    all.sort_by_key(|floating| text(floating, "description"));
    if let Some(floating) = dice.pick(&all).filter(|_| all.len() >= MOST_FLOATING) {
        api.delete("floatingips", &id(floating))?;
        return Ok(Some(format!("{} goes", text(floating, "floating_ip_address"))));
    }
    let taken = |name: &String| all.iter().any(|floating| text(floating, "description") == *name);
    let name = (0..).map(|number| format!("{tenant}{number}")).find(|name| !taken(name));
    let external = external(api)?;
    let attributes = json!({"floating_network_id": external, "project_id": tenant, "description": name});
    let floating = api.create("floatingips", attributes)?;
    Ok(Some(format!("{} is one more of {tenant}", text(&floating, "floating_ip_address"))))
}

fn external(api: &Client) -> Result<String> {
    api.list("networks", "?name=public")?.first().map(id).context("it was made")
}

pub(super) fn routes(api: &Client, dice: &mut Dice) -> Result<Option<String>> {
    let Some(router) = one(api, dice, "routers", "")? else { return Ok(None) };
    let tenant = text(&router, "name");
    let ports = api.list("ports", &format!("?name={tenant}1-{}", HOSTS[0]))?;
    let fixed = ports.first().and_then(|port| port["fixed_ips"].as_array()).cloned().unwrap_or_default();
    let v4 = fixed.iter().map(|one| text(one, "ip_address")).find(|address| address.contains('.'));
    let route = json!({"destination": format!("{BEYOND}/32"), "nexthop": v4});
    let old = router["routes"].as_array().cloned().unwrap_or_default();
    let path = format!("/v2.0/routers/{}", id(&router));
    // All of them at once, or those that change.
    if dice.below(2) == 0 {
        let routes = if old.is_empty() { json!([route]) } else { json!([]) };
        return attempt(api, "PUT", &path, &json!({"router": {"routes": routes}}));
    }
    let (verb, routes) = if old.is_empty() { ("add", json!([route])) } else { ("remove", json!(old)) };
    attempt(api, "PUT", &format!("{path}/{verb}_extraroutes"), &json!({"router": {"routes": routes}}))
}

pub(super) fn admin(api: &Client, dice: &mut Dice) -> Result<Option<String>> {
    let Some(router) = one(api, dice, "routers", "")? else { return Ok(None) };
    let up = router["admin_state_up"] == false;
    attempt(api, "PUT", &format!("/v2.0/routers/{}", id(&router)), &json!({"router": {"admin_state_up": up}}))
}

/// The way out goes, with what it carried, or a new one comes.
pub(super) fn gateway(scene: &mut Scene, api: &Client, dice: &mut Dice) -> Result<Option<String>> {
    let Some(router) = one(api, dice, "routers", "")? else { return Ok(None) };
    let mut wish = Value::Null;
    if router["external_gateway_info"].is_null() {
        wish = json!({"network_id": external(api)?});
    }
    let of_router = api.list("floatingips", &format!("?router_id={}", id(&router)))?;
    let path = format!("/v2.0/routers/{}", id(&router));
    let body = json!({"router": {"external_gateway_info": wish}});
    if !of_router.is_empty() && wish.is_null() {
        let answer = api.json("PUT", &path, &body)?;
        anyhow::ensure!(answer.status == 409, "floating IPs need the gateway: {}", answer.text());
        for floating in &of_router {
            api.update("floatingips", &id(floating), json!({"port_id": null}))?;
        }
    }
    let done = attempt(api, "PUT", &path, &body)?;
    scene.way_back(api)?;
    Ok(done)
}

pub(super) fn snat(scene: &mut Scene, api: &Client, dice: &mut Dice) -> Result<Option<String>> {
    let Some(router) = one(api, dice, "routers", "")? else { return Ok(None) };
    let gateway = &router["external_gateway_info"];
    if gateway.is_null() {
        return Ok(None);
    }
    let mut changed = json!({"network_id": gateway["network_id"], "enable_snat": gateway["enable_snat"] == false});
    changed["external_fixed_ips"] = gateway["external_fixed_ips"].clone();
    let body = json!({"router": {"external_gateway_info": changed}});
    let done = attempt(api, "PUT", &format!("/v2.0/routers/{}", id(&router)), &body)?;
    scene.way_back(api)?;
    Ok(done)
}

/// An interface goes, or one that went comes back.
pub(super) fn interface(api: &Client, dice: &mut Dice) -> Result<Option<String>> {
    let Some(router) = one(api, dice, "routers", "")? else { return Ok(None) };
    let Some(subnet) = one(api, dice, "subnets", &format!("?project_id={}", text(&router, "name")))? else {
        return Ok(None);
    };
    let ports = api.list("ports", &format!("?device_id={}", id(&router)))?;
    let has = |port: &Value| {
        port["fixed_ips"].as_array().is_some_and(|ips| ips.iter().any(|ip| ip["subnet_id"] == subnet["id"]))
    };
    let path = |verb: &str| format!("/v2.0/routers/{}/{verb}_router_interface", id(&router));
    let by_subnet = json!({"subnet_id": id(&subnet)});
    if ports.iter().any(has) {
        return attempt(api, "PUT", &path("remove"), &by_subnet);
    }
    // Where addresses are made of MACs, the gateway's is given to no port but by the router.
    if dice.below(2) == 0 || subnet["ipv6_address_mode"] == "slaac" {
        return attempt(api, "PUT", &path("add"), &by_subnet);
    }
    let fixed = json!([{"subnet_id": id(&subnet), "ip_address": subnet["gateway_ip"]}]);
    let port = json!({"network_id": subnet["network_id"], "project_id": router["project_id"], "fixed_ips": fixed});
    let port = id(&api.create("ports", port)?);
    attempt(api, "PUT", &path("add"), &json!({"port_id": port}))
}

/// A router goes to another agent.
pub(super) fn reschedule(api: &Client, dice: &mut Dice) -> Result<Option<String>> {
    let Some(router) = one(api, dice, "routers", "")? else { return Ok(None) };
    let serving = api.get(&format!("/v2.0/routers/{}/l3-agents", id(&router)))?;
    let serving = serving["agents"].as_array().cloned().unwrap_or_default();
    let mut agents = api.list("agents", "?binary=neutron-l3-agent")?;
    agents.retain(|agent| serving.iter().all(|now| now["id"] != agent["id"]));
    agents.sort_by_key(|agent| text(agent, "host"));
    let Some(next) = dice.pick(&agents) else { return Ok(None) };
    for now in &serving {
        let answer =
            api.json("DELETE", &format!("/v2.0/agents/{}/l3-routers/{}", id(now), id(&router)), &Value::Null)?;
        anyhow::ensure!(answer.status == 204, "{}", answer.text());
    }
    let path = format!("/v2.0/agents/{}/l3-routers", id(next));
    let answer = api.json("POST", &path, &json!({"router_id": id(&router)}))?;
    anyhow::ensure!(answer.status == 201, "{}", answer.text());
    Ok(Some(format!("the router of {} is served on {}", text(&router, "name"), text(next, "host"))))
}

/// The host that serves an HA router loses its agent and all that it has for the router, without a last word, as a host
/// of routers that is switched off. Another one takes over; then it is back.
pub(super) fn host_dies(scene: &mut Scene, api: &Client, dice: &mut Dice) -> Result<Option<String>> {
    let mut routers = api.list("routers", "")?;
    // One that is switched off has nothing on any host.
    routers.retain(|router| router["ha"] == true && router["admin_state_up"] == true);
    routers.sort_by_key(|router| text(router, "name"));
    let Some(router) = dice.pick(&routers) else { return Ok(None) };
    let told = api.get(&format!("/v2.0/routers/{}/l3-agents", id(router)))?;
    let agents = told["agents"].as_array().cloned().unwrap_or_default();
    let serving = agents.iter().find(|agent| agent["ha_state"] == "active").map(|agent| text(agent, "host"));
    let Some(host) = HOSTS.into_iter().find(|host| serving.as_deref() == Some(host)) else { return Ok(None) };
    let namespace = format!("qrouter-{}", id(router));
    scene.cloud.kill_agent(host, "l3")?;
    let pids = scene.cloud.node(host).run(&format!("ip netns pids {namespace}"))?;
    for pid in pids.split_whitespace() {
        signal(pid.parse()?, Signal::SIGKILL)?;
    }
    scene.cloud.node(host).run(&format!("ip netns delete {namespace}"))?;
    // The only agent that has it leaves it to nobody.
    if agents.len() > 1 {
        scene.settles()?;
    }
    scene.cloud.start_agent(host, "l3")?;
    Ok(Some(format!("{host}, which served the router of {}, dies and is back", text(router, "name"))))
}
