//! Who else is at work on this node: other service proxies, other users of IPVS, a host firewall.

use super::super::Finding;
use super::super::facts::{Chain, Facts};
use super::node::VIP_LINKS;
use super::{error, warning};
use crate::config::Config;
use crate::model::ipvs::ServerKey;

/// The priority at which IPVS takes a packet from the input hook (NF_IP_PRI_NAT_SRC - 1,
/// `net/netfilter/ipvs/ip_vs_core.c`): later chains do not see it.
const IPVS_PRIORITY: i64 = 99;

pub(super) fn judge(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    judge_proxies(facts, findings);
    judge_virtual_servers(config, facts, findings);
    match &facts.chains {
        Ok(chains) => findings.extend(chains.iter().filter_map(|chain| judge_chain(config, chain))),
        Err(trouble) => findings.push(warning(
            "host firewall",
            format!("unknown: {trouble}"),
            "chains on the hooks input, forward and output that let VIP traffic pass",
            "look yourself: nft list ruleset; iptables-save",
        )),
    }
}

fn judge_proxies(facts: &Facts, findings: &mut Vec<Finding>) {
    if let Some(id) = facts.processes.get("kube-proxy") {
        findings.push(error(
            "kube-proxy",
            format!("running (process {id})"),
            "no kube-proxy here: it takes packets to VIPs before IPVS sees them, and in ipvs mode it deletes virtual \
             servers that it does not know",
            "keep kube-proxy's DaemonSet off this node (nodeAffinity: role NotIn [lb]), then kube-proxy --cleanup",
        ));
    }
    if let Some(id) = facts.processes.get("kube-router") {
        findings.push(error(
            "kube-router",
            format!("running (process {id})"),
            "no service proxy of kube-router's here: it deletes virtual servers that it does not know",
            "run kube-router with --run-service-proxy=false on this node",
        ));
    }
    let chains = || facts.chains.iter().flatten();
    let left = chains().find(|chain| chain.table == "kube-proxy" || chain.name == "KUBE-SERVICES");
    if let Some(chain) = left
        && !facts.processes.contains_key("kube-proxy")
    {
        findings.push(error(
            "kube-proxy",
            format!("its rules in {}", place(chain)),
            "no rules of kube-proxy's: they take packets to VIPs before IPVS sees them",
            "kube-proxy --cleanup",
        ));
    }
    for link in VIP_LINKS.iter().filter(|link| facts.links.contains(**link)) {
        let owner = if *link == VIP_LINKS[0] { "kube-proxy" } else { "kube-router" };
        findings.push(warning(
            format!("link {link}"),
            format!("there, from {owner}"),
            "no VIPs on another link",
            format!("ip link delete {link}, once vipcast serves the VIPs"),
        ));
    }
}

fn judge_virtual_servers(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let settings = &config.settings;
    let Some(ranges) = &settings.cluster_ips else { return };
    let is_vip = |address| ranges.iter().chain(&settings.allowed).any(|range| range.prefix.contains(address));
    let is_node_port = |server: &ServerKey| {
        settings.dataplane.node_ports.as_ref().is_some_and(|node_ports| {
            let (first, last) = node_ports.ports;
            let here = node_ports.addresses.iter().any(|prefix| prefix.contains(server.address));
            here && (first..=last).contains(&server.port)
        })
    };
    let is_ours = |server: &ServerKey| is_vip(server.address) || is_node_port(server);
    let mut foreign = facts.virtual_servers.iter().filter(|server| !is_ours(server));
    if let Some(first) = foreign.next() {
        let user = facts.processes.get("keepalived").map(|id| format!("; keepalived is running (process {id})"));
        findings.push(warning(
            "virtual servers",
            format!("{} outside of our ranges, the first {first}{}", foreign.count() + 1, user.unwrap_or_default()),
            "no other user of IPVS, whose kernel parameters would become ours",
            "look at ipvsadm -Ln; vipcast leaves them alone",
        ));
    }
}

/// A base chain that drops what no rule allows, or refuses all that comes to its end.
fn judge_chain(config: &Config, chain: &Chain) -> Option<Finding> {
    let hook = chain.hook.as_deref()?;
    let passes = match hook {
        "input" => chain.priority < IPVS_PRIORITY,
        "forward" | "output" => true,
        _ => false,
    };
    let refusal = match &chain.refusal {
        _ if !passes || (chain.family == "inet" && chain.table == "vipcast") => return None,
        Some(rule) => rule.clone(),
        None if chain.policy_drop => "policy drop".to_owned(),
        None => return None,
    };
    // Requests arrive on input and leave to the pods on output; the pods' answers are forwarded.
    let canaries: Vec<String> = config.settings.proof.canaries.iter().map(ToString::to_string).collect();
    let traffic = match hook {
        "input" => "packets to the VIPs".to_owned(),
        "output" => "packets that IPVS sends on to the pods".to_owned(),
        _ if canaries.is_empty() => "the pods' answers".to_owned(),
        // A rule for the pods' addresses alone would withdraw all routes.
        _ => format!("the pods' answers and those of the canaries ({})", canaries.join(", ")),
    };
    Some(warning(
        format!("host firewall, hook {hook}"),
        format!("{refusal} in {}", place(chain)),
        format!("a rule before it that accepts {traffic}; no rule of vipcast's can overrule it"),
        format!("accept {traffic} in that chain, or set its policy to accept"),
    ))
}

/// Where a chain is, in words that its own tool would understand.
fn place(chain: &Chain) -> String {
    format!("chain {} of table {} {} ({})", chain.name, chain.family, chain.table, chain.tool)
}
