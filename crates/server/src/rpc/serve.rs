//! The loop that takes requests from the bus.
//!
//! Requests run as tasks, at most [`CONCURRENCY`] at once; the next is taken when there is room, so that a burst waits in
//! the queue and not in memory. They start in the order they arrive; agents do not rely on more. Reports have a loop of
//! their own, so that a busy server still hears that its agents live. A method that loses against another transaction
//! is run again, as HTTP requests are.

use std::{sync::Arc, time::Instant};

use oslo::{
    context::Context,
    messaging::{Failure, Incoming, Listener},
};
use rpc::Interface;
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};
use tracing::Instrument;

use super::{Endpoint, RpcError};
use crate::{Ctx, Parts, retry::retrying_if};

/// Requests served at once, per loop.
pub const CONCURRENCY: usize = 64;

/// What is served on `q-plugin`, in the order in which the endpoints are asked.
static PLUGIN: &[&Interface] = &[
    &rpc::l2::INTERFACE,
    &rpc::security_group::INTERFACE,
    &rpc::dhcp::INTERFACE,
    &rpc::reports::INTERFACE,
    &rpc::metadata::INTERFACE,
    &rpc::resource::INTERFACE,
];
/// What is served on `q-l3-plugin`.
static L3: &[&Interface] = &[&rpc::l3::INTERFACE];
/// What is served on `q-reports-plugin`.
static REPORTS: &[&Interface] = &[&rpc::reports::INTERFACE];

/// Serves agents until the bus is closed; `host` is this server's name on it.
pub async fn serve(parts: Arc<Parts>, host: &str) {
    let plugin = parts.bus.listen(rpc::l2::TOPIC, host);
    let reports = parts.bus.listen(rpc::reports::TOPIC, host);
    let l3 = parts.bus.listen(rpc::l3::TOPIC, host);
    tokio::join!(
        listen(Arc::clone(&parts), plugin, PLUGIN),
        listen(Arc::clone(&parts), l3, L3),
        listen(Arc::clone(&parts), reports, REPORTS)
    );
}

async fn listen(parts: Arc<Parts>, mut listener: Listener, served: &'static [&'static Interface]) {
    let room = Arc::new(Semaphore::new(CONCURRENCY));
    let mut running = JoinSet::new();
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let Some(incoming) = listener.next().await else { break };
        while running.try_join_next().is_some() {}
        let parts = Arc::clone(&parts);
        running.spawn(async move {
            answer(parts, incoming, served).await;
            drop(place);
        });
    }
    while running.join_next().await.is_some() {}
}

/// Runs one request and sends its answer.
async fn answer(parts: Arc<Parts>, incoming: Incoming, served: &[&'static Interface]) {
    let Incoming { ctx: caller, version, namespace, method, args, reply, .. } = incoming;
    let (span, began) = (oslo::log::request_span(&caller), Instant::now());
    let answer = async {
        tracing::debug!("received {method}");
        let interface = rpc::select(served, namespace.as_deref(), &version, &method)?;
        run(parts, caller, interface, &method, &args).await.map_err(RpcError::into_failure)
    }
    .instrument(span)
    .await;
    rpc::metrics::served(&method, began, answer.is_ok());
    match (reply, answer) {
        (Some(reply), answer) => reply.send(answer),
        (None, Err(failure)) => tracing::error!("the cast '{method}' failed: {failure}"),
        (None, Ok(_)) => {}
    }
}

async fn run(
    parts: Arc<Parts>,
    caller: Context,
    interface: &Interface,
    method: &str,
    args: &Value,
) -> Result<Value, RpcError> {
    let ctx = Ctx::of(parts, caller);
    let endpoint = Endpoint { ctx: &ctx };
    retrying_if(RpcError::is_retryable, || dispatch(&endpoint, interface, method, args)).await
}

async fn dispatch(
    endpoint: &Endpoint<'_>,
    interface: &Interface,
    method: &str,
    args: &Value,
) -> Result<Value, RpcError> {
    let ctx = &endpoint.ctx.caller;
    match interface.name {
        name if name == rpc::l2::INTERFACE.name => rpc::l2::dispatch(endpoint, ctx, method, args).await,
        name if name == rpc::dhcp::INTERFACE.name => rpc::dhcp::dispatch(endpoint, ctx, method, args).await,
        name if name == rpc::reports::INTERFACE.name => rpc::reports::dispatch(endpoint, ctx, method, args).await,
        name if name == rpc::l3::INTERFACE.name => Box::pin(rpc::l3::dispatch(endpoint, ctx, method, args)).await,
        name if name == rpc::metadata::INTERFACE.name => rpc::metadata::dispatch(endpoint, ctx, method, args).await,
        name if name == rpc::resource::INTERFACE.name => rpc::resource::dispatch(endpoint, ctx, method, args).await,
        name if name == rpc::security_group::INTERFACE.name => {
            rpc::security_group::dispatch(endpoint, ctx, method, args).await
        }
        _ => Err(Failure::no_such_method(method).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_of_the_server_is_served() {
        for interface in rpc::INTERFACES {
            let ours = [rpc::l2::TOPIC, rpc::reports::TOPIC, rpc::l3::TOPIC];
            let asked_of_us = interface.methods.iter().any(|m| ours.contains(&m.topic));
            let served = PLUGIN.iter().chain(L3).any(|served| served.name == interface.name);
            assert_eq!(served, asked_of_us, "{}", interface.name);
        }
    }
}
