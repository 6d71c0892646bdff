//! What a configuration needs of its node.

use std::collections::BTreeSet;

use crate::config::{Config, Gobgpd};
use crate::model::Family;
use crate::model::settings::Snat;
use crate::model::sysctl::Sysctls;
use crate::plan;

/// The module of nftables.
pub(super) const NF_TABLES: &str = "nf_tables";

/// The kernel modules. What these depend on, or load by themselves, is not among them.
pub(super) fn modules(config: &Config) -> BTreeSet<String> {
    let mut modules: BTreeSet<String> = ["ip_vs", "dummy", "nf_conntrack", NF_TABLES].map(str::to_owned).into();
    modules.insert(format!("ip_vs_{}", config.settings.scheduler));
    if config.settings.snat == Snat::IpvsMatch {
        modules.insert("xt_ipvs".to_owned());
    }
    modules
}

/// The programs, by path, or by a name to look up in `$PATH`.
pub(super) fn programs(config: &Config) -> BTreeSet<String> {
    let mut programs = BTreeSet::from(["nft".to_owned()]);
    if config.settings.snat == Snat::IpvsMatch {
        let families = families(config);
        programs.extend(families.contains(&Family::Ipv4).then(|| "iptables".to_owned()));
        programs.extend(families.contains(&Family::Ipv6).then(|| "ip6tables".to_owned()));
    }
    if let Some(Gobgpd::Spawn(path)) = &config.gobgpd {
        programs.insert(path.display().to_string());
    }
    programs
}

/// The kernel parameters and their values.
pub(super) fn sysctls(config: &Config) -> Sysctls {
    plan::sysctl::desired(&families(config))
}

/// The families of the ranges; where the ServiceCIDR objects say, those of the node's addresses; else both.
pub(super) fn families(config: &Config) -> BTreeSet<Family> {
    match &config.settings.cluster_ips {
        Some(ranges) => ranges.iter().map(|range| range.prefix.family()).collect(),
        None if config.settings.node_ips.is_empty() => Family::ALL.into(),
        None => config.settings.node_ips.iter().map(|address| Family::of(*address)).collect(),
    }
}
