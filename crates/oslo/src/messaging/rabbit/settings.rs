//! How to reach the brokers, and what to declare there: `transport_url`, the older `rabbit_*` options and the section
//! `[oslo_messaging_rabbit]`, whose options a URL's query may override.

use std::{fmt, path::PathBuf, time::Duration};

use super::url::{Host, TransportUrl, UrlError, parse_address};
use crate::config::{
    Config, ConfigError,
    options::CATALOG,
    value::{self, FromValue},
};

const GROUP: &str = "oslo_messaging_rabbit";

/// Everything the transport is told by files.
#[derive(Debug, Clone)]
pub struct RabbitSettings {
    /// The brokers of one cluster.
    pub hosts: Vec<Host>,
    /// Their virtual host.
    pub vhost: String,
    /// Exchange of topics (`control_exchange`).
    pub exchange: String,
    /// Name of the program, for the broker's list of connections.
    pub program: String,
    /// How long a cast waits for a broker (`rpc_response_timeout`).
    pub response_timeout: Duration,
    /// Whether listeners answer `oslo_rpc_server_ping` themselves (`rpc_ping_enabled`).
    pub ping: bool,
    /// TLS, when it is on.
    pub tls: Option<TlsFiles>,
    /// How to log in.
    pub login: Login,
    /// Seconds of silence after which the peer counts as gone; 0 for never.
    pub heartbeat: u16,
    /// When to connect again.
    pub reconnect: Reconnect,
    /// What queues are like.
    pub queues: QueueSettings,
    /// Unacknowledged messages that a listener takes ahead; 0 for no limit.
    pub prefetch: u16,
    /// How long a reply waits for a caller's queue to come back.
    pub missing_consumer_retry: Duration,
    /// Whether replies ask the broker to tell when the queue is gone.
    pub mandatory_replies: bool,
}

/// PEM files for TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities; those of the system when unset.
    pub authorities: Option<PathBuf>,
    /// The client's certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// User and password as an AMQP table.
    AmqPlain,
    /// User and password as SASL has it.
    Plain,
    /// By the client's certificate.
    External,
    /// A demonstration that brokers have.
    RabbitCrDemo,
}

/// When to connect again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reconnect {
    /// The first wait.
    pub start: Duration,
    /// By how much it grows.
    pub step: Duration,
    /// The longest wait.
    pub most: Duration,
    /// The pause before queues are declared on a new connection.
    pub delay: Duration,
    /// Up to how much is added to that pause by chance.
    pub splay: Duration,
    /// Whether the next host is drawn rather than the next in turn.
    pub shuffle: bool,
}

/// What queues are like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// Whether exchanges and the queues of topics outlive the broker.
    pub durable: bool,
    /// Whether they go with their last user.
    pub auto_delete: bool,
    /// Whether the queues of topics are quorum queues.
    pub quorum: bool,
    /// Whether the queues of fanouts and replies are quorum queues as well.
    pub transient_quorum: bool,
    /// Whether fanouts go through one stream instead of a queue for each listener.
    pub stream_fanout: bool,
    /// Whether queues ask to be mirrored.
    pub mirrored: bool,
    /// Seconds after which an unused queue of a fanout or of replies goes; 0 for never.
    pub transient_ttl: u32,
    /// Deliveries after which a quorum queue drops a message; 0 for its own limit.
    pub delivery_limit: i64,
    /// Messages that a quorum queue keeps in memory; 0 for its own limit.
    pub max_memory_length: i64,
    /// Bytes that it keeps in memory; 0 for its own limit.
    pub max_memory_bytes: i64,
    /// Whether consumers want to know when a mirrored queue moves.
    pub cancel_on_failover: bool,
    /// Host and process name to make queue names of, instead of drawing them.
    pub manager: Option<(String, String)>,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An option has a value that means nothing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Two options exclude each other, or one needs another.
    #[error("[{GROUP}] {0}")]
    Conflict(&'static str),
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AmqPlain => "AMQPLAIN",
            Self::Plain => "PLAIN",
            Self::External => "EXTERNAL",
            Self::RabbitCrDemo => "RABBIT-CR-DEMO",
        })
    }
}

impl RabbitSettings {
    /// The transport of calls: `transport_url`, or where it is not set the `rabbit_*` options.
    pub fn from_config(config: &Config, program: &str) -> Result<Self, SettingsError> {
        let written = config.get::<Option<String>>("DEFAULT", "transport_url")?;
        let url = match written.filter(|_| config.is_set("DEFAULT", "transport_url")) {
            Some(text) => parse(config, "DEFAULT", &text)?,
            None => of_older_options(config)?,
        };
        Self::read(config, url, program)
    }

    /// The transport of notifications: `transport_url` of `[oslo_messaging_notifications]`; `None` where it is not set,
    /// which leaves them to the transport of calls.
    pub fn for_notifications(config: &Config, program: &str) -> Result<Option<Self>, SettingsError> {
        const GROUP: &str = "oslo_messaging_notifications";
        let Some(text) = config.get::<Option<String>>(GROUP, "transport_url")? else { return Ok(None) };
        Self::read(config, parse(config, GROUP, &text)?, program).map(Some)
    }

    fn read(config: &Config, url: TransportUrl, program: &str) -> Result<Self, SettingsError> {
        let options = Options { config, url: &url };
        let settings = Self {
            exchange: config.get("DEFAULT", "control_exchange")?,
            program: program.to_owned(),
            response_timeout: config.get("DEFAULT", "rpc_response_timeout")?,
            ping: config.get("DEFAULT", "rpc_ping_enabled")?,
            tls: options.tls()?,
            login: options.login()?,
            heartbeat: options.get("heartbeat_timeout_threshold")?,
            reconnect: options.reconnect()?,
            queues: options.queues(program)?,
            prefetch: options.get("rabbit_qos_prefetch_count")?,
            missing_consumer_retry: options.get("kombu_missing_consumer_retry_timeout")?,
            mandatory_replies: options.get("direct_mandatory_flag")?,
            vhost: url.vhost.clone(),
            hosts: url.hosts.clone(),
        };
        settings.queues.check(settings.prefetch)?;
        Ok(settings)
    }
}

impl QueueSettings {
    fn check(&self, prefetch: u16) -> Result<(), SettingsError> {
        let wrong = match self {
            Self { quorum: true, mirrored: true, .. } => "rabbit_quorum_queue and rabbit_ha_queues exclude each other",
            Self { stream_fanout: true, transient_quorum: false, .. } => {
                "rabbit_stream_fanout needs rabbit_transient_quorum_queue = true"
            }
            Self { stream_fanout: true, .. } if prefetch == 0 => {
                "rabbit_stream_fanout needs a rabbit_qos_prefetch_count above 0"
            }
            _ => return Ok(()),
        };
        Err(SettingsError::Conflict(wrong))
    }
}

fn parse(config: &Config, group: &str, text: &str) -> Result<TransportUrl, ConfigError> {
    TransportUrl::parse(text).map_err(|error| refuse(config, group, "transport_url", &error))
}

fn refuse(config: &Config, group: &str, name: &str, error: &UrlError) -> ConfigError {
    config.refuse(group, name, error.to_string(), &["rabbit://user:password@host:port/virtual_host"])
}

/// What `rabbit_hosts`, `rabbit_host`, `rabbit_port`, `rabbit_userid`, `rabbit_password` and `rabbit_virtual_host` say.
fn of_older_options(config: &Config) -> Result<TransportUrl, ConfigError> {
    let text = |name| config.get::<Option<String>>(GROUP, name);
    let port = config.get::<Option<u16>>(GROUP, "rabbit_port")?;
    let mut written = config.get::<Vec<String>>(GROUP, "rabbit_hosts")?;
    let in_list = !written.is_empty();
    if !in_list {
        written.push(text("rabbit_host")?.unwrap_or_else(|| "localhost".to_owned()));
    }
    let (user, password) = (text("rabbit_userid")?, text("rabbit_password")?);
    let mut hosts = Vec::new();
    for address in written {
        let option = if in_list { "rabbit_hosts" } else { "rabbit_host" };
        let (name, own_port) = parse_address(&address).map_err(|error| refuse(config, GROUP, option, &error))?;
        let mut host = Host::new(name, if in_list { own_port } else { port.unwrap_or(own_port) });
        host.user = user.clone().unwrap_or(host.user);
        host.password = password.clone().unwrap_or(host.password);
        hosts.push(host);
    }
    let vhost = text("rabbit_virtual_host")?.unwrap_or_else(|| "/".to_owned());
    Ok(TransportUrl { hosts, vhost, query: Default::default() })
}

/// Options of the section, those in the URL first.
struct Options<'a> {
    config: &'a Config,
    url: &'a TransportUrl,
}

impl Options<'_> {
    fn get<T: FromValue>(&self, name: &str) -> Result<T, ConfigError> {
        let Some(text) = self.url.query.get(name) else { return self.config.get(GROUP, name) };
        let groups = CATALOG.iter().copied().flatten().filter(|group| group.name == GROUP);
        let Some(option) = groups.flat_map(|group| group.options).find(|option| option.name == name) else {
            return self.config.get(GROUP, name);
        };
        value::parse(option.kind, text).and_then(T::from_value).map_err(|problem| {
            let problem = format!("its option {name}={text} is {problem}");
            self.config.refuse("DEFAULT", "transport_url", problem, &[])
        })
    }

    fn seconds(&self, name: &str) -> Result<Duration, ConfigError> {
        self.get(name)
    }

    fn tls(&self) -> Result<Option<TlsFiles>, ConfigError> {
        if !self.get("ssl")? {
            return Ok(None);
        }
        Ok(Some(TlsFiles {
            authorities: self.get("ssl_ca_file")?,
            certificate: self.get("ssl_cert_file")?,
            key: self.get("ssl_key_file")?,
        }))
    }

    fn login(&self) -> Result<Login, ConfigError> {
        Ok(match self.get::<String>("rabbit_login_method")?.as_str() {
            "PLAIN" => Login::Plain,
            "EXTERNAL" => Login::External,
            "RABBIT-CR-DEMO" => Login::RabbitCrDemo,
            _ => Login::AmqPlain,
        })
    }

    fn reconnect(&self) -> Result<Reconnect, ConfigError> {
        Ok(Reconnect {
            start: self.seconds("rabbit_retry_interval")?,
            step: self.seconds("rabbit_retry_backoff")?,
            most: self.seconds("rabbit_interval_max")?,
            delay: self.seconds("kombu_reconnect_delay")?,
            splay: self.seconds("kombu_reconnect_splay")?,
            shuffle: self.get::<String>("kombu_failover_strategy")? == "shuffle",
        })
    }

    fn queues(&self, program: &str) -> Result<QueueSettings, ConfigError> {
        let quorum = self.get("rabbit_quorum_queue")?;
        let manager = match self.get("use_queue_manager")? {
            false => None,
            true => {
                let host = self.get::<Option<String>>("hostname")?.map_or_else(|| self.config.host(), Ok)?;
                let process = self.get::<Option<String>>("processname")?.unwrap_or_else(|| program.to_owned());
                Some((host, process))
            }
        };
        Ok(QueueSettings {
            durable: self.get::<bool>("amqp_durable_queues")? || quorum,
            auto_delete: self.get("amqp_auto_delete")?,
            quorum,
            transient_quorum: self.get("rabbit_transient_quorum_queue")?,
            stream_fanout: self.get("rabbit_stream_fanout")?,
            mirrored: self.get("rabbit_ha_queues")?,
            transient_ttl: self.get("rabbit_transient_queues_ttl")?,
            delivery_limit: self.get("rabbit_quorum_delivery_limit")?,
            max_memory_length: self.get("rabbit_quorum_max_memory_length")?,
            max_memory_bytes: self.get("rabbit_quorum_max_memory_bytes")?,
            cancel_on_failover: self.get("enable_cancel_on_failover")?,
            manager,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn settings(options: &[(&'static str, &'static str, &str)]) -> Result<RabbitSettings, SettingsError> {
        let overrides = options.iter().map(|(group, name, value)| ((*group, *name), (*value).to_owned())).collect();
        let config = Config::load(Sources { overrides, ..Sources::default() })?;
        RabbitSettings::from_config(&config, "neutron-server")
    }

    #[test]
    fn defaults_are_upstreams() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.hosts, [Host::new("localhost", 5672)]);
        assert_eq!((settings.vhost.as_str(), settings.exchange.as_str()), ("/", "neutron"));
        assert_eq!((settings.heartbeat, settings.prefetch, settings.login), (60, 0, Login::AmqPlain));
        assert_eq!(settings.queues, QueueSettings { transient_ttl: 1800, ..QueueSettings::default() });
        assert_eq!(settings.missing_consumer_retry, Duration::from_secs(60));
        assert!(settings.tls.is_none() && settings.mandatory_replies && !settings.reconnect.shuffle);
    }

    #[test]
    fn older_options_count_where_no_url_is_set() {
        let older = [
            (GROUP, "rabbit_host", "192.0.2.11"),
            (GROUP, "rabbit_userid", "openstack"),
            (GROUP, "rabbit_password", "secret"),
            (GROUP, "rabbit_virtual_host", "neutron"),
            (GROUP, "rabbit_port", "5673"),
            (GROUP, "ssl", "true"),
        ];
        let read = settings(&older).unwrap();
        assert_eq!(format!("{:?}", read.hosts), "[openstack:***@192.0.2.11:5673]");
        assert_eq!((read.hosts[0].password.as_str(), read.vhost.as_str()), ("secret", "neutron"));
        assert_eq!(read.tls, Some(TlsFiles::default()));
        let list = settings(&[(GROUP, "rabbit_hosts", "a:1,b"), older[1]]).unwrap();
        assert_eq!(format!("{:?}", list.hosts), "[openstack:***@a:1, openstack:***@b:5672]");
        let url = settings(&[older[0], ("DEFAULT", "transport_url", "rabbit://u:p@h/")]).unwrap();
        assert_eq!(format!("{:?}", url.hosts), "[u:***@h:5672]");
    }

    #[test]
    fn a_urls_query_overrides_the_section() {
        let url = "rabbit://u:p@h/?ssl=1&ssl_ca_file=/ca.pem&rabbit_qos_prefetch_count=7&rabbit_quorum_queue=yes";
        let read = settings(&[("DEFAULT", "transport_url", url), (GROUP, "rabbit_qos_prefetch_count", "3")]).unwrap();
        assert_eq!(read.tls.unwrap().authorities, Some("/ca.pem".into()));
        assert_eq!(read.prefetch, 7);
        assert!(read.queues.quorum && read.queues.durable);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        let refused = |url| settings(&[("DEFAULT", "transport_url", url)]).unwrap_err().to_string();
        let text = refused("amqp://u:secret@h/");
        assert!(text.contains("'amqp' is not spoken") && !text.contains("secret"), "{text}");
        let text = refused("rabbit://u:secret@h/?heartbeat_timeout_threshold=often");
        assert!(text.contains("heartbeat_timeout_threshold=often") && !text.contains("secret"), "{text}");
        let both = [(GROUP, "rabbit_quorum_queue", "true"), (GROUP, "rabbit_ha_queues", "true")];
        assert!(settings(&both).unwrap_err().to_string().contains("exclude each other"));
    }
}
