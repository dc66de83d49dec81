//! How a section of the configuration says that a service authenticates.

use std::path::PathBuf;
use std::time::Duration;

use super::auth::{Auth, DEFAULT_DOMAIN, Domain, Identity, Method, Named, Scope};
use super::{Options, Session};
use crate::config::value::FromValue;
use crate::config::{Config, ConfigError};
use crate::context::Token;
use crate::http::Tls;

/// The ways to authenticate that are understood.
const AUTH_TYPES: [&str; 8] =
    ["password", "v3password", "v3applicationcredential", "token", "v3token", "admin_token", "none", "noauth"];

/// What a section says of authenticating and connecting.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who we are.
    pub auth: Auth,
    /// How requests are sent.
    pub options: Options,
}

impl Settings {
    /// Reads a section; `None` if it does not say how to authenticate.
    pub fn read(config: &Config, section: &str) -> Result<Option<Self>, ConfigError> {
        let other = Section { config, name: section }.text("auth_section")?;
        let group = match &other {
            Some(name) if config.origin(name, "auth_type").is_none() => {
                let problem = "this section is not known to say how to authenticate";
                return Err(config.refuse(section, "auth_section", problem, &["keystone_authtoken", "nova"]));
            }
            Some(name) => name,
            None => section,
        };
        let Some(auth) = Section { config, name: group }.auth()? else { return Ok(None) };
        let section = Section { config, name: section };
        Ok(Some(Self {
            auth,
            options: Options { timeout: section.timeout()?, tls: section.tls()?, connect_retries: 0 },
        }))
    }

    /// A session by these settings. Certificates that cannot be used are a mistake in the configuration.
    pub fn session(&self, config: &Config, section: &str) -> Result<Session, ConfigError> {
        Session::new(self.auth.clone(), &self.options).map_err(|error| {
            let tls = &self.options.tls;
            let named = |path: &Option<PathBuf>| {
                path.as_ref().is_some_and(|path| error.to_string().contains(&*path.to_string_lossy()))
            };
            let option = if named(&tls.cafile) {
                "cafile"
            } else if named(&tls.certfile) {
                "certfile"
            } else {
                "keyfile"
            };
            config.refuse(section, option, error.to_string(), &["a file in PEM"])
        })
    }
}

/// A section while it is read.
struct Section<'a> {
    config: &'a Config,
    name: &'a str,
}

impl Section<'_> {
    /// An option that this section has; its absence from the table is as good as its absence from the file.
    fn get<T: FromValue + Default>(&self, name: &str) -> Result<T, ConfigError> {
        match self.config.origin(self.name, name) {
            Some(_) => self.config.get(self.name, name),
            None => Ok(T::default()),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        Ok(self.get::<Option<String>>(name)?.filter(|text| !text.is_empty()))
    }

    /// An option without which nothing works.
    fn need(&self, name: &str, problem: &str) -> Result<String, ConfigError> {
        self.text(name)?.ok_or_else(|| self.config.refuse(self.name, name, problem, &[]))
    }

    fn tls(&self) -> Result<Tls, ConfigError> {
        let path = |name| Ok::<_, ConfigError>(self.text(name)?.map(PathBuf::from));
        Ok(Tls {
            cafile: path("cafile")?,
            certfile: path("certfile")?,
            keyfile: path("keyfile")?,
            insecure: self.get("insecure")?,
        })
    }

    fn timeout(&self) -> Result<Option<Duration>, ConfigError> {
        let name = if self.name == "keystone_authtoken" { "http_connect_timeout" } else { "timeout" };
        Ok(self.get::<Option<Duration>>(name)?.filter(|timeout| !timeout.is_zero()))
    }

    fn auth(&self) -> Result<Option<Auth>, ConfigError> {
        let auth_type = match self.text("auth_type")? {
            Some(auth_type) => auth_type,
            // Before there was a choice, a user and a password were meant.
            None if self.text("username")?.is_some() && self.text("auth_url")?.is_some() => "password".to_owned(),
            None => return Ok(None),
        };
        let wants = |what: &str| format!("auth_type {auth_type} needs {what}");
        Ok(Some(match auth_type.as_str() {
            "none" | "noauth" => Auth::None { endpoint: self.text("endpoint")? },
            "admin_token" => Auth::AdminToken {
                endpoint: self.need("endpoint", &wants("the URL of the service"))?,
                token: Token::new(self.need("token", &wants("a token"))?),
            },
            "password" | "v3password" => self.identity(self.password(&wants)?, self.scope()?, &wants)?,
            "v3applicationcredential" => self.identity(self.credential(&wants)?, Scope::Unscoped, &wants)?,
            "token" | "v3token" => {
                let token = self.need("token", &wants("a token"))?;
                self.identity(Method::Token(token), self.scope()?, &wants)?
            }
            _ => {
                let problem = "there is no such way to authenticate here";
                return Err(self.config.refuse(self.name, "auth_type", problem, &AUTH_TYPES));
            }
        }))
    }

    fn identity(&self, method: Method, scope: Scope, wants: &dyn Fn(&str) -> String) -> Result<Auth, ConfigError> {
        let auth_url = self.need("auth_url", &wants("the URL of Keystone"))?;
        Ok(Auth::Identity(Identity { auth_url, method, scope }))
    }

    fn password(&self, wants: &dyn Fn(&str) -> String) -> Result<Method, ConfigError> {
        let user = match self.user()? {
            Some(user) => user,
            None => Named::Id(self.need("username", &wants("a user"))?),
        };
        Ok(Method::Password { user, password: self.need("password", &wants("a password"))? })
    }

    fn credential(&self, wants: &dyn Fn(&str) -> String) -> Result<Method, ConfigError> {
        let credential = match self.text("application_credential_id")? {
            Some(id) => Ok(id),
            None => Err(self.need("application_credential_name", &wants("a credential, by id or name"))?),
        };
        let user = self.user()?;
        if credential.is_err() && user.is_none() {
            self.need("username", &wants("the user whose credential it is, if it is given by name"))?;
        }
        let secret = self.need("application_credential_secret", &wants("the secret of the credential"))?;
        Ok(Method::ApplicationCredential { credential, user, secret })
    }

    fn user(&self) -> Result<Option<Named>, ConfigError> {
        if let Some(id) = self.text("user_id")? {
            return Ok(Some(Named::Id(id)));
        }
        let name = self.text("username")?;
        name.map(|name| Ok(Named::Name(name, self.domain_of("user_domain_id", "user_domain_name")?))).transpose()
    }

    /// The domain of the user or the project; the one that every Keystone has if none is named anywhere.
    fn domain_of(&self, id: &str, name: &str) -> Result<Domain, ConfigError> {
        for (id, name) in [(id, name), ("default_domain_id", "default_domain_name")] {
            if let Some(domain) = self.domain(id, name)? {
                return Ok(domain);
            }
        }
        Ok(Domain::Id(DEFAULT_DOMAIN.to_owned()))
    }

    fn domain(&self, id: &str, name: &str) -> Result<Option<Domain>, ConfigError> {
        if let Some(id) = self.text(id)? {
            return Ok(Some(Domain::Id(id)));
        }
        Ok(self.text(name)?.map(Domain::Name))
    }

    fn scope(&self) -> Result<Scope, ConfigError> {
        let mut found = Vec::new();
        if let Some(id) = self.text("project_id")? {
            found.push(("project_id", Scope::Project(Named::Id(id))));
        } else if let Some(name) = self.text("project_name")? {
            found.push((
                "project_name",
                Scope::Project(Named::Name(name, self.domain_of("project_domain_id", "project_domain_name")?)),
            ));
        }
        if let Some(domain) = self.domain("domain_id", "domain_name")? {
            found.push(("domain_id", Scope::Domain(domain)));
        }
        if let Some(scope) = self.text("system_scope")? {
            if scope != "all" {
                let problem = "a system has one scope only";
                return Err(self.config.refuse(self.name, "system_scope", problem, &["all"]));
            }
            found.push(("system_scope", Scope::System));
        }
        if let Some(id) = self.text("trust_id")? {
            found.push(("trust_id", Scope::Trust(id)));
        }
        if let [(first, _), (second, _), ..] = found.as_slice() {
            let problem = format!("a token is good for one scope, and {first} names another");
            return Err(self.config.refuse(self.name, second, problem, &[]));
        }
        Ok(found.pop().map(|(_, scope)| scope).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn config(text: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.conf");
        std::fs::write(&path, text).unwrap();
        Config::load(Sources { files: vec![path], ..Sources::default() }).unwrap()
    }

    fn read(text: &str) -> Result<Option<Auth>, String> {
        let config = config(&format!("[keystone_authtoken]\n{text}"));
        let settings = Settings::read(&config, "keystone_authtoken").map_err(|error| error.to_string())?;
        Ok(settings.map(|settings| settings.auth))
    }

    fn identity(method: Method, scope: Scope) -> Auth {
        Auth::Identity(Identity { auth_url: "http://k:35357".into(), method, scope })
    }

    #[test]
    fn a_section_as_operators_write_it() {
        let text = "auth_uri = http://k:5000\nauth_url = http://k:35357\nauth_type = password\n\
                    project_domain_name = default\nuser_domain_name = default\nproject_name = service\n\
                    username = neutron\npassword = pw\n";
        let named = |name: &str| Named::Name(name.into(), Domain::Name("default".into()));
        let method = Method::Password { user: named("neutron"), password: "pw".into() };
        assert_eq!(read(text).unwrap(), Some(identity(method, Scope::Project(named("service")))));
    }

    #[test]
    fn the_oldest_spellings_still_count() {
        let text = "identity_uri = http://k:35357\nadmin_user = n\nadmin_password = pw\nadmin_tenant_name = s\n";
        let named = |name: &str| Named::Name(name.into(), Domain::Id("default".into()));
        let method = Method::Password { user: named("n"), password: "pw".into() };
        assert_eq!(read(text).unwrap(), Some(identity(method, Scope::Project(named("s")))));
    }

    #[test]
    fn other_ways_to_authenticate() {
        let text = "auth_type = v3applicationcredential\nauth_url = http://k:35357\napplication_credential_id = c\n\
                    application_credential_secret = s\nproject_name = ignored\n";
        let method = Method::ApplicationCredential { credential: Ok("c".into()), user: None, secret: "s".into() };
        assert_eq!(read(text).unwrap(), Some(identity(method, Scope::Unscoped)));
        let text = "auth_type = v3token\nauth_url = http://k:35357\ntoken = t\nsystem_scope = all\n";
        assert_eq!(read(text).unwrap(), Some(identity(Method::Token("t".into()), Scope::System)));
        assert_eq!(read("auth_type = none\n").unwrap(), Some(Auth::None { endpoint: None }));
        assert_eq!(read("").unwrap(), None);
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        let refused = |text: &str| read(text).unwrap_err();
        let told = refused("auth_type = pasword\n");
        assert!(told.contains("auth_type") && told.contains("password"), "{told}");
        let told = refused("auth_type = password\nauth_url = http://k\nusername = n\n");
        assert!(told.contains("password needs a password"), "{told}");
        let told = refused("auth_type = password\nusername = n\npassword = hidden\n");
        assert!(told.contains("needs the URL of Keystone") && !told.contains("hidden"), "{told}");
        let told = refused(
            "auth_type = password\nauth_url = http://k\nusername = n\npassword = p\nproject_id = x\nsystem_scope = all\n",
        );
        assert!(told.contains("project_id names another"), "{told}");
        let told = refused("auth_section = elsewhere\n");
        assert!(told.contains("auth_section"), "{told}");
    }

    #[test]
    fn another_section_may_say_who_we_are() {
        let config = config(
            "[nova]\nauth_section = keystone_authtoken\ncafile = /x/ca.pem\ntimeout = 5\n[keystone_authtoken]\n\
             auth_url = http://k:35357\nauth_type = password\nuser_id = u\npassword = p\ntenant_id = t\ninsecure = true\n",
        );
        let settings = Settings::read(&config, "nova").unwrap().unwrap();
        let method = Method::Password { user: Named::Id("u".into()), password: "p".into() };
        assert_eq!(settings.auth, identity(method, Scope::Project(Named::Id("t".into()))));
        assert!(!settings.options.tls.insecure, "how to connect is of the section itself");
        assert_eq!(settings.options.timeout, Some(Duration::from_secs(5)));
        let told = settings.session(&config, "nova").unwrap_err().to_string();
        assert!(told.contains("cafile") && told.contains("/x/ca.pem"), "{told}");
    }
}
