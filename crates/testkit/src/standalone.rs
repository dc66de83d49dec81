//! The program itself as a service: `isospin standalone` (or `server`) with a state directory and a port of its own.
//!
//! It is always ended with the value, also while a panic unwinds; then the end of its log is shown. A test that went
//! well calls [`Service::finish`], which wants an orderly end and a log without errors.

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use kernel::Namespace;
use tempfile::TempDir;

use crate::{
    http::Client,
    instance::free_port,
    process::{self, Signal},
};

/// How long the service may take to start or to end, on a machine busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of the log a failing test shows.
const SHOWN: usize = 60;
/// What a log of a healthy service never holds.
const MARKS: [&str; 4] = ["panicked at", "stack backtrace", "Traceback", " ERROR "];

/// How to start a service.
#[derive(Debug)]
pub struct Plan {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    configuration: String,
    inside: Namespace,
}

/// A service with a directory of its own, which is running unless it was stopped or killed.
#[derive(Debug)]
pub struct Service {
    plan: Plan,
    directory: TempDir,
    child: Option<Child>,
    address: String,
    /// From the start of the process to its line that it answers.
    pub started_in: Duration,
}

impl Plan {
    /// `isospin standalone`, from the built program: `env!("CARGO_BIN_EXE_isospin")` in a test.
    pub fn standalone(program: impl Into<PathBuf>) -> Self {
        let arguments = vec!["standalone".to_owned()];
        let (environment, configuration) = (Vec::new(), String::new());
        Self { program: program.into(), arguments, environment, configuration, inside: Namespace::CURRENT }
    }

    /// `isospin standalone --api-only`, which needs no root.
    pub fn api_only(program: impl Into<PathBuf>) -> Self {
        Self::standalone(program).argument("--api-only")
    }

    /// `isospin server`, on the database that its configuration names.
    pub fn server(program: impl Into<PathBuf>) -> Self {
        let plan = Self::standalone(program);
        Self { arguments: vec!["server".to_owned()], ..plan }
    }

    fn is_server(&self) -> bool {
        self.arguments.first().is_some_and(|subcommand| subcommand == "server")
    }

    /// One more argument.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// A variable of its environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The text of a configuration file.
    pub fn configuration(mut self, text: &str) -> Self {
        text.clone_into(&mut self.configuration);
        self
    }

    /// The namespace that is its host.
    pub fn inside(mut self, namespace: Namespace) -> Self {
        self.inside = namespace;
        self
    }

    /// Starts it and waits until it answers.
    pub fn start(self) -> Result<Service> {
        let directory = tempfile::Builder::new().prefix("isospin-test-").tempdir()?;
        fs::write(directory.path().join("isospin.conf"), &self.configuration)?;
        let mut service =
            Service { plan: self, directory, child: None, address: String::new(), started_in: Duration::ZERO };
        service.start()?;
        Ok(service)
    }
}

impl Service {
    /// Starts it again, on the same state.
    pub fn start(&mut self) -> Result<()> {
        if self.plan.is_server() {
            return self.start_server();
        }
        let began = Instant::now();
        let mut child = self.spawn(&self.command("127.0.0.1:0"))?;
        let output = child.stdout.take().context("no standard output")?;
        self.child = Some(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        self.started_in = began.elapsed();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split([';', ' ', '\n', '/']).next());
        let Some(address) = address else {
            bail!("the service did not start; it said {line:?} and its log ends:\n{}", self.log_end())
        };
        address.clone_into(&mut self.address);
        Ok(())
    }

    /// A server says that it answers in its log only, so it is asked.
    fn start_server(&mut self) -> Result<()> {
        let began = Instant::now();
        self.address = format!("127.0.0.1:{}", free_port()?);
        self.child = Some(self.spawn(&self.command(&self.address))?);
        while self.client().connect().is_err() {
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || began.elapsed() > PATIENCE {
                bail!("the server did not start (ended: {ended:?}); its log ends:\n{}", self.log_end());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.started_in = began.elapsed();
        Ok(())
    }

    /// The command that it is started by, but for the port. For a second one on the same state, for instance.
    pub fn command(&self, bind: &str) -> Vec<String> {
        let path = |path: PathBuf| path.display().to_string();
        let mut words = vec![path(self.plan.program.clone())];
        words.extend(self.plan.arguments.iter().cloned());
        words.extend(["--bind".to_owned(), bind.to_owned()]);
        words.extend(["--config-file".to_owned(), path(self.directory.path().join("isospin.conf"))]);
        words.extend(["--log-file".to_owned(), path(self.log_path())]);
        if !self.plan.is_server() {
            words.extend(["--state-dir".to_owned(), path(self.state_dir())]);
        }
        words
    }

    fn spawn(&self, words: &[String]) -> Result<Child> {
        let [program, arguments @ ..] = words else { bail!("no command") };
        let mut command = Command::new(program);
        command.args(arguments).envs(self.plan.environment.iter().map(|(name, value)| (name, value)));
        let said = fs::File::options().create(true).append(true).open(self.directory.path().join("stderr"))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said);
        self.plan.inside.run(|| command.spawn())?.with_context(|| format!("cannot start {program}"))
    }

    /// A client, with a connection of its own.
    pub fn client(&self) -> Client {
        Client::new(self.address.clone(), self.plan.inside.clone())
    }

    /// `host:port` of the API.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it was told to keep its state in.
    pub fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// A directory for files of the test, removed with the service.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The file that OpenStack clients find the cloud `isospin` in.
    pub fn clouds(&self) -> PathBuf {
        self.state_dir().join("clouds.yaml")
    }

    /// Where it logs.
    pub fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// All that it has logged, and said on standard error.
    pub fn log(&self) -> String {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        read(self.log_path()) + &read(self.directory.path().join("stderr"))
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Memory it holds now, in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        let pid = self.pid().context("the service does not run")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        process::signal(self.pid().context("the service does not run")?, signal)?;
        Ok(())
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let child = self.child.as_mut().context("the service does not run")?;
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            if began.elapsed() > PATIENCE {
                bail!("the service does not end");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it as a service manager does.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait()
    }

    /// Ends it wherever it stands.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Lines of the log that a healthy service does not write.
    pub fn faults(&self) -> Vec<String> {
        let log = self.log();
        log.lines().filter(|line| MARKS.iter().any(|mark| line.contains(mark))).map(str::to_owned).collect()
    }

    /// Ends it, and fails unless the end was orderly and the log is clean.
    pub fn finish(mut self) -> Result<()> {
        let status = self.terminate()?;
        if !status.success() {
            bail!("the service ended with {status}; its log ends:\n{}", self.log_end());
        }
        match self.faults() {
            faults if faults.is_empty() => Ok(()),
            faults => bail!("the log has {} faults:\n{}", faults.len(), faults.join("\n")),
        }
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the log of the service ends:\n{}", self.log_end());
        }
    }
}
