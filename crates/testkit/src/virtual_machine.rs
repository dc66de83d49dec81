//! An instance that is a real one: Debian's kernel with a small initramfs, emulated by QEMU, its card the tap of a port.
//! It does what it is told on its console, and everything it says is kept. `scripts/set-up vm` brings what it is made of.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use kernel::Namespace;
use tempfile::TempDir;

/// Emulation is slow, more so on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// What a card needs of the kernel, in the order in which it is loaded.
const MODULES: [&str; 8] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
];
/// Programs of this machine that the instance has besides those of busybox.
const PROGRAMS: [&str; 2] = ["/sbin/dhclient", "/usr/bin/curl"];
/// What it has besides the directories of those.
const DIRECTORIES: [&str; 7] = ["/bin", "/dev", "/etc", "/modules", "/proc", "/sys", "/tmp"];
/// Runs each line it is given and says how it ended. Routes that routers advertise are taken, as systemd-networkd does. A line that ends with `&` goes on beside the next.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo 128 >/proc/sys/net/ipv6/conf/default/accept_ra_rt_info_max_plen
for module in /modules/*; do insmod $module; done
ip link set lo up
ip link set eth0 up
stty -echo
echo "@ready@"
while read -r number line; do
    eval "$line" </dev/null 2>&1
    echo "@$number $?@"
done
poweroff -f
"#;
/// What the DHCP clients call; it sets the card up as it was told.
const LEASED: &str = r#"#!/bin/busybox sh
env >>/lease
case "$1$reason" in
bound)
    ip link set dev eth0 mtu "${mtu:-1500}"
    ip address replace "$ip/$mask" dev eth0
    [ -z "$router" ] || ip route replace default via "${router%% *}"
    set -- $staticroutes
    while [ $# -ge 2 ]; do ip route replace "$1" via "$2"; shift 2; done ;;
BOUND6) ip address replace "$new_ip6_address/$new_ip6_prefixlen" dev eth0 ;;
esac
exit 0
"#;

/// A running machine. It ends with the value.
pub struct VirtualMachine {
    child: Child,
    input: ChildStdin,
    console: Arc<Mutex<String>>,
    commands: u32,
    /// From the start of the emulator until it takes commands.
    pub booted_in: Duration,
    _directory: TempDir,
}

impl VirtualMachine {
    /// Starts one in the namespace of a host, with this tap, which is made if it is not there, and this hardware address.
    pub fn boot(host: &Namespace, tap: &str, mac: &str) -> Result<Self> {
        let cache = cache()?;
        let directory = tempfile::Builder::new().prefix("isospin-vm-").tempdir()?;
        let initramfs = directory.path().join("initramfs");
        fs::write(&initramfs, archive(&cache)?)?;
        let began = Instant::now();
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-accel",
            "tcg",
            "-machine",
            "q35",
            "-cpu",
            "max",
            "-m",
            "256",
            "-nodefaults",
            "-no-user-config",
        ]);
        command.args(["-display", "none", "-serial", "stdio", "-no-reboot"]);
        command.arg("-kernel").arg(cache.join("kernel/boot/vmlinuz")).arg("-initrd").arg(&initramfs);
        // Where the processor is busy, the kernel's test of whether its timer ticks fails, and so would the boot.
        let words = "console=ttyS0 quiet loglevel=4 panic=-1 random.trust_cpu=on net.ifnames=0 no_timer_check";
        command.args(["-append", words]);
        command.args(["-netdev", &format!("tap,id=n0,ifname={tap},script=no,downscript=no")]);
        command.args(["-device", &format!("virtio-net-pci,netdev=n0,mac={mac},romfile=")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = host.run(|| command.spawn())?.context("qemu-system-x86 is not installed")?;
        let input = child.stdin.take().context("a pipe")?;
        let console = Arc::new(Mutex::new(String::new()));
        listen(child.stdout.take().context("a pipe")?, Arc::clone(&console));
        let mut machine = Self { child, input, console, commands: 0, booted_in: Duration::ZERO, _directory: directory };
        machine.until_said(0, "@ready@").context("it does not start")?;
        machine.booted_in = began.elapsed();
        Ok(machine)
    }

    /// Runs a line of shell; what it printed, if it succeeded.
    pub fn run(&mut self, line: &str) -> Result<String> {
        let (code, said) = self.attempt(line)?;
        ensure!(code == 0, "in the instance, '{line}' ended with {code}: {said}\nIts console:\n{}", self.console_end());
        Ok(said)
    }

    /// Runs a line of shell; how it ended, and what it printed.
    pub fn attempt(&mut self, line: &str) -> Result<(i32, String)> {
        self.commands += 1;
        let (number, from) = (self.commands, self.console().len());
        writeln!(self.input, "{number} {line}")?;
        let mark = format!("@{number} ");
        let said = self.until_said(from, &mark).with_context(|| format!("in the instance, '{line}' does not end"))?;
        let rest = self.until_said(from + said.len() + mark.len(), "@")?;
        Ok((rest.parse().with_context(|| format!("an exit code, not {rest}"))?, said.replace('\r', "")))
    }

    /// Has it ask for an IPv4 address. What it was told, one `name=value` a line.
    pub fn dhcp(&mut self) -> Result<String> {
        self.run("rm -f /lease; udhcpc -i eth0 -f -n -q -t 30 -T 1 -O mtu -O staticroutes -s /leased && cat /lease")
    }

    /// Has it ask for an IPv6 address. What it was told, one `name=value` a line.
    pub fn dhcpv6(&mut self) -> Result<String> {
        // Its own address of the link must have been found to be nobody else's.
        self.run("until ip -6 address show eth0 | grep fe80: | grep -qv tentative; do sleep 0.1; done; rm -f /lease")?;
        self.run("timeout 120 dhclient -v -6 -1 -pf /tmp/pid -lf /tmp/leases -sf /leased eth0 && cat /lease")
    }

    /// The end of what it said, for messages.
    pub fn console_end(&self) -> String {
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n")
    }

    fn console(&self) -> MutexGuard<'_, String> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has said something beyond a place; what stands between them.
    fn until_said(&mut self, from: usize, what: &str) -> Result<String> {
        let began = Instant::now();
        loop {
            let said = self.console().get(from..).and_then(|rest| Some(rest.split_once(what)?.0.to_owned()));
            if let Some(said) = said {
                return Ok(said);
            }
            if let Some(status) = self.child.try_wait()? {
                let mut problem = String::new();
                let _ = self.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut problem));
                bail!("the emulator ended with {status}: {problem}\nThe console's end:\n{}", self.console_end());
            }
            ensure!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for '{what}'. Console:\n{}", self.console_end());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for VirtualMachine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the console of the instance ends:\n{}", self.console_end());
        }
    }
}

/// Where `scripts/set-up vm` puts things.
fn cache() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("ISOSPIN_VM").or_else(|| Some(variable("XDG_CACHE_HOME")?.join("isospin/vm")));
    let cache = cache.or_else(|| Some(variable("HOME")?.join(".cache/isospin/vm"))).context("no home directory")?;
    ensure!(cache.join("ready").exists(), "nothing in {}: run scripts/set-up vm", cache.display());
    Ok(cache)
}

fn listen(mut output: ChildStdout, console: Arc<Mutex<String>>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            let said = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            console.lock().unwrap_or_else(PoisonError::into_inner).push_str(&said);
        }
    });
}

/// The file system that the kernel starts from.
fn archive(cache: &Path) -> Result<Vec<u8>> {
    let modules = fs::read_dir(cache.join("kernel/lib/modules"))?.next().context("a kernel has modules")??.path();
    let mut archive = Archive::default();
    let files = programs()?;
    let above = files.iter().flat_map(|file| file.ancestors().skip(1)).map(Path::to_path_buf);
    let directories: BTreeSet<PathBuf> = above.chain(DIRECTORIES.map(PathBuf::from)).collect();
    for directory in directories.iter().filter(|directory| directory.parent().is_some()) {
        archive.directory(directory);
    }
    archive.file(Path::new("/init"), INIT.as_bytes());
    archive.file(Path::new("/leased"), LEASED.as_bytes());
    let busybox = fs::read("/bin/busybox").context("busybox-static is not installed")?;
    archive.file(Path::new("/bin/busybox"), &busybox);
    for (number, module) in MODULES.iter().enumerate() {
        let contents = fs::read(modules.join("kernel").join(module)).with_context(|| format!("the module {module}"))?;
        archive.file(&Path::new("/modules").join(format!("{number:02}")), &contents);
    }
    for file in &files {
        archive.file(file, &fs::read(file).with_context(|| file.display().to_string())?);
    }
    Ok(archive.finish())
}

/// The programs, and the libraries that they load.
fn programs() -> Result<BTreeSet<PathBuf>> {
    let said = Command::new("ldd").args(PROGRAMS).output()?;
    ensure!(said.status.success(), "ldd: {}", String::from_utf8_lossy(&said.stderr));
    let said = String::from_utf8(said.stdout)?;
    let libraries = said.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    Ok(libraries.chain(PROGRAMS).map(PathBuf::from).collect())
}

/// The name of a file in an archive that becomes the root.
fn inside(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// An archive in cpio's "newc" format, as `Documentation/driver-api/early-userspace/buffer-format.rst` of Linux has it.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn directory(&mut self, path: &Path) {
        self.entry(&inside(path), 0o040_755, &[]);
    }

    fn file(&mut self, path: &Path, contents: &[u8]) {
        self.entry(&inside(path), 0o100_755, contents);
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        let (size, name_size) = (contents.len(), name.len() + 1);
        // Inode, mode, user, group, links, time, size, the device and what it is a device of, length of the name, no sum.
        let head = format!(
            "070701{2:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}",
            0, 1, self.entries
        );
        self.bytes.extend(head.bytes().chain(name.bytes()).chain([0]));
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}
