use std::sync::Arc;

use super::*;

#[test]
fn a_page_reads_as_prometheus_wants_it() {
    static CALLS: Family<[(&str, &str); 2], Counter> = Family::new();
    CALLS.of(&[("method", "b"), ("outcome", "a \"bad\" one")]).add(2);
    CALLS.of(&[("method", "a"), ("outcome", "ok")]).add(1);
    let time = Histogram::new();
    time.observe(Duration::from_millis(3));
    time.observe(Duration::from_secs(100));
    let mut page = Page::default();
    page.family("calls_total", "Calls.", &CALLS);
    page.metric("time_seconds", "Time.", &time);
    page.family("none", "None.", &Family::<[(&str, &str); 1], Gauge>::new());
    let text = page.into_text();
    let expected = "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total{method=\"a\",outcome=\"ok\"} 1\n\
                    calls_total{method=\"b\",outcome=\"a \\\"bad\\\" one\"} 2\n# HELP time_seconds Time.\n\
                    # TYPE time_seconds histogram\ntime_seconds_bucket{le=\"0.0005\"} 0\n";
    assert!(text.starts_with(expected), "{text}");
    let end = "time_seconds_bucket{le=\"60\"} 1\ntime_seconds_bucket{le=\"+Inf\"} 2\ntime_seconds_sum 100.003\n\
               time_seconds_count 2\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn nothing_is_lost_when_many_count_at_once() {
    let family: Arc<Family<[(&str, &str); 1], Counter>> = Arc::default();
    let names: Vec<&'static str> = (0..200).map(|number| &*format!("n{number}").leak()).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| names.iter().cycle().take(2000).for_each(|name| family.of(&[("name", name)]).add(1)));
        }
    });
    assert_eq!(family.each().count(), names.len());
    assert!(family.each().all(|(_, counter)| counter.get() == 40));
}

#[test]
fn a_process_tells_of_itself() {
    let text = Page::of_this_process().into_text();
    for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_threads"] {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{text}"));
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
    }
    let started = text.lines().find_map(|line| line.strip_prefix("process_start_time_seconds ")).unwrap();
    let now = chrono::Utc::now().timestamp() as f64;
    assert!((now - started.parse::<f64>().unwrap()).abs() < 600.0, "{started} is not now, {now}");
}

#[tokio::test]
async fn the_endpoint_answers_and_refuses() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let options = |value: &str| {
        let overrides = [(("isospin", "metrics_bind"), value.to_owned())].into();
        crate::config::Config::load(crate::config::Sources { overrides, ..Default::default() }).unwrap()
    };
    assert!(Endpoint::from_oslo(&options("")).await.unwrap().is_none());
    let refused = Endpoint::from_oslo(&options("9698")).await.unwrap_err().to_string();
    assert!(refused.contains("[isospin] metrics_bind = 9698: not an address and a port; allowed: "), "{refused}");
    let endpoint = Endpoint::from_oslo(&options("127.0.0.1:0")).await.unwrap().unwrap();
    let address = endpoint.address().unwrap();
    let taken = Endpoint::from_oslo(&options(&address.to_string())).await.unwrap_err().to_string();
    assert!(taken.contains("in use"), "{taken}");
    let serving = tokio::spawn(endpoint.serve(async || Page::of_this_process()));
    let ask = async |request: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let silent = tokio::net::TcpStream::connect(address).await.unwrap();
    let answer = ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\nprocess_threads "), "{answer}");
    assert!(ask("GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
    assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
    drop(silent);
    serving.abort();
}
