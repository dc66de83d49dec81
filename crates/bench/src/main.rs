//! A load generator for any Neutron endpoint, and the floor it is measured against.

fn main() {}
