//! Which kernel parameters the data plane needs. The reasons are in ARCHITECTURE.md, one line each.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::Family;
use crate::model::node::Host;
use crate::model::sysctl::{Sysctl, Sysctls};

/// What both families need.
const COMMON: [(&str, &str); 7] = [
    ("net/ipv4/vs/conn_reuse_mode", "1"),
    ("net/ipv4/vs/conntrack", "1"),
    ("net/ipv4/vs/expire_nodest_conn", "1"),
    ("net/ipv4/vs/expire_quiescent_template", "1"),
    ("net/ipv4/vs/nat_icmp_send", "0"),
    ("net/ipv4/vs/sloppy_tcp", "0"),
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
];

/// What IPv4 needs besides.
const IPV4: [(&str, &str); 4] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/arp_announce", "2"),
    (ARP_IGNORE, "1"),
    ("net/ipv4/conf/all/rp_filter", "2"),
];

/// What IPv6 needs besides.
const IPV6: [(&str, &str); 1] = [("net/ipv6/conf/all/forwarding", "1")];

const ARP_IGNORE: &str = "net/ipv4/conf/all/arp_ignore";
const CONF: &str = "net/ipv6/conf/";
const ACCEPT_RA: &str = "/accept_ra";

/// The parameters that ranges of `families` need.
pub fn desired(families: &BTreeSet<Family>) -> Sysctls {
    let ipv4 = IPV4.iter().filter(|_| families.contains(&Family::Ipv4));
    let ipv6 = IPV6.iter().filter(|_| families.contains(&Family::Ipv6));
    let common = COMMON.iter().filter(|_| !families.is_empty());
    common.chain(ipv4).chain(ipv6).map(|(name, value)| (Sysctl(Arc::from(*name)), (*value).to_owned())).collect()
}

/// Does the value `found` do what `wanted` is for? Mostly that is the same number. An `arp_ignore` of 2 is 1 with one more
/// condition (the asker is in the address's subnet); its higher values would leave the node's own addresses unanswered
/// (`Documentation/networking/ip-sysctl.rst`). An `rp_filter` of 0 does not do: of `all` and a link's own the kernel takes
/// the larger, so that only 2 keeps a link from being strict (1).
pub fn satisfies(name: &Sysctl, found: Option<&str>, wanted: &str) -> bool {
    found.is_some_and(|found| found == wanted || (&*name.0 == ARP_IGNORE && found == "2"))
}

/// What has to be set before IPv6 forwarding goes on: with it, the kernel drops a default route that it learned by
/// router advertisement and ignores the next one, unless `accept_ra` is 2 (`Documentation/networking/ip-sysctl.rst`).
pub fn before_forwarding(families: &BTreeSet<Family>, host: &Host) -> Sysctls {
    let links = host.router_advertised_links.iter().filter(|_| families.contains(&Family::Ipv6));
    links.map(|link| (Sysctl(Arc::from(format!("{CONF}{link}{ACCEPT_RA}"))), "2".to_owned())).collect()
}

/// The link whose `accept_ra` this parameter is.
pub(super) fn accept_ra_of(name: &Sysctl) -> Option<&str> {
    name.0.strip_prefix(CONF)?.strip_suffix(ACCEPT_RA)
}

/// Does setting this parameter turn IPv6 forwarding on?
pub fn is_ipv6_forwarding(name: &Sysctl) -> bool {
    &*name.0 == IPV6[0].0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sysctl::KNOWN;

    #[test]
    fn every_desired_parameter_is_read_back() {
        for name in desired(&Family::ALL.into()).keys() {
            assert!(KNOWN.contains(&&*name.0), "{name}");
        }
    }

    #[test]
    fn a_stricter_value_stays() {
        for (name, found, wanted, enough) in [
            (ARP_IGNORE, Some("0"), "1", false),
            (ARP_IGNORE, Some("1"), "1", true),
            (ARP_IGNORE, Some("2"), "1", true),
            (ARP_IGNORE, Some("8"), "1", false),
            (ARP_IGNORE, None, "1", false),
            ("net/ipv4/conf/all/rp_filter", Some("0"), "2", false),
            ("net/ipv4/vs/sloppy_tcp", Some("2"), "0", false),
        ] {
            assert_eq!(satisfies(&Sysctl(name.into()), found, wanted), enough, "{name} {found:?}");
        }
    }

    #[test]
    fn a_family_without_ranges_is_left_alone() {
        assert!(desired(&BTreeSet::new()).is_empty());
        let ipv4 = desired(&[Family::Ipv4].into());
        assert!(ipv4.keys().all(|name| !is_ipv6_forwarding(name)));
    }
}
