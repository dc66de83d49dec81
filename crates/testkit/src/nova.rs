//! A compute service that only takes events of ports, and remembers them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Nova {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Taken {
    /// `POST /v2.1/os-server-external-events`
    pub line: String,
    /// Its headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Value,
    /// The status it was answered with.
    pub status: u16,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    ended: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// What whole requests are answered with.
    status: u16,
    /// The code of each event whose request is taken.
    code: u16,
    taken: Vec<Taken>,
}

impl Nova {
    /// Listens on a port of its own on the loopback interface.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for a compute service")?;
        let address = listener.local_addr()?;
        let state = Mutex::new(State { status: 200, code: 200, taken: Vec::new() });
        let shared = Arc::new(Shared { state, ended: AtomicBool::new(false) });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if serving.ended.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&serving);
                thread::spawn(move || while !matches!(shared.serve(&connection), Ok(false) | Err(_)) {});
            }
        });
        Ok(Self { address, shared })
    }

    /// Its endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}/v2.1", self.address)
    }

    /// Answers requests with this status from now on; they count as taken below 300.
    pub fn answer(&self, status: u16) {
        self.shared.state().status = status;
    }

    /// Answers each event with this code from now on.
    pub fn answer_each(&self, code: u16) {
        self.shared.state().code = code;
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Taken> {
        self.shared.state().taken.clone()
    }

    /// The events of all requests that were taken, in order.
    pub fn events(&self) -> Vec<Value> {
        let state = self.shared.state();
        let taken = state.taken.iter().filter(|taken| taken.status < 300);
        taken.flat_map(|taken| taken.body["events"].as_array().cloned().unwrap_or_default()).collect()
    }
}

impl Drop for Nova {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one request of a connection; false at its end.
    fn serve(&self, connection: &TcpStream) -> Result<bool> {
        let mut reader = BufReader::new(connection);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(false);
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let Some((line, headers)) = lines.split_first() else { bail!("an empty request") };
        let headers: Vec<(String, String)> = headers
            .iter()
            .filter_map(|header| header.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, length)| length);
        let mut body = vec![0; length.parse()?];
        reader.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let line = line.trim_end_matches(" HTTP/1.1").to_owned();
        if self.ended.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let (status, answer) = self.take(line, headers, body);
        let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}", answer.len());
        let mut writer = connection;
        writer.write_all(format!("{head}\r\n\r\n{answer}").as_bytes())?;
        Ok(true)
    }

    fn take(&self, line: String, headers: Vec<(String, String)>, body: Value) -> (u16, String) {
        let mut state = self.state();
        let code = state.code;
        let status = if state.status == 200 && code != 200 { 207 } else { state.status };
        let mut answer = body.clone();
        for event in answer["events"].as_array_mut().into_iter().flatten() {
            event["code"] = json!(code);
        }
        state.taken.push(Taken { line, headers, body, status });
        (status, answer.to_string())
    }
}
