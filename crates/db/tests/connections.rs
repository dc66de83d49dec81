//! How connections are made, bounded, encrypted and lost, against real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

use std::{thread, time::Duration};

use isospin_db::{Database, DbError, Reconnect, Settings};
use testkit::{certificates::Certificates, mariadb::MariaDb, postgres::Postgres};

const QUICK: Duration = Duration::from_millis(200);

async fn scalar(database: &Database, text: &str) -> Result<String, DbError> {
    database.reader().await?.sql(text, vec![]).await?[0].get(0)
}

/// What one statement gives on the database at this URL, or the whole chain of what went wrong.
async fn ask(url: &str, text: &str) -> Result<String, String> {
    let told = |error: DbError| {
        assert!(!error.to_string().contains("secret"), "{error}");
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    };
    let mut settings = Settings::new(url);
    settings.wait = Duration::from_secs(5);
    let database = Database::connect(&settings).await.map_err(told)?;
    scalar(&database, text).await.map_err(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_speaks_tls_as_the_url_says() {
    let certificates = Certificates::make("DNS:localhost").unwrap();
    let server = MariaDb::start_with_tls(&certificates).unwrap();
    let path = |name: &str| certificates.path(name);
    let cipher = "SELECT CAST(VARIABLE_VALUE AS CHAR) FROM information_schema.SESSION_STATUS \
                  WHERE VARIABLE_NAME = 'SSL_VERSION'";
    let ask = async |query: &str| ask(&format!("{}{query}", server.url()), cipher).await;

    let ca = format!("&ssl_ca={}", path("ca.pem"));
    assert!(ask(&ca).await.unwrap().starts_with("TLS"), "the authority is known");
    assert!(ask("&ssl_mode=REQUIRED").await.unwrap().starts_with("TLS"), "nothing is checked");
    ask("").await.expect_err("the server takes nobody without TLS");
    ask(&format!("&ssl_ca={}", path("other.pem"))).await.expect_err("another authority");
    ask(&format!("{ca}&ssl_verify_identity=true")).await.expect_err("the certificate does not hold the address");

    let certified = server.url().replace("neutron:secret@", "certified:secret@");
    let identity = format!("{ca}&ssl_cert={}&ssl_key={}", path("client.pem"), path("client.key"));
    self::ask(&format!("{certified}{ca}"), cipher).await.expect_err("it wants a certificate");
    assert!(self::ask(&format!("{certified}{identity}"), cipher).await.unwrap().starts_with("TLS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_speaks_tls_as_the_url_says() {
    let certificates = Certificates::make("DNS:localhost").unwrap();
    let server = Postgres::start_with_tls(&certificates).unwrap();
    let path = |name: &str| certificates.path(name);
    let version = "SELECT version::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let ask = async |query: &str| ask(&format!("{}{query}", server.url()), version).await;

    for mode in ["", "?sslmode=prefer", "?sslmode=require"] {
        assert!(ask(mode).await.unwrap().starts_with("TLS"), "{mode}");
    }
    let root = |name: &str, mode: &str| format!("?sslmode={mode}&sslrootcert={}", path(name));
    assert!(ask(&root("ca.pem", "verify-ca")).await.unwrap().starts_with("TLS"));
    ask("?sslmode=disable").await.expect_err("the server takes nobody without TLS");
    ask(&root("other.pem", "verify-ca")).await.expect_err("another authority");
    ask(&root("other.pem", "require")).await.expect_err("an authority that is named counts");
    ask(&root("ca.pem", "verify-full")).await.expect_err("the certificate does not hold the address");
    let named = server.url().replace("127.0.0.1", "localhost");
    let full = self::ask(&format!("{named}{}", root("ca.pem", "verify-full")), version).await;
    assert!(full.unwrap().starts_with("TLS"));

    let certified = server.url().replace("neutron@", "certified@");
    let database = Database::connect(&Settings::new(server.url())).await.unwrap();
    let mut tx = database.begin().await.unwrap();
    tx.execute("CREATE ROLE certified LOGIN", vec![]).await.unwrap();
    tx.commit().await.unwrap();
    let identity = format!("?sslmode=require&sslcert={}&sslkey={}", path("client.pem"), path("client.key"));
    self::ask(&format!("{certified}?sslmode=require"), version).await.expect_err("it wants a certificate");
    assert!(self::ask(&format!("{certified}{identity}"), version).await.unwrap().starts_with("TLS"));
}

/// What both servers must do; `busy` counts our connections.
async fn are_bounded_and_replaced(url: &str, busy: &str) {
    let mut settings = Settings::new(url);
    (settings.max_pool_size, settings.max_overflow, settings.wait) = (1, Some(1), Duration::from_secs(3));
    let database = Database::connect(&settings).await.unwrap();
    let (mut one, mut two) = (database.begin().await.unwrap(), database.reader().await.unwrap());
    one.sql("SELECT 1", vec![]).await.unwrap();
    assert_eq!(two.sql(busy, vec![]).await.unwrap()[0].get::<i64>(0).unwrap(), 2);
    let error = database.reader().await.unwrap_err();
    assert!(matches!(error, DbError::Unavailable { .. }), "{error:?}");
    drop((one, two));
    scalar(&database, "SELECT 'free'").await.unwrap();

    settings.max_age = Some(Duration::ZERO);
    let database = Database::connect(&settings).await.unwrap();
    let own = if url.starts_with("mysql") { "SELECT CONNECTION_ID()" } else { "SELECT pg_backend_pid()" };
    let number = async || -> i64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        database.reader().await.unwrap().sql(own, vec![]).await.unwrap()[0].get(0).unwrap()
    };
    assert_ne!(number().await, number().await, "each is too old for a second use");
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_is_used_as_configured_and_comes_back() {
    let mut server = MariaDb::start().unwrap();
    let busy = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'neutron'";
    are_bounded_and_replaced(&server.url(), busy).await;

    let setting = async |query: &str, name: &str| {
        ask(&format!("{}{query}", server.url()), &format!("SELECT CAST(@@SESSION.{name} AS CHAR)")).await.unwrap()
    };
    assert!(setting("", "sql_mode").await.contains("STRICT_ALL_TABLES"));
    assert_eq!(setting("&sql_mode=ANSI_QUOTES", "sql_mode").await, "ANSI_QUOTES");
    assert_eq!(setting("&collation=utf8_bin", "collation_connection").await, "utf8mb3_bin");
    assert_eq!(setting("&init_command=SET%20SESSION%20lock_wait_timeout=77", "lock_wait_timeout").await, "77");
    let socket = format!("mysql+pymysql://neutron:secret@/neutron?unix_socket={}", server.socket().display());
    assert!(ask(&socket, "SELECT CURRENT_USER()").await.unwrap().ends_with("@localhost"));

    let began = std::time::Instant::now();
    let slow = ask(&format!("{}&read_timeout=1", server.url()), "SELECT CAST(SLEEP(60) AS CHAR)").await;
    assert!(slow.unwrap_err().contains("read_timeout") && began.elapsed() < Duration::from_secs(50));
    let nobody = ask("mysql://neutron:secret@127.0.0.1:1/neutron?connect_timeout=2", "SELECT 1").await;
    assert!(nobody.unwrap_err().starts_with("the database is not available"));

    let database = Database::connect(&Settings::new(server.url())).await.unwrap();
    let kill: fn(&mut MariaDb) = |server| server.kill().unwrap();
    let resume: fn(&mut MariaDb) = |server| server.resume().unwrap();
    comes_back(&database, &mut server, kill, resume).await;
    waits_for(&server.url(), &mut server, kill, resume).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_used_as_configured_and_comes_back() {
    let mut server = Postgres::start().unwrap();
    let busy = "SELECT COUNT(*) FROM pg_stat_activity WHERE usename = 'neutron' AND application_name = 'isospin'";
    are_bounded_and_replaced(&server.url(), busy).await;

    let show = async |query: &str, name: &str| {
        ask(&format!("{}{query}", server.url()), &format!("SELECT current_setting('{name}')")).await.unwrap()
    };
    assert_eq!(show("?application_name=mine", "application_name").await, "mine");
    assert_eq!(show("?options=-c%20statement_timeout=77s", "statement_timeout").await, "77s");
    let port = server.address().port();
    let socket = format!("postgresql://neutron@/postgres?host={}&port={port}", server.sockets().display());
    assert_eq!(ask(&socket, "SELECT COALESCE(inet_client_addr()::text, 'socket')").await.unwrap(), "socket");

    let database = Database::connect(&Settings::new(server.url())).await.unwrap();
    let kill: fn(&mut Postgres) = |server| server.kill().unwrap();
    let resume: fn(&mut Postgres) = |server| server.resume().unwrap();
    comes_back(&database, &mut server, kill, resume).await;
    waits_for(&server.url(), &mut server, kill, resume).await;
}

/// A restart costs those in a transaction an error that they may repeat, and nobody else anything.
async fn comes_back<S>(database: &Database, server: &mut S, kill: fn(&mut S), resume: fn(&mut S)) {
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut reader = database.reader().await.unwrap();
        reader.sql("SELECT 1", vec![]).await.unwrap();
        readers.push(reader);
    }
    let mut victim = readers.pop().unwrap();
    drop(readers);
    tokio::time::sleep(QUICK).await;
    kill(server);
    let error = victim.sql("SELECT 1", vec![]).await.unwrap_err();
    assert!(matches!(error, DbError::Lost { .. }), "{error:?}");
    drop(victim);
    let error = scalar(database, "SELECT 'nobody'").await.unwrap_err();
    assert!(matches!(error, DbError::Unavailable { .. }), "{error:?}");
    resume(server);
    for _ in 0..6 {
        assert_eq!(scalar(database, "SELECT 'back'").await.unwrap(), "back");
    }
    // Idle connections that broke while nobody looked are no error either.
    kill(server);
    resume(server);
    assert_eq!(scalar(database, "SELECT 'again'").await.unwrap(), "again");
}

/// `use_db_reconnect`: who asks while the server is away waits for it.
async fn waits_for<S: Send>(url: &str, server: &mut S, kill: fn(&mut S), resume: fn(&mut S)) {
    let mut settings = Settings::new(url);
    settings.reconnect = Reconnect { attempts: Some(1000), pause: Duration::from_millis(50), longest: QUICK };
    let database = Database::connect(&settings).await.unwrap();
    kill(server);
    let text = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(QUICK);
            resume(server);
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(scalar(&database, "SELECT 'patience'"))
        })
    });
    assert_eq!(text.unwrap(), "patience");
}
