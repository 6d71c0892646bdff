//! How full those tables of the kernel are that every connection through this node needs a place in, and which packets found
//! no connection.

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

/// Packets in the middle of TCP connections that no connection took: they were refused at once, so that their clients connect
/// anew instead of waiting. A switch that spreads flows anew sends such packets: their connections are another node's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stray {
    /// How many there were since the agent started.
    pub packets: u64,
    /// How many of them in the last second.
    pub per_second: u64,
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
