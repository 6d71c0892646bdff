//! Arista EOS. Statements as in Arista's "EOS User Manual", chapters "Border Gateway Protocol (BGP)", "IPv4" and "IPv6".

use super::page::Page;
use super::{Peering, Session, Switch, WIDTH, bfd, classic, digit, ip, why};

const WORDS: classic::Words = classic::Words { peer_group: "peer group", password: "password 0" };

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
    if let Some(session) = peering.sessions.iter().find(|session| session.bfd.is_some()) {
        bfd::eos(page, session.bfd, session.multihop.is_some());
    }
    page.line(0, format_args!("router bgp {}", peering.asn));
    if !peering.internal() {
        page.why(1, why::RELAX);
        page.line(1, "bgp bestpath as-path multipath-relax");
    }
    page.why(1, why::WIDTH);
    page.line(1, format_args!("maximum-paths {WIDTH} ecmp {WIDTH}"));
    why::router_restart(page, peering, "EOS");
    for session in &peering.sessions {
        page.line(1, "!");
        group(page, switch, peering, session);
    }
    for family in peering.families() {
        page.line(1, "!");
        page.line(1, format_args!("address-family ipv{}", digit(family)));
        for session in &peering.sessions {
            classic::activate(page, session, family);
        }
    }
    page.gap();
}

/// The static variant.
pub(super) fn routes(page: &mut Page, switch: &Switch) {
    hashing(page, switch);
    bfd::eos(page, switch.watched, false);
    page.why(0, why::routes(switch));
    classic::routes(page, switch, if switch.watched.is_some() { " track bfd" } else { "" });
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
    classic::group(page, peering, session, &WORDS);
    let group = classic::group_name(session);
    page.why(1, why::LIMIT);
    let limit: u32 = session.carries.iter().map(|family| switch.limit(*family)).sum();
    page.line(1, format_args!("neighbor {group} maximum-routes {limit}"));
    page.line(1, format_args!("neighbor {group} idle-restart-timer 60"));
    if session.bfd.is_some() {
        page.line(1, format_args!("neighbor {group} bfd"));
    }
    classic::members(page, switch, session, &WORDS);
}
