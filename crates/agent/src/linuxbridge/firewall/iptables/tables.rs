//! Tables of iptables, ip6tables or ebtables as text: read, compared, and the script that makes one of the other.

use std::collections::{BTreeMap, BTreeSet};

/// Chains of one table by name.
type Chains = BTreeMap<String, Vec<String>>;

/// The tables of one of the tools by name. Rules are without `-A <chain>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tables(pub BTreeMap<String, Chains>);

/// A jump that must stand in a chain which is not ours alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Jump {
    pub table: &'static str,
    pub chain: &'static str,
    pub rule: String,
    /// Before everything else.
    pub top: bool,
}

/// What there shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Chains that are ours, whole.
    pub chains: Tables,
    pub jumps: Vec<Jump>,
}

/// What to tell the tool: first what is wanted, then, as a second transaction, what is left over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scripts {
    pub apply: String,
    pub clean: String,
}

impl Tables {
    /// Reads what `iptables-save` and its like print.
    pub(super) fn parse(text: &str) -> Self {
        let mut tables = Self::default();
        let mut table = String::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name.trim().to_owned();
                tables.0.entry(table.clone()).or_default();
            } else if let Some(chain) = line.strip_prefix(':') {
                tables.chain(&table, chain.split(' ').next().unwrap_or_default());
            } else if let Some((chain, rule)) = line.strip_prefix("-A ").and_then(|line| line.split_once(' ')) {
                tables.chain(&table, chain).push(rule.trim().to_owned());
            }
        }
        tables
    }

    /// A chain, which is made if need be.
    pub(super) fn chain(&mut self, table: &str, chain: &str) -> &mut Vec<String> {
        self.0.entry(table.to_owned()).or_default().entry(chain.to_owned()).or_default()
    }

    pub(super) fn find(&self, table: &str, chain: &str) -> Option<&Vec<String>> {
        self.0.get(table)?.get(chain)
    }
}

/// What makes a chain ours, how new chains are declared, and which rules of our chains are to stay although they are
/// not wanted.
pub(super) struct Rules<'r> {
    pub owned: &'r (dyn Fn(&str, &str) -> bool + Sync),
    pub declaration: &'static str,
    pub keep: &'r (dyn Fn(&str) -> bool + Sync),
}

impl Wanted {
    /// What there is once the scripts have run.
    pub(super) fn onto(&self, actual: &mut Tables, rules: &Rules<'_>) {
        for (table, want) in &self.chains.0 {
            let is = actual.0.entry(table.clone()).or_default();
            let gone: Vec<String> =
                is.keys().filter(|chain| (rules.owned)(table, chain) && !want.contains_key(*chain)).cloned().collect();
            for chain in gone {
                is.remove(&chain);
                let target = format!("-j {chain}");
                is.values_mut().for_each(|rules| rules.retain(|rule| !rule.ends_with(&target)));
            }
            for (chain, want) in want {
                let is = is.entry(chain.clone()).or_default();
                is.retain(|rule| (rules.keep)(rule));
                is.extend(want.iter().cloned());
            }
            let mut standing = Standing::default();
            for jump in self.jumps.iter().filter(|jump| jump.table == table) {
                if !standing.has(is, jump) {
                    is.entry(jump.chain.to_owned()).or_default().push(jump.rule.clone());
                }
            }
        }
    }
}

/// The rules of chains that are jumped from, as they compare: each chain is taken apart once, not for every jump.
#[derive(Default)]
struct Standing(BTreeMap<&'static str, BTreeSet<String>>);

impl Standing {
    /// Whether a jump stood when its chain was first asked about. No jump is wanted twice.
    fn has(&mut self, is: &Chains, jump: &Jump) -> bool {
        let all = || is.get(jump.chain).into_iter().flatten().map(|rule| normal(rule)).collect();
        self.0.entry(jump.chain).or_insert_with(all).contains(&normal(&jump.rule))
    }
}

/// Compares.
pub(super) fn scripts(wanted: &Wanted, actual: &Tables, rules: &Rules<'_>) -> Scripts {
    let mut scripts = Scripts::default();
    let tables: BTreeSet<&String> = wanted.chains.0.keys().collect();
    let empty = Chains::new();
    for table in tables {
        let (want, is) = (&wanted.chains.0[table], actual.0.get(table).unwrap_or(&empty));
        let (mut declared, mut lines, mut stale) = (Vec::new(), Vec::new(), Vec::new());
        for (chain, want) in want {
            let kept = is.get(chain).into_iter().flatten().filter(|rule| (rules.keep)(rule));
            let want: Vec<&String> = kept.chain(want).collect();
            if is.get(chain).is_none_or(|is| !same(is, &want)) {
                declared.push(format!(":{chain} {}", rules.declaration));
                lines.extend(want.iter().map(|rule| format!("-A {chain} {rule}")));
            }
        }
        let mut standing = Standing::default();
        for jump in wanted.jumps.iter().filter(|jump| jump.table == table) {
            // Built-in chains, which are in capitals, are always there.
            let declaration = format!(":{} {}", jump.chain, rules.declaration);
            let is_built_in = jump.chain.bytes().all(|byte| byte.is_ascii_uppercase());
            if !is_built_in && !is.contains_key(jump.chain) && !declared.contains(&declaration) {
                declared.push(declaration);
            }
            if !standing.has(is, jump) {
                let verb = if jump.top { "-I" } else { "-A" };
                lines.push(format!("{verb} {} {}", jump.chain, jump.rule));
            }
        }
        for chain in is.keys().filter(|chain| (rules.owned)(table, chain) && !want.contains_key(*chain)) {
            let target = format!("-j {chain}");
            let used = |rule: &&String| rule.ends_with(&target);
            // Built-in chains may jump to it; our own, being rewritten, no longer do.
            for (from, rule) in is.iter().flat_map(|(from, rules)| rules.iter().map(move |rule| (from, rule))) {
                if used(&rule) && !(rules.owned)(table, from) {
                    lines.push(format!("-D {from} {rule}"));
                }
            }
            stale.push(format!(":{chain} {}", rules.declaration));
            stale.push(format!("-X {chain}"));
        }
        write(&mut scripts.apply, table, [declared, lines].concat());
        // All are emptied before the first goes, for they may jump to one another.
        stale.sort_by_key(|line| !line.starts_with(':'));
        write(&mut scripts.clean, table, stale);
    }
    scripts
}

fn write(script: &mut String, table: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    script.push_str(&format!("*{table}\n"));
    for line in lines {
        script.push_str(&line);
        script.push('\n');
    }
    script.push_str("COMMIT\n");
}

fn same(is: &[String], want: &[&String]) -> bool {
    is.len() == want.len() && is.iter().zip(want).all(|(is, want)| is == *want || normal(is) == normal(want))
}

/// Matches that add nothing to their options.
const TRANSPORTS: [&str; 3] = ["tcp", "udp", "multiport"];

/// A rule without what makes no difference: remarks, but for those that tell rules apart, and spellings.
fn normal(rule: &str) -> String {
    let mut words = words(rule).into_iter().peekable();
    let mut kept: Vec<String> = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "-m" if words.peek() == Some(&"comment") => {
                let remark = words.nth(2).unwrap_or_default().trim_matches('"');
                if remark.starts_with("Set zone for ") || remark.starts_with("Make ") {
                    kept.push(remark.to_owned());
                }
            }
            // By whichever match ports are told.
            "-m" if words.peek().is_some_and(|word| TRANSPORTS.contains(word)) => drop(words.next()),
            "--sport" | "--sports" => kept.push("--sports".to_owned()),
            "--dport" | "--dports" => kept.push("--dports".to_owned()),
            "-p" => kept.push(format!("-p {}", words.next().map(protocol).unwrap_or_default())),
            "-s" => {
                let from = words.next().unwrap_or_default();
                let is_mac = from.matches(':').count() == 5 && !from.contains("::") && !from.contains('/');
                kept.push(format!("-s {}", if is_mac { padded(from) } else { from.to_ascii_lowercase() }));
            }
            other => kept.push(other.trim_matches('"').to_ascii_lowercase()),
        }
    }
    kept.join(" ")
}

/// The words of a rule; what is quoted is one.
fn words(rule: &str) -> Vec<&str> {
    let mut quoted = false;
    let separates = |letter: char| {
        quoted ^= letter == '"';
        letter == ' ' && !quoted
    };
    rule.split(separates).filter(|word| !word.is_empty()).collect()
}

/// A MAC with two digits a byte.
fn padded(mac: &str) -> String {
    mac.split(':').map(|byte| format!("{byte:0>2}")).collect::<Vec<_>>().join(":").to_ascii_lowercase()
}

/// A protocol by number, whatever name the system's table has for it.
fn protocol(name: &str) -> String {
    let number = match name {
        "icmp" => 1,
        "igmp" => 2,
        "ipencap" | "ipv4" | "ipip" => 4,
        "tcp" => 6,
        "egp" => 8,
        "udp" => 17,
        "dccp" => 33,
        "ipv6" => 41,
        "ipv6-route" => 43,
        "ipv6-frag" => 44,
        "rsvp" => 46,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "ipv6-icmp" | "icmpv6" => 58,
        "ipv6-nonxt" => 59,
        "ipv6-opts" => 60,
        "ospf" | "ospfigp" => 89,
        "vrrp" => 112,
        "pgm" => 113,
        "sctp" => 132,
        "udplite" => 136,
        other => return other.to_owned(),
    };
    number.to_string()
}
