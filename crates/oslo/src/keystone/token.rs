//! What Keystone tells of a token.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Catalog;
use crate::context::Token;

/// Whom a token speaks for and what it is good for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenInfo {
    /// The user.
    pub user: Owner,
    /// The project of a token that is good for one.
    pub project: Option<Owner>,
    /// The domain of a token that is good for a whole domain, its id and name.
    pub domain: Option<(String, String)>,
    /// Whether the token is good for the system.
    pub is_system: bool,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Whether the project is the one from which the cloud is administered, where there is one.
    pub is_admin_project: bool,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// What a login has to show for the token to count, by kind of binding.
    pub bind: Vec<(String, String)>,
    /// The requests that an application credential is restricted to.
    pub access_rules: Option<Vec<AccessRule>>,
    /// Types of the services in the catalogue, read only where there are access rules.
    pub services: Vec<String>,
}

/// A user or a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The id of its domain.
    pub domain_id: String,
    /// The name of its domain.
    pub domain_name: String,
}

/// A request that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// The type of the service.
    pub service: String,
    /// The HTTP method.
    pub method: String,
    /// The pattern of the path.
    pub path: String,
}

/// A token of our own with all that came with it.
#[derive(Debug, Clone)]
pub struct Access {
    /// The token.
    pub token: Token,
    /// Who we are.
    pub info: TokenInfo,
    /// Where everything is.
    pub catalog: Catalog,
    /// From when on another token is to be fetched first.
    pub(super) stale: Instant,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Owner {
    fn read(value: &Value) -> Option<Self> {
        value["id"].as_str()?;
        let domain = &value["domain"];
        Some(Self {
            id: text(&value["id"]),
            name: text(&value["name"]),
            domain_id: text(&domain["id"]),
            domain_name: text(&domain["name"]),
        })
    }
}

impl TokenInfo {
    /// Reads the body that tells of a token; `None` if it does not.
    pub fn read(body: &Value) -> Option<Self> {
        let token = body.get("token")?;
        let domain = &token["domain"];
        let rules = &token["application_credential"]["access_rules"];
        let services = |rules: &Vec<AccessRule>| match rules.is_empty() {
            false => token["catalog"].as_array().into_iter().flatten().map(|service| text(&service["type"])).collect(),
            true => Vec::new(),
        };
        let access_rules = rules.as_array().map(|rules| rules.iter().map(AccessRule::read).collect());
        Some(Self {
            user: Owner::read(&token["user"])?,
            project: Owner::read(&token["project"]),
            domain: domain["id"].as_str().map(|id| (id.to_owned(), text(&domain["name"]))),
            is_system: token["system"]["all"].as_bool().unwrap_or_default(),
            roles: token["roles"].as_array().into_iter().flatten().map(|role| text(&role["name"])).collect(),
            is_admin_project: token["is_admin_project"].as_bool().unwrap_or(true),
            expires_at: token["expires_at"].as_str().and_then(time)?,
            bind: token["bind"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(kind, value)| (kind.clone(), text(value)))
                .collect(),
            services: access_rules.as_ref().map(services).unwrap_or_default(),
            access_rules,
        })
    }

    /// Whether the token has ended.
    pub fn is_expired(&self) -> bool {
        self.expires_at <= Utc::now()
    }
}

impl AccessRule {
    fn read(value: &Value) -> Self {
        Self { service: text(&value["service"]), method: text(&value["method"]), path: text(&value["path"]) }
    }
}

/// How long before its end a token of ours is replaced, at most.
const EARLY: Duration = Duration::from_secs(120);

impl Access {
    /// Reads what came with a new token. Its life is counted from now by Keystone's own two times, so that a clock of
    /// ours that differs does no harm.
    pub(super) fn read(token: &str, body: &Value) -> Option<Self> {
        let info = TokenInfo::read(body)?;
        let issued = body["token"]["issued_at"].as_str().and_then(time).unwrap_or_else(Utc::now);
        let life = (info.expires_at - issued).to_std().unwrap_or_default();
        let stale = Instant::now() + (life - EARLY.min(life / 2));
        Some(Self { token: Token::new(token), info, catalog: Catalog::read(&body["token"]["catalog"]), stale })
    }
}

/// A time as Keystone writes it; without zone it is UTC.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.with_timezone(&Utc));
    zoned.ok().or_else(|| {
        let naive = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
        Some(naive.and_utc())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body() -> Value {
        json!({"token": {
            "methods": ["password"],
            "user": {"id": "u1", "name": "ann", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": "p1", "name": "demo", "domain": {"id": "d2", "name": "Two"}},
            "roles": [{"id": "1", "name": "member"}, {"id": "2", "name": "reader"}],
            "issued_at": "2020-01-01T00:00:00.000000Z", "expires_at": "2020-01-01T01:00:00.000000Z",
            "catalog": [{"type": "network", "endpoints": []}],
        }})
    }

    #[test]
    fn a_project_token_is_read() {
        let info = TokenInfo::read(&body()).unwrap();
        assert_eq!((info.user.name.as_str(), info.user.domain_name.as_str()), ("ann", "Default"));
        assert_eq!(info.project.as_ref().unwrap().domain_id, "d2");
        assert_eq!(info.roles, ["member", "reader"]);
        assert!(info.is_expired() && info.is_admin_project && !info.is_system && info.access_rules.is_none());
        assert!(info.services.is_empty(), "not needed, so not kept");
    }

    #[test]
    fn other_scopes_and_restrictions_are_read() {
        let mut body = body();
        let token = body["token"].as_object_mut().unwrap();
        token.remove("project");
        token.insert("system".into(), json!({"all": true}));
        token.insert("domain".into(), json!({"id": "d1", "name": "One"}));
        token.insert("bind".into(), json!({"kerberos": "ann@X"}));
        let rules = json!({"access_rules": [{"service": "network", "method": "GET", "path": "/v2.0/*"}]});
        token.insert("application_credential".into(), rules);
        let info = TokenInfo::read(&body).unwrap();
        assert!(info.is_system && info.project.is_none());
        assert_eq!(info.domain, Some(("d1".into(), "One".into())));
        assert_eq!(info.bind, [("kerberos".to_owned(), "ann@X".to_owned())]);
        assert_eq!((info.access_rules.unwrap().len(), info.services), (1, vec!["network".to_owned()]));
    }

    #[test]
    fn what_tells_of_no_token_is_not_taken_for_one() {
        for body in [json!({}), json!({"token": {}}), json!({"token": {"user": {"id": "u"}}}), json!([]), json!("x")] {
            assert_eq!(TokenInfo::read(&body), None);
        }
    }

    #[test]
    fn a_token_of_ours_is_replaced_in_time_whatever_our_clock_says() {
        let access = Access::read("t", &body()).unwrap();
        let left = access.stale - Instant::now();
        assert!(left > Duration::from_secs(57 * 60) && left <= Duration::from_secs(58 * 60), "{left:?}");
        assert!(!format!("{access:?}").contains("\"t\""));
    }
}
