//! Changes of what the API says, of where instances are, and of who runs.

mod router;

use anyhow::Result;
use serde_json::{Value, json};
use testkit::{
    cloud::HOSTS,
    dice::Dice,
    http::{Client, id, text},
};

use crate::scene::{BEYOND, Scene, TENANTS};

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    AddRule,
    RemoveRule,
    AddressGroup,
    Groups,
    PortSecurity,
    PortAdmin,
    Pairs,
    Move,
    Replace,
    Restart,
    Crash,
    RestartServer,
    Associate,
    Disassociate,
    FloatingIp,
    Routes,
    RouterAdmin,
    Gateway,
    Snat,
    Interface,
    Reschedule,
    HostDies,
}

const ALWAYS: &[Change] = &[
    Change::PortAdmin,
    Change::Move,
    Change::Move,
    Change::Replace,
    Change::Restart,
    Change::Crash,
    Change::Crash,
    Change::RestartServer,
];
const FILTERED: &[Change] = &[
    Change::AddRule,
    Change::AddRule,
    Change::AddRule,
    Change::RemoveRule,
    Change::RemoveRule,
    Change::AddressGroup,
    Change::AddressGroup,
    Change::Groups,
    Change::Groups,
    Change::PortSecurity,
    Change::Pairs,
    Change::Pairs,
];
const ROUTED: &[Change] = &[
    Change::Associate,
    Change::Associate,
    Change::Disassociate,
    Change::FloatingIp,
    Change::Routes,
    Change::RouterAdmin,
    Change::Gateway,
    Change::Snat,
    Change::Interface,
    Change::Interface,
    Change::Reschedule,
];
const HA: &[Change] = &[Change::HostDies, Change::HostDies, Change::HostDies];

impl Change {
    pub(crate) fn choose(dice: &mut Dice, scene: &Scene) -> Self {
        let mut kinds = ALWAYS.to_vec();
        kinds.extend(FILTERED.iter().filter(|_| scene.parts.filtered));
        kinds.extend(ROUTED.iter().filter(|_| scene.parts.routed));
        kinds.extend(HA.iter().filter(|_| scene.parts.ha > 0));
        dice.pick(&kinds).copied().unwrap_or(Self::Move)
    }

    /// Makes it; what was done, unless there was nothing to do.
    pub(crate) fn make(self, scene: &mut Scene, dice: &mut Dice) -> Result<Option<String>> {
        let api = scene.cloud.api();
        match self {
            Self::AddRule => add_rule(&api, dice),
            Self::RemoveRule => remove_rule(&api, dice),
            Self::AddressGroup => address_group(&api, dice),
            Self::Groups => groups(&api, scene, dice),
            Self::PortSecurity => port_security(&api, scene, dice),
            Self::PortAdmin => port_admin(&api, scene, dice),
            Self::Pairs => pairs(&api, scene, dice),
            Self::Move => migrate(scene, dice),
            Self::Replace => replace(scene, dice),
            Self::Restart | Self::Crash => agent(scene, dice, self == Self::Crash),
            Self::RestartServer => {
                scene.cloud.restart_server()?;
                Ok(Some("the server is killed and started again".to_owned()))
            }
            Self::Associate | Self::Disassociate => router::floating(&api, scene, dice, self == Self::Associate),
            Self::FloatingIp => router::floating_ip(&api, dice),
            Self::Routes => router::routes(&api, dice),
            Self::RouterAdmin => router::admin(&api, dice),
            Self::Gateway => router::gateway(scene, &api, dice),
            Self::Snat => router::snat(scene, &api, dice),
            Self::Interface => router::interface(&api, dice),
            Self::Reschedule => router::reschedule(&api, dice),
            Self::HostDies => router::host_dies(scene, &api, dice),
        }
    }
}

/// Sends a change that the API may refuse; what came of it.
fn attempt(api: &Client, method: &str, path: &str, body: &Value) -> Result<Option<String>> {
    let answer = api.json(method, path, body)?;
    // A route needs an interface to its next hop.
    let may_be = answer.status == 409 || answer.json()["NeutronError"]["type"] == "InvalidRoutes";
    anyhow::ensure!(answer.status < 300 || may_be, "{method} {path} {body}: {}", answer.text());
    // What is refused changes nothing, so there is nothing to look at.
    Ok((answer.status < 300).then(|| format!("{method} {path} {body}")))
}

fn one(api: &Client, dice: &mut Dice, collection: &str, query: &str) -> Result<Option<Value>> {
    let mut all = api.list(collection, query)?;
    // By name or age, not by id, which is another one each time.
    all.sort_by_key(|one| (text(one, "name"), text(one, "project_id"), text(one, "created_at")));
    Ok(dice.pick(&all).cloned())
}

fn groups_of(api: &Client, tenant: &str) -> Result<Vec<Value>> {
    let mut groups = api.list("security-groups", &format!("?project_id={tenant}"))?;
    groups.sort_by_key(|group| text(group, "name"));
    Ok(groups)
}

fn add_rule(api: &Client, dice: &mut Dice) -> Result<Option<String>> {
    let Some(tenant) = dice.pick(&TENANTS) else { return Ok(None) };
    let groups = groups_of(api, tenant)?;
    let (Some(group), Some(other)) = (dice.pick(&groups), dice.pick(&groups)) else { return Ok(None) };
    let v6 = dice.below(2) == 0;
    let mut rule = json!({
        "security_group_id": id(group), "project_id": tenant,
        "direction": if dice.below(4) == 0 { "egress" } else { "ingress" }, "ethertype": if v6 { "IPv6" } else { "IPv4" },
    });
    match dice.below(5) {
        0 => rule["protocol"] = json!(if v6 { "ipv6-icmp" } else { "icmp" }),
        1 => {
            rule["protocol"] = json!(if v6 { "ipv6-icmp" } else { "icmp" });
            rule["port_range_min"] = json!(if v6 { 128 } else { 8 });
        }
        2 | 3 => {
            rule["protocol"] = json!(if dice.below(2) == 0 { "tcp" } else { "udp" });
            let low = 80 + dice.below(2);
            rule["port_range_min"] = json!(low);
            rule["port_range_max"] = json!(low + dice.below(2));
        }
        _ => {}
    }
    match dice.below(5) {
        0 => rule["remote_group_id"] = json!(id(other)),
        2 => rule["remote_address_group_id"] = json!(api.list("address-groups", &format!("?name={tenant}"))?[0]["id"]),
        1 => {
            let prefixes = if v6 {
                ["fd00:a1::/64", "fd00:2::/120", "2001:db8:cafe::/64"]
            } else {
                ["10.0.1.0/25", "10.0.2.0/24", "203.0.113.0/24"]
            };
            rule["remote_ip_prefix"] = json!(dice.pick(&prefixes));
        }
        _ => {}
    }
    attempt(api, "POST", "/v2.0/security-group-rules", &json!({"security_group_rule": rule}))
}

fn remove_rule(api: &Client, dice: &mut Dice) -> Result<Option<String>> {
    let Some(tenant) = dice.pick(&TENANTS) else { return Ok(None) };
    let groups = groups_of(api, tenant)?;
    let rules = groups.iter().filter_map(|group| group["security_group_rules"].as_array()).flatten();
    let mut rules: Vec<&Value> = rules.collect();
    let key = |rule: &Value, name: &str| rule[name].to_string();
    rules.sort_by_key(|rule| {
        ["direction", "ethertype", "protocol", "port_range_min", "remote_ip_prefix", "created_at"]
            .map(|name| key(rule, name))
    });
    let Some(rule) = dice.pick(&rules) else { return Ok(None) };
    api.delete("security-group-rules", &id(rule))?;
    Ok(Some(format!("remove the rule {rule}")))
}

/// Prefixes come into the tenant's address group, or go.
fn address_group(api: &Client, dice: &mut Dice) -> Result<Option<String>> {
    let Some(tenant) = dice.pick(&TENANTS) else { return Ok(None) };
    let group = api.list("address-groups", &format!("?name={tenant}"))?.swap_remove(0);
    let prefixes =
        ["10.0.1.0/25", "10.0.2.128/25", "203.0.113.0/24", "fd00:a1::/64", "fd00:2::/120", "198.51.100.7/32"];
    let Some(prefix) = dice.pick(&prefixes) else { return Ok(None) };
    let has = group["addresses"].as_array().is_some_and(|addresses| addresses.contains(&json!(prefix)));
    let verb = if has { "remove" } else { "add" };
    let path = format!("/v2.0/address-groups/{}/{verb}_addresses", id(&group));
    attempt(api, "PUT", &path, &json!({"addresses": [prefix]}))
}

fn groups(api: &Client, scene: &Scene, dice: &mut Dice) -> Result<Option<String>> {
    let Some(instance) = dice.pick(&scene.instances) else { return Ok(None) };
    let all = groups_of(api, &instance.name[..1])?;
    // The group without memory stays alone: what a mixture means is nobody's promise.
    let mut chosen: Vec<Value> =
        all.iter().filter(|group| group["stateful"] != false && dice.below(3) == 0).cloned().collect();
    if dice.below(6) == 0 {
        chosen = all.into_iter().filter(|group| group["stateful"] == false).collect();
    }
    let body =
        json!({"port": {"port_security_enabled": true, "security_groups": chosen.iter().map(id).collect::<Vec<_>>()}});
    let names: Vec<String> = chosen.iter().map(|group| text(group, "name")).collect();
    attempt(api, "PUT", &format!("/v2.0/ports/{}", instance.port), &body)?;
    Ok(Some(format!("{} is in {names:?}", instance.name)))
}

fn port_security(api: &Client, scene: &Scene, dice: &mut Dice) -> Result<Option<String>> {
    let Some(instance) = dice.pick(&scene.instances) else { return Ok(None) };
    let body = json!({
        "port": {"port_security_enabled": false, "security_groups": [], "allowed_address_pairs": []},
    });
    attempt(api, "PUT", &format!("/v2.0/ports/{}", instance.port), &body)?;
    Ok(Some(format!("{} has no port security", instance.name)))
}

fn port_admin(api: &Client, scene: &Scene, dice: &mut Dice) -> Result<Option<String>> {
    let Some(instance) = dice.pick(&scene.instances) else { return Ok(None) };
    let up = api.show("ports", &instance.port)?["admin_state_up"] == false;
    api.update("ports", &instance.port, json!({"admin_state_up": up}))?;
    Ok(Some(format!("{} is {}", instance.name, if up { "up" } else { "down" })))
}

/// The addresses that are on cards though no subnet gave them come into force, or go.
fn pairs(api: &Client, scene: &Scene, dice: &mut Dice) -> Result<Option<String>> {
    let with = scene.instances.iter().filter(|instance| instance.name.ends_with(HOSTS[0]));
    let with: Vec<_> = with.collect();
    let Some(instance) = dice.pick(&with) else { return Ok(None) };
    let net = if instance.name.contains('1') { 1 } else { 2 };
    let choices = [
        json!([]),
        json!([{"ip_address": format!("10.0.{net}.200")}]),
        json!([{"ip_address": format!("10.0.{net}.192/26")}, {"ip_address": BEYOND}]),
        // Not its own MAC.
        json!([{"ip_address": format!("10.0.{net}.200"), "mac_address": "fa:16:3e:00:00:99"}]),
    ];
    let Some(chosen) = dice.pick(&choices) else { return Ok(None) };
    let body = json!({"port": {"allowed_address_pairs": chosen}});
    let answer = api.json("PUT", &format!("/v2.0/ports/{}", instance.port), &body)?;
    Ok((answer.status == 200).then(|| format!("{} has the pairs {chosen}", instance.name)))
}

fn migrate(scene: &mut Scene, dice: &mut Dice) -> Result<Option<String>> {
    let index = dice.below(scene.instances.len());
    let now = scene.instances[index].host;
    let others: Vec<&'static str> = HOSTS.into_iter().filter(|host| *host != now).collect();
    let Some(host) = dice.pick(&others).copied() else { return Ok(None) };
    scene.move_to(index, host)?;
    Ok(Some(format!("{} moves from {now} to {host}", scene.instances[index].name)))
}

/// An instance is deleted and another takes its place.
fn replace(scene: &mut Scene, dice: &mut Dice) -> Result<Option<String>> {
    let index = dice.below(scene.instances.len());
    let name = scene.instances[index].name.clone();
    // In which order is nobody's promise.
    let port_first = dice.below(2) == 0;
    scene.replace(index, port_first)?;
    Ok(Some(format!("{name} is another one; {} went first", if port_first { "its port" } else { "its card" })))
}

/// An agent ends. Nothing may be lost while it is away, nor when it is back.
fn agent(scene: &mut Scene, dice: &mut Dice, crash: bool) -> Result<Option<String>> {
    let Some((host, kind)) = dice.pick(&scene.cloud.agents()).copied() else { return Ok(None) };
    match crash {
        true => scene.cloud.kill_agent(host, kind)?,
        false => scene.cloud.stop_agent(host, kind)?,
    }
    scene.settles()?;
    scene.cloud.start_agent(host, kind)?;
    Ok(Some(format!("the {kind} agent on {host} {} and is started again", if crash { "is killed" } else { "ends" })))
}
