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
const PROGRAM_ATTACH: i32 = 8;
const PROGRAM_DETACH: i32 = 9;
const PROGRAM_BY_ID: i32 = 13;
const MAP_BY_ID: i32 = 14;
const INFO: i32 = 15;
const PROGRAM_QUERY: i32 = 16;
/// The new program takes the place of another (`BPF_F_REPLACE`).
const REPLACE: u32 = 1 << 2;
/// Programs that see packets of a device (`BPF_PROG_TYPE_SCHED_CLS`).
const CLASSIFIER: u32 = 3;
/// Of a program; it uses none of what is for programs under the GPL alone.
const LICENCE: &[u8] = b"Apache-2.0\0";
const NAME: usize = 16;
/// Room for what the kernel says of a program that it refuses.
const LOG: usize = 1 << 20;
/// The kernel has room for no more at one device (`BPF_MPROG_MAX`).
const MOST_PROGRAMS: usize = 64;
/// Nor for more maps of one program (`MAX_USED_MAPS`).
const MOST_MAPS: usize = 64;

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

/// A program at a device.
#[repr(C)]
#[derive(Default)]
struct Place {
    device: u32,
    program: u32,
    hook: u32,
    flags: u32,
    replaced: u32,
    relative: u32,
    revision: u64,
}

/// Asks for the programs at a device.
#[repr(C)]
#[derive(Default)]
struct Query {
    device: u32,
    hook: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    unused: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoOf {
    object: u32,
    size: u32,
    info: u64,
}

/// What is known of a program, of which newer kernels know more.
#[repr(C)]
#[derive(Debug, Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    lengths: [u32; 2],
    code: [u64; 2],
    loaded: u64,
    user: u32,
    map_count: u32,
    maps: u64,
    name: [u8; NAME],
}

/// What is known of a map.
#[repr(C)]
#[derive(Debug, Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
    name: [u8; NAME],
}

#[allow(unsafe_code)]
fn bpf<T>(command: i32, mut request: T) -> io::Result<(i32, T)> {
    // SAFETY: the request is one of the structures above, whose every byte is initialised and may be any, and the
    // addresses in it are of slices that outlive the call, are as long as the map or the count beside them says, and
    // are borrowed mutably where the kernel writes.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut request, size_of_val(&request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok((result as i32, request)) }
}

#[allow(unsafe_code)]
fn owned<T>((fd, _): (i32, T)) -> OwnedFd {
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
    bpf(MAP_CREATE, request).map(owned)
}

fn element(map: &OwnedFd, key: &[u8], value: u64) -> Element {
    Element { map: number(map.as_raw_fd()), key: address(key), value, ..Element::default() }
}

/// Sets a value. Key and value are of the map's sizes.
pub(super) fn set(map: &OwnedFd, key: &[u8], value: &[u8]) -> io::Result<()> {
    bpf(MAP_UPDATE, element(map, key, address(value))).map(drop)
}

/// Reads a value into a buffer of the map's size, for maps of each CPU one times as long as there can be CPUs.
pub(super) fn get(map: &OwnedFd, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    bpf(MAP_LOOKUP, element(map, key, value.as_mut_ptr() as u64)).map(drop)
}

/// Removes a value.
pub(super) fn unset(map: &OwnedFd, key: &[u8]) -> io::Result<()> {
    bpf(MAP_DELETE, element(map, key, 0)).map(drop)
}

/// Has the kernel check and translate a program. What it finds wrong stands in the error.
pub(super) fn program(text: &str, code: &[Instruction]) -> Result<OwnedFd, (io::Error, String)> {
    let request = || NewProgram {
        kind: CLASSIFIER,
        count: code.len() as u32,
        instructions: address(code),
        licence: address(LICENCE),
        name: name(text),
        ..NewProgram::default()
    };
    bpf(PROGRAM_LOAD, request()).map(owned).map_err(|error| {
        let mut log = vec![0_u8; LOG];
        let (log_size, place) = (LOG as u32, log.as_mut_ptr() as u64);
        let _ = bpf(PROGRAM_LOAD, NewProgram { log_level: 1, log_size, log: place, ..request() }).map(owned);
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(LOG);
        (error, String::from_utf8_lossy(&log[..end]).into_owned())
    })
}

/// Shows the packets of a device of the current namespace to a program, after those that see them already. It stays when
/// this process ends.
pub(super) fn attach(program: BorrowedFd<'_>, device: u32, hook: Hook) -> io::Result<()> {
    let program = number(program.as_raw_fd());
    bpf(PROGRAM_ATTACH, Place { device, program, hook: hook as u32, ..Place::default() }).map(drop)
}

/// Has a program take the place of another, at once: no packet sees both, or neither.
pub(super) fn replace(program: BorrowedFd<'_>, old: BorrowedFd<'_>, device: u32, hook: Hook) -> io::Result<()> {
    let [program, replaced] = [program, old].map(|it| number(it.as_raw_fd()));
    let place = Place { device, program, hook: hook as u32, flags: REPLACE, replaced, ..Place::default() };
    bpf(PROGRAM_ATTACH, place).map(drop)
}

/// The program sees the packets of the device no more.
pub(super) fn detach(program: BorrowedFd<'_>, device: u32, hook: Hook) -> io::Result<()> {
    let program = number(program.as_raw_fd());
    bpf(PROGRAM_DETACH, Place { device, program, hook: hook as u32, ..Place::default() }).map(drop)
}

/// The programs that see the packets of a device, by their numbers.
pub(super) fn attached(device: u32, hook: Hook) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; MOST_PROGRAMS];
    let (programs, count) = (ids.as_mut_ptr() as u64, MOST_PROGRAMS as u32);
    let (_, answer) = bpf(PROGRAM_QUERY, Query { device, hook: hook as u32, programs, count, ..Query::default() })?;
    ids.truncate(answer.count as usize);
    Ok(ids)
}

/// The program of that number.
pub(super) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf(PROGRAM_BY_ID, ById { id, ..ById::default() }).map(owned)
}

/// The map of that number.
pub(super) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf(MAP_BY_ID, ById { id, ..ById::default() }).map(owned)
}

/// Number and name of a program.
pub(super) fn program_info(program: &OwnedFd) -> io::Result<(u32, String)> {
    let info = info(program, ProgramInfo::default())?;
    Ok((info.id, text(&info.name)))
}

/// The numbers of the maps that a program works with.
pub(super) fn maps_of(program: &OwnedFd) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; MOST_MAPS];
    let (map_count, maps) = (MOST_MAPS as u32, ids.as_mut_ptr() as u64);
    let info = info(program, ProgramInfo { map_count, maps, ..ProgramInfo::default() })?;
    ids.truncate(info.map_count as usize);
    Ok(ids)
}

/// The name of a map, and the size of its values.
pub(super) fn map_info(map: &OwnedFd) -> io::Result<(String, usize)> {
    let info = info(map, MapInfo::default())?;
    Ok((text(&info.name), info.value as usize))
}

fn info<T>(object: &OwnedFd, mut info: T) -> io::Result<T> {
    let request = InfoOf {
        object: number(object.as_raw_fd()),
        size: size_of::<T>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(INFO, request)?;
    Ok(info)
}

/// The name that is padded so.
fn text(name: &[u8; NAME]) -> String {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
    String::from_utf8_lossy(&name[..end]).into_owned()
}

fn number(fd: RawFd) -> u32 {
    // A descriptor that is open is not negative.
    fd as u32
}
