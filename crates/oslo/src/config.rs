//! Configuration by oslo.config's rules.
//!
//! Files are read in order and later ones win; options have types, bounds, defaults and older spellings; values may name
//! other options with `$`. An option that nothing knows is a [`Warning`] with a suggestion, a value that its option does
//! not allow is an error with file, line and what would be right. All of it happens once, at the edge: the rest of the
//! program sees typed structs filled by [`Config::get`].

pub mod error;
pub mod ini;
pub mod option;
pub mod options;
mod sample;
mod source;
mod substitute;
pub mod suggest;
mod unknown;
pub mod value;

use std::{collections::BTreeMap, path::PathBuf};

pub use error::{BadValue, ConfigError, Origin, Warning};
use ini::Assignment;
pub use ini::Place;
use option::{Catalog, Kind, Opt, Status};
pub use sample::sample;
pub use source::Sources;
use value::{FromValue, Value};

/// A configuration that was read and whose every served value is allowed.
#[derive(Clone, Debug)]
pub struct Config {
    sources: Sources,
    settings: Settings,
    warnings: Vec<Warning>,
}

/// By group and name.
type Settings = BTreeMap<&'static str, BTreeMap<&'static str, Setting>>;

/// The text that stands for an option, and where it comes from.
#[derive(Clone, Debug)]
struct Setting {
    option: &'static Opt,
    text: Option<String>,
    /// All texts of a [`Kind::Multi`].
    texts: Vec<String>,
    origin: Origin,
}

/// An option whose value differs after reading the sources again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The section.
    pub group: &'static str,
    /// The option.
    pub name: &'static str,
    /// Whether a running service takes it; otherwise it waits for a restart.
    pub mutable: bool,
}

impl Config {
    /// Reads the sources with every option that the program knows.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        Self::load_with(options::CATALOG, sources)
    }

    /// Reads the sources with the options of a catalogue.
    pub fn load_with(catalog: &'static Catalog, sources: Sources) -> Result<Self, ConfigError> {
        let files = sources.read()?;
        let mut warnings = unknown::warnings(catalog, &files);
        let mut settings = Settings::new();
        for group in catalog.iter().copied().flatten() {
            for option in group.options {
                let setting = Setting::find(group.name, option, &sources, &files, &mut warnings);
                settings.entry(group.name).or_default().insert(option.name, setting);
            }
        }
        warnings.sort_by(|a, b| (&a.place.file, a.place.line).cmp(&(&b.place.file, b.place.line)));
        let config = Self { sources, settings, warnings };
        config.check()?;
        Ok(config)
    }

    /// Reads the same sources again and lists what differs.
    pub fn reload(&self) -> Result<(Self, Vec<Change>), ConfigError> {
        let new = Self::load(self.sources.clone())?;
        let differs = |group: &str, name: &str, now: &Setting| {
            now.option.status == Status::Served
                && self.setting(group, name).is_none_or(|before| before.texts != now.texts)
        };
        let changes = new
            .all()
            .filter(|(group, name, now)| differs(group, name, now))
            .map(|(group, name, now)| Change { group, name, mutable: now.option.mutable })
            .collect();
        Ok((new, changes))
    }

    /// What an operator should know about the files.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Options that some source sets although nothing acts on them yet, as `[group] name`.
    pub fn idle(&self) -> Vec<String> {
        let idle = |setting: &Setting| {
            setting.origin != Origin::Default && matches!(setting.option.status, Status::Idle | Status::Unserved)
        };
        self.all().filter(|(.., setting)| idle(setting)).map(|(group, name, _)| format!("[{group}] {name}")).collect()
    }

    /// The value of an option, as the type that is asked for.
    pub fn get<T: FromValue>(&self, group: &str, name: &str) -> Result<T, ConfigError> {
        self.value(group, name)
            .and_then(|value| T::from_value(value).map_err(|problem| Problem::new(problem, group, name)))
            .map_err(|problem| ConfigError::Values(vec![self.bad_value(problem)]))
    }

    /// Whether some source, rather than a default, sets an option.
    pub fn is_set(&self, group: &str, name: &str) -> bool {
        self.setting(group, name).is_some_and(|setting| setting.origin != Origin::Default)
    }

    /// Where the value of an option comes from; `None` when there is no such option.
    pub fn origin(&self, group: &str, name: &str) -> Option<&Origin> {
        self.setting(group, name).map(|setting| &setting.origin)
    }

    /// The text of an option for a person to read; of a secret it shows nothing.
    pub fn shown(&self, group: &str, name: &str) -> String {
        match self.setting(group, name) {
            Some(setting) if setting.option.secret => "***".to_owned(),
            Some(setting) if setting.texts.is_empty() => "unset".to_owned(),
            Some(setting) => setting.texts.join(", "),
            None => String::new(),
        }
    }

    /// Where a file or directory that an option names may be: beside the files of the configuration, and where those are
    /// looked for; a whole path only there.
    pub fn places_of(&self, name: &str) -> Vec<PathBuf> {
        self.sources.places().into_iter().map(|place| place.join(name)).collect()
    }

    /// The name of this machine towards other services: the option `host`, or the system's.
    pub fn host(&self) -> Result<String, ConfigError> {
        if let Some(host) = self.get::<Option<String>>("DEFAULT", "host")? {
            return Ok(host);
        }
        match std::fs::read_to_string("/proc/sys/kernel/hostname") {
            Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
            _ => Err(self.refuse("DEFAULT", "host", "this system has no host name to use instead", &["a host name"])),
        }
    }

    /// The error for a value that its kind allows and that means nothing: it names the place, the value and what is
    /// allowed, and the allowed word that was probably meant.
    pub fn refuse(&self, group: &str, name: &str, problem: impl Into<String>, allowed: &[&str]) -> ConfigError {
        let mut bad = self.bad_value(Problem::new(problem.into(), group, name));
        bad.meant = suggest::nearest(&bad.value, allowed.iter().copied()).map(str::to_owned);
        bad.allowed = allowed.join(", ");
        ConfigError::Values(vec![bad])
    }

    /// The same for one item of a list: the suggestion is for the item, not for the whole text.
    pub fn refuse_item(&self, group: &str, name: &str, item: &str, problem: &str, allowed: &[&str]) -> ConfigError {
        let mut bad = self.bad_value(Problem::new(format!("`{item}` {problem}"), group, name));
        bad.meant = suggest::nearest(item, allowed.iter().copied()).map(str::to_owned);
        bad.allowed = allowed.join(", ");
        ConfigError::Values(vec![bad])
    }

    fn setting(&self, group: &str, name: &str) -> Option<&Setting> {
        self.settings.get(group)?.get(name)
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, &Setting)> {
        self.settings.iter().flat_map(|(group, options)| options.iter().map(|(name, setting)| (*group, *name, setting)))
    }

    fn value(&self, group: &str, name: &str) -> Result<Value, Problem> {
        let Some(setting) = self.setting(group, name) else {
            return Err(Problem::new("there is no such option in the program's table", group, name));
        };
        let substitute = |text: &str| {
            substitute::substitute(text, group, &|group, name| self.text_of(group, name))
                .map_err(|problem| Problem::new(problem, group, name))
        };
        if setting.option.kind == Kind::Multi {
            return setting.texts.iter().map(|text| substitute(text)).collect::<Result<_, _>>().map(Value::List);
        }
        match &setting.text {
            None => Ok(Value::Unset),
            Some(text) => value::parse(setting.option.kind, &substitute(text)?)
                .map_err(|problem| Problem::new(problem, group, name)),
        }
    }

    /// The text that `$name` stands for; `None` when there is no such option.
    fn text_of(&self, group: &str, name: &str) -> Option<String> {
        self.setting(group, name).map(|setting| setting.text.clone().unwrap_or_default())
    }

    fn bad_value(&self, problem: Problem) -> BadValue {
        let Problem { text, group, name } = problem;
        let setting = self.setting(&group, &name);
        let shown = |setting: &Setting| match setting.option.secret {
            true => "***".to_owned(),
            false => setting.text.clone().unwrap_or_default(),
        };
        let kind = setting.map_or(Kind::Text, |setting| setting.option.kind);
        let value = setting.map_or_else(String::new, shown);
        let meant = match kind {
            Kind::Choice(words) => suggest::nearest(&value, words.iter().copied()).map(str::to_owned),
            _ => None,
        };
        let origin = setting.map_or(Origin::Default, |setting| setting.origin.clone());
        BadValue { origin, group, name, value, problem: text, allowed: value::allowed(kind), meant }
    }

    /// Parses every value that is written and served, so that all mistakes are told at once.
    fn check(&self) -> Result<(), ConfigError> {
        let mut bad = Vec::new();
        for (group, name, setting) in self.all() {
            if matches!(setting.option.status, Status::Served | Status::Idle)
                && let Err(problem) = self.value(group, name)
            {
                bad.push(self.bad_value(problem));
            }
        }
        if bad.is_empty() {
            return Ok(());
        }
        bad.sort_by_key(|bad| match &bad.origin {
            Origin::File(place) => (place.file.to_path_buf(), place.line),
            _ => Default::default(),
        });
        Err(ConfigError::Values(bad))
    }
}

/// What is wrong with the value of an option.
struct Problem {
    text: String,
    group: String,
    name: String,
}

impl Problem {
    fn new(text: impl Into<String>, group: &str, name: &str) -> Self {
        Self { text: text.into(), group: group.to_owned(), name: name.to_owned() }
    }
}

impl Setting {
    /// Looks an option up in the command line, the environment, the files from last to first, and the defaults.
    fn find(
        group: &'static str,
        option: &'static Opt,
        sources: &Sources,
        files: &[Vec<Assignment>],
        warnings: &mut Vec<Warning>,
    ) -> Self {
        let key = (group, option.name);
        let variable = source::variable(group, option.name);
        let in_files = find_in_files(group, option, files, warnings);
        let (texts, origin) = if let Some(text) = sources.overrides.get(&key) {
            (vec![text.clone()], Origin::CommandLine)
        } else if let Some(text) = sources.environment.get(&variable) {
            (vec![text.clone()], Origin::Environment(variable))
        } else if let Some(last) = in_files.last() {
            let origin = Origin::File(last.place.clone());
            (in_files.iter().map(|assignment| assignment.value.clone()).collect(), origin)
        } else {
            let default = sources.defaults.get(&key).cloned().or_else(|| option.default.map(str::to_owned));
            (default.into_iter().collect(), Origin::Default)
        };
        Self { option, text: texts.last().cloned(), texts, origin }
    }
}

/// The assignments that count for an option: of the last file that has any, the present spelling's before an older
/// one's; of all files for [`Kind::Multi`]. The last of them is the value.
fn find_in_files<'a>(
    group: &str,
    option: &Opt,
    files: &'a [Vec<Assignment>],
    warnings: &mut Vec<Warning>,
) -> Vec<&'a Assignment> {
    let mut found = Vec::new();
    for file in files.iter().rev() {
        let current = file.iter().filter(|a| a.group == group && a.key == option.name).collect::<Vec<_>>();
        let mut of_file = current;
        for &(old_group, old_name) in option.deprecated {
            let old: Vec<_> = file.iter().filter(|a| a.group == old_group && a.key == old_name).collect();
            if let Some(last) = old.last() {
                let text = format!("[{old_group}] {old_name} is an older spelling of [{group}] {}", option.name);
                warnings.push(Warning { place: last.place.clone(), text });
            }
            if of_file.is_empty() || option.kind == Kind::Multi {
                of_file.extend(old);
            }
        }
        of_file.append(&mut found);
        found = of_file;
        if option.kind != Kind::Multi && !found.is_empty() {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests;
