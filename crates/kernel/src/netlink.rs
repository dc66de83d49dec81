//! The real kernel: one rtnetlink socket inside one namespace.

use std::sync::Arc;

use futures_util::StreamExt;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use parking_lot::Mutex;

use crate::{
    Error, Namespace, Result,
    nft::{Nft, NftError},
};

/// Header flag of a listing that the kernel changed under our hands (`NLM_F_DUMP_INTR`).
const INTERRUPTED: u16 = 0x10;
/// How often an interrupted listing is asked again before the last, possibly torn, answer is refused.
const ATTEMPTS: usize = 20;

/// A handle on the links, addresses and routes of one namespace. Clones share the socket.
#[derive(Clone)]
pub struct Netlink {
    namespace: Namespace,
    handle: rtnetlink::Handle,
    /// Opened when it is first asked for.
    nft: Arc<Mutex<Option<Nft>>>,
}

impl Netlink {
    /// Opens the socket inside `namespace`; the current tokio runtime serves it until the last clone is dropped.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        let name = || namespace.name().unwrap_or("the current namespace").to_owned();
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| Error::new("open netlink outside a runtime in", name(), Errno::ENOSYS))?;
        let opened = namespace.run(|| {
            let _inside = runtime.enter();
            rtnetlink::new_connection()
        })?;
        let (connection, handle, _) = opened.map_err(|error| Error::io("open netlink in", name(), &error))?;
        runtime.spawn(connection);
        Ok(Self { namespace: namespace.clone(), handle, nft: Arc::default() })
    }

    /// The namespace it was opened in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Does something with the rules of the namespace, on a thread that may wait.
    pub(crate) async fn with_nft<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Nft) -> std::result::Result<T, NftError> + Send + 'static,
    ) -> std::result::Result<T, NftError> {
        let (kept, namespace) = (Arc::clone(&self.nft), self.namespace.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let nft = match &mut *kept.lock() {
                Some(nft) => nft.clone(),
                none => none.insert(Nft::open(&namespace)?).clone(),
            };
            work(&nft)
        });
        asked.await.unwrap_or_else(|_| Err(Error::new("use", "nftables", Errno::EFAULT).into()))
    }

    /// A request answered by an acknowledgement or an error.
    pub(crate) async fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        (action, object): (&'static str, &str),
    ) -> Result<()> {
        let answers = self.ask(message, NLM_F_REQUEST | NLM_F_ACK | flags).await;
        answers.map(drop).map_err(|error| Error::netlink(action, object, &error))
    }

    /// A request answered by one object.
    pub(crate) async fn get(
        &self,
        message: RouteNetlinkMessage,
        (action, object): (&'static str, &str),
    ) -> Result<Option<RouteNetlinkMessage>> {
        match self.ask(message, NLM_F_REQUEST).await.map_err(|error| Error::netlink(action, object, &error)) {
            Ok((answers, _)) => Ok(answers.into_iter().next()),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A listing that is one consistent snapshot: asked again when the kernel says it changed meanwhile.
    pub(crate) async fn dump(
        &self,
        message: RouteNetlinkMessage,
        (action, object): (&'static str, &str),
    ) -> Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..ATTEMPTS {
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            let answer = self.ask(message.clone(), flags).await;
            let (answers, whole) = answer.map_err(|error| Error::netlink(action, object, &error))?;
            if whole {
                return Ok(answers);
            }
        }
        Err(Error::new(action, object, Errno::EAGAIN))
    }

    /// All inner messages of the answer, and whether the kernel calls them consistent.
    async fn ask(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> std::result::Result<(Vec<RouteNetlinkMessage>, bool), rtnetlink::Error> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        let mut answers = Vec::new();
        let mut whole = true;
        let mut stream = self.handle.clone().request(request)?;
        while let Some(answer) = stream.next().await {
            whole &= answer.header.flags & INTERRUPTED == 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                NetlinkPayload::Error(refusal) => return Err(rtnetlink::Error::NetlinkError(refusal)),
                _ => {}
            }
        }
        Ok((answers, whole))
    }
}
