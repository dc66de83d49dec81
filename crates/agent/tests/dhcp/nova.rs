//! A compute service that answers questions for metadata with what it was asked.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::net::TcpListener;

pub struct Nova {
    pub address: SocketAddr,
    status: AtomicU16,
    asked: Mutex<Vec<Value>>,
}

impl Nova {
    pub async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let nova = Arc::new(Self { address, status: AtomicU16::new(200), asked: Mutex::default() });
        let shared = Arc::clone(&nova);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| Arc::clone(&shared).answer(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        nova
    }

    /// From now on every answer has this status.
    pub fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// The last question: its headers, and method and path under `request`.
    pub fn last(&self) -> Value {
        self.asked.lock().last().cloned().unwrap_or_default()
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let mut asked = Map::new();
        asked.insert("request".to_owned(), format!("{} {}", request.method(), request.uri()).into());
        for (name, value) in request.headers() {
            asked.insert(name.to_string(), value.to_str().unwrap().into());
        }
        let body = format!("for {}", asked["x-instance-id"].as_str().unwrap());
        self.asked.lock().push(Value::Object(asked));
        let mut answer = Response::new(Full::new(Bytes::from(body)));
        *answer.status_mut() = StatusCode::from_u16(self.status.load(Ordering::Relaxed)).unwrap();
        Ok(answer)
    }
}
