//! Everything is deleted, in any order, and hosts and database are as they were when there was nothing.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use testkit::{
    cloud::Cloud,
    dice::Dice,
    http::{Answer, id, text},
    wait,
};

use crate::scene::{Instance, Scene};

/// How long agents may take to remove what was theirs.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is deleted, and what it says when it is in use.
const KINDS: [(&str, &[&str]); 7] = [
    ("floatingips", &[]),
    ("routers", &["RouterInUse"]),
    ("ports", &["ServicePortInUse", "RouterInterfaceInUseByFloatingIP"]),
    ("subnets", &["SubnetInUse"]),
    ("networks", &["NetworkInUse"]),
    ("security-groups", &["SecurityGroupInUse"]),
    ("address-groups", &["AddressGroupInUse"]),
];
const INTERFACE: &[&str] = &["RouterInterfaceInUseByFloatingIP", "RouterInterfaceInUseByRoute"];

/// Something to delete.
#[derive(Debug)]
enum Thing {
    Resource {
        kind: &'static str,
        id: String,
        conflicts: &'static [&'static str],
    },
    Interface {
        router: String,
        subnet: String,
    },
    /// The extra routes of a router.
    Routes(String),
    /// The card of an instance, by the instance's name.
    Card(String),
}

/// What is there before anything was made.
pub(crate) struct Before(BTreeSet<String>);

impl Before {
    pub(crate) fn look(cloud: &Cloud) -> Result<Self> {
        Ok(Self(cloud.inventory()?))
    }

    /// Waits until all is as it was.
    fn again(&self, cloud: &Cloud) -> Result<()> {
        let mut differ = Vec::new();
        let is_again = || {
            let now = cloud.inventory().unwrap_or_default();
            differ = self.0.difference(&now).map(|line| format!("missing: {line}")).collect();
            differ.extend(now.difference(&self.0).map(|line| format!("left: {line}")));
            differ.is_empty()
        };
        if !wait::until(PATIENCE, is_again) {
            bail!("not as before:\n  {}", differ.join("\n  "));
        }
        Ok(())
    }
}

impl Scene {
    /// Deletes all there is. What is refused is tried again when something else has gone.
    pub(crate) fn end(mut self, dice: &mut Dice) -> Result<Cloud> {
        let mut left = self.things()?;
        let (mut refused, mut in_a_row) = (BTreeSet::new(), 0);
        while !left.is_empty() {
            let thing = left.swap_remove(dice.below(left.len()));
            let Some(conflict) = self.delete(&thing)? else {
                in_a_row = 0;
                continue;
            };
            refused.insert(conflict);
            in_a_row += 1;
            ensure!(in_a_row < 50 * left.len().max(1), "{thing:?} of {left:?} stays: {refused:?}");
            left.push(thing);
        }
        println!("all is deleted; refused meanwhile: {refused:?}");
        self.before.again(&self.cloud)?;
        Ok(self.cloud)
    }

    fn things(&self) -> Result<Vec<Thing>> {
        let api = self.cloud.api();
        let mut things: Vec<Thing> = self.instances.iter().map(|one| Thing::Card(one.name.clone())).collect();
        for (kind, conflicts) in KINDS {
            for one in api.list(kind, "")? {
                things.extend((kind == "routers").then(|| Thing::Routes(id(&one))));
                things.push(Thing::Resource { kind, id: id(&one), conflicts });
                let owner = text(&one, "device_owner");
                let of_router =
                    ["network:router_interface", "network:ha_router_replicated_interface"].contains(&owner.as_str());
                for fixed in one["fixed_ips"].as_array().filter(|_| of_router).into_iter().flatten() {
                    things.push(Thing::Interface { router: text(&one, "device_id"), subnet: text(fixed, "subnet_id") });
                }
            }
        }
        Ok(things)
    }

    /// Deletes something; the conflict, if there is one.
    fn delete(&mut self, thing: &Thing) -> Result<Option<String>> {
        let api = self.cloud.api();
        let (answer, conflicts) = match thing {
            Thing::Card(name) => {
                let gone = |one: &mut Instance| one.name == *name;
                for instance in self.instances.extract_if(.., gone) {
                    self.cloud.node(instance.host).unplug(&instance.plugged)?;
                }
                return Ok(None);
            }
            Thing::Resource { kind, id, conflicts } => {
                (api.send("DELETE", &format!("/v2.0/{kind}/{id}"), &[], None)?, *conflicts)
            }
            Thing::Routes(router) => {
                let body = json!({"router": {"routes": []}});
                (api.json("PUT", &format!("/v2.0/routers/{router}"), &body)?, &[][..])
            }
            Thing::Interface { router, subnet } => {
                let path = format!("/v2.0/routers/{router}/remove_router_interface");
                (api.json("PUT", &path, &json!({"subnet_id": subnet}))?, INTERFACE)
            }
        };
        refusal(thing, &answer, conflicts)
    }
}

/// It went, or is in use in a way that may be.
fn refusal(thing: &Thing, answer: &Answer, conflicts: &[&str]) -> Result<Option<String>> {
    match answer.status {
        // It may have gone with another.
        200 | 204 | 404 => Ok(None),
        409 => {
            let told: Value = answer.json();
            let kind = text(&told["NeutronError"], "type");
            ensure!(conflicts.contains(&kind.as_str()), "{thing:?}: {}", answer.text());
            Ok(Some(kind))
        }
        status => bail!("{thing:?}: {status} {}", answer.text()),
    }
}
