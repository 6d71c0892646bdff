//! IPv4 over IPv6 next hops: the ToR's forwarding table, and packets over each kind of session alone.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use vipcast_lab::wait_for;

use super::{LINKS, ensure_served, sessions, wait_for_sessions};
use crate::rack::{LONG, Rack};

/// VIPs of the Service `shop` with the prefixes of their routes: IPv4 and IPv6, of their own and aggregates.
const VIPS: [(&str, &str); 4] = [
    ("192.0.2.50:80", "192.0.2.50/32"),
    ("203.0.113.10:80", "203.0.113.0/24"),
    ("[2001:db8:2::50]:80", "2001:db8:2::50/128"),
    ("[2001:db8:3::10]:80", "2001:db8:3::/64"),
];

/// The sessions that carry one family only, those of RFC 8950, and the unnumbered ones, in tor1's words.
const KINDS: [[&str; 2]; 3] = [["10.0.1.2", "10.0.2.2"], ["fd00:1::2", "fd00:2::2"], ["eth3", "eth5"]];

/// All sessions with tor1 are ways into its forwarding table, with next hops of either family, and each kind of them is
/// enough for packets by itself.
pub(super) fn each_kind_of_session_carries_packets(rack: &Rack) -> Result<()> {
    for (_, prefix) in VIPS {
        wait_for_ways(rack, prefix, KINDS.as_flattened())?;
    }
    ensure_served(rack, "client1", &VIPS.map(|(target, _)| target))?;
    ensure_served(rack, "client2", &VIPS.map(|(target, _)| target))?;
    for alone in [KINDS[2], KINDS[1]] {
        shut(rack, &alone)?;
        for (target, prefix) in VIPS {
            wait_for_ways(rack, prefix, &alone)?;
            ensure_served(rack, "client1", &[target])?;
        }
    }
    shut(rack, KINDS.as_flattened())?;
    wait_for_sessions(rack, &[])
}

/// Leaves tor1 just these sessions: its administrator shuts the others down.
fn shut(rack: &Rack, open: &[&str]) -> Result<()> {
    let tor = rack.lab.node("tor1");
    let lines: String = KINDS
        .as_flattened()
        .iter()
        .map(|name| format!(" {}neighbor {name} shutdown\n", if open.contains(name) { "no " } else { "" }))
        .collect();
    let file = tor.path("run/shut.conf");
    std::fs::write(&file, format!("router bgp 65011\n{lines}exit\n"))?;
    tor.vtysh_file(&file)?;
    wait_for(LONG, &format!("only {open:?}"), || {
        let now = sessions(rack)?;
        let up: BTreeSet<&str> =
            now.iter().filter(|((tor, _), s)| *tor == "tor1" && s.established).map(|((_, name), _)| &**name).collect();
        Ok(if up == open.iter().copied().collect() { Ok(()) } else { Err(format!("{up:?}")) })
    })
}

/// Waits until tor1's kernel has a way over each of these sessions, as far as they carry the prefix, and no other.
fn wait_for_ways(rack: &Rack, prefix: &str, over: &[&str]) -> Result<()> {
    let wanted: BTreeSet<&str> = LINKS
        .iter()
        .filter(|link| over.contains(&link.neighbour) && link.carries(prefix))
        .map(|link| if link.next_hop == "fe80::" { link.neighbour } else { link.next_hop })
        .collect();
    wait_for(LONG, &format!("ways to {prefix}: {wanted:?}"), || {
        let hops = rack.lab.node("tor1").forwarding(prefix)?;
        // A link-local next hop is told by its link.
        let found: BTreeSet<&str> = hops
            .iter()
            .map(|hop| if hop.gateway.starts_with("fe80::") { &*hop.interface } else { &*hop.gateway })
            .collect();
        Ok(if found == wanted { Ok(()) } else { Err(format!("{hops:?}")) })
    })?;
    ensure!(!wanted.is_empty(), "no session for {prefix}");
    Ok(())
}
