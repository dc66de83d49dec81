//! A private PostgreSQL: its own data directory and port, gone when dropped.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, bail};

use crate::instance::{Instance, Place, program};

/// A running server with an empty database `postgres`.
#[derive(Debug)]
pub struct Postgres {
    instance: Instance,
}

impl Postgres {
    /// Makes the data directory, starts the server and waits until it answers. Blocks for about a second.
    pub fn start() -> Result<Self> {
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
        let instance = place.start(&mut command, "postgres")?.stop_with(stop);
        wait_until_ready(&ready, instance.port)?;
        Ok(Self { instance })
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
