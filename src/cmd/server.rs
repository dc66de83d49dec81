//! `isospin server` and `neutron-server`: the API on the configured database, which agents in other processes reach over
//! the message broker. `neutron-rpc-server` is the same without the API.

use std::net::SocketAddr;
use std::sync::Arc;

use oslo::config::Sources;
use server::Parts;
use server::http::caller::Strategy;

use super::Stop;
use super::args::Common;
use super::database::Connection;
use super::edge::Edge;
use super::service::{self, Server, Signals};
use super::{metrics, notify, transport};

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
    service::runtime(&edge)?.block_on(serve(&mut edge, program, true))
}

/// `neutron-rpc-server` answers agents and no HTTP.
pub(super) fn run_rpc(program: &'static str, common: Common) -> Result<(), Stop> {
    let mut edge = Edge::new(program, common.sources(Sources::standard(program)))?;
    service::runtime(&edge)?.block_on(serve(&mut edge, program, false))
}

async fn serve(edge: &mut Edge, program: &str, http: bool) -> Result<(), Stop> {
    let mut signals = Signals::new()?;
    let config = service::config(edge)?;
    let Some(url) = edge.config().get::<Option<String>>("database", "connection")? else {
        return Err(Stop::usage("no database: set connection in [database] of a --config-file"));
    };
    let auth = if http { service::auth(edge)? } else { Strategy::Noauth };
    let address = service::address(edge)?;
    let connection = Connection::new(edge, &url)?;
    let database = tokio::select! {
        database = connection.open() => database?,
        () = signals.stop(edge) => return Ok(()),
    };
    db::migrate::check(&database).await.map_err(super::db::database_failed)?;
    let listener = if http { Some(service::listen(address).await?) } else { None };
    let bus = transport::connect(edge, program).await?;
    let parts = service::parts(edge, program, Parts::new(database, bus.clone(), config).with_auth(auth)).await?;
    let _metrics = metrics::show(edge.config(), Some(Arc::clone(&parts))).await?;
    let server = Server::start(listener, parts, edge.config().host()?);
    service::started();
    match http {
        true => tracing::info!("the API answers on http://{address}"),
        false => tracing::info!("serving agents"),
    }
    signals.stop(edge).await;
    notify::stopping();
    tracing::info!("stopping");
    let ending = async {
        server.drain().await;
        bus.shut_down().await;
    };
    service::ending(&mut signals, ending).await;
    Ok(())
}
