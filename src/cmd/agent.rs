//! `isospin agent <kind>` and the names of upstream's agents: one agent in a process of its own, which reaches its
//! server over the message broker.

use oslo::config::Sources;

use super::agents::{Agents, Configs};
use super::args::Common;
use super::edge::Edge;
use super::service::{self, Signals};
use super::{Stop, metrics, notify, transport};

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
    let program = match args.kind {
        Kind::Linuxbridge => "neutron-linuxbridge-agent",
        Kind::Dhcp => "neutron-dhcp-agent",
        Kind::L3 => "neutron-l3-agent",
        Kind::Metadata => "neutron-metadata-agent",
        Kind::Openvswitch => "neutron-openvswitch-agent",
    };
    run_kind(args.kind, program, before.and(args.common))
}

pub(super) fn run_kind(kind: Kind, program: &'static str, common: Common) -> Result<(), Stop> {
    let mut edge = Edge::new(program, common.sources(Sources::standard(program)))?;
    let configs = Configs::new(&edge, &[kind])?;
    service::runtime(&edge)?.block_on(work(&mut edge, program, configs))
}

async fn work(edge: &mut Edge, program: &str, configs: Configs) -> Result<(), Stop> {
    let mut signals = Signals::new()?;
    let bus = transport::connect(edge, program).await?;
    let _metrics = metrics::show(edge.config(), None).await?;
    let mut agents = Agents::start(configs, &bus);
    service::started();
    let ended = tokio::select! {
        () = signals.stop(edge) => Ok(()),
        stop = agents.ended() => Err(stop),
    };
    notify::stopping();
    tracing::info!("stopping");
    let ending = async {
        agents.stop().await;
        bus.shut_down().await;
    };
    service::ending(&mut signals, ending).await;
    ended
}
