//! FRRouting. Statements as in FRR's user guide, chapters "BGP", "Filtering", "Zebra" and "STATIC"; a lab loads them.

use super::page::Page;
use super::{PLACEHOLDER, Peering, Session, Switch, WIDTH, digit, ip, why};

/// The BGP variant.
pub(super) fn peering(page: &mut Page, switch: &Switch, peering: &Peering) {
    linux(page, switch);
    bgp(page, switch, peering);
}

/// The static variant.
pub(super) fn routes(page: &mut Page, switch: &Switch) {
    linux(page, switch);
    statics(page, switch);
}

fn linux(page: &mut Page, switch: &Switch) {
    why::linux(page, switch);
    page.why(
        0,
        "Next hops inside the routes, not as kernel objects of their own: after a link was down and up again, FRR 8.4 \
         takes such an object for installed whose lost member the kernel has dropped, and an LB node stays unused.",
    );
    page.line(0, "no zebra nexthop kernel enable");
    page.gap();
}

/// What bgpd is told. SONiC's FRR is told the same.
pub(super) fn bgp(page: &mut Page, switch: &Switch, peering: &Peering) {
    page.why(0, why::RANGES);
    for family in peering.families() {
        for (index, range) in switch.ranges(family).enumerate() {
            let hosts = range.host_length().map(|length| format!(" ge {length} le {length}")).unwrap_or_default();
            page.line(
                0,
                format_args!(
                    "{} prefix-list vipcast-ranges{} seq {} permit {}{hosts}",
                    ip(family),
                    digit(family),
                    10 * (index + 1),
                    range.prefix
                ),
            );
        }
    }
    page.gap();
    page.why(0, why::NOTHING);
    page.line(0, "route-map vipcast-nothing deny 10");
    page.line(0, "exit");
    page.gap();
    page.line(0, format_args!("router bgp {}", peering.asn));
    if !peering.internal() {
        page.why(1, why::RELAX);
        page.line(1, "bgp bestpath as-path multipath-relax");
    }
    for session in &peering.sessions {
        page.line(1, "!");
        group(page, switch, peering, session);
    }
    let internal = if peering.internal() { "ibgp " } else { "" };
    for family in peering.families() {
        page.line(1, "!");
        page.line(1, format_args!("address-family ipv{} unicast", digit(family)));
        page.why(2, why::WIDTH);
        page.line(2, format_args!("maximum-paths {internal}{WIDTH}"));
        for session in &peering.sessions {
            let group = format!("vipcast{}", digit(session.over));
            if !session.carries.contains(&family) {
                page.why(2, why::FAMILIES);
                page.line(2, format_args!("no neighbor {group} activate"));
                continue;
            }
            page.line(2, format_args!("neighbor {group} activate"));
            page.line(2, format_args!("neighbor {group} prefix-list vipcast-ranges{} in", digit(family)));
            page.line(2, format_args!("neighbor {group} route-map vipcast-nothing out"));
            page.why(2, why::LIMIT);
            page.line(2, format_args!("neighbor {group} maximum-prefix {} restart 1", switch.limit(family)));
        }
        page.line(1, "exit-address-family");
    }
    page.line(0, "exit");
}

fn group(page: &mut Page, switch: &Switch, peering: &Peering, session: &Session) {
    let group = format!("vipcast{}", digit(session.over));
    page.line(1, format_args!("neighbor {group} peer-group"));
    page.line(1, format_args!("neighbor {group} remote-as {}", peering.node_asn));
    page.why(1, why::PASSIVE);
    page.line(1, format_args!("neighbor {group} passive"));
    page.why(1, why::TIMERS);
    let (keepalive, hold_time) = (session.keepalive.as_secs(), session.hold_time.as_secs());
    page.line(1, format_args!("neighbor {group} timers {keepalive} {hold_time}"));
    if session.password {
        page.why(1, why::PASSWORD);
        page.line(1, format_args!("neighbor {group} password {PLACEHOLDER}"));
    }
    if let Some(hops) = session.multihop {
        page.why(1, why::MULTIHOP);
        page.line(1, format_args!("neighbor {group} ebgp-multihop {hops}"));
    }
    for node in switch.nodes(session.over) {
        page.line(1, format_args!("neighbor {node} peer-group {group}"));
    }
    page.why(1, format_args!("{}\nFor each node, since FRR 8.4 does not hand it on from the group.", why::RESTART));
    for node in switch.nodes(session.over) {
        page.line(1, format_args!("neighbor {node} graceful-restart-disable"));
    }
}

/// Static routes; several with one prefix are one route with several next hops.
pub(super) fn statics(page: &mut Page, switch: &Switch) {
    page.why(0, why::STATIC);
    page.why(0, "FRR 8.5 and newer: `ip route RANGE NODE bfd`, once LB nodes answer it.");
    for family in switch.families() {
        for range in switch.ranges(family) {
            for node in switch.nodes(family) {
                page.line(0, format_args!("{} route {} {node}", ip(family), range.prefix));
            }
        }
    }
}
