//! Doing: performs steps on the kernel and on gobgpd, and reads both back. Never decides.

pub mod addr;
pub mod bgp;
pub mod ipvs;
pub mod kernel;
pub mod modules;
pub mod monitor;
pub mod netlink;
pub mod nft;
pub mod sysctl;
