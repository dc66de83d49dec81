//! How agents plug their own ports: a veth pair, one end in the namespace of the service and the other, named as the tap
//! of an instance would be, in the host, where the layer 2 agent wires it as it wires any tap.

use kernel::{Kernel, LinkChange, Namespace, NewKind, NewLink, Result, existing_is_fine};
use types::Mac;

/// A pair to make.
pub(crate) struct Pair<'a> {
    /// The end in the host.
    pub(crate) tap: &'a str,
    /// The end in the namespace.
    pub(crate) name: &'a str,
    /// Ethernet address of that.
    pub(crate) mac: Mac,
    /// Largest packet, when known.
    pub(crate) mtu: Option<u32>,
}

impl Pair<'_> {
    /// Makes it, both ends up; one that stands already is fine.
    pub(crate) async fn create(&self, host: &impl Kernel, namespace: &Namespace) -> Result<()> {
        let mut settings = LinkChange::up();
        settings.mtu = self.mtu;
        let peer = settings.clone().with_mac(self.mac).in_namespace(namespace);
        let kind = NewKind::Veth { peer: self.name.to_owned(), settings: Box::new(peer) };
        existing_is_fine(host.link_create(&NewLink { name: self.tap.to_owned(), kind, settings }).await)
    }
}
