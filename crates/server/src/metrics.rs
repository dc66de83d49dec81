//! What a server tells of itself: its requests, its calls, its database connections, and the agents it hears from.

use db::{agent::Agent, standard::now};
use oslo::metrics::Page;

use crate::Parts;
use crate::schedule::choice::is_alive;

/// Everything, as it is now. Asks the database for the agents; when it does not answer, they are left out.
pub async fn page(parts: &Parts) -> Page {
    let mut page = Page::of_this_process();
    write(&mut page, parts).await;
    page
}

/// Adds what a server tells to a page.
pub async fn write(page: &mut Page, parts: &Parts) {
    crate::http::metrics::write(page);
    write_connections(page, parts);
    rpc::metrics::write(page);
    write_events(page, parts).await;
    match agents(parts).await {
        Ok(agents) => write_agents(page, parts, &agents),
        Err(error) => tracing::debug!("the metrics of agents are left out: {error}"),
    }
}

fn write_connections(page: &mut Page, parts: &Parts) {
    let usage = parts.db.usage();
    page.value("isospin_db_connections_in_use", "gauge", "Database connections in use.", usage.in_use);
    page.value("isospin_db_connections_idle", "gauge", "Open database connections that nobody uses.", usage.idle);
    page.value(
        "isospin_db_connections_wanted",
        "gauge",
        "Requests that wait for a database connection.",
        usage.waiting,
    );
}

async fn write_events(page: &mut Page, parts: &Parts) {
    let help = "Events in this process that agents are still to be told of.";
    page.value("isospin_events_waiting", "gauge", help, parts.events.waiting());
    if parts.outbox.is_none() {
        return;
    }
    match stored(parts).await {
        Ok(stored) => {
            let help = "Events in the database, of all servers, that somebody is still to be told of.";
            page.value("isospin_events_stored", "gauge", help, stored);
        }
        Err(error) => tracing::debug!("the stored events are left out of the metrics: {error}"),
    }
}

async fn stored(parts: &Parts) -> Result<i64, db::DbError> {
    db::outbox::count(&mut parts.db.reader().await?).await
}

async fn agents(parts: &Parts) -> Result<Vec<Agent>, db::DbError> {
    let mut conn = parts.db.reader().await?;
    db::agent::agents(&mut conn, None, None).await
}

fn write_agents(page: &mut Page, parts: &Parts, agents: &[Agent]) {
    let now = now();
    let labels = |agent: &Agent| vec![("agent_type", agent.agent_type.clone()), ("host", agent.host.clone())];
    let age = |agent: &Agent| (now - agent.heartbeat_timestamp).as_seconds_f64().max(0.0);
    let down = parts.config.agent_down_time;
    let ages = agents.iter().map(|agent| (labels(agent), age(agent)));
    page.gauges("isospin_agent_heartbeat_age_seconds", "Time since the last report of each agent.", ages);
    let alive =
        agents.iter().map(|agent| (labels(agent), f64::from(u8::from(is_alive(agent.heartbeat_timestamp, now, down)))));
    page.gauges("isospin_agent_alive", "Whether each agent counts as alive.", alive);
    let enabled = agents.iter().map(|agent| (labels(agent), f64::from(u8::from(agent.admin_state_up))));
    page.gauges("isospin_agent_enabled", "Whether the operator has each agent enabled.", enabled);
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[tokio::test]
    async fn a_server_tells_of_its_agents() {
        let ctx = testing::server(|_| {}).await;
        testing::host(&ctx, "h1").await;
        testing::host(&ctx, "h2").await;
        testing::silence(&ctx, "h2", 500).await;
        let text = super::page(&ctx.parts).await.into_text();
        let value = |name: &str, kind: &str, host: &str| {
            let start = format!("{name}{{agent_type=\"{kind}\",host=\"{host}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{start} {text}"))
        };
        assert!(text.contains("\nisospin_db_connections_in_use 0\n"), "{text}");
        assert!(text.contains("\nisospin_events_waiting 0\n"), "{text}");
        let age = |host| value("isospin_agent_heartbeat_age_seconds", "DHCP agent", host).parse::<f64>().unwrap();
        assert!(age("h1") < 60.0 && age("h2") > 499.0, "{text}");
        assert_eq!(value("isospin_agent_alive", "Linux bridge agent", "h1"), "1");
        assert_eq!(value("isospin_agent_alive", "Linux bridge agent", "h2"), "0");
        assert_eq!(value("isospin_agent_enabled", "DHCP agent", "h2"), "1");
    }
}
