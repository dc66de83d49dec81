//! What stands in the maps of a [`FlowCache`](super::FlowCache). There are no gaps in it: what would be in one would be
//! part of a key.

/// A flow is all that decides about its frames: their way in, and their headers but for what changes from one to the next.
#[repr(C)]
pub(super) struct FlowKey {
    /// The device by which they come in.
    pub(super) device: u32,
    pub(super) destination: [u8; 6],
    pub(super) source: [u8; 6],
    pub(super) from: [u8; 16],
    pub(super) to: [u8; 16],
    pub(super) ports: [u16; 2],
    pub(super) ethertype: u16,
    pub(super) protocol: u8,
    /// Type of service, or traffic class.
    pub(super) class: u8,
}

/// What becomes of its frames.
#[repr(C)]
pub(super) struct Flow {
    /// The device by which they leave.
    pub(super) device: u32,
    /// The longest that did.
    pub(super) length: u32,
    /// When one has to be looked at again.
    pub(super) until: u64,
    pub(super) generation: u64,
}

/// An Ethernet address, as seen from a device.
#[repr(C)]
pub(super) struct StationKey {
    pub(super) seen_from: u32,
    pub(super) address: [u8; 6],
    pub(super) unused: u16,
}

/// Where it is.
#[repr(C)]
pub(super) struct Station {
    pub(super) device: u32,
    pub(super) unused: u32,
    pub(super) heard: u64,
}

/// What says whether ways that are known hold.
#[repr(C)]
pub(super) struct Validity {
    /// The generation that they must be of; 0 when none holds.
    pub(super) generation: u64,
    /// From when on none holds, in nanoseconds since the start, should nobody have looked after them until then.
    pub(super) until: u64,
}

impl Validity {
    pub(super) fn bytes(&self) -> [u8; size_of::<Self>()] {
        let mut bytes = [0; size_of::<Self>()];
        let (generation, until) = bytes.split_at_mut(size_of::<u64>());
        generation.copy_from_slice(&self.generation.to_ne_bytes());
        until.copy_from_slice(&self.until.to_ne_bytes());
        bytes
    }
}

/// Which counter is which.
pub(super) const COUNT_SENT: u32 = 0;
pub(super) const COUNT_LEARNT: u32 = 1;
pub(super) const COUNTS: u32 = 2;

/// The size of a type, as the kernel wants it.
pub(super) const fn size<T>() -> u32 {
    size_of::<T>() as u32
}

const _: () = assert!(size_of::<FlowKey>() == 4 + 12 + 32 + 4 + 4);
const _: () = assert!(size_of::<Flow>() == 24 && size_of::<StationKey>() == 12 && size_of::<Station>() == 16);
