//! One binary for every part of Isospin, dispatched on the subcommand or on the name it was called by.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod client;
mod cmd;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    kernel::memory::bound_buffers();
    cmd::run(std::env::args_os().collect())
}
