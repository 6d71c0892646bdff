//! This node: its addresses, and what it reads.

use super::super::Finding;
use super::super::facts::Facts;
use super::{error, warning};
use crate::config::{Config, Source};

/// Links on which other service proxies keep VIPs as addresses: kube-proxy's ipvs mode and kube-router.
pub(super) const VIP_LINKS: [&str; 2] = ["kube-ipvs0", "kube-dummy-if"];

pub(super) fn judge(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    for address in config.settings.node_ips.iter().filter(|address| !facts.addresses.contains(address)) {
        findings.push(error(
            "nodeIPs",
            format!("{address}, which no link of this node has"),
            "addresses of this node",
            "correct nodeIPs, or leave it out to use the Node object's",
        ));
    }
    // Where another proxy keeps VIPs as addresses, that is the finding (see `neighbours`), and not each of them.
    if !VIP_LINKS.iter().any(|link| facts.links.contains(*link)) {
        for range in config.settings.cluster_ips.iter().flatten() {
            if let Some(address) = facts.addresses.iter().find(|address| range.prefix.contains(**address)) {
                findings.push(error(
                    format!("range {}", range.prefix),
                    format!("{address} in it, which is an address of this node"),
                    "a range that nothing but VIPs comes from: all of it becomes local to this node",
                    "correct ranges.clusterIPs, or remove the address",
                ));
            }
        }
    }
    let Source::Manifests(folder) = &config.source else { return };
    let subject = format!("folder {}", folder.display());
    let wanted = "a folder with manifests of Services and EndpointSlices";
    match &facts.manifests {
        Err(trouble) => {
            findings.push(error(subject, trouble, wanted, "create it, or correct source.manifests"));
        }
        Ok(0) => findings.push(warning(subject, "no file called *.yaml, *.yml or *.json", wanted, "put them into it")),
        Ok(_) => {}
    }
}
