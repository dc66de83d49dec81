//! A private memcached on a port of its own, gone when dropped.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;

use crate::instance::{Instance, Place, free_port, program};

/// A memcached that can be stopped and started again.
#[derive(Debug)]
pub struct Memcached {
    port: u16,
    instance: Option<Instance>,
}

impl Memcached {
    /// Starts one and waits until it answers.
    pub fn start() -> Result<Self> {
        let mut memcached = Self { port: free_port()?, instance: None };
        memcached.resume()?;
        Ok(memcached)
    }

    /// Where it listens, also while it is stopped.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Ends it, with all it knew.
    pub fn stop(&mut self) {
        self.instance = None;
    }

    /// Starts it again on the same port, empty.
    pub fn resume(&mut self) -> Result<()> {
        self.stop();
        let mut place = Place::for_account("memcache")?;
        place.port = self.port;
        let mut command =
            place.command(&program("memcached", &["/usr/bin", "/usr/local/bin"].map(PathBuf::from))?, "memcached")?;
        command.args(["-l", "127.0.0.1", "-U", "0", "-m", "16", "-p", &self.port.to_string()]);
        self.instance = Some(place.start(&mut command, "memcached")?);
        Ok(())
    }
}
