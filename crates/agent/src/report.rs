//! State reports: how the server knows that an agent lives, what it is configured for and how much it serves.

use std::{collections::BTreeMap, time::Duration};

use chrono::{SecondsFormat, Utc};
use oslo::{
    context::Context,
    messaging::{Bus, CallError},
};
use rpc::reports::{self, AgentState, Report, Status};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Reports one agent.
#[derive(Debug, Clone)]
pub struct Reporter {
    client: reports::Client,
    state: AgentState,
}

impl Reporter {
    /// Reports an agent whose identity is in `state`; the report says that it has just started until
    /// [`started`](Self::started). A report that is not answered within `interval` is given up, as the next is due.
    pub fn new(bus: Bus, interval: Duration, state: AgentState) -> Self {
        let state = AgentState { uuid: Some(Uuid::new_v4().to_string()), start_flag: true, ..state };
        Self { client: reports::Client::new(bus).with_timeout(interval), state }
    }

    /// Versions of the objects that the agent takes by push, for the first report.
    pub fn with_resource_versions(mut self, versions: BTreeMap<String, String>) -> Self {
        self.state.resource_versions = Some(versions);
        self
    }

    /// The agent has done all that it does on its start.
    pub fn started(&mut self) {
        self.state.start_flag = false;
    }

    /// Sends one report. The answer is none when the server started after the report was made.
    pub async fn report(&mut self, configurations: Map<String, Value>) -> Result<Option<Status>, CallError> {
        self.state.configurations = configurations;
        let report = Report { agent_state: self.state.clone() };
        let answer = self.client.report_state(&Context::admin(), report, now()).await?;
        self.state.resource_versions = None;
        Ok(answer)
    }
}

/// UTC with microseconds and without zone, as Python writes it.
fn now() -> String {
    let mut text = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    text.truncate(text.len() - 1);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_as_python_writes_it() {
        let text = now();
        assert_eq!(text.len(), "2026-11-22T11:42:42.123456".len());
        assert_eq!(&text[10..11], "T");
        assert!(chrono::NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.6f").is_ok());
    }
}
