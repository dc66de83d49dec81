//! One binary for every part of Isospin, dispatched on the subcommand or on the name it was called by.

fn main() {}
