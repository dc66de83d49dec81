//! nftables in memory: enough of its language for the scripts that agents write, one statement a line or a table as a
//! block. Rules are kept as text; whether they mean anything only the real kernel knows.

use std::collections::BTreeMap;

use crate::nft::{Chain, NftError, Set, Table, parse, rule, split_elements};

/// What a namespace has.
pub(super) type Tables = BTreeMap<(String, String), Table>;

/// Runs a script on a copy, so that it is in force whole or not at all.
pub(super) fn run(tables: &Tables, script: &str) -> Result<Tables, NftError> {
    let mut tables = tables.clone();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with("table ") && line.ends_with('{') {
            let mut block = format!("{line}\n");
            let mut depth = 1;
            while depth > 0 {
                let Some(line) = lines.next() else {
                    return Err(refused(line, "syntax error, unexpected end of file"));
                };
                depth += line.matches('{').count();
                depth -= line.matches('}').count().min(depth);
                block.push_str(line);
                block.push('\n');
            }
            merge(&mut tables, parse(&block));
            continue;
        }
        statement(&mut tables, line).map_err(|reason| refused(line, reason))?;
    }
    Ok(tables)
}

fn refused(line: &str, reason: &str) -> NftError {
    NftError::Refused { reason: reason.to_owned(), line: line.to_owned() }
}

/// A block adds to what is there.
fn merge(tables: &mut Tables, new: Tables) {
    for (key, table) in new {
        let old = tables.entry(key).or_default();
        old.comment = table.comment.or(old.comment.take());
        for (name, chain) in table.chains {
            let old = old.chains.entry(name).or_default();
            let rules = std::mem::take(&mut old.rules);
            *old = Chain { rules: rules.into_iter().chain(chain.rules).collect(), ..chain };
        }
        for (name, set) in table.sets {
            add_elements(old.sets.entry(name).or_insert(Set { elements: Vec::new(), ..set.clone() }), set.elements);
        }
    }
}

const MISSING: &str = "No such file or directory";

fn statement(tables: &mut Tables, line: &str) -> Result<(), &'static str> {
    let mut words = line.splitn(6, ' ');
    let mut word = || words.next().unwrap_or_default().trim_end_matches(';');
    let (verb, object, family, name, inner) = (word(), word(), word(), word(), word());
    let rest = line.splitn(6, ' ').nth(5).unwrap_or_default();
    let key = (family.to_owned(), name.to_owned());
    let noted = |text: &str| text.split_once("comment \"").and_then(|(_, t)| Some(t.split_once('"')?.0.to_owned()));
    match (verb, object) {
        ("add", "table") => {
            let comment = noted(line);
            tables.entry(key).or_insert(Table { comment, ..Table::default() });
            return Ok(());
        }
        ("delete", "table") => return tables.remove(&key).map(drop).ok_or(MISSING),
        _ => {}
    }
    let table = tables.get_mut(&key).ok_or(MISSING)?;
    match (verb, object) {
        ("flush", "table") => table.chains.values_mut().for_each(|chain| chain.rules.clear()),
        ("add", "chain") => {
            let hook = rest.find("type ").map(|start| {
                let end = rest.find('}').unwrap_or(rest.len());
                rest[start..end].trim().to_owned()
            });
            table.chains.entry(inner.to_owned()).or_insert(Chain { comment: noted(rest), hook, rules: Vec::new() });
        }
        ("delete", "chain") => drop(table.chains.remove(inner).ok_or(MISSING)?),
        ("flush", "chain") => table.chains.get_mut(inner).ok_or(MISSING)?.rules.clear(),
        ("add", "rule") => table.chains.get_mut(inner).ok_or(MISSING)?.rules.push(rule(rest)),
        ("insert", "rule") => table.chains.get_mut(inner).ok_or(MISSING)?.rules.insert(0, rule(rest)),
        ("add", "set" | "map") => {
            let set = Set { comment: noted(rest), is_map: object == "map", elements: Vec::new() };
            table.sets.entry(inner.to_owned()).or_insert(set);
        }
        ("delete", "set" | "map") => drop(table.sets.remove(inner).ok_or(MISSING)?),
        ("flush", "set" | "map") => table.sets.get_mut(inner).ok_or(MISSING)?.elements.clear(),
        ("add", "element") => add_elements(table.sets.get_mut(inner).ok_or(MISSING)?, elements(rest)),
        ("delete", "element") => {
            let set = table.sets.get_mut(inner).ok_or(MISSING)?;
            for gone in elements(rest) {
                let place = set.elements.iter().position(|element| of_key(element) == of_key(&gone)).ok_or(MISSING)?;
                set.elements.remove(place);
            }
        }
        _ => return Err("syntax error"),
    }
    Ok(())
}

fn elements(rest: &str) -> Vec<String> {
    split_elements(rest.trim().trim_start_matches('{').trim_end_matches('}'))
}

fn of_key(element: &str) -> &str {
    element.split_once(" : ").map_or(element, |(key, _)| key)
}

fn add_elements(set: &mut Set, new: Vec<String>) {
    for element in new {
        if !set.elements.contains(&element) {
            set.elements.push(element);
        }
    }
    set.elements.sort();
}
