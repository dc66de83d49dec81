//! Security group rules.

use std::{collections::HashSet, sync::Arc};

use db::{
    Conn, Row, Tx,
    list::{ListQuery, Listing},
    security_group as rows, standard,
};
use types::{
    SecurityGroupId, SecurityGroupRuleId, Standard,
    attribute::{Attributes, ResourceTable, table::SECURITY_GROUP_RULE},
};

use super::{Condition, Resource, find, security_group::SecurityGroup};
use crate::{
    Ctx, Refusal, Result,
    event::{self, Event},
    quota,
};

pub use types::security_group::SecurityGroupRule;

/// Names of protocols a rule may use, with their numbers (IANA).
const PROTOCOLS: [(&str, u8); 23] = [
    ("ah", 51),
    ("dccp", 33),
    ("egp", 8),
    ("esp", 50),
    ("gre", 47),
    ("icmp", 1),
    ("icmpv6", 58),
    ("igmp", 2),
    ("ipip", 4),
    ("ipv6-encap", 41),
    ("ipv6-frag", 44),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ipv6-route", 43),
    ("ospf", 89),
    ("pgm", 113),
    ("rsvp", 46),
    ("sctp", 132),
    ("tcp", 6),
    ("udp", 17),
    ("udplite", 136),
    ("vrrp", 112),
];
/// Protocols whose rules may name ports.
const WITH_PORTS: [u8; 5] = [33, 132, 6, 17, 136];
const ICMP: [u8; 2] = [1, 58];
/// Protocols that exist in IPv6 only.
const IPV6_ONLY: [u8; 6] = [41, 44, 58, 59, 60, 43];

impl Resource for SecurityGroupRule {
    const TABLE: &'static ResourceTable = &SECURITY_GROUP_RULE;
    const LISTING: &'static Listing = &rows::RULE_LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        Some(&self.standard)
    }

    /// Rules are seen whole, and policy leaves out those of others' groups; a list of all is asked for by project.
    fn restrict(ctx: &Ctx, query: &mut ListQuery) {
        query.viewer = ctx.viewer();
        query.viewer.scoped &= query.filters.is_empty();
    }

    async fn load(_: &Ctx, conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::security_group_rules_from_rows(conn, rows).await?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        let mut rules = given.iter().map(described).collect::<Result<Vec<_>>>()?;
        let mut group = group_of(ctx, &mut tx, &given).await?;
        for rule in &mut rules {
            rule.security_group_id = group.id;
            check_remote(ctx, &mut tx, rule).await?;
        }
        refuse_duplicates(&group, &rules)?;
        quota::check(ctx, &mut tx, "security_group_rule", &given).await?;
        let default = rows::default_group_of(&mut tx, &group.project_id).await? == Some(group.id);
        for (rule, given) in rules.iter_mut().zip(&given) {
            let description = given.text("description").unwrap_or_default();
            rule.standard = standard::standard_insert(&mut tx, "securitygrouprules", description, 0).await?;
            rule.belongs_to_default_sg = Some(default);
        }
        rows::security_group_rules_insert(&mut tx, &rules).await?;
        standard::standard_touch(&mut tx, &mut group.standard).await?;
        let made = rules.iter().map(|rule| Event::SecurityGroupRuleCreated(Arc::new(rule.clone()))).collect();
        let recorded = event::record(ctx, &mut tx, made).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(rules)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, condition: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let mut rule: Self = find(ctx, &mut tx, id).await?;
        condition.check(&rule.standard)?;
        if let Some(description) = given.text("description") {
            standard::standard_describe(&mut tx, &mut rule.standard, description).await?;
            standard::standard_touch(&mut tx, &mut rule.standard).await?;
        }
        let updated = Event::SecurityGroupRuleUpdated(Arc::new(rule.clone()));
        let recorded = event::record(ctx, &mut tx, vec![updated]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(rule)
    }

    async fn delete(ctx: &Ctx, id: &str, condition: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let rule: Self = find(ctx, &mut tx, id).await?;
        condition.check(&rule.standard)?;
        let mut group: SecurityGroup = find(ctx, &mut tx, &rule.security_group_id.to_string()).await?;
        rows::security_group_rule_delete(&mut tx, &rule).await?;
        standard::standard_touch(&mut tx, &mut group.standard).await?;
        let recorded = event::record(ctx, &mut tx, vec![Event::SecurityGroupRuleDeleted(Arc::new(rule))]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

/// The rule as the request describes it, with everything checked that needs no database.
fn described(given: &Attributes) -> Result<SecurityGroupRule> {
    let project_id = given.text("project_id").unwrap_or_default().to_owned();
    let number = |name: &str| given.int(name).and_then(|n| i32::try_from(n).ok());
    let text = |name: &str| given.text(name).map(str::to_owned);
    let remote_ip_prefix = text("remote_ip_prefix");
    let rule = SecurityGroupRule {
        id: SecurityGroupRuleId::random(),
        tenant_id: project_id.clone(),
        project_id,
        security_group_id: group(given, "security_group_id")?.unwrap_or_else(SecurityGroupId::random),
        direction: text("direction").unwrap_or_default(),
        ethertype: text("ethertype").unwrap_or_else(|| "IPv4".to_owned()),
        protocol: text("protocol"),
        port_range_min: number("port_range_min"),
        port_range_max: number("port_range_max"),
        normalized_cidr: remote_ip_prefix.as_deref().and_then(rows::normalized),
        remote_ip_prefix,
        remote_group_id: group(given, "remote_group_id")?,
        remote_address_group_id: text("remote_address_group_id"),
        belongs_to_default_sg: Some(false),
        standard: Standard::default(),
    };
    check_ports(&rule)?;
    check_protocol(&rule)?;
    check_prefix(&rule)?;
    let remotes = ["remote_ip_prefix", "remote_group_id", "remote_address_group_id"];
    if remotes.iter().filter(|name| given.text(name).is_some()).count() > 1 {
        let message = "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.";
        return Err(Refusal::bad_request("SecurityGroupMultipleRemoteEntites", message).into());
    }
    Ok(rule)
}

/// A group by its id; a text that is no id is the id of nothing.
fn group(given: &Attributes, name: &str) -> Result<Option<SecurityGroupId>> {
    let id = |text: &str| text.parse().map_err(|_| Refusal::not_found("SecurityGroup", text));
    Ok(given.text(name).map(id).transpose()?)
}

fn protocol_number(protocol: &str) -> Option<u8> {
    PROTOCOLS.iter().find(|(name, _)| *name == protocol).map(|(_, number)| *number).or_else(|| protocol.parse().ok())
}

fn check_ports(rule: &SecurityGroupRule) -> Result<()> {
    let (min, max) = (rule.port_range_min, rule.port_range_max);
    if min.is_none() && max.is_none() {
        return Ok(());
    }
    let refuse = |kind: &str, message: String| Err(Refusal::bad_request(kind, message).into());
    let Some(protocol) = rule.protocol.as_deref() else {
        let message = "Must also specify protocol if port range is given.";
        return refuse("SecurityGroupProtocolRequiredWithPorts", message.to_owned());
    };
    match protocol_number(protocol) {
        Some(number) if WITH_PORTS.contains(&number) => match (min, max) {
            (Some(0), _) | (_, Some(0)) => {
                refuse("SecurityGroupInvalidPortValue", "Invalid value for port 0".to_owned())
            }
            (Some(min), Some(max)) if min <= max => Ok(()),
            _ => refuse(
                "SecurityGroupInvalidPortRange",
                "For TCP/UDP protocols, port_range_min must be <= port_range_max".to_owned(),
            ),
        },
        Some(number) if ICMP.contains(&number) => {
            for (name, field, value) in [("port_range_min", "type", min), ("port_range_max", "code", max)] {
                if let Some(value) = value.filter(|value| !(0..=255).contains(value)) {
                    let message = format!("Invalid value for ICMP {field} ({name}) {value}. It must be 0 to 255.");
                    return refuse("SecurityGroupInvalidIcmpValue", message);
                }
            }
            match (min, max) {
                (None, Some(code)) => refuse(
                    "SecurityGroupMissingIcmpType",
                    format!("ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing."),
                ),
                _ => Ok(()),
            }
        }
        number => {
            let shown = number.map_or_else(|| protocol.to_owned(), |n| n.to_string());
            let message = format!(
                "Ports cannot be specified for protocol {shown}. Ports are only supported for DCCP, SCTP, TCP, UDP, \
                 UDPLITE."
            );
            refuse("SecurityGroupInvalidProtocolForPort", message)
        }
    }
}

fn check_protocol(rule: &SecurityGroupRule) -> Result<()> {
    let Some(protocol) = rule.protocol.as_deref() else { return Ok(()) };
    if rule.ethertype == "IPv4" && protocol_number(protocol).is_some_and(|n| IPV6_ONLY.contains(&n)) {
        let message = format!("Invalid ethertype {} for protocol {protocol}.", rule.ethertype);
        return Err(Refusal::bad_request("SecurityGroupEthertypeConflictWithProtocol", message).into());
    }
    Ok(())
}

fn check_prefix(rule: &SecurityGroupRule) -> Result<()> {
    let (Some(prefix), Some(network)) = (&rule.remote_ip_prefix, &rule.normalized_cidr) else { return Ok(()) };
    let version = if network.contains(':') { "IPv6" } else { "IPv4" };
    if rule.ethertype == version {
        return Ok(());
    }
    let message = format!("Conflicting value ethertype {} for CIDR {prefix}", rule.ethertype);
    Err(Refusal::bad_request("SecurityGroupRuleParameterConflict", message).into())
}

/// The one group that all rules of the request belong to.
async fn group_of(ctx: &Ctx, tx: &mut Tx, given: &[Attributes]) -> Result<SecurityGroup> {
    let ids: HashSet<&str> = given.iter().filter_map(|given| given.text("security_group_id")).collect();
    if ids.len() > 1 {
        let message = "Only allowed to update rules for one security profile at a time";
        return Err(Refusal::bad_request("SecurityGroupNotSingleGroupRules", message).into());
    }
    find(ctx, tx, ids.into_iter().next().unwrap_or_default()).await
}

async fn check_remote(ctx: &Ctx, tx: &mut Tx, rule: &SecurityGroupRule) -> Result<()> {
    if let Some(remote) = rule.remote_group_id.filter(|remote| *remote != rule.security_group_id) {
        find::<SecurityGroup>(ctx, tx, &remote.to_string()).await?;
    }
    match &rule.remote_address_group_id {
        Some(id) if !rows::address_group_exists(tx, id).await? => Err(Refusal::new(
            axum::http::StatusCode::NOT_FOUND,
            "AddressGroupNotFound",
            format!("Address group {id} could not be found."),
        )
        .into()),
        _ => Ok(()),
    }
}

/// What makes two rules the same, however they are written.
fn key(rule: &SecurityGroupRule) -> impl Eq + std::hash::Hash {
    let any = ["0.0.0.0/0", "::/0"];
    (
        rule.direction.clone(),
        rule.ethertype.clone(),
        rule.protocol.as_deref().map(|protocol| protocol_number(protocol).unwrap_or(0)),
        (rule.port_range_min, rule.port_range_max),
        (rule.remote_group_id, rule.remote_address_group_id.clone()),
        rule.remote_ip_prefix.clone().filter(|prefix| !any.contains(&prefix.as_str())),
    )
}

fn refuse_duplicates(group: &SecurityGroup, rules: &[SecurityGroupRule]) -> Result<()> {
    let mut seen = HashSet::new();
    if !rules.iter().all(|rule| seen.insert(key(rule))) {
        let message = "Duplicate Security Group Rule in POST.";
        return Err(Refusal::conflict("DuplicateSecurityGroupRuleInPost", message).into());
    }
    match group.security_group_rules.iter().find(|rule| seen.contains(&key(rule))) {
        Some(rule) => {
            let message = format!("Security group rule already exists. Rule id is {}.", rule.id);
            Err(Refusal::conflict("SecurityGroupRuleExists", message).into())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(body: serde_json::Value) -> String {
        let given = Attributes(body.as_object().unwrap().clone());
        match described(&given) {
            Err(error) => error.into_refusal().kind,
            Ok(_) => "accepted".to_owned(),
        }
    }

    #[test]
    fn ports_need_a_protocol_that_has_them() {
        let of = |protocol: serde_json::Value, min: serde_json::Value, max: serde_json::Value| {
            refused(json!({"direction": "ingress", "ethertype": "IPv4", "protocol": protocol,
                           "port_range_min": min, "port_range_max": max}))
        };
        assert_eq!(of(json!(null), json!(1), json!(2)), "SecurityGroupProtocolRequiredWithPorts");
        assert_eq!(of(json!("tcp"), json!(0), json!(2)), "SecurityGroupInvalidPortValue");
        assert_eq!(of(json!("17"), json!(3), json!(2)), "SecurityGroupInvalidPortRange");
        assert_eq!(of(json!("icmp"), json!(300), json!(null)), "SecurityGroupInvalidIcmpValue");
        assert_eq!(of(json!("icmp"), json!(null), json!(3)), "SecurityGroupMissingIcmpType");
        assert_eq!(of(json!("ah"), json!(1), json!(2)), "SecurityGroupInvalidProtocolForPort");
        assert_eq!(of(json!("udp"), json!(1), json!(65535)), "accepted");
    }

    #[test]
    fn ethertype_must_fit_protocol_and_prefix() {
        let ipv6 = json!({"direction": "ingress", "ethertype": "IPv4", "protocol": "ipv6-icmp"});
        assert_eq!(refused(ipv6), "SecurityGroupEthertypeConflictWithProtocol");
        let prefix = json!({"direction": "ingress", "ethertype": "IPv6", "remote_ip_prefix": "10.0.0.0/8"});
        assert_eq!(refused(prefix), "SecurityGroupRuleParameterConflict");
    }
}
