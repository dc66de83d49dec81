//! iptables, ip6tables, ebtables and ipset, by their own programs: a text in, a text out, in any namespace.
//!
//! Each table of a text is one transaction of the kernel's. What a text does not name stays as it is.

use std::time::Duration;

use crate::{
    Namespace,
    process::{self, ProcessError},
};

/// How long one of the programs may take; a host with tens of thousands of rules is slow.
const LIMIT: Duration = Duration::from_secs(60);

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// Rules for IPv4.
    Iptables,
    /// Rules for IPv6.
    Ip6tables,
    /// Rules for frames.
    Ebtables,
    /// Sets of addresses that the others refer to.
    Ipset,
}

impl Tool {
    /// All there is.
    pub async fn save(self, namespace: &Namespace) -> Result<String, ProcessError> {
        let command: &[&str] = match self {
            Self::Iptables => &["iptables-save"],
            Self::Ip6tables => &["ip6tables-save"],
            Self::Ebtables => &["ebtables-save"],
            Self::Ipset => &["ipset", "save"],
        };
        process::output(Some(namespace), &owned(command), LIMIT).await
    }

    /// Adds a text to what is there: a chain that it declares is emptied first, a set that it creates may exist.
    pub async fn restore(self, namespace: &Namespace, text: &str) -> Result<(), ProcessError> {
        let command: &[&str] = match self {
            Self::Iptables => &["iptables-restore", "--noflush", "--wait", "30"],
            Self::Ip6tables => &["ip6tables-restore", "--noflush", "--wait", "30"],
            Self::Ebtables => &["ebtables-restore", "--noflush"],
            Self::Ipset => &["ipset", "-exist", "restore"],
        };
        process::run_with_input(Some(namespace), &owned(command), text, LIMIT).await
    }

    /// The Debian package that has its programs.
    pub fn package(self) -> &'static str {
        match self {
            Self::Ipset => "ipset",
            Self::Iptables | Self::Ip6tables | Self::Ebtables => "iptables",
        }
    }
}

fn owned(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}
