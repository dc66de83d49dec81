//! Signals to processes that a test has started.

pub use kernel::process::Signal;
pub use kernel::testing::signal;
