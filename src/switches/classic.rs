//! The classic command line: what FRR, EOS and NX-OS say in the same words, or but for a word.

use super::page::Page;
use super::{PLACEHOLDER, Peering, Session, Switch, digit, ip, why};
use crate::model::Family;

/// Static routes, each with `more` at its end; several with one prefix are one route with several next hops.
pub(super) fn routes(page: &mut Page, switch: &Switch, more: &str) {
    for family in switch.families() {
        for range in switch.ranges(family) {
            for node in switch.nodes(family) {
                page.line(0, format_args!("{} route {} {node}{more}", ip(family), range.prefix));
            }
        }
    }
}

/// The prefix lists `vipcast-ranges4` and `vipcast-ranges6`, a whole statement for each range. `hosts` says that only
/// routes of this length in the range count.
pub(super) fn prefix_lists(page: &mut Page, switch: &Switch, peering: &Peering, hosts: fn(u8) -> String) {
    page.why(0, why::RANGES);
    for family in peering.families() {
        for (index, range) in switch.ranges(family).enumerate() {
            let hosts = range.host_length().map(hosts).unwrap_or_default();
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
}

/// What a peer group is called in `neighbor` statements, and what comes before a password in clear text.
pub(super) struct Words {
    pub(super) peer_group: &'static str,
    pub(super) password: &'static str,
}

/// The peer group of the sessions over one family.
pub(super) fn group(page: &mut Page, peering: &Peering, session: &Session, words: &Words) {
    let group = group_name(session);
    page.line(1, format_args!("neighbor {group} {}", words.peer_group));
    page.line(1, format_args!("neighbor {group} remote-as {}", peering.node_asn));
    page.why(1, why::PASSIVE);
    page.line(1, format_args!("neighbor {group} passive"));
    page.why(1, why::TIMERS);
    let (keepalive, hold_time) = (session.keepalive.as_secs(), session.hold_time.as_secs());
    page.line(1, format_args!("neighbor {group} timers {keepalive} {hold_time}"));
    if session.password {
        page.why(1, why::PASSWORD);
        page.line(1, format_args!("neighbor {group} {} {PLACEHOLDER}", words.password));
    }
    if let Some(hops) = session.multihop {
        page.why(1, why::MULTIHOP);
        page.line(1, format_args!("neighbor {group} ebgp-multihop {hops}"));
    }
}

/// The LB nodes become members of their peer group.
pub(super) fn members(page: &mut Page, switch: &Switch, session: &Session, words: &Words) {
    for node in switch.nodes(session.over) {
        page.line(1, format_args!("neighbor {node} {} {}", words.peer_group, group_name(session)));
    }
}

/// What the peer group says in an address family: the filters of both directions, or that it has no part in it. Answers
/// whether it has.
pub(super) fn activate(page: &mut Page, session: &Session, family: Family) -> bool {
    let group = group_name(session);
    if !session.carries.contains(&family) {
        page.why(2, why::FAMILIES);
        page.line(2, format_args!("no neighbor {group} activate"));
        return false;
    }
    page.line(2, format_args!("neighbor {group} activate"));
    page.line(2, format_args!("neighbor {group} prefix-list vipcast-ranges{} in", digit(family)));
    page.line(2, format_args!("neighbor {group} route-map vipcast-nothing out"));
    true
}

/// The name of the peer group of the sessions over one family.
pub(super) fn group_name(session: &Session) -> String {
    format!("vipcast{}", digit(session.over))
}
