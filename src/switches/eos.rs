//! Arista EOS. Statements as in Arista's "EOS User Manual", chapters "Border Gateway Protocol (BGP)", "IPv4" and "IPv6".

use super::page::Page;
use super::{PLACEHOLDER, Peering, Session, Switch, WIDTH, digit, ip, why};

/// The BGP variant.
pub(super) fn peering(page: &mut Page, switch: &Switch, peering: &Peering) {
    hashing(page, switch);
    page.why(0, why::RANGES);
    for family in peering.families() {
        page.line(0, format_args!("{} prefix-list vipcast-ranges{}", ip(family), digit(family)));
        for (index, range) in switch.ranges(family).enumerate() {
            let hosts = range.host_length().map(|length| format!(" eq {length}")).unwrap_or_default();
            page.line(1, format_args!("seq {} permit {}{hosts}", 10 * (index + 1), range.prefix));
        }
        page.gap();
    }
    page.why(0, why::NOTHING);
    page.line(0, "route-map vipcast-nothing deny 10");
    page.gap();
    page.line(0, format_args!("router bgp {}", peering.asn));
    if !peering.internal() {
        page.why(1, why::RELAX);
        page.line(1, "bgp bestpath as-path multipath-relax");
    }
    page.why(1, why::WIDTH);
    page.line(1, format_args!("maximum-paths {WIDTH} ecmp {WIDTH}"));
    page.why(1, why::RESTART);
    page.why(
        1,
        "EOS has this for the whole router; vipcast does not offer graceful restart, so nothing has to be said.",
    );
    for session in &peering.sessions {
        page.line(1, "!");
        group(page, switch, peering, session);
    }
    for family in peering.families() {
        page.line(1, "!");
        page.line(1, format_args!("address-family ipv{}", digit(family)));
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
        }
    }
    page.gap();
}

/// The static variant.
pub(super) fn routes(page: &mut Page, switch: &Switch) {
    hashing(page, switch);
    page.why(0, why::STATIC);
    page.why(0, "EOS: `ip route RANGE NODE track bfd`, once LB nodes answer it.");
    for family in switch.families() {
        for range in switch.ranges(family) {
            for node in switch.nodes(family) {
                page.line(0, format_args!("{} route {} {node}", ip(family), range.prefix));
            }
        }
    }
    page.gap();
}

fn hashing(page: &mut Page, switch: &Switch) {
    page.why(0, why::HASH);
    page.why(
        0,
        "EOS does so unless it was told otherwise: look at `show load-balance profile`, and on 7280R, 7500R and 7800R \
         at `load-balance policies`, `load-balance sand profile`, `fields l4 outer dst-port src-port`.",
    );
    page.gap();
    page.why(0, why::RESILIENT);
    page.why(0, "Where the platform has it. Up to `capacity` LB nodes share the table; print this again for more.");
    for family in switch.families() {
        for range in switch.ranges(family) {
            page.line(
                0,
                format_args!(
                    "{} hardware fib ecmp resilience {} capacity {} redundancy 8",
                    ip(family),
                    range.prefix,
                    switch.slots()
                ),
            );
        }
    }
    page.gap();
}

fn group(page: &mut Page, switch: &Switch, peering: &Peering, session: &Session) {
    let group = format!("vipcast{}", digit(session.over));
    page.line(1, format_args!("neighbor {group} peer group"));
    page.line(1, format_args!("neighbor {group} remote-as {}", peering.node_asn));
    page.why(1, why::PASSIVE);
    page.line(1, format_args!("neighbor {group} passive"));
    page.why(1, why::TIMERS);
    let (keepalive, hold_time) = (session.keepalive.as_secs(), session.hold_time.as_secs());
    page.line(1, format_args!("neighbor {group} timers {keepalive} {hold_time}"));
    if session.password {
        page.why(1, why::PASSWORD);
        page.line(1, format_args!("neighbor {group} password 0 {PLACEHOLDER}"));
    }
    if let Some(hops) = session.multihop {
        page.why(1, why::MULTIHOP);
        page.line(1, format_args!("neighbor {group} ebgp-multihop {hops}"));
    }
    page.why(1, why::LIMIT);
    let limit: u32 = session.carries.iter().map(|family| switch.limit(*family)).sum();
    page.line(1, format_args!("neighbor {group} maximum-routes {limit}"));
    page.line(1, format_args!("neighbor {group} idle-restart-timer 60"));
    for node in switch.nodes(session.over) {
        page.line(1, format_args!("neighbor {node} peer group {group}"));
    }
}
