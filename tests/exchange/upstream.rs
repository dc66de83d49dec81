//! Upstream's server and ours, each started and stopped on one database.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use testkit::{
    http::Client,
    instance::free_port,
    mariadb::MariaDb,
    standalone::{Plan, Service},
};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_isospin");
/// What only the compute service may do, for the administrator that everybody is without authentication.
const POLICY: &str = "\
create_port:binding:profile: rule:context_is_admin
update_port:binding:profile: rule:context_is_admin
get_port_binding: rule:context_is_admin
create_port_binding: rule:context_is_admin
delete_port_binding: rule:context_is_admin
activate: rule:context_is_admin
";
/// How long upstream's server may take to answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The database, and the configuration that both servers read.
pub(crate) struct Place {
    venv: PathBuf,
    directory: tempfile::TempDir,
    pub(crate) mariadb: MariaDb,
}

/// Upstream's server while it runs.
pub(crate) struct Upstream {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let venv = std::env::var("UPSTREAM_VENV").expect("UPSTREAM_VENV; use make test-exchange");
        let place = Self {
            venv: fs::canonicalize(venv).unwrap(),
            directory: tempfile::Builder::new().prefix("isospin-test-").tempdir().unwrap(),
            mariadb: MariaDb::start().unwrap(),
        };
        fs::write(place.configuration_path(), place.configuration("neutron")).unwrap();
        fs::write(place.directory.path().join("policy.yaml"), POLICY).unwrap();
        place
    }

    pub(crate) fn configuration_path(&self) -> PathBuf {
        self.directory.path().join("neutron.conf")
    }

    /// The options, for the database of this name. Mechanisms and plug-ins are those that both have.
    pub(crate) fn configuration(&self, database: &str) -> String {
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let paste = self.venv.join("etc/neutron/api-paste.ini").display().to_string();
        format!(
            "[DEFAULT]\nauth_strategy = noauth\ncore_plugin = ml2\nservice_plugins = router,segments,trunk,flavors\n\
             transport_url = fake://\napi_paste_config = {paste}\nstate_path = {}\nlog_options = false\n\
             notify_nova_on_port_status_changes = false\nnotify_nova_on_port_data_changes = false\n\
             network_auto_schedule = false\n[database]\nconnection = {}\n[oslo_concurrency]\nlock_path = {}\n\
             [oslo_policy]\npolicy_file = {}\n\
             [quotas]\nquota_network = -1\nquota_subnet = -1\nquota_port = -1\nquota_security_group = -1\n\
             quota_security_group_rule = -1\n[ml2]\ntype_drivers = flat,vlan,gre,vxlan,geneve,local\n\
             tenant_network_types = vxlan\nmechanism_drivers = openvswitch\nextension_drivers = port_security\n\
             [ml2_type_flat]\nflat_networks = *\n[ml2_type_vlan]\nnetwork_vlan_ranges = physnet1:100:400\n\
             [ml2_type_vxlan]\nvni_ranges = 1:8000\n[ml2_type_gre]\ntunnel_id_ranges = 1:200\n\
             [ml2_type_geneve]\nvni_ranges = 1:200\nmax_header_size = 38\n",
            at("state"),
            self.mariadb.url_of(database),
            at("lock"),
            at("policy.yaml"),
        )
    }

    /// Runs a tool of upstream's on a configuration.
    pub(crate) fn manage(&self, configuration: &Path, words: &[&str]) -> Output {
        let mut command = Command::new(self.venv.join("bin/neutron-db-manage"));
        command.arg("--config-file").arg(configuration).args(words).output().unwrap()
    }

    /// Starts upstream's server and waits until it answers.
    pub(crate) fn upstream(&self) -> Upstream {
        let port = free_port().unwrap();
        let ini = self.directory.path().join("uwsgi.ini");
        let text = format!(
            "[uwsgi]\nmodule = neutron.wsgi.api:application\nhttp-socket = 127.0.0.1:{port}\nprocesses = 1\n\
             threads = 2\nmaster = true\nenable-threads = true\nlazy-apps = true\nbuffer-size = 65535\n\
             die-on-term = true\nstart-time = %t\nenv = OS_NEUTRON_CONFIG_FILES={}\nadd-header = Connection: close\n",
            self.configuration_path().display()
        );
        fs::write(&ini, text).unwrap();
        let log = self.directory.path().join("upstream.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(self.venv.join("bin/uwsgi"))
            .arg("--ini")
            .arg(&ini)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut upstream = Upstream { child, address: format!("127.0.0.1:{port}"), log };
        let deadline = Instant::now() + PATIENCE;
        while !upstream
            .client()
            .send("GET", "/v2.0/networks?limit=1", &[], None)
            .is_ok_and(|answer| answer.status == 200)
        {
            let ended = upstream.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "upstream does not start: {}", upstream.log_end());
            std::thread::sleep(Duration::from_millis(200));
        }
        upstream
    }

    /// Starts our server.
    pub(crate) fn ours(&self) -> Service {
        Plan::server(PROGRAM).configuration(&self.configuration("neutron")).start().unwrap()
    }
}

impl Upstream {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address.clone(), kernel::Namespace::CURRENT)
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Ends it after the requests in progress.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = testkit::process::signal(self.child.id(), testkit::process::Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the log of upstream's server ends:\n{}", self.log_end());
        }
    }
}
