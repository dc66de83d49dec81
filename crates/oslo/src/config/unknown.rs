//! Warnings for what files hold and nothing reads: misspelled options, with the spelling that was probably meant, and
//! options that upstream dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Warning;
use super::ini::Assignment;
use super::option::{Catalog, Opt, Status};
use super::suggest::nearest;

/// Sections whose options other programs define at run time.
const OPEN_GROUPS: [&str; 1] = ["service_providers"];

/// All known names of each group: the options', and their older spellings.
struct Names {
    groups: BTreeMap<&'static str, BTreeSet<&'static str>>,
    retired: BTreeMap<(&'static str, &'static str), &'static str>,
}

pub(super) fn warnings(catalog: &'static Catalog, files: &[Vec<Assignment>]) -> Vec<Warning> {
    let names = Names::of(catalog);
    files
        .iter()
        .flatten()
        .filter_map(|assignment| {
            let text = names.problem(&assignment.group, &assignment.key)?;
            Some(Warning { place: assignment.place.clone(), text })
        })
        .collect()
}

impl Names {
    fn of(catalog: &'static Catalog) -> Self {
        let mut names = Self { groups: BTreeMap::new(), retired: BTreeMap::new() };
        for group in catalog.iter().copied().flatten() {
            names.groups.entry(group.name).or_default();
            for option in group.options {
                names.add(group.name, option);
            }
        }
        names
    }

    fn add(&mut self, group: &'static str, option: &'static Opt) {
        self.groups.entry(group).or_default().insert(option.name);
        if let Status::Retired(instead) = option.status {
            self.retired.insert((group, option.name), instead);
        }
        for (old_group, old_name) in option.deprecated {
            self.groups.entry(old_group).or_default().insert(old_name);
        }
    }

    /// What is wrong with using this name, if anything is.
    fn problem(&self, group: &str, key: &str) -> Option<String> {
        if OPEN_GROUPS.contains(&group) {
            return None;
        }
        let Some(known) = self.groups.get(group) else {
            let hint = self.group_hint(group, key);
            return Some(format!("nothing reads the section [{group}], so its option {key} is ignored{hint}"));
        };
        if known.contains(key) {
            let instead = self.retired.get(&(group, key))?;
            return Some(format!("[{group}] {key} has no effect: {instead}"));
        }
        let hint = match nearest(key, known.iter().copied()) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => self.elsewhere(key),
        };
        Some(format!("unknown option {key} in [{group}], ignored{hint}"))
    }

    fn group_hint(&self, group: &str, key: &str) -> String {
        match nearest(group, self.groups.keys().copied()) {
            Some(near) => format!("; did you mean [{near}]?"),
            None => self.elsewhere(key),
        }
    }

    /// The groups that have an option of this very name.
    fn elsewhere(&self, key: &str) -> String {
        let homes: Vec<_> =
            self.groups.iter().filter(|(_, known)| known.contains(key)).map(|(group, _)| *group).collect();
        match homes.as_slice() {
            [] => String::new(),
            [home] => format!("; it belongs in [{home}]"),
            homes => format!("; options of this name are in [{}]", homes.join("], [")),
        }
    }
}
