//! A cache of flows that no packet passes: what is asked of it is noted.

use super::FakeKernel;
use crate::{Errno, Flows, Result, bpf::Counts};

/// See the module.
pub struct FakeFlows(pub(super) FakeKernel);

impl Flows for FakeFlows {
    fn attach(&mut self, device: u32, bridge: u32) -> Result<()> {
        self.0.ask("attach flows", &format!("of {device} in {bridge}"), |world, namespace| {
            let known = world.stack(namespace).links.iter().any(|link| link.index == device);
            if known { Ok(()) } else { Err(Errno::ENODEV) }
        })
    }

    fn detach(&mut self, device: u32) {
        // It cannot be refused.
        let _ = self.0.ask("detach flows", &format!("of {device}"), |_, _| Ok(()));
    }

    fn suspend(&mut self) -> Result<()> {
        self.0.ask("suspend", "flows", |_, _| Ok(()))
    }

    fn resume(&mut self) -> Result<()> {
        self.0.ask("resume", "flows", |_, _| Ok(()))
    }

    fn counts(&self) -> Result<Counts> {
        Ok(Counts::default())
    }
}
