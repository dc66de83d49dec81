//! The DHCP agent: one dnsmasq for each network that the server gives to this host.
//!
//! What it promises:
//!
//! * **A dnsmasq that serves is not disturbed.** A new agent adopts the namespaces, devices and processes of the one
//!   before, upstream's included; dnsmasq re-reads its files on a change of ports and is only started anew when its
//!   command line or its own addresses must change.
//! * **A dnsmasq that died is back at once**, because its end is an event.
//! * **Nothing is left behind** by a network that went: no namespace, device, process or file. And nothing is taken
//!   away before the server has told once which networks are ours, nor ever what is not ours.
//! * **One network that fails does not hold up the others.**
//!
//! How: [`desired`], [`files`] and [`dnsmasq`] turn what the server says into what must be, without touching anything.
//! [`driver`] reads what is, plans the difference and applies it. [`agent`] takes messages, keeps the order, calls the
//! server and retries. [`lease`] finds leases whose holder went. Metadata is served by [`crate::metadata::proxy`].
//!
//! How we know what is ours, with nothing remembered:
//!
//! | object | is ours when |
//! |---|---|
//! | directory | it lies in `dhcp_confs` and its name is a UUID, the network's |
//! | namespace | `qdhcp-<network>`, and we have the directory of that network |
//! | devices | they are in such a namespace; or the tap end whose name is that of our port |
//! | dnsmasq | the pid in our directory lives and its command line names the network; or it runs on our directory in such a namespace |
//! | port | its `device_id` is made of our host's name and the network |
//! | haproxy of metadata | the pid in upstream's file for the network lives and its command line names the network |

pub mod agent;
pub mod desired;
pub mod dnsmasq;
pub mod driver;
pub mod files;
pub mod lease;
mod metadata;
pub mod queue;

use std::{path::PathBuf, time::Duration};

use kernel::System;
use types::NetworkId;

use crate::metadata::proxy;

pub use agent::{AgentError, run};

/// Options, with upstream's names and meanings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this host.
    pub host: String,
    /// Directory of the networks' files; `$state_path/dhcp`.
    pub dhcp_confs: PathBuf,
    /// Zone this agent serves.
    pub availability_zone: String,
    /// Time between reports.
    pub report_interval: Duration,
    /// Longest time between attempts to put right what went wrong.
    pub resync_interval: Duration,
    /// Shortest time between them.
    pub resync_throttle: Duration,
    /// Note each report in the log.
    pub log_agent_heartbeats: bool,
    /// What the agent reports as its driver.
    pub dhcp_driver: String,
    /// Serve metadata where no router does.
    pub enable_isolated_metadata: bool,
    /// Serve metadata everywhere.
    pub force_metadata: bool,
    /// Serve metadata for the networks of a router on a network that is for nothing else.
    pub enable_metadata_network: bool,
    /// How metadata is served.
    pub metadata_proxy: proxy::Config,
    /// Seconds a lease is given for; -1 for ever.
    pub dhcp_lease_duration: i64,
    /// Seconds after which a client renews; 0 leaves it to the client.
    pub dhcp_renewal_time: u32,
    /// Seconds after which a client looks for another server; 0 leaves it to the client.
    pub dhcp_rebinding_time: u32,
    /// Send answers to all.
    pub dhcp_broadcast_reply: bool,
    /// Domain of the instances.
    pub dns_domain: String,
    /// A configuration file for every dnsmasq.
    pub dnsmasq_config_file: String,
    /// Servers to forward queries to.
    pub dnsmasq_dns_servers: Vec<String>,
    /// Forward queries to the servers of this host.
    pub dnsmasq_local_resolv: bool,
    /// Most leases of one dnsmasq.
    pub dnsmasq_lease_max: u32,
    /// Where every dnsmasq writes a log; none for no logs.
    pub dnsmasq_base_log_dir: Option<PathBuf>,
    /// Put several IPv6 addresses of a port on one line.
    pub dnsmasq_enable_addr6_list: bool,
    /// A TXT record to serve.
    pub dnsmasq_txt_record: String,
    /// What the installed dnsmasq understands; [`run`] finds out.
    pub dialect: dnsmasq::Dialect,
    /// The machine to work on.
    pub system: System,
}

impl Config {
    /// Upstream's defaults, for this host and with the files below `state_path`.
    pub fn new(host: impl Into<String>, state_path: impl Into<PathBuf>) -> Self {
        let state_path = state_path.into();
        Self {
            host: host.into(),
            dhcp_confs: state_path.join("dhcp"),
            availability_zone: "nova".to_owned(),
            report_interval: Duration::from_secs(30),
            resync_interval: Duration::from_secs(5),
            resync_throttle: Duration::from_secs(1),
            log_agent_heartbeats: false,
            dhcp_driver: "neutron.agent.linux.dhcp.Dnsmasq".to_owned(),
            enable_isolated_metadata: false,
            force_metadata: false,
            enable_metadata_network: false,
            metadata_proxy: proxy::Config::new(state_path),
            dhcp_lease_duration: 86_400,
            dhcp_renewal_time: 0,
            dhcp_rebinding_time: 0,
            dhcp_broadcast_reply: false,
            dns_domain: "openstacklocal".to_owned(),
            dnsmasq_config_file: String::new(),
            dnsmasq_dns_servers: Vec::new(),
            dnsmasq_local_resolv: false,
            dnsmasq_lease_max: 1 << 24,
            dnsmasq_base_log_dir: None,
            dnsmasq_enable_addr6_list: false,
            dnsmasq_txt_record: String::new(),
            dialect: dnsmasq::Dialect::default(),
            system: System::current(),
        }
    }

    /// Directory of a network's files.
    pub fn directory(&self, network: NetworkId) -> PathBuf {
        self.dhcp_confs.join(network.to_string())
    }
}
