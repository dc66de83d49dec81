//! The way of a packet: machine, wire, routers, machine, and back.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Answer, At, Machine, World,
    group::{Carries, Packet, Verdict, may_use, verdict},
    state::Port,
};

/// Routers on one way.
const MOST_HOPS: usize = 8;

/// One question and its answer on their way.
pub(super) struct Walk<'a> {
    world: &'a World,
    /// What routers remember: who, the packet as it came, the packet as it went.
    routed: Vec<(String, Packet, Packet)>,
    /// What ports remember: which, and the packet that they let through.
    seen: Vec<(String, Packet)>,
}

/// What is at an address of a network.
#[derive(Debug, Clone, Copy)]
enum Owner<'a> {
    Machine(&'a Machine),
    Router(&'a str),
    /// A port of the cloud that routes nothing: of DHCP.
    Cloud,
}

/// Where a packet has come to its end.
enum End<'a> {
    Machine(&'a Machine, Packet),
    Cloud(Cloud<'a>, Packet),
}

/// Which part of the cloud.
enum Cloud<'a> {
    Router(&'a str),
    Dhcp(&'a str),
}

impl<'a> Walk<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        Self { world, routed: Vec::new(), seen: Vec::new() }
    }

    pub(super) fn ask(mut self, from: &'a Machine, to: IpAddr, carries: Carries) -> Option<Answer> {
        let question = Packet { source: self.source(from, to)?, destination: to, carries };
        if from.addresses.contains(&to) {
            return Some(Answer::Machine(from.name.clone(), to));
        }
        let (answered, back) = match self.leave_machine(from, question)? {
            End::Machine(machine, seen) => {
                let by = Answer::Machine(machine.name.clone(), seen.source);
                (by, self.leave_machine(machine, seen.answer())?)
            }
            // Nothing listens there.
            End::Cloud(..) if !matches!(carries, Carries::Echo { .. }) => return None,
            End::Cloud(Cloud::Router(router), seen) => (Answer::Cloud, self.route_from(router, seen.answer())?),
            End::Cloud(Cloud::Dhcp(network), seen) => {
                let answer = seen.answer();
                let next = self.dhcp_hop(network, answer.destination)?;
                (Answer::Cloud, self.on_wire(network, next, answer, 0)?)
            }
        };
        // What comes back must be the answer to what was asked.
        let is_it = matches!(back, End::Machine(machine, packet) if machine == from && packet == question.answer());
        is_it.then_some(answered)
    }

    fn port(&self, machine: &Machine) -> Option<(&'a str, &'a Port)> {
        let At::Port(id) = &machine.at else { return None };
        self.world.state.ports.get_key_value(id).map(|(id, port)| (id.as_str(), port))
    }

    fn network(&self, machine: &'a Machine) -> Option<&'a str> {
        match &machine.at {
            At::Network(network) => Some(network),
            At::Port(_) => self.port(machine).map(|(_, port)| port.network.as_str()),
        }
    }

    /// Prefixes that are on a machine's wire, as far as it knows.
    pub(super) fn on_link(&self, machine: &'a Machine, address: IpAddr) -> Option<IpNet> {
        let subnets = self.world.state.on(self.network(machine)?);
        let own = |cidr: &IpNet| machine.addresses.iter().any(|own| cidr.contains(own));
        subnets.map(|subnet| subnet.cidr).find(|cidr| cidr.contains(&address) && own(cidr))
    }

    /// The address that a machine sends from.
    fn source(&self, machine: &'a Machine, to: IpAddr) -> Option<IpAddr> {
        let mut family = machine.addresses.iter().filter(|own| own.is_ipv4() == to.is_ipv4());
        match self.on_link(machine, to) {
            Some(cidr) => family.find(|own| cidr.contains(*own)).copied(),
            None => family.next().copied(),
        }
    }

    fn next_hop(&self, machine: &'a Machine, to: IpAddr) -> Option<IpAddr> {
        if self.on_link(machine, to).is_some() {
            return Some(to);
        }
        let route = machine.routes.iter().filter(|(prefix, _)| prefix.contains(&to));
        let route = route.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, via)| *via);
        route.or_else(|| machine.gateways.iter().find(|gateway| gateway.is_ipv4() == to.is_ipv4()).copied())
    }

    fn leave_machine(&mut self, machine: &'a Machine, packet: Packet) -> Option<End<'a>> {
        if let Some((id, port)) = self.port(machine) {
            if !port.up || !may_use(port, packet.source) {
                return None;
            }
            self.passes(id, port, false, packet)?;
        }
        let next = self.next_hop(machine, packet.destination)?;
        self.on_wire(self.network(machine)?, next, packet, 0)
    }

    /// Whether a port lets a packet through: by its rules, or since it has seen what it answers.
    fn passes(&mut self, id: &str, port: &Port, ingress: bool, packet: Packet) -> Option<()> {
        if self.seen.iter().any(|(seen, before)| seen == id && before.answer() == packet) {
            return Some(());
        }
        match verdict(&self.world.state, port, ingress, packet) {
            Verdict::Dropped => None,
            Verdict::Passes => Some(()),
            Verdict::Remembered => {
                self.seen.push((id.to_owned(), packet));
                Some(())
            }
        }
    }

    /// Hands a packet to whoever has an address on a network.
    fn on_wire(&mut self, network: &'a str, next: IpAddr, packet: Packet, hops: usize) -> Option<End<'a>> {
        match self.owner(network, next)? {
            Owner::Machine(machine) => {
                if !machine.addresses.contains(&packet.destination) {
                    return None;
                }
                if let Some((id, port)) = self.port(machine) {
                    self.passes(id, port, true, packet)?;
                }
                Some(End::Machine(machine, packet))
            }
            Owner::Router(router) => self.route(router, network, packet, hops),
            Owner::Cloud if next == packet.destination => Some(End::Cloud(Cloud::Dhcp(network), packet)),
            Owner::Cloud => None,
        }
    }

    fn owner(&self, network: &'a str, address: IpAddr) -> Option<Owner<'a>> {
        let state = &self.world.state;
        let has = |machine: &&'a Machine| {
            let may = self.port(machine).is_none_or(|(_, port)| port.up && may_use(port, address));
            machine.addresses.contains(&address) && self.network(machine) == Some(network) && may
        };
        if let Some(machine) = self.world.machines.iter().find(has) {
            return Some(Owner::Machine(machine));
        }
        for (id, router) in state.routers.iter().filter(|(_, router)| router.up) {
            let of = |(at, _, own): &(&str, &str, IpAddr)| *at == network && *own == address;
            let is_external = router.external.as_ref().is_some_and(|(external, _)| external == network);
            let floats = || state.floating.iter().any(|one| one.address == address && carried_by(&one.to, id));
            if state.interfaces(id).iter().any(of) || is_external && floats() {
                return Some(Owner::Router(id));
            }
        }
        let is_dhcp = |port: &&Port| {
            port.owner == "network:dhcp" && port.network == network && port.fixed.iter().any(|(_, own)| *own == address)
        };
        state.ports.values().any(|port| is_dhcp(&port)).then_some(Owner::Cloud)
    }

    /// The namespace of DHCP sends what is not on its wire to the subnet's gateway.
    fn dhcp_hop(&self, network: &str, to: IpAddr) -> Option<IpAddr> {
        let mut subnets = self.world.state.on(network).filter(|subnet| subnet.cidr.contains(&to));
        let gateway =
            |subnet: &super::state::Subnet| subnet.gateway.filter(|gateway| gateway.is_ipv4() == to.is_ipv4());
        match subnets.next() {
            Some(_) => Some(to),
            None => self.world.state.on(network).find_map(gateway),
        }
    }

    /// What a router does with a packet that comes in from a network.
    fn route(&mut self, router: &'a str, from: &str, packet: Packet, hops: usize) -> Option<End<'a>> {
        if hops > MOST_HOPS {
            return None;
        }
        if let Some(packet) = self.answered(router, packet) {
            return self.forward(router, packet, packet, hops);
        }
        let state = &self.world.state;
        let floating =
            state.floating.iter().find(|one| one.address == packet.destination && carried_by(&one.to, router));
        let behind = floating.and_then(|one| one.to.as_ref()).map(|(_, behind)| *behind);
        let turned = Packet { destination: behind.unwrap_or(packet.destination), ..packet };
        if state.interfaces(router).iter().any(|(_, _, own)| *own == turned.destination) {
            self.routed.push((router.to_owned(), packet, turned));
            return Some(End::Cloud(Cloud::Router(router), turned));
        }
        let source = self.translated(router, from, turned, behind.is_some())?;
        let sent = Packet { source, ..turned };
        self.routed.push((router.to_owned(), packet, sent));
        self.forward(router, turned, sent, hops)
    }

    /// What an answer becomes at a router that remembers the question: its addresses are turned back.
    fn answered(&self, router: &str, packet: Packet) -> Option<Packet> {
        let question = |(who, _, went): &&(String, Packet, Packet)| who == router && went.answer() == packet;
        self.routed.iter().find(question).map(|(_, came, _)| came.answer())
    }

    /// The address that a packet leaves a router with: the floating IP of who sent it, the router's own, or as it came.
    fn translated(&self, router: &str, from: &str, packet: Packet, was_turned: bool) -> Option<IpAddr> {
        let (out, _) = self.hop(router, packet.destination)?;
        let known = self.world.state.routers.get(router)?;
        let Some((external, own)) = &known.external else { return Some(packet.source) };
        if packet.source.is_ipv6() || out != external && !was_turned {
            return Some(packet.source);
        }
        let state = &self.world.state;
        let is_of =
            |to: &Option<(String, IpAddr)>| to.as_ref().is_some_and(|(by, ip)| by == router && *ip == packet.source);
        if let Some(floating) = state.floating.iter().find(|one| is_of(&one.to)) {
            return Some(floating.address);
        }
        let own = own.iter().map(|(_, address)| *address).find(IpAddr::is_ipv4);
        // Whoever asks from inside at a floating IP is hidden in any case, so that the answer comes back this way.
        let shared = known.snat && out == external || was_turned && from != external;
        Some(own.filter(|_| shared).unwrap_or(packet.source))
    }

    /// Network and next hop of a router towards an address: the longest prefix.
    fn hop(&self, router: &str, to: IpAddr) -> Option<(&'a str, IpAddr)> {
        let (state, known) = (&self.world.state, self.world.state.routers.get(router)?);
        let mut routes: Vec<(IpNet, &'a str, IpAddr)> = Vec::new();
        for (network, subnet, _) in state.interfaces(router) {
            routes.push((state.subnets.get(subnet)?.cidr, network, to));
        }
        if let Some((external, addresses)) = &known.external {
            routes.extend(state.on(external).map(|subnet| (subnet.cidr, external.as_str(), to)));
            let of_gateway = addresses.iter().filter_map(|(subnet, _)| state.subnets.get(subnet)?.gateway);
            routes.extend(of_gateway.map(|gateway| (everything(gateway), external.as_str(), gateway)));
        }
        let connected = routes.clone();
        for (prefix, via) in &known.routes {
            let by = connected.iter().find(|(cidr, ..)| cidr.prefix_len() > 0 && cidr.contains(via));
            routes.extend(by.map(|(_, network, _)| (*prefix, *network, *via)));
        }
        let fitting = routes.into_iter().filter(|(prefix, ..)| prefix.contains(&to));
        fitting.max_by_key(|(prefix, ..)| prefix.prefix_len()).map(|(_, network, next)| (network, next))
    }

    /// Sends a packet the way that its destination lies.
    fn forward(&mut self, router: &'a str, packet: Packet, sent: Packet, hops: usize) -> Option<End<'a>> {
        if self.world.state.interfaces(router).iter().any(|(_, _, own)| *own == packet.destination) {
            return Some(End::Cloud(Cloud::Router(router), sent));
        }
        let (network, next) = self.hop(router, packet.destination)?;
        self.on_wire(network, next, sent, hops + 1)
    }

    /// What a router itself sends.
    fn route_from(&mut self, router: &'a str, packet: Packet) -> Option<End<'a>> {
        let packet = self.answered(router, packet).unwrap_or(packet);
        let (network, next) = self.hop(router, packet.destination)?;
        self.on_wire(network, next, packet, 1)
    }
}

fn carried_by(to: &Option<(String, IpAddr)>, router: &str) -> bool {
    to.as_ref().is_some_and(|(by, _)| by == router)
}

fn everything(like: IpAddr) -> IpNet {
    let all = if like.is_ipv4() { IpNet::new([0, 0, 0, 0].into(), 0) } else { IpNet::new([0u16; 8].into(), 0) };
    all.expect("a prefix of length 0")
}
