//! An instance of the demo: a namespace with one Ethernet card, plugged in as a hypervisor would plug a machine.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ipnet::IpNet;
use kernel::{Address, LinkChange, Namespace, NewKind, NewLink, Route, System, process::which};
use serde_json::Value;
use types::{Mac, PortId, device};

use super::super::Stop;

/// The instance's Ethernet card.
const CARD: &str = "eth0";
/// What the DHCP client calls: it notes what the client was given and leaves the machine as it is.
const SCRIPT: &str = r#"#!/bin/sh
[ "$1" = bound ] || exit 0
{
    echo "ip=$ip"
    echo "mask=$mask"
    echo "router=$router"
    echo "dns=$dns"
    echo "mtu=$mtu"
} > "$ISOSPIN_LEASE"
"#;
/// How long a DHCP client or a ping may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A machine to be.
pub(super) struct Instance {
    pub(super) name: &'static str,
    pub(super) port: PortId,
    pub(super) mac: Mac,
    /// The address that the API promised.
    pub(super) address: IpAddr,
}

/// What a DHCP client was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lease {
    net: IpNet,
    gateway: Option<IpAddr>,
    name_server: Option<IpAddr>,
    mtu: Option<u32>,
}

/// Fails unless the programs that instances run are there.
pub(super) fn check_programs() -> Result<(), Stop> {
    for (program, package) in [("udhcpc", "udhcpc"), ("ping", "iputils-ping")] {
        if which(program).is_none() {
            return Err(Stop::failed(format!(
                "{program}, which the demo's instances run, is not installed; install {package}"
            )));
        }
    }
    Ok(())
}

impl Instance {
    /// The instance for a port that was created.
    pub(super) fn of_port(name: &'static str, port: &Value) -> Result<Self, Stop> {
        let odd = || Stop::failed(format!("the API's answer is no port with an address: {port}"));
        let text = |key: &str| port[key].as_str().ok_or_else(odd);
        // The client shows structures as text within JSON too.
        let fixed_ips: Value = match &port["fixed_ips"] {
            Value::String(text) => {
                text.lines().next().and_then(|line| serde_json::from_str(line).ok()).ok_or_else(odd)?
            }
            other => other.clone(),
        };
        let fixed_ip = fixed_ips.get(0).unwrap_or(&fixed_ips);
        Ok(Self {
            name,
            port: text("id")?.parse().map_err(|_| odd())?,
            mac: text("mac_address")?.parse().map_err(|_| odd())?,
            address: fixed_ip["ip_address"].as_str().and_then(|text| text.parse().ok()).ok_or_else(odd)?,
        })
    }

    /// The host's end of its card.
    pub(super) fn tap(&self) -> String {
        device::tap(self.port)
    }

    fn namespace(&self) -> Namespace {
        System::current().namespace(self.name)
    }

    /// Makes the namespace and the card, whose other end appears on the host.
    pub(super) async fn plug(&self) -> Result<(), Stop> {
        let failed = |error| Stop::because(format!("cannot plug {}", self.name), error);
        let system = System::current();
        let namespace = system.namespace_create(self.name).map_err(failed)?;
        let card = LinkChange::up().with_mac(self.mac).in_namespace(&namespace);
        let kind = NewKind::Veth { peer: CARD.to_owned(), settings: Box::new(card) };
        let link = NewLink { name: self.tap(), kind, settings: LinkChange::up() };
        system.root().open().map_err(failed)?.link_create(&link).await.map_err(failed)
    }

    /// Runs a DHCP client, and sets the card up as it was told.
    pub(super) async fn lease(&self, dir: &Path) -> Result<Lease, Stop> {
        let script = dir.join("udhcpc-script");
        let noted = dir.join(format!("{}.lease", self.name));
        write_script(&script).map_err(|error| Stop::because(format!("cannot write {}", script.display()), error))?;
        let arguments = ["-i", CARD, "-f", "-n", "-q", "-t", "10", "-T", "1", "-O", "mtu", "-s"];
        let mut command = command("udhcpc");
        command.args(arguments).arg(&script).env("ISOSPIN_LEASE", &noted);
        let output = self.run(command).await?;
        let text = std::fs::read_to_string(&noted)
            .map_err(|_| Stop::failed(format!("{} got no answer by DHCP: {}", self.name, last_line(&output.stderr))))?;
        let lease = Lease::of_notes(&text)
            .ok_or_else(|| Stop::failed(format!("{} was told no address by DHCP: {text}", self.name)))?;
        if lease.net.addr() != self.address {
            return Err(Stop::failed(format!("{} got {lease} by DHCP, but its port has {}", self.name, self.address)));
        }
        self.set_up(&lease).await.map_err(|error| Stop::because(format!("cannot set up {}", self.name), error))?;
        Ok(lease)
    }

    async fn set_up(&self, lease: &Lease) -> kernel::Result<()> {
        let netlink = self.namespace().open()?;
        let card = netlink.link(CARD).await?.ok_or_else(|| kernel::Error::missing("find", CARD))?;
        if let Some(mtu) = lease.mtu {
            netlink.link_set(CARD, &LinkChange::default().with_mtu(mtu)).await?;
        }
        netlink.address_set(&Address::new(card.index, lease.net)).await?;
        match lease.gateway {
            Some(gateway) => netlink.route_replace(&Route::default_via(gateway, card.index)).await,
            None => Ok(()),
        }
    }

    /// Pings an address and tells how that went.
    pub(super) async fn ping(&self, to: IpAddr) -> Result<String, Stop> {
        let mut command = command("ping");
        command.args(["-n", "-c", "5", "-i", "0.2", "-W", "2", &to.to_string()]);
        let output = self.run(command).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        match (output.status.success(), ping_result(&text)) {
            (true, Some(result)) if result.starts_with("5 of 5 ") => Ok(result),
            _ => Err(Stop::failed(format!("{} cannot reach {to}: {}", self.name, last_line(&output.stdout)))),
        }
    }

    /// Runs a program in the instance. A child inherits the namespace of the thread that makes it.
    async fn run(&self, mut command: tokio::process::Command) -> Result<std::process::Output, Stop> {
        let runtime = tokio::runtime::Handle::current();
        let spawned = self.namespace().run(move || {
            let _entered = runtime.enter();
            command.spawn()
        });
        let child = spawned
            .map_err(|error| Stop::because(format!("cannot enter {}", self.name), error))?
            .map_err(|error| Stop::because(format!("cannot run a program in {}", self.name), error))?;
        match tokio::time::timeout(LIMIT, child.wait_with_output()).await {
            Ok(output) => output.map_err(|error| Stop::because("a program cannot be waited for", error)),
            Err(_) => Err(Stop::failed(format!("a program in {} did not end within {} s", self.name, LIMIT.as_secs()))),
        }
    }
}

fn command(program: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(which(program).unwrap_or_else(|| program.into()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn write_script(path: &Path) -> std::io::Result<()> {
    std::fs::write(path, SCRIPT)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
}

/// `5 of 5 answered, 0.045 ms on average`, from what `ping` prints at its end.
fn ping_result(text: &str) -> Option<String> {
    let counts = text.lines().find(|line| line.contains("packets transmitted"))?;
    let mut words = counts.split([' ', ',']).filter(|word| !word.is_empty());
    let sent = words.next()?;
    let received = words.nth(2)?;
    let times = text.lines().find(|line| line.starts_with("rtt "))?;
    let average = times.split(" = ").nth(1)?.split('/').nth(1)?;
    Some(format!("{received} of {sent} answered, {average} ms on average"))
}

impl Lease {
    /// Reads what the script noted.
    fn of_notes(text: &str) -> Option<Self> {
        let variables: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let first = |name: &str| variables.get(name)?.split_whitespace().next()?.parse::<IpAddr>().ok();
        let prefix = variables.get("mask")?.parse().ok()?;
        Some(Self {
            net: IpNet::new(first("ip")?, prefix).ok()?,
            gateway: first("router"),
            name_server: first("dns"),
            mtu: variables.get("mtu").and_then(|mtu| mtu.parse().ok()),
        })
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.net)?;
        if let Some(gateway) = self.gateway {
            write!(f, ", gateway {gateway}")?;
        }
        if let Some(name_server) = self.name_server {
            write!(f, ", DNS {name_server}")?;
        }
        match self.mtu {
            Some(mtu) => write!(f, ", MTU {mtu}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_is_read_from_what_the_client_notes() {
        let text = "ip=10.77.0.5\nmask=24\nrouter=10.77.0.1\ndns=10.77.0.2 10.77.0.3\nmtu=1450\n";
        let lease = Lease::of_notes(text).unwrap();
        assert_eq!(lease.to_string(), "10.77.0.5/24, gateway 10.77.0.1, DNS 10.77.0.2, MTU 1450");
        assert_eq!(Lease::of_notes("ip=\nmask=\n"), None);
        assert_eq!(Lease::of_notes("ip=10.0.0.1\nmask=24\nrouter=\ndns=\nmtu=\n").unwrap().to_string(), "10.0.0.1/24");
    }

    #[test]
    fn pings_are_counted() {
        let text = "PING 10.77.0.5 (10.77.0.5) 56(84) bytes of data.\n\n--- 10.77.0.5 ping statistics ---\n\
                    5 packets transmitted, 5 received, 0% packet loss, time 812ms\n\
                    rtt min/avg/max/mdev = 0.023/0.045/0.099/0.027 ms\n";
        assert_eq!(ping_result(text).unwrap(), "5 of 5 answered, 0.045 ms on average");
        assert_eq!(ping_result("ping: connect: Network is unreachable\n"), None);
    }

    #[test]
    fn a_port_is_read_from_either_shape_of_json() {
        let id = "788156bb-06ee-4c5e-8fbe-85c4917f210f";
        let fixed = json!({"subnet_id": "s", "ip_address": "10.77.0.3"});
        for fixed_ips in [json!([fixed]), json!(fixed.to_string())] {
            let port = json!({"id": id, "mac_address": "fa:16:3e:97:32:c3", "fixed_ips": fixed_ips});
            let instance = Instance::of_port("one", &port).unwrap();
            assert_eq!(
                (instance.tap().as_str(), instance.address.to_string().as_str()),
                ("tap788156bb-06", "10.77.0.3")
            );
        }
        assert!(Instance::of_port("one", &json!({"id": id})).is_err());
    }
}
