//! What the status says of virtual servers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::canary::Canary;
use crate::model::ipvs::{ServerKey, Timeouts};
use crate::plan::planner::Planner;

/// Virtual servers in numbers, those of canaries apart.
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
        let canaries: BTreeSet<ServerKey> = self.canaries().iter().map(Canary::server).collect();
        let is_canary = |key: &ServerKey| canaries.contains(key);
        let servers: Vec<_> = self.actual.ipvs.iter().filter(|(key, _)| !is_canary(key)).collect();
        let mut vips: Vec<IpAddr> = servers.iter().map(|(key, _)| key.address).collect();
        vips.dedup();
        IpvsStatus {
            virtual_servers: servers.len(),
            destinations: servers.iter().map(|(_, server)| server.destinations.len()).sum(),
            vips: vips.len(),
            desired: self.ledger.servers().filter(|key| !is_canary(key)).count(),
            draining: self.servers.drains.destinations(),
            timeouts: self.actual.timeouts.map(|Timeouts { tcp, tcp_fin, udp }| TimeoutsStatus { tcp, tcp_fin, udp }),
        }
    }
}
