//! What an option is: its group, name, kind, default and older spellings, as one row of a table.
//!
//! The tables in [`super::options`] are the single source for reading files, for suggestions, for the typed structs'
//! defaults and for the sample file.

/// What text an option takes, and what it becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true`, `yes`, `on`, `1` or their opposites, in any case.
    Bool,
    /// A whole number between the two, both included.
    Int(i64, i64),
    /// One of these whole numbers.
    IntChoice(&'static [i64]),
    /// A number between the two, both included.
    Float(f64, f64),
    /// Values separated by commas.
    List,
    /// `name:value` pairs separated by commas.
    Dict,
    /// A value for each time the option is written.
    Multi,
    /// An IPv4 or IPv6 address.
    Address,
    /// An address or a host name.
    Host,
}

/// Whether the program reads an option, or only knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is read.
    Served,
    /// It is known with its kind, so a wrong value is an error, but nothing acts on it yet.
    Idle,
    /// It is upstream's, and nothing reads it yet.
    Unserved,
    /// It was upstream's once, or has no meaning here: the text says what to do instead.
    Retired(&'static str),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The name in files.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// The text that stands for it when nothing is written; `None` leaves it unset.
    pub default: Option<&'static str>,
    /// Older `(group, name)` spellings.
    pub deprecated: &'static [(&'static str, &'static str)],
    /// Whether a running service takes a new value.
    pub mutable: bool,
    /// Whether its value must not be shown.
    pub secret: bool,
    /// Whether it is read at all.
    pub status: Status,
    /// What it does, in a sentence for the sample file.
    pub help: &'static str,
}

/// Options of one section. Several groups of the same name add up.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The section.
    pub name: &'static str,
    /// Its options.
    pub options: &'static [Opt],
}

/// Every option that some part of the program knows.
pub type Catalog = [&'static [Group]];

impl Opt {
    const fn new(name: &'static str, kind: Kind, default: Option<&'static str>) -> Self {
        Self { name, kind, default, deprecated: &[], mutable: false, secret: false, status: Status::Served, help: "" }
    }

    /// Adds what the option does.
    pub const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// Adds older spellings.
    pub const fn was(mut self, deprecated: &'static [(&'static str, &'static str)]) -> Self {
        self.deprecated = deprecated;
        self
    }

    /// A running service takes a new value.
    pub const fn mutable(mut self) -> Self {
        self.mutable = true;
        self
    }

    /// The value must not be shown.
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Nothing acts on it yet.
    pub const fn idle(mut self) -> Self {
        self.status = Status::Idle;
        self
    }

    /// Has a default.
    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Sets the smallest whole number allowed.
    pub const fn min(mut self, low: i64) -> Self {
        self.kind = match self.kind {
            Kind::Int(_, high) => Kind::Int(low, high),
            other => other,
        };
        self
    }

    /// Sets the largest whole number allowed.
    pub const fn max(mut self, high: i64) -> Self {
        self.kind = match self.kind {
            Kind::Int(low, _) => Kind::Int(low, high),
            other => other,
        };
        self
    }
}

/// Any text, unset by default.
pub const fn text(name: &'static str) -> Opt {
    Opt::new(name, Kind::Text, None)
}

/// One of some words.
pub const fn choice(name: &'static str, words: &'static [&'static str]) -> Opt {
    Opt::new(name, Kind::Choice(words), None)
}

/// Yes or no.
pub const fn boolean(name: &'static str, default: bool) -> Opt {
    Opt::new(name, Kind::Bool, Some(if default { "true" } else { "false" }))
}

/// A whole number, unset by default.
pub const fn int(name: &'static str) -> Opt {
    Opt::new(name, Kind::Int(i64::MIN, i64::MAX), None)
}

/// One of some whole numbers, unset by default.
pub const fn int_choice(name: &'static str, numbers: &'static [i64]) -> Opt {
    Opt::new(name, Kind::IntChoice(numbers), None)
}

/// A TCP or UDP port.
pub const fn port(name: &'static str) -> Opt {
    Opt::new(name, Kind::Int(0, 65535), None)
}

/// A number of at least zero, unset by default.
pub const fn float(name: &'static str) -> Opt {
    Opt::new(name, Kind::Float(0.0, f64::MAX), None)
}

/// Values separated by commas, empty by default.
pub const fn list(name: &'static str) -> Opt {
    Opt::new(name, Kind::List, Some(""))
}

/// `name:value` pairs separated by commas, empty by default.
pub const fn dict(name: &'static str) -> Opt {
    Opt::new(name, Kind::Dict, Some(""))
}

/// A value for each time it is written, none by default.
pub const fn multi(name: &'static str) -> Opt {
    Opt::new(name, Kind::Multi, None)
}

/// An IP address, unset by default.
pub const fn address(name: &'static str) -> Opt {
    Opt::new(name, Kind::Address, None)
}

/// An address or a host name, unset by default.
pub const fn host(name: &'static str) -> Opt {
    Opt::new(name, Kind::Host, None)
}

/// An option of upstream's that nothing reads yet.
pub const fn unserved(name: &'static str) -> Opt {
    let mut option = Opt::new(name, Kind::Text, None);
    option.status = Status::Unserved;
    option
}

/// An option that upstream dropped or that has no meaning here.
pub const fn retired(name: &'static str, instead: &'static str) -> Opt {
    let mut option = Opt::new(name, Kind::Text, None);
    option.status = Status::Retired(instead);
    option
}
