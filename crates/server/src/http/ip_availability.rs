//! `GET /v2.0/network-ip-availabilities`: how many addresses networks have, and how many are used.
//!
//! Numbers of IPv6 addresses are larger than JSON values here can be, so that answers are written from structs.

use axum::http::{Method, StatusCode};
use db::{
    Value,
    ip_availability::{NetworkUse, SubnetUse, network_uses},
    list::{Filter, ListQuery},
};
use serde::Serialize;
use types::{NetworkId, SubnetId, attribute::table::NETWORK_IP_AVAILABILITY as TABLE};

use super::{Answer, Request, query};
use crate::{Ctx, Error, Refusal, Result, ipam::pools::number};

/// The rule that lets callers see it, which is about the caller alone.
const RULE: &str = "get_network_ip_availability";

#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Details {
    total_ips_in_subnet: i128,
    total_ips_in_allocation_pool: u128,
    used_ips_in_subnet: u128,
    used_ips_in_allocation_pool: u128,
}

#[derive(Debug, Serialize)]
struct OfSubnet {
    subnet_id: SubnetId,
    ip_version: u8,
    cidr: String,
    subnet_name: String,
    used_ips: u128,
    total_ips: u128,
    ip_availability_details: Details,
}

/// What is not asked for is left out.
#[derive(Debug, Serialize)]
struct OfNetwork {
    #[serde(skip_serializing_if = "Option::is_none")]
    network_id: Option<NetworkId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet_ip_availability: Option<Vec<OfSubnet>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_ips: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_ips: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_availability_details: Option<Details>,
}

/// Answers any request about it.
pub(super) async fn answer(ctx: &Ctx, request: &Request, rest: &[&str]) -> Result<Answer> {
    if request.method != Method::GET {
        return Err(Refusal::method_not_allowed().into());
    }
    let allowed = ctx.guard().is_none_or(|guard| guard.known(RULE) == Some(true));
    let asked = query::parse(&TABLE, request, 0)?;
    match rest {
        [] => {
            let networks = if allowed { uses(ctx, asked.query).await? } else { Vec::new() };
            let shown: Vec<OfNetwork> = networks.into_iter().map(|network| shown(network, &asked.fields)).collect();
            body(TABLE.plural, &shown)
        }
        [id] => {
            let found = uses(ctx, ListQuery::default().matching("network_id", *id)).await?.pop();
            let network = found.ok_or_else(|| Refusal::not_found(TABLE.noun, id))?;
            if !allowed {
                return Err(Refusal::hidden().into());
            }
            body(TABLE.singular, &shown(network, &asked.fields))
        }
        _ => Err(Refusal::no_such_path().into()),
    }
}

fn body(name: &str, shown: &impl Serialize) -> Result<Answer> {
    let text = serde_json::to_string(shown).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Answer::bytes(StatusCode::OK, format!("{{\"{name}\":{text}}}").into_bytes()))
}

/// The networks asked for, with their subnets of the versions asked for; one without such a subnet only where no version
/// is.
async fn uses(ctx: &Ctx, mut query: ListQuery) -> Result<Vec<NetworkUse>> {
    let (versions, filters): (Vec<Filter>, Vec<Filter>) =
        query.filters.into_iter().partition(|filter| filter.attribute == "ip_version");
    query.filters = filters;
    for filter in &mut query.filters {
        filter.attribute = match filter.attribute.as_str() {
            "network_id" => "id".to_owned(),
            "network_name" => "name".to_owned(),
            _ => continue,
        };
    }
    (query.sort, query.limit) = (Vec::new(), None);
    query.viewer = ctx.viewer();
    let mut networks = network_uses(&mut ctx.db().reader().await?, &query).await?;
    if !versions.is_empty() {
        let wanted = |version: u8| {
            let is = |value: &Value| *value == Value::Int(version.into()) || *value == Value::Text(version.to_string());
            versions.iter().all(|filter| filter.values.iter().any(is))
        };
        networks.iter_mut().for_each(|network| network.subnets.retain(|subnet| wanted(subnet.ip_version)));
        networks.retain(|network| !network.subnets.is_empty());
    }
    Ok(networks)
}

fn shown(network: NetworkUse, fields: &[String]) -> OfNetwork {
    let subnets: Vec<OfSubnet> = network.subnets.into_iter().map(of_subnet).collect();
    let mut all = Details::default();
    for subnet in &subnets {
        let details = &subnet.ip_availability_details;
        all.total_ips_in_subnet += details.total_ips_in_subnet;
        all.total_ips_in_allocation_pool =
            all.total_ips_in_allocation_pool.saturating_add(details.total_ips_in_allocation_pool);
        all.used_ips_in_subnet += details.used_ips_in_subnet;
        all.used_ips_in_allocation_pool += details.used_ips_in_allocation_pool;
    }
    let sum = |of: fn(&OfSubnet) -> u128| subnets.iter().map(of).fold(0_u128, u128::saturating_add);
    let (used, total) = (sum(|subnet| subnet.used_ips), sum(|subnet| subnet.total_ips));
    let asked = |name: &str| fields.is_empty() || fields.iter().any(|field| field == name);
    OfNetwork {
        network_id: asked("network_id").then_some(network.id),
        network_name: asked("network_name").then_some(network.name),
        project_id: asked("project_id").then(|| network.project_id.clone()),
        tenant_id: asked("tenant_id").then_some(network.project_id),
        used_ips: asked("used_ips").then_some(used),
        total_ips: asked("total_ips").then_some(total),
        ip_availability_details: asked("ip_availability_details").then_some(all),
        subnet_ip_availability: asked("subnet_ip_availability").then_some(subnets),
    }
}

fn of_subnet(subnet: SubnetUse) -> OfSubnet {
    let pools: Vec<(u128, u128)> = subnet.pools.iter().map(|(first, last)| (number(*first), number(*last))).collect();
    let in_pools = pools.iter().map(|(first, last)| (last - first).saturating_add(1)).fold(0, u128::saturating_add);
    let size = (number(subnet.cidr.broadcast()) - number(subnet.cidr.network())).saturating_add(1);
    // As upstream counts: its network and broadcast address are none of an IPv4 subnet's, however small it is.
    let hosts = i128::try_from(size).unwrap_or(i128::MAX) - if subnet.ip_version == 4 { 2 } else { 0 };
    let pooled = |address: &&std::net::IpAddr| {
        let address = number(**address);
        pools.iter().any(|(first, last)| (*first..=*last).contains(&address))
    };
    OfSubnet {
        subnet_id: subnet.id,
        ip_version: subnet.ip_version,
        cidr: subnet.cidr.to_string(),
        subnet_name: subnet.name,
        used_ips: subnet.used.len() as u128,
        total_ips: if pools.is_empty() { size } else { in_pools },
        ip_availability_details: Details {
            total_ips_in_subnet: hosts,
            total_ips_in_allocation_pool: in_pools,
            used_ips_in_subnet: subnet.used.len() as u128,
            used_ips_in_allocation_pool: subnet.used.iter().filter(pooled).count() as u128,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cidr: &str, pools: &[(&str, &str)], used: &[&str]) -> serde_json::Value {
        let shown = of_subnet(SubnetUse {
            id: SubnetId::random(),
            name: String::new(),
            ip_version: if cidr.contains(':') { 6 } else { 4 },
            cidr: cidr.parse().unwrap(),
            pools: pools.iter().map(|(first, last)| (first.parse().unwrap(), last.parse().unwrap())).collect(),
            used: used.iter().map(|address| address.parse().unwrap()).collect(),
        });
        serde_json::from_str(&serde_json::to_string(&shown).unwrap()).unwrap()
    }

    #[test]
    fn addresses_are_counted_as_upstream_counts_them() {
        let four = of("10.77.0.0/24", &[("10.77.0.2", "10.77.0.254")], &["10.77.0.1", "10.77.0.9"]);
        assert_eq!((&four["total_ips"], &four["used_ips"]), (&253.into(), &2.into()));
        let details = &four["ip_availability_details"];
        assert_eq!(
            (&details["total_ips_in_subnet"], &details["used_ips_in_allocation_pool"]),
            (&254.into(), &1.into())
        );
        let without = of("10.77.0.0/24", &[], &[]);
        assert_eq!(without["total_ips"], 256);
        let six = of("2001:db8::/64", &[("2001:db8::2", "2001:db8::ffff:ffff:ffff:ffff")], &[]);
        assert_eq!(six["total_ips"], 18_446_744_073_709_551_614_u64);
    }
}
