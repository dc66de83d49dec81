//! The connection text of `[database] connection`, as SQLAlchemy writes it:
//! `dialect+driver://user:password@host:port/database?option=value`.

use std::{fmt, time::Duration};

use crate::DbError;

/// The parts of the text. Its `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) database: String,
    options: Vec<(String, String)>,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, DbError> {
        let shown = || DbError::Url(format!("'{}' is not dialect://user:password@host/database", hidden(text)));
        let (_, rest) = text.split_once("://").ok_or_else(shown)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').ok_or_else(shown)?;
        let (login, place) =
            authority.rsplit_once('@').map_or((None, authority), |(login, place)| (Some(login), place));
        let (user, password) =
            match login.map(|login| login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)))) {
                None => (None, None),
                Some((user, password)) => (Some(decoded(user)), password.map(decoded)),
            };
        let (host, port) = match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(str::parse).transpose().map_err(|_| shown())?;
        // A PostgreSQL user's own database would do, but which one it is should be said.
        if database.is_empty() {
            return Err(DbError::Url(format!("'{}' names no database after the host", hidden(text))));
        }
        let options = query.split('&').filter_map(|pair| pair.split_once('='));
        let options = options.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
        let host = if host.is_empty() { "localhost".to_owned() } else { decoded(host) };
        Ok(Self { user, password, host, port, database: decoded(database), options })
    }

    /// Refuses options that are neither served nor harmless, so that none is silently without effect.
    pub(crate) fn check_options(&self, known: &[&str], why: &str) -> Result<(), DbError> {
        match self.options.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(DbError::Url(format!(
                "the database URL has the option '{name}', which {why}; known are {}",
                known.join(", ")
            ))),
            None => Ok(()),
        }
    }

    /// A number of seconds after the question mark.
    pub(crate) fn seconds(&self, name: &str) -> Result<Option<Duration>, DbError> {
        let Some(text) = self.option(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let seconds = text.parse().ok().and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok());
        let wrong = || DbError::Url(format!("the database URL has {name}={text}, which is no number of seconds"));
        seconds.map(Some).ok_or_else(wrong)
    }

    /// Yes or no after the question mark.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, DbError> {
        match self.option(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("1" | "true" | "yes" | "on") => Ok(Some(true)),
            Some("0" | "false" | "no" | "off" | "none" | "") => Ok(Some(false)),
            Some(other) => {
                Err(DbError::Url(format!("the database URL has {name}={other}, which is not true or false")))
            }
        }
    }

    /// The value of an option after the question mark.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({}:{:?}/{})", self.host, self.port, self.database)
    }
}

/// The text with further options, as `connection_parameters` gives them: `name=value&…`.
pub fn with_parameters(text: &str, parameters: &str) -> String {
    let parameters = parameters.trim().trim_start_matches(['?', '&']);
    match (parameters.is_empty(), text.contains('?')) {
        (true, _) => text.to_owned(),
        (false, true) => format!("{text}&{parameters}"),
        (false, false) => format!("{text}?{parameters}"),
    }
}

/// The text with its password replaced, for messages.
pub fn hidden(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    match rest.rsplit_once('@') {
        Some((login, place)) => format!("{scheme}://{}:***@{place}", login.split(':').next().unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// `%41` becomes `A`; what is no escape stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escape = (bytes[i] == b'%').then(|| text.get(i + 1..i + 3)).flatten();
        if let Some(byte) = escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            out.push(byte);
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts() {
        let url = Url::parse("mysql+pymysql://neutron:p%40ss:w@[::1]:3307/neutron?charset=utf8&ssl_ca=/a%20b").unwrap();
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("neutron"), Some("p@ss:w")));
        assert_eq!((url.host.as_str(), url.port, url.database.as_str()), ("::1", Some(3307), "neutron"));
        assert_eq!((url.option("ssl_ca"), url.option("other")), (Some("/a b"), None));
    }

    #[test]
    fn parameters_are_appended() {
        assert_eq!(with_parameters("mysql://h/d", "a=1&b=2"), "mysql://h/d?a=1&b=2");
        assert_eq!(with_parameters("mysql://h/d?charset=utf8", "?a=1"), "mysql://h/d?charset=utf8&a=1");
        assert_eq!(with_parameters("mysql://h/d", " "), "mysql://h/d");
    }

    #[test]
    fn options_are_typed_and_the_unknown_named() {
        let url = Url::parse("mysql://h/d?read_timeout=2.5&ssl_verify_cert=False&colour=red").unwrap();
        assert_eq!(url.seconds("read_timeout").unwrap(), Some(Duration::from_millis(2500)));
        assert_eq!((url.flag("ssl_verify_cert").unwrap(), url.flag("other").unwrap()), (Some(false), None));
        assert!(url.seconds("colour").is_err() && url.flag("colour").is_err());
        let error = url.check_options(&["read_timeout", "ssl_verify_cert"], "nothing knows").unwrap_err().to_string();
        assert!(error.contains("'colour'") && error.contains("read_timeout"), "{error}");
    }

    #[test]
    fn the_password_stays_out_of_messages() {
        let error = Url::parse("mysql://neutron:secret@host/").unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("mysql://neutron:***@host/"), "{error}");
        assert!(Url::parse("mysql://neutron:secret@host:port/db").is_err());
        assert!(!format!("{:?}", Url::parse("mysql://u:secret@h/d")).contains("secret"));
    }
}
