//! What the kernel refused, to which object, and with which errno.

use nix::errno::Errno;
use rtnetlink::Error as Netlink;

/// One request the kernel refused. The errno is the source; the text names the action and the object.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {action} {object}")]
pub struct Error {
    action: &'static str,
    object: String,
    #[source]
    errno: Errno,
}

/// The result of asking the kernel for something.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `action` is a verb phrase that fits after "cannot": "create bridge".
    pub fn new(action: &'static str, object: impl Into<String>, errno: Errno) -> Self {
        Self { action, object: object.into(), errno }
    }

    /// A refusal of ours: the object was looked for and does not exist.
    pub fn missing(action: &'static str, object: impl Into<String>) -> Self {
        Self::new(action, object, Errno::ENODEV)
    }

    /// The kernel's own answer.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// The object of the request.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// The object, or one that the request refers to, does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self.errno, Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::ENXIO | Errno::EADDRNOTAVAIL)
    }

    /// The object exists already.
    pub fn is_existing(&self) -> bool {
        self.errno == Errno::EEXIST
    }

    /// The object is not of the kind that the request is for.
    pub fn is_invalid(&self) -> bool {
        self.errno == Errno::EINVAL
    }

    pub(crate) fn io(action: &'static str, object: impl Into<String>, error: &std::io::Error) -> Self {
        Self::new(action, object, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }

    pub(crate) fn netlink(action: &'static str, object: impl Into<String>, error: &Netlink) -> Self {
        let errno = match error {
            Netlink::NetlinkError(refusal) => Errno::from_raw(refusal.code.map_or(0, |code| -code.get())),
            Netlink::RequestFailed => Errno::ENOTCONN,
            _ => Errno::EPROTO,
        };
        Self::new(action, object, errno)
    }
}

/// For teardown: an object that is gone already is success.
pub fn missing_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is_missing() => Ok(()),
        other => other,
    }
}

/// For setup that may run twice: an object that stands already is success.
pub fn existing_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is_existing() => Ok(()),
        other => other,
    }
}
