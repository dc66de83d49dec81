//! The public API as the demo uses it: through the client, as an operator would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::Stop;
use crate::client::{self, Environment};

/// How often a state that is waited for is looked at.
const PAUSE: Duration = Duration::from_millis(2);

/// The service that the demo started.
pub(super) struct Cloud {
    environment: Environment,
}

impl Cloud {
    /// The cloud `isospin` of a `clouds.yaml`.
    pub(super) fn new(clouds: &Path) -> Self {
        let variables = BTreeMap::from([
            ("OS_CLIENT_CONFIG_FILE".to_owned(), clouds.display().to_string()),
            ("OS_CLOUD".to_owned(), "isospin".to_owned()),
        ]);
        Self { environment: Environment { variables, directory: PathBuf::from("/"), width: None } }
    }

    /// What a command prints.
    pub(super) async fn table(&self, words: &[&str]) -> Result<String, Stop> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        match client::execute(&words, &self.environment, &mut out, &mut err).await {
            0 => Ok(String::from_utf8_lossy(&out).into_owned()),
            _ => Err(Stop::failed(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&err).trim()))),
        }
    }

    /// What a command prints as JSON.
    async fn json(&self, words: &[&str]) -> Result<Value, Stop> {
        let text = self.table(&[words, &["-f", "json"]].concat()).await?;
        // A line that says what was created may come first.
        let json = text.find(['{', '[']).map_or("", |start| &text[start..]);
        serde_json::from_str(json).map_err(|error| Stop::because(format!("{} printed no JSON", words.join(" ")), error))
    }

    /// The resource that a command creates.
    pub(super) async fn create(&self, words: &[&str]) -> Result<Value, Stop> {
        self.json(words).await
    }

    /// The rows that a command lists.
    pub(super) async fn list(&self, words: &[&str]) -> Result<Vec<Value>, Stop> {
        Ok(self.json(words).await?.as_array().cloned().unwrap_or_default())
    }

    /// Deletes a resource.
    pub(super) async fn delete(&self, command: &str, id: &str) -> Result<(), Stop> {
        self.table(&[command, id]).await.map(|_| ())
    }

    /// Waits until so many agents have reported.
    pub(super) async fn agents_alive(&self, count: usize, patience: Duration) -> Result<(), Stop> {
        let deadline = Instant::now() + patience;
        loop {
            let agents = self.list(&["agent-list", "-c", "agent_type", "-c", "alive"]).await?;
            let alive = agents.iter().filter(|agent| agent["alive"] == ":-)" || agent["alive"] == true).count();
            if alive >= count {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Stop::failed(format!(
                    "{alive} of {count} agents reported within {} s",
                    patience.as_secs()
                )));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until a port is ACTIVE.
    pub(super) async fn port_active(&self, port: &str, patience: Duration) -> Result<(), Stop> {
        let deadline = Instant::now() + patience;
        loop {
            let shown = self.json(&["port-show", port, "-c", "status"]).await?;
            if shown["status"] == "ACTIVE" {
                return Ok(());
            }
            if Instant::now() > deadline {
                let status = shown["status"].as_str().unwrap_or_default();
                return Err(Stop::failed(format!("the port {port} is still {status} after {} s", patience.as_secs())));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
