//! This node: its addresses, and what it reads.

use std::time::Duration;

use super::super::Finding;
use super::super::facts::Facts;
use super::{error, warning};
use crate::config::{Config, Source};
use crate::model::settings::{NodePorts, Use};

/// Links on which other service proxies keep VIPs as addresses: kube-proxy's ipvs mode and kube-router.
pub(super) const VIP_LINKS: [&str; 2] = ["kube-ipvs0", "kube-dummy-if"];

/// An agent's upgrade may take so long: its image is pulled, and it lists all objects.
const UPGRADE: Duration = Duration::from_secs(60);

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
        let ranges = config.settings.cluster_ips.iter().flatten().chain(&config.settings.allowed);
        for range in ranges.filter(|range| range.is_whole()) {
            let remedy = if range.uses.contains(&Use::ClusterIp) {
                "correct ranges.clusterIPs, or remove the address"
            } else {
                "correct the range, give it announce: host, or remove the address"
            };
            if let Some(address) = facts.addresses.iter().find(|address| range.prefix.contains(**address)) {
                findings.push(error(
                    format!("range {}", range.prefix),
                    format!("{address} in it, which is an address of this node"),
                    "a range that nothing but VIPs comes from: all of it becomes local to this node",
                    remedy,
                ));
            }
        }
    }
    if let Some(node_ports) = &config.settings.dataplane.node_ports {
        judge_node_ports(node_ports, facts, findings);
    }
    let ttl = config.settings.lease.ttl(false);
    if config.settings.proof.canaries.is_empty() && ttl < UPGRADE {
        findings.push(warning(
            "lease.ttl",
            format!("{} s, without canaries", ttl.as_secs()),
            "more than an upgrade of the agent takes: nothing else proves the data plane meanwhile, and the routes go",
            "leave lease.ttl out (2m then), raise it, or set proof.canaries",
        ));
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

fn judge_node_ports(node_ports: &NodePorts, facts: &Facts, findings: &mut Vec<Finding>) {
    let prefixes = &node_ports.addresses;
    if !facts.addresses.iter().any(|address| prefixes.iter().any(|prefix| prefix.contains(*address))) {
        let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
        findings.push(warning(
            "dataplane.nodePorts.addresses",
            format!("no address of this node in {}", prefixes.join(", ")),
            "prefixes that hold an address of this node: NodePorts are served nowhere else",
            "correct them, or set dataplane.nodePorts to off",
        ));
    }
    // While vipcast runs, the health check ports are its own.
    let (first, last) = node_ports.ports;
    let taken = facts.listening.range(first..=last).next().filter(|_| !facts.processes.contains_key("vipcast"));
    if let Some(port) = taken {
        findings.push(warning(
            format!("TCP port {port}"),
            "somebody listening on it",
            format!("nobody on the NodePorts ({first}-{last}): a Service that has this one would take its connections"),
            format!("ss -ltnp sport = :{port} names the program: move it, or narrow dataplane.nodePorts.ports"),
        ));
    }
}
