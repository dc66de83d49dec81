//! The names of upstream's programs, under which this binary does their work.

use std::ffi::OsString;

use super::args::Common;
use super::{Stop, agent, db, parse, server};

/// A program of upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// `neutron`, the operator's client
    Client,
    /// `neutron-server`
    Server,
    /// `neutron-rpc-server`
    RpcServer,
    /// `neutron-db-manage`
    DbManage,
    /// An agent
    Agent(agent::Kind),
}

/// Every name that `links` makes.
pub(super) const NAMES: [(&str, Program); 9] = [
    ("neutron", Program::Client),
    ("neutron-server", Program::Server),
    ("neutron-rpc-server", Program::RpcServer),
    ("neutron-db-manage", Program::DbManage),
    ("neutron-linuxbridge-agent", Program::Agent(agent::Kind::Linuxbridge)),
    ("neutron-dhcp-agent", Program::Agent(agent::Kind::Dhcp)),
    ("neutron-l3-agent", Program::Agent(agent::Kind::L3)),
    ("neutron-metadata-agent", Program::Agent(agent::Kind::Metadata)),
    ("neutron-openvswitch-agent", Program::Agent(agent::Kind::Openvswitch)),
];

impl Program {
    /// The program of a name.
    pub(super) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, program)| *program)
    }

    fn name(self) -> &'static str {
        NAMES.iter().find(|(_, program)| *program == self).map_or("isospin", |(name, _)| name)
    }

    /// Runs it with upstream's arguments, the first of them its name. The client has its own way to run.
    pub(super) fn run(self, arguments: Vec<OsString>) -> Result<(), Stop> {
        match self {
            Self::Client => Ok(()),
            Self::Server => server::run(self.name(), Common::default(), parse(self.name(), arguments)),
            Self::RpcServer => server::run_rpc(self.name(), parse(self.name(), arguments)),
            Self::DbManage => db::run_manage(parse(self.name(), arguments)),
            Self::Agent(kind) => agent::run_kind(kind, self.name(), parse(self.name(), arguments)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_program() {
        for (name, program) in NAMES {
            assert_eq!(Program::named(name), Some(program));
            assert_eq!(program.name(), name);
        }
        assert_eq!(Program::named("isospin"), None);
    }
}
