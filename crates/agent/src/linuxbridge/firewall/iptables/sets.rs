//! Sets of addresses: what is, what should be, and the way from the one to the other.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        model::{
            Direction::{Egress, Ingress},
            Family, Mode,
        },
        policy::Policy,
    },
    bundles,
    render::{self, Sets},
};

/// Members by the name of their set.
pub(super) type Members = BTreeMap<String, BTreeSet<String>>;

/// How many members a set holds of which nothing is said. Upstream's agent never says more, and cannot use a set that
/// was made otherwise: "a set with the same name already exists".
const USUAL: usize = 65_536;
/// How many one holds that has to hold more.
const LARGE: &str = " maxelem 1048576";
/// What upstream's agent adds to the name of a set that is about to take the place of another.
const NEXT: &str = "-n";

pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("NIPv4") || name.starts_with("NIPv6")
}

pub(super) fn parse(text: &str) -> Members {
    let mut sets = Members::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (verb, Some(name)) = (words.next(), words.next()) else { continue };
        match verb {
            Some("create") => {
                sets.entry(name.to_owned()).or_default();
            }
            Some("add") => sets.entry(name.to_owned()).or_default().extend(words.next().map(str::to_owned)),
            _ => {}
        }
    }
    sets
}

/// The sets that rules refer to. A member that is one address is without its length, as it is listed.
pub(super) fn wanted(policy: &Policy, sets: Sets) -> Members {
    if sets == Sets::Expanded || !policy.ports.values().any(|port| port.mode == Mode::Filtered) {
        return Members::new();
    }
    let text = |net: &ipnet::IpNet| match net.prefix_len() == net.max_prefix_len() {
        true => net.addr().to_string(),
        false => net.to_string(),
    };
    let set = |key| {
        let members = policy.members.get(&key).into_iter().flatten().map(text).collect();
        (render::set_name(&key), members)
    };
    let mut wanted: Members = policy.used_sets().into_iter().map(set).collect();
    for (direction, family) in Family::BOTH.into_iter().flat_map(|family| [(Ingress, family), (Egress, family)]) {
        let groups = bundles::all(policy, direction, family, sets == Sets::Bundled).into_values();
        wanted.extend(groups.flat_map(|group| group.bundles).map(|bundle| (bundle.set, bundle.members)));
    }
    wanted
}

/// What `ipset restore` makes of the one the other by. Nothing is ever missing from a set that should be in it.
pub(super) fn script(wanted: &Members, actual: &Members) -> String {
    let mut script = String::new();
    let empty = BTreeSet::new();
    for (name, want) in wanted {
        let is = actual.get(name);
        if is.is_some_and(|is| (is.len() > USUAL) != (want.len() > USUAL)) {
            replace(&mut script, name, want);
            continue;
        }
        if is.is_none() {
            create(&mut script, name, name, want.len());
        }
        let is = is.unwrap_or(&empty);
        want.difference(is).for_each(|member| script.push_str(&format!("add {name} {member}\n")));
        is.difference(want).for_each(|member| script.push_str(&format!("del {name} {member}\n")));
    }
    script
}

/// How much a set holds cannot be changed: another takes its place, in the rules too.
fn replace(script: &mut String, name: &str, want: &BTreeSet<String>) {
    let next = format!("{name}{NEXT}");
    create(script, name, &next, want.len());
    script.push_str(&format!("flush {next}\n"));
    want.iter().for_each(|member| script.push_str(&format!("add {next} {member}\n")));
    script.push_str(&format!("swap {next} {name}\ndestroy {next}\n"));
}

fn create(script: &mut String, name: &str, as_name: &str, members: usize) {
    let size = if members > USUAL { LARGE } else { "" };
    script.push_str(&format!("create {as_name} {}{size}\n", bundles::settings(name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(name: &str, members: impl Iterator<Item = u32>) -> Members {
        let address = |number: u32| std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
        Members::from([(name.to_owned(), members.map(address).collect())])
    }

    #[test]
    fn sets_are_made_as_upstream_makes_them_and_changed_in_place() {
        let made = script(&sets("NIPv6a", 0..0), &Members::new());
        assert_eq!(made, "create NIPv6a hash:net family inet6\n");
        let made = script(&sets("NIPv4a", 1..2), &Members::new());
        assert_eq!(made, "create NIPv4a hash:net family inet\nadd NIPv4a 10.0.0.1\n");
        assert_eq!(script(&sets("NIPv4a", 1..2), &sets("NIPv4a", 1..2)), "");
        let changed = script(&sets("NIPv4a", 1..2), &sets("NIPv4a", 2..3));
        assert_eq!(changed, "add NIPv4a 10.0.0.1\ndel NIPv4a 10.0.0.2\n");
    }

    #[test]
    fn a_set_that_no_longer_holds_its_members_gives_way_to_a_larger_one() {
        let (usual, more) = (sets("NIPv4a", 0..65_536), sets("NIPv4a", 0..65_537));
        let grown = script(&more, &usual);
        assert!(grown.starts_with("create NIPv4a-n hash:net family inet maxelem 1048576\nflush NIPv4a-n\nadd "));
        assert!(grown.ends_with("swap NIPv4a-n NIPv4a\ndestroy NIPv4a-n\n"));
        assert_eq!(grown.matches("\nadd NIPv4a-n ").count(), 65_537);
        let shrunk = script(&usual, &more);
        assert!(shrunk.starts_with("create NIPv4a-n hash:net family inet\nflush "));
        assert_eq!(script(&more, &more), "");
        assert!(script(&more, &Members::new()).starts_with("create NIPv4a hash:net family inet maxelem 1048576\nadd "));
    }
}
