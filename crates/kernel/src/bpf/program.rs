//! The two programs of a [`FlowCache`](super::FlowCache), which see every frame as it comes in from a device and as it
//! leaves by one.
//!
//! ```text
//!           arrives ──────────────▶ bridge, filters, connections ──────────────▶ leaves
//!              │  ingress program:                              egress program:    ▲
//!              │  as one that left?                             as one that left   │
//!              └────────────────────────── sent on at once ────────────────────────┘
//! ```

use std::{
    mem::offset_of,
    os::fd::{AsRawFd, OwnedFd},
};

use super::{
    assembler::{
        BadLabel, Call, Instruction,
        Operation::{Add, And, Or, ShiftLeft, ShiftRight, Subtract},
        Program,
        Register::{self, R0, R1, R2, R3, R4, R6, R7, R8, R10},
        Size::{self, Byte, Double, Half, Word},
        Test::{Different, Equal, Greater, Less, SharesBits},
    },
    layout::{COUNT_LEARNT, COUNT_SENT, Flow, FlowKey, Station, StationKey, Validity},
};

/// How long a flow is sent on without being looked at.
const LIFETIME: i32 = 1_000_000_000;
/// How often it is noted anew that somebody is behind a device.
const STATION_REFRESH: i32 = 1_000_000_000;
/// How long who was heard of last behind a device is taken to be there still: less than a bridge does.
const STATION_LIFETIME: u64 = 60_000_000_000;

/// Returned by a program that leaves a frame to go its way (`TCX_NEXT`).
const GO_ON: i32 = -1;
/// Stands in the last word of a frame's scratch space from the ingress program to the egress program of a frame that was
/// sent on, which thereby proves nothing anew. What else may stand there differs with each kernel; should it ever be this,
/// one frame is not learnt from.
const SENT_ON: i32 = 0x6973_6f70;

/// Places in what the kernel shows of a frame (`struct __sk_buff`).
mod frame {
    pub(super) const LENGTH: i16 = 0;
    pub(super) const HAS_VLAN: i16 = 20;
    pub(super) const ARRIVED_BY: i16 = 36;
    pub(super) const DEVICE: i16 = 40;
    pub(super) const SCRATCH: i16 = 64;
    pub(super) const START: i16 = 76;
    pub(super) const END: i16 = 80;
    pub(super) const SEGMENT: i16 = 176;
}

/// Places in Ethernet, IPv4 and IPv6 headers, from the start of the frame.
mod header {
    pub(super) const DESTINATION: i16 = 0;
    pub(super) const SOURCE: i16 = 6;
    pub(super) const ETHERTYPE: i16 = 12;
    pub(super) const ETHERNET: i16 = 14;
    pub(super) const FOUR: i16 = 34;
    pub(super) const SIX: i16 = 54;
    /// Bytes of UDP, and of TCP, in front of what is sent.
    pub(super) const UDP: i16 = 8;
    pub(super) const TCP: i16 = 20;
    pub(super) const TCP_FLAGS: i16 = 13;
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: i32 = 6;
const UDP: i32 = 17;
/// An IPv4 header without options.
const PLAIN_FOUR: i32 = 0x45;
/// The bits of an IPv4 header that a fragment has set.
const FRAGMENT: u16 = 0x3fff;
/// FIN, SYN, RST and ACK of TCP.
const FLAGS: i32 = 0x17;
const ACK: i32 = 0x10;

/// Places in the stack, from its end.
const KEY: i16 = -(size_of::<FlowKey>() as i16);
const FLOW: i16 = KEY - size_of::<Flow>() as i16;
const STATION_KEY: i16 = FLOW - 16;
const STATION: i16 = STATION_KEY - size_of::<Station>() as i16;
const NOW: i16 = STATION - 8;
const GENERATION: i16 = NOW - 8;
const FROM: i16 = GENERATION - 8;
const BRIDGE: i16 = FROM - 8;
const HERE: i16 = BRIDGE - 8;
const COUNT: i16 = HERE - 8;

/// The maps of both.
pub(super) struct Maps {
    pub(super) flows: OwnedFd,
    pub(super) stations: OwnedFd,
    pub(super) devices: OwnedFd,
    pub(super) validity: OwnedFd,
    pub(super) counts: OwnedFd,
}

/// What a number in a header looks like when it is read as it stands there.
fn wire(number: u16) -> i32 {
    i32::from(number.to_be())
}

impl Program {
    /// `R0 =` the value in a map of the key in the stack.
    fn look_up(&mut self, map: &OwnedFd, key: i16) {
        self.map(R1, map.as_raw_fd());
        self.address(R2, R10, key);
        self.call(Call::Lookup);
    }

    /// Sets the value in a map of the key, both in the stack.
    fn update(&mut self, map: &OwnedFd, key: i16, value: i16) {
        self.map(R1, map.as_raw_fd());
        self.address(R2, R10, key);
        self.address(R3, R10, value);
        self.set(R4, 0);
        self.call(Call::Update);
    }

    /// One more of these. `past` is a label of its own.
    fn count(&mut self, maps: &Maps, what: u32, past: &'static str) {
        self.store(Word, R10, COUNT, what as i32);
        self.look_up(&maps.counts, COUNT);
        self.jump_if(R0, Equal, 0, past);
        self.load(Double, R1, R0, 0);
        self.compute(Add, R1, 1);
        self.store(Double, R0, 0, R1);
        self.label(past);
    }

    /// `to =` the generation that flows must be of; 0 when there is none.
    fn generation(&mut self, to: Register, maps: &Maps) {
        self.first_value(to, maps.validity.as_raw_fd());
        self.load(Double, to, to, offset_of!(Validity, generation) as i16);
    }

    /// Somebody must have looked after flows of late. `R0` is what time it is.
    fn require_care(&mut self, maps: &Maps) {
        self.first_value(R1, maps.validity.as_raw_fd());
        self.load(Double, R1, R1, offset_of!(Validity, until) as i16);
        self.jump_if(R0, Greater, R1, "go on");
    }

    /// `R7 =` the start and `R8 =` the end of the frame, which must have this many bytes.
    fn open(&mut self, bytes: i16) {
        self.load(Word, R1, R6, frame::HAS_VLAN);
        self.jump_if(R1, Different, 0, "go on");
        self.load(Word, R7, R6, frame::START);
        self.load(Word, R8, R6, frame::END);
        self.require(bytes);
    }

    fn require(&mut self, bytes: i16) {
        self.address(R1, R7, bytes);
        self.jump_if(R1, Greater, R8, "go on");
    }

    /// Bytes of the frame to the key in the stack.
    fn copy(&mut self, size: Size, from: i16, to: usize) {
        self.load(size, R1, R7, from);
        self.store(size, R10, KEY + to as i16, R1);
    }

    /// Puts the flow of the frame in the stack, but for the device, and goes on at "flow"; at "turn" for what begins or
    /// ends a connection; at "go on" for all that is no flow.
    fn read_flow(&mut self) {
        self.require(header::FOUR + header::UDP);
        self.load(Byte, R1, R7, header::DESTINATION);
        self.jump_if(R1, SharesBits, 1, "go on");
        for word in 0..3 {
            self.copy(Word, header::DESTINATION + 4 * word, offset_of!(FlowKey, destination) + 4 * word as usize);
        }
        self.load(Half, R1, R7, header::ETHERTYPE);
        self.store(Half, R10, KEY + offset_of!(FlowKey, ethertype) as i16, R1);
        self.jump_if(R1, Equal, wire(IPV4), "four");
        self.jump_if(R1, Equal, wire(IPV6), "six");
        self.jump("go on");
        self.read_four();
        self.read_six();
        self.label("tcp");
        self.compute(And, R1, FLAGS);
        self.jump_if(R1, Different, ACK, "turn");
        self.label("flow");
    }

    fn read_four(&mut self) {
        let at = |place| header::ETHERNET + place;
        self.label("four");
        self.load(Byte, R1, R7, at(0));
        self.jump_if(R1, Different, PLAIN_FOUR, "go on");
        self.load(Half, R1, R7, at(6));
        self.jump_if(R1, SharesBits, wire(FRAGMENT), "go on");
        self.copy(Byte, at(1), offset_of!(FlowKey, class));
        for (from, to) in [(at(12), offset_of!(FlowKey, from)), (at(16), offset_of!(FlowKey, to))] {
            self.store(Double, R10, KEY + to as i16, 0);
            self.store(Double, R10, KEY + to as i16 + 8, 0);
            self.copy(Word, from, to);
        }
        self.copy(Byte, at(9), offset_of!(FlowKey, protocol));
        self.set(R2, R1);
        self.copy(Word, header::FOUR, offset_of!(FlowKey, ports));
        self.jump_if(R2, Equal, UDP, "flow");
        self.jump_if(R2, Different, TCP, "go on");
        self.require(header::FOUR + header::TCP);
        self.load(Byte, R1, R7, header::FOUR + header::TCP_FLAGS);
        self.jump("tcp");
    }

    fn read_six(&mut self) {
        let at = |place| header::ETHERNET + place;
        self.label("six");
        self.require(header::SIX + header::UDP);
        // The class lies across two bytes.
        self.load(Byte, R1, R7, at(0));
        self.compute(ShiftLeft, R1, 4);
        self.load(Byte, R2, R7, at(1));
        self.compute(ShiftRight, R2, 4);
        self.compute(Or, R1, R2);
        self.store(Byte, R10, KEY + offset_of!(FlowKey, class) as i16, R1);
        for (from, to) in [(at(8), offset_of!(FlowKey, from)), (at(24), offset_of!(FlowKey, to))] {
            self.copy(Double, from, to);
            self.copy(Double, from + 8, to + 8);
        }
        self.copy(Byte, at(6), offset_of!(FlowKey, protocol));
        self.set(R2, R1);
        self.copy(Word, header::SIX, offset_of!(FlowKey, ports));
        self.jump_if(R2, Equal, UDP, "flow");
        self.jump_if(R2, Different, TCP, "go on");
        self.require(header::SIX + header::TCP);
        self.load(Byte, R1, R7, header::SIX + header::TCP_FLAGS);
    }

    /// The end of both programs.
    fn end(mut self) -> Result<Vec<Instruction>, BadLabel> {
        self.label("go on");
        self.set(R0, GO_ON);
        self.exit();
        self.assemble()
    }
}

/// Sends a frame on as one before it went, if that is not long ago and nothing has changed since.
pub(super) fn ingress(maps: &Maps) -> Result<Vec<Instruction>, BadLabel> {
    let of_flow = |place: usize| place as i16;
    let mut program = Program::default();
    let p = &mut program;
    p.set(R6, R1);
    p.generation(R1, maps);
    p.jump_if(R1, Equal, 0, "go on");
    p.open(header::ETHERNET);
    p.read_flow();
    p.load(Word, R1, R6, frame::DEVICE);
    p.store(Word, R10, KEY, R1);
    p.look_up(&maps.flows, KEY);
    p.jump_if(R0, Equal, 0, "go on");
    p.set(R7, R0);
    p.generation(R1, maps);
    p.load(Double, R2, R7, of_flow(offset_of!(Flow, generation)));
    p.jump_if(R1, Different, R2, "go on");
    // One longer than any before might not fit where those did. Of many in one, the kernel asks it of none.
    p.load(Word, R1, R6, frame::SEGMENT);
    p.jump_if(R1, Different, 0, "fits");
    p.load(Word, R1, R6, frame::LENGTH);
    p.load(Word, R2, R7, of_flow(offset_of!(Flow, length)));
    p.jump_if(R1, Greater, R2, "go on");
    p.label("fits");
    p.call(Call::Now);
    p.load(Double, R1, R7, of_flow(offset_of!(Flow, until)));
    p.jump_if(R0, Greater, R1, "go on");
    p.require_care(maps);
    require_still_there(p, maps);
    p.count(maps, COUNT_SENT, "counted");
    p.set(R1, SENT_ON);
    p.store(Word, R6, frame::SCRATCH, R1);
    p.load(Word, R1, R7, of_flow(offset_of!(Flow, device)));
    p.set(R2, 0);
    p.call(Call::Redirect);
    p.exit();

    // What begins or ends a connection is seen by all, and so is what follows it.
    p.label("turn");
    p.load(Word, R1, R6, frame::DEVICE);
    p.store(Word, R10, KEY, R1);
    p.map(R1, maps.flows.as_raw_fd());
    p.address(R2, R10, KEY);
    p.call(Call::Delete);
    program.end()
}

/// Who the frame is for is where the flow leads: if it was heard of elsewhere since, as when an address fails over to
/// another host, the bridge knows better.
fn require_still_there(p: &mut Program, maps: &Maps) {
    let address = STATION_KEY + offset_of!(StationKey, address) as i16;
    let destination = KEY + offset_of!(FlowKey, destination) as i16;
    p.load(Word, R1, R10, KEY);
    p.store(Word, R10, STATION_KEY, R1);
    p.load(Word, R1, R10, destination);
    p.store(Word, R10, address, R1);
    p.load(Half, R1, R10, destination + 4);
    p.store(Half, R10, address + 4, R1);
    p.store(Half, R10, address + 6, 0);
    p.look_up(&maps.stations, STATION_KEY);
    p.jump_if(R0, Equal, 0, "go on");
    p.load(Word, R1, R0, 0);
    p.load(Word, R2, R7, offset_of!(Flow, device) as i16);
    p.jump_if(R1, Different, R2, "go on");
}

/// Notes of a frame that passed everything: behind which device who sent it is, and, if who it is for is behind the device
/// by which it leaves, that frames like it may.
pub(super) fn egress(maps: &Maps) -> Result<Vec<Instruction>, BadLabel> {
    let mut program = Program::default();
    let p = &mut program;
    p.set(R6, R1);
    p.load(Word, R1, R6, frame::SCRATCH);
    p.jump_if(R1, Different, SENT_ON, "passed");
    // In another namespace it may have to prove itself again.
    p.set(R1, 0);
    p.store(Word, R6, frame::SCRATCH, R1);
    p.jump("go on");
    p.label("passed");
    p.generation(R1, maps);
    p.jump_if(R1, Equal, 0, "go on");
    p.store(Double, R10, GENERATION, R1);
    p.open(header::ETHERNET);
    require_one_bridge(p, maps);
    p.call(Call::Now);
    p.store(Double, R10, NOW, R0);
    p.require_care(maps);
    learn_station(p, maps);
    p.read_flow();
    learn_flow(p, maps);
    p.label("turn");
    program.end()
}

/// `FROM` and `HERE`: the devices by which it came and leaves, two of one bridge.
fn require_one_bridge(p: &mut Program, maps: &Maps) {
    p.load(Word, R1, R6, frame::ARRIVED_BY);
    p.store(Word, R10, FROM, R1);
    p.load(Word, R2, R6, frame::DEVICE);
    p.store(Word, R10, HERE, R2);
    p.jump_if(R1, Equal, R2, "go on");
    p.look_up(&maps.devices, FROM);
    p.jump_if(R0, Equal, 0, "go on");
    p.load(Word, R1, R0, 0);
    p.store(Double, R10, BRIDGE, R1);
    p.look_up(&maps.devices, HERE);
    p.jump_if(R0, Equal, 0, "go on");
    p.load(Word, R1, R0, 0);
    p.load(Double, R2, R10, BRIDGE);
    p.jump_if(R1, Different, R2, "go on");
}

/// Puts in the stack who has this address, as seen from that device.
fn station_key(p: &mut Program, seen_from: i16, address: i16) {
    p.load(Word, R1, R10, seen_from);
    p.store(Word, R10, STATION_KEY, R1);
    let place = STATION_KEY + offset_of!(StationKey, address) as i16;
    p.load(Word, R1, R7, address);
    p.store(Word, R10, place, R1);
    p.load(Half, R1, R7, address + 4);
    p.store(Half, R10, place + 4, R1);
    p.store(Half, R10, place + 6, 0);
}

/// `R1 =` how long ago a station was heard of.
fn age(p: &mut Program) {
    p.load(Double, R1, R10, NOW);
    p.load(Double, R2, R0, offset_of!(Station, heard) as i16);
    p.compute(Subtract, R1, R2);
}

/// As seen from here, who sent this is behind the device by which it came.
fn learn_station(p: &mut Program, maps: &Maps) {
    station_key(p, HERE, header::SOURCE);
    p.look_up(&maps.stations, STATION_KEY);
    p.jump_if(R0, Equal, 0, "station");
    p.load(Word, R1, R0, 0);
    p.load(Word, R2, R10, FROM);
    p.jump_if(R1, Different, R2, "station");
    age(p);
    p.jump_if(R1, Less, STATION_REFRESH, "stationed");
    p.label("station");
    p.load(Word, R1, R10, FROM);
    p.store(Word, R10, STATION, R1);
    p.store(Word, R10, STATION + offset_of!(Station, unused) as i16, 0);
    p.load(Double, R1, R10, NOW);
    p.store(Double, R10, STATION + offset_of!(Station, heard) as i16, R1);
    p.update(&maps.stations, STATION_KEY, STATION);
    p.label("stationed");
}

/// Frames like this may leave here, if nobody but who is here would get them: when the bridge does not know where that is
/// it sends them by all devices.
fn learn_flow(p: &mut Program, maps: &Maps) {
    let of_flow = |place: usize| FLOW + place as i16;
    station_key(p, FROM, header::DESTINATION);
    p.look_up(&maps.stations, STATION_KEY);
    p.jump_if(R0, Equal, 0, "go on");
    p.load(Word, R1, R0, 0);
    p.load(Word, R2, R10, HERE);
    p.jump_if(R1, Different, R2, "go on");
    age(p);
    p.set_wide(R2, STATION_LIFETIME);
    p.jump_if(R1, Greater, R2, "go on");

    // Of many in one it is known that one of them fits, without its headers.
    p.load(Word, R8, R6, frame::SEGMENT);
    p.jump_if(R8, Different, 0, "measured");
    p.load(Word, R8, R6, frame::LENGTH);
    p.label("measured");
    p.load(Word, R1, R10, FROM);
    p.store(Word, R10, KEY, R1);
    p.look_up(&maps.flows, KEY);
    p.jump_if(R0, Equal, 0, "learn");
    p.load(Double, R1, R0, offset_of!(Flow, generation) as i16);
    p.load(Double, R2, R10, GENERATION);
    p.jump_if(R1, Different, R2, "learn");
    p.load(Word, R1, R0, offset_of!(Flow, device) as i16);
    p.load(Word, R2, R10, HERE);
    p.jump_if(R1, Different, R2, "learn");
    p.load(Double, R1, R0, offset_of!(Flow, until) as i16);
    p.load(Double, R2, R10, NOW);
    p.jump_if(R1, Less, R2, "learn");
    // It was too long.
    p.load(Word, R1, R0, offset_of!(Flow, length) as i16);
    p.jump_if(R1, Greater, R8, "go on");
    p.store(Word, R0, offset_of!(Flow, length) as i16, R8);
    p.jump("go on");

    p.label("learn");
    p.load(Word, R1, R10, HERE);
    p.store(Word, R10, of_flow(offset_of!(Flow, device)), R1);
    p.store(Word, R10, of_flow(offset_of!(Flow, length)), R8);
    p.load(Double, R1, R10, NOW);
    p.compute(Add, R1, LIFETIME);
    p.store(Double, R10, of_flow(offset_of!(Flow, until)), R1);
    p.load(Double, R1, R10, GENERATION);
    p.store(Double, R10, of_flow(offset_of!(Flow, generation)), R1);
    p.update(&maps.flows, KEY, FLOW);
    p.count(maps, COUNT_LEARNT, "counted");
}
