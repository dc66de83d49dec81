//! From the URL to what the driver wants. The options are libpq's, with its defaults.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use crate::{DbError, Settings, url::Url};

/// Options that are served.
const SERVED: [&str; 16] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "connect_timeout",
    "application_name",
    "options",
    "client_encoding",
    "keepalives",
    "keepalives_idle",
    "tcp_user_timeout",
];

/// What connections are made with.
pub(super) struct Options {
    pub(super) driver: Config,
    pub(super) tls: Option<MakeRustlsConnect>,
    /// How long making one may take.
    pub(super) connect: Duration,
}

impl Options {
    pub(super) fn new(settings: &Settings) -> Result<Self, DbError> {
        let url = Url::parse(&settings.url)?;
        url.check_options(&SERVED, "means nothing for PostgreSQL")?;
        if let Some(encoding) = url.option("client_encoding")
            && !["utf8", "utf-8", "unicode"].contains(&encoding.to_ascii_lowercase().as_str())
        {
            return Err(DbError::Url(format!(
                "the database URL has client_encoding={encoding}, but names may hold any character; use utf8"
            )));
        }
        let (tls, mode) = tls::connector(&url)?;
        // libpq counts whole seconds, of which 0 sets no limit.
        let connect = url.seconds("connect_timeout")?.filter(|limit| !limit.is_zero());
        let mut driver = Config::new();
        driver.ssl_mode(mode);
        place(&mut driver, &url)?;
        driver.application_name(url.option("application_name").unwrap_or("isospin"));
        if let Some(options) = url.option("options") {
            driver.options(options);
        }
        driver.keepalives(url.flag("keepalives")?.unwrap_or(true));
        if let Some(idle) = url.seconds("keepalives_idle")? {
            driver.keepalives_idle(idle);
        }
        if let Some(timeout) = url.option("tcp_user_timeout").and_then(|text| text.parse().ok()) {
            driver.tcp_user_timeout(Duration::from_millis(timeout));
        }
        Ok(Self { driver, tls, connect: connect.unwrap_or(Duration::from_secs(10)) })
    }
}

/// Where the server is and who asks. A host that is a path is the directory of a socket.
fn place(driver: &mut Config, url: &Url) -> Result<(), DbError> {
    driver.host(url.option("host").unwrap_or(&url.host)).dbname(url.option("dbname").unwrap_or(&url.database));
    if let Some(user) = url.option("user").or(url.user.as_deref()) {
        driver.user(user);
    }
    if let Some(password) = url.option("password").or(url.password.as_deref()) {
        driver.password(password);
    }
    let port = match url.option("port") {
        None => url.port,
        Some(text) => {
            let wrong = |_| DbError::Url(format!("the database URL has port={text}, which is no port"));
            Some(text.parse().map_err(wrong)?)
        }
    };
    if let Some(port) = port {
        driver.port(port);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::{Host, SslMode};

    use super::*;

    fn options(text: &str) -> Result<Options, String> {
        Options::new(&Settings::new(text)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_place_comes_from_the_url_and_its_options() {
        let found = options("postgresql+psycopg2://u:p@h:5433/d?connect_timeout=3&sslmode=disable").unwrap();
        assert_eq!(found.driver.get_hosts(), [Host::Tcp("h".to_owned())]);
        assert_eq!((found.driver.get_ports(), found.driver.get_dbname()), (&[5433][..], Some("d")));
        assert_eq!((found.connect.as_secs(), found.tls.is_none()), (3, true));
        let socket = options("postgresql://u@/d?host=/run/postgresql&port=6000").unwrap();
        assert_eq!(socket.driver.get_hosts(), [Host::Unix("/run/postgresql".into())]);
        assert_eq!(socket.driver.get_ports(), [6000]);
    }

    #[test]
    fn encryption_is_preferred_unless_told_otherwise() {
        let mode = |query: &str| options(&format!("postgresql://u@h/d{query}")).map(|o| o.driver.get_ssl_mode());
        assert_eq!(mode("").unwrap(), SslMode::Prefer);
        assert_eq!(mode("?sslmode=disable").unwrap(), SslMode::Disable);
        assert_eq!(mode("?sslmode=require").unwrap(), SslMode::Require);
        assert!(mode("?sslmode=verify-full").unwrap_err().contains("sslrootcert"));
        assert!(mode("?sslmode=always").unwrap_err().contains("sslmode=always"));
        assert!(mode("?colour=red").unwrap_err().contains("'colour'"));
        assert!(mode("?client_encoding=latin1").unwrap_err().contains("latin1"));
    }
}
