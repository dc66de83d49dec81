use axum::http::Request as HttpRequest;
use http_body_util::BodyExt;
use oslo::config::Sources;

use super::*;
use crate::http::Peer;
use crate::testing;

fn settings(text: &str) -> Result<Settings, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.conf");
    std::fs::write(&file, format!("[healthcheck]\n{text}")).unwrap();
    let options = Options::load(Sources { files: vec![file], ..Sources::default() }).unwrap();
    Settings::from_oslo(&options).map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

/// A server with these settings is asked: status, type and body.
async fn ask(text: &str, method: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
    let ctx = testing::server(|config| config.healthcheck = settings(text).unwrap()).await;
    let mut request = HttpRequest::builder().method(method).uri("/healthcheck");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    let [remote, local] = ["192.0.2.7:5", "192.0.2.1:9696"].map(|address| address.parse().unwrap());
    request.extensions_mut().insert(ConnectInfo(Peer { remote, local: Some(local) }));
    let question = Question::of(&request).unwrap();
    let (head, body) = answer(&ctx.parts, question).await.into_parts();
    let kind = head.headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (head.status.as_u16(), kind, body)
}

#[tokio::test]
async fn a_file_takes_the_server_out_of_service() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disable");
    let text = format!("disable_by_file_path = {}\n", file.display());
    let plain = "text/plain; charset=UTF-8".to_owned();
    assert_eq!(ask(&text, "GET", &[]).await, (200, plain.clone(), "OK".to_owned()));
    assert_eq!(ask(&text, "HEAD", &[]).await, (204, plain.clone(), String::new()));
    std::fs::write(&file, "").unwrap();
    assert_eq!(ask(&text, "GET", &[]).await, (503, plain.clone(), "DISABLED BY FILE".to_owned()));
    assert_eq!(ask(&text, "HEAD", &[]).await, (503, plain.clone(), String::new()));
    let by_port =
        |port| format!("backends = disable_by_files_ports\ndisable_by_file_paths = {port}:{}\n", file.display());
    assert_eq!(ask(&by_port(9696), "GET", &[]).await.0, 503);
    assert_eq!(ask(&by_port(9697), "GET", &[]).await.0, 200);
    let marked = format!("backends = enable_by_files\nenable_by_file_paths = {},/nonexistent/mark\n", file.display());
    assert_eq!(ask(&marked, "GET", &[]).await, (503, plain.clone(), "FILE PATH MISSING".to_owned()));
    assert_eq!(ask("backends = \n", "GET", &[]).await, (200, plain, String::new()));
}

#[tokio::test]
async fn the_answer_is_of_the_type_that_is_asked_for() {
    let json = ("accept", "application/json");
    let (status, kind, body) = ask("backends = disable_by_file,database\n", "GET", &[json]).await;
    assert_eq!((status, kind.as_str()), (200, "application/json; charset=UTF-8"));
    assert_eq!(body, "{\n    \"detailed\": false,\n    \"reasons\": [\n        \"OK\",\n        \"OK\"\n    ]\n}");
    let detailed = "detailed = true\ndisable_by_file_path = /nonexistent/<disable>\n";
    let (_, _, body) = ask(detailed, "GET", &[json]).await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let details = "Path '/nonexistent/<disable>' was not found";
    let reasons = json!([{"class": "HealthcheckResult", "details": details, "reason": "OK"}]);
    assert_eq!(body["reasons"], reasons);
    let (_, kind, body) = ask(detailed, "GET", &[("accept", "text/html, application/json;q=0.9")]).await;
    assert_eq!(kind, "text/html; charset=UTF-8");
    assert!(body.contains("<td>OK</td><td>Path '/nonexistent/&lt;disable&gt;' was not found</td>"), "{body}");
    let preferred = |accept| preferred(accept, &TYPES, TYPES[0]);
    assert_eq!(preferred(Some("*/*")), "text/plain");
    assert_eq!(preferred(Some("text/*;q=0.1, application/json;q=0.2")), "application/json");
    assert_eq!(preferred(Some("image/png")), "text/plain");
    assert_eq!(preferred(None), "text/plain");
}

#[tokio::test]
async fn only_those_who_may_ask_get_an_answer() {
    assert_eq!(ask("allowed_source_ranges = 192.0.2.0/24, 2001:db8::/32\n", "GET", &[]).await.0, 200);
    assert_eq!(ask("allowed_source_ranges = 10.0.0.0/8\n", "GET", &[]).await.0, 404);
    let proxied = [("x-forwarded-for", "10.0.0.1")];
    assert_eq!(ask("", "GET", &proxied).await.0, 200);
    assert_eq!(ask("ignore_proxied_requests = true\n", "GET", &proxied).await.0, 404);
}

#[test]
fn without_options_it_is_as_api_paste_has_it() {
    assert_eq!(format!("{:?}", settings("").unwrap()), format!("{:?}", Settings::default()));
}

#[test]
fn what_means_nothing_is_refused() {
    let cases = [
        (
            "backends = disable_by_files\n",
            "a.conf:2: [healthcheck] backends = disable_by_files: `disable_by_files` is no such check; allowed: \
             disable_by_file, disable_by_files_ports, enable_by_files, database; did you mean `disable_by_file`?",
        ),
        (
            "backends = disable_by_file,enable_by_files\n",
            "a.conf:2: [healthcheck] backends = disable_by_file,enable_by_files: disable_by_file and enable_by_files \
             exclude each other; allowed: one of the two",
        ),
        (
            "allowed_source_ranges = here\n",
            "a.conf:2: [healthcheck] allowed_source_ranges = here: `here` is no network; allowed: networks such as \
             10.0.0.0/8",
        ),
        (
            "backends = disable_by_files_ports\ndisable_by_file_paths = /a\n",
            "a.conf:3: [healthcheck] disable_by_file_paths = /a: `/a` has no port before a colon; allowed: port:path",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(settings(text).unwrap_err(), message);
    }
}
