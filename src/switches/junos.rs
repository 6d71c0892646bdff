//! Juniper Junos, to be loaded with `load merge`. Statements as in the "Junos CLI Reference": `group (Protocols BGP)`,
//! `multipath`, `prefix-limit`, `graceful-restart (Protocols BGP)`, `route-filter`, `forwarding-table`,
//! `enhanced-hash-key`, and in the "Routing Policies" guide on load balancing and consistent hashing.

use super::page::Page;
use super::{PLACEHOLDER, Peering, Session, Switch, bfd, digit, why};
use crate::model::Family;

/// What Junos installs by default; for more next hops, chassis has to be told.
const DEFAULT_WIDTH: usize = 16;

/// The BGP variant.
pub(super) fn peering(page: &mut Page, switch: &Switch, peering: &Peering) {
    chassis(page, switch);
    page.line(0, "policy-options {");
    page.why(
        1,
        format_args!(
            "{}\n{}\nconsistent-hash is for MX, PTX and QFX10000. On QFX5000 and EX, leave it out and use instead: set \
             forwarding-options enhanced-hash-key ecmp-resilient-hash",
            why::RANGES,
            why::RESILIENT
        ),
    );
    for family in peering.families() {
        page.line(1, format_args!("policy-statement vipcast-ranges{} {{", digit(family)));
        page.line(2, "from {");
        for range in switch.ranges(family) {
            let lengths = match range.host_length() {
                Some(length) => format!("prefix-length-range /{length}-/{length}"),
                None => "exact".to_owned(),
            };
            page.line(3, format_args!("route-filter {} {lengths};", range.prefix));
        }
        page.line(2, "}");
        page.line(2, "then {");
        page.line(3, "load-balance consistent-hash;");
        page.line(3, "accept;");
        page.line(2, "}");
        page.line(1, "}");
    }
    page.why(1, why::NOTHING);
    page.line(1, "policy-statement vipcast-nothing {");
    page.line(2, "then reject;");
    page.line(1, "}");
    spread(page);
    page.line(0, "}");
    page.line(0, "routing-options {");
    page.line(1, format_args!("autonomous-system {};", peering.asn));
    table(page);
    page.line(0, "}");
    page.line(0, "protocols {");
    page.line(1, "bgp {");
    for session in &peering.sessions {
        group(page, switch, peering, session);
    }
    page.line(1, "}");
    page.line(0, "}");
}

/// The static variant.
pub(super) fn routes(page: &mut Page, switch: &Switch) {
    chassis(page, switch);
    page.line(0, "policy-options {");
    spread(page);
    page.line(0, "}");
    page.line(0, "routing-options {");
    table(page);
    page.why(1, why::routes(switch));
    if let Some(timers) = switch.watched {
        page.why(1, why::bfd(timers));
    }
    for family in switch.families() {
        let level = match family {
            Family::Ipv4 => 1,
            Family::Ipv6 => {
                page.line(1, "rib inet6.0 {");
                2
            }
        };
        page.line(level, "static {");
        let nodes: Vec<String> = switch.nodes(family).map(|node| node.to_string()).collect();
        for range in switch.ranges(family) {
            let Some(timers) = switch.watched else {
                page.line(level + 1, format_args!("route {} next-hop [ {} ];", range.prefix, nodes.join(" ")));
                continue;
            };
            page.line(level + 1, format_args!("route {} {{", range.prefix));
            for node in &nodes {
                page.line(level + 2, format_args!("qualified-next-hop {node} {{"));
                bfd::junos(page, level + 3, timers);
                page.line(level + 2, "}");
            }
            page.line(level + 1, "}");
        }
        page.line(level, "}");
        if family == Family::Ipv6 {
            page.line(1, "}");
        }
    }
    page.line(0, "}");
}

fn chassis(page: &mut Page, switch: &Switch) {
    if Family::ALL.into_iter().any(|family| switch.nodes(family).count() > DEFAULT_WIDTH) {
        page.why(0, why::WIDTH);
        page.line(0, "chassis {");
        page.line(1, "maximum-ecmp 64;");
        page.line(0, "}");
    }
}

fn spread(page: &mut Page) {
    page.why(
        1,
        format_args!(
            "Without this policy only one next hop is used. In spite of its name, per-packet keeps each flow on one of \
             them.\n{}\nJunos does so by default on EX and QFX, where no-l4-source-port and no-l4-destination-port below \
             forwarding-options enhanced-hash-key would end it. Elsewhere look at forwarding-options hash-key.",
            why::HASH
        ),
    );
    page.line(1, "policy-statement vipcast-spread {");
    page.line(2, "then {");
    page.line(3, "load-balance per-packet;");
    page.line(2, "}");
    page.line(1, "}");
}

fn table(page: &mut Page) {
    page.line(1, "forwarding-table {");
    page.line(2, "export vipcast-spread;");
    page.line(1, "}");
}

fn group(page: &mut Page, switch: &Switch, peering: &Peering, session: &Session) {
    page.line(2, format_args!("group vipcast{} {{", digit(session.over)));
    page.line(3, format_args!("type {};", if peering.internal() { "internal" } else { "external" }));
    page.line(3, format_args!("peer-as {};", peering.node_asn));
    page.why(3, why::PASSIVE);
    page.line(3, "passive;");
    let own = "Junos sends a keepalive every third of the hold time. Below 20s, Juniper advises precision-timers.";
    page.why(3, format_args!("{}\n{own}", why::TIMERS));
    page.line(3, format_args!("hold-time {};", session.hold_time.as_secs()));
    if session.password {
        page.why(3, why::PASSWORD);
        page.line(3, format_args!("authentication-key \"{PLACEHOLDER}\";"));
    }
    if let Some(hops) = session.multihop {
        page.why(3, why::MULTIHOP);
        page.line(3, "multihop {");
        page.line(4, format_args!("ttl {hops};"));
        page.line(3, "}");
    }
    if let Some(timers) = session.bfd {
        page.why(3, why::bfd(timers));
        bfd::junos(page, 3, timers);
    }
    let imports: Vec<String> =
        session.carries.iter().map(|family| format!("vipcast-ranges{}", digit(*family))).collect();
    page.line(3, format_args!("import [ {} vipcast-nothing ];", imports.join(" ")));
    page.line(3, "export vipcast-nothing;");
    page.why(3, why::LIMIT);
    for family in &session.carries {
        let inet = if *family == Family::Ipv4 { "inet" } else { "inet6" };
        page.line(3, format_args!("family {inet} {{"));
        page.line(4, "unicast {");
        page.line(5, "prefix-limit {");
        page.line(6, format_args!("maximum {};", switch.limit(*family)));
        page.line(6, "teardown 80 idle-timeout 1;");
        page.line(5, "}");
        page.line(4, "}");
        page.line(3, "}");
    }
    page.why(3, why::restart(peering));
    if peering.graceful_restart {
        page.why(3, "Junos helps unless it is told not to, so nothing has to be said.");
    } else {
        page.line(3, "graceful-restart {");
        page.line(4, "disable;");
        page.line(3, "}");
    }
    page.why(3, why::RELAX);
    page.line(3, if peering.internal() { "multipath;" } else { "multipath multiple-as;" });
    for node in switch.nodes(session.over) {
        page.line(3, format_args!("neighbor {node};"));
    }
    page.line(2, "}");
}
