//! BIRD 2. Statements as in the "BIRD 2.0 User's Guide", chapters "Configuration", "Filters" and "Protocols" (BGP, Device,
//! Kernel, Static); a lab loads them.

use super::page::Page;
use super::{PLACEHOLDER, Peering, Session, Switch, WIDTH, bfd, digit, why};
use crate::model::Family;

/// The BGP variant.
pub(super) fn peering(page: &mut Page, switch: &Switch, peering: &Peering) {
    why::linux(page, switch);
    kernel(page, switch, "RTS_BGP");
    bfd::bird(page, peering.sessions.iter().find_map(|session| session.bfd));
    page.why(0, why::RANGES);
    for family in peering.families() {
        let ranges: Vec<String> = switch
            .ranges(family)
            .map(|range| match range.host_length() {
                Some(length) => format!("{}{{{length},{length}}}", range.prefix),
                None => range.prefix.to_string(),
            })
            .collect();
        page.line(0, format_args!("filter vipcast_ranges{} {{", digit(family)));
        page.line(1, format_args!("if ! (net ~ [ {} ]) then reject;", ranges.join(", ")));
        page.why(1, why::LEAVING);
        page.line(1, "if (65535, 0) ~ bgp_community then bgp_local_pref = 0;");
        page.line(1, "accept;");
        page.line(0, "}");
    }
    for session in &peering.sessions {
        page.gap();
        template(page, switch, peering, session);
    }
}

/// The static variant.
pub(super) fn routes(page: &mut Page, switch: &Switch) {
    why::linux(page, switch);
    kernel(page, switch, "RTS_STATIC");
    bfd::bird(page, switch.watched);
    page.why(0, why::routes(switch));
    let watch = if switch.watched.is_some() { " bfd" } else { "" };
    for family in switch.families() {
        page.line(0, format_args!("protocol static vipcast{} {{", digit(family)));
        page.line(1, format_args!("ipv{};", digit(family)));
        let nodes: String = switch.nodes(family).map(|node| format!(" via {node}{watch}")).collect();
        for range in switch.ranges(family) {
            page.line(1, format_args!("route {}{nodes};", range.prefix));
        }
        page.line(0, "}");
    }
}

/// What every BIRD has once: its view of the links, and its hand on the kernel's table.
fn kernel(page: &mut Page, switch: &Switch, source: &str) {
    page.why(
        0,
        "BIRD has these protocols once: where bird.conf has them already, put only `merge paths` and the export there. \
         Without an IPv4 address on this machine, BIRD needs a `router id` too.",
    );
    page.line(0, "protocol device vipcast_links { }");
    page.why(0, why::WIDTH);
    for family in switch.families() {
        page.line(0, format_args!("protocol kernel vipcast_kernel{} {{", digit(family)));
        page.line(1, format_args!("merge paths on limit {WIDTH};"));
        page.line(1, format_args!("ipv{} {{", digit(family)));
        page.line(2, "import none;");
        page.line(2, format_args!("export where source = {source};"));
        page.line(1, "};");
        page.line(0, "}");
    }
    page.gap();
}

fn template(page: &mut Page, switch: &Switch, peering: &Peering, session: &Session) {
    let name = format!("vipcast{}", digit(session.over));
    page.line(0, format_args!("template bgp {name} {{"));
    let port = if session.port == 179 { String::new() } else { format!(" port {}", session.port) };
    page.line(1, format_args!("local{port} as {};", peering.asn));
    page.line(1, format_args!("neighbor as {};", peering.node_asn));
    match session.multihop.or(session.ttl_security.filter(|hops| *hops > 1)) {
        Some(hops) => {
            page.why(1, why::MULTIHOP);
            page.line(1, format_args!("multihop {hops};"));
        }
        None => page.line(1, "direct;"),
    }
    if session.ttl_security.is_some() {
        page.why(1, why::SECURITY);
        page.line(1, "ttl security on;");
    }
    page.why(1, why::PASSIVE);
    page.line(1, "passive on;");
    page.why(1, why::TIMERS);
    page.line(1, format_args!("hold time {};", session.hold_time.as_secs()));
    page.line(1, format_args!("keepalive time {};", session.keepalive.as_secs()));
    if session.password {
        page.why(1, why::PASSWORD);
        page.line(1, format_args!("password \"{PLACEHOLDER}\";"));
    }
    if let Some(timers) = session.bfd {
        let (interval, multiplier) = (timers.interval.as_millis(), timers.multiplier);
        page.line(1, format_args!("bfd {{ interval {interval} ms; multiplier {multiplier}; }};"));
    }
    page.why(1, why::restart(peering));
    page.line(1, if peering.graceful_restart { "graceful restart aware;" } else { "graceful restart off;" });
    page.why(1, "A session that ended, because an LB node was restarted for example, may come back at once.");
    page.line(1, if session.bfd.is_some() { "error wait time 1, 5;" } else { "error wait time 1, 60;" });
    for family in Family::ALL.into_iter().filter(|family| session.carries.contains(family)) {
        page.line(1, format_args!("ipv{} {{", digit(family)));
        if session.extends_next_hops() && family == Family::Ipv4 {
            page.why(2, why::EXTENDED);
            page.line(2, "extended next hop on;");
        }
        page.line(2, format_args!("import filter vipcast_ranges{};", digit(family)));
        page.why(2, why::LIMIT);
        page.line(2, format_args!("import limit {} action restart;", switch.limit(family)));
        page.why(2, why::NOTHING);
        page.line(2, "export none;");
        page.line(1, "};");
    }
    page.line(0, "}");
    for (index, node) in switch.nodes(session.over).enumerate() {
        page.line(0, format_args!("protocol bgp {name}_lb{} from {name} {{ neighbor {node}; }}", index + 1));
    }
}
