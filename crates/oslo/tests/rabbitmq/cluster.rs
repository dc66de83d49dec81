//! Several hosts, TLS, logins, and kinds of queues.

use std::time::{Duration, Instant};

use oslo::messaging::{Bus, CallError, Target};
use serde_json::json;
use testkit::proxy::Proxy;

use crate::lab::{LONG, SECOND, broker, bus, call, serve, settings, until_served};

/// A call through a bus of these options, served by another one.
async fn works(url: &str, options: &[(&'static str, &str)]) {
    let bus = |options| Bus::rabbit(settings(url, options));
    let (server, client) = (bus(options).await.unwrap(), bus(options).await.unwrap());
    let served = serve(server.listen("q-test", "a"), "a");
    until_served(&client, &Target::server("q-test", "a")).await;
    for target in [Target::topic("q-test"), Target::server("q-test", "a")] {
        assert_eq!(call(&client, &target, "echo", json!({})).await.unwrap()["by"], "a");
    }
    client.deliver(&oslo::context::Context::admin(), &Target::fanout("q-test"), "1.0", "m", json!({})).await.unwrap();
    client.shut_down().await;
    server.shut_down().await;
    served.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_host_takes_over() {
    let broker = tokio::task::spawn_blocking(|| broker("cluster")).await.unwrap();
    let (one, other) = (Proxy::start(broker.address()).unwrap(), Proxy::start(broker.address()).unwrap());
    let login = "openstack:secret";
    let url = format!("rabbit://{login}@{},{login}@{}/cluster", one.address(), other.address());
    let (server, client) = (bus(&url).await, bus(&url).await);
    let served = serve(server.listen("q-test", "a"), "a");
    until_served(&client, &Target::server("q-test", "a")).await;
    for (down, up) in [(&one, &other), (&other, &one)] {
        up.heal();
        down.cut();
        let began = Instant::now();
        until_served(&client, &Target::server("q-test", "a")).await;
        assert!(began.elapsed() < LONG);
        assert!(up.counters().accepted > 0);
    }
    client.shut_down().await;
    server.shut_down().await;
    served.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_checks_the_broker() {
    let broker = tokio::task::spawn_blocking(|| broker("tls")).await.unwrap();
    let url = broker.url_at(broker.tls_address(), "tls");
    let file = |name: &str| broker.certificates().path(name);
    let authority = file("ca.pem");
    works(&url, &[("ssl", "true"), ("ssl_ca_file", &authority)]).await;
    works(&format!("{url}?ssl=1&ssl_ca_file={authority}&rabbit_login_method=PLAIN"), &[]).await;

    let (certificate, key) = (file("client.pem"), file("client.key"));
    let ours = [("ssl_cert_file", certificate.as_str()), ("ssl_key_file", &key)];
    works(&url, &[("ssl", "true"), ("ssl_ca_file", &authority), ours[0], ours[1]]).await;

    let other = file("other.pem");
    let strange = Bus::rabbit(settings(&url, &[("ssl", "true"), ("ssl_ca_file", &other)])).await.unwrap();
    let target = Target::topic("q-test");
    let refused = strange.call(&oslo::context::Context::admin(), &target, "1.0", "m", json!({}), SECOND * 2).await;
    let Err(CallError::Broker { why, .. }) = refused else { panic!("{refused:?}") };
    assert!(why.contains(&broker.tls_address().to_string()) && why.contains("certificate"), "{why}");
    strange.shut_down().await;
    let missing = Bus::rabbit(settings(&url, &[("ssl", "true"), ("ssl_ca_file", "/nonexistent/ca.pem")])).await;
    assert!(missing.unwrap_err().to_string().contains("/nonexistent/ca.pem"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_or_refuses_is_named() {
    let broker = tokio::task::spawn_blocking(|| broker("refusals")).await.unwrap();
    let away = format!("127.0.0.1:{}", testkit::instance::free_port().unwrap());
    for (url, host, reason) in [
        (format!("rabbit://u:secret@{away}/"), away.clone(), "refused"),
        (
            broker.url_at(broker.address(), "refusals").replace(":secret@", ":wrong@"),
            broker.address().to_string(),
            "REFUSED",
        ),
        (broker.url_at(broker.address(), "nowhere"), broker.address().to_string(), "not found"),
    ] {
        let bus = bus(&url).await;
        let began = Instant::now();
        let target = Target::topic("q-test");
        let error = bus.call(&oslo::context::Context::admin(), &target, "1.0", "m", json!({}), SECOND * 2).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains(&host) && text.contains(reason) && !text.contains("secret"), "{text}");
        assert!(began.elapsed() < LONG);
        assert!(bus.health().is_err());
        bus.shut_down().await;
    }
}

/// A virtual host, the options in it, and what the list of its queues must hold.
type Kind = (&'static str, &'static [(&'static str, &'static str)], &'static str);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_are_of_the_kind_that_options_ask_for() {
    let kinds: [Kind; 4] = [
        ("durable", &[("amqp_durable_queues", "true")], "q-test\ttrue\t[]"),
        ("quorum", &[("rabbit_quorum_queue", "true")], "quorum"),
        ("transient", &[("rabbit_quorum_queue", "true"), ("rabbit_transient_quorum_queue", "true")], "quorum"),
        ("named", &[("use_queue_manager", "true"), ("hostname", "h"), ("processname", "p")], "q-test_fanout_h:p:"),
    ];
    for (vhost, options, expected) in kinds {
        let broker = tokio::task::spawn_blocking(move || broker(vhost)).await.unwrap();
        let url = broker.url_at(broker.address(), vhost);
        works(&url, options).await;
        let arguments = ["list_queues", "-p", vhost, "--no-table-headers", "name", "durable", "arguments"];
        let listed = tokio::task::spawn_blocking(move || broker.control(&arguments).unwrap()).await.unwrap();
        assert!(listed.contains(expected), "{vhost}: {listed}");
    }
}

/// A durable exchange that somebody declared as not durable before is used as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_exchange_is_taken_as_it_is() {
    let broker = tokio::task::spawn_blocking(|| broker("older")).await.unwrap();
    let url = broker.url_at(broker.address(), "older");
    works(&url, &[]).await;
    works(&url, &[("amqp_durable_queues", "true")]).await;
}

/// How fast calls are, in the process and by the broker. Not a test of anything: run it by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn calls_per_second() {
    let broker = tokio::task::spawn_blocking(|| broker("speed")).await.unwrap();
    let url = broker.url_at(broker.address(), "speed");
    let (server, client) = (bus(&url).await, bus(&url).await);
    let local = Bus::in_process();
    for (name, server, client) in [("in process", &local, &local), ("RabbitMQ", &server, &client)] {
        let served = serve(server.listen("q-test", "a"), "a");
        until_served(client, &Target::server("q-test", "a")).await;
        for callers in [1, 16] {
            let (began, calls) = (Instant::now(), 2000 / callers);
            let target = Target::topic("q-test");
            let caller = async || {
                for _ in 0..calls {
                    call(client, &target, "echo", json!({})).await.unwrap();
                }
            };
            futures_util::future::join_all((0..callers).map(|_| caller())).await;
            let took: Duration = began.elapsed();
            eprintln!("{name}, {callers} at once: {:.0} calls/s", f64::from(calls * callers) / took.as_secs_f64());
        }
        let resident = std::fs::read_to_string("/proc/self/status").unwrap();
        eprintln!("{name}: {}", resident.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default());
        server.shut_down().await;
        served.await.unwrap();
    }
}
