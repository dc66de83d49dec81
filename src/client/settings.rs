//! Which cloud to talk to, and as whom: flags, then the environment or a cloud of `clouds.yaml`.
//!
//! A named cloud replaces the environment, as every OpenStack client has it; flags win over both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::ClientError;

/// Everything the client may read of the process it runs in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// The environment variables.
    pub(crate) variables: BTreeMap<String, String>,
    /// Where `./clouds.yaml` is looked for.
    pub(crate) directory: PathBuf,
    /// How wide the terminal on the output is, if it is one.
    pub(crate) width: Option<u16>,
}

impl Environment {
    /// That of this process, with no terminal.
    pub(crate) fn of_process() -> Self {
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            directory: std::env::current_dir().unwrap_or_default(),
            width: None,
        }
    }

    /// A variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The settings by their names without `os-`, such as `auth-url` and `project-name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings(BTreeMap<&'static str, String>);

/// Setting, environment variables in order of preference.
static KNOWN: &[(&str, &[&str])] = &[
    ("cloud", &["OS_CLOUD"]),
    ("url", &["OS_URL", "OS_NETWORK_ENDPOINT_OVERRIDE"]),
    ("endpoint", &["OS_ENDPOINT"]),
    ("token", &["OS_TOKEN", "OS_AUTH_TOKEN"]),
    ("auth-type", &["OS_AUTH_TYPE"]),
    ("auth-strategy", &["OS_AUTH_STRATEGY"]),
    ("auth-url", &["OS_AUTH_URL"]),
    ("username", &["OS_USERNAME"]),
    ("user-id", &["OS_USER_ID"]),
    ("password", &["OS_PASSWORD"]),
    ("project-name", &["OS_PROJECT_NAME", "OS_TENANT_NAME"]),
    ("project-id", &["OS_PROJECT_ID", "OS_TENANT_ID"]),
    ("user-domain-name", &["OS_USER_DOMAIN_NAME"]),
    ("user-domain-id", &["OS_USER_DOMAIN_ID"]),
    ("project-domain-name", &["OS_PROJECT_DOMAIN_NAME"]),
    ("project-domain-id", &["OS_PROJECT_DOMAIN_ID"]),
    ("default-domain", &["OS_DEFAULT_DOMAIN"]),
    ("application-credential-id", &["OS_APPLICATION_CREDENTIAL_ID"]),
    ("application-credential-secret", &["OS_APPLICATION_CREDENTIAL_SECRET"]),
    ("region-name", &["OS_REGION_NAME"]),
    ("endpoint-type", &["OS_INTERFACE", "OS_ENDPOINT_TYPE"]),
    ("service-type", &["OS_NETWORK_SERVICE_TYPE"]),
    ("cacert", &["OS_CACERT"]),
    ("cert", &["OS_CERT"]),
    ("key", &["OS_KEY"]),
    ("http-timeout", &["OS_NETWORK_TIMEOUT"]),
];

/// Flags without `os-`, and other spellings of the settings above.
static SPELLINGS: &[(&str, &str)] = &[
    ("tenant-name", "project-name"),
    ("tenant-id", "project-id"),
    ("interface", "endpoint-type"),
    ("endpoint-override", "url"),
];

impl Settings {
    /// A setting's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The setting a flag sets, if it is one of the client as a whole.
    pub(super) fn of_flag(flag: &str) -> Option<&'static str> {
        let flag = flag.replace('_', "-");
        let name = match flag.as_str() {
            "--http-timeout" => "http-timeout",
            "--service-type" => "service-type",
            "--endpoint-type" => "endpoint-type",
            _ => flag.strip_prefix("--os-")?,
        };
        let name = SPELLINGS.iter().find(|(other, _)| *other == name).map_or(name, |(_, name)| name);
        KNOWN.iter().map(|(known, _)| *known).find(|known| *known == name)
    }

    /// Flags, filled up from the named cloud or else the environment.
    pub(super) fn resolve(flags: Vec<(&'static str, String)>, environment: &Environment) -> Result<Self, ClientError> {
        let mut settings = Self(flags.into_iter().collect());
        let cloud = settings.get("cloud").or_else(|| environment.get("OS_CLOUD")).map(str::to_owned);
        match cloud {
            Some(name) => settings.fill(cloud_settings(Some(&name), environment)?),
            None => {
                for (name, variables) in KNOWN {
                    if let Some(value) = variables.iter().find_map(|variable| environment.get(variable)) {
                        settings.0.entry(name).or_insert_with(|| value.to_owned());
                    }
                }
                if settings.names_no_server() {
                    settings.fill(cloud_settings(None, environment)?);
                }
            }
        }
        Ok(settings)
    }

    fn names_no_server(&self) -> bool {
        ["url", "endpoint", "auth-url"].iter().all(|name| self.get(name).is_none())
    }

    fn fill(&mut self, others: Self) {
        for (name, value) in others.0 {
            self.0.entry(name).or_insert(value);
        }
    }
}

/// The files that may describe clouds, the preferred one first.
fn cloud_files(environment: &Environment) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = environment.get("OS_CLIENT_CONFIG_FILE").map(PathBuf::from).into_iter().collect();
    let home = environment.get("HOME").map(PathBuf::from);
    let config = environment.get("XDG_CONFIG_HOME").map(PathBuf::from).or(home.map(|home| home.join(".config")));
    let directories = [
        Some(environment.directory.clone()),
        config.map(|config| config.join("openstack")),
        Some(PathBuf::from("/etc/openstack")),
    ];
    for directory in directories.into_iter().flatten() {
        files.extend(["clouds.yaml", "clouds.yml", "clouds.json"].map(|name| directory.join(name)));
    }
    files
}

/// The settings of a cloud; without a name, those of the only one there is, or none.
fn cloud_settings(name: Option<&str>, environment: &Environment) -> Result<Settings, ClientError> {
    let Some(path) = cloud_files(environment).into_iter().find(|path| path.is_file()) else {
        return match name {
            Some(name) => Err(ClientError::Refused(format!("Cloud {name} was not found: there is no clouds.yaml."))),
            None => Ok(Settings::default()),
        };
    };
    let clouds = read_clouds(&path)?;
    let entries = clouds.get("clouds").and_then(Value::as_object);
    let chosen = match (name, entries) {
        (Some(name), Some(entries)) => entries.get(name),
        (None, Some(entries)) if entries.len() == 1 => entries.values().next(),
        _ => None,
    };
    match (chosen, name) {
        (Some(cloud), _) => {
            let mut settings = settings_of(cloud);
            settings.fill(secrets_of(name, &path));
            Ok(settings)
        }
        (None, None) => Ok(Settings::default()),
        (None, Some(name)) => {
            let known: Vec<&str> = entries.map(|all| all.keys().map(String::as_str).collect()).unwrap_or_default();
            let path = path.display();
            Err(ClientError::Refused(format!("Cloud {name} was not found in {path}; it has: {}.", known.join(", "))))
        }
    }
}

fn read_clouds(path: &Path) -> Result<Value, ClientError> {
    let unreadable = |reason: String| ClientError::Refused(format!("cannot read {}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|error| unreadable(error.to_string()))
}

/// What `secure.yaml` beside it adds.
fn secrets_of(name: Option<&str>, path: &Path) -> Settings {
    let secure = path.with_file_name("secure.yaml");
    let (Some(name), true) = (name, secure.is_file()) else { return Settings::default() };
    let secrets = read_clouds(&secure).unwrap_or_default();
    secrets.pointer(&format!("/clouds/{name}")).map(settings_of).unwrap_or_default()
}

fn settings_of(cloud: &Value) -> Settings {
    let mut settings = Settings::default();
    let sections = [Some(cloud), cloud.get("auth")];
    for (key, value) in sections.into_iter().flatten().filter_map(Value::as_object).flatten() {
        let name = key.replace('_', "-");
        let name = SPELLINGS.iter().find(|(other, _)| *other == name).map_or(name.as_str(), |(_, name)| name);
        let name = if name == "network-endpoint-override" { "url" } else { name };
        let known = KNOWN.iter().map(|(known, _)| *known).find(|known| *known == name);
        let text = match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        if let (Some(known), Some(text)) = (known, text) {
            settings.0.insert(known, text);
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)], directory: &Path) -> Environment {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Environment { variables, directory: directory.to_owned(), width: None }
    }

    const CLOUDS: &str = "clouds:\n  one:\n    auth_type: none\n    endpoint: http://h:1\n  two:\n    region_name: R\n    \
                          auth:\n      auth_url: http://k/v3\n      username: u\n      project_name: p\n    interface: internal\n";

    #[test]
    fn a_cloud_replaces_the_environment_and_flags_win() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("clouds.yaml"), CLOUDS).unwrap();
        let environment = environment(&[("OS_CLOUD", "two"), ("OS_USERNAME", "ignored")], home.path());
        let settings = Settings::resolve(vec![("region-name", "S".into())], &environment).unwrap();
        assert_eq!(settings.get("auth-url"), Some("http://k/v3"));
        assert_eq!(settings.get("username"), Some("u"));
        assert_eq!(settings.get("region-name"), Some("S"));
        assert_eq!(settings.get("endpoint-type"), Some("internal"));
    }

    #[test]
    fn the_environment_serves_without_a_cloud() {
        let home = tempfile::tempdir().unwrap();
        let environment = environment(&[("OS_URL", "http://h:9696"), ("OS_TENANT_NAME", "t")], home.path());
        let settings = Settings::resolve(Vec::new(), &environment).unwrap();
        assert_eq!((settings.get("url"), settings.get("project-name")), (Some("http://h:9696"), Some("t")));
    }

    #[test]
    fn an_unknown_cloud_is_named_with_the_known_ones() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("my.yaml");
        std::fs::write(&file, CLOUDS).unwrap();
        let environment = environment(&[("OS_CLIENT_CONFIG_FILE", file.to_str().unwrap())], home.path());
        let error = Settings::resolve(vec![("cloud", "three".into())], &environment).unwrap_err().to_string();
        assert!(
            error.starts_with("Cloud three was not found in ") && error.ends_with("; it has: one, two."),
            "{error}"
        );
    }

    #[test]
    fn flags_have_all_their_spellings() {
        assert_eq!(Settings::of_flag("--os-tenant-name"), Some("project-name"));
        assert_eq!(Settings::of_flag("--os_auth_url"), Some("auth-url"));
        assert_eq!(Settings::of_flag("--tenant-id"), None);
    }
}
