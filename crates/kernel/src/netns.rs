//! Network namespaces, kept exactly as `ip netns` keeps them: a bind mount per name under one directory.
//!
//! No thread of the program's runtime ever changes its namespace. Whatever must happen inside one (opening a socket,
//! writing a sysctl, starting a child) happens on a thread of its own that lives for that one call; a socket stays in
//! the namespace it was opened in, so the runtime can use it from then on.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use crate::{Error, Netlink, Result};

/// Where `ip netns` keeps its names.
pub const DIRECTORY: &str = "/run/netns";

/// A network namespace: that of this process, or one that a file stands for. Naming it does not open or create it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace(Option<Arc<Path>>);

/// The machine: one namespace to call its root and a directory of named ones.
///
/// Outside tests these are the namespace of the process and `/run/netns`. A test gives a namespace of its own as root
/// and a directory of its own, and has a machine to itself.
#[derive(Debug, Clone)]
pub struct System {
    root: Namespace,
    directory: Arc<Path>,
}

impl Namespace {
    /// The namespace this process runs in.
    pub const CURRENT: Self = Self(None);

    /// The namespace that the file at `path` stands for.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(Some(path.into().into()))
    }

    /// The file that stands for it.
    pub fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new("/proc/self/ns/net"))
    }

    /// It is the namespace this process runs in.
    pub fn is_current(&self) -> bool {
        self.0.is_none()
    }

    /// The name `ip netns` shows; none for the namespace of this process.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()?.file_name()?.to_str()
    }

    /// Which namespace the name stands for now: another one when it was deleted and made again. None when there is no
    /// such namespace.
    pub fn identity(&self) -> Option<(u64, u64)> {
        fs::metadata(self.path()).ok().map(|found| (found.dev(), found.ino()))
    }

    /// Runs `work` inside, on a thread of its own. A child process started by `work` is born inside and stays.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        if self.is_current() {
            return Ok(work());
        }
        let file = self.open_file()?;
        let entered = thread::scope(|scope| {
            let thread = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, || {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            });
            match thread.map(|thread| thread.join()) {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(Errno::EFAULT),
                Err(error) => Err(error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw)),
            }
        });
        entered.map_err(|errno| Error::new("enter namespace", self.path().display().to_string(), errno))
    }

    /// A netlink handle on the inside. Must be called from within a tokio runtime, which then serves the handle.
    pub fn open(&self) -> Result<Netlink> {
        Netlink::open(self)
    }

    /// The open file, for a request that names the namespace by descriptor.
    pub(crate) fn open_file(&self) -> Result<File> {
        let path = self.path();
        File::open(path).map_err(|error| Error::io("open namespace", path.display().to_string(), &error))
    }
}

impl System {
    /// This machine as the process sees it.
    pub fn current() -> Self {
        Self { root: Namespace::CURRENT, directory: Path::new(DIRECTORY).into() }
    }

    /// A machine whose root is `root` and whose named namespaces lie in `directory`.
    pub fn within(root: Namespace, directory: impl Into<PathBuf>) -> Self {
        Self { root, directory: directory.into().into() }
    }

    /// Its root namespace.
    pub fn root(&self) -> Namespace {
        self.root.clone()
    }

    /// The namespace of that name, whether or not it exists.
    pub fn namespace(&self, name: &str) -> Namespace {
        Namespace::at(self.directory.join(name))
    }

    /// The names that exist, sorted.
    pub fn namespaces(&self) -> Result<Vec<String>> {
        let failed = |error: &io::Error| Error::io("list namespaces in", self.directory.display().to_string(), error);
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed(&error))?;
            names.extend(entry.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Whether a namespace of that name exists.
    pub fn namespace_exists(&self, name: &str) -> bool {
        self.directory.join(name).exists()
    }

    /// Creates a namespace with its loopback down. Fails with `EEXIST` when the name is taken.
    pub fn namespace_create(&self, name: &str) -> Result<Namespace> {
        let path = self.directory.join(name);
        let object = || path.display().to_string();
        self.prepare_directory()?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| Error::io("create namespace", object(), &error))?;
        let made = thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            });
            made.join().unwrap_or(Err(Errno::EFAULT))
        });
        made.map_err(|errno| {
            // Without the mount the file is an empty name that nothing could enter.
            let _ = fs::remove_file(&path);
            Error::new("create namespace", object(), errno)
        })?;
        Ok(Namespace::at(path))
    }

    /// Removes the name. The namespace itself ends with the last process and socket inside. Gone already is success.
    pub fn namespace_delete(&self, name: &str) -> Result<()> {
        let path = self.directory.join(name);
        let failed = |errno| Error::new("delete namespace", path.display().to_string(), errno);
        match umount2(&path, MntFlags::MNT_DETACH) {
            // EINVAL: a file without a mount, left by a creation that was cut short.
            Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
            Err(errno) => return Err(failed(errno)),
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("delete namespace", path.display().to_string(), &error))
            }
            _ => Ok(()),
        }
    }

    /// Makes the directory a shared mount point of its own, as iproute2 does, so that names made in one mount namespace
    /// are seen (and can be deleted) in the others. The lock keeps two programs from stacking mounts.
    fn prepare_directory(&self) -> Result<()> {
        let directory = &*self.directory;
        let failed = |errno| Error::new("prepare namespace directory", directory.display().to_string(), errno);
        let failed_io = |e: io::Error| failed(e.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
        fs::create_dir_all(directory).map_err(failed_io)?;
        let handle = File::open(directory).map_err(failed_io)?;
        let _lock = Flock::lock(handle, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno))?;
        let share = || {
            let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
            mount(Some(""), directory, Some("none"), flags, None::<&str>)
        };
        match share() {
            Err(Errno::EINVAL) => {
                let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
                mount(Some(directory), directory, Some("none"), flags, None::<&str>).map_err(failed)?;
                share().map_err(failed)
            }
            other => other.map_err(failed),
        }
    }
}
