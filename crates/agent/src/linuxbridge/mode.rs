//! How a host floods its VXLAN networks, and whether its kernel can.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kernel::{Forwarding, Kernel, Kind, Link, LinkChange, NewKind, NewLink, Vxlan, missing_is_fine, neighbour::FLOOD};

use super::{Error, config::Overlay};

/// The device by which it is found out what the kernel can; it exists for a moment only.
const PROBE: &str = "vxlan-probe";
/// The largest VNI.
const LAST_VNI: u32 = 0xff_ffff;

/// How what is for all, or for an unknown MAC, reaches the other hosts of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By a multicast group.
    Multicast(IpAddr),
    /// By entries for the hosts that have ports of the network, which the server tells (`l2_population`).
    Population,
    /// By entries for all hosts that have a tunnel end.
    Everyone,
}

impl Overlay {
    /// How this network is flooded.
    pub fn mode(&self, vni: u32) -> Mode {
        match self.group_of(vni) {
            _ if self.l2_population => Mode::Population,
            Some(group) => Mode::Multicast(group),
            None => Mode::Everyone,
        }
    }

    /// Networks without a group are flooded to all hosts, which therefore have to be known.
    pub fn needs_ends(&self) -> bool {
        !self.l2_population && self.group.is_none()
    }

    /// The device of a network; it leaves this host by the link with that index.
    pub(super) fn device(&self, vni: u32, link: u32) -> Vxlan {
        let group = match self.mode(vni) {
            Mode::Multicast(group) => Some(group),
            Mode::Population | Mode::Everyone => None,
        };
        Vxlan {
            vni,
            device: Some(link),
            group,
            local: Some(self.local_ip),
            port: self.port,
            source_ports: self.source_ports,
            ttl: self.ttl,
            tos: self.tos,
            proxy: self.l2_population && self.arp_responder,
        }
    }

    /// Whether a device floods, answers and listens as those made by this agent do. What is not of consequence for
    /// other hosts may differ, so that a predecessor's device is not made anew for it.
    pub(super) fn fits(&self, vni: u32, actual: &Vxlan) -> bool {
        let wanted = self.device(vni, 0);
        actual.vni == vni
            && actual.group == wanted.group
            && actual.port == wanted.port
            && actual.proxy == wanted.proxy
            && actual.local.is_none_or(|local| local == self.local_ip)
    }
}

/// Makes a device, and an entry where entries are needed, and removes them: what cannot be done is said when the agent
/// starts and not when the first port is wired.
pub(super) async fn check(kernel: &impl Kernel, overlay: &Overlay, links: &[Link], link: u32) -> Result<(), Error> {
    missing_is_fine(kernel.link_delete(PROBE).await)?;
    let used = |vni: &u32| links.iter().any(|link| matches!(&link.kind, Kind::Vxlan(vxlan) if vxlan.vni == *vni));
    let vni = (1..=LAST_VNI).rev().find(|vni| !used(vni)).unwrap_or(LAST_VNI);
    let mode = overlay.mode(vni);
    let refused = |source| Error::Vxlan { what: explanation(mode), source };
    let kind = NewKind::Vxlan(overlay.device(vni, link));
    let new = NewLink { name: PROBE.to_owned(), kind, settings: LinkChange::default() };
    kernel.link_create(&new).await.map_err(refused)?;
    let forwards = async {
        let Some(probe) = kernel.link(PROBE).await? else { return Ok(()) };
        if matches!(mode, Mode::Multicast(_)) {
            return Ok(());
        }
        // Addresses for documentation: nobody is there.
        let remote = match overlay.local_ip {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        };
        kernel.forwarding_set(&Forwarding { link: probe.index, mac: FLOOD, remote }).await
    }
    .await;
    missing_is_fine(kernel.link_delete(PROBE).await)?;
    forwards.map_err(refused)
}

fn explanation(mode: Mode) -> &'static str {
    match mode {
        Mode::Multicast(_) => "flooding by multicast (vxlan_group)",
        Mode::Population => "forwarding entries of the server (l2_population)",
        Mode::Everyone => "flooding to every host (no vxlan_group, no l2_population)",
    }
}
