//! The rules in force, read again when their files change.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::{Mutex, RwLock};

use super::{
    Default, FieldValue, PolicyError, Rules, Source,
    file::{self, FileRule},
    rules::Mode,
};

/// How often, at most, the files are looked at.
const PATIENCE: Duration = Duration::from_secs(1);

/// `[oslo_policy]`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `policy_file`: the first of these that exists.
    pub files: Vec<PathBuf>,
    /// `policy_dirs`: those that exist, in order; each is the first that exists of its own list.
    pub dirs: Vec<Vec<PathBuf>>,
    /// `policy_default_rule`
    pub default_rule: String,
    /// `enforce_new_defaults`
    pub enforce_new_defaults: bool,
    /// `enforce_scope`
    pub enforce_scope: bool,
}

impl std::default::Default for Settings {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            dirs: Vec::new(),
            default_rule: "default".to_owned(),
            enforce_new_defaults: true,
            enforce_scope: true,
        }
    }
}

/// What a file looked like when it was read.
type Stamp = (PathBuf, Option<SystemTime>, u64);

/// The rules in force.
pub struct Enforcer {
    settings: Settings,
    defaults: &'static [&'static [Default]],
    convert: FieldValue,
    rules: RwLock<Arc<Rules>>,
    looked: Mutex<Looked>,
}

impl std::fmt::Debug for Enforcer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enforcer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Looked {
    at: Instant,
    files: Vec<Stamp>,
}

impl Enforcer {
    /// Reads the files and puts their rules over the defaults. A file that means nothing is an error.
    pub fn load(
        settings: Settings,
        defaults: &'static [&'static [Default]],
        convert: FieldValue,
    ) -> Result<Self, PolicyError> {
        let sources = settings.sources();
        let files = stamps(&sources);
        let rules = settings.read(&sources, defaults, convert)?;
        for warning in rules.warnings() {
            tracing::warn!("{warning}");
        }
        let looked = Mutex::new(Looked { at: Instant::now(), files });
        Ok(Self { settings, defaults, convert, rules: RwLock::new(Arc::new(rules)), looked })
    }

    /// The rules. Files that have changed are read first; one that has come to mean nothing changes nothing but the log.
    pub fn rules(&self) -> Arc<Rules> {
        if let Some(mut looked) = self.looked.try_lock()
            && looked.at.elapsed() >= PATIENCE
        {
            looked.at = Instant::now();
            self.reload(&mut looked.files);
        }
        Arc::clone(&self.rules.read())
    }

    /// Looks at the files now.
    pub fn refresh(&self) {
        let mut looked = self.looked.lock();
        looked.at = Instant::now();
        self.reload(&mut looked.files);
    }

    fn reload(&self, seen: &mut Vec<Stamp>) {
        let sources = self.settings.sources();
        let files = stamps(&sources);
        if files == *seen {
            return;
        }
        *seen = files;
        match self.settings.read(&sources, self.defaults, self.convert) {
            Ok(rules) => {
                for warning in rules.warnings() {
                    tracing::warn!("{warning}");
                }
                *self.rules.write() = Arc::new(rules);
                tracing::info!("the policy files have changed and were read");
            }
            Err(error) => tracing::error!("the rules stay as they were: {}", error.chain()),
        }
    }
}

impl Settings {
    /// The files that there are, in the order in which later ones win.
    fn sources(&self) -> Vec<Source> {
        let mut sources: Vec<Source> =
            self.files.iter().find(|file| file.is_file()).map(|file| Source::new(file.clone())).into_iter().collect();
        for places in &self.dirs {
            if let Some(dir) = places.iter().find(|dir| dir.is_dir()) {
                sources.extend(file::in_directory(dir).into_iter().map(Source::new));
            }
        }
        sources
    }

    fn read(
        &self,
        sources: &[Source],
        defaults: &'static [&'static [Default]],
        convert: FieldValue,
    ) -> Result<Rules, PolicyError> {
        let mut overrides: BTreeMap<String, FileRule> = BTreeMap::new();
        for source in sources {
            overrides.extend(file::read(source)?);
        }
        let mode = Mode {
            default_rule: &self.default_rule,
            enforce_new_defaults: self.enforce_new_defaults,
            enforce_scope: self.enforce_scope,
            convert,
        };
        Rules::new(defaults, &overrides, mode)
    }
}

fn stamps(sources: &[Source]) -> Vec<Stamp> {
    let stamp = |source: &Source| {
        let about = std::fs::metadata(&source.path).ok();
        (source.path.clone(), about.as_ref().and_then(|m| m.modified().ok()), about.map_or(0, |m| m.len()))
    };
    sources.iter().map(stamp).collect()
}
