//! How much comes in, by what IPVS counts.

use std::collections::BTreeMap;

use super::ipvs::ServerKey;

/// The connections of virtual servers. Only those that have had any since they were made are in it.
pub type Traffic = BTreeMap<ServerKey, Count>;

/// The connections of one virtual server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// All since it was made (`IPVS_STATS_ATTR_CONNS`). The kernel sums them up every 2 s (`est_timer` and the estimator
    /// threads of `net/netfilter/ipvs/ip_vs_est.c`), so the latest may be missing.
    pub total: u64,
    /// The packets that came for them (`IPVS_STATS_ATTR_INPKTS`), summed up as late.
    pub packets: u64,
    /// Those that are open now (`IPVS_DEST_ATTR_ACTIVE_CONNS`). UDP has no end to wait for, so for it this is 0.
    pub open: u64,
}
