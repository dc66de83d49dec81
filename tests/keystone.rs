//! The server with Keystone in front: who gets in, what the others are told, and OpenStack's own client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::process::Command;

use serde_json::{Value, json};
use testkit::{
    clients::Clients,
    http::Answer,
    keystone::{Keystone, PASSWORD},
    memcached::Memcached,
    standalone::{Plan, Service},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");

struct Cloud {
    service: Service,
    keystone: Keystone,
    _memcached: Memcached,
    _database: tempfile::TempDir,
}

impl Cloud {
    fn start() -> Self {
        let (keystone, memcached) = (Keystone::start().unwrap(), Memcached::start().unwrap());
        let database = tempfile::tempdir().unwrap();
        let url = format!("sqlite:///{}", database.path().join("neutron.sqlite").display());
        let upgrade = Command::new(PROGRAM).args(["db", "upgrade", "head", "--url", &url]).output().unwrap();
        assert!(upgrade.status.success(), "{}", String::from_utf8_lossy(&upgrade.stderr));
        let [public, admin] = keystone.addresses() else { panic!("two addresses") };
        let configuration = format!(
            "[DEFAULT]\ndebug = true\nauth_strategy = keystone\ncore_plugin = ml2\ntransport_url = fake://\n\
             [database]\nconnection = {url}\n[keystone_authtoken]\nauth_uri = http://{public}\nauth_url = http://{admin}\n\
             memcached_servers = {}\nauth_type = password\nproject_domain_name = default\nuser_domain_name = default\n\
             project_name = service\nusername = neutron\npassword = neutron\nhttp_request_max_retries = 0\n",
            memcached.address()
        );
        let service = Plan::server(PROGRAM).configuration(&configuration).start().unwrap();
        keystone.register("network", "neutron", &format!("http://{}", service.address())).unwrap();
        Self { service, keystone, _memcached: memcached, _database: database }
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let body = (!body.is_null()).then(|| body.to_string());
        self.service.client().send(method, path, headers, body.as_deref().map(str::as_bytes)).unwrap()
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, &Value::Null)
    }

    fn openstack(&self, user: &str, password: &str, project: &str, words: &str) -> String {
        let variables = [
            ("OS_AUTH_URL", self.keystone.url()),
            ("OS_USERNAME", user.to_owned()),
            ("OS_PASSWORD", password.to_owned()),
            ("OS_PROJECT_NAME", project.to_owned()),
            ("OS_USER_DOMAIN_NAME", "Default".to_owned()),
            ("OS_PROJECT_DOMAIN_NAME", "Default".to_owned()),
            ("OS_IDENTITY_API_VERSION", "3".to_owned()),
        ];
        let words: Vec<&str> = words.split_whitespace().collect();
        let output = Clients::find().unwrap().openstack_with(&variables, &words).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }
}

#[test]
fn keystone_says_who_gets_in() {
    let mut cloud = Cloud::start();
    what_is_open_and_what_is_not(&cloud);
    openstackclient_lists_what_each_may_see(&cloud);
    nobody_becomes_more_by_saying_so(&cloud);
    println!("the server with Keystone in front holds {} KiB", cloud.service.resident_kib().unwrap());
    let known = what_is_known_goes_on_without_keystone(&mut cloud);
    let log = cloud.service.log();
    for secret in [known.as_str(), "gAAAA", "password = neutron"] {
        assert_eq!(log.lines().find(|line| line.contains(secret)), None);
    }
    // That Keystone was away is an error in the log, so it is not looked at any further.
    cloud.service.terminate().unwrap();
}

fn what_is_open_and_what_is_not(cloud: &Cloud) {
    assert_eq!(cloud.get("/", &[]).status, 200);
    assert_eq!(cloud.get("/healthcheck", &[]).status, 200);
    let challenge = format!("Keystone uri=\"{}\"", cloud.keystone.url());
    let forged = [("X-User-Id", "u"), ("X-Project-Id", "p"), ("X-Roles", "admin"), ("X-Identity-Status", "Confirmed")];
    for path in ["/v2.0/", "/v2.0/networks", "/v2.0/extensions", "/%762.0/networks", "/v2.0/nothing"] {
        for headers in [&[][..], &[("X-Auth-Token", "nonsense")][..], &forged[..]] {
            let answer = cloud.get(path, headers);
            assert_eq!(answer.status, 401, "{path} {headers:?}");
            assert_eq!(
                answer.text(),
                "{\"error\": {\"code\": 401, \"title\": \"Unauthorized\", \"message\": \"The request you have made requires \
                 authentication.\"}}"
            );
            assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert!(answer.header("x-openstack-request-id").unwrap().starts_with("req-"));
        }
    }
}

fn openstackclient_lists_what_each_may_see(cloud: &Cloud) {
    let admin = |words: &str| cloud.openstack("admin", PASSWORD, "admin", words);
    let member = |words: &str| cloud.openstack("member", "member", "demo", words);
    admin("network create of-admin -f value -c name");
    let project = admin("project show demo -f value -c id");
    let made = member("network create of-member -f value -c project_id");
    assert_eq!(made, project);
    assert_eq!(admin("network list -f value -c Name --sort-column Name"), "of-admin\nof-member\n");
    assert_eq!(member("network list -f value -c Name"), "of-member\n");
    assert_eq!(cloud.openstack("reader", "reader", "demo", "network list -f value -c Name"), "of-member\n");
}

fn nobody_becomes_more_by_saying_so(cloud: &Cloud) {
    let token = cloud.keystone.token("member", "member", "demo").unwrap();
    let headers =
        [("X-Auth-Token", token.as_str()), ("X-Roles", "admin"), ("X-Project-Id", "other"), ("X-Role", "admin")];
    let networks = cloud.get("/v2.0/networks", &headers).json()["networks"].as_array().unwrap().len();
    assert_eq!(networks, 1);
    let body = json!({"network": {"name": "n", "tenant_id": "other"}});
    let answer = cloud.send("POST", "/v2.0/networks", &headers, &body);
    assert!(
        answer.status == 400 && answer.text().contains("other than the authenticated project"),
        "{}",
        answer.text()
    );
    // The log tells who it was.
    let (log, project) = (cloud.service.log(), cloud.get("/v2.0/networks", &headers).json()["networks"][0].clone());
    let line = log.lines().rfind(|line| line.contains("POST /v2.0/networks")).unwrap();
    let id = answer.header("x-openstack-request-id").unwrap();
    assert!(line.contains(id) && line.contains(project["project_id"].as_str().unwrap()), "{line}");
}

fn what_is_known_goes_on_without_keystone(cloud: &mut Cloud) -> String {
    let (known, unknown) =
        (cloud.keystone.token("member", "member", "demo"), cloud.keystone.token("reader", "reader", "demo"));
    let (known, unknown) = (known.unwrap(), unknown.unwrap());
    assert_eq!(cloud.get("/v2.0/networks", &[("X-Auth-Token", &known)]).status, 200);
    cloud.keystone.stop();
    assert_eq!(cloud.get("/v2.0/networks", &[("X-Auth-Token", &known)]).status, 200);
    let answer = cloud.get("/v2.0/networks", &[("X-Auth-Token", &unknown), ("Accept", "application/json")]);
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json()["message"],
        "The server is currently unavailable. Please try again at a later time.<br /><br />\nThe Keystone service is \
         temporarily unavailable.\n\n"
    );
    assert_eq!(cloud.get("/v2.0/networks", &[]).status, 401, "what carries no token need not be asked about");
    let log = cloud.service.log();
    let told = log.lines().find(|line| line.contains("cannot validate tokens")).unwrap();
    assert!(told.contains("ERROR") && told.contains("cannot connect to http://127.0.0.1:"), "{told}");
    known
}
