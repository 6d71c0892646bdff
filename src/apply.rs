//! Doing: performs steps on the kernel and on gobgpd, and reads both back; tells users what they can mend. Never decides.

pub mod addr;
pub mod bgp;
pub mod conntrack;
pub mod events;
pub mod fleet;
pub mod ipvs;
pub mod kernel;
pub mod link;
pub mod load;
pub mod modules;
pub mod monitor;
pub mod netlink;
pub mod nft;
pub mod probe;
pub mod stray;
pub mod sysctl;
