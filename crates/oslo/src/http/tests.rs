//! Against peers that misbehave, on loopback.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const SHORT: Duration = Duration::from_millis(300);

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

/// Answers each connection with each text in turn, one for each request, and then closes it.
async fn peer_of(answers: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/secret-path", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            for answer in answers {
                let mut buffer = [0; 4096];
                if stream.read(&mut buffer).await.unwrap_or(0) == 0 {
                    break;
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    url
}

#[tokio::test]
async fn an_answer_is_read_whole_whatever_its_status() {
    let url = peer_of(&["HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nX-A: b\r\n\r\nnone"]).await;
    let answer = Client::new(&Tls::default()).unwrap().send(get(&url), SHORT).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (404, b"none".as_slice()));
    assert_eq!(answer.headers()["x-a"], "b");
}

#[tokio::test]
async fn a_kept_connection_that_the_peer_has_closed_is_no_failure() {
    let url = peer_of(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]).await;
    let client = Client::new(&Tls::default()).unwrap();
    for _ in 0..20 {
        assert_eq!(client.send(get(&url), SHORT).await.unwrap().body().as_ref(), b"ok");
    }
}

#[tokio::test]
async fn errors_name_the_peer_and_nothing_that_may_be_secret() {
    let client = Client::new(&Tls::default()).unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let error = client.send(get(&format!("http://{address}/secret-path")), SHORT).await.unwrap_err();
    assert_eq!(error.to_string(), format!("http://{address} gave no answer within 0.3 s"));
    assert!(matches!(error, HttpError::Timeout { .. }) && !error.is_unsent());
    drop(silent);
    let error = client.send(get(&format!("http://{address}/secret-path")), SHORT).await.unwrap_err();
    assert!(matches!(error, HttpError::Connect { .. }) && error.is_unsent(), "{error:?}");
    let url = peer_of(&["SSH-2.0-x\r\n"]).await;
    let error = client.send(get(&url), SHORT).await.unwrap_err();
    assert!(matches!(error, HttpError::Protocol { .. }), "{error:?}");
    let error = client.send(get(&url.replace("http:", "https:")), SHORT).await.unwrap_err();
    assert!(matches!(error, HttpError::Tls { .. }), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("secret-path"));
    let error = client.send(get("/relative"), SHORT).await.unwrap_err();
    assert!(matches!(error, HttpError::Url { .. }), "{error:?}");
}

#[test]
fn files_of_certificates_are_read_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let tls = Tls { cafile: Some(path.clone()), ..Tls::default() };
    let told = Client::new(&tls).unwrap_err().to_string();
    assert!(told.contains("ca.pem") && told.contains("No such file"), "{told}");
    std::fs::write(&path, "nothing").unwrap();
    assert!(Client::new(&tls).unwrap_err().to_string().contains("no certificates"));
    assert!(Client::new(&Tls { insecure: true, ..tls }).is_ok(), "nothing is checked, so nothing is read");
}

#[test]
fn text_is_encoded_for_urls() {
    assert_eq!(encode("ip_address=10.0.0.1 ä"), "ip_address%3D10.0.0.1%20%C3%A4");
}
