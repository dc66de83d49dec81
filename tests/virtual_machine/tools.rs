//! How machines are plugged in, and what is asked of them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kernel::Namespace;
use serde_json::Value;
use testkit::{
    host::{bridge, run, tap},
    http::text,
    process::signal,
    virtual_machine::VirtualMachine,
};

/// Emulation is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Ways in which a hypervisor plugs a card in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plugging {
    /// Nova makes the bridge of the network and the tap in it.
    Bridge,
    /// Nova makes a tap and leaves the rest to the agent.
    Tap,
}

impl Plugging {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Tap => "tap",
        }
    }

    /// What Nova does before it starts the machine, by the vif type of the port.
    pub(crate) fn prepare(self, root: &Namespace, port: &Value) {
        let tap = tap(port);
        run(root, "ip", &format!("tuntap add {tap} mode tap")).unwrap();
        if self == Self::Bridge {
            let bridge = bridge(&text(port, "network_id"));
            // Where the DHCP agent was first it is there already.
            let _ = run(root, "ip", &format!("link add {bridge} type bridge"));
            run(root, "ip", &format!("link set {bridge} up")).unwrap();
            run(root, "ip", &format!("link set {tap} master {bridge}")).unwrap();
        }
        run(root, "ip", &format!("link set {tap} up")).unwrap();
    }
}

/// The address of a family, by its number.
pub(crate) fn address(port: &Value, version: usize) -> String {
    let fixed = port["fixed_ips"].as_array().unwrap();
    let addresses = fixed.iter().map(|fixed| text(fixed, "ip_address"));
    let of_version = |address: &String| address.parse::<IpAddr>().unwrap().is_ipv4() == (version == 4);
    addresses.into_iter().find(of_version).unwrap()
}

/// Counts the packets on a card that some filter takes, from its making until it is asked.
pub(crate) struct Capture(Child);

impl Capture {
    pub(crate) fn start(inside: &Namespace, link: &str, filter: &str) -> Self {
        let mut command = Command::new("tcpdump");
        command.args(["-i", link, "-n", "--immediate-mode", filter]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = inside.run(|| command.spawn()).unwrap().expect("tcpdump is installed");
        let mut said = BufReader::new(child.stderr.as_mut().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "tcpdump ended");
        }
        Self(child)
    }

    pub(crate) fn count(mut self) -> u32 {
        signal(self.0.id(), kernel::process::Signal::SIGINT).unwrap();
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        self.0.wait().unwrap();
        let line = said.lines().find(|line| line.ends_with(" captured")).expect("tcpdump counts");
        line.split(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A stream as of a shell: what listens says who it is, then sends back what it gets.
pub(crate) fn talks(from: &Namespace, to: &str, vm: &mut VirtualMachine) {
    vm.run("printf '#!/bin/sh\\necho SSH-2.0-instance\\nexec cat\\n' >/tmp/shell; chmod +x /tmp/shell").unwrap();
    vm.run("nc -ll -p 22 -e /tmp/shell &").unwrap();
    let to = SocketAddr::new(to.parse().unwrap(), 22);
    let began = Instant::now();
    let stream = loop {
        match from.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(5))).unwrap() {
            Ok(stream) => break stream,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut reader, mut line) = (BufReader::new(stream.try_clone().unwrap()), String::new());
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "SSH-2.0-instance\n");
    // Enough that packets are as large as they may be.
    let mut sent = vec![b'x'; 200_000];
    sent.push(b'\n');
    let writing = sent.clone();
    let writer = std::thread::spawn(move || (&stream).write_all(&writing).unwrap());
    let mut got = vec![0; sent.len()];
    reader.read_exact(&mut got).unwrap();
    writer.join().unwrap();
    assert!(got == sent, "the bytes that came back are others");
}
