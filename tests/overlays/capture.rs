//! What is on the wire, counted by `tcpdump`.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use kernel::Namespace;
use testkit::process::{Signal, signal};

/// Counts packets that fit a filter, until it is asked how many.
pub(crate) struct Capture {
    child: Child,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Capture {
    pub(crate) fn start(inside: &Namespace, link: &str, filter: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("packets");
        let mut command = Command::new("tcpdump");
        command.args(["--immediate-mode", "-U", "-n", "-Z", "root", "-i", link, "-w"]).arg(&file).arg(filter);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = inside.run(|| command.spawn())?.context("tcpdump is not installed")?;
        let said = BufReader::new(child.stderr.take().context("it has an output")?);
        let listens = said.lines().map_while(Result::ok).any(|line| line.contains("listening on"));
        ensure!(listens, "tcpdump does not listen");
        Ok(Self { child, file, _directory: directory })
    }

    /// How many there were.
    pub(crate) fn stop(mut self) -> Result<Vec<String>> {
        signal(self.child.id(), Signal::SIGINT)?;
        self.child.wait()?;
        let output = Command::new("tcpdump").args(["-n", "-r"]).arg(&self.file).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
