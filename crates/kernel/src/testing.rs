//! A machine of its own for each test: a namespace to be root and a directory for named ones.
//!
//! Everything is removed when the value is dropped, also by a failing test; what a killed test left behind, the next
//! one removes.

mod wire;

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::{
    mount::{MntFlags, umount2},
    unistd::Pid,
};

pub use wire::Wire;

use crate::process::Signal;
use crate::{Errno, Error, LinkChange, Namespace, Netlink, NewKind, NewLink, Result, System};

const BASE: &str = "/run";
const PREFIX: &str = "isospin-test-";
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A test's own machine.
pub struct Machine {
    /// What an agent on that machine is given.
    pub system: System,
    base: PathBuf,
}

impl Machine {
    /// A new machine with its loopback up. Needs root and a tokio runtime.
    pub async fn new() -> Result<Self> {
        sweep();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = Path::new(BASE).join(format!("{PREFIX}{}-{number}", std::process::id()));
        // One of a killed process that had this number before.
        if base.exists() {
            remove(&base);
        }
        let root = System::within(Namespace::CURRENT, &base).namespace_create("root")?;
        let machine = Self { system: System::within(root, base.join("netns")), base };
        machine.netlink()?.link_set("lo", &LinkChange::up()).await?;
        Ok(machine)
    }

    /// A handle on its root namespace.
    pub fn netlink(&self) -> Result<Netlink> {
        self.system.root().open()
    }

    /// A directory for files of the test, removed with the machine.
    pub fn directory(&self) -> &Path {
        &self.base
    }

    /// Plugs an instance in as a hypervisor would: a namespace named `instance` whose `eth0` is the far end of `tap`.
    pub async fn plug(&self, instance: &str, tap: &str) -> Result<Namespace> {
        let namespace = match self.system.namespace_exists(instance) {
            true => self.system.namespace(instance),
            false => self.system.namespace_create(instance)?,
        };
        let settings = Box::new(LinkChange::up().in_namespace(&namespace));
        let kind = NewKind::Veth { peer: "eth0".to_owned(), settings };
        let link = NewLink { name: tap.to_owned(), kind, settings: LinkChange::up() };
        self.netlink()?.link_create(&link).await?;
        Ok(namespace)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        remove(&self.base);
    }
}

/// Whether `count` echo requests, 10 ms apart, were all answered.
pub fn ping(from: &Namespace, to: IpAddr, count: u32) -> bool {
    unanswered(from, to, count) == 0
}

/// How many of `count` echo requests, 10 ms apart, were not answered.
pub fn unanswered(from: &Namespace, to: IpAddr, count: u32) -> u32 {
    let mut command = Command::new("ping");
    command.args(["-n", "-q", "-i", "0.01", "-W", "1", "-c", &count.to_string(), &to.to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(Ok(output)) = from.run(|| command.output()) else { return count };
    let text = String::from_utf8_lossy(&output.stdout);
    let before = text.split(" received").next().and_then(|text| text.rsplit(' ').next());
    count.saturating_sub(before.and_then(|number| number.parse().ok()).unwrap_or(0))
}

/// Sends a signal to a process that the test has started and not yet waited for.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let failed = |errno| Error::new("signal process", pid.to_string(), errno);
    let pid = i32::try_from(pid).map_err(|_| failed(Errno::ESRCH))?;
    nix::sys::signal::kill(Pid::from_raw(pid), signal).map_err(failed)
}

/// Removes machines whose process is gone.
fn sweep() {
    let Ok(entries) = fs::read_dir(BASE) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            remove(&entry.path());
        }
    }
}

fn remove(base: &Path) {
    let netns = base.join("netns");
    for directory in [netns.as_path(), base] {
        let system = System::within(Namespace::CURRENT, directory);
        for name in system.namespaces().unwrap_or_default() {
            if directory.join(&name).is_file() {
                let _ = system.namespace_delete(&name);
            }
        }
        let _ = umount2(directory, MntFlags::MNT_DETACH);
    }
    let _ = fs::remove_dir_all(base);
}
