//! Segments as a resource of their own: administrators add them to networks and take them away.

use std::sync::Arc;

use db::{Conn, Row, Tx, list::Listing, network as network_rows, network_segment as rows, standard};
use types::{
    Segment, Standard,
    attribute::{Attributes, ResourceTable, table::NETWORK_SEGMENT},
    network::Network,
};

use super::{Condition, Resource, find};
use crate::{
    Ctx, Error, Refusal, Result,
    event::{self, Event},
    segment::{self, Wanted},
};

pub use types::network_segment::NetworkSegment;

impl Resource for NetworkSegment {
    const TABLE: &'static ResourceTable = &NETWORK_SEGMENT;
    const LISTING: &'static Listing = &rows::LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        Some(&self.standard)
    }

    async fn load(_: &Ctx, _: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::network_segments_from_rows(&rows)?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        let mut segments = Vec::with_capacity(given.len());
        for given in &given {
            segments.push(insert(ctx, &mut tx, given).await?);
        }
        let made = segments.iter().map(|made| Event::NetworkSegmentCreated(Arc::new(made.clone()))).collect();
        let recorded = event::record(ctx, &mut tx, made).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(segments)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, condition: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let before: Self = find(ctx, &mut tx, id).await?;
        condition.check(&before.standard)?;
        let mut segment = before.clone();
        if given.contains("name") {
            segment.name = given.text("name").map(str::to_owned);
            rows::network_segment_rename(&mut tx, &segment).await?;
        }
        if let Some(description) = given.text("description") {
            standard::standard_describe(&mut tx, &mut segment.standard, description).await?;
        }
        if segment != before {
            standard::standard_touch(&mut tx, &mut segment.standard).await?;
        }
        let updated = Event::NetworkSegmentUpdated(Arc::new(segment.clone()));
        let recorded = event::record(ctx, &mut tx, vec![updated]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(segment)
    }

    async fn delete(ctx: &Ctx, id: &str, condition: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let segment: Self = find(ctx, &mut tx, id).await?;
        condition.check(&segment.standard)?;
        refuse_if_used(&mut tx, &segment).await?;
        rows::network_segment_delete(&mut tx, &segment).await?;
        segment::release(&mut tx, &ctx.config().ml2, &[plain(&segment)]).await?;
        let recorded = event::record(ctx, &mut tx, vec![Event::NetworkSegmentDeleted(Arc::new(segment))]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

async fn insert(ctx: &Ctx, tx: &mut Tx, given: &Attributes) -> Result<NetworkSegment> {
    let network = given.text("network_id").unwrap_or_default();
    let mut network: Network = find(ctx, tx, network).await?;
    let wanted = Wanted {
        network_type: given.text("network_type").map(str::to_owned),
        physical_network: given.text("physical_network").map(str::to_owned),
        segmentation_id: given.int("segmentation_id"),
    };
    let index = rows::next_index(tx, network.id).await?;
    let added = segment::add(tx, &ctx.config().ml2, network.id, &wanted, index).await?;
    let mut segment: NetworkSegment = find(ctx, tx, &added.id.to_string()).await?;
    segment.name = given.text("name").map(str::to_owned);
    rows::network_segment_rename(tx, &segment).await?;
    let description = given.text("description").unwrap_or_default();
    standard::standard_describe(tx, &mut segment.standard, description).await?;
    network.segments.push(added);
    // What the network carries must fit the new segment too.
    let largest = segment::max_mtu(&ctx.config().ml2, ctx.config().global_physnet_mtu, &network.segments);
    if largest > 0 && largest < network.mtu {
        network.mtu = largest;
        network_rows::network_update(tx, &network).await?;
    }
    Ok(segment)
}

fn plain(segment: &NetworkSegment) -> Segment {
    Segment {
        id: segment.id,
        network_id: segment.network_id,
        network_type: segment.network_type,
        physical_network: segment.physical_network.clone(),
        segmentation_id: segment.segmentation_id,
        segment_index: segment.segment_index,
    }
}

async fn refuse_if_used(tx: &mut Tx, segment: &NetworkSegment) -> Result<()> {
    let refuse = |reason: String| -> Error {
        let message = format!("Segment '{}' cannot be deleted: {reason}.", segment.id);
        Refusal::conflict("SegmentInUse", message).into()
    };
    let listed = |ids: Vec<String>| ids.join(", ");
    let subnets = rows::subnets_of(tx, segment.id).await?;
    if !subnets.is_empty() {
        let subnets = listed(subnets.iter().map(ToString::to_string).collect());
        return Err(refuse(format!("The segment is still associated with subnet(s) {subnets}")));
    }
    let ports = rows::ports_of(tx, segment.id).await?;
    if !ports.is_empty() {
        let ports = listed(ports.iter().map(ToString::to_string).collect());
        return Err(refuse(format!("The segment is still bound with port(s) {ports}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{resource::subnet::Subnet, testing};

    #[tokio::test]
    async fn segments_come_and_go_unless_they_are_used() {
        let ctx = testing::server(|config| config.ml2.vxlan_ranges = vec![(1, 100)]).await;
        let network = testing::network(&ctx).await;
        let body = json!({"network_id": network.id, "network_type": "vxlan", "name": "second"});
        let second: NetworkSegment = testing::create(&ctx, body).await;
        assert!(second.segmentation_id.is_some());
        assert_eq!((second.segment_index, second.standard.description.as_deref()), (1, Some("")));
        let shown: Network = find(&ctx, &mut ctx.db().reader().await.unwrap(), &network.id.to_string()).await.unwrap();
        assert_eq!(shown.segments.len(), 2);
        assert!(shown.mtu <= 1450, "it must fit a VXLAN: {}", shown.mtu);
        let taken = json!({"network_id": network.id, "network_type": "vxlan", "segmentation_id": second.segmentation_id,
            "project_id": "p"});
        let taken = Attributes::for_create(NetworkSegment::TABLE, taken.as_object().unwrap().clone()).unwrap();
        let refused = NetworkSegment::create(&ctx, vec![taken]).await.unwrap_err();
        assert_eq!(refused.into_refusal().kind, "TunnelIdInUse");
        let body = json!({"network_id": network.id, "ip_version": 4, "cidr": "10.0.0.0/24", "segment_id": second.id});
        let subnet: Subnet = testing::create(&ctx, body).await;
        let routed: Network = find(&ctx, &mut ctx.db().reader().await.unwrap(), &network.id.to_string()).await.unwrap();
        assert!(!routed.l2_adjacency);
        let refused = NetworkSegment::delete(&ctx, &second.id(), Condition::default()).await.unwrap_err();
        assert_eq!(refused.into_refusal().kind, "SegmentInUse");
        Subnet::delete(&ctx, &subnet.id.to_string(), Condition::default()).await.unwrap();
        NetworkSegment::delete(&ctx, &second.id(), Condition::default()).await.unwrap();
        let again =
            json!({"network_id": network.id, "network_type": "vxlan", "segmentation_id": second.segmentation_id});
        testing::create::<NetworkSegment>(&ctx, again).await;
    }
}
