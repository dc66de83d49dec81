//! Listings taken apart. The same grammar is that of tables in scripts.

use std::collections::BTreeMap;

use super::{Chain, Rule, Set, Table};

/// The tables of a listing by family and name.
pub(crate) fn parse(text: &str) -> BTreeMap<(String, String), Table> {
    let mut tables = BTreeMap::new();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    while let Some(line) = lines.next() {
        let mut words = line.split_whitespace();
        if words.next() != Some("table") {
            continue;
        }
        let (Some(family), Some(name)) = (words.next(), words.next()) else { continue };
        tables.insert((family.to_owned(), name.to_owned()), table(&mut lines));
    }
    tables
}

fn table<'t>(lines: &mut impl Iterator<Item = &'t str>) -> Table {
    let mut table = Table::default();
    while let Some(line) = lines.next() {
        if line == "}" {
            break;
        }
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("comment"), _) => table.comment = comment(line),
            (Some("chain"), Some(name)) => drop(table.chains.insert(name.to_owned(), chain(lines))),
            (Some(kind @ ("set" | "map")), Some(name)) => {
                table.sets.insert(name.to_owned(), set(kind == "map", lines));
            }
            _ => {}
        }
    }
    table
}

fn chain<'t>(lines: &mut impl Iterator<Item = &'t str>) -> Chain {
    let mut chain = Chain::default();
    let mut lines = lines.take_while(|line| *line != "}");
    while let Some(line) = lines.next() {
        if line.starts_with("comment ") {
            chain.comment = comment(line);
        } else if line.starts_with("type ") {
            chain.hook = Some(line.to_owned());
        } else {
            // A long list of elements is broken into lines.
            let mut whole = line.to_owned();
            while depth(&whole) > 0 {
                let Some(next) = lines.next() else { break };
                whole.push(' ');
                whole.push_str(next);
            }
            chain.rules.push(rule(&whole));
        }
    }
    chain
}

/// A rule as it is written, its comment apart.
pub(crate) fn rule(text: &str) -> Rule {
    let (text, comment) = match text.rsplit_once(" comment \"") {
        Some((text, comment)) if comment.ends_with('"') => (text, comment.strip_suffix('"').map(str::to_owned)),
        _ => (text, None),
    };
    let mut words = text.split(' ').peekable();
    let mut kept: Vec<&str> = Vec::new();
    while let Some(word) = words.next() {
        kept.push(word);
        if word == "counter" && words.peek() == Some(&"packets") {
            words.by_ref().take(4).for_each(drop);
        }
    }
    Rule { text: kept.join(" "), comment }
}

fn set<'t>(is_map: bool, lines: &mut impl Iterator<Item = &'t str>) -> Set {
    let mut set = Set { is_map, ..Set::default() };
    let mut open = false;
    let mut elements = String::new();
    for line in lines.by_ref() {
        let part = match line.strip_prefix("elements = {") {
            Some(part) => part,
            None if open => line,
            None if line == "}" => break,
            None => {
                if line.starts_with("comment ") {
                    set.comment = comment(line);
                }
                continue;
            }
        };
        elements.push_str(part.strip_suffix('}').unwrap_or(part));
        open = !part.ends_with('}');
    }
    set.elements = split_elements(&elements);
    set
}

/// The elements of a list that is separated by commas.
pub(crate) fn split_elements(list: &str) -> Vec<String> {
    let tidy = |element: &str| element.split_whitespace().collect::<Vec<_>>().join(" ");
    list.split(',').map(tidy).filter(|element| !element.is_empty()).collect()
}

fn comment(line: &str) -> Option<String> {
    Some(line.split_once('"')?.1.rsplit_once('"')?.0.to_owned())
}

/// Braces that are open at the end of a text, those within quotes apart.
fn depth(text: &str) -> i32 {
    let mut quoted = false;
    text.bytes().fold(0, |depth, byte| match byte {
        b'"' => {
            quoted = !quoted;
            depth
        }
        b'{' if !quoted => depth + 1,
        b'}' if !quoted => depth - 1,
        _ => depth,
    })
}
