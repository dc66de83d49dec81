//! Addresses of the members of security groups.

use sea_query::{Expr, ExprTrait};
use types::{Mac, SecurityGroupId};

use crate::{
    Conn, DbError, Row,
    schema::tables::{ALLOWEDADDRESSPAIRS as PAIRS, IPALLOCATIONS as ADDRESSES, SECURITYGROUPPORTBINDINGS as BINDINGS},
};

/// Values in one `IN` list at most.
const CHUNK: usize = 1000;

/// An address by which a member of a group sends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The group.
    pub group: SecurityGroupId,
    /// Address or prefix.
    pub ip_address: String,
    /// Set for address pairs only.
    pub mac_address: Option<Mac>,
}

/// All addresses of the members of these groups, each once, in ascending order.
pub async fn members(conn: &mut Conn, groups: &[SecurityGroupId]) -> Result<Vec<Member>, DbError> {
    let mut members = Vec::new();
    for chunk in groups.chunks(CHUNK) {
        let groups = || Expr::col((BINDINGS.name, "security_group_id")).is_in(chunk.iter().map(ToString::to_string));
        let mut fixed = BINDINGS.select(&["security_group_id"]);
        fixed.expr(Expr::col((ADDRESSES.name, "ip_address"))).and_where(groups());
        fixed.inner_join(ADDRESSES.name, Expr::col((ADDRESSES.name, "port_id")).equals((BINDINGS.name, "port_id")));
        for row in conn.select(&fixed).await? {
            members.push(Member { group: row.get(0)?, ip_address: row.get(1)?, mac_address: None });
        }
        let mut pairs = BINDINGS.select(&["security_group_id"]);
        pairs.expr(Expr::col((PAIRS.name, "ip_address"))).expr(Expr::col((PAIRS.name, "mac_address")));
        pairs.and_where(groups());
        pairs.inner_join(PAIRS.name, Expr::col((PAIRS.name, "port_id")).equals((BINDINGS.name, "port_id")));
        let pair =
            |row: &Row| Ok(Member { group: row.get(0)?, ip_address: row.get(1)?, mac_address: Some(row.get(2)?) });
        for row in conn.select(&pairs).await? {
            members.push(pair(&row)?);
        }
    }
    members.sort_unstable();
    members.dedup();
    Ok(members)
}
