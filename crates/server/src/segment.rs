//! Type drivers: which segment a new network gets, and the largest packet it carries.
//!
//! An id is chosen at random from the configured ranges and claimed in the database, so the cost does not grow with the
//! number of ids and several servers rarely meet. Upstream's allocation tables are kept as it keeps them by [`sync`],
//! which runs beside the serving of requests.

use std::{sync::Arc, time::Duration};

use db::{Tx, segment as rows};
use types::{NetworkId, NetworkType, Segment, SegmentId, attribute::Attributes};

use crate::{Parts, Refusal, Result, config::Ml2};

/// How many ids are tried at random before all that are taken are looked through.
const TRIES: usize = 16;
/// How many rows [`sync`] looks at in one transaction.
const SYNC_BATCH: u32 = 2000;

/// Ids of a type (of a physical network, for VLANs) as first and last of each range.
type Ranges = Vec<(u32, u32)>;

/// What a request says of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `provider:network_type`
    pub network_type: Option<String>,
    /// `provider:physical_network`
    pub physical_network: Option<String>,
    /// `provider:segmentation_id`
    pub segmentation_id: Option<i64>,
}

impl Wanted {
    /// The `provider:*` attributes, or the members of `segments`; empty when the request says nothing.
    pub fn from_attributes(given: &Attributes) -> Result<Vec<Self>> {
        let single = Self {
            network_type: given.text("provider:network_type").map(str::to_owned),
            physical_network: given.text("provider:physical_network").map(str::to_owned),
            segmentation_id: given.int("provider:segmentation_id"),
        };
        let several = given.list("segments").unwrap_or_default();
        match (single == Self::default(), several) {
            (true, []) => Ok(Vec::new()),
            (false, []) => Ok(vec![single]),
            (false, _) => Err(Refusal::bad_request(
                "SegmentsSetInConjunctionWithProviders",
                "Segments and provider values cannot both be set.",
            )
            .into()),
            (true, several) => Ok(several.iter().filter_map(|v| v.as_object()).map(Self::from_member).collect()),
        }
    }

    fn from_member(member: &serde_json::Map<String, serde_json::Value>) -> Self {
        let text = |name: &str| member.get(name).and_then(|v| v.as_str()).map(str::to_owned);
        Self {
            network_type: text("provider:network_type"),
            physical_network: text("provider:physical_network"),
            segmentation_id: member.get("provider:segmentation_id").and_then(serde_json::Value::as_i64),
        }
    }
}

/// Claims the segments of a new network.
pub async fn claim(
    tx: &mut Tx,
    config: &Ml2,
    network: NetworkId,
    wanted: &[Wanted],
    external: bool,
) -> Result<Vec<Segment>> {
    refuse_twins(config, wanted)?;
    let mut segments = Vec::with_capacity(wanted.len().max(1));
    for (index, wanted) in wanted.iter().enumerate() {
        let mut segment = provider_segment(tx, config, network, wanted).await?;
        segment.segment_index = u32::try_from(index).unwrap_or_default();
        segments.push(segment);
    }
    if segments.is_empty() {
        segments.push(project_segment(tx, config, network, external).await?);
    }
    for segment in &segments {
        rows::segment_insert(tx, segment).await?;
    }
    Ok(segments)
}

/// Claims one more segment for a network that has some.
pub async fn add(tx: &mut Tx, config: &Ml2, network: NetworkId, wanted: &Wanted, index: u32) -> Result<Segment> {
    let mut segment = provider_segment(tx, config, network, wanted).await?;
    segment.segment_index = index;
    rows::segment_insert(tx, &segment).await?;
    Ok(segment)
}

/// Two segments that say all there is to say of a segment, and the same. What is wrong with one comes first.
fn refuse_twins(config: &Ml2, wanted: &[Wanted]) -> Result<()> {
    let mut whole = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let network_type = supported(config, wanted)?;
        if matches!(network_type, NetworkType::Local | NetworkType::Flat) || wanted.segmentation_id.is_some() {
            whole.push(wanted);
        }
    }
    let twins = whole.iter().enumerate().any(|(place, one)| whole[..place].contains(one));
    if twins {
        let message = "Duplicate segment entry in request.";
        return Err(Refusal::bad_request("SegmentsContainDuplicateEntry", message).into());
    }
    Ok(())
}

/// Gives a segment another id, where its type lets that be changed.
pub async fn renumber(tx: &mut Tx, config: &Ml2, segment: &mut Segment, id: i64) -> Result<()> {
    if segment.network_type != NetworkType::Vlan {
        return Err(Refusal::invalid_input("Only VLAN type networks can be updated.").into());
    }
    let wanted = Wanted {
        network_type: Some(segment.network_type.to_string()),
        physical_network: segment.physical_network.clone(),
        segmentation_id: Some(id),
    };
    check(config, segment.network_type, &wanted)?;
    let id = u32::try_from(id).unwrap_or_default();
    if !rows::allocation_claim(tx, segment.network_type, segment.physical_network.as_deref(), id).await? {
        return Err(in_use(segment, id).into());
    }
    let former = segment.clone();
    segment.segmentation_id = Some(id);
    rows::segment_renumber(tx, segment).await?;
    release(tx, config, &[former]).await
}

/// Gives back what [`claim`] took.
pub async fn release(tx: &mut Tx, config: &Ml2, segments: &[Segment]) -> Result<()> {
    for segment in segments {
        let ranges = config.ranges(segment.network_type, segment.physical_network.as_deref());
        let in_range = segment.segmentation_id.is_some_and(|id| ranges.iter().any(|(a, b)| (*a..=*b).contains(&id)));
        rows::allocation_release(tx, segment, in_range).await?;
    }
    Ok(())
}

/// The largest packet a network of these segments carries; 0 when nothing bounds it.
pub fn max_mtu(config: &Ml2, global_physnet_mtu: u32, segments: &[Segment]) -> u32 {
    let of = |segment: &Segment| {
        let overlay = smallest([global_physnet_mtu, config.path_mtu]);
        let ip_header = if config.overlay_ip_version == 6 { 40 } else { 20 };
        match segment.network_type {
            NetworkType::Local => global_physnet_mtu,
            NetworkType::Flat | NetworkType::Vlan => {
                let name = segment.physical_network.as_deref().unwrap_or_default();
                smallest([global_physnet_mtu, config.physical_network_mtus.get(name).copied().unwrap_or(0)])
            }
            NetworkType::Vxlan => overlay.saturating_sub(ip_header + 30),
            NetworkType::Gre => overlay.saturating_sub(ip_header + 22),
            NetworkType::Geneve => overlay.saturating_sub(ip_header + config.geneve_header_size),
        }
    };
    let bounds = segments.iter().map(of).filter(|mtu| *mtu > 0);
    bounds.min().unwrap_or(global_physnet_mtu)
}

fn smallest(bounds: [u32; 2]) -> u32 {
    bounds.into_iter().filter(|mtu| *mtu > 0).min().unwrap_or(0)
}

fn new_segment(network: NetworkId, network_type: NetworkType) -> Segment {
    Segment {
        id: SegmentId::random(),
        network_id: network,
        network_type,
        physical_network: None,
        segmentation_id: None,
        segment_index: 0,
    }
}

/// The first type of the list that has something left.
async fn project_segment(tx: &mut Tx, config: &Ml2, network: NetworkId, external: bool) -> Result<Segment> {
    let external_type = config.external_network_type.filter(|_| external);
    let types = external_type.map_or_else(|| config.project_network_types.clone(), |only| vec![only]);
    for network_type in types {
        let mut segment = new_segment(network, network_type);
        let found = match network_type {
            NetworkType::Local => true,
            NetworkType::Flat => false,
            _ => any_id(tx, config, &mut segment).await?,
        };
        if found {
            return Ok(segment);
        }
    }
    Err(Refusal::new(
        axum::http::StatusCode::SERVICE_UNAVAILABLE,
        "NoNetworkAvailable",
        "Unable to create the network. No project network is available for allocation.",
    )
    .into())
}

/// The type of a segment that its type driver accepts.
fn supported(config: &Ml2, wanted: &Wanted) -> Result<NetworkType> {
    let name = wanted.network_type.as_deref().ok_or_else(|| Refusal::invalid_input("network_type required"))?;
    let network_type = name.parse().ok().filter(|t| config.type_drivers.contains(t));
    let network_type: NetworkType =
        network_type.ok_or_else(|| Refusal::invalid_input(format!("network_type value '{name}' not supported")))?;
    check(config, network_type, wanted)?;
    Ok(network_type)
}

async fn provider_segment(tx: &mut Tx, config: &Ml2, network: NetworkId, wanted: &Wanted) -> Result<Segment> {
    let network_type = supported(config, wanted)?;
    let mut segment = new_segment(network, network_type);
    segment.physical_network.clone_from(&wanted.physical_network);
    segment.segmentation_id = wanted.segmentation_id.and_then(|id| u32::try_from(id).ok());
    match (network_type, segment.segmentation_id) {
        (NetworkType::Local, _) => {}
        (NetworkType::Flat, _) => {
            let physical = segment.physical_network.clone().unwrap_or_default();
            if !rows::flat_claim(tx, &physical).await? {
                let message = format!("Unable to create the flat network. Physical network {physical} is in use.");
                return Err(Refusal::conflict("FlatNetworkInUse", message).into());
            }
        }
        (_, Some(id)) => {
            if !rows::allocation_claim(tx, network_type, segment.physical_network.as_deref(), id).await? {
                return Err(in_use(&segment, id).into());
            }
        }
        (_, None) => {
            if !any_id(tx, config, &mut segment).await? {
                return Err(Refusal::new(
                    axum::http::StatusCode::SERVICE_UNAVAILABLE,
                    "NoNetworkAvailable",
                    "Unable to create the network. No project network is available for allocation.",
                )
                .into());
            }
        }
    }
    Ok(segment)
}

fn in_use(segment: &Segment, id: u32) -> Refusal {
    match (segment.network_type, &segment.physical_network) {
        (NetworkType::Vlan, Some(physical)) => Refusal::conflict(
            "VlanIdInUse",
            format!("Unable to create the network. The VLAN {id} on physical network {physical} is in use."),
        ),
        _ => Refusal::conflict("TunnelIdInUse", format!("Unable to create the network. The tunnel ID {id} is in use.")),
    }
}

/// What a type driver refuses.
fn check(config: &Ml2, network_type: NetworkType, wanted: &Wanted) -> Result<()> {
    let refuse = |reason: String| Err(Refusal::invalid_input(reason).into());
    let physical = wanted.physical_network.as_deref().filter(|name| !name.is_empty());
    match (network_type, physical) {
        (NetworkType::Flat, None) => refuse("physical_network required for flat provider network".to_owned()),
        (NetworkType::Flat, Some(name)) => match &config.flat_networks {
            Some(known) if known.is_empty() => refuse("Flat provider networks are disabled".to_owned()),
            Some(known) if !known.iter().any(|k| k == name) => {
                refuse(format!("physical_network '{name}' unknown for flat provider network"))
            }
            _ if wanted.segmentation_id.is_some_and(|id| id != 0) => {
                refuse("segmentation_id prohibited for flat provider network".to_owned())
            }
            _ => Ok(()),
        },
        (NetworkType::Local, Some(_)) => refuse("physical_network prohibited for local provider network".to_owned()),
        (NetworkType::Local, None) if wanted.segmentation_id.is_some_and(|id| id != 0) => {
            refuse("segmentation_id prohibited for local provider network".to_owned())
        }
        (NetworkType::Local, None) => Ok(()),
        (NetworkType::Vlan, Some(name)) if !config.vlan_ranges.contains_key(name) => {
            refuse(format!("physical_network '{name}' unknown for VLAN provider network"))
        }
        (NetworkType::Vlan, Some(_)) => match wanted.segmentation_id {
            Some(id) if !(1..=4094).contains(&id) => refuse("segmentation_id out of range (1 through 4094)".to_owned()),
            _ => Ok(()),
        },
        (NetworkType::Vlan, None) if wanted.segmentation_id.is_some() => {
            refuse("segmentation_id requires physical_network for VLAN provider network".to_owned())
        }
        (NetworkType::Vlan, None) => Ok(()),
        (tunnel, Some(_)) => refuse(format!("provider:physical_network specified for {tunnel} network")),
        (tunnel, None) => match wanted.segmentation_id {
            Some(id) if !(0..=max_id(tunnel)).contains(&id) => {
                refuse(format!("segmentation_id out of range (0 through {})", max_id(tunnel)))
            }
            _ => Ok(()),
        },
    }
}

/// Largest id the encapsulation has room for.
fn max_id(network_type: NetworkType) -> i64 {
    match network_type {
        NetworkType::Gre => i64::from(i32::MAX),
        NetworkType::Vlan => 4094,
        _ => (1 << 24) - 1,
    }
}

/// Claims any free id of the type's ranges; for VLANs, of the physical network asked for or of any.
async fn any_id(tx: &mut Tx, config: &Ml2, segment: &mut Segment) -> Result<bool> {
    let candidates: Vec<(Option<String>, Ranges)> = match (segment.network_type, &segment.physical_network) {
        (NetworkType::Vlan, Some(name)) => {
            vec![(Some(name.clone()), config.vlan_ranges.get(name).cloned().unwrap_or_default())]
        }
        (NetworkType::Vlan, None) => config.vlan_ranges.iter().map(|(n, r)| (Some(n.clone()), r.clone())).collect(),
        (other, _) => vec![(None, config.ranges(other, None))],
    };
    for (physical, ranges) in candidates {
        if let Some(id) = any_id_of(tx, segment.network_type, physical.as_deref(), &ranges).await? {
            segment.physical_network = physical;
            segment.segmentation_id = Some(id);
            return Ok(true);
        }
    }
    Ok(false)
}

async fn any_id_of(
    tx: &mut Tx,
    network_type: NetworkType,
    physical: Option<&str>,
    ranges: &[(u32, u32)],
) -> Result<Option<u32>> {
    let size: u64 = ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum();
    if size == 0 {
        return Ok(None);
    }
    for _ in 0..TRIES {
        let id = nth(ranges, rand::random_range(0..size));
        if rows::allocation_claim(tx, network_type, physical, id).await? {
            return Ok(Some(id));
        }
    }
    let taken: std::collections::HashSet<u32> =
        rows::allocations_taken(tx, network_type, physical).await?.into_iter().collect();
    let free = ranges.iter().flat_map(|(first, last)| *first..=*last).find(|id| !taken.contains(id));
    match free {
        Some(id) if rows::allocation_claim(tx, network_type, physical, id).await? => Ok(Some(id)),
        _ => Ok(None),
    }
}

fn nth(ranges: &[(u32, u32)], mut n: u64) -> u32 {
    for (first, last) in ranges {
        let size = u64::from(last - first) + 1;
        if n < size {
            return first + u32::try_from(n).unwrap_or_default();
        }
        n -= size;
    }
    ranges.first().map_or(0, |(first, _)| *first)
}

/// Brings upstream's allocation tables to the configured ranges, in small transactions, beside the serving of requests.
pub async fn sync(parts: Arc<Parts>) {
    let config = &parts.config.ml2;
    let mut work: Vec<(NetworkType, Option<String>, Ranges)> = Vec::new();
    for network_type in &config.type_drivers {
        match network_type {
            NetworkType::Flat | NetworkType::Local => {}
            NetworkType::Vlan => {
                work.extend(config.vlan_ranges.iter().map(|(n, r)| (NetworkType::Vlan, Some(n.clone()), r.clone())));
            }
            tunnel => work.push((*tunnel, None, config.ranges(*tunnel, None))),
        }
    }
    for (network_type, physical, ranges) in work {
        if let Err(error) = sync_one(&parts, network_type, physical.as_deref(), &ranges).await {
            tracing::warn!("the allocation table of {network_type} could not be brought up to date: {error}");
        }
    }
}

async fn sync_one(
    parts: &Parts,
    network_type: NetworkType,
    physical: Option<&str>,
    ranges: &[(u32, u32)],
) -> Result<()> {
    let mut tx = parts.db.begin().await?;
    rows::allocations_prune(&mut tx, network_type, physical, ranges).await?;
    tx.commit().await?;
    for (first, last) in ranges {
        let mut from = Some(*first);
        while let Some(start) = from {
            let mut tx = parts.db.begin().await?;
            from = rows::allocations_sync(&mut tx, network_type, physical, (start, *last), SYNC_BATCH).await?;
            tx.commit().await?;
            // Requests come first.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

impl Ml2 {
    /// The ranges ids of this type are taken from.
    pub fn ranges(&self, network_type: NetworkType, physical_network: Option<&str>) -> Vec<(u32, u32)> {
        match network_type {
            NetworkType::Vlan => {
                physical_network.and_then(|name| self.vlan_ranges.get(name)).cloned().unwrap_or_default()
            }
            NetworkType::Vxlan => self.vxlan_ranges.clone(),
            NetworkType::Gre => self.gre_ranges.clone(),
            NetworkType::Geneve => self.geneve_ranges.clone(),
            NetworkType::Flat | NetworkType::Local => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(network_type: NetworkType) -> Segment {
        new_segment(NetworkId::random(), network_type)
    }

    #[test]
    fn mtu_is_what_the_encapsulation_leaves() {
        let config = Ml2 { geneve_header_size: 30, ..Ml2::default() };
        let of = |network_type| max_mtu(&config, 1500, &[segment(network_type)]);
        assert_eq!(NetworkType::ALL.map(of), [1500, 1500, 1500, 1458, 1450, 1450]);
    }

    #[test]
    fn mtu_is_bounded_by_path_and_physical_network() {
        let mut flat = segment(NetworkType::Flat);
        flat.physical_network = Some("slow".to_owned());
        let config =
            Ml2 { path_mtu: 1400, physical_network_mtus: [("slow".to_owned(), 1300)].into(), ..Ml2::default() };
        assert_eq!(max_mtu(&config, 9000, &[flat.clone()]), 1300);
        assert_eq!(max_mtu(&config, 9000, &[segment(NetworkType::Vxlan)]), 1350);
        assert_eq!(max_mtu(&config, 9000, &[flat, segment(NetworkType::Vxlan)]), 1300);
    }

    #[test]
    fn nth_counts_through_all_ranges() {
        let ranges = [(1, 3), (10, 11)];
        assert_eq!([0, 2, 3, 4].map(|n| nth(&ranges, n)), [1, 3, 10, 11]);
    }
}
