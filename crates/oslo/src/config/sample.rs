//! The sample file: every option that is read, commented out, with what it does and its default.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::option::{Catalog, Opt, Status};
use super::value::allowed;

/// The text of a file that names every served option of a catalogue and sets none.
pub fn sample(catalog: &'static Catalog) -> String {
    let mut groups: BTreeMap<&str, Vec<&Opt>> = BTreeMap::new();
    for group in catalog.iter().copied().flatten() {
        groups.entry(group.name).or_default().extend(group.options.iter().filter(|o| o.status == Status::Served));
    }
    let mut text = String::new();
    for (name, mut options) in groups {
        if options.is_empty() {
            continue;
        }
        options.sort_by_key(|option| option.name);
        let _ = writeln!(text, "[{name}]");
        for option in options {
            write_option(&mut text, option);
        }
    }
    text
}

// Writing into a String cannot fail.
fn write_option(text: &mut String, option: &Opt) {
    let _ = writeln!(text, "\n# {}", if option.help.is_empty() { "(no description)" } else { option.help });
    let _ = write!(text, "# Allowed: {}.", allowed(option.kind));
    let _ = writeln!(text, "{}", if option.mutable { " A running service re-reads it on SIGHUP." } else { "" });
    for (group, name) in option.deprecated {
        let _ = writeln!(text, "# Older spelling: [{group}] {name}");
    }
    let _ = match option.default {
        Some(default) => writeln!(text, "#{} = {default}", option.name),
        None => writeln!(text, "#{} =", option.name),
    };
}
