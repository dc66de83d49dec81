//! A cache of the ways of flows: frames of a flow of which one has just crossed a bridge unchanged, past all filters, are
//! sent on as it was, without asking again.
//!
//! What crosses a bridge that hands its packets to iptables and tracks connections costs two to three microseconds a
//! packet more than on one that does not, whatever the rules. Two programs at each device of the bridge
//! ([`program`]) save that:
//!
//! * as a frame leaves by a device, after everything has let it pass, the way of its flow is noted, for a second;
//! * as a frame comes in, and the way of its flow is noted, it is sent on.
//!
//! So each second one packet of a flow is looked at by all, which keeps the bridge's addresses and the connections fresh.
//! **A frame is sent on only if one with the same addresses, ports, protocol and class, in by the same device, and no
//! shorter, went that way unchanged within the last second, who it is for has not been heard of elsewhere, and nothing has
//! changed since.** Only UDP, and TCP between its beginning and its end, without options of IP, fragments, VLAN tags and
//! groups: all else takes the long way. That something has changed is said by another generation ([`FlowCache::suspend`], [`FlowCache::resume`]).
//!
//! The programs stay at devices when this process ends, since to put one there can take a kernel 16 ms, and to put it in
//! the place of another does not. But what they know holds only as long as somebody looks after it: a thread renews a lease
//! each second ([`keeper`]). When it ends, by [`FlowCache`]'s drop at once and otherwise within five seconds, packets go the
//! long way, and nobody sends on packets by rules that nobody looks after. Whoever comes next has them stop
//! ([`FlowCache::silence`]) before it changes anything, and then replaces them.

mod assembler;
mod keeper;
mod layout;
mod program;
mod programs;
mod syscall;

use std::{collections::BTreeSet, fs, io, os::fd::OwnedFd};

use self::{
    keeper::{Keeper, Task},
    layout::{COUNT_LEARNT, COUNT_SENT, COUNTS, Flow, FlowKey, Station, StationKey, Validity, size},
    program::Maps,
    programs::Programs,
    syscall::{Hook, MapKind},
};
use crate::{Errno, Error, Namespace, Result};

/// Flows that are remembered; what was not used for longest goes first.
const FLOWS: u32 = 65_536;
/// Ethernet addresses, as seen from each device that somebody behind it was heard at.
const STATIONS: u32 = 65_536;
const DEVICES: u32 = 16_384;
/// The device that every namespace has.
const LOOPBACK: u32 = 1;
/// The name of the map that says whether what programs know holds, by which they are found whoever left them.
const VALIDITY: &str = "isospin_gen";

/// What a cache has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames sent on.
    pub sent: u64,
    /// Times that the way of a flow was noted.
    pub learnt: u64,
    /// Devices at which its programs are now.
    pub devices: usize,
}

/// The seam for [`FlowCache`]: see there.
pub trait Flows: Send + Sync + 'static {
    /// Has the flows between this device and the others of its bridge pass by the cache, soon. The bridge is any number that
    /// the others have as well.
    fn attach(&mut self, device: u32, bridge: u32) -> Result<()>;
    /// No longer, also when the device has gone or has programs that another cache left. What is known of any way is
    /// forgotten, as by a suspension.
    fn detach(&mut self, device: u32);
    /// Every frame takes the long way from now on, as it does at first.
    fn suspend(&mut self) -> Result<()>;
    /// What passes from now on may be taken as the way of what follows; what passed before may not.
    fn resume(&mut self) -> Result<()>;
    /// What it has done.
    fn counts(&self) -> Result<Counts>;
}

/// A cache for the devices of a namespace. What fails beside its callers ends it, and whoever calls next is told.
#[derive(Debug)]
pub struct FlowCache {
    devices: OwnedFd,
    counts: OwnedFd,
    keeper: Keeper,
    last_generation: u64,
    is_suspended: bool,
}

impl FlowCache {
    /// A cache without devices, suspended. Fails when the kernel does not let us, does not understand the programs, or has
    /// no places for them.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        // Kernels before 6.6 take the programs, and would only refuse to show them packets: too late, for parameters have
        // been set for them by then.
        let places = namespace.run(|| syscall::attached(LOOPBACK, Hook::Ingress))?;
        places.map_err(|error| failed("have programs see the packets of", "devices", &error))?;
        let maps = maps().map_err(|error| failed("make a map for", "flows", &error))?;
        let programs = Programs::load(|hook, name| {
            let code = match hook {
                Hook::Ingress => program::ingress(&maps),
                Hook::Egress => program::egress(&maps),
            };
            let code = code.map_err(|label| Error::new("jump in a program to", label.0, Errno::EINVAL))?;
            syscall::program(name, &code).map_err(|(error, log)| {
                tracing::debug!(program = name, "the kernel says of a program: {log}");
                failed("load the program", name, &error)
            })
        })?;
        // The programs hold the maps that are theirs alone.
        let Maps { devices, validity, counts, .. } = maps;
        let keeper = Keeper::start(namespace.clone(), programs, validity)?;
        Ok(Self { devices, counts, keeper, last_generation: 0, is_suspended: true })
    }

    /// Has the programs that a cache before left at these devices let every frame take the long way, as long as they are
    /// there. Says at which there are any: to attach these again is cheap.
    pub fn silence(namespace: &Namespace, devices: &[u32]) -> Result<BTreeSet<u32>> {
        let silenced = namespace.run(|| programs::silence(devices))?;
        silenced.map_err(|error| failed("look for programs at", "devices", &error))
    }

    fn count(&self, which: u32, cpus: usize) -> io::Result<u64> {
        let mut each = vec![0; 8 * cpus];
        syscall::get(&self.counts, &which.to_ne_bytes(), &mut each)?;
        let counts = each.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes));
        Ok(counts.sum())
    }
}

impl Flows for FlowCache {
    fn attach(&mut self, device: u32, bridge: u32) -> Result<()> {
        let known = syscall::set(&self.devices, &device.to_ne_bytes(), &bridge.to_ne_bytes());
        known.map_err(|error| failed("note", format!("device {device}"), &error))?;
        self.keeper.ask(device, Task::Attach);
        Ok(())
    }

    fn detach(&mut self, device: u32) {
        // Neither is refused but where all is: the maps are ours and have room. Who suspends or resumes is told.
        let _ = syscall::unset(&self.devices, &device.to_ne_bytes());
        // What was known of ways to the device is void.
        let _ = if self.is_suspended { Ok(()) } else { self.resume() };
        self.keeper.ask(device, Task::Detach);
    }

    fn suspend(&mut self) -> Result<()> {
        self.is_suspended = true;
        self.keeper.set_generation(0)
    }

    fn resume(&mut self) -> Result<()> {
        self.is_suspended = false;
        self.last_generation += 1;
        self.keeper.set_generation(self.last_generation)
    }

    fn counts(&self) -> Result<Counts> {
        let devices = self.keeper.devices()?;
        let cpus = possible_cpus();
        let count = |which| self.count(which, cpus).map_err(|error| failed("count", "flows", &error));
        Ok(Counts { sent: count(COUNT_SENT)?, learnt: count(COUNT_LEARNT)?, devices })
    }
}

fn maps() -> io::Result<Maps> {
    let sizes = (size::<FlowKey>(), size::<Flow>());
    let flows = syscall::map(MapKind::Recent, "isospin_flows", sizes, FLOWS)?;
    let sizes = (size::<StationKey>(), size::<Station>());
    let stations = syscall::map(MapKind::Recent, "isospin_macs", sizes, STATIONS)?;
    let devices = syscall::map(MapKind::Hash, "isospin_devices", (4, 4), DEVICES)?;
    let validity = syscall::map(MapKind::Array, VALIDITY, (4, size::<Validity>()), 1)?;
    let counts = syscall::map(MapKind::ArrayOfEachCpu, "isospin_counts", (4, 8), COUNTS)?;
    Ok(Maps { flows, stations, devices, validity, counts })
}

/// The number of CPUs that there can ever be, for each of which there is a counter.
fn possible_cpus() -> usize {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit([',', '-']).next().and_then(|number| number.parse().ok());
    last.map_or(MOST_CPUS, |last: usize| last + 1)
}

/// As many as any kernel is built for, where it does not say.
const MOST_CPUS: usize = 8192;

fn failed(action: &'static str, object: impl Into<String>, error: &io::Error) -> Error {
    Error::io(action, object, error)
}

#[cfg(test)]
mod tests;
