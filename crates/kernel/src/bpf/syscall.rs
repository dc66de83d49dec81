//! The system call `bpf`, as far as it is needed here.

use std::{
    io,
    mem::size_of_val,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::libc;

use super::assembler::Instruction;

const MAP_CREATE: i32 = 0;
const MAP_LOOKUP: i32 = 1;
const MAP_UPDATE: i32 = 2;
const MAP_DELETE: i32 = 3;
const PROGRAM_LOAD: i32 = 5;
const LINK_CREATE: i32 = 28;
/// Programs that see packets of a device (`BPF_PROG_TYPE_SCHED_CLS`).
const CLASSIFIER: u32 = 3;
/// Of a program; it uses none of what is for programs under the GPL alone.
const LICENCE: &[u8] = b"Apache-2.0\0";
const NAME: usize = 16;
/// Room for what the kernel says of a program that it refuses.
const LOG: usize = 1 << 20;

/// Kinds of maps.
#[derive(Debug, Clone, Copy)]
pub(super) enum MapKind {
    Hash = 1,
    Array = 2,
    ArrayOfEachCpu = 6,
    /// What was not used for longest goes when it is full.
    Recent = 9,
}

/// Where a program sees the packets of a device.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hook {
    Ingress = 46,
    Egress = 47,
}

#[repr(C)]
#[derive(Default)]
struct NewMap {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; NAME],
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map: u32,
    unused: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct NewProgram {
    kind: u32,
    count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
    name: [u8; NAME],
    device: u32,
    attach: u32,
}

#[repr(C)]
#[derive(Default)]
struct NewLink {
    program: u32,
    device: u32,
    attach: u32,
    flags: u32,
    relative: u32,
    unused: u32,
    revision: u64,
}

#[allow(unsafe_code)]
fn bpf<T>(command: i32, request: &T) -> io::Result<i32> {
    // SAFETY: the request is one of the structures above, whose every byte is initialised, and the addresses in it are
    // of slices that outlive the call and are as long as the map or the count beside them says.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(request), size_of_val(request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

#[allow(unsafe_code)]
fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, and nothing else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn name(text: &str) -> [u8; NAME] {
    let mut name = [0; NAME];
    // One is left for the end.
    name.iter_mut().zip(text.bytes().take(NAME - 1)).for_each(|(to, from)| *to = from);
    name
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as u64
}

/// A map of keys and values of these sizes.
pub(super) fn map(kind: MapKind, text: &str, (key, value): (u32, u32), entries: u32) -> io::Result<OwnedFd> {
    let request = NewMap { kind: kind as u32, key, value, entries, name: name(text), ..NewMap::default() };
    bpf(MAP_CREATE, &request).map(owned)
}

fn element(map: &OwnedFd, key: &[u8], value: u64) -> Element {
    Element { map: number(map.as_raw_fd()), key: address(key), value, ..Element::default() }
}

/// Sets a value. Key and value are of the map's sizes.
pub(super) fn set(map: &OwnedFd, key: &[u8], value: &[u8]) -> io::Result<()> {
    bpf(MAP_UPDATE, &element(map, key, address(value))).map(drop)
}

/// Reads a value into a buffer of the map's size, for maps of each CPU one times as long as there can be CPUs.
pub(super) fn get(map: &OwnedFd, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    bpf(MAP_LOOKUP, &element(map, key, value.as_mut_ptr() as u64)).map(drop)
}

/// Removes a value.
pub(super) fn unset(map: &OwnedFd, key: &[u8]) -> io::Result<()> {
    bpf(MAP_DELETE, &element(map, key, 0)).map(drop)
}

/// Has the kernel check and translate a program. What it finds wrong stands in the error.
pub(super) fn program(text: &str, code: &[Instruction]) -> Result<OwnedFd, (io::Error, String)> {
    let mut request = NewProgram {
        kind: CLASSIFIER,
        count: code.len() as u32,
        instructions: address(code),
        licence: address(LICENCE),
        name: name(text),
        ..NewProgram::default()
    };
    bpf(PROGRAM_LOAD, &request).map(owned).map_err(|error| {
        let mut log = vec![0_u8; LOG];
        (request.log_level, request.log_size, request.log) = (1, LOG as u32, log.as_mut_ptr() as u64);
        let _ = bpf(PROGRAM_LOAD, &request).map(owned);
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(LOG);
        (error, String::from_utf8_lossy(&log[..end]).into_owned())
    })
}

/// Shows the packets of a device of the current namespace to a program, as long as what is returned lives.
pub(super) fn attach(program: BorrowedFd<'_>, device: u32, hook: Hook) -> io::Result<OwnedFd> {
    let program = number(program.as_raw_fd());
    bpf(LINK_CREATE, &NewLink { program, device, attach: hook as u32, ..NewLink::default() }).map(owned)
}

fn number(fd: RawFd) -> u32 {
    // A descriptor that is open is not negative.
    fd as u32
}
