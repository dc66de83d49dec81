//! Files of rules: `policy.yaml`, which JSON is a part of.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{Language, ParseError, PolicyError};

/// A file of rules.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
}

impl Source {
    /// The file of that name.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

/// A rule of a file, and where it stands.
#[derive(Debug, Clone)]
pub struct FileRule {
    /// The rule.
    pub rule: Language,
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
}

impl FileRule {
    pub(super) fn refuse(&self, name: &str, source: ParseError) -> PolicyError {
        PolicyError::Rule { file: self.file.clone(), line: self.line, rule: name.to_owned(), source }
    }
}

/// Names and rules in the order of the file.
struct Mapping(Vec<(String, Spanned<Value>)>);

impl<'de> Deserialize<'de> for Mapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Mapping;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of rule names to rules")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Mapping, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Mapping(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The rules of a file.
pub fn read(source: &Source) -> Result<Vec<(String, FileRule)>, PolicyError> {
    let file = &source.path;
    let text = std::fs::read_to_string(file).map_err(|source| PolicyError::Read { file: file.clone(), source })?;
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#') || line.trim() == "---") {
        return Ok(Vec::new());
    }
    let form = |reason: String| PolicyError::Form { file: file.clone(), reason };
    let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins };
    let mapping: Mapping = serde_saphyr::from_str_with_options(&text, options)
        .map_err(|error| form(error.to_string().replace('\n', " ")))?;
    let rule = |(name, value): (String, Spanned<Value>)| {
        let line = value.defined.line();
        let rule = language(value.value).ok_or_else(|| {
            form(format!("line {line}, rule \"{name}\": a rule is a text, or a list of lists of checks"))
        })?;
        Ok((name, FileRule { rule, file: file.clone(), line }))
    };
    mapping.0.into_iter().map(rule).collect()
}

fn language(value: Value) -> Option<Language> {
    let text = |value: Value| value.as_str().map(str::to_owned);
    match value {
        Value::String(text) => Some(Language::Text(text)),
        // `name:` without a value is the empty rule.
        Value::Null => Some(Language::Text(String::new())),
        Value::Array(items) => {
            let list = |item| match item {
                Value::String(text) => Some(vec![text]),
                Value::Array(checks) => checks.into_iter().map(text).collect(),
                _ => None,
            };
            items.into_iter().map(list).collect::<Option<_>>().map(Language::Lists)
        }
        _ => None,
    }
}

/// The files of a directory that are not hidden, by name.
pub(super) fn in_directory(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}
