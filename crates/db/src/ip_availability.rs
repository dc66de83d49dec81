//! How many addresses networks have, and how many are used.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use sea_query::{Expr, ExprTrait};
use types::{NetworkId, SubnetId};

use crate::{Conn, DbError, list::ListQuery, network, schema::tables};

/// Networks looked at by one statement.
const CHUNK: usize = 500;

/// A network and its subnets.
#[derive(Debug, Clone)]
pub struct NetworkUse {
    /// The network.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub project_id: String,
    /// Its subnets.
    pub subnets: Vec<SubnetUse>,
}

/// A subnet, its pools, and the addresses that ports have.
#[derive(Debug, Clone)]
pub struct SubnetUse {
    /// The subnet.
    pub id: SubnetId,
    /// Its name.
    pub name: String,
    /// 4 or 6.
    pub ip_version: u8,
    /// Its prefix.
    pub cidr: IpNet,
    /// First and last address of each pool.
    pub pools: Vec<(IpAddr, IpAddr)>,
    /// What ports have.
    pub used: Vec<IpAddr>,
}

/// The networks that match, by the filters and the viewer of a list of networks.
pub async fn network_uses(conn: &mut Conn, query: &ListQuery) -> Result<Vec<NetworkUse>, DbError> {
    let page = network::LISTING.page(conn, query).await?;
    let read = |row: &crate::Row| {
        Ok(NetworkUse {
            id: row.get(0)?,
            name: row.get::<Option<String>>(1)?.unwrap_or_default(),
            project_id: row.get::<Option<String>>(2)?.unwrap_or_default(),
            subnets: Vec::new(),
        })
    };
    let mut networks = page.rows.iter().map(read).collect::<Result<Vec<_>, DbError>>()?;
    for chunk in networks.chunks_mut(CHUNK) {
        let ids: Vec<String> = chunk.iter().map(|network| network.id.to_string()).collect();
        let mut subnets = subnets_of(conn, &ids).await?;
        for network in chunk {
            network.subnets = subnets.remove(&network.id).unwrap_or_default();
        }
    }
    Ok(networks)
}

async fn subnets_of(conn: &mut Conn, networks: &[String]) -> Result<HashMap<NetworkId, Vec<SubnetUse>>, DbError> {
    let of_networks = || {
        let mut ids = tables::SUBNETS.select(&["id"]);
        ids.and_where(Expr::col("network_id").is_in(networks.iter().map(String::as_str)));
        Expr::col("subnet_id").in_subquery(ids)
    };
    let mut pools: HashMap<SubnetId, Vec<(IpAddr, IpAddr)>> = HashMap::new();
    let mut select = tables::IPALLOCATIONPOOLS.select(&["subnet_id", "first_ip", "last_ip"]);
    select.and_where(of_networks());
    for row in conn.select(&select).await? {
        pools.entry(row.get(0)?).or_default().push((row.get(1)?, row.get(2)?));
    }
    let mut used: HashMap<SubnetId, Vec<IpAddr>> = HashMap::new();
    let mut select = tables::IPALLOCATIONS.select(&["subnet_id", "ip_address"]);
    select.and_where(of_networks());
    for row in conn.select(&select).await? {
        used.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    let mut select = tables::SUBNETS.select(&["network_id", "id", "name", "ip_version", "cidr"]);
    select.and_where(Expr::col("network_id").is_in(networks.iter().map(String::as_str)));
    select.order_by("id", sea_query::Order::Asc);
    let mut subnets: HashMap<NetworkId, Vec<SubnetUse>> = HashMap::new();
    for row in conn.select(&select).await? {
        let id: SubnetId = row.get(1)?;
        subnets.entry(row.get(0)?).or_default().push(SubnetUse {
            id,
            name: row.get::<Option<String>>(2)?.unwrap_or_default(),
            ip_version: row.get(3)?,
            cidr: row.get(4)?,
            pools: pools.remove(&id).unwrap_or_default(),
            used: used.remove(&id).unwrap_or_default(),
        });
    }
    Ok(subnets)
}
