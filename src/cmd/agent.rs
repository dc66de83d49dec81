//! `isospin agent <kind>` and the names of upstream's agents.
//!
//! An agent outside the standalone service needs a message broker to reach its server. Until that transport exists the
//! command reads its configuration, so that mistakes in it show, and then says so.

use oslo::config::Sources;

use super::Stop;
use super::args::Common;
use super::edge::Edge;

/// Run one agent of this host.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which agent
    kind: Kind,
    #[command(flatten)]
    common: Common,
}

/// An agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// Linux bridge agent
    Linuxbridge,
    /// DHCP agent
    Dhcp,
    /// L3 agent
    L3,
    /// Metadata agent
    Metadata,
    /// Open vSwitch agent
    Openvswitch,
}

pub(super) fn run(before: Common, args: Args) -> Result<(), Stop> {
    let name = match args.kind {
        Kind::Linuxbridge => "neutron-linuxbridge-agent",
        Kind::Dhcp => "neutron-dhcp-agent",
        Kind::L3 => "neutron-l3-agent",
        Kind::Metadata => "neutron-metadata-agent",
        Kind::Openvswitch => "neutron-openvswitch-agent",
    };
    run_kind(args.kind, name, before.and(args.common))
}

pub(super) fn run_kind(kind: Kind, program: &'static str, common: Common) -> Result<(), Stop> {
    Edge::new(program, common.sources(Sources::standard(program)))?;
    Err(Stop::usage(match kind {
        Kind::Linuxbridge | Kind::Dhcp => {
            "an agent in a process of its own needs RabbitMQ, which this version does not speak yet; \
             `isospin standalone` runs the server and this agent in one process"
        }
        Kind::L3 | Kind::Metadata | Kind::Openvswitch => "this version does not have this agent yet",
    }))
}
