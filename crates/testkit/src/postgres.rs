//! A private PostgreSQL: its own data directory and port, gone when dropped.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, bail};

use crate::{
    certificates::Certificates,
    instance::{Instance, Place, program},
};

/// A running server with an empty database `postgres`.
#[derive(Debug)]
pub struct Postgres {
    instance: Instance,
    /// The program that asks whether it takes logins.
    ready: PathBuf,
}

/// Nobody gets in without TLS, nor `certified` without a certificate.
const HBA: &str = "\
hostssl all certified all trust clientcert=verify-ca
hostssl all all all trust
";

impl Postgres {
    /// Makes the data directory, starts the server and waits until it answers. Blocks for about a second.
    pub fn start() -> Result<Self> {
        Self::start_with(None)
    }

    /// The same, with TLS alone, and the role `certified` for those who show a certificate.
    pub fn start_with_tls(certificates: &Certificates) -> Result<Self> {
        Self::start_with(Some(certificates))
    }

    fn start_with(certificates: Option<&Certificates>) -> Result<Self> {
        let directories = directories();
        let place = Place::for_account("postgres")?;
        let data = place.path("data").display().to_string();
        let mut command = place.command(&program("initdb", &directories)?, "initdb")?;
        command.args(["--username=neutron", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D", &data]);
        place.run(&mut command, "initdb")?;
        let mut stop = place.command(&program("pg_ctl", &directories)?, "stop")?;
        stop.args(["stop", "-m", "immediate", "-D", &data]);
        let ready = program("pg_isready", &directories)?;
        let mut command = place.command(&program("postgres", &directories)?, "postgres")?;
        let sockets = format!("unix_socket_directories={}", place.directory.path().display());
        let port = format!("port={}", place.port);
        command.args(["-D", &data]);
        // Tests need its rules, not its durability.
        for setting in ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=300", &sockets, &port] {
            command.args(["-c", setting]);
        }
        if let Some(certificates) = certificates {
            let [ca, cert, key] = certificates.install(&place)?;
            for (name, path) in [("ssl_ca_file", ca), ("ssl_cert_file", cert), ("ssl_key_file", key)] {
                command.args(["-c", &format!("{name}={path}")]);
            }
            command.args(["-c", "ssl=on"]);
            std::fs::write(place.path("data/pg_hba.conf"), HBA)?;
        }
        let instance = place.start(&mut command, "postgres")?.stop_with(stop);
        wait_until_ready(&ready, instance.port)?;
        Ok(Self { instance, ready })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.instance.port).into()
    }

    /// The directory of its socket.
    pub fn sockets(&self) -> &Path {
        self.instance.directory()
    }

    /// Ends it as a crash would; [`Postgres::resume`] starts it again on the same data.
    pub fn kill(&mut self) -> Result<()> {
        self.instance.kill()
    }

    /// Starts it again.
    pub fn resume(&mut self) -> Result<()> {
        self.instance.resume()?;
        wait_until_ready(&self.ready, self.instance.port)
    }

    /// The connection text of its database.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The connection text of another database of the server.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgresql://neutron@127.0.0.1:{}/{database}", self.instance.port)
    }
}

/// The port answers before the server takes logins.
fn wait_until_ready(pg_isready: &Path, port: u16) -> Result<()> {
    for _ in 0..500 {
        let port = port.to_string();
        let output = Command::new(pg_isready).args(["-q", "-h", "127.0.0.1", "-p", &port]).status()?;
        if output.success() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("PostgreSQL takes no logins");
}

/// Debian keeps each major version apart; the newest wins.
fn directories() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    paths.sort();
    paths.reverse();
    paths.push("/usr/bin".into());
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_leaves_nothing() {
        let seen = std::sync::Mutex::new(None);
        let result = std::panic::catch_unwind(|| {
            let server = Postgres::start().unwrap();
            *seen.lock().unwrap() = Some((server.instance.directory().to_path_buf(), server.instance.port));
            let _other = server;
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(result.is_err());
        let (directory, port) = seen.into_inner().unwrap().unwrap();
        assert!(!directory.exists());
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}
