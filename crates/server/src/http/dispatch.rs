//! From a request to its operation: one `match` over method and path.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, Response},
};
use tracing::Instrument;

use super::{
    Answer, Request, address_groups, answer::with_request_id, availability_zones, caller, dhcp_schedule, discovery,
    floatingip_pools, healthcheck, ip_availability, l3_schedule, metrics, port_bindings, quota, rbac_policies,
    router_actions, subnet_pools, tags, verb,
};
use crate::{
    Ctx, Refusal, Result,
    ctx::Parts,
    resource::{
        Resource, address_group::AddressGroup, address_scope::AddressScope, agent::Agent,
        default_security_group_rule::DefaultSecurityGroupRule, default_statefulness::DefaultStatefulness,
        floatingip::FloatingIp, network::Network, network_segment::NetworkSegment, port::Port, rbac_policy::RbacPolicy,
        router::Router, security_group::SecurityGroup, security_group_rule::SecurityGroupRule, subnet::Subnet,
        subnet_pool::SubnetPool,
    },
};

/// Answers one request; every failure becomes an answer here.
pub(crate) async fn answer(parts: Arc<Parts>, request: axum::extract::Request) -> Response<Body> {
    // Whoever asks after the health is no caller of the API.
    if let Some(question) = healthcheck::Question::of(&request) {
        return healthcheck::answer(&parts, question).await;
    }
    let measured = metrics::Measured::begin(request.method(), request.uri().path());
    let began = std::time::Instant::now();
    let (caller, refused) = caller::admit(&parts, request.method(), request.uri().path(), request.headers()).await;
    let ctx = Ctx::of(parts, caller);
    let request_id = ctx.caller.request_id.clone();
    let span = oslo::log::request_span(&ctx.caller);
    async move {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let response = match refused {
            Some(response) => with_request_id(response, &request_id),
            None => perform(&ctx, request).await.into_response(&request_id),
        };
        let elapsed = began.elapsed().as_secs_f64();
        measured.end(response.status());
        tracing::info!("\"{method} {uri}\" status: {} time: {elapsed:.7}", response.status().as_u16());
        response
    }
    .instrument(span)
    .await
}

/// Does what a request asks, or says why not.
async fn perform(ctx: &Ctx, request: axum::extract::Request) -> Answer {
    let result = match Request::read(request).await {
        Ok(request) => route(ctx, &request).await,
        Err(error) => Err(error),
    };
    result.unwrap_or_else(|error| Answer::refusal(&error.into_refusal()))
}

pub(super) async fn route(ctx: &Ctx, request: &Request) -> Result<Answer> {
    let segments: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [] => only(request, &Method::GET, || discovery::versions(request)),
        ["v2.0"] if request.trailing_slash => only(request, &Method::GET, || discovery::resources(request)),
        ["v2.0", "extensions"] => only(request, &Method::GET, discovery::extensions),
        ["v2.0", "extensions", alias] => only(request, &Method::GET, || discovery::extension(alias)),
        ["v2.0", collection, rest @ ..] => resource(ctx, request, collection, rest).await,
        _ => Err(Refusal::no_such_path().into()),
    }
}

fn only(request: &Request, method: &Method, answer: impl FnOnce() -> Result<Answer>) -> Result<Answer> {
    if request.method == method { answer() } else { Err(Refusal::method_not_allowed().into()) }
}

/// The one place where the resources are told apart.
async fn resource(ctx: &Ctx, request: &Request, collection: &str, rest: &[&str]) -> Result<Answer> {
    match (collection, rest) {
        ("agents", [agent, "dhcp-networks", rest @ ..]) => dhcp_schedule::networks(ctx, request, agent, rest).await,
        ("address-groups" | "address_groups", [group, action @ ("add_addresses" | "remove_addresses")]) => {
            address_groups::change(ctx, request, group, action).await
        }
        ("agents", [agent, "l3-routers", rest @ ..]) => l3_schedule::routers(ctx, request, agent, rest).await,
        ("floatingip_pools", []) => floatingip_pools::answer(ctx, request).await,
        ("routers", [router, "l3-agents"]) => l3_schedule::agents(ctx, request, router).await,
        ("routers", [router, action]) if router_actions::ACTIONS.contains(action) => {
            Box::pin(router_actions::answer(ctx, request, router, action)).await
        }
        ("network-ip-availabilities" | "network_ip_availabilities", rest) => {
            ip_availability::answer(ctx, request, rest).await
        }
        ("subnetpools", [pool, action]) if subnet_pools::ACTIONS.contains(action) => {
            subnet_pools::act(ctx, request, pool, action).await
        }
        ("quotas", rest) => quota::answer(ctx, request, rest).await,
        ("availability_zones", rest) => availability_zones::answer(ctx, request, rest).await,
        ("ports", [port, "bindings", rest @ ..]) => port_bindings::answer(ctx, request, port, rest).await,
        ("rbac-policies" | "rbac_policies", []) if request.method == Method::GET => {
            rbac_policies::list(ctx, request).await
        }
        ("networks", [network, "dhcp-agents"]) => dhcp_schedule::agents(ctx, request, network).await,
        _ => member_or_collection(ctx, request, collection, rest).await,
    }
}

async fn member_or_collection(ctx: &Ctx, request: &Request, collection: &str, rest: &[&str]) -> Result<Answer> {
    match collection {
        "address-groups" | "address_groups" => verbs::<AddressGroup>(ctx, request, rest).await,
        "address-scopes" | "address_scopes" => verbs::<AddressScope>(ctx, request, rest).await,
        "agents" => verbs::<Agent>(ctx, request, rest).await,
        "default-security-group-rules" | "default_security_group_rules" => {
            verbs::<DefaultSecurityGroupRule>(ctx, request, rest).await
        }
        "networks" => verbs::<Network>(ctx, request, rest).await,
        "ports" => verbs::<Port>(ctx, request, rest).await,
        "segments" => verbs::<NetworkSegment>(ctx, request, rest).await,
        "subnetpools" => verbs::<SubnetPool>(ctx, request, rest).await,
        "subnets" => verbs::<Subnet>(ctx, request, rest).await,
        "security-groups-default-statefulness" | "security_groups_default_statefulness" => {
            verbs::<DefaultStatefulness>(ctx, request, rest).await
        }
        "security-groups" | "security_groups" => verbs::<SecurityGroup>(ctx, request, rest).await,
        "security-group-rules" | "security_group_rules" => verbs::<SecurityGroupRule>(ctx, request, rest).await,
        "routers" => Box::pin(verbs::<Router>(ctx, request, rest)).await,
        "floatingips" => Box::pin(verbs::<FloatingIp>(ctx, request, rest)).await,
        "rbac-policies" | "rbac_policies" => verbs::<RbacPolicy>(ctx, request, rest).await,
        _ => Err(Refusal::no_such_path().into()),
    }
}

async fn verbs<R: Resource>(ctx: &Ctx, request: &Request, rest: &[&str]) -> Result<Answer> {
    match (rest, &request.method) {
        ([], &Method::GET) => verb::list::<R>(ctx, request).await,
        ([], &Method::POST) => verb::create::<R>(ctx, request).await,
        // Upstream looks for a resource of the name "None" here.
        ([], &Method::PUT | &Method::DELETE) => Err(Refusal::not_found(R::TABLE.noun, "None").into()),
        ([id], &Method::GET) => verb::show::<R>(ctx, request, id).await,
        ([id], &Method::PUT) => verb::update::<R>(ctx, request, id).await,
        ([id], &Method::DELETE) => verb::delete::<R>(ctx, request, id).await,
        ([] | [_], _) => Err(Refusal::method_not_allowed().into()),
        ([id, "tags", tag @ ..], _) if R::TABLE.attribute("tags").is_some() => {
            tags::answer::<R>(ctx, request, id, tag).await
        }
        _ => Err(Refusal::no_such_path().into()),
    }
}
