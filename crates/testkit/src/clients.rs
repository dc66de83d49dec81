//! Other people's clients: python-openstackclient and openstacksdk, in the environment that `scripts/set-up` makes.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::standalone::Service;

/// The environment.
#[derive(Debug)]
pub struct Clients {
    directory: PathBuf,
}

impl Clients {
    /// Where `scripts/set-up test` has put it.
    pub fn find() -> Result<Self> {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        let directory = variable("ISOSPIN_CLIENTS").or_else(|| Some(cache?.join("isospin/clients")));
        let directory = directory.context("neither ISOSPIN_CLIENTS nor HOME is set")?;
        if !directory.join("bin/openstack").is_file() {
            bail!("no OpenStack clients in {}; run scripts/set-up test", directory.display());
        }
        Ok(Self { directory })
    }

    /// The program `openstack`.
    pub fn program(&self) -> PathBuf {
        self.directory.join("bin/openstack")
    }

    /// Runs `openstack` once against a service, through its clouds.yaml.
    pub fn openstack(&self, service: &Service, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command("openstack", service);
        Ok(command.arg("--os-cloud").arg("isospin").args(arguments).stdin(Stdio::null()).output()?)
    }

    /// Runs `openstack` once with the cloud that these variables tell of, and no other.
    pub fn openstack_with(&self, variables: &[(&str, String)], arguments: &[&str]) -> Result<Output> {
        let mut command = self.plain("openstack");
        // No file of the user's is looked for.
        command.env("OS_CLIENT_CONFIG_FILE", "/dev/null").envs(variables.iter().map(|(name, value)| (name, value)));
        Ok(command.args(arguments).stdin(Stdio::null()).output()?)
    }

    /// Runs a Python script against a service, with a text on its standard input, and returns what it printed.
    pub fn python(&self, service: &Service, script: &Path, input: &str) -> Result<String> {
        let mut command = self.command("python", service);
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start Python")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(input.as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("{} failed ({}):\n{said}\n{error}", script.display(), output.status);
        }
        Ok(said)
    }

    /// A program of the environment that knows the cloud of the service and no other.
    fn command(&self, program: &str, service: &Service) -> Command {
        let mut command = self.plain(program);
        command.env("OS_CLIENT_CONFIG_FILE", service.clouds());
        command
    }

    /// A program of the environment that knows no cloud.
    fn plain(&self, program: &str) -> Command {
        let mut command = Command::new(self.directory.join("bin").join(program));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OS_")) {
            command.env_remove(name);
        }
        command.env("PYTHONWARNINGS", "ignore");
        // The environment is shared with everybody; nothing of a test belongs into it.
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
        command
    }
}
