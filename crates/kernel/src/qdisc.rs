//! Queueing disciplines: which devices look at, and may hold up, what comes in.

use std::collections::BTreeSet;

use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcMessage},
};

use crate::{Netlink, Result};

/// Disciplines that filters for what comes in hang on.
const INGRESS: [&str; 2] = ["ingress", "clsact"];

impl Netlink {
    /// Indices of the links of which somebody filters, polices or mirrors what comes in, by `tc`.
    pub async fn policed(&self) -> Result<BTreeSet<u32>> {
        let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let answers = self.dump(request, ("list", "queueing disciplines")).await?;
        let policed = answers.into_iter().filter_map(|answer| {
            let RouteNetlinkMessage::NewQueueDiscipline(message) = answer else { return None };
            let is_ingress = |attribute: &TcAttribute| match attribute {
                TcAttribute::Kind(kind) => INGRESS.contains(&kind.as_str()),
                _ => false,
            };
            let index = u32::try_from(message.header.index).ok()?;
            message.attributes.iter().any(is_ingress).then_some(index)
        });
        Ok(policed.collect())
    }
}
