//! The clamp on segment sizes. A SYN tells the pod what the client takes, a SYN with ACK tells the client what the pod
//! takes; both are lowered, never raised (`nft_exthdr_tcp_set_eval` in net/netfilter/nft_exthdr.c).

use serde_json::{Value, json};

use super::{Chain, GUARD, Hook, MASQUERADE, Part, Rule, Words};
use crate::model::Family;
use crate::model::nft::Mss;

/// The chain that lowers the size.
pub(in crate::apply::nft) const CLAMP: &str = "clamp";

/// How much longer an IPv6 header is than one of IPv4 (RFC 8200 section 3, RFC 791 section 3.1).
const LONGER: u16 = 20;

/// What goes to a pod leaves IPVS at the output hook, and what a local socket answers does too: both pass postrouting.
/// What comes from a pod passes the forward hook before IPVS (priority 100) makes the VIP its source; later, there would
/// be no route to the pod to look at.
pub(super) fn part(mss: Mss) -> Part {
    let early = |name, hook| Chain {
        name,
        hook: Some(Hook { kind: "filter", hook, priority: -150 }),
        rules: [MASQUERADE, GUARD].into_iter().flat_map(of_ranges).chain(of_node_ports()).collect(),
    };
    Part {
        sets: &[],
        counters: &[],
        chains: vec![
            Chain { name: CLAMP, hook: None, rules: Family::ALL.map(|family| bound(family, mss)).into() },
            early("clamp_forward", "forward"),
            early("clamp_postrouting", "postrouting"),
        ],
    }
}

/// Both directions of a connection have its original destination in conntrack.
fn of_ranges(set: &str) -> Vec<Rule> {
    let text = "tcp flags syn ct original {ip} daddr @{set}{n} goto clamp";
    let listed = r#"[
        {"match": {"op": "in", "left": {"payload": {"protocol": "tcp", "field": "flags"}}, "right": 2}},
        {"match": {"op": "==", "left": {"ct": {"key": "{ip} daddr", "dir": "original"}}, "right": "@{set}{n}"}},
        {"goto": {"target": "clamp"}}
    ]"#;
    Rule::of_each(&text.replace("{set}", set), &listed.replace("{set}", set))
}

fn of_node_ports() -> Vec<Rule> {
    Rule::of_each(
        "tcp flags syn ct original {ip} daddr . meta l4proto . ct original proto-dst @nodeports{n} goto clamp",
        r#"[
            {"match": {"op": "in", "left": {"payload": {"protocol": "tcp", "field": "flags"}}, "right": 2}},
            {"match": {"op": "==", "left": {"concat": [
                {"ct": {"key": "{ip} daddr", "dir": "original"}},
                {"meta": {"key": "l4proto"}},
                {"ct": {"key": "proto-dst", "dir": "original"}}
            ]}, "right": "@nodeports{n}"}},
            {"goto": {"target": "clamp"}}
        ]"#,
    )
}

/// `rt mtu` is the segment size that fits the routes to a packet's destination and to its source (`get_tcpmss` in
/// net/netfilter/nft_rt.c).
fn bound(family: Family, mss: Mss) -> Rule {
    let number = Words::of(family).number;
    let (text, value) = match (mss, family) {
        (Mss::Auto, _) => ("rt mtu".to_owned(), json!({"rt": {"key": "mtu"}})),
        (Mss::Size(size), Family::Ipv4) => (size.to_string(), json!(size)),
        (Mss::Size(size), Family::Ipv6) => {
            let size = size.saturating_sub(LONGER);
            (size.to_string(), json!(size))
        }
    };
    Rule {
        text: format!("meta nfproto {number} tcp option maxseg size set {text}"),
        listed: json!([
            {"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": number}},
            {"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": value}}
        ]),
    }
}

/// The clamp that the rules of the chain [`CLAMP`] were written for, as they are listed; any, if they were not written by
/// us. The first is the one for IPv4.
pub(in crate::apply::nft) fn mss(rules: &[Value]) -> Mss {
    let size = rules.first().and_then(|rule| rule.pointer("/1/mangle/value")?.as_u64()?.try_into().ok());
    size.map_or(Mss::Auto, Mss::Size)
}
