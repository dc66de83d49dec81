//! The firewall of iptables, ip6tables, ipset and ebtables, as upstream's agent makes it, on bridges that hand their
//! packets to iptables (br_netfilter).

mod bundles;
mod render;
mod sets;
mod tables;

use std::collections::BTreeMap;

use kernel::{
    Namespace,
    process::{self, ProcessError},
    sysctl,
    xtables::Tool,
};

use self::{
    render::{Sets, WRAP},
    sets::Members,
    tables::{Rules, Scripts, Tables, Wanted},
};
use super::{Error, Keep, model::Family, policy::Policy, zones::Zones};

/// The chain that upstream's agents share.
const TOP: &str = "neutron-filter-top";
/// In the order in which a plan has their scripts.
const RULE_TOOLS: [Tool; 3] = [Tool::Iptables, Tool::Ip6tables, Tool::Ebtables];
const SETTINGS: [&str; 2] = ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];

/// See the module.
pub(super) struct Iptables {
    namespace: Namespace,
    sets: Sets,
    zones: Zones,
    /// None when it has to be read, again.
    actual: Option<Actual>,
}

/// What is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Actual {
    rules: BTreeMap<Tool, Tables>,
    sets: Members,
}

/// What to tell the tools, and what there is then.
struct Plan {
    set_script: String,
    /// Of each of [`RULE_TOOLS`].
    scripts: [Scripts; 3],
    /// The sets that are wanted; others are dropped in the end.
    sets: Members,
    /// In force once the scripts have run, with the sets of before.
    now: Actual,
}

impl Actual {
    /// Zones that rules give.
    fn zones(&self) -> Vec<(String, u16)> {
        let raw = self.rules.values().filter_map(|tables| tables.find("raw", &format!("{WRAP}-PREROUTING")));
        raw.flatten().filter_map(|rule| zone_of(rule)).collect()
    }
}

impl Iptables {
    /// Fails with the reason when this host cannot do it.
    pub(super) fn open(namespace: Namespace, ipset: bool) -> Result<Self, String> {
        let mut programs = vec![("iptables-restore", Tool::Iptables), ("ip6tables-restore", Tool::Ip6tables)];
        programs.push(("ebtables-restore", Tool::Ebtables));
        if ipset {
            programs.push(("ipset", Tool::Ipset));
        }
        if let Some((program, tool)) = programs.into_iter().find(|(program, _)| process::which(program).is_none()) {
            return Err(format!("the program {program} is not installed (package {})", tool.package()));
        }
        for setting in SETTINGS {
            match sysctl::read(&namespace, setting) {
                Ok(value) if value == "1" => {}
                Ok(_) => sysctl::write(&namespace, setting, "1").map_err(|error| crate::chain(&error))?,
                Err(_) => {
                    return Err("bridges do not hand packets to iptables: load the module br_netfilter".to_owned());
                }
            }
        }
        let sets = if ipset { Sets::Bundled } else { Sets::Expanded };
        Ok(Self { namespace, sets, zones: Zones::default(), actual: None })
    }

    /// What is in force is read anew before the next change.
    pub(super) fn forget(&mut self) {
        self.actual = None;
    }

    /// The zones of connections.
    pub(super) fn zones(&mut self) -> &mut Zones {
        &mut self.zones
    }

    /// Puts a policy in force: nothing of it, on an error, or all but what is left over to remove.
    pub(super) async fn apply(&mut self, policy: &Policy, keep: &Keep<'_>) -> Result<(), Error> {
        let actual = match self.actual.take() {
            Some(actual) => actual,
            None => self.read().await?,
        };
        self.zones.choose(policy, actual.zones());
        let mut plan = self.plan(policy, keep, actual.clone());
        if let Err(error) = self.restore(Tool::Ipset, &plan.set_script).await {
            plan = self.without_bundles(policy, keep, (actual, error)).await?;
        }
        let [v4, v6, frames] = &plan.scripts;
        // Not beside the others: ebtables gets confused when rules change under it.
        self.restore(Tool::Ebtables, &frames.apply).await?;
        tokio::try_join!(self.restore(Tool::Iptables, &v4.apply), self.restore(Tool::Ip6tables, &v6.apply))?;
        for (tool, scripts) in RULE_TOOLS.iter().zip(&plan.scripts) {
            self.restore(*tool, &scripts.clean).await?;
        }
        let sets = self.drop_sets(plan.sets, plan.now.sets, keep).await;
        self.actual = Some(Actual { sets, ..plan.now });
        Ok(())
    }

    /// The same with rules that stay rules, for a kernel that lacks the sets that many of them fit in.
    async fn without_bundles(
        &mut self,
        policy: &Policy,
        keep: &Keep<'_>,
        (actual, error): (Actual, Error),
    ) -> Result<Plan, Error> {
        if self.sets != Sets::Bundled {
            return Err(error);
        }
        self.sets = Sets::Ipset;
        let plan = self.plan(policy, keep, actual);
        if let Err(again) = self.restore(Tool::Ipset, &plan.set_script).await {
            self.sets = Sets::Bundled;
            return Err(again);
        }
        tracing::warn!("many rules of a group cannot be one set, and cost more: {}", crate::chain(&error));
        Ok(plan)
    }

    /// What makes a policy of what is in force.
    fn plan(&self, policy: &Policy, keep: &Keep<'_>, actual: Actual) -> Plan {
        let wanted = [
            render::render(policy, &self.zones, Family::V4, self.sets),
            render::render(policy, &self.zones, Family::V6, self.sets),
            render::render_frames(policy),
        ];
        let keeps = |rule: &str| names_unknown(rule, policy, keep);
        let mut now = actual;
        let mut scripts = <[Scripts; 3]>::default();
        for ((tool, wanted), scripts) in RULE_TOOLS.into_iter().zip(&wanted).zip(&mut scripts) {
            let is = now.rules.entry(tool).or_default();
            let lone = policy.ports.is_empty() && is_top_alone(is);
            let owned = |table: &str, chain: &str| {
                (is_ours(tool, table, chain) && !names_kept(chain, policy, keep)) || (chain == TOP && lone)
            };
            let how = Rules { owned: &owned, declaration: declaration(tool), keep: &keeps };
            *scripts = tables::scripts(wanted, is, &how);
            wanted.onto(is, &how);
        }
        let sets = sets::wanted(policy, self.sets);
        Plan { set_script: sets::script(&sets, &now.sets), sets, scripts, now }
    }

    /// Removes all of ours, for another firewall has taken over.
    pub(super) async fn remove(namespace: &Namespace) -> Result<(), Error> {
        let left = Self { namespace: namespace.clone(), sets: Sets::Expanded, zones: Zones::default(), actual: None };
        let actual = left.read().await?;
        for (tool, tables) in &actual.rules {
            let mut wanted = Wanted::default();
            wanted.chains.0.extend(tables.0.keys().map(|table| (table.clone(), BTreeMap::new())));
            let lone = is_top_alone(tables);
            let owned = |table: &str, chain: &str| is_ours(*tool, table, chain) || (chain == TOP && lone);
            let rules = Rules { owned: &owned, declaration: declaration(*tool), keep: &|_| false };
            let scripts = tables::scripts(&wanted, tables, &rules);
            left.restore(*tool, &scripts.apply).await?;
            left.restore(*tool, &scripts.clean).await?;
        }
        let used = left.drop_sets(BTreeMap::new(), actual.sets, &Keep::Nothing).await;
        let names: Vec<String> = used.into_keys().collect();
        if names.is_empty() { Ok(()) } else { Err(Error::InUse(names.join(", "))) }
    }

    async fn restore(&self, tool: Tool, script: &str) -> Result<(), Error> {
        if script.is_empty() {
            return Ok(());
        }
        tracing::debug!(?tool, lines = script.lines().count(), "rules change");
        Ok(tool.restore(&self.namespace, script).await?)
    }

    /// What is in force. A tool that is not installed has nothing in force.
    async fn read(&self) -> Result<Actual, Error> {
        let save = |tool: Tool| async move {
            match tool.save(&self.namespace).await {
                Err(ProcessError::NotInstalled(_)) => Ok(String::new()),
                other => other,
            }
        };
        let (v4, v6, frames, sets) =
            tokio::try_join!(save(Tool::Iptables), save(Tool::Ip6tables), save(Tool::Ebtables), save(Tool::Ipset))?;
        let texts = [(Tool::Iptables, v4), (Tool::Ip6tables, v6), (Tool::Ebtables, frames)];
        let rules = texts.iter().map(|(tool, text)| (*tool, Tables::parse(text))).collect();
        Ok(Actual { rules, sets: sets::parse(&sets) })
    }

    /// Removes sets that no rule refers to any more. One that somebody else uses stays.
    async fn drop_sets(&self, wanted: Members, actual: Members, keep: &Keep<'_>) -> Members {
        let mut left = wanted;
        for (name, members) in actual {
            if left.contains_key(&name) || !sets::is_ours(&name) {
                continue;
            }
            let kept = !matches!(keep, Keep::Nothing);
            if kept || self.restore(Tool::Ipset, &format!("destroy {name}\n")).await.is_err() {
                left.insert(name, members);
            }
        }
        left
    }
}

fn declaration(tool: Tool) -> &'static str {
    if tool == Tool::Ebtables { "DROP" } else { "- [0:0]" }
}

/// The chain that upstream's agents share has nothing in it but the way to ours.
fn is_top_alone(tables: &Tables) -> bool {
    let ours = format!("-j {WRAP}-");
    tables.find("filter", TOP).is_some_and(|rules| rules.iter().all(|rule| rule.starts_with(&ours)))
}

fn is_ours(tool: Tool, table: &str, chain: &str) -> bool {
    match tool {
        Tool::Ebtables => table == "nat" && (chain.starts_with("neutronMAC-") || chain.starts_with("neutronARP-")),
        _ => chain.starts_with(WRAP) && chain.as_bytes().get(WRAP.len()) == Some(&b'-'),
    }
}

/// The rule is about a tap that may yet turn out to be a port, or a bridge that may turn out to have one.
fn names_unknown(rule: &str, policy: &Policy, keep: &Keep<'_>) -> bool {
    let Keep::Taps(_) = keep else { return false };
    let mut words = rule.split(' ');
    let named = |word: &str| word.starts_with("tap") && !policy.ports.contains_key(word) && keep.keeps(word);
    words.any(named) || zone_of(rule).is_some_and(|(bridge, _)| policy.ports.values().all(|port| port.bridge != bridge))
}

/// The chain is that of a tap that may yet turn out to be a port.
fn names_kept(chain: &str, policy: &Policy, keep: &Keep<'_>) -> bool {
    let Some((_, name)) = chain.split_once('-') else { return false };
    let of_frames = chain.starts_with("neutronMAC-") || chain.starts_with("neutronARP-");
    let part = if of_frames { name.strip_prefix("tap") } else { chain[WRAP.len().min(chain.len())..].get(2..) };
    let Some(part) = part.filter(|part| part.len() >= 10) else { return false };
    keep.any(|device| !policy.ports.contains_key(device) && device.get(3..).is_some_and(|id| id.starts_with(part)))
}

/// The bridge and the zone of a rule that sets one.
fn zone_of(rule: &str) -> Option<(String, u16)> {
    let zone = rule.split_once("-j CT --zone ")?.1.split(' ').next()?.parse().ok()?;
    let device = rule.split(' ').skip_while(|word| !matches!(*word, "-i" | "--physdev-in")).nth(1)?;
    // Upstream's agent says so of every tap as well.
    Some((device.to_owned(), zone)).filter(|(bridge, _)| !bridge.starts_with("tap"))
}

#[cfg(test)]
mod tests;
