//! Nokia SR Linux. Paths as in Nokia's YANG models of release 25.3: `srl_nokia-bgp`, `srl_nokia-routing-policy`,
//! `srl_nokia-load-balancing`, `srl_nokia-network-instance` (`ip-load-balancing`), `srl_nokia-next-hop-groups`,
//! `srl_nokia-static-routes`, `srl_nokia-keychains`.

use super::page::Page;
use super::{PLACEHOLDER, Peering, Session, Switch, WIDTH, bfd, digit, why};

const BGP: &str = "set / network-instance default protocols bgp";

/// The BGP variant.
pub(super) fn peering(page: &mut Page, switch: &Switch, peering: &Peering) {
    hashing(page, switch);
    page.why(0, why::RANGES);
    for family in peering.families() {
        let name = format!("vipcast-ranges{}", digit(family));
        for range in switch.ranges(family) {
            let lengths = match range.host_length() {
                Some(length) => format!("{length}..{length}"),
                None => "exact".to_owned(),
            };
            page.line(
                0,
                format_args!(
                    "set / routing-policy prefix-set {name} prefix {} mask-length-range {lengths}",
                    range.prefix
                ),
            );
        }
        let policy = format!("set / routing-policy policy {name}");
        page.line(0, format_args!("{policy} default-action policy-result reject"));
        page.line(0, format_args!("{policy} statement ranges match prefix prefix-set {name}"));
        page.line(0, format_args!("{policy} statement ranges action policy-result accept"));
    }
    page.gap();
    page.why(0, why::NOTHING);
    page.line(0, "set / routing-policy policy vipcast-nothing default-action policy-result reject");
    page.gap();
    page.line(0, format_args!("{BGP} admin-state enable"));
    page.line(0, format_args!("{BGP} autonomous-system {}", peering.asn));
    if let Some(address) = peering.router_id() {
        page.why(0, "SR Linux demands one. Keep your own if BGP has one already: to change it ends all sessions.");
        page.line(0, format_args!("{BGP} router-id {address}"));
    }
    page.why(0, why::WIDTH);
    page.why(0, why::RELAX);
    let kind = if peering.internal() { "ibgp" } else { "ebgp" };
    for family in peering.families() {
        let safi = format!("{BGP} afi-safi ipv{}-unicast", digit(family));
        page.line(0, format_args!("{safi} admin-state enable"));
        page.line(0, format_args!("{safi} multipath allow-multiple-as true"));
        page.line(0, format_args!("{safi} multipath {kind} maximum-paths {WIDTH}"));
    }
    for session in &peering.sessions {
        page.gap();
        group(page, switch, peering, session);
    }
}

/// The static variant.
pub(super) fn routes(page: &mut Page, switch: &Switch) {
    hashing(page, switch);
    bfd::srlinux(page, switch.watched);
    page.why(0, why::routes(switch));
    if switch.watched.is_some() {
        page.why(0, "LOCAL-ADDRESS is the switch's own on the way to the LB node: put it in.");
    }
    for family in switch.families() {
        let group = format!("vipcast{}", digit(family));
        for (index, node) in switch.nodes(family).enumerate() {
            page.line(
                0,
                format_args!(
                    "set / network-instance default next-hop-groups group {group} nexthop {} ip-address {node}",
                    index + 1
                ),
            );
            if switch.watched.is_some() {
                let detection = format!(
                    "set / network-instance default next-hop-groups group {group} nexthop {} failure-detection enable-bfd",
                    index + 1
                );
                page.line(0, format_args!("{detection} local-address LOCAL-ADDRESS"));
            }
        }
        for range in switch.ranges(family) {
            page.line(
                0,
                format_args!(
                    "set / network-instance default static-routes route {} next-hop-group {group}",
                    range.prefix
                ),
            );
        }
    }
}

fn hashing(page: &mut Page, switch: &Switch) {
    page.why(0, why::HASH);
    for field in ["source-address", "destination-address", "protocol", "source-port", "destination-port"] {
        page.line(0, format_args!("set / system load-balancing hash-options {field} true"));
    }
    page.gap();
    page.why(0, why::RESILIENT);
    page.why(0, "Where the platform has it. Up to `max-paths` LB nodes share the table; print this again for more.");
    for range in &switch.ranges {
        page.line(
            0,
            format_args!(
                "set / network-instance default ip-load-balancing resilient-hash-prefix {} hash-buckets-per-path 8 \
                 max-paths {}",
                range.prefix,
                switch.slots()
            ),
        );
    }
    page.gap();
}

fn group(page: &mut Page, switch: &Switch, peering: &Peering, session: &Session) {
    let name = format!("vipcast{}", digit(session.over));
    let group = format!("{BGP} group {name}");
    page.line(0, format_args!("{group} peer-as {}", peering.node_asn));
    page.why(0, why::PASSIVE);
    page.line(0, format_args!("{group} transport passive-mode true"));
    page.why(0, why::TIMERS);
    page.line(0, format_args!("{group} timers hold-time {}", session.hold_time.as_secs()));
    page.line(0, format_args!("{group} timers keepalive-interval {}", session.keepalive.as_secs()));
    if session.password {
        page.why(0, why::PASSWORD);
        let chain = format!("set / system authentication keychain {name}");
        page.line(0, format_args!("{chain} admin-state enable"));
        page.line(0, format_args!("{chain} type tcp-md5"));
        page.line(0, format_args!("{chain} key 1 algorithm md5 authentication-key {PLACEHOLDER}"));
        page.line(0, format_args!("{group} authentication keychain {name}"));
    }
    if let Some(hops) = session.multihop {
        page.why(0, why::MULTIHOP);
        page.line(0, format_args!("{group} multihop admin-state enable"));
        page.line(0, format_args!("{group} multihop maximum-hops {hops}"));
    }
    if session.bfd.is_some() {
        bfd::srlinux(page, session.bfd);
        page.line(0, format_args!("{group} failure-detection enable-bfd true"));
    }
    page.why(0, why::restart(peering));
    let state = if peering.graceful_restart { "enable" } else { "disable" };
    page.line(0, format_args!("{group} graceful-restart admin-state {state}"));
    page.why(0, why::LIMIT);
    page.line(0, format_args!("{group} timers prefix-limit-restart-timer 60"));
    for family in peering.families() {
        let safi = format!("ipv{}-unicast", digit(family));
        let path = format!("{group} afi-safi {safi}");
        if !session.carries.contains(&family) {
            page.why(0, why::FAMILIES);
            page.line(0, format_args!("{path} admin-state disable"));
            continue;
        }
        page.line(0, format_args!("{path} admin-state enable"));
        page.line(0, format_args!("{path} import-policy [ vipcast-ranges{} ]", digit(family)));
        page.line(0, format_args!("{path} export-policy [ vipcast-nothing ]"));
        page.line(0, format_args!("{path} {safi} prefix-limit-received max-received-routes {}", switch.limit(family)));
    }
    for node in switch.nodes(session.over) {
        page.line(0, format_args!("{BGP} neighbor {node} peer-group {name}"));
    }
}
