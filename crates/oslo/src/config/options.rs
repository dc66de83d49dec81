//! The tables of every option that some part of the program knows: names, kinds, defaults and bounds of upstream
//! 2026.2, with the spellings that earlier releases had.
//!
//! Servers and agents share their files, so the tables are one catalogue: an option is unknown only if no part of the
//! program knows it. A new option is a row here and a field in the typed struct that reads it.

mod agent;
mod keystone;
mod l3;
mod library;
mod log;
mod metadata;
mod server;
mod unserved;

use super::option::Catalog;

/// Every option.
pub static CATALOG: &Catalog = &[
    server::GROUPS,
    agent::GROUPS,
    keystone::GROUPS,
    l3::GROUPS,
    library::GROUPS,
    log::GROUPS,
    metadata::GROUPS,
    unserved::GROUPS,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::option::{Group, Kind, Opt, Status};
    use super::super::value;
    use super::*;

    fn each() -> impl Iterator<Item = (&'static Group, &'static Opt)> {
        CATALOG.iter().copied().flatten().flat_map(|group| group.options.iter().map(move |option| (group, option)))
    }

    #[test]
    fn every_name_stands_for_one_option() {
        let mut seen = BTreeSet::new();
        for (group, option) in each() {
            let old = option.deprecated.iter().copied();
            for name in std::iter::once((group.name, option.name)).chain(old) {
                assert!(seen.insert(name), "{name:?} is there twice");
            }
        }
    }

    #[test]
    fn group_names_are_in_lower_case() {
        for (group, option) in each() {
            let lower = |name: &str| name == "DEFAULT" || name == name.to_lowercase();
            assert!(lower(group.name), "{}", group.name);
            assert!(option.deprecated.iter().all(|(group, _)| lower(group)), "{}", option.name);
        }
    }

    #[test]
    fn every_default_is_allowed_by_its_kind() {
        for (group, option) in each() {
            if let Some(default) = option.default {
                let value = value::parse(option.kind, default);
                assert!(value.is_ok(), "[{}] {} = {default}: {value:?}", group.name, option.name);
            }
        }
    }

    #[test]
    fn what_is_served_says_what_it_does() {
        for (group, option) in each() {
            if matches!(option.status, Status::Served | Status::Idle) {
                let help = option.help;
                assert!(
                    help.ends_with('.') && help.len() > 10,
                    "[{}] {} needs a help sentence",
                    group.name,
                    option.name
                );
                assert!(option.kind != Kind::Multi || option.default.is_none());
            }
        }
    }
}
