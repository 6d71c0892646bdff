//! The comments: why each block is there. The same for all vendors.

use super::page::Page;
use super::{Peering, Switch};
use crate::model::Family;
use crate::model::bfd::Timers;

pub(super) const RANGES: &str = "What LB nodes may announce: these ranges as they announce them, and nothing else. So \
    no mistake and no break-in there can draw other traffic to them.";

pub(super) const NOTHING: &str = "What is sent to LB nodes: nothing. They accept no routes, and answer clients by their \
    default route.";

pub(super) const LEAVING: &str = "An LB node that is being drained says so (GRACEFUL_SHUTDOWN, RFC 8326): all others are \
    preferred.";

pub(super) const HASH: &str = "Spread flows by addresses and ports (layer 4), for the whole switch. By addresses alone, \
    all connections of one busy client, or of clients behind one NAT, would reach a single LB node.";

pub(super) const RESILIENT: &str = "Resilient hashing: when an LB node comes or goes, only the flows of that node move. \
    Without it most flows move, and each that does is reset, since only its own LB node knows its connection.";

pub(super) const RELAX: &str = "Paths of equal length are equal, whichever AS they come from: LB nodes of other racks \
    may be in other ASes.";

pub(super) const WIDTH: &str = "One next hop per LB node. A smaller number than there are nodes would leave some of them \
    without traffic, and nothing would say so.";

pub(super) const PASSIVE: &str = "LB nodes connect to the switch: wait for them.";

pub(super) const TIMERS: &str = "holdTime and keepalive, as LB nodes have them; both ends take the smaller hold time. It \
    bounds how long packets are sent to a node that died without a word.";

pub(super) const PASSWORD: &str = "TCP MD5. The password is never printed: put the one that LB nodes have \
    (passwordFile, passwordEnv, passwordSecret) in place of REPLACE-ME.";

pub(super) const MULTIHOP: &str = "LB nodes are more than one hop away (multihop).";

pub(super) const SECURITY: &str =
    "Packets have to come from LB nodes so many hops away at most (ttlSecurity: GTSM, RFC 5082).";

pub(super) const EXTENDED: &str = "IPv4 routes come with IPv6 next hops (RFC 8950).";

const NO_RESTART: &str = "No graceful restart, not as its helper either: to keep the routes of an LB node that is gone is \
    to send its share of the traffic nowhere.";

const RESTART: &str = "Graceful restart, as its helper: the routes of an LB node whose gobgpd ended without a word stay until \
    the next one has sent them again, as it asks for (bgp.gracefulRestart). Only with BFD is a node that is dead told from that.";

pub(super) const LIMIT: &str = "Far more routes than vipcast announces mean that something is wrong there: the session \
    ends, and is tried again a minute later at most.";

pub(super) const FAMILIES: &str = "Only the families that LB nodes announce over these sessions.";

const UNWATCHED: &str = "Each range goes to all LB nodes at equal cost, whether they can forward or not: without BGP, \
    nothing tells this switch that a node is gone while its link is up, and its share of the traffic is lost until \
    somebody removes its routes. Before an LB node is restarted or taken away, remove them. BFD is what makes such \
    routes safe: give LB nodes bfd.peers, and print this again.";

const WATCHED: &str = "Each range goes to all LB nodes at equal cost, each watched by BFD (bfd.peers). An LB node's session \
    is up only while it can forward all ranges: it is the announcement. So a route without its session must not be used.";

pub(super) const NO_ECHO: &str = "Without echo packets, which LB nodes do not send back.";

/// Why graceful restart is off, or this switch helps with it.
pub(super) fn restart(peering: &Peering) -> &'static str {
    if peering.graceful_restart { RESTART } else { NO_RESTART }
}

/// The same where the whole router `vendor` has it, and helps by default.
pub(super) fn router_restart(page: &mut Page, peering: &Peering, vendor: &str) {
    page.why(1, restart(peering));
    let reason = match peering.graceful_restart {
        true => {
            "and helps unless it is told not to: nothing has to be said, and graceful-restart-helper must not be off."
        }
        false => {
            "and keeps nothing for those who do not ask: LB nodes do not (bgp.gracefulRestart), so nothing has to be said."
        }
    };
    page.why(1, format_args!("{vendor} has this for the whole router, {reason}"));
}

/// Why static routes are as they are.
pub(super) fn routes(switch: &Switch) -> &'static str {
    if switch.watched.is_some() { WATCHED } else { UNWATCHED }
}

/// Why there is BFD, with these timers.
pub(super) fn bfd(timers: Timers) -> String {
    let detection = timers.interval * u32::from(timers.multiplier);
    format!(
        "BFD with the timers that LB nodes have ({} ms x {}): one that falls silent is noticed after {} ms. Both ends take the \
         slower interval.",
        timers.interval.as_millis(),
        timers.multiplier,
        detection.as_millis()
    )
}

/// What the file is, and what it was made from. Where it is not `is_complete`, it says what is missing.
pub(super) fn head(page: &mut Page, vendor: &str, switch: &Switch, is_complete: bool) {
    let what = if switch.peering.is_some() { "BGP peering" } else { "static routes" };
    let mut head = format!(
        "The switch's side of vipcast ({what}) for {vendor}. Made by `vipcast switch-config` from {}: make it again when \
         that file changes, or when LB nodes are added or removed.",
        switch.file
    );
    if switch.one_node {
        head +=
            "\nThis has the addresses of one LB node only. Name those of all LB nodes of this switch with --neighbor.";
    }
    if let Some(peering) = &switch.peering {
        head += &sessions(peering);
        if !is_complete {
            head += &missing(peering);
        }
    }
    if !switch.interfaces.is_empty() {
        let interfaces = switch.interfaces.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        head += &format!(
            "\nLeft out: peers that LB nodes know by an interface ({interfaces}). The switch's side of these is a neighbour by \
             the interface that leads to the LB node."
        );
    }
    page.why(0, head);
    page.gap();
}

/// What is not printed and has to be added by hand.
fn missing(peering: &Peering) -> String {
    let mut text = String::new();
    for session in &peering.sessions {
        let over = session.over;
        if let Some(hops) = session.ttl_security {
            text += &format!(
                "\nLeft out, and needed: TTL security (GTSM, RFC 5082) of {hops} hops for the sessions over {over}. Without it \
                 they do not come up."
            );
        }
        if session.extends_next_hops() {
            text += &format!(
                "\nLeft out, and needed: IPv6 next hops for IPv4 routes (RFC 8950) in the sessions over {over}."
            );
        }
    }
    text
}

/// Who connects to what.
fn sessions(peering: &Peering) -> String {
    let addresses = peering.sessions.iter().flat_map(|session| &session.addresses).map(ToString::to_string);
    let mut text = format!(
        "\nThe switch is in AS {}, LB nodes are in AS {}. That file's node connects to {}: addresses of this switch.",
        peering.asn,
        peering.node_asn,
        addresses.collect::<Vec<_>>().join(" and ")
    );
    for session in peering.sessions.iter().filter(|session| session.port != 179) {
        let (port, family) = (session.port, session.over);
        text += &format!("\nLB nodes connect to port {port} over {family}: the switch has to listen there.");
    }
    text
}

/// What a kernel that routes by itself needs, since no routing daemon sets it.
pub(super) fn linux(page: &mut Page, switch: &Switch) {
    page.why(0, HASH);
    page.why(0, "On Linux that is a kernel parameter (here, and in /etc/sysctl.d):");
    for family in switch.families() {
        let number = match family {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        };
        page.why(0, format_args!("sysctl -w net.{number}.fib_multipath_hash_policy=1"));
    }
    page.why(
        0,
        "Linux has no resilient hashing for these routes: when an LB node comes or goes, flows of the others move too.",
    );
    page.gap();
}
