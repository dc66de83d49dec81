//! What the operator sets.

use std::{
    net::{Ipv6Addr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use kernel::System;
use types::RouterId;

use crate::metadata::{Secret, proxy};

/// The part of a mark that says where a packet came from.
pub const MARK_MASK: u32 = 0xffff;

/// Options, with upstream's names and meanings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this host.
    pub host: String,
    /// Zone this agent serves.
    pub availability_zone: String,
    /// Time between reports.
    pub report_interval: Duration,
    /// Note each report in the log.
    pub log_agent_heartbeats: bool,
    /// Serve routers without a gateway too.
    pub handle_internal_only_routers: bool,
    /// Next hop of the default route where the external network has no IPv6 subnet.
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// Pass requests for metadata on.
    pub enable_metadata_proxy: bool,
    /// Port within the namespaces at which that is done.
    pub metadata_port: u16,
    /// Mark of packets that are allowed to that port.
    pub metadata_access_mark: u16,
    /// Mark of packets that came from outside.
    pub external_ingress_mark: u16,
    /// How metadata is served.
    pub metadata_proxy: proxy::Config,
    /// Draw the ports of translated connections at random.
    pub use_random_fully: bool,
    /// User that radvd becomes; none for it to stay root.
    pub radvd_user: Option<String>,
    /// Directory of the files that radvd reads; `$state_path/ra`.
    pub ra_confs: PathBuf,
    /// Fewest and most seconds between two advertisements.
    pub rtr_adv_interval: (u32, u32),
    /// Directory in which the routers of this agent are noted, a file for each; `$state_path/routers`.
    pub routers: PathBuf,
    /// Directory of pid files; `$state_path/external/pids`.
    pub external_pids: PathBuf,
    /// Remove what was set up when the agent ends.
    pub cleanup_on_shutdown: bool,
    /// How HA routers find out which of them serves.
    pub ha: Ha,
    /// The machine to work on.
    pub system: System,
}

/// Options of HA routers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ha {
    /// Directory of the files of keepalived; `$state_path/ha_confs`.
    pub confs: PathBuf,
    /// Seconds between two advertisements.
    pub vrrp_advert_int: u32,
    /// Seconds between two checks of the way out by the host that serves; 0 for none.
    pub vrrp_health_check_interval: u32,
    /// How advertisements are signed: type and password; none for not at all.
    pub vrrp_auth: Option<(String, Secret)>,
    /// How tracked connections are kept known to all hosts; none for not at all.
    pub connections: Option<Connections>,
}

/// Options of connections that all hosts know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// The group in which they are told. The router's number is added to the port.
    pub group: SocketAddrV4,
    /// So many of a router at most.
    pub most: usize,
}

impl Config {
    /// Upstream's defaults, for this host and with the files below `state_path`.
    pub fn new(host: impl Into<String>, state_path: impl Into<PathBuf>) -> Self {
        let state_path = state_path.into();
        Self {
            host: host.into(),
            availability_zone: "nova".to_owned(),
            report_interval: Duration::from_secs(30),
            log_agent_heartbeats: false,
            handle_internal_only_routers: true,
            ipv6_gateway: None,
            enable_metadata_proxy: true,
            metadata_port: 9697,
            metadata_access_mark: 1,
            external_ingress_mark: 2,
            metadata_proxy: proxy::Config::new(&state_path),
            use_random_fully: true,
            radvd_user: None,
            ra_confs: state_path.join("ra"),
            rtr_adv_interval: (30, 100),
            routers: state_path.join("routers"),
            external_pids: state_path.join("external/pids"),
            cleanup_on_shutdown: false,
            ha: Ha {
                confs: state_path.join("ha_confs"),
                vrrp_advert_int: 2,
                vrrp_health_check_interval: 0,
                vrrp_auth: None,
                connections: None,
            },
            system: System::current(),
        }
    }

    /// The file that says that a router is this agent's.
    pub fn mark(&self, router: RouterId) -> PathBuf {
        self.routers.join(router.to_string())
    }

    /// The file that radvd reads for a router.
    pub fn radvd_file(&self, router: RouterId) -> PathBuf {
        self.ra_confs.join(format!("{router}.radvd.conf"))
    }

    /// The file in which a router's radvd notes its pid.
    pub fn radvd_pid(&self, router: RouterId) -> PathBuf {
        self.external_pids.join(format!("{router}.pid.radvd"))
    }
}
