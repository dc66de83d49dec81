//! nftables, in any namespace, in process: rules as text, through the distribution's libnftables.
//!
//! What this module promises:
//!
//! * **A script is one transaction.** All of it is in force or none, and no packet sees half of it.
//! * **Nothing is forked.** The library is loaded when it is first needed; one context per namespace, made by a thread
//!   that enters it, is used from anywhere after that.
//! * **What is there can be read back**: [`Nft::table`] gives chains, rules, sets and their elements as the kernel has
//!   them, in the text that `nft -nn list table` prints.
//!
//! A context holds a socket in its namespace, and with it the namespace itself: who deletes a namespace drops it.
//!
//! A table whose owner wants to know later what it once wrote gives it a comment; so do chains and rules. The kernel
//! keeps comments and nothing else looks at them.

mod library;
mod text;

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::Namespace;

pub(crate) use text::{parse, rule, split_elements};

/// Attempts when the kernel says that somebody else was changing rules at the same moment.
const ATTEMPTS: usize = 10;

/// What can go wrong with rules.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NftError {
    /// The library is not on this machine.
    #[error("libnftables.so.1 cannot be loaded; install the package libnftables1")]
    NoLibrary,
    /// The library has no context to give.
    #[error("cannot open nftables in {0}")]
    Open(String),
    /// The namespace cannot be entered.
    #[error(transparent)]
    Kernel(#[from] crate::Error),
    /// The library or the kernel refused the script. Nothing of it is in force.
    #[error("nftables refused `{line}`: {reason}")]
    Refused {
        /// What was wrong.
        reason: String,
        /// The line of the script that it was wrong with.
        line: String,
    },
}

impl NftError {
    /// What the request refers to does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { reason, .. } if reason.ends_with("No such file or directory"))
    }

    /// The kernel or the library said no, in contrast to not being there at all.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    fn is_race(&self) -> bool {
        matches!(self, Self::Refused { reason, .. } if reason.contains("Interrupted system call"))
    }
}

/// The rules of one namespace. Clones share the context.
#[derive(Clone)]
pub struct Nft(Arc<Mutex<library::Context>>);

/// A table as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// What its maker noted on it.
    pub comment: Option<String>,
    /// Its chains by name.
    pub chains: BTreeMap<String, Chain>,
    /// Its sets and maps by name.
    pub sets: BTreeMap<String, Set>,
}

/// A chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// What its maker noted on it.
    pub comment: Option<String>,
    /// `type … hook … priority …; policy …`, of a base chain.
    pub hook: Option<String>,
    /// Its rules in order, without their comments and the figures of their counters.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// The rule as `nft` writes it.
    pub text: String,
    /// What its maker noted on it.
    pub comment: Option<String>,
}

/// A set, or a map, whose elements then are `key : value`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    /// What its maker noted on it.
    pub comment: Option<String>,
    /// It is a map.
    pub is_map: bool,
    /// Its elements, in the order of listing.
    pub elements: Vec<String>,
}

impl Nft {
    /// A context inside `namespace`.
    pub fn open(namespace: &Namespace) -> Result<Self, NftError> {
        let name = || namespace.name().unwrap_or("the current namespace").to_owned();
        let library = library::Library::get().ok_or(NftError::NoLibrary)?;
        let context = namespace.run(|| library.context())?.ok_or_else(|| NftError::Open(name()))?;
        Ok(Self(Arc::new(Mutex::new(context))))
    }

    /// Runs a script as one transaction. Takes from tens of microseconds to some hundred milliseconds, by its size.
    pub fn run(&self, script: &str) -> Result<(), NftError> {
        self.ask(script).map(drop)
    }

    /// A table with everything in it; none if it does not exist. `family` is as in scripts: `ip`, `inet`, `bridge`, ….
    pub fn table(&self, family: &str, name: &str) -> Result<Option<Table>, NftError> {
        match self.ask(&format!("list table {family} {name}")) {
            Ok(listing) => Ok(parse(&listing).remove(&(family.to_owned(), name.to_owned()))),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Family and name of every table, sorted.
    pub fn tables(&self) -> Result<Vec<(String, String)>, NftError> {
        let listing = self.ask("list tables")?;
        let table = |line: &str| {
            let (family, name) = line.strip_prefix("table ")?.split_once(' ')?;
            Some((family.to_owned(), name.to_owned()))
        };
        let mut tables: Vec<_> = listing.lines().filter_map(table).collect();
        tables.sort();
        Ok(tables)
    }

    /// Runs a script; what it lists in return.
    fn ask(&self, script: &str) -> Result<String, NftError> {
        let mut context = self.0.lock();
        let mut answer = Err(NftError::NoLibrary);
        for _ in 0..ATTEMPTS {
            answer = context.run(script).map_err(|error| refused(script, &error));
            match &answer {
                Err(error) if error.is_race() => {}
                _ => break,
            }
        }
        answer
    }
}

/// The library's report, `<place>:<line>:<columns>: Error: <reason>` and the line with a mark below, taken apart.
fn refused(script: &str, report: &str) -> NftError {
    let mut lines = report.lines().skip_while(|line| !line.contains("Error: "));
    let first = lines.next().unwrap_or(report);
    let (place, reason) = first.split_once("Error: ").unwrap_or(("", first));
    let number = place.split(':').nth(1).and_then(|number| number.parse::<usize>().ok());
    let line = number.and_then(|number| script.lines().nth(number.checked_sub(1)?)).or(lines.next()).unwrap_or(script);
    NftError::Refused { reason: reason.trim().to_owned(), line: line.trim().chars().take(200).collect() }
}

#[cfg(test)]
mod tests;
