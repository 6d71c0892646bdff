//! What the status says of virtual servers.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::ipvs::Timeouts;
use crate::plan::planner::Planner;

/// Virtual servers in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpvsStatus {
    /// Virtual servers in the kernel that are ours.
    pub virtual_servers: usize,
    /// Their destinations.
    pub destinations: usize,
    /// Distinct VIPs.
    pub vips: usize,
    /// Virtual servers that should be there.
    pub desired: usize,
    /// Destinations that nobody wants any more and that have connections, or may have.
    pub draining: usize,
    /// After how long the kernel forgets idle connections, as read; `null` where it has not loaded IPVS.
    pub timeouts: Option<TimeoutsStatus>,
}

/// Timeouts of IPVS in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutsStatus {
    /// TCP, established.
    pub tcp: u32,
    /// TCP, after a FIN.
    pub tcp_fin: u32,
    /// UDP.
    pub udp: u32,
}

impl Planner {
    pub(super) fn ipvs_status(&self) -> IpvsStatus {
        let mut vips: Vec<IpAddr> = self.actual.ipvs.keys().map(|key| key.address).collect();
        vips.dedup();
        IpvsStatus {
            virtual_servers: self.actual.ipvs.len(),
            destinations: self.actual.ipvs.values().map(|server| server.destinations.len()).sum(),
            vips: vips.len(),
            desired: self.ledger.servers().count(),
            draining: self.servers.drains.destinations(),
            timeouts: self.actual.timeouts.map(|Timeouts { tcp, tcp_fin, udp }| TimeoutsStatus { tcp, tcp_fin, udp }),
        }
    }
}
