//! `transport_url`: `rabbit://user:password@host:port[,…]/virtual_host?option=value`.
//!
//! User, password and virtual host are percent-decoded. Each host has credentials of its own or none. The query holds
//! options of `[oslo_messaging_rabbit]` that count for this URL alone.

use std::{collections::BTreeMap, fmt};

/// The port of AMQP.
pub const PORT: u16 = 5672;
const TRANSPORT: &str = "rabbit";

/// One broker and how to log in there.
#[derive(Clone, PartialEq, Eq)]
pub struct Host {
    /// Name or address, without brackets.
    pub name: String,
    /// TCP port.
    pub port: u16,
    /// The user, `guest` when the URL has none.
    pub user: String,
    /// The password of that user.
    pub password: String,
}

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportUrl {
    /// The brokers, in the order written; the local one when none is written.
    pub hosts: Vec<Host>,
    /// The virtual host.
    pub vhost: String,
    /// Options by name.
    pub query: BTreeMap<String, String>,
}

/// Why a text is no `transport_url`. It never shows the text, which holds passwords.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has no scheme.
    #[error("it has no scheme; rabbit:// is expected at its start")]
    NoScheme,
    /// It is for another kind of broker.
    #[error("the transport '{0}' is not spoken; 'rabbit' is")]
    Transport(String),
    /// A port is no number.
    #[error("'{0}' is not a port; a number from 1 to 65535 is expected after the host")]
    Port(String),
    /// A host has no name.
    #[error("a host has no name")]
    NoHost,
}

impl Host {
    /// A broker with the login that brokers come with.
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), port, user: "guest".to_owned(), password: "guest".to_owned() }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***@{self}", self.user)
    }
}

impl TransportUrl {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(UrlError::NoScheme)?;
        if scheme != TRANSPORT && scheme != "kombu+rabbit" && scheme != "kombu" {
            return Err(UrlError::Transport(scheme.to_owned()));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let written = authority.split(',').filter(|host| !host.is_empty());
        let mut hosts = written.map(parse_host).collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            hosts.push(Host::new("localhost", PORT));
        }
        let vhost = match decode(path) {
            vhost if vhost.is_empty() => "/".to_owned(),
            vhost => vhost,
        };
        Ok(Self { hosts, vhost, query: parse_query(query) })
    }
}

fn parse_host(text: &str) -> Result<Host, UrlError> {
    let (login, address) = text.rsplit_once('@').map_or((None, text), |(login, address)| (Some(login), address));
    let (name, port) = parse_address(address)?;
    let mut host = Host::new(name, port);
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        if !user.is_empty() {
            host.user = decode(user);
            host.password = decode(password);
        }
    }
    Ok(host)
}

/// Splits `host`, `host:port`, `[address]:port` or a bare IPv6 address.
pub fn parse_address(text: &str) -> Result<(String, u16), UrlError> {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (name, rest.strip_prefix(':')),
        None if text.matches(':').count() > 1 => (text, None),
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    if name.is_empty() {
        return Err(UrlError::NoHost);
    }
    let port = match port {
        None | Some("") => PORT,
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| UrlError::Port(port.to_owned()))?,
    };
    Ok((name.to_owned(), port))
}

fn parse_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(&value.replace('+', " ")))).collect()
}

/// Replaces `%XX`; what is no such triplet stays.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let triplet = bytes.get(at..at + 3).filter(|triplet| triplet[0] == b'%');
        let value =
            triplet.and_then(|t| std::str::from_utf8(&t[1..]).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        decoded.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16, user: &str, password: &str) -> Host {
        Host { name: name.into(), port, user: user.into(), password: password.into() }
    }

    #[test]
    fn several_hosts_and_escapes_are_read() {
        let url = TransportUrl::parse("rabbit://open%40stack:p%2Fw%3A@a:5673,u:p@[fd00::1]:1,c//v%2Fh?ssl=1&a=b%20c")
            .unwrap();
        let expected =
            [host("a", 5673, "open@stack", "p/w:"), host("fd00::1", 1, "u", "p"), host("c", 5672, "guest", "guest")];
        assert_eq!(url.hosts, expected);
        assert_eq!(url.vhost, "/v/h");
        assert_eq!(url.query["ssl"], "1");
        assert_eq!(url.query["a"], "b c");
        assert_eq!(url.hosts[1].to_string(), "[fd00::1]:1");
    }

    #[test]
    fn what_is_left_out_is_the_default() {
        for text in ["rabbit://", "rabbit:///", "rabbit:////"] {
            let url = TransportUrl::parse(text).unwrap();
            assert_eq!((url.hosts, url.vhost.as_str()), (vec![Host::new("localhost", 5672)], "/"), "{text}");
        }
        assert_eq!(TransportUrl::parse("rabbit://a/neutron").unwrap().vhost, "neutron");
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for (text, error) in [
            ("localhost", UrlError::NoScheme),
            ("amqp://u:secret@h", UrlError::Transport("amqp".into())),
            ("rabbit://u:secret@h:70000/", UrlError::Port("70000".into())),
            ("rabbit://u:secret@:5672/", UrlError::NoHost),
        ] {
            assert_eq!(TransportUrl::parse(text), Err(error), "{text}");
        }
        let url = TransportUrl::parse("rabbit://u:secret@h").unwrap();
        assert!(!format!("{url:?}").contains("secret"));
    }
}
