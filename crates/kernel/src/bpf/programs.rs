//! The two programs of a cache at devices, and those that one before it left there.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::libc;

use super::{
    VALIDITY, failed,
    syscall::{self, Hook},
};
use crate::Result;

const INGRESS: &str = "isospin_ingress";
const EGRESS: &str = "isospin_egress";

/// Where each of the two belongs.
const PLACES: [(Hook, &str); 2] = [(Hook::Ingress, INGRESS), (Hook::Egress, EGRESS)];

/// One of the two, as the kernel has it.
#[derive(Debug)]
pub(super) struct Loaded {
    id: u32,
    program: OwnedFd,
}

/// Both.
#[derive(Debug)]
pub(super) struct Programs([Loaded; 2]);

impl Programs {
    /// `load` has the kernel take the one of that name.
    pub(super) fn load(mut load: impl FnMut(Hook, &'static str) -> Result<OwnedFd>) -> Result<Self> {
        let mut loaded = |(hook, name)| {
            let program = load(hook, name)?;
            let info = syscall::program_info(&program);
            let (id, _) = info.map_err(|error| failed("ask for the number of program", name, &error))?;
            Ok(Loaded { id, program })
        };
        let [ingress, egress] = PLACES;
        Ok(Self([loaded(ingress)?, loaded(egress)?]))
    }

    /// Has them see the packets of a device of the current namespace. Programs that a cache before left there are
    /// replaced, which costs next to nothing; else the kernel waits until no processor is at work any more with what it
    /// knew of the device (some 16 ms for each of the two), with the lock of all its links held.
    pub(super) fn attach(&self, device: u32) -> io::Result<()> {
        for (new, (hook, name)) in self.0.iter().zip(PLACES) {
            let there = find(device, hook, name)?;
            if there.iter().any(|old| old.id == new.id) {
                continue;
            }
            match there.first() {
                Some(old) => syscall::replace(new.program.as_fd(), old.program.as_fd(), device, hook)?,
                None => syscall::attach(new.program.as_fd(), device, hook)?,
            }
        }
        Ok(())
    }
}

/// Takes the programs of a cache, whichever, from a device. That costs as much as to put them there.
pub(super) fn detach(device: u32) -> io::Result<()> {
    for (hook, name) in PLACES {
        for old in find(device, hook, name)? {
            syscall::detach(old.program.as_fd(), device, hook)?;
        }
    }
    Ok(())
}

/// The programs of that name at a device.
fn find(device: u32, hook: Hook, name: &str) -> io::Result<Vec<Loaded>> {
    let mut found = Vec::new();
    for id in syscall::attached(device, hook)? {
        match syscall::program_by_id(id) {
            Ok(program) if syscall::program_info(&program)?.1 == name => found.push(Loaded { id, program }),
            Ok(_) => {}
            // It has just gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Voids all that is known by the programs which a cache before left at these devices, and says at which it did.
pub(super) fn silence(devices: &[u32]) -> io::Result<BTreeSet<u32>> {
    let mut left = BTreeSet::new();
    let mut silent = BTreeSet::new();
    for device in devices {
        for (hook, name) in PLACES {
            let there = match find(*device, hook, name) {
                Ok(there) => there,
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => break,
                // This kernel has no such places, so nothing is at them.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(BTreeSet::new()),
                Err(error) => return Err(error),
            };
            for old in there {
                left.insert(*device);
                if silent.insert(old.id) {
                    void(&old.program)?;
                }
            }
        }
    }
    Ok(left)
}

/// Nothing that this program knows holds any more.
fn void(program: &OwnedFd) -> io::Result<()> {
    for id in syscall::maps_of(program)? {
        let map = syscall::map_by_id(id)?;
        let (name, size) = syscall::map_info(&map)?;
        if name == VALIDITY {
            syscall::set(&map, &0_u32.to_ne_bytes(), &vec![0; size])?;
        }
    }
    Ok(())
}
