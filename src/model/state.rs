//! The state of one node: what it should be and what it is are the same type.

use std::collections::BTreeMap;

use super::addr::Addr;
use super::bgp::Bgp;
use super::ipvs::{ServerKey, Timeouts, VirtualServer};
use super::nft::Nft;
use super::sysctl::Sysctls;

/// Everything that vipcast owns on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Kernel parameters.
    pub sysctls: Sysctls,
    /// The dummy link and the local routes.
    pub addr: Addr,
    /// Packet filter rules.
    pub nft: Nft,
    /// Virtual servers.
    pub ipvs: BTreeMap<ServerKey, VirtualServer>,
    /// After how long IPVS forgets idle connections; `None` where the kernel has not loaded IPVS.
    pub timeouts: Option<Timeouts>,
    /// gobgpd; `None` where BGP is not configured, or (as *actual*) while gobgpd has not been read.
    pub bgp: Option<Bgp>,
}
