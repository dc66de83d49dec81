//! Why addresses cannot be given. The texts and type names are those clients of the API know.

use std::net::IpAddr;

use axum::http::StatusCode;
use db::DbError;
use ipnet::IpNet;
use types::{Mac, NetworkId, PortId, SubnetId};

use crate::{Error, Refusal};

/// A refusal by address management.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum IpamError {
    #[error("The allocation pool {pool} is not valid.")]
    InvalidAllocationPool { pool: String },
    #[error("The allocation pool {pool} spans beyond the subnet cidr {cidr}.")]
    OutOfBoundsAllocationPool { pool: String, cidr: IpNet },
    #[error("Found overlapping allocation pools: {first} {second} for subnet {cidr}.")]
    OverlappingAllocationPools { first: String, second: String, cidr: IpNet },
    #[error("Gateway ip {gateway} conflicts with allocation pool {pool}.")]
    GatewayConflictWithAllocationPools { gateway: IpAddr, pool: String },
    #[error("Gateway IP {gateway} cannot be the network or broadcast IP address {cidr}")]
    IpamValueInvalid { gateway: IpAddr, cidr: IpNet },
    /// The text is the reason alone.
    #[error("Invalid input for operation: {0}.")]
    InvalidInput(String),
    #[error(
        "Invalid input for operation: Failed to create port on network {network_id}, because fixed_ips included invalid \
         subnet {subnet_id}."
    )]
    SubnetNotOnNetwork { network_id: NetworkId, subnet_id: SubnetId },
    #[error("Subnet {0} could not be found.")]
    SubnetNotFound(SubnetId),
    #[error("IP address {0} is not a valid IP for the specified subnet.")]
    InvalidIpForSubnet(IpAddr),
    #[error("IP address {0} is not a valid IP for any of the subnets on the specified network.")]
    InvalidIpForNetwork(IpAddr),
    #[error("IP address {address} already allocated in subnet {subnet_id}")]
    IpAddressAlreadyAllocated { address: IpAddr, subnet_id: SubnetId },
    #[error(
        "IPv6 address {address} cannot be directly assigned to a port on subnet {subnet_id} as the subnet is \
         configured for automatic addresses"
    )]
    AllocationOnAutoAddressSubnet { address: IpAddr, subnet_id: SubnetId },
    #[error("No more IP addresses available on network {0}.")]
    IpAddressGenerationFailure(NetworkId),
    #[error("No valid service subnet for the given device owner, network {network_id}, service type {device_owner}.")]
    IpAddressGenerationFailureNoMatchingSubnet { network_id: NetworkId, device_owner: String },
    #[error(
        "Host {host} is not connected to any segments on routed provider network '{network_id}'.  It should be connected to one."
    )]
    HostNotConnectedToAnySegment { host: String, network_id: NetworkId },
    #[error("Cannot allocate addresses from different segments.")]
    FixedIpsSubnetsNotOnSameSegment,
    #[error(
        "Host {host} is not connected to a segment where the existing fixed_ips on port {port_id} will function given the routed network topology."
    )]
    HostNotCompatibleWithFixedIps { host: String, port_id: PortId },
    #[error("Unable to complete operation for network {network_id}. The mac address {mac} is in use.")]
    MacAddressInUse { network_id: NetworkId, mac: Mac },
    #[error("Unable to generate unique mac on network {0}.")]
    MacAddressGenerationFailure(NetworkId),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl IpamError {
    /// The HTTP status and the type of the error body; `None` for failures that are not the client's business.
    pub fn kind(&self) -> Option<(u16, &'static str)> {
        Some(match self {
            Self::InvalidAllocationPool { .. } => (400, "InvalidAllocationPool"),
            Self::OutOfBoundsAllocationPool { .. } => (400, "OutOfBoundsAllocationPool"),
            Self::OverlappingAllocationPools { .. } => (409, "OverlappingAllocationPools"),
            Self::GatewayConflictWithAllocationPools { .. } => (409, "GatewayConflictWithAllocationPools"),
            Self::IpamValueInvalid { .. } => (409, "IpamValueInvalid"),
            Self::InvalidInput(_) | Self::SubnetNotOnNetwork { .. } => (400, "InvalidInput"),
            Self::SubnetNotFound(_) => (404, "SubnetNotFound"),
            Self::InvalidIpForSubnet(_) => (400, "InvalidIpForSubnet"),
            Self::InvalidIpForNetwork(_) => (400, "InvalidIpForNetwork"),
            Self::IpAddressAlreadyAllocated { .. } => (409, "IpAddressAlreadyAllocated"),
            Self::AllocationOnAutoAddressSubnet { .. } => (400, "AllocationOnAutoAddressSubnet"),
            Self::IpAddressGenerationFailure(_) => (409, "IpAddressGenerationFailure"),
            Self::IpAddressGenerationFailureNoMatchingSubnet { .. } => {
                (409, "IpAddressGenerationFailureNoMatchingSubnet")
            }
            Self::HostNotConnectedToAnySegment { .. } => (409, "HostNotConnectedToAnySegment"),
            Self::FixedIpsSubnetsNotOnSameSegment => (400, "FixedIpsSubnetsNotOnSameSegment"),
            Self::HostNotCompatibleWithFixedIps { .. } => (409, "HostNotCompatibleWithFixedIps"),
            Self::MacAddressInUse { .. } => (409, "MacAddressInUse"),
            Self::MacAddressGenerationFailure(_) => (503, "MacAddressGenerationFailure"),
            Self::Db(_) => return None,
        })
    }
}

impl From<IpamError> for Error {
    fn from(error: IpamError) -> Self {
        match (error.kind(), error) {
            (_, IpamError::Db(error)) => error.into(),
            (Some((status, kind)), error) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
                Refusal::new(status, kind, error.to_string()).into()
            }
            (None, error) => Self::Internal(error.to_string()),
        }
    }
}
