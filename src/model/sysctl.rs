//! The kernel parameters that the data plane stands on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A parameter by its path below `/proc/sys`, with slashes, since link names may hold dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sysctl(pub Arc<str>);

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Values by parameter; a parameter that the kernel does not have is absent.
pub type Sysctls = BTreeMap<Sysctl, String>;

/// The parameters that vipcast may set. All are read back; which of them are desired depends on the ranges.
pub const KNOWN: [&str; 12] = [
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/arp_announce",
    "net/ipv4/conf/all/arp_ignore",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/vs/conn_reuse_mode",
    "net/ipv4/vs/conntrack",
    "net/ipv4/vs/expire_nodest_conn",
    "net/ipv4/vs/expire_quiescent_template",
    "net/ipv4/vs/nat_icmp_send",
    "net/ipv4/vs/sloppy_tcp",
    "net/ipv6/conf/all/forwarding",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
];
