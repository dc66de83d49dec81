//! The metadata service: an instance asks 169.254.169.254 or fe80::a9fe:a9fe, and the compute service answers as to that
//! instance and no other.
//!
//! Two halves, which may run in one process or on one host in two, each with upstream's other half:
//!
//! * [`proxy`] listens on these addresses inside the namespace of a network, as a task of the DHCP agent. It says which
//!   network and which address a request came from, and passes it on by a unix socket.
//! * [`agent`] listens on that socket, asks the server whose port that is ([`lookup`]), signs the instance's id with the
//!   secret that it shares with the compute service, and asks that ([`nova`]).
//!
//! What it promises:
//!
//! * **Nobody gets another's metadata.** Which network and which address a request came from is never taken from what
//!   the instance sent; an address that no port, or more than one, has on the network is answered with 404.
//! * **No instance can use the service up for others**: the size and time of a request, the connections of a source
//!   and of a network are bounded, and the rate of requests can be.
//! * **The secret** is written nowhere.

pub mod agent;
mod answer;
mod connection;
mod handler;
mod lookup;
mod nova;
pub mod proxy;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use hyper::header::HeaderName;
use oslo::http::Tls;

pub use agent::{AgentError, run};

/// Where IPv4 instances reach the metadata service.
pub const ADDRESS_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
/// Where IPv6 instances reach it.
pub const ADDRESS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe));
/// The port there.
pub const PORT: u16 = 80;

/// Names the network that a request came from.
const NETWORK_ID: HeaderName = HeaderName::from_static("x-neutron-network-id");
/// Names the router that a request came through.
const ROUTER_ID: HeaderName = HeaderName::from_static("x-neutron-router-id");
/// Names the address that a request came from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where a request was taken: addresses have a meaning only within it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// On a network, by its id.
    Network(String),
    /// On a router, by its id; the request came from one of the router's networks.
    Router(String),
}

impl Scope {
    /// The id of the network or router.
    pub fn id(&self) -> &str {
        match self {
            Self::Network(id) | Self::Router(id) => id,
        }
    }

    fn header(&self) -> HeaderName {
        match self {
            Self::Network(_) => NETWORK_ID,
            Self::Router(_) => ROUTER_ID,
        }
    }
}

/// A text that is written nowhere.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Options of the metadata agent, with upstream's names and meanings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this host.
    pub host: String,
    /// The socket on which the agent is asked; `$state_path/metadata_proxy`.
    pub metadata_proxy_socket: PathBuf,
    /// Who may connect to it: permissions of the socket.
    pub socket_mode: u32,
    /// Connections that may wait to be taken.
    pub metadata_backlog: u32,
    /// `http` or `https`.
    pub nova_metadata_protocol: String,
    /// Host of the compute service's metadata API.
    pub nova_metadata_host: String,
    /// Its port.
    pub nova_metadata_port: u16,
    /// How it is recognised.
    pub tls: Tls,
    /// What the agent and the compute service know.
    pub metadata_proxy_shared_secret: Secret,
    /// Time between reports.
    pub report_interval: Duration,
    /// Note each report in the log.
    pub log_agent_heartbeats: bool,
}

impl Config {
    /// Upstream's defaults, for this host and with the socket below `state_path`.
    pub fn new(host: impl Into<String>, state_path: impl Into<PathBuf>) -> Self {
        Self {
            host: host.into(),
            metadata_proxy_socket: state_path.into().join("metadata_proxy"),
            socket_mode: 0o644,
            metadata_backlog: 4096,
            nova_metadata_protocol: "http".to_owned(),
            nova_metadata_host: "127.0.0.1".to_owned(),
            nova_metadata_port: 8775,
            tls: Tls::default(),
            metadata_proxy_shared_secret: Secret::default(),
            report_interval: Duration::from_secs(30),
            log_agent_heartbeats: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_not_shown() {
        let mut config = Config::new("host-a", "/var/lib/neutron");
        config.metadata_proxy_shared_secret = Secret::new("abcdocker");
        let text = format!("{config:?}");
        assert!(text.contains("Secret(***)") && !text.contains("abcdocker"), "{text}");
    }
}
