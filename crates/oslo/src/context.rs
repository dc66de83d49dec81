//! The request context: who asks, on whose behalf, and under which request id.
//!
//! It is the one value that travels from an HTTP request through every operation into every message, in the 23 keys
//! that oslo.context and neutron-lib put on the wire (`_context_<key>`). Reading is lenient, as the originals are:
//! unknown keys are ignored, missing ones take their default, and the older `tenant_*` spellings are understood.

use serde_json::{Map, Value};
use uuid::Uuid;

/// The prefix of each context key in a message body.
pub const MESSAGE_PREFIX: &str = "_context_";

/// Roles of the context that services use for their own work.
const ADMIN_ROLES: [&str; 3] = ["admin", "member", "reader"];

/// Who asks, and under which request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// `req-<uuid>`, new for each request that enters this service.
    pub request_id: String,
    /// The `req-<uuid>` under which the first service of a chain works, when the caller named one.
    pub global_request_id: Option<String>,
    /// The caller's user.
    pub user_id: Option<String>,
    /// The name of that user.
    pub user_name: Option<String>,
    /// The project that the caller acts in; `None` for services.
    pub project_id: Option<String>,
    /// The name of that project.
    pub project_name: Option<String>,
    /// Names of the caller's roles.
    pub roles: Vec<String>,
    /// Names of the roles of the service that passes a user's request on; not sent in messages.
    pub service_roles: Vec<String>,
    /// Whether the caller may do everything and sees every project.
    pub is_admin: bool,
    /// Whether the caller's project is the cloud's administrative one.
    pub is_admin_project: bool,
    /// `all` for a token of system scope.
    pub system_scope: Option<String>,
    /// The domain that a domain-scoped token is for.
    pub domain_id: Option<String>,
    /// The domain of the user.
    pub user_domain_id: Option<String>,
    /// The domain of the project.
    pub project_domain_id: Option<String>,
    /// The caller's token, kept to be passed on and never logged.
    pub auth_token: Option<Token>,
    /// The resource that a log line is about.
    pub resource_uuid: Option<String>,
    /// Whether the caller asked for no changes.
    pub read_only: bool,
    /// When this context was made, as `YYYY-MM-DD HH:MM:SS.ffffff`.
    pub timestamp: String,
    /// Whether policy lets the caller reach resources of every project.
    pub has_global_access: bool,
    /// Whether policy lets the caller create in another project.
    pub can_set_project_id: bool,
    /// Whether policy takes the caller for a service, which sees resources of every project; not sent in messages.
    pub is_service_role: bool,
}

/// A secret that shows nothing of itself in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Keeps the text of a token.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one header or message that must carry it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

/// A new request id: `req-<uuid>`.
pub fn generate_request_id() -> String {
    format!("req-{}", Uuid::new_v4())
}

/// Whether text may stand as a request id given by a caller: `req-` and a canonical uuid, as oslo.middleware asks.
pub fn is_request_id(text: &str) -> bool {
    text.strip_prefix("req-").is_some_and(|rest| rest.len() == 36 && Uuid::try_parse(rest).is_ok())
}

impl Context {
    /// The context of a service that works for itself: everything is allowed, no project.
    pub fn admin() -> Self {
        Self {
            roles: ADMIN_ROLES.map(str::to_owned).to_vec(),
            is_admin: true,
            has_global_access: true,
            can_set_project_id: true,
            ..Self::anonymous()
        }
    }

    /// The context of a user in a project, with no privilege beyond the roles named.
    pub fn user(user_id: impl Into<String>, project_id: impl Into<String>, roles: Vec<String>) -> Self {
        Self { user_id: Some(user_id.into()), project_id: Some(project_id.into()), roles, ..Self::anonymous() }
    }

    /// The same caller with every privilege and the same request id, for work that a request causes but that its
    /// caller could not do.
    pub fn elevated(&self) -> Self {
        let mut context = self.clone();
        for role in ADMIN_ROLES {
            if !context.roles.iter().any(|held| held.eq_ignore_ascii_case(role)) {
                context.roles.push(role.to_owned());
            }
        }
        context.is_admin = true;
        context.has_global_access = true;
        context.can_set_project_id = true;
        context
    }

    /// Nobody, with a new request id.
    pub fn anonymous() -> Self {
        Self {
            request_id: generate_request_id(),
            global_request_id: None,
            user_id: None,
            user_name: None,
            project_id: None,
            project_name: None,
            roles: Vec::new(),
            service_roles: Vec::new(),
            is_admin: false,
            is_admin_project: true,
            system_scope: None,
            domain_id: None,
            user_domain_id: None,
            project_domain_id: None,
            auth_token: None,
            resource_uuid: None,
            read_only: false,
            timestamp: now(),
            has_global_access: false,
            can_set_project_id: false,
            is_service_role: false,
        }
    }

    /// `user project domain user_domain project_domain`, each `-` when there is none: how logs name a caller.
    pub fn user_identity(&self) -> String {
        let parts = [&self.user_id, &self.project_id, &self.domain_id, &self.user_domain_id, &self.project_domain_id];
        parts.map(|part| part.as_deref().unwrap_or("-")).join(" ")
    }

    /// The 23 keys, without prefix.
    pub fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        put("user", text(&self.user_id));
        put("user_id", text(&self.user_id));
        put("user_name", text(&self.user_name));
        put("project", text(&self.project_id));
        put("project_id", text(&self.project_id));
        put("project_name", text(&self.project_name));
        put("system_scope", text(&self.system_scope));
        put("domain", text(&self.domain_id));
        put("user_domain", text(&self.user_domain_id));
        put("project_domain", text(&self.project_domain_id));
        put("is_admin", self.is_admin.into());
        put("is_admin_project", self.is_admin_project.into());
        put("read_only", self.read_only.into());
        put("show_deleted", false.into());
        put("auth_token", self.auth_token.as_ref().map_or(Value::Null, |token| token.reveal().into()));
        put("request_id", self.request_id.as_str().into());
        put("global_request_id", text(&self.global_request_id));
        put("resource_uuid", text(&self.resource_uuid));
        put("roles", self.roles.clone().into());
        put("user_identity", self.user_identity().into());
        put("timestamp", self.timestamp.as_str().into());
        put("has_global_access", self.has_global_access.into());
        put("can_set_project_id", self.can_set_project_id.into());
        map
    }

    /// Whether the caller sees the resources of one project only.
    pub fn is_scoped_to_project(&self) -> bool {
        !(self.is_admin || self.has_global_access || self.is_service_role)
    }

    /// What policy rules may compare, by name: the keys of a message without those of the request, and the service's.
    pub fn to_policy_values(&self) -> Map<String, Value> {
        let mut map = self.to_map();
        let request = [
            "auth_token",
            "request_id",
            "global_request_id",
            "resource_uuid",
            "user_identity",
            "timestamp",
            "read_only",
        ];
        for key in request.into_iter().chain(["show_deleted", "project"]) {
            map.remove(key);
        }
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        put("domain_id", text(&self.domain_id));
        put("user_domain_id", text(&self.user_domain_id));
        put("project_domain_id", text(&self.project_domain_id));
        put("service_roles", self.service_roles.clone().into());
        map
    }

    /// Writes the keys, each with its `_context_` prefix, into a message body.
    pub fn write_message(&self, body: &mut Map<String, Value>) {
        for (key, value) in self.to_map() {
            body.insert(format!("{MESSAGE_PREFIX}{key}"), value);
        }
    }

    /// Reads a context from the keys without prefix.
    pub fn from_map(map: &Map<String, Value>) -> Self {
        Self::read(|key| map.get(key))
    }

    /// Takes the `_context_` keys out of a message body and reads a context from them.
    pub fn take_message(body: &mut Map<String, Value>) -> Self {
        let context = Self::read(|key| body.get(&format!("{MESSAGE_PREFIX}{key}")));
        body.retain(|key, _| !key.starts_with(MESSAGE_PREFIX));
        context
    }

    fn read<'a>(get: impl Fn(&str) -> Option<&'a Value>) -> Self {
        let string = |key: &str| get(key).and_then(Value::as_str).map(str::to_owned);
        let flag = |key: &str, default: bool| get(key).and_then(Value::as_bool).unwrap_or(default);
        let either = |one: &str, other: &str| string(one).or_else(|| string(other));
        let is_admin = flag("is_admin", false);
        let roles = get("roles")
            .and_then(Value::as_array)
            .map_or_else(Vec::new, |roles| roles.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        Self {
            request_id: string("request_id").unwrap_or_else(generate_request_id),
            global_request_id: string("global_request_id"),
            user_id: either("user_id", "user"),
            user_name: string("user_name"),
            project_id: either("project_id", "tenant_id").or_else(|| string("project")),
            project_name: either("project_name", "tenant_name"),
            roles,
            service_roles: Vec::new(),
            is_admin,
            is_admin_project: flag("is_admin_project", true),
            system_scope: string("system_scope"),
            domain_id: either("domain", "domain_id"),
            user_domain_id: either("user_domain", "user_domain_id"),
            project_domain_id: either("project_domain", "project_domain_id"),
            auth_token: string("auth_token").map(Token::new),
            resource_uuid: string("resource_uuid"),
            read_only: flag("read_only", false),
            timestamp: string("timestamp").unwrap_or_else(now),
            has_global_access: flag("has_global_access", is_admin),
            can_set_project_id: flag("can_set_project_id", is_admin),
            is_service_role: false,
        }
    }
}

fn text(value: &Option<String>) -> Value {
    value.as_deref().map_or(Value::Null, Value::from)
}

fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 23] = [
        "user",
        "user_id",
        "user_name",
        "project_id",
        "project_name",
        "project",
        "system_scope",
        "domain",
        "user_domain",
        "project_domain",
        "is_admin",
        "is_admin_project",
        "read_only",
        "show_deleted",
        "auth_token",
        "request_id",
        "global_request_id",
        "resource_uuid",
        "roles",
        "user_identity",
        "timestamp",
        "has_global_access",
        "can_set_project_id",
    ];

    #[test]
    fn a_message_carries_exactly_the_known_keys() {
        let mut body = Map::new();
        Context::admin().write_message(&mut body);
        let mut sent: Vec<_> = body.keys().map(String::as_str).collect();
        let mut known = KEYS.map(|key| format!("{MESSAGE_PREFIX}{key}"));
        sent.sort_unstable();
        known.sort_unstable();
        assert_eq!(sent, known);
        assert_eq!(body["_context_user_identity"], "- - - - -");
        assert_eq!(body["_context_is_admin"], true);
        assert_eq!(body["_context_project_id"], Value::Null);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut context = Context::user("u1", "p1", vec!["member".into()]);
        context.global_request_id = Some(generate_request_id());
        context.auth_token = Some(Token::new("secret"));
        context.domain_id = Some("d1".into());
        let mut body = Map::from_iter([("method".to_owned(), Value::from("tunnel_sync"))]);
        context.write_message(&mut body);
        assert_eq!(Context::take_message(&mut body), context);
        assert_eq!(Context::from_map(&context.to_map()), context);
        assert_eq!(body.len(), 1, "only what is not context is left: {body:?}");
    }

    #[test]
    fn older_and_unknown_keys_are_understood() {
        let map =
            serde_json::json!({"tenant_id": "p1", "user": "u1", "is_admin": true, "trace_info": {}, "roles": null});
        let context = Context::from_map(map.as_object().unwrap());
        assert_eq!(context.project_id.as_deref(), Some("p1"));
        assert_eq!(context.user_id.as_deref(), Some("u1"));
        assert!(context.is_admin && context.has_global_access);
        assert!(is_request_id(&context.request_id));
    }

    #[test]
    fn a_token_does_not_show_in_debug_output() {
        let mut context = Context::anonymous();
        context.auth_token = Some(Token::new("gAAAA-secret"));
        assert!(!format!("{context:?}").contains("secret"));
    }

    #[test]
    fn request_ids_are_recognised() {
        assert!(is_request_id(&generate_request_id()));
        assert!(!is_request_id("req-"));
        assert!(!is_request_id("84c6e765-c0a2-4ff1-90c4-30af4e064463"));
        assert!(!is_request_id("req-84c6e765c0a24ff190c430af4e064463"));
    }

    #[test]
    fn elevation_keeps_the_request() {
        let context = Context::user("u1", "p1", vec!["member".into()]);
        let elevated = context.elevated();
        assert!(elevated.is_admin);
        assert_eq!(elevated.request_id, context.request_id);
        assert_eq!(elevated.roles, ["member", "admin", "reader"]);
    }
}
