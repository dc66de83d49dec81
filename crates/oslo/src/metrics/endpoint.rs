//! The address on which a program shows its numbers.
//!
//! It answers `GET /metrics` and nothing else, to whoever can reach it: the operator chooses an address that only those
//! reach who should. It is no part of the API and shares nothing with it, so that it answers when the API does not.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Page;
use crate::config::{Config, ConfigError};

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients at the same time.
const CLIENTS: usize = 8;
/// Most bytes of the head of a request.
const HEAD: usize = 8 << 10;

/// A listener that shows metrics.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
}

impl Endpoint {
    /// The endpoint that the options ask for; none when they ask for none.
    pub async fn from_oslo(options: &Config) -> Result<Option<Self>, ConfigError> {
        let Some(text) = options.get::<Option<String>>("isospin", "metrics_bind")?.filter(|text| !text.is_empty())
        else {
            return Ok(None);
        };
        let allowed = ["an address of this machine with a port, such as 127.0.0.1:9698"];
        let address: SocketAddr = match text.parse() {
            Ok(address) => address,
            Err(_) => return Err(options.refuse("isospin", "metrics_bind", "not an address and a port", &allowed)),
        };
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Some(Self { listener })),
            Err(error) => Err(options.refuse("isospin", "metrics_bind", error.to_string(), &allowed)),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Shows the page that `page` makes to all who ask, until it is dropped.
    pub async fn serve<F: Future<Output = Page> + Send>(self, page: impl Fn() -> F + Sync) {
        let mut clients = futures_util::stream::FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) if clients.len() < CLIENTS => {
                        let page = &page;
                        clients.push(async move {
                            let _ = tokio::time::timeout(PATIENCE, answer(stream, page)).await;
                        });
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(()) = futures_util::StreamExt::next(&mut clients) => {}
            }
        }
    }
}

async fn answer<F: Future<Output = Page>>(mut stream: TcpStream, page: &impl Fn() -> F) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head);
    let mut words = text.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = match (method, path.split('?').next()) {
        ("GET" | "HEAD", Some("/metrics")) => ("200 OK", page().await.into_text()),
        ("GET" | "HEAD", _) => ("404 Not Found", "metrics are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    if method != "HEAD" {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}
