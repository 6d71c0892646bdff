//! What a configuration needs of its node.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::config::{Config, Gobgpd};
use crate::model::Family;
use crate::model::settings::Snat;
use crate::model::sysctl::Sysctls;
use crate::plan;

/// The module of nftables.
pub(super) const NF_TABLES: &str = "nf_tables";

/// The kernel modules, `ip_vs` before those that would load it. What these depend on, or load by themselves, is not
/// among them.
pub(crate) fn modules(config: &Config) -> BTreeSet<String> {
    let mut modules: BTreeSet<String> =
        ["ip_vs", "dummy", "nf_conntrack", "nf_conntrack_netlink", NF_TABLES].map(str::to_owned).into();
    modules.insert(format!("ip_vs_{}", config.settings.dataplane.scheduler));
    if !config.settings.proof.canaries.is_empty() {
        modules.insert("veth".to_owned());
    }
    if config.settings.dataplane.snat == Snat::IpvsMatch {
        modules.insert("xt_ipvs".to_owned());
    }
    modules
}

/// The programs, by path, or by a name to look up in `$PATH`.
pub(super) fn programs(config: &Config, addresses: &BTreeSet<IpAddr>) -> BTreeSet<String> {
    let mut programs = BTreeSet::from(["nft".to_owned()]);
    if config.settings.dataplane.snat == Snat::IpvsMatch {
        let families = families(config, addresses);
        programs.extend(families.contains(&Family::Ipv4).then(|| "iptables".to_owned()));
        programs.extend(families.contains(&Family::Ipv6).then(|| "ip6tables".to_owned()));
    }
    if let Some(Gobgpd::Spawn(path)) = &config.gobgpd {
        programs.insert(path.display().to_string());
    }
    programs
}

/// The kernel parameters and their values.
pub(super) fn sysctls(config: &Config, addresses: &BTreeSet<IpAddr>) -> Sysctls {
    plan::sysctl::desired(&families(config, addresses))
}

/// The families of the ranges. Where the ServiceCIDR objects say, those of this node's `addresses`, given or found: a
/// range of another family could not be served here.
pub(crate) fn families(config: &Config, addresses: &BTreeSet<IpAddr>) -> BTreeSet<Family> {
    let configured = configured_families(config);
    if config.settings.cluster_ips.is_some() {
        return configured;
    }
    let node_ips = &config.settings.node_ips;
    let mut found: BTreeSet<Family> = if node_ips.is_empty() {
        addresses.iter().filter(|address| leads_here(address)).map(|address| Family::of(*address)).collect()
    } else {
        node_ips.iter().map(|address| Family::of(*address)).collect()
    };
    if found.is_empty() {
        found = Family::ALL.into();
    }
    found.union(&configured).copied().collect()
}

/// The families of the ranges that the configuration names.
pub(super) fn configured_families(config: &Config) -> BTreeSet<Family> {
    let settings = &config.settings;
    let ranges = settings.cluster_ips.iter().flatten().chain(&settings.allowed);
    ranges.map(|range| range.prefix.family()).collect()
}

/// Can others reach this node at `address` from beyond the link?
fn leads_here(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    }
}
