//! Routers and the L3 agents that serve them.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    pin::Pin,
};

use db::{
    Conn, DbError, Tx,
    agent::{self, Agent},
    l3_binding,
    standard::now,
};
use rand::seq::SliceRandom;
use serde_json::{Map, Value};
use types::{AgentId, RouterId, agent::kind, router::Router};

use super::choice;
use crate::{
    Ctx, Error, Refusal, Result,
    config::RouterScheduler,
    event::{self, Event, HostedRouter},
    resource::{
        self,
        router::{ha, status},
    },
    retry::retrying,
};

/// What an agent does that serves whole routers.
const CENTRAL_MODES: [&str; 2] = ["legacy", "dvr_snat"];

/// How a binding came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The scheduler's choice.
    Scheduler,
    /// An operator's, who may exceed the number of agents.
    Operator,
}

/// A future of no particular type: those of this module are deep, and the compiler follows them no further than here.
type Deep<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The agents that serve a router, after giving it to some if it has too few.
pub fn ensure(ctx: &Ctx, id: RouterId) -> Deep<'_, Vec<Agent>> {
    Box::pin(ensure_served(ctx, id))
}

async fn ensure_served(ctx: &Ctx, id: RouterId) -> Result<Vec<Agent>> {
    let mut conn = ctx.db().reader().await?;
    let Some(router) = found(ctx, &mut conn, id).await? else { return Ok(Vec::new()) };
    let agents = l3_binding::agents_of_router(&mut conn, id).await?;
    if (!router.ha && !agents.is_empty()) || router.status == status::ERROR {
        return Ok(agents);
    }
    let mut candidates = candidates(ctx, &mut conn, &router).await?;
    let counts = l3_binding::router_counts(&mut conn).await?;
    drop(conn);
    let limit = if router.ha { instances(ctx, candidates.len()) } else { 1 };
    candidates.retain(|candidate| !agents.iter().any(|agent| agent.id == candidate.id));
    let chosen = choose(ctx.config().l3.scheduler, candidates, &counts, limit.saturating_sub(agents.len()));
    if chosen.is_empty() {
        if agents.is_empty() {
            tracing::debug!(router = %id, "no L3 agent can serve this router; tried again when it changes");
        }
        return Ok(agents);
    }
    for agent in &chosen {
        retrying(|| Box::pin(bind(ctx, id, agent, limit, By::Scheduler))).await?;
    }
    let mut conn = ctx.db().reader().await?;
    Ok(l3_binding::agents_of_router(&mut conn, id).await?)
}

/// Gives the agent on that host the routers that lack one, when it is enabled and alive.
pub async fn auto_schedule(ctx: &Ctx, host: &str) -> Result<()> {
    let mut conn = ctx.db().reader().await?;
    let Some(agent) = agent::agent_on_host(&mut conn, kind::L3, host).await? else { return Ok(()) };
    if !serves(ctx, &agent) {
        return Ok(());
    }
    let living = living(ctx, &mut conn).await?.len();
    let wanted = instances(ctx, living);
    let mut unserved = l3_binding::unserved_routers(&mut conn, false, 1).await?;
    unserved.extend(l3_binding::unserved_routers(&mut conn, true, wanted).await?);
    let ids: Vec<db::Value> = unserved.iter().map(|u| u.router_id.into()).collect();
    let routers: Vec<Router> = match ids.is_empty() {
        true => Vec::new(),
        false => {
            let query = db::list::ListQuery::default().matching_any("id", ids);
            resource::find_all(ctx, &mut conn, &query).await?
        }
    };
    drop(conn);
    for router in routers.iter().filter(|router| router.status != status::ERROR && suits(ctx, &agent, router)) {
        let limit = if router.ha { wanted } else { 1 };
        // The agent is about to fetch what it serves, so it need not be told.
        retrying(|| Box::pin(bind(ctx, router.id, &agent, limit, By::Scheduler))).await?;
    }
    Ok(())
}

/// The routers that an agent serves, or 404.
pub async fn routers_of_agent(ctx: &Ctx, agent: AgentId) -> Result<Vec<RouterId>> {
    let mut conn = ctx.db().reader().await?;
    let routers = l3_binding::routers_of_agent(&mut conn, agent).await?;
    if routers.is_empty() && agent::agent_by_id(&mut conn, agent).await?.is_none() {
        return Err(Refusal::not_found("Agent", agent).into());
    }
    Ok(routers)
}

/// An operator gives a router to an agent, which is told and has to answer.
pub async fn add(ctx: &Ctx, agent: AgentId, id: RouterId) -> Result<()> {
    let mut conn = ctx.db().reader().await?;
    let router: Router = resource::find_any(ctx, &mut conn, &id.to_string()).await?;
    let found = agent::agent_by_id(&mut conn, agent).await?.ok_or_else(|| Refusal::not_found("Agent", agent))?;
    if found.agent_type == kind::L3 && !CENTRAL_MODES.contains(&mode(&found).as_str()) {
        let message = "Not allowed to manually assign a router to an agent in 'dvr' mode.";
        return Err(Refusal::conflict("DVRL3CannotAssignToDvrAgent", message).into());
    }
    if found.agent_type != kind::L3 || !found.admin_state_up || !can_serve(&found, &router) {
        let message = format!("Agent {agent} is not a L3 Agent or has been disabled");
        return Err(Refusal::new(axum::http::StatusCode::NOT_FOUND, "InvalidL3Agent", message).into());
    }
    let hosting = l3_binding::agents_of_router(&mut conn, id).await?;
    drop(conn);
    if hosting.iter().any(|hosting| hosting.id == agent) {
        return Ok(());
    }
    if let Some(other) = hosting.first().filter(|_| !router.ha) {
        let message = format!("The router {id} has been already hosted by the L3 Agent {}.", other.id);
        return Err(Refusal::conflict("RouterHostedByL3Agent", message).into());
    }
    if !retrying(|| Box::pin(bind(ctx, id, &found, usize::MAX, By::Operator))).await? {
        let message = format!("Failed scheduling router {id} to the L3 Agent {agent}.");
        return Err(Refusal::conflict("RouterSchedulingFailed", message).into());
    }
    Ok(())
}

/// An operator takes a router from an agent.
pub async fn remove(ctx: &Ctx, agent: AgentId, router: RouterId) -> Result<()> {
    let mut conn = ctx.db().reader().await?;
    let found = agent::agent_by_id(&mut conn, agent).await?.ok_or_else(|| Refusal::not_found("Agent", agent))?;
    if !CENTRAL_MODES.contains(&mode(&found).as_str()) {
        let message = "Not allowed to manually remove a router from an agent in 'dvr' mode.";
        return Err(Refusal::conflict("DVRL3CannotRemoveFromDvrAgent", message).into());
    }
    resource::find_any::<Router>(ctx, &mut conn, &router.to_string()).await?;
    drop(conn);
    let hosted = HostedRouter { router, agent, host: found.host.clone() };
    release(ctx, router, &found, Event::RouterUnhosted(hosted)).await
}

/// Takes a router from an agent, and records what is told of it.
pub(super) async fn release(ctx: &Ctx, router: RouterId, agent: &Agent, told: Event) -> Result<()> {
    let mut tx = ctx.db().begin().await?;
    db::router::router_lock(&mut tx, router).await?;
    l3_binding::binding_delete(&mut tx, router, agent.id).await?;
    let mut events = Vec::new();
    ha::remove_instance(ctx, &mut tx, router, agent, &mut events).await?;
    events.push(told);
    let recorded = event::record(ctx, &mut tx, events).await?;
    tx.commit().await?;
    recorded.emit(ctx).await;
    Ok(())
}

/// Gives a router to an agent; false when it has its agents, or when router or agent are gone.
async fn bind(ctx: &Ctx, id: RouterId, agent: &Agent, limit: usize, by: By) -> Result<bool> {
    let mut tx = ctx.db().begin().await?;
    if db::router::router_lock(&mut tx, id).await?.is_none() {
        return Ok(false);
    }
    let Some(mut router) = found(ctx, &mut tx, id).await? else { return Ok(false) };
    let taken = l3_binding::binding_indexes(&mut tx, id).await?;
    let limit = if router.ha { limit } else { 1 };
    let Some(index) = choice::vacant_index(&taken, limit, router.ha && by == By::Operator) else { return Ok(false) };
    match l3_binding::binding_insert(&mut tx, id, agent.id, index).await {
        Ok(()) => {}
        // The agent has it already, or was deleted.
        Err(DbError::Duplicate { .. }) if has(&mut tx, id, agent.id).await => return Ok(false),
        Err(DbError::ForeignKey { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let mut events = Vec::new();
    if router.ha {
        match Box::pin(ha::add_instance(ctx, &mut tx, &mut router, agent, &mut events)).await {
            Err(Error::Refused(refusal)) => {
                drop(tx);
                tracing::warn!(router = %id, "the router cannot be highly available: {refusal}");
                return no_more(ctx, id).await.map(|()| false);
            }
            added => added?,
        }
    }
    if by == By::Operator {
        events.push(Event::RouterHosted(HostedRouter { router: id, agent: agent.id, host: agent.host.clone() }));
    }
    let recorded = event::record(ctx, &mut tx, events).await?;
    tx.commit().await?;
    tracing::info!(router = %id, agent = %agent.id, index, "router given to an L3 agent");
    recorded.emit(ctx).await;
    Ok(true)
}

/// After a failed statement nothing else can be asked of a transaction everywhere: then the pair is not there, and the
/// operation runs again.
async fn has(tx: &mut Tx, router: RouterId, agent: AgentId) -> bool {
    let agents = l3_binding::agents_of_router(tx, router).await.unwrap_or_default();
    agents.iter().any(|hosting| hosting.id == agent)
}

/// A router that found no place among its project's HA routers is in error.
async fn no_more(ctx: &Ctx, id: RouterId) -> Result<()> {
    let mut tx = ctx.db().begin().await?;
    if let Some(mut router) = found(ctx, &mut tx, id).await? {
        status::ERROR.clone_into(&mut router.status);
        db::router::router_update(&mut tx, &router).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn found(ctx: &Ctx, conn: &mut Conn, id: RouterId) -> Result<Option<Router>> {
    match resource::find_any::<Router>(ctx, conn, &id.to_string()).await {
        Ok(router) => Ok(Some(router)),
        Err(Error::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many agents are to have an instance of an HA router when so many could.
fn instances(ctx: &Ctx, possible: usize) -> usize {
    match ctx.config().l3.max_agents_per_router {
        0 => possible,
        most => most.min(possible),
    }
}

fn serves(ctx: &Ctx, agent: &Agent) -> bool {
    agent.admin_state_up && choice::is_alive(agent.heartbeat_timestamp, now(), ctx.config().agent_down_time)
}

/// The enabled agents that live and serve whole routers.
async fn living(ctx: &Ctx, conn: &mut Conn) -> Result<Vec<Agent>> {
    let mut agents = agent::agents(conn, Some(kind::L3), None).await?;
    agents.retain(|agent| serves(ctx, agent) && CENTRAL_MODES.contains(&mode(agent).as_str()));
    Ok(agents)
}

async fn candidates(ctx: &Ctx, conn: &mut Conn, router: &Router) -> Result<Vec<Agent>> {
    let mut agents = living(ctx, conn).await?;
    agents.retain(|agent| suits(ctx, agent, router));
    Ok(agents)
}

fn suits(ctx: &Ctx, agent: &Agent, router: &Router) -> bool {
    let zoned = ctx.config().l3.scheduler == RouterScheduler::AzLeastRouters;
    can_serve(agent, router) && (!zoned || choice::in_zone(agent, &router.availability_zone_hints, &[]))
}

fn configurations(agent: &Agent) -> Map<String, Value> {
    serde_json::from_str(&agent.configurations).unwrap_or_default()
}

fn mode(agent: &Agent) -> String {
    configurations(agent).get("agent_mode").and_then(Value::as_str).unwrap_or("legacy").to_owned()
}

/// What the agent says of itself does not rule this router out.
fn can_serve(agent: &Agent, router: &Router) -> bool {
    let configurations = configurations(agent);
    let only = configurations.get("router_id").and_then(Value::as_str).unwrap_or_default();
    let internal = configurations.get("handle_internal_only_routers").and_then(Value::as_bool).unwrap_or(true);
    CENTRAL_MODES.contains(&mode(agent).as_str())
        && (only.is_empty() || only == router.id.to_string())
        && (internal || router.external_gateway_info.is_some())
}

/// At most `count` of the candidates.
fn choose(
    scheduler: RouterScheduler,
    mut candidates: Vec<Agent>,
    counts: &HashMap<AgentId, usize>,
    count: usize,
) -> Vec<Agent> {
    match scheduler {
        RouterScheduler::Chance => candidates.shuffle(&mut rand::rng()),
        RouterScheduler::LeastRouters | RouterScheduler::AzLeastRouters => {
            candidates.sort_by_key(|agent| (counts.get(&agent.id).copied().unwrap_or_default(), agent.id));
        }
    }
    if scheduler == RouterScheduler::AzLeastRouters {
        candidates = across_zones(candidates);
    }
    candidates.truncate(count);
    candidates
}

/// The first of each zone, then the second of each, and so on.
fn across_zones(agents: Vec<Agent>) -> Vec<Agent> {
    let mut zones: BTreeMap<Option<String>, VecDeque<Agent>> = BTreeMap::new();
    let mut order = Vec::with_capacity(agents.len());
    for agent in agents {
        let zone = agent.availability_zone.clone();
        if !zones.contains_key(&zone) {
            order.push(zone.clone());
        }
        zones.entry(zone).or_default().push_back(agent);
    }
    let mut spread = Vec::new();
    while zones.values().any(|agents| !agents.is_empty()) {
        spread.extend(order.iter().filter_map(|zone| zones.get_mut(zone)?.pop_front()));
    }
    spread
}

/// Takes a router from an agent that is dead and gives it to another, if there is one.
pub(super) fn fail_over<'a>(ctx: &'a Ctx, router: RouterId, dead: &'a Agent) -> Deep<'a, ()> {
    Box::pin(move_on(ctx, router, dead))
}

async fn move_on(ctx: &Ctx, router: RouterId, dead: &Agent) -> Result<()> {
    let hosted = HostedRouter { router, agent: dead.id, host: dead.host.clone() };
    retrying(|| release(ctx, router, dead, Event::RouterLeft(hosted.clone()))).await?;
    for agent in ensure(ctx, router).await? {
        crate::rpc::l3_agent::router_hosted(ctx, router, &agent.host).await?;
    }
    Ok(())
}
