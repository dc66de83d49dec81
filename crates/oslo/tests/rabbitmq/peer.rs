//! The Python member of a cloud, driven by lines of JSON.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::Value;

/// A running `peer.py`.
pub(crate) struct Peer {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Keystone comes with oslo.messaging, so that its environment serves here as well.
fn python() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let directory = variable("ISOSPIN_KEYSTONE").or_else(|| Some(cache?.join("isospin/keystone"))).unwrap();
    let python = directory.join("bin/python");
    assert!(python.is_file(), "no {}; run scripts/set-up test", python.display());
    python
}

impl Peer {
    pub(crate) fn start(url: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rabbitmq/peer.py");
        let mut command = Command::new(python());
        command.arg(script).arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.env("PYTHONWARNINGS", "ignore").env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
        if std::env::var_os("PEER_LOUD").is_some() {
            command.stderr(Stdio::inherit());
        }
        let mut child = command.spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, orders, answers }
    }

    /// Gives an order and reads its answer.
    pub(crate) fn ask(&mut self, order: &Value) -> Value {
        self.tell(order);
        self.hear()
    }

    pub(crate) fn tell(&mut self, order: &Value) {
        writeln!(self.orders, "{order}").unwrap();
        self.orders.flush().unwrap();
    }

    pub(crate) fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
