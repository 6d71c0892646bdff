//! gobgpd, and other BGP speakers.

use super::super::Finding;
use super::super::facts::Facts;
use super::kernel::CAP_NET_RAW;
use super::{ends, error, warning};
use crate::config::{Config, Gobgpd};
use crate::model::bgp::PeerName;

/// BGP speakers by the name of their process; `speaker` is MetalLB's. kube-router is one of `neighbours`.
const SPEAKERS: [&str; 6] = ["bgpd", "bird", "bird6", "exabgp", "gobgpd", "speaker"];

pub(super) fn judge(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let Some(bgp) = &config.settings.bgp else { return };
    for (key, trouble) in &facts.secrets {
        findings.push(error(
            format!("password in the Secret {key}"),
            format!("that it {trouble}"),
            "a Secret with the password of a peer, of one line and at most 80 bytes",
            "create it, or let the agent's Role read it (deploy/base/rbac.yaml); until then the peer is not told to gobgpd",
        ));
    }
    // Which of the others are this node's depends on labels that nobody has asked for here.
    for entry in bgp.peers.iter().filter(|entry| entry.node_selector.is_empty()) {
        ends::judge(("peer", "peer"), &entry.name, entry.peer.local_address, facts, findings);
        if let PeerName::Interface(interface) = &entry.name
            && facts.capabilities & (1 << CAP_NET_RAW) == 0
        {
            findings.push(error(
                format!("capability CAP_NET_RAW for peer {interface}"),
                "not among this process's",
                "CAP_NET_RAW, for the router advertisements that the switch waits for before it connects",
                "run as root, or add NET_RAW to the container's capabilities or CAP_NET_RAW to the unit's",
            ));
        }
    }
    if let (Some(Gobgpd::Address(address)), Some(Err(trouble))) = (&config.gobgpd, &facts.gobgpd) {
        findings.push(error(
            "gobgpd",
            format!("no answer at {address}: {trouble}"),
            "a gobgpd that is running, with its gRPC interface there",
            "start it with --api-hosts, or correct bgp.gobgpd.address",
        ));
    }
    // While vipcast runs, gobgpd and its port are its own.
    let runs_already = facts.processes.contains_key("vipcast");
    let spawned = matches!(config.gobgpd, Some(Gobgpd::Spawn(_)));
    if let Some(port) = bgp.listen_port.filter(|port| spawned && !runs_already && facts.listening.contains(port)) {
        findings.push(error(
            format!("TCP port {port}"),
            "somebody listening on it",
            "a free port for bgp.listenPort: gobgpd exits when it is taken",
            format!("ss -ltnp 'sport = {port}' names the process; or set bgp.listenPort to none"),
        ));
    }
    let is_foreign = |name: &str| name != "gobgpd" || (spawned && !runs_already);
    for (name, id) in SPEAKERS.iter().filter_map(|name| facts.processes.get_key_value(*name)) {
        if is_foreign(name) {
            findings.push(warning(
                "another BGP speaker",
                format!("{name} (process {id})"),
                "no second session with a peer from one address: most routers end one of the two",
                "give each speaker peers, or a localAddress, of its own",
            ));
        }
    }
}
