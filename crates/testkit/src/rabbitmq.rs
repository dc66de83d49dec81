//! A private RabbitMQ: its own data directory, node name, name service and ports, gone when dropped.
//!
//! It runs as the package's account where the test is root. Nothing of the system's service is touched: an epmd of its
//! own, on a port of its own, keeps the node apart from every other.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    certificates::Certificates,
    instance::{Place, free_port, program},
    wait,
};

/// User of every virtual host, with all rights.
pub const USER: &str = "openstack";
/// Password of that user.
pub const PASSWORD: &str = "secret";
/// How long the broker may take to start, on a machine busy with other tests.
const START: Duration = Duration::from_secs(120);
/// The file with the secret that nodes of a cluster share.
const COOKIE: &str = ".erlang.cookie";
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// A running broker with the virtual host `/`, in plain on one port and with TLS on another.
#[derive(Debug)]
pub struct Broker {
    place: Place,
    certificates: Certificates,
    tls_port: u16,
    name_port: u16,
    distribution_port: u16,
    /// The name service, which a broker that has joined another has from that.
    names: Option<Child>,
    /// The broker, unless it was stopped.
    server: Option<Child>,
}

impl Broker {
    /// Makes the directory, starts the broker and waits until it serves. Blocks for a few seconds.
    pub fn start() -> Result<Self> {
        let mut broker = Self::prepared(free_port()?)?;
        let epmd = program("epmd", &["/usr/bin", "/usr/local/bin"].map(PathBuf::from))?;
        let mut names = broker.place.command(&epmd, "epmd")?;
        names.args(["-address", "127.0.0.1", "-port", &broker.name_port.to_string()]);
        broker.names = Some(names.spawn().context("epmd could not be started")?);
        broker.resume()?;
        Ok(broker)
    }

    /// Starts another one that makes a cluster with this one, for as long as this one lives. Blocks for several seconds.
    pub fn start_beside(&self) -> Result<Self> {
        let mut broker = Self::prepared(self.name_port)?;
        // Who has the same secret may join.
        let secret = broker.place.path(COOKIE);
        std::fs::copy(self.place.path(COOKIE), &secret)?;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o400))?;
        if let Some((uid, gid)) = broker.place.user() {
            chown(&secret, Some(uid), Some(gid))?;
        }
        broker.resume()?;
        broker.control(&["stop_app"])?;
        broker.control(&["join_cluster", &self.node()])?;
        broker.control(&["start_app"])?;
        Ok(broker)
    }

    fn prepared(name_port: u16) -> Result<Self> {
        let place = Place::for_account("rabbitmq")?;
        let (tls_port, distribution_port) = (free_port()?, free_port()?);
        let certificates = Certificates::make("DNS:localhost,IP:127.0.0.1")?;
        let configuration = configuration(&place, tls_port, certificates.install(&place)?);
        std::fs::write(place.path("rabbitmq.conf"), configuration)?;
        std::fs::write(place.path("enabled_plugins"), "[].\n")?;
        Ok(Self { place, certificates, tls_port, name_port, distribution_port, names: None, server: None })
    }

    /// Its name among others.
    fn node(&self) -> String {
        format!("isospin-{}@localhost", self.place.port)
    }

    /// Where clients connect without TLS.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.place.port).into()
    }

    /// Where clients connect with TLS.
    pub fn tls_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.tls_port).into()
    }

    /// The authority of the TLS port, whose certificate is for `localhost` and 127.0.0.1, and a client's certificate.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The `transport_url` of the virtual host `/`.
    pub fn url(&self) -> String {
        self.url_at(self.address(), "/")
    }

    /// The `transport_url` of a virtual host, by way of another address, as of a proxy.
    pub fn url_at(&self, address: SocketAddr, vhost: &str) -> String {
        format!("rabbit://{USER}:{PASSWORD}@{address}/{}", vhost.replace('/', "%2F"))
    }

    /// Makes another virtual host and gives the user all rights in it.
    pub fn add_vhost(&self, vhost: &str) -> Result<()> {
        self.control(&["add_vhost", vhost])?;
        self.control(&["set_permissions", "-p", vhost, USER, ".*", ".*", ".*"])?;
        Ok(())
    }

    /// Runs `rabbitmqctl` and returns what it prints. Takes a second or two.
    pub fn control(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("rabbitmqctl", "rabbitmqctl")?;
        command.arg("--quiet").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = command.output().context("rabbitmqctl could not be started")?;
        if !output.status.success() {
            bail!("rabbitmqctl {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Names of the queues of a virtual host, in order.
    pub fn queues(&self, vhost: &str) -> Result<Vec<String>> {
        let listed = self.control(&["list_queues", "-p", vhost, "--no-table-headers", "name"])?;
        let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Ends the broker as a power cut would; its data stays.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            end_group(&server);
            let _ = server.wait();
            // The rest of the group is nobody's child here: its end is seen by its port.
            wait::until(Duration::from_secs(10), || TcpStream::connect(self.address()).is_err());
        }
    }

    /// Starts the broker that was killed and waits until it serves.
    pub fn resume(&mut self) -> Result<()> {
        let mut command = self.command("rabbitmq-server", "rabbitmq-server")?;
        // Its helpers outlive a shell that is killed; a group of their own lets them all be ended.
        command.process_group(0);
        self.server = Some(command.spawn().context("rabbitmq-server could not be started")?);
        let deadline = Instant::now() + START;
        for address in [self.address(), self.tls_address()] {
            while TcpStream::connect(address).is_err() {
                let ended = self.server.as_mut().map(Child::try_wait).transpose()?.flatten();
                if ended.is_some() || Instant::now() > deadline {
                    let log = std::fs::read_to_string(self.place.path("rabbitmq-server.log")).unwrap_or_default();
                    bail!("rabbitmq-server does not answer (ended: {ended:?}): {log}");
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// The number of the broker's shell, for looking at what it uses.
    pub fn process(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    fn command(&self, name: &str, log: &str) -> Result<Command> {
        let mut command = self.place.command(&program(name, &[PathBuf::from(PROGRAMS)])?, log)?;
        let path = |name: &str| self.place.path(name);
        command
            .env("HOME", path(""))
            .env("LC_ALL", "C.UTF-8")
            .env("ERL_EPMD_PORT", self.name_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", self.node())
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_CONF_ENV_FILE", path("no-environment"))
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", path("data"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_SCHEMA_DIR", path("schema"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", path("generated"))
            .env("RABBITMQ_PID_FILE", path("pid"))
            // One thread and no busy waiting: other tests run beside.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none");
        Ok(command)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if let Some(names) = &mut self.names {
            let _ = names.kill();
            let _ = names.wait();
        }
    }
}

/// Kills a process and all of its group, which it leads.
fn end_group(leader: &Child) {
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", leader.id())]).status();
}

fn configuration(place: &Place, tls_port: u16, [authority, certificate, key]: [String; 3]) -> String {
    format!(
        "\
listeners.tcp.default = 127.0.0.1:{port}
listeners.ssl.default = 127.0.0.1:{tls_port}
ssl_options.cacertfile = {authority}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
default_user = {USER}
default_pass = {PASSWORD}
loopback_users = none
num_acceptors.tcp = 2
num_acceptors.ssl = 2
vm_memory_high_watermark.absolute = 256MB
disk_free_limit.absolute = 1MB
log.file = false
log.console = true
log.console.level = warning
",
        port = place.port,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_serves_survives_a_kill_and_goes() {
        let mut broker = Broker::start().unwrap();
        broker.add_vhost("other").unwrap();
        assert!(broker.queues("other").unwrap().is_empty());
        broker.kill();
        assert!(TcpStream::connect(broker.address()).is_err());
        broker.resume().unwrap();
        assert!(broker.control(&["list_vhosts", "--no-table-headers"]).unwrap().lines().any(|vhost| vhost == "other"));
        let (address, directory) = (broker.address(), broker.place.path(""));
        drop(broker);
        assert!(TcpStream::connect(address).is_err());
        assert!(!directory.exists());
    }
}
