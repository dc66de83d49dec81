//! A private MariaDB: its own data directory and port, gone when dropped.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
};

use anyhow::{Result, ensure};

use crate::{
    certificates::Certificates,
    galera::Ports,
    instance::{Instance, Place, program},
};

/// A running server with an empty database `neutron`.
#[derive(Debug)]
pub struct MariaDb {
    instance: Instance,
}

impl MariaDb {
    /// Makes the data directory, starts the server and waits until it answers. Blocks for about a second.
    pub fn start() -> Result<Self> {
        Self::start_with(&[], None)
    }

    /// The same, speaking TLS with these certificates, of its clients too.
    pub fn start_with_tls(certificates: &Certificates) -> Result<Self> {
        Self::start_with(&["--require-secure-transport=ON"], Some(certificates))
    }

    /// A node of a cluster that another one has begun, or that it begins. Who joins is given everything by the others.
    pub(crate) fn start_node(ports: Ports, first: Option<Ports>) -> Result<Self> {
        let place = Place::for_account("mysql")?;
        if first.is_none() {
            install(&place)?;
        } else {
            place.make_directory("data")?;
        }
        let mut command = serving(&place)?;
        command.args(ports.arguments(first, &place));
        Ok(Self { instance: place.start(&mut command, "mariadbd")? })
    }

    fn start_with(arguments: &[&str], certificates: Option<&Certificates>) -> Result<Self> {
        let place = Place::for_account("mysql")?;
        install(&place)?;
        let mut command = serving(&place)?;
        command.args(arguments);
        if let Some(certificates) = certificates {
            let [ca, cert, key] = certificates.install(&place)?;
            command.args([format!("--ssl-ca={ca}"), format!("--ssl-cert={cert}"), format!("--ssl-key={key}")]);
        }
        Ok(Self { instance: place.start(&mut command, "mariadbd")? })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.instance.port).into()
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.instance.directory().join("socket")
    }

    /// Ends it as a crash would; [`MariaDb::resume`] starts it again on the same data.
    pub fn kill(&mut self) -> Result<()> {
        self.instance.kill()
    }

    /// Starts it again.
    pub fn resume(&mut self) -> Result<()> {
        self.instance.resume()
    }

    /// The rows that statements give, their columns parted by tabs, from the command-line client.
    pub fn query(&self, statements: &str) -> Result<Vec<String>> {
        let client = program("mariadb", &["/usr/bin", "/usr/local/bin"].map(PathBuf::from))?;
        let socket = format!("--socket={}", self.socket().display());
        let arguments =
            ["--no-defaults", "--batch", "--skip-column-names", &socket, "-uroot", "neutron", "-e", statements];
        let output = Command::new(client).args(arguments).output()?;
        ensure!(output.status.success(), "{statements}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// The connection text of the database `neutron`.
    pub fn url(&self) -> String {
        self.url_of("neutron")
    }

    /// The connection text of another database of the server.
    pub fn url_of(&self, database: &str) -> String {
        format!("mysql+pymysql://neutron:secret@127.0.0.1:{}/{database}?charset=utf8", self.instance.port)
    }
}

fn directories() -> [PathBuf; 3] {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin"].map(PathBuf::from)
}

/// Makes the data directory, and what is run in it at each start.
fn install(place: &Place) -> Result<()> {
    let mut command = place.command(&program("mariadb-install-db", &directories())?, "install")?;
    // A server that starts removes what it takes for remains of its own in the directory for temporary files.
    command.env("TMPDIR", place.directory.path());
    command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    command.arg(format!("--datadir={}", place.path("data").display()));
    place.run(&mut command, "install")?;
    std::fs::write(place.path("init.sql"), INIT)?;
    Ok(())
}

/// What starts the server in a place.
fn serving(place: &Place) -> Result<Command> {
    let mut command = place.command(&program("mariadbd", &directories())?, "mariadbd")?;
    command.env("TMPDIR", place.directory.path());
    command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
    command.arg(format!("--datadir={}", place.path("data").display()));
    command.arg(format!("--port={}", place.port));
    command.arg(format!("--socket={}", place.path("socket").display()));
    let init = place.path("init.sql");
    if init.is_file() {
        command.arg(format!("--init-file={}", init.display()));
    }
    // Tests need its rules, and what is committed when it is killed, but no power cut.
    command.args(["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M", "--max-connections=300"]);
    Ok(command)
}

const INIT: &str = "\
CREATE DATABASE IF NOT EXISTS neutron CHARACTER SET utf8;
CREATE USER IF NOT EXISTS 'neutron'@'127.0.0.1' IDENTIFIED BY 'secret';
GRANT ALL ON *.* TO 'neutron'@'127.0.0.1';
CREATE USER IF NOT EXISTS 'neutron'@'localhost' IDENTIFIED BY 'secret';
GRANT ALL ON *.* TO 'neutron'@'localhost';
CREATE USER IF NOT EXISTS 'certified'@'127.0.0.1' IDENTIFIED BY 'secret' REQUIRE X509;
GRANT ALL ON *.* TO 'certified'@'127.0.0.1';
";
