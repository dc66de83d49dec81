//! The HTTP client against OpenSSL's own server: whom it trusts, and how it shows itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use isospin_oslo::http::{Client, HttpError, Tls};
use testkit::instance::free_port;
use testkit::wait;

/// Ends the server with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(directory: &Path, words: &str) {
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(words.split_whitespace());
    let output = command.output().unwrap();
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, and a server and a client that it knows.
fn certificates(directory: &Path) {
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(directory, &format!("req -x509 {new_key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
    for (name, extension) in [("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")] {
        openssl(directory, &format!("req {new_key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        std::fs::write(directory.join("extension"), format!("basicConstraints=CA:FALSE\n{extension}\n")).unwrap();
        openssl(
            directory,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile extension"
            ),
        );
    }
}

fn serve(directory: &Path, more: &[&str]) -> (Server, String) {
    let port = free_port().unwrap();
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(["s_server", "-www", "-quiet", "-cert", "server.pem", "-key", "server.key"]);
    command.args(["-accept", &format!("127.0.0.1:{port}")]).args(more);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let server = Server(child);
    assert!(wait::until(Duration::from_secs(30), || TcpStream::connect(("127.0.0.1", port)).is_ok()));
    (server, format!("https://127.0.0.1:{port}/"))
}

async fn get(tls: &Tls, url: &str) -> Result<u16, HttpError> {
    let client = Client::new(tls)?;
    let answer = client.send(Request::get(url).body(Bytes::new()).unwrap(), Duration::from_secs(20)).await?;
    Ok(answer.status().as_u16())
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_trusted_as_configured() {
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let path = |name: &str| Some(directory.path().join(name));
    let trusting = Tls { cafile: path("ca.pem"), ..Tls::default() };
    let (_server, url) = serve(directory.path(), &[]);
    assert_eq!(get(&trusting, &url).await.unwrap(), 200);
    assert_eq!(get(&Tls { insecure: true, ..Tls::default() }, &url).await.unwrap(), 200);
    for (tls, url) in [
        // Not signed by one whom the system trusts, or whom we were told to trust, or not for this name.
        (Tls::default(), url.clone()),
        (Tls { cafile: path("client.pem"), ..Tls::default() }, url.clone()),
        (trusting.clone(), url.replace("127.0.0.1", "localhost")),
    ] {
        let error = get(&tls, &url).await.unwrap_err();
        assert!(matches!(error, HttpError::Tls { .. } | HttpError::Certificates { .. }), "{tls:?}: {error:?}");
    }
    let (_server, url) = serve(directory.path(), &["-Verify", "1", "-verify_return_error", "-CAfile", "ca.pem"]);
    assert!(get(&trusting, &url).await.is_err(), "it wants to see a certificate");
    let shown = Tls { certfile: path("client.pem"), keyfile: path("client.key"), ..trusting.clone() };
    assert_eq!(get(&shown, &url).await.unwrap(), 200);
    let error = get(&Tls { keyfile: path("server.key"), ..shown }, &url).await.unwrap_err();
    assert!(matches!(error, HttpError::Tls { .. } | HttpError::Certificates { .. }), "{error:?}");
}
