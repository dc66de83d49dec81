//! What this process keeps in memory: of its own program, and of what it has freed.

use std::cell::Cell;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use nix::sys::mman::{MmapAdvise, madvise};

use crate::{Error, Result};

/// Lets go of the program's code and constants; what is used again comes back from the page cache when it is. Worth it
/// once a service has started: what only the start needed is a good part of what it then occupies.
#[allow(unsafe_code)]
pub fn forget_program() -> Result<()> {
    let failed = |error: std::io::Error| Error::io("read", "/proc/self/maps", &error);
    let program = std::fs::read_link("/proc/self/exe").map_err(failed)?;
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(failed)?;
    for (start, length) in clean(&maps, &program.to_string_lossy()) {
        let Some(address) = NonNull::new(start as *mut std::ffi::c_void) else { continue };
        // SAFETY: the range is a private mapping of the program's file that nothing can have written to, since it is
        // not writable and holds nothing that is relocated: reading it again from the file gives the same bytes.
        unsafe { madvise(address, length, MmapAdvise::MADV_DONTNEED) }
            .map_err(|errno| Error::new("give back", "the program", errno))?;
    }
    Ok(())
}

/// How long a thread keeps what it has freed.
const KEPT: Duration = Duration::from_millis(100);

/// Gives what was freed back to the kernel, at most ten times a second for each thread. For threads about to sleep: under
/// load memory is soon used again, and giving it back each time would cost a third of the time of a long list.
pub fn give_back_freed() {
    thread_local!(static LAST: Cell<Option<Instant>> = const { Cell::new(None) });
    let now = Instant::now();
    if LAST.get().is_some_and(|last| now.duration_since(last) < KEPT) {
        return;
    }
    LAST.set(Some(now));
    collect();
}

#[allow(unsafe_code)]
fn collect() {
    // SAFETY: it has no precondition, and frees nothing that is in use.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// What the driver of MySQL keeps of the buffers that texts and answers pass through, unless the operator says otherwise:
/// a few, and none that is large. By default it keeps 128 of up to 4 MiB each, which all grow to the longest text in turn.
const BUFFERS: [(&str, &str); 2] = [("MYSQL_ASYNC_BUFFER_POOL_CAP", "32"), ("MYSQL_ASYNC_BUFFER_SIZE_CAP", "16384")];

/// Bounds what libraries keep that only listen to environment variables. To be called before there is a second thread.
#[allow(unsafe_code)]
#[allow(clippy::disallowed_methods, reason = "the library takes it from nowhere else, and no thread is there yet")]
pub fn bound_buffers() {
    for (name, value) in BUFFERS {
        if std::env::var_os(name).is_none() {
            // SAFETY: nothing else runs that could read the environment meanwhile.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

/// Start and length of the mappings of the program that are as they are in its file: the code, and the constants before
/// it. What follows the code was relocated at the start.
fn clean(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let range = |line: &str| {
        let fields: Vec<&str> = line.splitn(6, ' ').map(str::trim).collect();
        let [range, permissions, offset, _, _, path] = fields.try_into().ok()?;
        let untouched = permissions == "r-xp" || (permissions == "r--p" && offset.bytes().all(|byte| byte == b'0'));
        let (start, end) = range.split_once('-').filter(|_| untouched && path == program)?;
        let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16).ok());
        Some((start?, end?.checked_sub(start?)?))
    };
    maps.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d6304b4000-55d630a20000 r--p 00000000 fe:00 10117674                   /usr/bin/isospin
55d630a20000-55d631a09000 r-xp 0056b000 fe:00 10117674                   /usr/bin/isospin
55d631a09000-55d631ae5000 r--p 01553000 fe:00 10117674                   /usr/bin/isospin
55d631ae5000-55d631aee000 rw-p 0162e000 fe:00 10117674                   /usr/bin/isospin
7f8186b68000-7f8186cbe000 r-xp 00026000 fe:00 326279                     /usr/lib/x86_64-linux-gnu/libc.so.6
7fc6b0000000-7fc6b038b000 rw-p 00000000 00:00 0
";

    #[test]
    fn only_what_nothing_wrote_to_is_let_go() {
        let found = clean(MAPS, "/usr/bin/isospin");
        assert_eq!(found, [(0x55d6_304b_4000, 0x56_c000), (0x55d6_30a2_0000, 0xfe_9000)]);
    }

    #[test]
    fn the_program_goes_on() {
        give_back_freed();
        forget_program().unwrap();
        assert_eq!(clean(MAPS, "/usr/bin/other"), []);
    }
}
