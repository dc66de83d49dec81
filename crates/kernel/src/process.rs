//! Programs that run beside us: started inside a namespace, found again after a restart, watched, and ended.
//!
//! A program that goes into the background (dnsmasq, keepalived, radvd) is known by its pid file and nothing else. What
//! this module promises:
//!
//! * **A process is only ours if it says so.** The pid in a file proves nothing, because pids are reused; a [`Process`]
//!   exists only when the command line of that pid names the owner's id, as upstream's process manager requires.
//! * **A signal reaches that process or none.** Every [`Process`] holds a pidfd that was opened *before* the command
//!   line was read, so a pid that is reused later can be neither signalled nor taken for alive.
//! * **Exit is an event**, whoever the parent is: [`Process::exited`] waits on the pidfd, and no timer looks at `/proc`.
//!
//! It does not decide when something is started again; [`Respawn`] only says how long to wait.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{fs::MetadataExt, fs::PermissionsExt},
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::wait::{WaitPidFlag, waitpid},
    unistd::Pid,
};

use parking_lot::Mutex;
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::Command,
    time::timeout,
};

use crate::netns::Namespace;

pub use nix::sys::signal::Signal;

/// How long a process may take to end by itself after SIGTERM.
pub const TERMINATE_GRACE: Duration = Duration::from_secs(5);

/// Where programs of the system administrator are found even when `PATH` does not name it.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What programs took, by their names.
static SPENT: Mutex<BTreeMap<String, Spent>> = Mutex::new(BTreeMap::new());

/// How often a program was run, and how long that was waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// How often.
    pub runs: u64,
    /// In all of them.
    pub time: Duration,
}

/// What can go wrong with a program.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program is on none of the usual paths.
    #[error("the program '{0}' is not installed")]
    NotInstalled(String),
    /// It could not be started at all.
    #[error("cannot start '{program}'")]
    Start {
        /// What was to be started.
        program: String,
        /// Why it was not.
        source: io::Error,
    },
    /// It ran and said that it failed.
    #[error("'{program}' failed with {status}: {message}")]
    Failed {
        /// What was started.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it wrote to its error output.
        message: String,
    },
    /// It neither ended nor went into the background in time.
    #[error("'{program}' did not finish within {limit:?}")]
    Slow {
        /// What was started.
        program: String,
        /// How long was waited.
        limit: Duration,
    },
    /// It survived SIGKILL, as a process in uninterruptible sleep does.
    #[error("process {0} does not end")]
    Stubborn(i32),
    /// The kernel refused to say or do something about a process.
    #[error("cannot {action} process {pid}")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// On which process.
        pid: i32,
        /// Why not.
        source: io::Error,
    },
}

/// A live process that names its owner.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    watch: AsyncFd<OwnedFd>,
}

/// When a process that ended may be started again.
///
/// The first death is answered at once, so that service is back within milliseconds. A process that keeps dying young
/// is started at growing intervals, because each start costs more than it gives.
#[derive(Debug, Default)]
pub struct Respawn {
    young_deaths: u32,
}

impl Respawn {
    /// A process that lived this long was healthy.
    const HEALTHY: Duration = Duration::from_secs(10);
    /// Wait after the second young death in a row; doubles with each further one.
    const STEP: Duration = Duration::from_millis(100);
    /// The longest wait.
    const MAX: Duration = Duration::from_secs(30);

    /// How long to wait after a process that lived for `lived` has ended.
    pub fn delay(&mut self, lived: Duration) -> Duration {
        if lived >= Self::HEALTHY {
            self.young_deaths = 0;
            return Duration::ZERO;
        }
        self.young_deaths = self.young_deaths.saturating_add(1);
        match self.young_deaths {
            1 => Duration::ZERO,
            deaths => Self::STEP.saturating_mul(1 << (deaths - 2).min(16)).min(Self::MAX),
        }
    }
}

impl Process {
    /// The process of `pid_file`, if it lives and its command line contains `owner`.
    pub fn find(pid_file: &Path, owner: &str) -> Result<Option<Self>, ProcessError> {
        let Some(pid) = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<i32>().ok()) else {
            return Ok(None);
        };
        Self::of_pid(pid, owner)
    }

    /// The process `pid`, if it lives and its command line contains `owner`.
    pub fn of_pid(pid: i32, owner: &str) -> Result<Option<Self>, ProcessError> {
        if pid <= 1 {
            return Ok(None);
        }
        let Some(fd) = pidfd_open(pid)? else { return Ok(None) };
        let watch = watch(fd).map_err(|source| ProcessError::Kernel { action: "watch", pid, source })?;
        let process = Self { pid, watch };
        // A zombie has an empty command line, so a process that ended but was not reaped does not count either.
        Ok(process.arguments().iter().any(|argument| argument.contains(owner)).then_some(process))
    }

    /// Every process with exactly this argument. Reads the command lines of the whole machine, so it is for cases where
    /// the pid file cannot be relied on.
    pub fn search(argument: &str) -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            line.split(|byte| *byte == 0).any(|part| part == argument.as_bytes()).then_some(pid)
        })
        .filter_map(|pid| Self::of_pid(pid, argument).ok().flatten())
        .collect()
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its command line; empty once it has ended.
    pub fn arguments(&self) -> Vec<String> {
        let Ok(bytes) = fs::read(format!("/proc/{}/cmdline", self.pid)) else { return Vec::new() };
        let text = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        if text.is_empty() {
            return Vec::new();
        }
        text.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    }

    /// Whether it runs in the network namespace that carries this name now.
    ///
    /// A namespace that was deleted and made again under its old name is another one, and a process left in the former
    /// serves nobody.
    pub fn is_in(&self, namespace: &Namespace) -> bool {
        let inode = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
        let own = inode(Path::new(&format!("/proc/{}/ns/net", self.pid)));
        own.is_some() && own == inode(namespace.path())
    }

    /// Waits until it has ended.
    pub async fn exited(&self) {
        // An error can only come from the runtime going away, and then nobody waits.
        let _ = self.watch.readable().await;
        self.reap();
    }

    /// Whether it has ended.
    pub fn has_exited(&self) -> bool {
        let ended = pidfd_signal(self.watch.get_ref(), 0).is_err() || self.arguments().is_empty();
        if ended {
            self.reap();
        }
        ended
    }

    /// Sends a signal; a process that has already ended is no error.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        match pidfd_signal(self.watch.get_ref(), signal as i32) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other.map_err(|source| ProcessError::Kernel { action: "signal", pid: self.pid, source }),
        }
    }

    /// Ends it: SIGTERM, and SIGKILL if it still lives after `grace`. Returns when it is gone.
    pub async fn terminate(self, grace: Duration) -> Result<(), ProcessError> {
        self.signal(Signal::SIGTERM)?;
        if timeout(grace, self.exited()).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(pid = self.pid, "process did not end {grace:?} after SIGTERM, sending SIGKILL");
        self.signal(Signal::SIGKILL)?;
        timeout(grace, self.exited()).await.map_err(|_| ProcessError::Stubborn(self.pid))
    }

    /// Takes it out of the process table when it is our child, as it is when we are the first process of a container.
    fn reap(&self) {
        let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
    }
}

/// Runs a command in a namespace (`None`: the caller's own) until it ends or has gone into the background.
///
/// What it prints as an error goes nowhere but into the error; a command that takes longer than `limit` is killed.
pub async fn run(namespace: Option<&Namespace>, command: &[String], limit: Duration) -> Result<(), ProcessError> {
    execute(namespace, command, None, Stdio::null(), limit).await.map(drop)
}

/// [`run`], and what the command printed.
pub async fn output(
    namespace: Option<&Namespace>,
    command: &[String],
    limit: Duration,
) -> Result<String, ProcessError> {
    let printed = execute(namespace, command, None, Stdio::piped(), limit).await?;
    Ok(String::from_utf8_lossy(&printed).into_owned())
}

/// [`run`] with a text on standard input.
pub async fn run_with_input(
    namespace: Option<&Namespace>,
    command: &[String],
    input: &str,
    limit: Duration,
) -> Result<(), ProcessError> {
    execute(namespace, command, Some(input), Stdio::null(), limit).await.map(drop)
}

async fn execute(
    namespace: Option<&Namespace>,
    command: &[String],
    input: Option<&str>,
    // A pipe only where it is read: a program in the background may keep it open.
    stdout: Stdio,
    limit: Duration,
) -> Result<Vec<u8>, ProcessError> {
    let [program, arguments @ ..] = command else { return Ok(Vec::new()) };
    let path = which(program).ok_or_else(|| ProcessError::NotInstalled(program.clone()))?;
    let mut command = Command::new(path);
    command.arg0(program).args(arguments).kill_on_drop(true);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(stdout).stderr(Stdio::piped());

    let failed = |source| ProcessError::Start { program: program.clone(), source };
    let began = Instant::now();
    let mut child = spawn_in(namespace, command).map_err(failed)?;
    let work = async {
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            tokio::io::AsyncWriteExt::write_all(&mut stdin, text.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = timeout(limit, work).await;
    note(program, began.elapsed());
    let output = output.map_err(|_| ProcessError::Slow { program: program.clone(), limit })?.map_err(failed)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ProcessError::Failed { program: program.clone(), status: output.status, message })
}

fn note(program: &str, time: Duration) {
    let mut all = SPENT.lock();
    let spent = all.entry(program.to_owned()).or_default();
    spent.runs += 1;
    spent.time += time;
}

/// What the programs took that this process has run until they ended or went into the background.
pub fn spent() -> BTreeMap<String, Spent> {
    SPENT.lock().clone()
}

/// A child inherits the namespace of the thread that makes it.
fn spawn_in(namespace: Option<&Namespace>, mut command: Command) -> io::Result<tokio::process::Child> {
    let Some(namespace) = namespace else { return command.spawn() };
    let runtime = tokio::runtime::Handle::current();
    namespace
        .run(move || {
            let _entered = runtime.enter();
            command.spawn()
        })
        .map_err(io::Error::other)?
}

/// The file that would be run for a program's name.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    find_program(program, &path)
}

fn find_program(program: &str, path: &OsStr) -> Option<PathBuf> {
    let runnable =
        |file: &PathBuf| fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(runnable);
    }
    std::env::split_paths(path)
        .chain(std::env::split_paths(SYSTEM_PATH))
        .map(|directory| directory.join(program))
        .find(runnable)
}

/// A descriptor for a process; `None` when there is no such process.
#[allow(unsafe_code)]
fn pidfd_open(pid: i32) -> Result<Option<OwnedFd>, ProcessError> {
    // SAFETY: takes two integers; the result is checked before it is used as a descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        let source = io::Error::last_os_error();
        return match source.raw_os_error() {
            Some(libc::ESRCH) => Ok(None),
            _ => Err(ProcessError::Kernel { action: "open", pid, source }),
        };
    }
    // SAFETY: the kernel has just given us this descriptor (close-on-exec by definition) and nobody else has it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

/// The runtime's handle on a descriptor that becomes readable when its process ends.
#[allow(unsafe_code)]
fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the handle owns the descriptor and closes it only after it has left the runtime's poll set; an OwnedFd
    // always gives the same descriptor.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

#[allow(unsafe_code)]
fn pidfd_signal(fd: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call, and a null siginfo is allowed.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, std::ptr::null::<libc::c_void>(), 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
