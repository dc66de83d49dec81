//! How a service shows who it is, and what it asks to work on.

use serde_json::{Value, json};

/// A way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Keystone gives a token and a catalogue.
    Identity(Identity),
    /// A fixed token and the URL of the service itself, without Keystone.
    AdminToken {
        /// The service.
        endpoint: String,
        /// What opens it.
        token: crate::context::Token,
    },
    /// No token at all.
    None {
        /// The service.
        endpoint: Option<String>,
    },
}

/// What Keystone is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Where Keystone is, with or without `/v3`.
    pub auth_url: String,
    /// The proof of who asks.
    pub method: Method,
    /// What the token is to be good for.
    pub scope: Scope,
}

/// A proof of identity.
#[derive(Clone, PartialEq, Eq)]
pub enum Method {
    /// A user and a password.
    Password {
        /// The user.
        user: Named,
        /// The password.
        password: String,
    },
    /// An application credential; one that is named belongs to a user.
    ApplicationCredential {
        /// The credential, by its id alone or by its name.
        credential: Result<String, String>,
        /// Whose it is; needed with a name.
        user: Option<Named>,
        /// Its secret.
        secret: String,
    },
    /// Another token.
    Token(String),
}

/// Something by its id, or by its name in a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// By id.
    Id(String),
    /// By name.
    Name(String, Domain),
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
}

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// Nothing but to learn who one is; also what application credentials need, whose scope is their own.
    #[default]
    Unscoped,
    /// A project.
    Project(Named),
    /// A domain.
    Domain(Domain),
    /// The whole system.
    System,
    /// What a trust delegates.
    Trust(String),
}

/// The domain that every Keystone begins with.
pub(crate) const DEFAULT_DOMAIN: &str = "default";

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(***)",
            Self::ApplicationCredential { .. } => "ApplicationCredential(***)",
            Self::Token(_) => "Token(***)",
        })
    }
}

impl Default for Domain {
    fn default() -> Self {
        Self::Id(DEFAULT_DOMAIN.to_owned())
    }
}

impl Domain {
    fn json(&self) -> Value {
        match self {
            Self::Id(id) => json!({ "id": id }),
            Self::Name(name) => json!({ "name": name }),
        }
    }
}

impl Named {
    fn json(&self) -> Value {
        match self {
            Self::Id(id) => json!({ "id": id }),
            Self::Name(name, domain) => json!({ "name": name, "domain": domain.json() }),
        }
    }

    fn shown(&self) -> &str {
        match self {
            Self::Id(text) | Self::Name(text, _) => text,
        }
    }
}

impl Identity {
    /// The body of the request for a token.
    pub(super) fn request(&self) -> Value {
        let mut auth = json!({ "identity": self.method.json() });
        match &self.scope {
            Scope::Unscoped => {}
            Scope::Project(project) => auth["scope"] = json!({ "project": project.json() }),
            Scope::Domain(domain) => auth["scope"] = json!({ "domain": domain.json() }),
            Scope::System => auth["scope"] = json!({ "system": { "all": true } }),
            Scope::Trust(id) => auth["scope"] = json!({ "OS-TRUST:trust": { "id": id } }),
        }
        json!({ "auth": auth })
    }

    /// Who authenticates, for messages.
    pub(super) fn who(&self) -> String {
        match &self.method {
            Method::Password { user, .. } => format!("user `{}`", user.shown()),
            Method::ApplicationCredential { credential: Ok(text) | Err(text), .. } => {
                format!("application credential `{text}`")
            }
            Method::Token(_) => "the token that is configured".to_owned(),
        }
    }
}

impl Method {
    fn json(&self) -> Value {
        match self {
            Self::Password { user, password } => {
                let mut user = user.json();
                user["password"] = password.as_str().into();
                json!({ "methods": ["password"], "password": { "user": user } })
            }
            Self::ApplicationCredential { credential, user, secret } => {
                let mut named = match credential {
                    Ok(id) => json!({ "id": id }),
                    Err(name) => json!({ "name": name }),
                };
                if let (Err(_), Some(user)) = (credential, user) {
                    named["user"] = user.json();
                }
                named["secret"] = secret.as_str().into();
                json!({ "methods": ["application_credential"], "application_credential": named })
            }
            Self::Token(token) => json!({ "methods": ["token"], "token": { "id": token } }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(method: Method, scope: Scope) -> Identity {
        Identity { auth_url: "http://k".into(), method, scope }
    }

    #[test]
    fn requests_have_keystones_form() {
        let named = |name: &str| Named::Name(name.into(), Domain::Name("default".into()));
        let method = Method::Password { user: named("neutron"), password: "pw".into() };
        assert_eq!(
            identity(method, Scope::Project(named("service"))).request(),
            json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user":
                    {"name": "neutron", "domain": {"name": "default"}, "password": "pw"}}},
                "scope": {"project": {"name": "service", "domain": {"name": "default"}}},
            }})
        );
        let credential = |credential, user| Method::ApplicationCredential { credential, user, secret: "s".into() };
        assert_eq!(
            identity(credential(Ok("c1".into()), Some(named("u"))), Scope::Unscoped).request(),
            json!({"auth": {"identity": {
                "methods": ["application_credential"], "application_credential": {"id": "c1", "secret": "s"}}}})
        );
        assert_eq!(
            identity(credential(Err("c".into()), Some(Named::Id("u1".into()))), Scope::Unscoped).request(),
            json!({"auth": {"identity": {"methods": ["application_credential"],
                "application_credential": {"name": "c", "user": {"id": "u1"}, "secret": "s"}}}})
        );
        let system = identity(Method::Token("t".into()), Scope::System).request();
        assert_eq!(system["auth"]["scope"], json!({"system": {"all": true}}));
    }

    #[test]
    fn secrets_do_not_show() {
        let method = Method::Password { user: Named::Id("u".into()), password: "hidden".into() };
        assert!(!format!("{:?}", Auth::Identity(identity(method, Scope::Unscoped))).contains("hidden"));
    }
}
