//! The firewall of nftables: one table of the bridge family, with a map from each tap to its chains, a chain for each
//! group that all its ports share, and sets for the members of groups. It needs a kernel that tracks connections on
//! bridges.
//!
//! Each chain ends with a rule whose comment is a digest of the whole chain: by it a later agent knows what stands there.

mod render;

use std::collections::{BTreeMap, BTreeSet};

use kernel::{Kernel, nft::Table};
use sha2::{Digest, Sha256};

use self::render::{Rendered, render};
use super::{Error, Keep, policy::Policy, zones::Zones};

const FAMILY: &str = "bridge";
/// The table's name.
const TABLE: &str = "isospin_ports";

/// See the module.
pub(super) struct Nftables<K> {
    kernel: K,
    /// Connections are tracked.
    tracking: bool,
    zones: Zones,
    /// None when it has to be read, again.
    actual: Option<Actual>,
}

/// What is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Actual {
    exists: bool,
    /// Number of rules and digest.
    chains: BTreeMap<String, (usize, String)>,
    sets: BTreeMap<String, BTreeSet<String>>,
}

impl<K: Kernel> Nftables<K> {
    /// Fails with the reason when this host cannot do it. Without `tracking` groups are taken as without state.
    pub(super) async fn open(kernel: K, tracking: bool) -> Result<Self, String> {
        let probe = "isospin_probe";
        let test = if tracking { "ct state established accept" } else { "accept" };
        let script = format!(
            "add table {FAMILY} {probe}\nadd chain {FAMILY} {probe} c\nadd rule {FAMILY} {probe} c {test}\n\
             delete table {FAMILY} {probe}\n"
        );
        kernel.nft(&script).await.map_err(|error| match tracking && error.is_refused() {
            true => format!("this kernel does not track connections on bridges (nf_conntrack_bridge): {error}"),
            false => crate::chain(&error),
        })?;
        Ok(Self { kernel, tracking, zones: Zones::default(), actual: None })
    }

    /// What is in force is read anew before the next change.
    pub(super) fn forget(&mut self) {
        self.actual = None;
    }

    /// The zones of connections; none where they are not tracked.
    pub(super) fn zones(&mut self) -> Option<&mut Zones> {
        self.tracking.then_some(&mut self.zones)
    }

    /// Puts a policy in force, whole or not at all.
    pub(super) async fn apply(&mut self, policy: &Policy, keep: &Keep<'_>) -> Result<(), Error> {
        let actual = match self.actual.take() {
            Some(actual) => actual,
            None => Actual::of(self.kernel.nft_table(FAMILY, TABLE).await?),
        };
        self.zones.choose(policy, actual.zones());
        let wanted = render(policy, self.zones.used(policy).filter(|_| self.tracking), self.tracking);
        let complete = matches!(keep, Keep::Nothing);
        if policy.ports.is_empty() && complete {
            if actual.exists {
                self.kernel.nft(&format!("delete table {FAMILY} {TABLE}\n")).await?;
            }
            self.actual = Some(Actual::default());
            return Ok(());
        }
        let (script, now) = script(&wanted, actual, complete);
        if !script.is_empty() {
            tracing::debug!(lines = script.lines().count(), "rules change");
            self.kernel.nft(&script).await?;
        }
        self.actual = Some(now);
        Ok(())
    }
}

/// Removes the table, for another firewall has taken over. Where there is no nftables there is none.
pub(super) async fn remove<K: Kernel>(kernel: &K) -> Result<(), Error> {
    match kernel.nft_table(FAMILY, TABLE).await {
        Ok(Some(_)) => Ok(kernel.nft(&format!("delete table {FAMILY} {TABLE}\n")).await?),
        Ok(None) | Err(kernel::nft::NftError::NoLibrary) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Actual {
    /// Zones that the table gives.
    fn zones(&self) -> Vec<(String, u16)> {
        let zone = |element: &String| {
            let (bridge, zone) = element.split_once(" : ")?;
            Some((bridge.trim_matches('"').to_owned(), zone.parse().ok()?))
        };
        self.sets.get(render::ZONES).into_iter().flatten().filter_map(zone).collect()
    }

    fn of(table: Option<Table>) -> Self {
        let Some(table) = table else { return Self::default() };
        let chains = table.chains.into_iter().map(|(name, chain)| {
            let digest = chain.rules.last().and_then(|rule| rule.comment.clone()).unwrap_or_default();
            (name, (chain.rules.len(), digest))
        });
        let sets = table.sets.into_iter().map(|(name, set)| (name, set.elements.into_iter().collect()));
        Self { exists: true, chains: chains.collect(), sets: sets.collect() }
    }
}

/// The digest of a chain's rules.
fn digest(rules: &[String]) -> String {
    let sum = Sha256::digest(rules.join("\n").as_bytes());
    sum.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What makes the one of the other, as one transaction, and what there is then.
fn script(wanted: &Rendered, mut actual: Actual, complete: bool) -> (String, Actual) {
    let mut lines: Vec<String> = Vec::new();
    let mut say = |line: String| lines.push(line);
    let on = |verb: &str, object: &str, name: &str| format!("{verb} {object} {FAMILY} {TABLE} {name}");
    if !std::mem::replace(&mut actual.exists, true) {
        say(format!("add table {FAMILY} {TABLE}"));
    }
    for (name, set) in &wanted.sets {
        if !actual.sets.contains_key(name) {
            say(format!("{} {{ {} }}", on("add", set.object(), name), set.definition));
            actual.sets.insert(name.clone(), BTreeSet::new());
        }
    }
    for (name, chain) in &wanted.chains {
        if !actual.chains.contains_key(name) {
            let hook = chain.hook.map(|hook| format!(" {{ {hook} }}")).unwrap_or_default();
            say(on("add", "chain", name) + &hook);
        }
    }
    for (name, chain) in &wanted.chains {
        let now = (chain.rules.len(), digest(&chain.rules));
        if actual.chains.get(name) == Some(&now) {
            continue;
        }
        if actual.chains.contains_key(name) {
            say(on("flush", "chain", name));
        }
        for (place, rule) in chain.rules.iter().enumerate() {
            let last = place + 1 == chain.rules.len();
            let mark = if last { format!(" comment \"{}\"", now.1) } else { String::new() };
            say(format!("{} {rule}{mark}", on("add", "rule", name)));
        }
        actual.chains.insert(name.clone(), now);
    }
    for (name, set) in &wanted.sets {
        let is = actual.sets.entry(name.clone()).or_default();
        let keeps = set.is_map && !complete;
        let gone: Vec<String> = is.difference(&set.elements).filter(|_| !keeps).cloned().collect();
        let new: Vec<String> = set.elements.difference(is).cloned().collect();
        let key = |element: &String| element.split(" : ").next().unwrap_or_default().to_owned();
        if !gone.is_empty() {
            let keys: Vec<String> = gone.iter().map(key).collect();
            say(format!("{} {{ {} }}", on("delete", "element", name), keys.join(", ")));
        }
        if !new.is_empty() {
            say(format!("{} {{ {} }}", on("add", "element", name), new.join(", ")));
        }
        is.retain(|element| !gone.contains(element));
        is.extend(new);
    }
    if complete {
        let chains: Vec<String> =
            actual.chains.keys().filter(|name| !wanted.chains.contains_key(*name)).cloned().collect();
        chains.iter().for_each(|name| say(on("flush", "chain", name)));
        chains.iter().for_each(|name| say(on("delete", "chain", name)));
        chains.iter().for_each(|name| drop(actual.chains.remove(name)));
        let sets: Vec<String> = actual.sets.keys().filter(|name| !wanted.sets.contains_key(*name)).cloned().collect();
        for name in sets {
            say(on("delete", "set", &name));
            actual.sets.remove(&name);
        }
    }
    let script = lines.iter().map(|line| format!("{line}\n")).collect();
    (script, actual)
}

#[cfg(test)]
mod tests;
