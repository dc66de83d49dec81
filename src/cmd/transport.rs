//! The way between the processes of a deployment: RabbitMQ, as `transport_url` or the older options name it.

use oslo::config::Config;
use oslo::messaging::rabbit::RabbitSettings;
use oslo::messaging::{Bus, patience};

use super::Stop;
use super::edge::Edge;

/// Schemes of `transport_url` whose messages never leave the process.
const IN_PROCESS: [&str; 2] = ["fake", "kombu+memory"];

/// The transport of the configuration. A broker that cannot be reached yet is tried again beside the work, so services
/// may be started in any order.
pub(super) async fn connect(edge: &Edge, program: &str) -> Result<Bus, Stop> {
    patience::configure(edge.config())?;
    if stays_in_process(edge.config())? {
        tracing::warn!("transport_url keeps messages within this process: no other process hears them");
        return Ok(Bus::in_process());
    }
    let settings =
        RabbitSettings::from_config(edge.config(), program).map_err(|error| Stop::usage(super::stop::chain(&error)))?;
    Bus::rabbit(settings).await.map_err(|error| Stop::because("the message broker cannot be used", error))
}

fn stays_in_process(config: &Config) -> Result<bool, Stop> {
    let url = config.get::<Option<String>>("DEFAULT", "transport_url")?.unwrap_or_default();
    Ok(url.split_once("://").is_some_and(|(scheme, _)| IN_PROCESS.contains(&scheme)))
}
