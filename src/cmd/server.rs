//! `isospin server` and `neutron-server`: the API on the configured database, with no agent in the process.

use std::net::SocketAddr;
use std::sync::Arc;

use oslo::config::Sources;
use oslo::messaging::Bus;
use server::Parts;

use super::Stop;
use super::args::Common;
use super::edge::Edge;
use super::database::Connection;
use super::service::{self, Server, Signals};

/// Run the API server.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Answer on this address instead of bind_host and bind_port
    #[arg(long, value_name = "ADDR:PORT")]
    bind: Option<SocketAddr>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(program: &'static str, before: Common, args: Args) -> Result<(), Stop> {
    let mut sources = before.and(args.common).sources(Sources::standard(program));
    if let Some(bind) = args.bind {
        sources.overrides.insert(("DEFAULT", "bind_host"), bind.ip().to_string());
        sources.overrides.insert(("DEFAULT", "bind_port"), bind.port().to_string());
    }
    let mut edge = Edge::new(program, sources)?;
    service::runtime(&edge)?.block_on(serve(&mut edge))
}

/// `neutron-rpc-server` answers agents and no HTTP, which needs the broker.
pub(super) fn run_rpc(program: &'static str, common: Common) -> Result<(), Stop> {
    Edge::new(program, common.sources(Sources::standard(program)))?;
    Err(Stop::usage("a server for messages alone needs RabbitMQ, which this version does not speak yet"))
}

async fn serve(edge: &mut Edge) -> Result<(), Stop> {
    let mut signals = Signals::new()?;
    let config = service::config(edge)?;
    let Some(url) = edge.config().get::<Option<String>>("database", "connection")? else {
        return Err(Stop::usage("no database: set connection in [database] of a --config-file"));
    };
    service::check_auth(edge)?;
    let address = service::address(edge)?;
    let connection = Connection::new(edge, &url)?;
    let database = tokio::select! {
        database = connection.open() => database?,
        () = signals.stop(edge) => return Ok(()),
    };
    db::migrate::check(&database).await.map_err(super::db::database_failed)?;
    let listener = service::listen(address).await?;
    let bus = Bus::in_process();
    tracing::warn!("agents in other processes cannot be reached: this version does not speak RabbitMQ yet");
    let parts = Arc::new(Parts::new(database, bus, config));
    let server = Server::start(listener, parts, edge.config().host()?);
    tracing::info!("the API answers on http://{address}");
    signals.stop(edge).await;
    tracing::info!("stopping");
    service::ending(&mut signals, server.drain()).await;
    Ok(())
}
