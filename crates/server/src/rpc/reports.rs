//! State reports.

use chrono::NaiveDateTime;
use db::list::ListQuery;
use oslo::context::Context;
use rpc::reports::{Agent, Callee, Report, Status};
use types::agent;

use super::{Endpoint, RpcError};
use crate::resource::{self, Condition, Resource};

impl Callee for Endpoint<'_> {
    type Error = RpcError;

    async fn report_state(&self, _: &Context, agent_state: Report, time: String) -> Result<Option<Status>, RpcError> {
        if is_stale(&time, self.ctx.parts.started) {
            tracing::debug!(time, "report of an agent ignored: it is older than this server");
            return Ok(None);
        }
        Ok(Some(resource::agent::report(self.ctx, &agent_state.agent_state).await?))
    }

    async fn has_alive_neutron_server(&self, _: &Context) -> Result<bool, RpcError> {
        Ok(self.ctx.db().reader().await.is_ok())
    }

    async fn get_agents(
        &self,
        _: &Context,
        agent_type: Option<String>,
        host: Option<String>,
        is_active: Option<bool>,
    ) -> Result<Vec<Agent>, RpcError> {
        let mut query = ListQuery::default();
        if let Some(agent_type) = agent_type {
            query = query.matching("agent_type", agent_type);
        }
        if let Some(host) = host {
            query = query.matching("host", host);
        }
        let mut conn = self.ctx.db().reader().await?;
        let agents = resource::find_all::<agent::Agent>(self.ctx, &mut conn, &query).await?;
        let active = agents.iter().filter(|agent| is_active.is_none_or(|active| agent.alive == active));
        Ok(active
            .filter_map(|agent| match rpc::interface::encode(agent) {
                serde_json::Value::Object(agent) => Some(agent),
                _ => None,
            })
            .collect())
    }

    async fn delete_agent(&self, _: &Context, host: String, agent_type: String) -> Result<(), RpcError> {
        let mut conn = self.ctx.db().reader().await?;
        let found = db::agent::agent_on_host(&mut conn, &agent_type, &host).await?;
        drop(conn);
        if let Some(found) = found {
            agent::Agent::delete(self.ctx, &found.id.to_string(), Condition::default()).await?;
        }
        Ok(())
    }
}

/// A report from before this server started tells nothing of now. One whose time cannot be read is taken as new.
fn is_stale(time: &str, started: NaiveDateTime) -> bool {
    NaiveDateTime::parse_from_str(time, "%Y-%m-%dT%H:%M:%S%.f").is_ok_and(|time| time < started)
}
