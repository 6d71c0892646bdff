//! The configuration file edited while the agents run: what it does not change goes on.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use vipcast_lab::lab::Heard;
use vipcast_lab::wait_for;

use super::attributes::all_routes_are_heard_as_configured;
use super::{Attributes, NODES, Neighbour, ensure_undisturbed, sessions, status, wait_for_heard, wait_for_sessions};
use crate::rack::{LONG, PATIENCE, Rack, ask};

/// The peer that tor2 waits for, in the LB nodes' own AS: as the nodes have to call it, and as tor2 does.
const INSIDE: [(&str, &str); 2] = [("fd00:3::11", "lb1_inside"), ("fd00:4::11", "lb2_inside")];

/// What stands before the first peer.
const BEFORE: &str = "  peers:\n";

/// What the external IPs' IPv4 range says of its routes: as the lab's files have it, and with another MED and a prepend.
const RANGE: [&str; 2] =
    ["largeCommunities: [\"65001:20:4\"], med: 20", "largeCommunities: [\"65001:20:4\"], med: 21, prepend: 1"];

pub(super) fn edits_change_what_they_say_and_disturb_nothing_else(rack: &mut Rack) -> Result<()> {
    let before = sessions(rack)?;
    a_peer_is_added_and_changed(rack)?;
    ensure_undisturbed(rack, &before, &[])?;
    a_wrong_edit_changes_nothing(rack)?;
    ensure_undisturbed(rack, &before, &[])?;
    a_ranges_attributes_change(rack)?;
    ensure_undisturbed(rack, &before, &[])
}

/// The entry of the peer inside, with more keys.
fn entry(peer: &str, more: &str) -> String {
    format!("    - {{address: \"{peer}\", asn: 65001, families: [ipv4, ipv6], holdTime: 9s, keepalive: 3s{more}}}\n")
}

fn a_peer_is_added_and_changed(rack: &Rack) -> Result<()> {
    for (node, (peer, _)) in NODES.into_iter().zip(INSIDE) {
        rack.configure(node, BEFORE, &format!("{BEFORE}{}", entry(peer, "")))?;
    }
    let names = INSIDE.map(|(_, name)| name);
    wait_for_sessions(rack, &names)?;
    let before: BTreeMap<Neighbour, _> = sessions(rack)?;
    // What only routers of the own AS are told: the Service's wish, or what gobgpd says by default.
    wait_for_local_prefs(rack, [300, 100])?;
    // For this peer it is replaced, and its session goes on, too.
    for (node, (peer, _)) in NODES.into_iter().zip(INSIDE) {
        rack.configure(node, &entry(peer, ""), &entry(peer, ", localPref: 250, communities: [\"65001:9\"]"))?;
    }
    wait_for_local_prefs(rack, [250, 250])?;
    for (prefix, name) in ["192.0.2.50/32", "2001:db8:2::50/128"].into_iter().flat_map(|p| names.map(|name| (p, name)))
    {
        let heard = inside(rack, prefix, name)?;
        ensure!(heard.as_path.is_empty() && heard.communities.contains("65001:9"), "{name}, {prefix}: {heard:?}");
    }
    ensure_undisturbed(rack, &before, &[])?;
    for (node, (peer, _)) in NODES.into_iter().zip(INSIDE) {
        rack.configure(node, &entry(peer, ", localPref: 250, communities: [\"65001:9\"]"), "")?;
    }
    wait_for(LONG, "the peers are gone", || {
        let now = sessions(rack)?;
        let left: Vec<_> = names
            .into_iter()
            .filter(|name| now.get(&("tor2", (*name).to_owned())).is_some_and(|s| s.established))
            .collect();
        Ok(if left.is_empty() { Ok(()) } else { Err(left) })
    })?;
    all_routes_are_heard_as_configured(rack)
}

/// What tor2 hears inside of the LB nodes' AS.
fn inside(rack: &Rack, prefix: &str, name: &str) -> Result<Heard> {
    Ok(rack.lab.node("tor2").heard(prefix)?.remove(name).unwrap_or_default())
}

/// Waits until tor2 hears these local preferences inside: of the Service `shop`, and of an aggregate.
fn wait_for_local_prefs(rack: &Rack, wanted: [u32; 2]) -> Result<()> {
    let prefixes = [["192.0.2.50/32", "2001:db8:2::50/128"], ["10.96.0.0/16", "fd00:10:96::/112"]];
    for (prefixes, wanted) in prefixes.iter().zip(wanted) {
        for (prefix, (_, name)) in prefixes.iter().flat_map(|prefix| INSIDE.map(|inside| (*prefix, inside))) {
            wait_for(LONG, &format!("{prefix} with local preference {wanted} over {name}"), || {
                let heard = inside(rack, prefix, name)?;
                Ok(if heard.local_pref == Some(wanted) { Ok(()) } else { Err(heard) })
            })?;
        }
    }
    Ok(())
}

/// Another MED and a prepend for a range reach both ToRs, and go again.
fn a_ranges_attributes_change(rack: &Rack) -> Result<()> {
    for (edit, changed) in [([RANGE[0], RANGE[1]], true), ([RANGE[1], RANGE[0]], false)] {
        for node in NODES {
            rack.configure(node, edit[0], edit[1])?;
        }
        // The Service says which MED, and nothing about prepends.
        let attributes = Attributes {
            communities: &["65001:1", "65001:20", "65001:500", "no-advertise"],
            large_communities: &["65001:20:4", "65001:500:1"],
            med: Some(7),
            prepend: usize::from(changed),
        };
        wait_for_heard(rack, "192.0.2.50/32", &|link| Some(attributes.over(link)))?;
    }
    all_routes_are_heard_as_configured(rack)
}

/// An edit with a mistake: the file, the line and the key are named, and all goes on as it was.
fn a_wrong_edit_changes_nothing(rack: &Rack) -> Result<()> {
    const RIGHT: &str = "{interface: eth2, asn: 65011";
    for (node, agent) in NODES.into_iter().zip(&rack.agents) {
        rack.configure(node, RIGHT, "{interface: eth2, asn: none")?;
        let node = rack.lab.node(node);
        let problem = wait_for(LONG, &format!("{} names the mistake", node.name()), || {
            let problem = status(node)?["configuration"]["problem"].clone();
            Ok(problem.as_str().map(str::to_owned).ok_or(problem))
        })?;
        let line = std::fs::read_to_string(node.path(crate::rack::CONFIG))?;
        let line = 1 + line.lines().position(|line| line.contains("asn: none")).unwrap_or_default();
        for said in ["config.yaml", &format!("{line}"), "bgp.peers[2].asn", "none"] {
            ensure!(problem.contains(said), "{problem:?} does not say {said}");
        }
        wait_for(PATIENCE, "the log names it", || {
            let log = agent.log();
            Ok(if log.contains("bgp.peers[2].asn") { Ok(()) } else { Err(log) })
        })?;
        ensure!(ask(node, "/readyz")?.0 == 200, "{} is not ready because of an edit", node.name());
    }
    all_routes_are_heard_as_configured(rack)?;
    for node in NODES {
        rack.configure(node, "{interface: eth2, asn: none", RIGHT)?;
        wait_for(LONG, &format!("{node} is content"), || {
            let problem = status(rack.lab.node(node))?["configuration"]["problem"].clone();
            Ok(if problem.is_null() { Ok(()) } else { Err(problem) })
        })?;
    }
    Ok(())
}
