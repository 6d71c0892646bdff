//! FRRouting. Statements as in FRR's user guide, chapters "BGP", "Filtering", "Zebra" and "STATIC"; a lab loads them.

use super::page::Page;
use super::{Peering, Session, Switch, WIDTH, bfd, classic, digit, why};

const WORDS: classic::Words = classic::Words { peer_group: "peer-group", password: "password" };

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
    let mut sessions = switch.peering.iter().flat_map(|peering| &peering.sessions);
    if sessions.any(Session::extends_next_hops) {
        page.why(
            0,
            "Next hops stay kernel objects of their own: inside an IPv4 route, FRR 8.4 writes 169.254.0.1 for an IPv6 next \
             hop, which leads nowhere over a link with addresses. After a link was down and up again, look at the kernel's \
             table (ip route): FRR may take such an object for installed whose lost member the kernel has dropped.",
        );
        page.gap();
        return;
    }
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
    for session in &peering.sessions {
        if let Some(timers) = session.bfd {
            bfd::profile(page, &classic::group_name(session), timers);
        }
    }
    classic::prefix_lists(page, switch, peering, |length| format!(" ge {length} le {length}"));
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
            if !classic::activate(page, session, family) {
                continue;
            }
            page.why(2, why::LIMIT);
            let (group, limit) = (classic::group_name(session), switch.limit(family));
            page.line(2, format_args!("neighbor {group} maximum-prefix {limit} restart 1"));
        }
        page.line(1, "exit-address-family");
    }
    page.line(0, "exit");
}

fn group(page: &mut Page, switch: &Switch, peering: &Peering, session: &Session) {
    classic::group(page, peering, session, &WORDS);
    let name = classic::group_name(session);
    if let Some(hops) = session.ttl_security {
        page.why(1, why::SECURITY);
        page.line(1, format_args!("neighbor {name} ttl-security hops {hops}"));
    }
    if session.extends_next_hops() {
        page.why(1, why::EXTENDED);
        page.line(1, format_args!("neighbor {name} capability extended-nexthop"));
    }
    if session.bfd.is_some() {
        page.why(1, "Never with check-control-plane-failure: routes of a dead node would stay.");
        page.line(1, format_args!("neighbor {name} bfd"));
        page.line(1, format_args!("neighbor {name} bfd profile {name}"));
    }
    classic::members(page, switch, session, &WORDS);
    page.why(
        1,
        format_args!("{}\nFor each node, since FRR 8.4 does not hand it on from the group.", why::restart(peering)),
    );
    let mode = if peering.graceful_restart { "helper" } else { "disable" };
    for node in switch.nodes(session.over) {
        page.line(1, format_args!("neighbor {node} graceful-restart-{mode}"));
    }
}

/// Static routes.
pub(super) fn statics(page: &mut Page, switch: &Switch) {
    let mut watch = "";
    if let Some(timers) = switch.watched {
        bfd::profile(page, "vipcast", timers);
        watch = " bfd profile vipcast";
    }
    page.why(0, why::routes(switch));
    page.why(0, "FRR 8.4 and older cannot watch static routes by BFD.");
    classic::routes(page, switch, watch);
}
