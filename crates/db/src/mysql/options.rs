//! From the URL and the settings to what the driver wants. The options are PyMySQL's, with its defaults.

use std::{path::PathBuf, time::Duration};

use mysql_async::{ClientIdentity, Opts, OptsBuilder, SslOpts};

use crate::{DbError, Settings, url::Url};

/// Statements kept prepared by all connections of a pool: a server allows 16,382 in all, and has several clients.
const STATEMENT_CACHE: usize = 5_000;
/// Options that are served.
const SERVED: [&str; 16] = [
    "charset",
    "collation",
    "connect_timeout",
    "read_timeout",
    "write_timeout",
    "init_command",
    "sql_mode",
    "unix_socket",
    "ssl_ca",
    "ssl_cert",
    "ssl_key",
    "ssl_verify_cert",
    "ssl_verify_identity",
    "ssl_check_hostname",
    "ssl_disabled",
    "ssl_mode",
];
/// Options that say how the Python driver works inside, and mean nothing here.
const HARMLESS: [&str; 7] =
    ["use_unicode", "binary_prefix", "local_infile", "program_name", "max_allowed_packet", "autocommit", "plugin"];
/// Character sets in which our texts, which are UTF-8, arrive as they are.
const CHARSETS: [&str; 4] = ["utf8", "utf8mb3", "utf8mb4", "utf-8"];

/// What connections are made with.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) driver: Opts,
    /// How long making one may take.
    pub(super) connect: Duration,
    /// How long a statement may take.
    pub(super) statement: Option<Duration>,
}

impl Options {
    pub(super) fn new(settings: &Settings) -> Result<Self, DbError> {
        let url = Url::parse(&settings.url)?;
        let known: Vec<&str> = SERVED.into_iter().chain(HARMLESS).collect();
        url.check_options(&known, "means nothing for MySQL")?;
        let cached = settings.max_open().map_or(0, |open| STATEMENT_CACHE / open.max(1)).clamp(16, 200);
        let mut builder = OptsBuilder::default()
            .ip_or_hostname(url.host.clone())
            .user(url.user.clone())
            .pass(url.password.clone())
            .db_name(Some(url.database.clone()))
            .socket(url.option("unix_socket"))
            .prefer_socket(Some(false))
            .stmt_cache_size(Some(cached))
            .client_found_rows(true)
            .ssl_opts(tls(&url)?)
            .setup(setup(&url, settings)?);
        if let Some(port) = url.port {
            builder = builder.tcp_port(port);
        }
        let timeouts = [url.seconds("read_timeout")?, url.seconds("write_timeout")?];
        Ok(Self {
            driver: builder.into(),
            connect: url.seconds("connect_timeout")?.unwrap_or(Duration::from_secs(10)),
            statement: timeouts.into_iter().flatten().max(),
        })
    }
}

/// A join that gathers rows of one table before it looks for those of the next loses their order: then a page of a long
/// list, in the order of an index, is cut off the whole list, read and sorted. MariaDB and MySQL have a setting each, and
/// neither reads the other's.
const IN_ORDER: [&str; 2] = [
    "/*M!100000 SET SESSION join_cache_level = 0 */",
    "/*!80000 SET SESSION optimizer_switch = 'block_nested_loop=off' */",
];

/// What each session is set to before its first transaction.
fn setup(url: &Url, settings: &Settings) -> Result<Vec<String>, DbError> {
    let mut statements = Vec::new();
    if let Some(charset) = url.option("charset") {
        if !CHARSETS.contains(&charset.to_ascii_lowercase().as_str()) {
            return Err(DbError::Url(format!(
                "the database URL has charset={charset}, but names may hold any character; use utf8 or utf8mb4"
            )));
        }
        let collation = url.option("collation").map(|name| Ok(format!(" COLLATE {}", word(name)?))).transpose()?;
        let names = charset.replace('-', "");
        statements.push(format!("SET NAMES {names}{}", collation.unwrap_or_default()));
    } else if let Some(collation) = url.option("collation") {
        statements.push(format!("SET SESSION collation_connection = {}", word(collation)?));
    }
    let mut variables = Vec::new();
    if let Some(mode) = url.option("sql_mode").or(settings.mysql_sql_mode.as_deref()) {
        variables.push(format!("sql_mode = '{}'", mode.replace('\\', "").replace('\'', "''")));
    }
    if let Some(wait) = settings.mysql_wsrep_sync_wait {
        variables.push(format!("wsrep_sync_wait = {wait}"));
    }
    variables.push("autocommit = 1".to_owned());
    statements.push(format!("SET SESSION {}", variables.join(", ")));
    statements.extend(IN_ORDER.map(str::to_owned));
    statements.extend(url.option("init_command").map(str::to_owned));
    Ok(statements)
}

/// A name that stands in a statement as it is.
fn word(name: &str) -> Result<&str, DbError> {
    match name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => Ok(name),
        false => Err(DbError::Url(format!("the database URL has collation={name}, which is no name of one"))),
    }
}

/// TLS if any of its options is given. As with PyMySQL the certificate is checked when there is an authority to check
/// it by, and the server's name in it only when `ssl_verify_identity` or `ssl_check_hostname` asks for that.
fn tls(url: &Url) -> Result<Option<SslOpts>, DbError> {
    let path = |name: &str| url.option(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let (ca, cert, key) = (path("ssl_ca"), path("ssl_cert"), path("ssl_key"));
    for (name, path) in [("ssl_ca", &ca), ("ssl_cert", &cert), ("ssl_key", &key)] {
        if let Some(path) = path
            && let Err(error) = std::fs::metadata(path)
        {
            return Err(DbError::Url(format!("the database URL has {name}={}: {error}", path.display())));
        }
    }
    let mode = url.option("ssl_mode").map(str::to_ascii_uppercase);
    let (verify, identity) = (url.flag("ssl_verify_cert")?, url.flag("ssl_verify_identity")?);
    let identity = identity.or(url.flag("ssl_check_hostname")?).unwrap_or(mode.as_deref() == Some("VERIFY_IDENTITY"));
    let wanted = ca.is_some() || cert.is_some() || verify.is_some() || identity || mode.is_some();
    if !wanted || url.flag("ssl_disabled")? == Some(true) || mode.as_deref() == Some("DISABLED") {
        return Ok(None);
    }
    let checked = verify.unwrap_or(ca.is_some()) || identity;
    let identity_of_ours = match (cert, key) {
        (Some(cert), Some(key)) => Some(ClientIdentity::new(cert.into(), key.into())),
        (None, None) => None,
        _ => return Err(DbError::Url("the database URL wants both ssl_cert and ssl_key, or neither".to_owned())),
    };
    let roots: Vec<_> = ca.into_iter().map(Into::into).collect();
    let tls = SslOpts::default()
        .with_disable_built_in_roots(!roots.is_empty())
        .with_root_certs(roots)
        .with_client_identity(identity_of_ours)
        .with_danger_accept_invalid_certs(!checked)
        .with_danger_skip_domain_validation(!identity);
    Ok(Some(tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(query: &str) -> Result<Options, String> {
        Options::new(&Settings::new(format!("mysql+pymysql://u:p@h:3307/d{query}"))).map_err(|e| e.to_string())
    }

    #[test]
    fn sessions_are_set_up_as_the_url_and_the_options_say() {
        let plain = options("").unwrap();
        let wanted = ["SET SESSION sql_mode = 'TRADITIONAL', autocommit = 1", IN_ORDER[0], IN_ORDER[1]];
        assert_eq!(plain.driver.setup(), wanted);
        assert!(plain.driver.ssl_opts().is_none() && plain.statement.is_none());
        let url = "?charset=utf8mb4&collation=utf8mb4_bin&read_timeout=3&connect_timeout=4&unix_socket=/s";
        let mut settings = Settings::new(format!("mysql://u@/d{url}"));
        (settings.mysql_sql_mode, settings.mysql_wsrep_sync_wait) = (None, Some(7));
        let set = Options::new(&settings).unwrap();
        let wanted = ["SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET SESSION wsrep_sync_wait = 7, autocommit = 1"];
        assert_eq!(set.driver.setup(), [&wanted[..], &IN_ORDER[..]].concat());
        assert_eq!((set.connect.as_secs(), set.statement.map(|s| s.as_secs())), (4, Some(3)));
        assert_eq!(set.driver.socket(), Some("/s"));
    }

    #[test]
    fn certificates_are_checked_when_there_is_an_authority() {
        let tls = |query: &str| options(query).unwrap().driver.ssl_opts().cloned();
        let here = "/etc/passwd";
        let checked = tls(&format!("?ssl_ca={here}")).unwrap();
        assert!(
            !checked.accept_invalid_certs() && checked.skip_domain_validation() && checked.disable_built_in_roots()
        );
        let named = tls(&format!("?ssl_ca={here}&ssl_verify_identity=true")).unwrap();
        assert!(!named.skip_domain_validation());
        let any = tls("?ssl_mode=REQUIRED").unwrap();
        assert!(any.accept_invalid_certs());
        assert!(tls(&format!("?ssl_ca={here}&ssl_disabled=true")).is_none());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (query, word) in [
            ("?colour=red", "'colour'"),
            ("?charset=latin1", "latin1"),
            ("?ssl_ca=/nowhere/ca.pem", "/nowhere/ca.pem"),
            ("?ssl_cert=/etc/passwd", "both ssl_cert and ssl_key"),
            ("?charset=utf8&collation=a;b", "a;b"),
            ("?read_timeout=soon", "read_timeout=soon"),
        ] {
            let error = options(query).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
