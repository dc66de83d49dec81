//! The options of the metadata agent and of its proxies.

use oslo::{
    config::{Config as Options, ConfigError},
    http::Tls,
};

use crate::metadata::{
    Config, Secret,
    proxy::{self, Rate, Window},
};

const FAMILIES: [&str; 2] = ["4", "6"];

impl Config {
    /// Reads the options of the metadata agent.
    pub fn from_oslo(options: &Options) -> Result<Self, ConfigError> {
        let path = |name: &str| options.get::<Option<std::path::PathBuf>>("DEFAULT", name);
        let (certfile, keyfile) = (path("nova_client_cert")?, path("nova_client_priv_key")?);
        // As upstream has it, one without the other is neither.
        let (certfile, keyfile) = certfile.zip(keyfile).unzip();
        let insecure = options.get("DEFAULT", "nova_metadata_insecure")?;
        let state_path: String = options.get("DEFAULT", "state_path")?;
        Ok(Self {
            metadata_proxy_socket: options.get("DEFAULT", "metadata_proxy_socket")?,
            socket_mode: socket_mode(options)?,
            metadata_backlog: options.get("DEFAULT", "metadata_backlog")?,
            nova_metadata_protocol: options.get("DEFAULT", "nova_metadata_protocol")?,
            nova_metadata_host: options.get("DEFAULT", "nova_metadata_host")?,
            nova_metadata_port: options.get("DEFAULT", "nova_metadata_port")?,
            tls: Tls { cafile: path("auth_ca_cert")?, certfile, keyfile, insecure },
            metadata_proxy_shared_secret: Secret::new(text(options, "metadata_proxy_shared_secret")?),
            report_interval: options.get("agent", "report_interval")?,
            log_agent_heartbeats: options.get("agent", "log_agent_heartbeats")?,
            ..Self::new(options.host()?, state_path)
        })
    }
}

/// The options of the proxies.
pub(super) fn proxy(options: &Options) -> Result<proxy::Config, ConfigError> {
    let timeout = |name: &str| options.get("metadata_haproxy", name);
    let state_path: String = options.get("DEFAULT", "state_path")?;
    Ok(proxy::Config {
        metadata_proxy_socket: options.get("DEFAULT", "metadata_proxy_socket")?,
        rate: rate(options)?,
        timeout_connect: timeout("timeout_connect")?,
        timeout_client: timeout("timeout_client")?,
        timeout_server: timeout("timeout_server")?,
        timeout_http_request: timeout("timeout_http_request")?,
        timeout_http_keep_alive: timeout("timeout_http_keep_alive")?,
        ..proxy::Config::new(state_path)
    })
}

fn rate(options: &Options) -> Result<Option<Rate>, ConfigError> {
    const GROUP: &str = "metadata_rate_limiting";
    let versions: Vec<String> = options.get(GROUP, "ip_versions")?;
    if let Some(odd) = versions.iter().find(|version| !FAMILIES.contains(&version.as_str())) {
        return Err(options.refuse_item(GROUP, "ip_versions", odd, "no version of IP", &FAMILIES));
    }
    let base = Window {
        duration: options.get(GROUP, "base_window_duration")?,
        limit: options.get(GROUP, "base_query_rate_limit")?,
    };
    let burst = Window {
        duration: options.get(GROUP, "burst_window_duration")?,
        limit: options.get(GROUP, "burst_query_rate_limit")?,
    };
    let has = |family: &str| versions.iter().any(|version| version == family);
    let rate = Rate { base, burst, ipv4: has("4"), ipv6: has("6") };
    Ok(options.get::<bool>(GROUP, "rate_limit_enabled")?.then_some(rate))
}

/// Permissions of the socket. Those that are deduced are as few as the proxies' user and group allow.
fn socket_mode(options: &Options) -> Result<u32, ConfigError> {
    let (user, group) = (text(options, "metadata_proxy_user")?, text(options, "metadata_proxy_group")?);
    let mode: String = options.get("DEFAULT", "metadata_proxy_socket_mode")?;
    Ok(match mode.as_str() {
        "user" => 0o644,
        "group" => 0o664,
        "all" => 0o666,
        _ if user.is_empty() || user == "0" || user == "root" || kernel::user::is_ours(&user) => 0o644,
        _ if group.is_empty() || kernel::user::is_our_group(&group) => 0o664,
        _ => 0o666,
    })
}

fn text(options: &Options, name: &str) -> Result<String, ConfigError> {
    Ok(options.get::<Option<String>>("DEFAULT", name)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use oslo::config::Sources;

    use super::*;

    fn load(text: &str) -> Options {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.conf");
        std::fs::write(&file, text).unwrap();
        Options::load(Sources { files: vec![file], ..Sources::default() }).unwrap()
    }

    #[test]
    fn without_files_the_agent_has_upstreams_defaults() {
        let options = load("[DEFAULT]\nhost = h1\n");
        let config = Config::from_oslo(&options).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::new("h1", "/var/lib/neutron")));
    }

    #[test]
    fn the_seed_deployments_options() {
        let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/seed-deployment/controller");
        let files: Vec<PathBuf> = vec![data.join("neutron.conf"), data.join("metadata_agent.ini")];
        let options = Options::load(Sources { files, ..Sources::default() }).unwrap();
        let config = Config::from_oslo(&options).unwrap();
        assert_eq!((config.nova_metadata_host.as_str(), config.nova_metadata_port), ("192.168.56.11", 8775));
        assert_eq!(config.metadata_proxy_shared_secret, Secret::new("abcdocker"));
    }

    #[test]
    fn the_socket_is_open_to_those_who_need_it() {
        let mode = |text: &str| socket_mode(&load(&format!("[DEFAULT]\n{text}"))).unwrap();
        assert_eq!(mode(""), 0o644);
        assert_eq!(mode("metadata_proxy_user = root"), 0o644);
        assert_eq!(mode("metadata_proxy_user = nobody-here"), 0o664);
        assert_eq!(mode("metadata_proxy_user = nobody-here\nmetadata_proxy_group = none-here"), 0o666);
        assert_eq!(mode("metadata_proxy_socket_mode = all"), 0o666);
        assert_eq!(mode("metadata_proxy_socket_mode = group"), 0o664);
    }

    #[test]
    fn rates_and_times() {
        let config = proxy(&load("[metadata_haproxy]\ntimeout_server = 5\n")).unwrap();
        assert_eq!((config.timeout_server.as_secs(), config.rate), (5, None));
        let text =
            "[metadata_rate_limiting]\nrate_limit_enabled = true\nip_versions = 4,6\nbase_query_rate_limit = 3\n";
        let rate = proxy(&load(text)).unwrap().rate.unwrap();
        assert_eq!((rate.base.limit, rate.burst.limit, rate.ipv4, rate.ipv6), (3, 10, true, true));
        let error = proxy(&load("[metadata_rate_limiting]\nip_versions = 5\n")).unwrap_err().to_string();
        assert!(error.contains("no version of IP; allowed: 4, 6"), "{error}");
    }

    #[test]
    fn a_client_certificate_needs_its_key() {
        let alone = Config::from_oslo(&load("[DEFAULT]\nnova_client_cert = /c\n")).unwrap();
        assert_eq!(alone.tls, Tls::default());
        let both = load("[DEFAULT]\nnova_client_cert = /c\nnova_client_priv_key = /k\nauth_ca_cert = /a\n");
        let tls = Config::from_oslo(&both).unwrap().tls;
        let expected =
            Tls { cafile: Some("/a".into()), certfile: Some("/c".into()), keyfile: Some("/k".into()), insecure: false };
        assert_eq!(tls, expected);
    }
}
