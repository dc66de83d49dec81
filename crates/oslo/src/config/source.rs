//! Where values come from and in which order: files, directories of files, the environment, the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::ini::{self, Assignment};

/// Everything that a configuration is read from. Reading it again, after SIGHUP, gives the new values.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files in the order given; later ones win.
    pub files: Vec<PathBuf>,
    /// Directories whose `*.conf` are read after the files, sorted by name.
    pub dirs: Vec<PathBuf>,
    /// Defaults that a subcommand has instead of the table's; files win over them.
    pub defaults: BTreeMap<(&'static str, &'static str), String>,
    /// Values from the command line; they win over everything.
    pub overrides: BTreeMap<(&'static str, &'static str), String>,
    /// The environment: `OS_<GROUP>__<OPTION>` wins over files.
    pub environment: BTreeMap<String, String>,
}

impl Sources {
    /// The sources that a program named `program` has when the command line names none: `neutron.conf` and
    /// `<program>.conf`, each from the first place that has it, and likewise the directories `<name>.conf.d`.
    pub fn standard(program: &str) -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        Self::found_in(program, &search_path(home.as_deref()))
    }

    fn found_in(program: &str, places: &[PathBuf]) -> Self {
        let find = |name: String| places.iter().map(|place| place.join(&name)).find(|path| path.exists());
        let names = ["neutron", program];
        Self {
            files: names.iter().filter_map(|name| find(format!("{name}.conf"))).collect(),
            dirs: names.iter().filter_map(|name| find(format!("{name}.conf.d"))).collect(),
            ..Self::default()
        }
    }

    /// Directories in which a file that the configuration names is looked for, the first first.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let beside = self.files.iter().rev().filter_map(|file| file.parent().map(Path::to_path_buf));
        self.dirs.iter().cloned().chain(beside).chain(search_path(home.as_deref())).collect()
    }

    /// Adds the variables of this process that name options.
    pub fn with_environment(mut self) -> Self {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        self.environment = variables.filter(|(name, _)| name.starts_with("OS_") && name.contains("__")).collect();
        self
    }

    /// Reads all files; the outer list keeps their order.
    pub(super) fn read(&self) -> Result<Vec<Vec<Assignment>>, ConfigError> {
        let mut files = Vec::new();
        for file in &self.files {
            files.push(read_file(file)?);
        }
        for dir in &self.dirs {
            for file in conf_files(dir)? {
                files.push(read_file(&file)?);
            }
        }
        Ok(files)
    }
}

/// The name of the environment variable for an option.
pub(super) fn variable(group: &str, name: &str) -> String {
    format!("OS_{}__{}", group.to_uppercase(), name.to_uppercase())
}

fn search_path(home: Option<&Path>) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(home) = home {
        places.push(home.join(".neutron"));
        places.push(home.to_owned());
    }
    places.push("/etc/neutron".into());
    places.push("/etc".into());
    places
}

fn read_file(file: &Path) -> Result<Vec<Assignment>, ConfigError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(ini::parse(file, &text)?),
        Err(source) => Err(ConfigError::File { file: file.to_owned(), source }),
    }
}

fn conf_files(dir: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Dir { dir: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // Hidden files are left out, as a shell's `*.conf` leaves them out.
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extension == "conf") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_standard_file_comes_from_the_first_place_that_has_it() {
        let root = tempfile::tempdir().unwrap();
        let [first, second] = ["a", "b"].map(|name| root.path().join(name));
        for (place, name) in
            [(&first, "neutron-server.conf"), (&second, "neutron.conf"), (&second, "neutron-server.conf")]
        {
            std::fs::create_dir_all(place).unwrap();
            std::fs::write(place.join(name), "").unwrap();
        }
        let sources = Sources::found_in("neutron-server", &[first.clone(), second.clone()]);
        assert_eq!(sources.files, [second.join("neutron.conf"), first.join("neutron-server.conf")]);
        assert!(sources.dirs.is_empty());
    }

    #[test]
    fn a_directory_gives_its_conf_files_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["20.conf", "10.conf", "notes.txt", ".hidden.conf"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(conf_files(dir.path()).unwrap(), ["10.conf", "20.conf"].map(|name| dir.path().join(name)));
    }

    #[test]
    fn home_comes_before_etc() {
        let places = search_path(Some(Path::new("/home/op")));
        assert_eq!(places, ["/home/op/.neutron", "/home/op", "/etc/neutron", "/etc"].map(PathBuf::from));
    }
}
