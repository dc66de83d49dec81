//! An authority and certificates of it, made by `openssl` for one test.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::instance::Place;

/// An authority (`ca.pem`), a server's certificate for the loopback address (`server.pem`, `server.key`), a client's
/// (`client.pem`, `client.key`), and an authority that nobody should trust (`other.pem`).
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes them. `name` is the host name that the server's certificate holds beside its address, if it holds any.
    pub fn make(names: &str) -> Result<Self> {
        let made = Self { directory: tempfile::Builder::new().prefix("isospin-test-").tempdir()? };
        fs::set_permissions(made.directory.path(), fs::Permissions::from_mode(0o755))?;
        for authority in ["ca", "other"] {
            let (key, pem) = (format!("{authority}.key"), format!("{authority}.pem"));
            made.openssl(&["-subj", &format!("/CN=Test authority {authority}"), "-keyout", &key, "-out", &pem])?;
        }
        let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"];
        let names = format!("subjectAltName={names}");
        let server = ["-subj", "/CN=server", "-addext", &names, "-keyout", "server.key", "-out", "server.pem"];
        made.openssl(&[&by[..], &server[..]].concat())?;
        let client = ["-subj", "/CN=certified", "-keyout", "client.key", "-out", "client.pem"];
        made.openssl(&[&by[..], &client[..]].concat())?;
        Ok(made)
    }

    /// The path of one of the files.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Copies authority, certificate and key of the server to where its account reads them.
    pub(crate) fn install(&self, place: &Place) -> Result<[String; 3]> {
        let mut installed = Vec::new();
        for name in ["ca.pem", "server.pem", "server.key"] {
            let target = place.path(name);
            fs::copy(self.directory.path().join(name), &target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600))?;
            if let Some((user, group)) = place.user() {
                chown(&target, Some(user), Some(group))?;
            }
            installed.push(target.display().to_string());
        }
        installed.try_into().ok().context("three files")
    }

    fn openssl(&self, arguments: &[&str]) -> Result<()> {
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
        let mut command = Command::new(PathBuf::from("openssl"));
        command.current_dir(self.directory.path()).args(["req", "-x509"]).args(key).args(arguments);
        let output = command.output().context("openssl could not be started")?;
        if !output.status.success() {
            bail!("openssl failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}
