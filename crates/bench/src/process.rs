//! Our own server as a child: how soon it answers, and how much memory it holds.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyper::Method;
use tokio::process::{Child, Command};

use crate::endpoint::{Call, Endpoint};

/// How long a start may take at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that was started for this run, on a fresh database in a directory of its own.
pub(crate) struct Server {
    child: Child,
    directory: tempfile::TempDir,
    /// Where it answers.
    pub(crate) url: String,
    first_start: Duration,
    second_start: Duration,
    resident_idle: Option<u64>,
}

/// What starting and running it took.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// From the start to the first answer, with a database to create.
    pub(crate) first_start: Duration,
    /// The same with the database there.
    pub(crate) second_start: Duration,
    /// Resident memory after the start, in KiB.
    pub(crate) resident_idle: Option<u64>,
    /// Resident memory after the tests of throughput.
    pub(crate) resident_serving: Option<u64>,
    /// Resident memory after a network grew.
    pub(crate) resident_grown: Option<u64>,
}

/// What is known of the processes of an endpoint that somebody else started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running {
    /// The first of them; the others are its descendants.
    pub(crate) process: Option<u32>,
    /// How long it took to its first answer.
    pub(crate) started: Option<Duration>,
    /// The most resident memory seen of all of them, in KiB.
    pub(crate) resident: Option<u64>,
}

impl Running {
    /// Looks at their memory.
    pub(crate) fn look(&mut self) {
        self.resident = self.resident.max(self.process.and_then(resident_of_all));
    }
}

/// Resident memory of a process and its descendants, in KiB.
fn resident_of_all(process: u32) -> Option<u64> {
    let own = resident_kib(process)?;
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| resident_of_all(child.parse().ok()?));
    Some(own + children.sum::<u64>())
}

fn resident_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Server {
    /// Starts the program twice, the second time to stay.
    pub(crate) async fn start(program: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("isospin-bench-").tempdir()?;
        let config = directory.path().join("bench.conf");
        let unlimited = "[quotas]\nquota_port = -1\nquota_network = -1\nquota_subnet = -1\nquota_security_group = -1\n";
        std::fs::write(&config, unlimited).with_context(|| format!("cannot write {}", config.display()))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let (mut child, first_start) = launch(program, directory.path(), port).await?;
        stop(&mut child).await?;
        let (child, second_start) = launch(program, directory.path(), port).await?;
        let mut server = Self {
            child,
            directory,
            url: format!("http://127.0.0.1:{port}"),
            first_start,
            second_start,
            resident_idle: None,
        };
        server.resident_idle = server.resident_kib();
        Ok(server)
    }

    /// Resident memory now, in KiB.
    pub(crate) fn resident_kib(&self) -> Option<u64> {
        resident_kib(self.child.id()?)
    }

    /// What is known so far.
    pub(crate) fn facts(&self) -> Facts {
        Facts {
            first_start: self.first_start,
            second_start: self.second_start,
            resident_idle: self.resident_idle,
            resident_serving: self.resident_kib(),
            resident_grown: None,
        }
    }

    /// Stops it and removes its directory.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        stop(&mut self.child).await?;
        Ok(self.directory.close()?)
    }
}

async fn launch(program: &Path, directory: &Path, port: u16) -> anyhow::Result<(Child, Duration)> {
    let address = format!("127.0.0.1:{port}");
    let log = std::fs::File::create(directory.join("server.log"))?;
    let begin = Instant::now();
    let mut child = Command::new(program)
        .arg("standalone")
        .arg("--api-only")
        .args(["--bind", &address])
        .arg("--state-dir")
        .arg(directory.join("state"))
        .arg("--config-file")
        .arg(directory.join("bench.conf"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let endpoint = Endpoint::new("isospin", &format!("http://{address}"), None)?;
    loop {
        let answer = endpoint.connection().send(&Call::bare(Method::GET, "networks")).await;
        if matches!(answer, Ok((200, _))) {
            return Ok((child, begin.elapsed()));
        }
        if let Some(status) = child.try_wait()? {
            let said = std::fs::read_to_string(directory.join("server.log")).unwrap_or_default();
            bail!("{} ended with {status}:\n{said}", program.display());
        }
        if begin.elapsed() > PATIENCE {
            bail!("{} did not answer on {address} within {} s", program.display(), PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Ends the child as an operator would, and by force if it does not heed.
async fn stop(child: &mut Child) -> anyhow::Result<()> {
    if let Some(id) = child.id() {
        Command::new("kill").arg(id.to_string()).status().await.context("cannot run kill")?;
    }
    if tokio::time::timeout(Duration::from_secs(10), child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(())
}
