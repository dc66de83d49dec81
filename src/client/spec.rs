//! The shape of a command as plain data: what it takes, what it sends and what it shows.
//!
//! A command of the `neutron` tool is a row of the table in [`super::catalog`]; this module names the columns
//! of that table. Nothing here does I/O.

/// A kind of thing the API serves, with the words the client and the API have for it.
pub(super) struct Resource {
    /// The name in messages and in request bodies, such as `security_group`.
    pub name: &'static str,
    /// The name of a list in a response body.
    pub plural: &'static str,
    /// The path below `/v2.0`.
    pub path: &'static str,
    /// Whether it may be given by name; agents and rules only have an id.
    pub named: bool,
    /// How far nested objects are indented in a `show` table, if they are spread over lines.
    pub indent: Option<usize>,
}

/// What an option takes from the command line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// Nothing: its presence says it all.
    Flag,
    /// One value; the last one given wins.
    One,
    /// One value each time, kept in order.
    Many,
}

/// What an option does to the body (or query) of a request.
#[derive(Clone, Copy)]
pub(super) enum Effect {
    /// Sets a key to the text given.
    Text(&'static str),
    /// Sets a key to the text in lower case.
    Lower(&'static str),
    /// Sets a key to the text in upper case.
    Upper(&'static str),
    /// Sets a key to a whole number; anything else is a usage error.
    Number(&'static str),
    /// Sets a key to `true` or `false`.
    Bool(&'static str, bool),
    /// Sets a key to null.
    Null(&'static str),
    /// Sets a key to an empty text.
    Blank(&'static str),
    /// Sets a key to an empty list.
    Empty(&'static str),
    /// Adds the text to a list.
    Append(&'static str),
    /// Adds `key=value,key=value` as an object to a list: the keys that must be there, then those that may.
    Object(&'static str, &'static [&'static str], &'static [&'static str]),
    /// Sets a key to the id of a resource given by name or id.
    Id(&'static str, &'static Resource),
    /// Adds the id of a resource given by name or id to a list.
    AppendId(&'static str, &'static Resource),
    /// Sets a key to the JSON text given.
    Json(&'static str),
    /// Read by the command itself.
    Local,
}

/// One option of a command.
pub(super) struct Opt {
    /// Its spellings, the first being the one to show. `_` and `-` are the same in all of them.
    pub names: &'static [&'static str],
    /// What it takes.
    pub take: Take,
    /// What stands for the value in help.
    pub metavar: &'static str,
    /// The values it allows; empty for any.
    pub choices: &'static [&'static str],
    /// What it does.
    pub effect: Effect,
    /// Options that share a number other than 0 exclude each other.
    pub group: u8,
    /// One line of help.
    pub help: &'static str,
}

impl Opt {
    /// An option that takes one value.
    pub(super) const fn one(
        names: &'static [&'static str],
        metavar: &'static str,
        effect: Effect,
        help: &'static str,
    ) -> Self {
        Self { names, take: Take::One, metavar, choices: &[], effect, group: 0, help }
    }

    /// An option that may be repeated.
    pub(super) const fn many(
        names: &'static [&'static str],
        metavar: &'static str,
        effect: Effect,
        help: &'static str,
    ) -> Self {
        Self { names, take: Take::Many, metavar, choices: &[], effect, group: 0, help }
    }

    /// An option without a value.
    pub(super) const fn flag(names: &'static [&'static str], effect: Effect, help: &'static str) -> Self {
        Self { names, take: Take::Flag, metavar: "", choices: &[], effect, group: 0, help }
    }

    /// The same, allowing only the values listed.
    pub(super) const fn among(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    /// The same, as a member of a group of which only one may be given.
    pub(super) const fn exclusive(mut self, group: u8) -> Self {
        self.group = group;
        self
    }

    /// The spelling to show.
    pub(super) fn name(&self) -> &'static str {
        self.names[0]
    }
}

/// How many values a positional argument takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// One or more.
    Several,
}

/// One positional argument.
pub(super) struct Positional {
    /// What it is called in help and in messages.
    pub metavar: &'static str,
    /// How many it takes.
    pub count: Count,
    /// What it does.
    pub effect: Effect,
}

impl Positional {
    /// One argument.
    pub(super) const fn one(metavar: &'static str, effect: Effect) -> Self {
        Self { metavar, count: Count::One, effect }
    }

    /// An argument that may be left out.
    pub(super) const fn optional(metavar: &'static str, effect: Effect) -> Self {
        Self { metavar, count: Count::Optional, effect }
    }
}

/// Conditions and defaults of a body that no single option expresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// None.
    Plain,
    /// Resolves subnets in `fixed_ips` and reads `null` in extra DHCP options.
    Port,
    /// Checks DHCP and IPv6 options against each other; the version defaults to 4.
    Subnet,
    /// Direction and Ethernet type have defaults.
    Rule,
    /// `admin_state_up` is always sent.
    AdminState,
}

/// What is joined to what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Routed {
    /// A router to the outside.
    GatewaySet,
    /// Parts them.
    GatewayClear,
    /// A router to a subnet or a port.
    InterfaceAdd,
    /// Parts them.
    InterfaceRemove,
    /// A floating IP to a port.
    Associate,
    /// Parts them.
    Disassociate,
}

/// What a command does.
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// Lists a resource.
    List,
    /// Lists what another one holds; `{}` in the path stands for the first positional, and the resource says
    /// how to find that by name.
    ListAt(&'static str, Option<&'static Resource>),
    /// Shows one.
    Show,
    /// Creates one.
    Create(Finish),
    /// Changes one.
    Update(Finish),
    /// Deletes some.
    Delete,
    /// Puts something on an agent: path, key of the body, resource, and the words for it.
    Attach(&'static str, &'static str, &'static Resource, &'static str),
    /// Takes something off an agent: path, resource, and the words for it.
    Detach(&'static str, &'static Resource, &'static str),
    /// Joins a router to a network, or a floating IP to a port, or parts them.
    Routed(Routed),
    /// Adds, removes or replaces tags.
    TagAdd,
    /// Removes one tag or all.
    TagRemove,
    /// Sets the tags.
    TagReplace,
    /// Quotas of a project; `true` asks for the defaults.
    QuotaShow(bool),
    /// All quotas that differ from the defaults.
    QuotaList,
    /// Sets quotas.
    QuotaUpdate,
    /// Goes back to the defaults.
    QuotaDelete,
}

/// One command.
pub(super) struct Command {
    /// What the user types.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// What it does.
    pub action: Action,
    /// On what.
    pub resource: &'static Resource,
    /// Its arguments.
    pub positionals: &'static [Positional],
    /// Its own options, beside those that all commands of its kind have.
    pub options: &'static [Opt],
    /// The columns of a list, if the server returns them; empty for all.
    pub columns: &'static [&'static str],
}

impl Command {
    /// Whether it prints rows.
    pub(super) fn lists(&self) -> bool {
        matches!(self.action, Action::List | Action::ListAt(..) | Action::QuotaList)
    }

    /// Whether it prints the fields of one thing.
    pub(super) fn shows(&self) -> bool {
        matches!(self.action, Action::Show | Action::Create(_) | Action::QuotaShow(_) | Action::QuotaUpdate)
    }
}
