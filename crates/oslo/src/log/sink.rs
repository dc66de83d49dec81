//! Where lines go: a file, standard error, syslog, the journal.
//!
//! A line that cannot be written somewhere is lost there: there is no better place to tell of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::Level;

use super::LogError;
use super::line::{Line, level, module};
use super::settings::Settings;

/// How often it is checked whether the file is still where it was.
const WATCH: Duration = Duration::from_secs(1);
/// The longest message for the journal, which takes longer ones another way.
const LONGEST: usize = 48 << 10;

/// All places of a log.
#[derive(Debug)]
pub(super) struct Sinks {
    file: Option<Mutex<Watched>>,
    stderr: bool,
    syslog: Option<Socket>,
    journal: Option<Socket>,
    facility: u8,
    program: String,
}

/// A file that may be moved away under us, and is then made anew.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    file: File,
    looked: Instant,
}

#[derive(Debug)]
struct Socket {
    path: PathBuf,
    socket: Mutex<Option<UnixDatagram>>,
}

impl Sinks {
    pub(super) fn open(settings: &Settings) -> Result<Self, LogError> {
        let file = settings.file.as_deref().map(Watched::open).transpose()?.map(Mutex::new);
        let socket = |path: &Option<PathBuf>| path.clone().map(|path| Socket { path, socket: Mutex::default() });
        Ok(Self {
            stderr: settings.stderr || (file.is_none() && settings.journal.is_none()),
            file,
            syslog: socket(&settings.syslog),
            journal: socket(&settings.journal),
            facility: settings.facility,
            program: settings.program.clone(),
        })
    }

    /// Opens the file anew.
    pub(super) fn reopen(&self) -> Result<(), LogError> {
        if let Some(file) = &self.file {
            let mut watched = file.lock();
            *watched = Watched::open(&watched.path)?;
        }
        Ok(())
    }

    pub(super) fn write(&self, line: &Line<'_>, text: &str) {
        if let Some(file) = &self.file {
            file.lock().write(text);
        }
        if self.stderr {
            let _ = io::stderr().lock().write_all(text.as_bytes());
        }
        if let Some(syslog) = &self.syslog {
            let priority = self.facility << 3 | severity(*line.metadata.level());
            let time = line.time.format("%b %e %H:%M:%S");
            syslog.send(format!("<{priority}>{time} {}: {}", self.program, text.trim_end()).as_bytes());
        }
        if let Some(journal) = &self.journal {
            journal.send(&self.journal_entry(line, text.trim_end()));
        }
    }

    /// An entry in the journal's own protocol, with the fields that oslo.log gives it.
    fn journal_entry(&self, line: &Line<'_>, text: &str) -> Vec<u8> {
        let mut entry = Vec::with_capacity(text.len() + 512);
        let longest = text.floor_char_boundary(LONGEST);
        put(&mut entry, "MESSAGE", &text[..longest]);
        put(&mut entry, "PRIORITY", &severity(*line.metadata.level()).to_string());
        put(&mut entry, "SYSLOG_IDENTIFIER", &self.program);
        put(&mut entry, "SYSLOG_FACILITY", &self.facility.to_string());
        put(&mut entry, "CODE_FILE", line.metadata.file().unwrap_or(""));
        put(&mut entry, "CODE_LINE", &line.metadata.line().unwrap_or(0).to_string());
        put(&mut entry, "THREAD_NAME", std::thread::current().name().unwrap_or(""));
        put(&mut entry, "PROCESS_NAME", "MainProcess");
        put(&mut entry, "LOGGER_NAME", &module(line.metadata.target()));
        put(&mut entry, "LOGGER_LEVEL", level(*line.metadata.level()).0);
        if let Some(identity) = line.identity {
            put(&mut entry, "REQUEST_ID", &identity.request_id);
            for (name, value) in &identity.parts {
                if ["project_name", "project_id", "user_name", "user_id"].contains(name) {
                    put(&mut entry, &name.to_uppercase(), value);
                }
            }
        }
        entry
    }
}

impl Watched {
    fn open(path: &Path) -> Result<Self, LogError> {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let file = opened.map_err(|source| LogError::File { file: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, looked: Instant::now() })
    }

    fn write(&mut self, text: &str) {
        if self.looked.elapsed() >= WATCH {
            self.looked = Instant::now();
            if self.was_moved()
                && let Ok(anew) = Self::open(&self.path)
            {
                *self = anew;
            }
        }
        let _ = self.file.write_all(text.as_bytes());
    }

    fn was_moved(&self) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let there = std::fs::metadata(&self.path).map(identity).ok();
        there.is_none() || there != self.file.metadata().map(identity).ok()
    }
}

impl Socket {
    /// Sends a datagram, over a new connection if the old one is broken. Never waits: a log must not hold up its program.
    fn send(&self, datagram: &[u8]) {
        let mut socket = self.socket.lock();
        for _ in 0..2 {
            if socket.is_none() {
                *socket = self.connect().ok();
            }
            match socket.as_ref().map(|socket| socket.send(datagram)) {
                Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => *socket = None,
                _ => return,
            }
        }
    }

    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.path)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// `NAME=value`, or the form with a length for values of several lines.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend((value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend(value.as_bytes());
    entry.push(b'\n');
}
