//! One connection of a client that is not to be trusted: HTTP/1 within bounds of size and time.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode,
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until, timeout},
};

use super::answer::{Answer, Silence, refusal};

/// Bytes that the head of a request may have.
const LONGEST_HEAD: usize = 16 << 10;
/// Bytes that its body may have. What instances send is a password at most.
const LONGEST_BODY: usize = 64 << 10;

/// How often in the time that a client may stall it is looked at whether it does.
const LOOKS: u32 = 4;

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// For a whole request, once it has begun.
    pub(super) request: Duration,
    /// Between two requests; none when each connection is for one.
    pub(super) idle: Option<Duration>,
    /// To take another piece of an answer.
    pub(super) stall: Duration,
}

/// What was seen of a connection.
struct Seen {
    /// When bytes went in or out last.
    moved: Instant,
    /// The peer does not take what it is sent.
    blocked: bool,
    /// A request is being worked on, which the handler bounds.
    busy: bool,
}

/// A stream that notes what happens on it.
struct Watched<S> {
    stream: S,
    seen: Arc<Mutex<Seen>>,
}

/// Serves a connection until its end.
pub(super) async fn serve<S, H, F>(stream: S, patience: Patience, handle: H)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<Bytes>) -> F,
    F: Future<Output = Result<Answer, Silence>>,
{
    let seen = Arc::new(Mutex::new(Seen { moved: Instant::now(), blocked: false, busy: false }));
    let stream = Watched { stream, seen: Arc::clone(&seen) };
    let service = service_fn(|request: Request<Incoming>| {
        let (handle, seen) = (&handle, Arc::clone(&seen));
        async move {
            let request = match whole(request, patience.request).await {
                Ok(request) => request,
                Err(answer) => return Ok(answer),
            };
            seen.lock().busy = true;
            let answer = handle(request).await;
            let mut seen = seen.lock();
            seen.busy = false;
            seen.moved = Instant::now();
            answer
        }
    });
    let idle = patience.idle.unwrap_or_default();
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience.request.max(idle)).max_buf_size(LONGEST_HEAD);
    builder.keep_alive(patience.idle.is_some());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    loop {
        let end = seen.lock().end(patience).min(Instant::now() + patience.stall / LOOKS);
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(error = crate::chain(&error), "a metadata connection ended");
                }
                return;
            }
            () = sleep_until(end) => if seen.lock().end(patience) <= Instant::now() {
                return;
            }
        }
    }
}

impl Seen {
    /// When the connection is given up unless something happens.
    fn end(&self, patience: Patience) -> Instant {
        let allowed = match (self.blocked, patience.idle) {
            (true, _) => patience.stall,
            (false, Some(idle)) => idle,
            (false, None) => patience.request,
        };
        let since = if self.busy { Instant::now() } else { self.moved };
        since + allowed
    }
}

/// The request with its body, or why it is refused.
async fn whole(request: Request<Incoming>, limit: Duration) -> Result<Request<Bytes>, Answer> {
    let (parts, body) = request.into_parts();
    let too_long = || refusal(StatusCode::PAYLOAD_TOO_LARGE, "The request is longer than anything that is sent here.");
    if body.size_hint().lower() > LONGEST_BODY as u64 {
        return Err(too_long());
    }
    match timeout(limit, Limited::new(body, LONGEST_BODY).collect()).await {
        Ok(Ok(body)) => Ok(Request::from_parts(parts, body.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(refusal(StatusCode::BAD_REQUEST, "The request is not whole.")),
        Err(_) => Err(refusal(StatusCode::REQUEST_TIMEOUT, "The request took too long.")),
    }
}

impl<S> Watched<S> {
    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let mut seen = self.seen.lock();
        seen.blocked = written.is_pending();
        if written.is_ready() {
            seen.moved = Instant::now();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.seen.lock().moved = Instant::now();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const PATIENCE: Patience = Patience {
        request: Duration::from_secs(30),
        idle: Some(Duration::from_secs(20)),
        stall: Duration::from_secs(10),
    };

    /// A client of a server that answers with so many bytes.
    fn client(length: usize) -> DuplexStream {
        let (client, server) = duplex(1 << 10);
        tokio::spawn(serve(server, PATIENCE, move |request| async move {
            match request.uri().path() {
                "/silence" => Err(Silence("as asked".to_owned())),
                _ => Ok(Answer::new(Full::new(Bytes::from(vec![b'x'; length])))),
            }
        }));
        client
    }

    async fn read(client: &mut DuplexStream) -> String {
        let mut buffer = vec![0; 4096];
        let length = client.read(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_serves_several_requests_and_ends_when_idle() {
        let mut client = client(2);
        for _ in 0..3 {
            client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            assert!(read(&mut client).await.starts_with("HTTP/1.1 200 OK"));
            tokio::time::sleep(Duration::from_secs(19)).await;
        }
        let began = Instant::now();
        assert_eq!(read(&mut client).await, "");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_trickles_is_cut_short() {
        let mut client = client(2);
        let began = Instant::now();
        while client.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(began.elapsed() < Duration::from_secs(60));
        }
        assert!(began.elapsed() >= Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_waited_for_in_vain() {
        let mut client = client(2);
        client.write_all(b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab").await.unwrap();
        // The connection counts as idle before the request counts as late.
        assert_eq!(read(&mut client).await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_left() {
        let mut client = client(1 << 20);
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(11)).await;
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() < 1 << 12, "{}", rest.len());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_long_is_refused() {
        let mut one = client(2);
        let head = format!("PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", LONGEST_BODY + 1);
        one.write_all(head.as_bytes()).await.unwrap();
        assert!(read(&mut one).await.starts_with("HTTP/1.1 413 "));
        let mut two = client(2);
        let (mut reader, mut writer) = tokio::io::split(two);
        let sent = tokio::spawn(async move {
            let _ = writer.write_all(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 16)).as_bytes()).await;
            writer
        });
        let mut buffer = vec![0; 64];
        let length = reader.read(&mut buffer).await.unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(text.starts_with("HTTP/1.1 414 ") || text.starts_with("HTTP/1.1 431 "), "{text}");
        drop(reader);
        two = client(2);
        two.write_all(b"no such thing\r\n\r\n").await.unwrap();
        assert!(read(&mut two).await.starts_with("HTTP/1.1 400 "));
        sent.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_the_connection() {
        let mut client = client(2);
        client.write_all(b"GET /silence HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_eq!(read(&mut client).await, "");
    }
}
