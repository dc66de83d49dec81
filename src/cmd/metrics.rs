//! Shows what this process counts, where `[isospin] metrics_bind` says.

use std::sync::Arc;

use oslo::config::Config;
use oslo::metrics::{Endpoint, Page};
use server::Parts;
use tokio::task::JoinHandle;

use super::Stop;

/// Metrics that are shown until this is dropped.
pub(super) struct Shown(JoinHandle<()>);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Shows the metrics of this process, with those of its server if it has one; not at all unless the operator wants it.
pub(super) async fn show(config: &Config, server: Option<Arc<Parts>>) -> Result<Option<Shown>, Stop> {
    let Some(endpoint) = Endpoint::from_oslo(config).await? else { return Ok(None) };
    if let Ok(address) = endpoint.address() {
        tracing::info!("metrics are at http://{address}/metrics");
    }
    let page = move || {
        let server = server.clone();
        async move {
            let mut page = Page::of_this_process();
            match &server {
                Some(parts) => server::metrics::write(&mut page, parts).await,
                None => rpc::metrics::write(&mut page),
            }
            ::agent::metrics::write(&mut page);
            page
        }
    };
    Ok(Some(Shown(tokio::spawn(endpoint.serve(page)))))
}
