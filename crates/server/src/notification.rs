//! Notifications of the API, for whoever watches it: `<resource>.<action>.start` and `.end`.
//!
//! The start of a request is told as the request stands, its end with the resource as it then is. The end is recorded
//! in the transaction and so is not lost; the start is told as long as this process lives, in order with the end.

use std::sync::Arc;

use oslo::{context::Context, messaging::notifier};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, mpsc};
use types::{attribute::ResourceTable, router::RouterInterface};

use crate::{
    Ctx,
    event::{Action, Event, Hosted, HostedRouter, Tagged, outbox::Receipt},
};

/// Notifications that may wait in memory; what is stored beyond them is read again later.
const WAITING: usize = 10_000;
/// First and longest pause before a notification is sent again.
const BACKOFF: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_millis(200), std::time::Duration::from_secs(10));

/// What a request does, as its notifications name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The resource, `network`.
    pub singular: &'static str,
    /// Its collection, `networks`.
    pub plural: &'static str,
    /// What is done to it.
    pub action: Action,
    /// Whether to several at once.
    pub bulk: bool,
}

/// One notification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// `network.create.end`
    pub event_type: String,
    /// What it tells.
    pub payload: Value,
}

/// Where notifications go.
#[derive(Debug)]
pub enum Driver {
    /// Where the configuration says.
    Oslo(notifier::Notifier),
    /// To a receiver in this process.
    Channel(mpsc::UnboundedSender<(String, Notice)>),
}

/// The way to those who watch.
#[derive(Debug)]
pub struct Notifier {
    publisher_id: String,
    driver: Driver,
    sender: mpsc::Sender<Queued>,
    receiver: Mutex<mpsc::Receiver<Queued>>,
}

#[derive(Debug)]
struct Queued {
    caller: Context,
    notice: Notice,
    receipt: Option<Arc<Receipt>>,
}

impl Announced {
    /// Whether the request does this to resources of that name.
    pub fn is_of(&self, singular: &str, action: Action) -> bool {
        self.singular == singular && self.action == action
    }

    fn event_type(&self, phase: &str) -> String {
        format!("{}.{}.{phase}", self.singular, self.action.as_str())
    }

    /// What its end is told with.
    fn end(&self, events: &[Event]) -> Option<Notice> {
        let mut shown = events.iter().filter_map(|event| event.shown(self.singular, self.action));
        let payload = if self.bulk {
            json!({ self.plural: shown.collect::<Vec<_>>() })
        } else {
            let shown = shown.next()?;
            let id = (self.action == Action::Delete).then(|| shown["id"].clone());
            let mut payload = Map::from_iter([(self.singular.to_owned(), shown)]);
            payload.extend(id.map(|id| (format!("{}_id", self.singular), id)));
            payload.into()
        };
        Some(Notice { event_type: self.event_type("end"), payload })
    }
}

impl Ctx {
    /// The same caller, whose request is now known to do this. Nothing is copied where nobody is told of requests.
    pub(crate) fn announcing(
        &self,
        table: &'static ResourceTable,
        action: Action,
        bulk: bool,
    ) -> std::borrow::Cow<'_, Self> {
        if self.parts.nova.is_none() && self.parts.notifier.is_none() {
            return std::borrow::Cow::Borrowed(self);
        }
        let announced = Announced { singular: table.singular, plural: table.plural, action, bulk };
        std::borrow::Cow::Owned(Self { announced: Some(announced), ..self.clone() })
    }

    /// The body of a create as its start is told: as it came, with the owner filled in. Nothing if nobody watches.
    pub(crate) fn stated(&self, body: &Map<String, Value>) -> Option<Value> {
        self.parts.notifier.as_ref()?;
        let announced = self.announced.as_ref()?;
        let mut body = body.clone();
        let items: Vec<&mut Value> =
            match body.get_mut(if announced.bulk { announced.plural } else { announced.singular }) {
                Some(Value::Array(items)) => items.iter_mut().collect(),
                Some(item) => vec![item],
                None => Vec::new(),
            };
        for item in items.into_iter().filter_map(Value::as_object_mut) {
            if !item.contains_key("project_id") && !item.contains_key("tenant_id") {
                item.insert("project_id".to_owned(), self.project_id().into());
            }
        }
        Some(body.into())
    }

    /// The body of an update as its start is told: as it came, with the id. Nothing if nobody watches.
    pub(crate) fn stated_of(&self, id: &str, body: &Map<String, Value>) -> Option<Value> {
        self.parts.notifier.as_ref()?;
        let mut body = body.clone();
        body.insert("id".to_owned(), id.into());
        Some(body.into())
    }

    /// Tells that the announced request begins.
    pub(crate) fn begin(&self, payload: Option<Value>) {
        if let (Some(notifier), Some(announced), Some(payload)) = (&self.parts.notifier, &self.announced, payload) {
            notifier.push(&self.caller, Notice { event_type: announced.event_type("start"), payload }, None);
        }
    }

    /// Tells that the announced request begins to delete.
    pub(crate) fn begin_deleting(&self, id: &str) {
        let payload = |announced: &Announced| json!({ format!("{}_id", announced.singular): id });
        if self.parts.notifier.is_some() {
            self.begin(self.announced.as_ref().map(payload));
        }
    }

    /// Tells that tags are about to be changed.
    pub(crate) fn begin_tagging(&self, tagged: &Tagged) {
        if let Some(notifier) = &self.parts.notifier {
            notifier.push(&self.caller, of_tags(tagged, "start"), None);
        }
    }
}

/// What the end of a request is told with.
pub(crate) fn ends(ctx: &Ctx, events: &[Event]) -> Vec<Notice> {
    let request = ctx.announced.as_ref().and_then(|announced| announced.end(events));
    request.into_iter().chain(events.iter().filter_map(special)).collect()
}

/// Events with notifications of their own.
fn special(event: &Event) -> Option<Notice> {
    let hosted = |event_type: &str, hosted: &Hosted| Notice {
        event_type: event_type.to_owned(),
        payload: json!({"agent": {"id": hosted.agent, "network_id": hosted.network}}),
    };
    let routed = |event_type: &str, hosted: &HostedRouter| Notice {
        event_type: event_type.to_owned(),
        payload: json!({"agent": {"id": hosted.agent, "router_id": hosted.router}}),
    };
    let interface = |event_type: &str, interface: &RouterInterface| Notice {
        event_type: event_type.to_owned(),
        payload: json!({"router_interface": interface}),
    };
    match event {
        Event::RouterHosted(added) => Some(routed("l3_agent.router.add", added)),
        Event::RouterUnhosted(removed) => Some(routed("l3_agent.router.remove", removed)),
        Event::RouterInterfaceAdded(added) => Some(interface("router.interface.create", added)),
        Event::RouterInterfaceRemoved(removed) => Some(interface("router.interface.delete", removed)),
        Event::DhcpNetworkAdded(added) => Some(hosted("dhcp_agent.network.add", added)),
        Event::DhcpNetworkRemoved(removed) => Some(hosted("dhcp_agent.network.remove", removed)),
        Event::Tagged(tagged) => Some(of_tags(tagged, "end")),
        _ => None,
    }
}

fn of_tags(tagged: &Tagged, phase: &str) -> Notice {
    let mut payload = json!({"obj_resource": tagged.parent, "obj_resource_id": tagged.parent_id});
    if let Some(tags) = &tagged.tags {
        payload["tags"] = json!(tags);
    }
    Notice { event_type: format!("tag.{}.{phase}", tagged.action), payload }
}

impl From<notifier::Notifier> for Driver {
    fn from(notifier: notifier::Notifier) -> Self {
        Self::Oslo(notifier)
    }
}

impl Notifier {
    /// A notifier of the service on `host`.
    pub fn new(host: &str, driver: impl Into<Driver>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let driver = driver.into();
        Self { publisher_id: format!("network.{host}"), driver, sender, receiver: Mutex::new(receiver) }
    }

    /// Puts a notification on its way. What finds no room stays in the database for later, if it is there.
    pub(crate) fn push(&self, caller: &Context, notice: Notice, receipt: Option<Arc<Receipt>>) {
        let caller = caller.clone();
        if let Err(error) = self.sender.try_send(Queued { caller, notice, receipt }) {
            match error.into_inner() {
                Queued { receipt: Some(receipt), .. } => receipt.leave(),
                Queued { notice, .. } => {
                    tracing::warn!("the notification {} is not sent: too many wait", notice.event_type);
                }
            }
        }
    }

    /// Sends notifications until it is dropped.
    pub(crate) async fn run(&self) {
        let mut receiver = self.receiver.lock().await;
        while let Some(queued) = receiver.recv().await {
            self.send(&queued).await;
        }
    }

    /// Sends one, however long that takes where it must not be lost.
    async fn send(&self, queued: &Queued) {
        let mut pause = BACKOFF.0;
        while let Err(error) = self.try_send(queued).await {
            if queued.receipt.is_none() {
                return tracing::warn!("{error}");
            }
            tracing::warn!("{error}; it is sent again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    async fn try_send(&self, queued: &Queued) -> Result<(), notifier::NotifyError> {
        let Queued { notice, caller, .. } = queued;
        let (event_type, payload) = (&notice.event_type, notice.payload.clone());
        match &self.driver {
            Driver::Oslo(oslo) => {
                oslo.publish(caller, &self.publisher_id, event_type, notifier::Priority::Info, payload).await
            }
            Driver::Channel(sender) => {
                // Whoever listened has gone.
                let _ = sender.send((self.publisher_id.clone(), notice.clone()));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
