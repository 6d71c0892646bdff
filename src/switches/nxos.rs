//! Cisco NX-OS. Statements as in the "Cisco Nexus 9000 Series NX-OS Unicast Routing Configuration Guide", chapters
//! "Configuring Basic BGP", "Configuring Advanced BGP" and "Configuring Static Routing", and its "Interfaces
//! Configuration Guide", sections "Configuring ECMP Load Balancing" and "Enabling ECMP Resilient Hashing".

use super::page::Page;
use super::{PLACEHOLDER, Peering, Session, Switch, WIDTH, bfd, classic, digit, ip, why};
use crate::model::Family;

/// The BGP variant.
pub(super) fn peering(page: &mut Page, switch: &Switch, peering: &Peering) {
    hashing(page);
    page.line(0, "feature bgp");
    page.gap();
    bfd::nxos(page, peering.sessions.iter().find_map(|session| session.bfd));
    classic::prefix_lists(page, switch, peering, |length| format!(" eq {length}"));
    page.why(0, why::NOTHING);
    page.line(0, "route-map vipcast-nothing deny 10");
    page.gap();
    page.line(0, format_args!("router bgp {}", peering.asn));
    why::router_restart(page, peering, "NX-OS");
    if !peering.internal() {
        page.why(1, why::RELAX);
        page.line(1, "bestpath as-path multipath-relax");
    }
    let internal = if peering.internal() { "ibgp " } else { "" };
    for family in peering.families() {
        page.line(1, format_args!("address-family ipv{} unicast", digit(family)));
        page.why(2, why::WIDTH);
        page.line(2, format_args!("maximum-paths {internal}{WIDTH}"));
    }
    for session in &peering.sessions {
        template(page, switch, peering, session);
    }
    for session in &peering.sessions {
        for node in switch.nodes(session.over) {
            page.line(1, format_args!("neighbor {node}"));
            page.line(2, format_args!("inherit peer vipcast{}", digit(session.over)));
        }
    }
}

/// The static variant.
pub(super) fn routes(page: &mut Page, switch: &Switch) {
    hashing(page);
    bfd::nxos(page, switch.watched);
    page.why(0, why::routes(switch));
    classic::routes(page, switch, "");
    if switch.watched.is_some() {
        page.why(0, "INTERFACE is the one that leads to the LB node: put it in.");
        for node in Family::ALL.into_iter().flat_map(|family| switch.nodes(family)) {
            page.line(0, format_args!("{} route static bfd INTERFACE {node}", ip(Family::of(node))));
        }
    }
}

fn hashing(page: &mut Page) {
    page.why(0, why::HASH);
    page.line(0, "ip load-sharing address source-destination port source-destination");
    page.gap();
    page.why(0, why::RESILIENT);
    page.why(0, "For the whole switch, and in force after its next reload; not on Nexus 9808.");
    page.line(0, "hardware profile ecmp resilient");
    page.gap();
}

fn template(page: &mut Page, switch: &Switch, peering: &Peering, session: &Session) {
    page.line(1, format_args!("template peer vipcast{}", digit(session.over)));
    page.line(2, format_args!("remote-as {}", peering.node_asn));
    page.why(2, why::PASSIVE);
    page.line(2, "transport connection-mode passive");
    page.why(2, why::TIMERS);
    page.line(2, format_args!("timers {} {}", session.keepalive.as_secs(), session.hold_time.as_secs()));
    if session.password {
        page.why(2, why::PASSWORD);
        page.line(2, format_args!("password 0 {PLACEHOLDER}"));
    }
    if let Some(hops) = session.multihop {
        page.why(2, why::MULTIHOP);
        page.line(2, format_args!("ebgp-multihop {hops}"));
    }
    if session.bfd.is_some() {
        page.line(2, if session.multihop.is_some() { "bfd multihop" } else { "bfd" });
    }
    for family in &session.carries {
        page.line(2, format_args!("address-family ipv{} unicast", digit(*family)));
        page.line(3, format_args!("prefix-list vipcast-ranges{} in", digit(*family)));
        page.line(3, "route-map vipcast-nothing out");
        page.why(3, why::LIMIT);
        page.line(3, format_args!("maximum-prefix {} restart 1", switch.limit(*family)));
    }
}
