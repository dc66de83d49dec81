//! A private MariaDB: its own data directory and port, gone when dropped.

use std::path::PathBuf;

use anyhow::Result;

use crate::instance::{Instance, Place, program};

/// A running server with an empty database `neutron`.
#[derive(Debug)]
pub struct MariaDb {
    instance: Instance,
}

impl MariaDb {
    /// Makes the data directory, starts the server and waits until it answers. Blocks for about a second.
    pub fn start() -> Result<Self> {
        let directories = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"].map(PathBuf::from);
        let place = Place::for_account("mysql")?;
        let data = format!("--datadir={}", place.path("data").display());
        let install = program("mariadb-install-db", &directories)?;
        let mut command = place.command(&install, "install")?;
        command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", &data]);
        place.run(&mut command, "install")?;
        std::fs::write(place.path("init.sql"), INIT)?;
        let mut command = place.command(&program("mariadbd", &directories)?, "mariadbd")?;
        command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", &data]);
        command.arg(format!("--port={}", place.port));
        command.arg(format!("--socket={}", place.path("socket").display()));
        command.arg(format!("--init-file={}", place.path("init.sql").display()));
        // Tests need its rules, not its durability.
        command.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M", "--max-connections=300"]);
        Ok(Self { instance: place.start(&mut command, "mariadbd")? })
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

const INIT: &str = "\
CREATE DATABASE neutron CHARACTER SET utf8;
CREATE USER 'neutron'@'127.0.0.1' IDENTIFIED BY 'secret';
GRANT ALL ON *.* TO 'neutron'@'127.0.0.1';
";
