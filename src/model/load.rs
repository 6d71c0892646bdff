//! How full those tables of the kernel are that every connection through this node needs a place in.

use std::collections::BTreeMap;

use super::ipvs::{DestinationKey, Protocol};
use super::prefix::Family;

/// What was found at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// The endpoint of each family with the most connections through IPVS NAT; none where there is no connection.
    pub busiest: BTreeMap<Family, Busy>,
    /// Connection tracking; `None`: not loaded.
    pub conntrack: Option<Conntrack>,
}

/// An endpoint and its connections, from all virtual servers that lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    /// The protocol.
    pub protocol: Protocol,
    /// The endpoint.
    pub destination: DestinationKey,
    /// How many connections it has, active and inactive ones: a port is in use until the last timeout has passed.
    pub connections: u64,
}

/// Connection tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conntrack {
    /// How many connections it knows (`nf_conntrack_count`).
    pub count: u64,
    /// How many it can know (`nf_conntrack_max`); 0: no limit.
    pub max: u64,
    /// How many packets it could find no place for since the machine started (`insert_failed` of
    /// `/proc/net/stat/nf_conntrack`): no port was free, or two packets of one connection met; `None`: the kernel does not
    /// tell.
    pub insert_failed: Option<u64>,
}
