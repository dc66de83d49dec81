//! Links to and from rtnetlink messages.

use std::{fs::File, net::IpAddr, os::fd::AsRawFd};

use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, InfoVlan, InfoVxlan, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkInfo, LinkMessage,
};
use types::Mac;

use super::{Bridge, Kind, Link, LinkChange, NewKind, NewLink, Vxlan};
use crate::Result;

/// Asks for every link, without the counters nobody here reads.
pub(super) fn listing() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

/// Asks for one link.
pub(super) fn named(name: &str) -> LinkMessage {
    let mut message = listing();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

/// The request, and the namespace files that must stay open until it is answered.
pub(super) fn create(link: &NewLink) -> Result<(LinkMessage, Vec<File>)> {
    let (mut message, file) = change(&link.name, &LinkChange { bridge: None, ..link.settings.clone() })?;
    let mut files = Vec::from_iter(file);
    let (kind, data) = match &link.kind {
        NewKind::Bridge(bridge) => (InfoKind::Bridge, Some(InfoData::Bridge(bridge_data(bridge)))),
        NewKind::Vlan { parent, id } => {
            message.attributes.push(LinkAttribute::Link(*parent));
            (InfoKind::Vlan, Some(InfoData::Vlan(vec![InfoVlan::Id(*id)])))
        }
        NewKind::Vxlan(vxlan) => (InfoKind::Vxlan, Some(InfoData::Vxlan(vxlan_data(vxlan)))),
        NewKind::Veth { peer, settings } => {
            let (peer, file) = change(peer, &LinkChange { up: None, ..(**settings).clone() })?;
            files.extend(file);
            (InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(peer))))
        }
        NewKind::Dummy => (InfoKind::Dummy, None),
    };
    let mut info = vec![LinkInfo::Kind(kind)];
    info.extend(data.map(LinkInfo::Data));
    message.attributes.push(LinkAttribute::LinkInfo(info));
    Ok((message, files))
}

/// The request that changes the link of that name, and the namespace file that must stay open until it is answered.
pub(super) fn change(name: &str, change: &LinkChange) -> Result<(LinkMessage, Option<File>)> {
    let mut message = LinkMessage::default();
    if let Some(up) = change.up {
        message.header.change_mask |= LinkFlags::Up;
        message.header.flags.set(LinkFlags::Up, up);
    }
    let attributes = &mut message.attributes;
    attributes.push(LinkAttribute::IfName(name.to_owned()));
    attributes.extend(change.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    attributes.extend(change.mtu.map(LinkAttribute::Mtu));
    attributes.extend(change.master.map(|master| LinkAttribute::Controller(master.unwrap_or(0))));
    attributes.extend(change.alias.clone().map(LinkAttribute::IfAlias));
    attributes.extend(change.group.map(LinkAttribute::Group));
    if let Some(bridge) = &change.bridge {
        let data = LinkInfo::Data(InfoData::Bridge(bridge_data(bridge)));
        attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), data]));
    }
    let file = change.namespace.as_ref().map(|namespace| namespace.open_file()).transpose()?;
    attributes.extend(file.as_ref().map(|file| LinkAttribute::NetNsFd(file.as_raw_fd())));
    Ok((message, file))
}

fn bridge_data(bridge: &Bridge) -> Vec<InfoBridge> {
    let stp = if bridge.stp { BridgeStpState::KernelStp } else { BridgeStpState::Disabled };
    // The state goes first: a delay of zero is out of range while the protocol runs.
    vec![
        InfoBridge::StpState(stp),
        InfoBridge::ForwardDelay(bridge.forward_delay),
        InfoBridge::AgeingTime(bridge.ageing),
    ]
}

fn vxlan_data(vxlan: &Vxlan) -> Vec<InfoVxlan> {
    let mut data = vec![InfoVxlan::Id(vxlan.vni), InfoVxlan::Port(vxlan.port), InfoVxlan::Learning(true)];
    data.extend(vxlan.device.map(InfoVxlan::Link));
    data.extend(vxlan.group.map(|group| match group {
        IpAddr::V4(group) => InfoVxlan::Group(group),
        IpAddr::V6(group) => InfoVxlan::Group6(group),
    }));
    data.extend(vxlan.local.map(|local| match local {
        IpAddr::V4(local) => InfoVxlan::Local(local),
        IpAddr::V6(local) => InfoVxlan::Local6(local),
    }));
    if vxlan.source_ports != (0, 0) {
        data.push(InfoVxlan::PortRange(vxlan.source_ports));
    }
    data.push(InfoVxlan::Ttl(vxlan.ttl));
    data.push(InfoVxlan::Tos(vxlan.tos));
    data.push(InfoVxlan::Proxy(vxlan.proxy));
    data
}

/// What the kernel tells of a link.
pub(crate) fn parse(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: Kind::Hardware,
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        master: None,
        parent: None,
        alias: None,
        group: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(octets) => link.mac = octets.as_slice().try_into().ok().map(Mac),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index).filter(|index| *index != 0),
            LinkAttribute::Link(index) => link.parent = Some(*index).filter(|index| *index != 0),
            LinkAttribute::Group(group) => link.group = *group,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::LinkInfo(info) => link.kind = kind(info),
            _ => {}
        }
    }
    link
}

fn kind(info: &[LinkInfo]) -> Kind {
    let mut kind = Kind::Hardware;
    for part in info {
        match part {
            LinkInfo::Kind(InfoKind::Bridge) => kind = Kind::Bridge(Bridge::default()),
            LinkInfo::Kind(InfoKind::Veth) => kind = Kind::Veth,
            LinkInfo::Kind(InfoKind::Tun) => kind = Kind::Tun,
            LinkInfo::Kind(InfoKind::Vlan) => kind = Kind::Vlan(0),
            LinkInfo::Kind(InfoKind::Vxlan) => kind = Kind::Vxlan(Vxlan::default()),
            LinkInfo::Kind(other) => kind = Kind::Other(other.to_string()),
            LinkInfo::Data(InfoData::Bridge(data)) => kind = Kind::Bridge(parse_bridge(data)),
            LinkInfo::Data(InfoData::Vlan(data)) => {
                let id = data.iter().find_map(|d| if let InfoVlan::Id(id) = d { Some(*id) } else { None });
                kind = Kind::Vlan(id.unwrap_or(0));
            }
            LinkInfo::Data(InfoData::Vxlan(data)) => kind = Kind::Vxlan(parse_vxlan(data)),
            _ => {}
        }
    }
    kind
}

fn parse_bridge(data: &[InfoBridge]) -> Bridge {
    let mut bridge = Bridge::default();
    for part in data {
        match part {
            InfoBridge::StpState(state) => bridge.stp = *state != BridgeStpState::Disabled,
            InfoBridge::ForwardDelay(delay) => bridge.forward_delay = *delay,
            InfoBridge::AgeingTime(ageing) => bridge.ageing = *ageing,
            _ => {}
        }
    }
    bridge
}

fn parse_vxlan(data: &[InfoVxlan]) -> Vxlan {
    let mut vxlan = Vxlan::default();
    for part in data {
        match part {
            InfoVxlan::Id(vni) => vxlan.vni = *vni,
            InfoVxlan::Link(device) => vxlan.device = Some(*device).filter(|index| *index != 0),
            InfoVxlan::Group(group) => vxlan.group = Some(IpAddr::V4(*group)),
            InfoVxlan::Group6(group) => vxlan.group = Some(IpAddr::V6(*group)),
            InfoVxlan::Local(local) => vxlan.local = Some(IpAddr::V4(*local)),
            InfoVxlan::Local6(local) => vxlan.local = Some(IpAddr::V6(*local)),
            InfoVxlan::Port(port) => vxlan.port = *port,
            InfoVxlan::PortRange(range) => vxlan.source_ports = *range,
            InfoVxlan::Ttl(ttl) => vxlan.ttl = *ttl,
            InfoVxlan::Tos(tos) => vxlan.tos = *tos,
            InfoVxlan::Proxy(proxy) => vxlan.proxy = *proxy,
            _ => {}
        }
    }
    vxlan
}
