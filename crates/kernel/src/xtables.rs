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
        let command = owned(command);
        for _ in 1..self.attempts() {
            match process::run_with_input(Some(namespace), &command, text, LIMIT).await {
                Err(ProcessError::Failed { message, .. }) => tracing::debug!(message, "again, in case of a conflict"),
                done => return done,
            }
        }
        process::run_with_input(Some(namespace), &command, text, LIMIT).await
    }

    /// When somebody else changes rules meanwhile, iptables begins anew, and ebtables deletes its own last rules twice,
    /// which fails as a whole (seen with 1.8.9 of nf_tables).
    fn attempts(self) -> usize {
        if self == Self::Ebtables { 3 } else { 1 }
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
