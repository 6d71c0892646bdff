//! BFD: other daemons, and what the sessions need of the node.

use std::time::Duration;

use super::super::Finding;
use super::super::facts::Facts;
use super::{ends, warning};
use crate::config::Config;

/// By number (`include/uapi/linux/capability.h`).
const CAP_SYS_NICE: u32 = 23;

/// BFD daemons by the name of their process: FRR's, and BIRD, where it is configured.
const DAEMONS: [&str; 2] = ["bfdd", "bird"];

/// Below this interval a thread without a higher priority may be late on a busy node.
const HURRIED: Duration = Duration::from_millis(100);

pub(super) fn judge(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let settings = &config.settings;
    let watching = settings.bgp.iter().flat_map(|bgp| &bgp.peers).filter_map(|entry| settings.bfd.watching(entry));
    let announcing = settings.bfd.peers.iter().map(|entry| entry.timers);
    let Some(fastest) = watching.map(|session| session.timers).chain(announcing).map(|timers| timers.interval).min()
    else {
        return;
    };
    for (name, id) in DAEMONS.iter().filter_map(|name| facts.processes.get_key_value(*name)) {
        findings.push(warning(
            "another BFD daemon",
            format!("{name} (process {id})"),
            "UDP ports 3784 and 4784 free for vipcast speaker, or shared by address",
            "stop its BFD, or give each session a localAddress and have the daemon bind to its own",
        ));
    }
    if fastest < HURRIED && facts.capabilities & (1 << CAP_SYS_NICE) == 0 {
        findings.push(warning(
            format!("capability CAP_SYS_NICE for BFD every {} ms", fastest.as_millis()),
            "not among this process's",
            "CAP_SYS_NICE for vipcast speaker: without it a busy node may be late, and switches drop it",
            "add SYS_NICE to the speaker container's capabilities or CAP_SYS_NICE to its unit's, or raise bfd.interval",
        ));
    }
    // Which of the others are this node's depends on labels that nobody has asked for here.
    for entry in settings.bfd.peers.iter().filter(|entry| entry.node_selector.is_empty()) {
        ends::judge(("bfd.peers", "switch"), &entry.name, entry.local_address, facts, findings);
    }
}
