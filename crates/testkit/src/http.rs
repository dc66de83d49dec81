//! A small HTTP client for tests: blocking, JSON, one connection that stays open.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use kernel::Namespace;
use serde_json::{Value, json};

/// How long one answer may take, on a machine busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of one API.
#[derive(Debug)]
pub struct Client {
    address: String,
    inside: Namespace,
    token: Option<String>,
    patience: Duration,
    connection: Mutex<Option<BufReader<TcpStream>>>,
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body; null where it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Client {
    /// A client of the API at `host:port`, connecting from a namespace.
    pub fn new(address: impl Into<String>, inside: Namespace) -> Self {
        Self { address: address.into(), inside, token: None, patience: PATIENCE, connection: Mutex::new(None) }
    }

    /// The same, showing this token with each request.
    pub fn with_token(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    /// Another client of the same API, with a connection of its own.
    pub fn another(&self) -> Self {
        Self { token: self.token.clone(), ..Self::new(self.address.clone(), self.inside.clone()) }
    }

    /// Sends a request and reads its answer, whatever the status.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n")?;
        }
        if let Some(token) = &self.token {
            write!(head, "X-Auth-Token: {token}\r\n")?;
        }
        if let Some(body) = body {
            write!(head, "Content-Length: {}\r\n", body.len())?;
        }
        let request = [head.as_bytes(), b"\r\n", body.unwrap_or_default()].concat();
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // The server may have closed a connection that was idle; then the request has not been seen. One whose answer is
        // late has been, and sent again it would be done twice.
        if let Some(mut kept) = slot.take()
            && let Some(answer) = exchange(&mut kept, &request).with_context(|| format!("{method} {path}"))?
        {
            *slot = is_kept(&answer).then_some(kept);
            return Ok(answer);
        }
        let mut fresh = BufReader::new(self.connect()?);
        let answer = exchange(&mut fresh, &request).with_context(|| format!("{method} {path}"))?;
        let answer = answer.with_context(|| format!("{method} {path}: the connection was closed without an answer"))?;
        *slot = is_kept(&answer).then_some(fresh);
        Ok(answer)
    }

    /// A new connection, for requests that are sent by hand.
    pub fn connect(&self) -> Result<TcpStream> {
        let stream = self.inside.run(|| TcpStream::connect(&self.address))?;
        let stream = stream.with_context(|| format!("cannot connect to {}", self.address))?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sends a request with a JSON body, whatever the status of the answer.
    pub fn json(&self, method: &str, path: &str, body: &Value) -> Result<Answer> {
        self.send(method, path, &[("Content-Type", "application/json")], Some(body.to_string().as_bytes()))
    }

    /// The body of a successful GET.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer = self.send("GET", path, &[], None)?;
        successful("GET", path, answer)
    }

    /// Creates one resource in a collection such as `security-groups`.
    pub fn create(&self, collection: &str, attributes: Value) -> Result<Value> {
        let path = format!("/v2.0/{collection}");
        let singular = singular(collection);
        let answer = self.json("POST", &path, &json!({ &singular: attributes }))?;
        member(successful("POST", &path, answer)?, &singular)
    }

    /// Creates several resources in one request.
    pub fn create_all(&self, collection: &str, several: Vec<Value>) -> Result<Vec<Value>> {
        let path = format!("/v2.0/{collection}");
        let plural = collection.replace('-', "_");
        let answer = self.json("POST", &path, &json!({ &plural: several }))?;
        array(successful("POST", &path, answer)?, &plural)
    }

    /// One resource.
    pub fn show(&self, collection: &str, id: &str) -> Result<Value> {
        member(self.get(&format!("/v2.0/{collection}/{id}"))?, &singular(collection))
    }

    /// The resources of a collection; `query` is empty or starts with `?`.
    pub fn list(&self, collection: &str, query: &str) -> Result<Vec<Value>> {
        array(self.get(&format!("/v2.0/{collection}{query}"))?, &collection.replace('-', "_"))
    }

    /// Changes a resource.
    pub fn update(&self, collection: &str, id: &str, attributes: Value) -> Result<Value> {
        let path = format!("/v2.0/{collection}/{id}");
        let singular = singular(collection);
        let answer = self.json("PUT", &path, &json!({ &singular: attributes }))?;
        member(successful("PUT", &path, answer)?, &singular)
    }

    /// Deletes a resource.
    pub fn delete(&self, collection: &str, id: &str) -> Result<()> {
        let path = format!("/v2.0/{collection}/{id}");
        let answer = self.send("DELETE", &path, &[], None)?;
        successful("DELETE", &path, answer).map(|_| ())
    }
}

/// The id of a resource.
pub fn id(resource: &Value) -> String {
    text(resource, "id")
}

/// An attribute that is text; empty where it is none.
pub fn text(resource: &Value, attribute: &str) -> String {
    resource.get(attribute).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn singular(collection: &str) -> String {
    collection.strip_suffix('s').unwrap_or(collection).replace('-', "_")
}

fn successful(method: &str, path: &str, answer: Answer) -> Result<Value> {
    if !(200..300).contains(&answer.status) {
        bail!("{method} {path} was answered {}: {}", answer.status, answer.text());
    }
    match answer.body.is_empty() {
        true => Ok(Value::Null),
        false => serde_json::from_slice(&answer.body).with_context(|| {
            let (length, start) = (answer.body.len(), answer.text().chars().take(200).collect::<String>());
            format!("{method} {path} was answered with {length} bytes that are not JSON: {start}")
        }),
    }
}

fn member(mut body: Value, name: &str) -> Result<Value> {
    body.get_mut(name).map(Value::take).with_context(|| format!("no {name} in {body}"))
}

fn array(body: Value, name: &str) -> Result<Vec<Value>> {
    match member(body, name)? {
        Value::Array(several) => Ok(several),
        other => bail!("{name} is not a list but {other}"),
    }
}

fn is_kept(answer: &Answer) -> bool {
    answer.header("connection") != Some("close")
}

/// `None` when the connection ended before the first byte of an answer.
fn exchange(connection: &mut BufReader<TcpStream>, request: &[u8]) -> Result<Option<Answer>> {
    // A body that is too large is refused before all of it is read, and the answer still counts.
    let _ = connection.get_mut().write_all(request);
    let mut line = String::new();
    match connection.read_line(&mut line) {
        Ok(1..) => {}
        Ok(0) => return Ok(None),
        Err(error) if is_end(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("not an answer: {line:?}"))?;
    let mut answer = Answer { status, headers: headers(connection)?, body: Vec::new() };
    answer.body = body(connection, &answer)?;
    Ok(Some(answer))
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}

fn headers(connection: &mut impl BufRead) -> Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        connection.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_lowercase(), value.trim().to_owned())),
            None if line.trim_end().is_empty() => return Ok(headers),
            None => bail!("not a header: {line:?}"),
        }
    }
}

fn body(connection: &mut impl BufRead, answer: &Answer) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    if answer.header("transfer-encoding") == Some("chunked") {
        while let length @ 1.. = chunk_length(connection)? {
            append(connection, &mut body, length)?;
            connection.read_line(&mut String::new())?;
        }
        connection.read_line(&mut String::new())?;
    } else if let Some(length) = answer.header("content-length") {
        append(connection, &mut body, length.parse()?)?;
    } else if answer.status != 204 {
        connection.read_to_end(&mut body)?;
    }
    Ok(body)
}

fn chunk_length(connection: &mut impl BufRead) -> Result<u64> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    Ok(u64::from_str_radix(line.trim(), 16)?)
}

fn append(connection: &mut impl BufRead, body: &mut Vec<u8>, length: u64) -> io::Result<()> {
    let read = connection.take(length).read_to_end(body)?;
    if read as u64 == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

    fn request(connection: &TcpStream) {
        let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
        while !lines.next().unwrap().unwrap().is_empty() {}
    }

    /// A client, whose first request the server answers on its connection, and the second as it likes.
    fn client(second: impl FnOnce(TcpListener, TcpStream) + Send + 'static) -> (Client, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            request(&connection);
            connection.write_all(ANSWER).unwrap();
            second(listener, connection);
        });
        let mut client = Client::new(address, Namespace::CURRENT);
        client.patience = Duration::from_millis(300);
        client.send("GET", "/", &[], None).unwrap();
        (client, server)
    }

    #[test]
    fn a_request_goes_again_where_an_idle_connection_was_closed() {
        let (client, server) = client(|listener, connection| {
            drop(connection);
            let (mut connection, _) = listener.accept().unwrap();
            request(&connection);
            connection.write_all(ANSWER).unwrap();
        });
        assert_eq!(client.send("POST", "/", &[], None).unwrap().status, 204);
        server.join().unwrap();
    }

    #[test]
    fn a_request_whose_answer_is_late_is_not_sent_twice() {
        let (client, server) = client(|listener, connection| {
            request(&connection);
            listener.set_nonblocking(true).unwrap();
            // Until the client gives up.
            assert_eq!((&connection).read(&mut [0]).unwrap(), 0);
            assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        });
        client.send("POST", "/", &[], None).unwrap_err();
        server.join().unwrap();
    }
}
