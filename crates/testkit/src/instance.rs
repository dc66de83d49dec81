//! What all private servers have in common: a directory, a port and a process, gone when the value is dropped.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::chown,
            net::{SocketAddr as LocalAddress, UnixListener},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// How long a server may take to answer, on a machine busy with other tests.
const START: Duration = Duration::from_secs(90);

/// First of the ports for servers, below those that the kernel gives to clients.
const FIRST_PORT: u32 = 12_000;
/// How many there are.
const PORTS: u32 = 20_000;

/// A port of the loopback interface that nothing listens on. No two calls get the same, of other programs of tests
/// neither, and connections, whose ports the kernel draws from others, cannot take it before the server does.
pub fn free_port() -> io::Result<u16> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Processes start at different places.
    let start = std::process::id().wrapping_mul(101);
    let ports =
        std::iter::repeat_with(|| start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % PORTS + FIRST_PORT);
    let ports = ports.take(PORTS as usize).filter_map(|port| u16::try_from(port).ok());
    let mut free = ports.filter(|port| is_ours(*port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.next().ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))
}

/// Takes a port's name, which only one process can have, for as long as this one lives.
fn is_ours(port: u16) -> bool {
    static NAMES: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let name = LocalAddress::from_abstract_name(format!("isospin-test-port-{port}"));
    let taken = name.and_then(|name| UnixListener::bind_addr(&name));
    taken.map(|name| NAMES.lock().unwrap_or_else(PoisonError::into_inner).push(name)).is_ok()
}

/// A server process and its directory. Dropping it, also while a panic unwinds, ends the one and removes the other.
#[derive(Debug)]
pub struct Instance {
    /// The port it listens on.
    pub port: u16,
    child: Child,
    /// How it was started, to start it again.
    command: Command,
    name: String,
    /// How to ask it to end, for servers whose children would outlive a kill.
    stop: Option<Command>,
    directory: TempDir,
}

/// Where a server will live, before it runs.
#[derive(Debug)]
pub struct Place {
    /// The directory, owned by `user`.
    pub directory: TempDir,
    /// The port to listen on.
    pub port: u16,
    user: Option<(u32, u32)>,
}

impl Place {
    /// A new directory and a free port, for a server that root cannot run as itself but as the given account.
    pub fn for_account(account: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("isospin-test-").tempdir()?;
        let user = if is_root() { Some(ids(account)?) } else { None };
        if let Some((uid, gid)) = user {
            chown(directory.path(), Some(uid), Some(gid))?;
        }
        Ok(Self { directory, port: free_port()?, user })
    }

    /// The path of something in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a directory in it that the account owns.
    pub(crate) fn make_directory(&self, name: &str) -> Result<()> {
        std::fs::create_dir(self.path(name))?;
        if let Some((uid, gid)) = self.user {
            chown(self.path(name), Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// User and group that it runs as, if not as ourselves.
    pub(crate) fn user(&self) -> Option<(u32, u32)> {
        self.user
    }

    /// A command that runs as the account, with its output in `name.log`.
    pub fn command(&self, program: &Path, name: &str) -> Result<Command> {
        let log = File::create(self.path(&format!("{name}.log")))?;
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).env("LC_ALL", "C").stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        Ok(command)
    }

    /// Runs a preparation to its end.
    pub fn run(&self, command: &mut Command, name: &str) -> Result<()> {
        let status = command.status().with_context(|| format!("{name} could not be started"))?;
        if !status.success() {
            bail!("{name} failed ({status}): {}", self.log(name));
        }
        Ok(())
    }

    /// Starts the server and waits until its port answers.
    pub fn start(self, command: &mut Command, name: &str) -> Result<Instance> {
        let child = command.spawn().with_context(|| format!("{name} could not be started"))?;
        let (command, name) = (std::mem::replace(command, Command::new("true")), name.to_owned());
        let mut instance = Instance { port: self.port, child, command, name, stop: None, directory: self.directory };
        instance.wait()?;
        Ok(instance)
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }
}

impl Instance {
    /// Ends it with this command instead of a kill.
    pub fn stop_with(mut self, stop: Command) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it at once, as a crash would; its data stay.
    pub fn kill(&mut self) -> Result<()> {
        self.end();
        Ok(())
    }

    /// Starts it again after [`Instance::kill`] and waits until its port answers.
    pub fn resume(&mut self) -> Result<()> {
        self.child = self.command.spawn().with_context(|| format!("{} could not be started", self.name))?;
        self.wait()
    }

    fn wait(&mut self) -> Result<()> {
        let log = self.directory.path().join(format!("{}.log", self.name));
        let deadline = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                bail!(
                    "{} does not answer (ended: {ended:?}): {}",
                    self.name,
                    std::fs::read_to_string(&log).unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn end(&mut self) {
        let asked = self.stop.as_mut().is_some_and(|stop| stop.status().is_ok_and(|status| status.success()));
        if !asked {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Instance {
    /// The data is thrown away, so there is nothing to shut down in good order.
    fn drop(&mut self) {
        self.end();
    }
}

/// The first of the directories that holds the program.
pub fn program(name: &str, directories: &[PathBuf]) -> Result<PathBuf> {
    let found = directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not installed (looked in {directories:?})"))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// User and group number of an account.
fn ids(account: &str) -> Result<(u32, u32)> {
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    for line in accounts.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [name, _, uid, gid, ..] = fields.as_slice()
            && *name == account
        {
            return Ok((uid.parse()?, gid.parse()?));
        }
    }
    bail!("there is no account {account}; its server is not installed")
}
