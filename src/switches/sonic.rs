//! SONiC: config_db for what the switch itself does, and FRR's own configuration for BGP.
//!
//! Tables as in the SONiC design documents "SONiC Generic Hash" (`SWITCH_HASH`) and "SONiC Fine Grained ECMP" (`FG_NHG`,
//! `FG_NHG_MEMBER`), and in its YANG model of `DEVICE_METADATA` (`docker_routing_config_mode`).

use serde_json::{Map, Value, json};

use super::page::Page;
use super::{Peering, Switch, digit, frr, why};

/// Buckets of a fine-grained group. A common multiple of the possible counts of LB nodes is advised: up to six of them,
/// and eight, ten and twelve, share 120 equally.
const BUCKETS: &str = "120";

/// The BGP variant.
pub(super) fn peering(page: &mut Page, switch: &Switch, peering: &Peering) {
    database(page, switch);
    frr::bgp(page, switch, peering);
}

/// The static variant.
pub(super) fn routes(page: &mut Page, switch: &Switch) {
    database(page, switch);
    frr::statics(page, switch);
}

/// config_db's part. JSON has no comments and this file is FRR's, so it stands in a comment of this one.
fn database(page: &mut Page, switch: &Switch) {
    page.why(
        0,
        "Part 1: config_db. Put the JSON below, without the exclamation marks, into vipcast.json, then: `sudo config \
         load vipcast.json`, `sudo config save`, and restart the service bgp. It has three purposes.",
    );
    page.why(
        0,
        "docker_routing_config_mode split: BGP is configured in FRR (part 2) and kept there by `write memory`. All of \
         the switch's BGP has to be there then: look at what config_db has of it first.",
    );
    page.why(0, format_args!("SWITCH_HASH: {} `show switch-hash capabilities` says what this switch can.", why::HASH));
    page.why(
        0,
        format_args!(
            "FG_NHG: {} Not every platform has it; the service swss logs whether this one does. Next hops have to be \
             named, so a new LB node has to be added here too.",
            why::RESILIENT
        ),
    );
    for line in format!("{:#}", tables(switch)).lines() {
        page.line(0, format_args!("! {line}"));
    }
    page.gap();
    page.why(0, "Part 2: FRR. Type it into `vtysh` (`configure terminal`), then `write memory`.");
    page.gap();
}

fn tables(switch: &Switch) -> Value {
    let (mut groups, mut members) = (Map::new(), Map::new());
    for family in switch.families() {
        let name = format!("vipcast{}", digit(family));
        groups.insert(name.clone(), json!({"bucket_size": BUCKETS, "match_mode": "nexthop-based"}));
        for node in switch.nodes(family) {
            members.insert(node.to_string(), json!({"FG_NHG": name, "bank": "0"}));
        }
    }
    json!({
        "DEVICE_METADATA": {"localhost": {"docker_routing_config_mode": "split"}},
        "SWITCH_HASH": {"GLOBAL": {"ecmp_hash": ["SRC_IP", "DST_IP", "IP_PROTOCOL", "L4_SRC_PORT", "L4_DST_PORT"]}},
        "FG_NHG": groups,
        "FG_NHG_MEMBER": members,
    })
}
