//! What `[keystone_authtoken]` says of validating tokens.

use std::time::Duration;

use super::{Bind, Protection, SECTION};
use crate::config::{Config, ConfigError};
use crate::memcached::{self, Memcached};

/// How tokens are validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where callers without token are sent.
    pub www_authenticate_uri: Option<String>,
    /// Which of Keystone's endpoints validates tokens.
    pub interface: String,
    /// In which region.
    pub region: Option<String>,
    /// Whether requests without valid token go on.
    pub delay_auth_decision: bool,
    /// Further attempts when Keystone cannot be reached.
    pub connect_retries: u32,
    /// The longest wait for an answer of Keystone.
    pub timeout: Duration,
    /// How long tokens are kept.
    pub keep: Keep,
    /// The cache that is shared with other processes.
    pub memcached: Option<Memcached>,
    /// How tokens are protected there.
    pub protection: Protection,
    /// Whether the catalogue is asked for and shared.
    pub include_catalog: bool,
    /// How the binding of tokens is taken.
    pub bind: Bind,
    /// Roles of which a service must have one.
    pub service_roles: Vec<String>,
    /// Whether it must.
    pub service_roles_required: bool,
    /// Our own type in the catalogue.
    pub service_type: Option<String>,
}

/// How long a token is kept after Keystone has told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Not at all.
    Never,
    /// For this long.
    For(Duration),
    /// As long as it is good.
    UntilExpiry,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            www_authenticate_uri: None,
            interface: "internal".to_owned(),
            region: None,
            delay_auth_decision: false,
            connect_retries: 3,
            timeout: Duration::from_secs(60),
            keep: Keep::For(Duration::from_secs(300)),
            memcached: None,
            protection: Protection::None,
            include_catalog: true,
            bind: Bind::Permissive,
            service_roles: vec!["service".to_owned()],
            service_roles_required: true,
            service_type: None,
        }
    }
}

impl Settings {
    /// Reads the section.
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        let default = Self::default();
        let text =
            |name: &str| Ok::<_, ConfigError>(config.get::<Option<String>>(SECTION, name)?.filter(|t| !t.is_empty()));
        let timeout = config.get::<Option<Duration>>(SECTION, "http_connect_timeout")?.filter(|time| !time.is_zero());
        let memcached = memcached(config)?;
        Ok(Self {
            www_authenticate_uri: text("www_authenticate_uri")?,
            interface: config.get(SECTION, "interface")?,
            region: text("region_name")?,
            delay_auth_decision: config.get(SECTION, "delay_auth_decision")?,
            connect_retries: config.get(SECTION, "http_request_max_retries")?,
            timeout: timeout.unwrap_or(default.timeout),
            keep: match config.get::<i64>(SECTION, "token_cache_time")? {
                0 => Keep::UntilExpiry,
                seconds => {
                    u64::try_from(seconds).map_or(Keep::Never, |seconds| Keep::For(Duration::from_secs(seconds)))
                }
            },
            protection: protection(config)?,
            memcached,
            include_catalog: config.get(SECTION, "include_service_catalog")?,
            bind: Bind::parse(&config.get::<String>(SECTION, "enforce_token_bind")?),
            service_roles: config.get(SECTION, "service_token_roles")?,
            service_roles_required: config.get(SECTION, "service_token_roles_required")?,
            service_type: text("service_type")?,
        })
    }
}

fn memcached(config: &Config) -> Result<Option<Memcached>, ConfigError> {
    let servers: Vec<String> = config.get(SECTION, "memcached_servers")?;
    if servers.is_empty() {
        return Ok(None);
    }
    for name in ["memcache_tls_enabled", "memcache_sasl_enabled"] {
        if config.get::<bool>(SECTION, name)? {
            let problem = "memcached is spoken to without TLS and login here; take it out, or leave memcached_servers \
                           empty to keep tokens in the process";
            return Err(config.refuse(SECTION, name, problem, &["false"]));
        }
    }
    let settings = memcached::Settings {
        servers,
        timeout: config.get(SECTION, "memcache_pool_socket_timeout")?,
        dead_retry: config.get(SECTION, "memcache_pool_dead_retry")?,
        pool: config.get(SECTION, "memcache_pool_maxsize")?,
        unused: config.get(SECTION, "memcache_pool_unused_timeout")?,
    };
    Memcached::new(&settings).map(Some).map_err(|error| {
        config.refuse(SECTION, "memcached_servers", error.to_string(), &["host:port, several separated by commas"])
    })
}

fn protection(config: &Config) -> Result<Protection, ConfigError> {
    let strategy: String = config.get(SECTION, "memcache_security_strategy")?;
    let secret =
        || match config.get::<Option<String>>(SECTION, "memcache_secret_key")?.filter(|secret| !secret.is_empty()) {
            Some(secret) => Ok(secret),
            None => {
                let problem = format!("memcache_security_strategy = {strategy} needs a secret");
                Err(config.refuse(SECTION, "memcache_secret_key", problem, &[]))
            }
        };
    match strategy.to_ascii_uppercase().as_str() {
        "NONE" => Ok(Protection::None),
        "MAC" => Ok(Protection::Mac(secret()?)),
        "ENCRYPT" => Ok(Protection::Encrypt(secret()?)),
        _ => {
            let problem = "there is no such protection";
            Err(config.refuse(SECTION, "memcache_security_strategy", problem, &["None", "MAC", "ENCRYPT"]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn read(text: &str) -> Result<Settings, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.conf");
        std::fs::write(&path, format!("[keystone_authtoken]\n{text}")).unwrap();
        let config = Config::load(Sources { files: vec![path], ..Sources::default() }).map_err(|e| e.to_string())?;
        Settings::read(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn the_tables_defaults_are_ours() {
        assert_eq!(format!("{:?}", read("").unwrap()), format!("{:?}", Settings::default()));
    }

    #[test]
    fn times_and_protection_are_read() {
        assert_eq!(read("token_cache_time = -1\n").unwrap().keep, Keep::Never);
        assert_eq!(read("token_cache_time = 0\n").unwrap().keep, Keep::UntilExpiry);
        let settings = read("memcache_security_strategy = encrypt\nmemcache_secret_key = s\n").unwrap();
        assert_eq!(settings.protection, Protection::Encrypt("s".into()));
        let told = read("memcache_security_strategy = mac\n").unwrap_err();
        assert!(told.contains("memcache_secret_key") && told.contains("needs a secret"), "{told}");
        let told = read("memcache_security_strategy = encript\n").unwrap_err();
        assert!(told.contains("ENCRYPT"), "{told}");
        let told = read("memcached_servers = a:b\n").unwrap_err();
        assert!(told.contains("names no server"), "{told}");
        let told = read("memcached_servers = a\nmemcache_tls_enabled = true\n").unwrap_err();
        assert!(told.contains("without TLS"), "{told}");
    }
}
