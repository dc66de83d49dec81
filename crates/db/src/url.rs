//! The connection text of `[database] connection`, as SQLAlchemy writes it:
//! `dialect+driver://user:password@host:port/database?option=value`.

use std::fmt;

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
        if database.is_empty() {
            return Err(DbError::Url(format!("'{}' names no database after the host", hidden(text))));
        }
        let options = query.split('&').filter_map(|pair| pair.split_once('='));
        let options = options.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
        let host = if host.is_empty() { "localhost".to_owned() } else { decoded(host) };
        Ok(Self { user, password, host, port, database: decoded(database), options })
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

/// The text with its password replaced, for messages.
fn hidden(text: &str) -> String {
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
    fn the_password_stays_out_of_messages() {
        let error = Url::parse("mysql://neutron:secret@host/").unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("mysql://neutron:***@host/"), "{error}");
        assert!(Url::parse("mysql://neutron:secret@host:port/db").is_err());
        assert!(!format!("{:?}", Url::parse("mysql://u:secret@h/d")).contains("secret"));
    }
}
