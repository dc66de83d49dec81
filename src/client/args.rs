//! Reads a command line against a command's table, as the old command read it.
//!
//! Options and arguments may be mixed; a long option may be shortened while it is unambiguous; what is not
//! known is kept, in order, for [`super::extra`]. After a lone `--` everything is kept and nothing is read.

use super::error::ClientError;
use super::spec::{Action, Command, Count, Effect, Opt, Positional, Take};

/// A command line, read.
#[derive(Default)]
pub(super) struct Parsed {
    /// The values of each positional argument, in the order of the table.
    pub positionals: Vec<Vec<String>>,
    /// The options given, in order.
    pub options: Vec<(&'static Opt, Option<String>)>,
    /// What was not understood.
    pub extra: Vec<String>,
}

impl Parsed {
    /// The last value of an option, if it was given.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(opt, _)| opt.name() == name).and_then(|(_, value)| value.as_deref())
    }

    /// All values of an option.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        self.options.iter().filter(|(opt, _)| opt.name() == name).filter_map(|(_, value)| value.as_deref()).collect()
    }

    /// Whether an option was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(opt, _)| opt.name() == name)
    }

    /// The first value of a positional argument.
    pub(super) fn argument(&self, index: usize) -> Option<&str> {
        self.positionals.get(index).and_then(|values| values.first()).map(String::as_str)
    }
}

const FORMAT: &str = "output format";

static DISPLAY: &[Opt] = &[
    Opt::many(&["--column", "-c"], "COLUMN", Effect::Local, "a column to include (may be repeated)"),
    Opt::one(&["--max-width"], "N", Effect::Local, "the widest a table may be, 0 for no limit"),
    Opt::flag(&["--fit-width"], Effect::Local, "fit a table to the terminal"),
    Opt::flag(&["--print-empty"], Effect::Local, "print a table even if it has no rows"),
    Opt::flag(&["--noindent"], Effect::Local, "JSON on one line"),
];

static LIST_DISPLAY: &[Opt] = &[
    Opt::one(&["--format", "-f"], "FORMAT", Effect::Local, FORMAT).among(&["csv", "json", "table", "value", "yaml"]),
    Opt::one(&["--quote"], "MODE", Effect::Local, "what to quote in CSV").among(&[
        "all",
        "minimal",
        "none",
        "nonnumeric",
    ]),
    Opt::many(&["--sort-column"], "COLUMN", Effect::Local, "sort the rows received by a column"),
    Opt::flag(&["--sort-ascending"], Effect::Local, "smallest first").exclusive(250),
    Opt::flag(&["--sort-descending"], Effect::Local, "largest first").exclusive(250),
];

static SHOW_DISPLAY: &[Opt] = &[
    Opt::one(&["--format", "-f"], "FORMAT", Effect::Local, FORMAT).among(&["json", "shell", "table", "value", "yaml"]),
    Opt::one(&["--prefix"], "TEXT", Effect::Local, "put before each variable of the shell format"),
    Opt::many(&["--variable"], "NAME", Effect::Local, "a variable of the shell format to print"),
];

static FIELDS: &[Opt] = &[
    Opt::flag(&["--show-details", "-D"], Effect::Local, "ask the server for details"),
    Opt::many(&["--field", "--fields", "-F"], "FIELD", Effect::Local, "a field the server is to return"),
];

static PAGING: &[Opt] = &[
    Opt::one(&["--page-size", "-P"], "SIZE", Effect::Local, "how many to ask for at a time"),
    Opt::many(&["--sort-key"], "FIELD", Effect::Local, "sort by a field"),
    Opt::many(&["--sort-dir"], "DIR", Effect::Local, "the direction of a sort key").among(&["asc", "desc"]),
];

static OWNER: &[Opt] =
    &[Opt::one(&["--tenant-id"], "TENANT_ID", Effect::Text("tenant_id"), "the project that will own it")];

/// The options of a command: its own and those of its kind.
pub(super) fn options_of(command: &'static Command) -> impl Iterator<Item = &'static Opt> {
    let none: &'static [Opt] = &[];
    let pick = |wanted: bool, options: &'static [Opt]| if wanted { options } else { none };
    let (lists, shows) = (command.lists(), command.shows());
    let reads = matches!(command.action, Action::List | Action::ListAt(..) | Action::Show);
    let pages = matches!(command.action, Action::List | Action::ListAt(..));
    let creates = matches!(command.action, Action::Create(_));
    [
        command.options,
        pick(creates, OWNER),
        pick(lists || shows, DISPLAY),
        pick(lists, LIST_DISPLAY),
        pick(shows, SHOW_DISPLAY),
        pick(reads, FIELDS),
        pick(pages, PAGING),
    ]
    .into_iter()
    .flatten()
}

/// Reads the words after a command's name.
pub(super) fn parse(command: &'static Command, words: &[String]) -> Result<Parsed, ClientError> {
    let (words, tail) = match words.iter().position(|word| word == "--") {
        Some(at) => (&words[..at], Some(&words[at..])),
        None => (words, None),
    };
    let mut reader = Reader { command, parsed: Parsed::default(), run_ended: false };
    reader.parsed.positionals = command.positionals.iter().map(|_| Vec::new()).collect();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        if is_option(word) {
            reader.run_ended = true;
            // `--enable-dhcp=True` is a spelling of its own.
            let (name, inline) =
                if reader.find_exact(word).is_some() { (word.as_str(), None) } else { split_option(word) };
            match reader.find(name)? {
                None => reader.parsed.extra.push(word.clone()),
                Some(opt) => {
                    let value = match (opt.take, inline) {
                        (Take::Flag, None) => None,
                        (Take::Flag, Some(text)) => {
                            let reason = format!("ignored explicit argument '{text}'");
                            return Err(reader.misused(opt, &reason));
                        }
                        (_, Some(text)) => Some(text.to_owned()),
                        (_, None) => match words.next_if(|next| !is_option(next)) {
                            Some(next) => Some(next.clone()),
                            None => return Err(reader.misused(opt, "expected one argument")),
                        },
                    };
                    reader.option(opt, value)?;
                }
            }
        } else {
            reader.positional(word);
        }
    }
    reader.require_positionals()?;
    if let Some(tail) = tail {
        reader.parsed.extra = tail.to_vec();
    }
    Ok(reader.parsed)
}

struct Reader {
    command: &'static Command,
    parsed: Parsed,
    run_ended: bool,
}

impl Reader {
    fn find_exact(&self, name: &str) -> Option<&'static Opt> {
        let name = normal(name);
        options_of(self.command).find(|opt| opt.names.iter().any(|own| normal(own) == name))
    }

    /// The option a word names, exactly or by an unambiguous beginning.
    fn find(&self, name: &str) -> Result<Option<&'static Opt>, ClientError> {
        if let Some(opt) = self.find_exact(name) {
            return Ok(Some(opt));
        }
        let name = normal(name);
        if !name.starts_with("--") {
            return Ok(None);
        }
        let longer: Vec<&'static Opt> =
            options_of(self.command).filter(|opt| opt.names.iter().any(|own| normal(own).starts_with(&name))).collect();
        match longer.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            several => {
                let names: Vec<&str> = several.iter().map(|opt| opt.name()).collect();
                Err(self.usage(&format!("ambiguous option: {name} could match {}", names.join(", "))))
            }
        }
    }

    fn option(&mut self, opt: &'static Opt, value: Option<String>) -> Result<(), ClientError> {
        if let Some(text) = value.as_deref()
            && !opt.choices.is_empty()
            && !opt.choices.contains(&text)
        {
            let choices: Vec<String> = opt.choices.iter().map(|choice| format!("'{choice}'")).collect();
            return Err(self.misused(opt, &format!("invalid choice: '{text}' (choose from {})", choices.join(", "))));
        }
        if let Some((other, _)) = self
            .parsed
            .options
            .iter()
            .find(|(other, _)| opt.group != 0 && other.group == opt.group && !std::ptr::eq(*other, opt))
        {
            return Err(self.misused(opt, &format!("not allowed with argument {}", other.name())));
        }
        self.parsed.options.push((opt, value));
        Ok(())
    }

    /// Puts a word where the next argument belongs. A run of several ends at the first option.
    fn positional(&mut self, word: &str) {
        let open = |(positional, values): (&Positional, &Vec<String>)| match positional.count {
            Count::One | Count::Optional => values.is_empty(),
            Count::Several => values.is_empty() || !self.run_ended,
        };
        let at = self.command.positionals.iter().zip(&self.parsed.positionals).position(open);
        match at {
            // A stray word after options is the value of an unknown one unless it can only be the argument.
            Some(at) if !self.is_value_of_unknown() || self.command.positionals[at].count != Count::Optional => {
                self.run_ended = false;
                self.parsed.positionals[at].push(word.to_owned());
            }
            Some(at) if looks_like_cidr(word) => self.parsed.positionals[at].push(word.to_owned()),
            _ => self.parsed.extra.push(word.to_owned()),
        }
    }

    fn is_value_of_unknown(&self) -> bool {
        self.run_ended && !self.parsed.extra.is_empty()
    }

    fn require_positionals(&self) -> Result<(), ClientError> {
        let missing: Vec<&str> = self
            .command
            .positionals
            .iter()
            .zip(&self.parsed.positionals)
            .filter(|(positional, values)| positional.count != Count::Optional && values.is_empty())
            .map(|(positional, _)| positional.metavar)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(self.usage(&format!("the following arguments are required: {}", missing.join(", "))))
    }

    fn misused(&self, opt: &Opt, reason: &str) -> ClientError {
        let names: Vec<&str> = opt.names.iter().rev().copied().collect();
        self.usage(&format!("argument {}: {reason}", names.join("/")))
    }

    fn usage(&self, reason: &str) -> ClientError {
        ClientError::Usage(reason.to_owned())
    }
}

/// An option's name with `-` for `_`, as both are accepted.
fn normal(name: &str) -> String {
    if name.starts_with("--") { name.replace('_', "-") } else { name.to_owned() }
}

fn split_option(word: &str) -> (&str, Option<&str>) {
    if !word.starts_with("--") && word.len() > 2 && word.is_char_boundary(2) {
        return (&word[..2], Some(&word[2..]));
    }
    match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    }
}

fn is_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-') && word.parse::<f64>().is_err() && !word.contains(' ')
}

fn looks_like_cidr(word: &str) -> bool {
    word.split_once('/')
        .is_some_and(|(address, length)| address.parse::<std::net::IpAddr>().is_ok() && length.parse::<u8>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::catalog;
    use super::*;

    fn read(line: &str) -> Result<Parsed, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let command = catalog::find(&words[0]).unwrap();
        parse(command, &words[1..]).map_err(|error| error.to_string())
    }

    #[test]
    fn options_and_arguments_mix() {
        let parsed = read("subnet-create --name s net1 --gateway=10.0.0.1 --mtu 5 10.0.0.0/24 -f json").unwrap();
        assert_eq!(parsed.positionals, [["net1"], ["10.0.0.0/24"]]);
        assert_eq!(parsed.value("--name"), Some("s"));
        assert_eq!(parsed.value("--gateway"), Some("10.0.0.1"));
        assert_eq!(parsed.value("--format"), Some("json"));
        assert_eq!(parsed.extra, ["--mtu", "5"]);
    }

    #[test]
    fn unknown_options_keep_their_values() {
        let parsed = read("net-update net1 --router:external True --mtu type=int 1400").unwrap();
        assert_eq!(parsed.positionals, [["net1"]]);
        assert_eq!(parsed.extra, ["--router:external", "True", "--mtu", "type=int", "1400"]);
        let parsed = read("net-list --name foo --tenant-id x -- --status ACTIVE").unwrap();
        assert_eq!(parsed.extra, ["--", "--status", "ACTIVE"]);
        let parsed = read("port-list --device_id vm1").unwrap();
        assert_eq!(parsed.extra, ["--device_id", "vm1"]);
    }

    #[test]
    fn underscores_and_short_forms_are_known() {
        let parsed = read("port-create net1 --fixed_ip ip_address=10.0.0.3 --device-o compute:x -c id").unwrap();
        assert_eq!(parsed.value("--fixed-ip"), Some("ip_address=10.0.0.3"));
        assert_eq!(parsed.value("--device-owner"), Some("compute:x"));
        assert_eq!(parsed.values("--column"), ["id"]);
    }

    #[test]
    fn misuse_is_explained() {
        assert_eq!(read("net-show").err().unwrap(), "the following arguments are required: NETWORK");
        assert_eq!(
            read("net-show x -f xml").err().unwrap(),
            "argument -f/--format: invalid choice: 'xml' (choose from 'json', 'shell', 'table', 'value', 'yaml')"
        );
        assert_eq!(read("subnet-create n --gateway").err().unwrap(), "argument --gateway: expected one argument");
        assert_eq!(
            read("subnet-create n --gateway 1 --no-gateway").err().unwrap(),
            "argument --no-gateway: not allowed with argument --gateway"
        );
        assert!(read("port-create n --device x").err().unwrap().starts_with("ambiguous option: --device could match"));
    }

    #[test]
    fn several_arguments_are_taken_together() {
        let parsed = read("net-delete a b c").unwrap();
        assert_eq!(parsed.positionals, [["a", "b", "c"]]);
    }
}
