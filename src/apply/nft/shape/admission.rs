//! Who gets in, on both sides of IPVS, which takes its packets from the input hook at priorities 98 and 99 (`ip_vs_ops` in
//! net/netfilter/ipvs/ip_vs_core.c): before it, clients that may not and connections that come too late are turned away;
//! what gets past it, it did not take.
//!
//! A connection that starts on this node never comes through the input hook: IPVS takes it at the output hook. So source
//! ranges do not bind the node itself, and what it asks of a virtual server that drains is refused by IPVS, in its own time.

use super::{ALLOWED, Chain, DRAINING, FILTERED, GUARD, Hook, Kind, Part, Rule, STRAY, Set};

pub(super) fn part() -> Part {
    let filter = |priority| Some(Hook { kind: "filter", hook: "input", priority });
    Part {
        sets: &[
            Set { name: GUARD, kind: Kind::Ranges },
            Set { name: FILTERED, kind: Kind::Servers },
            Set { name: ALLOWED, kind: Kind::Clients },
            Set { name: DRAINING, kind: Kind::Servers },
        ],
        counters: &[STRAY],
        chains: vec![
            Chain { name: "refuse", hook: None, rules: refuse() },
            Chain { name: "drain", hook: None, rules: drain() },
            Chain {
                name: "admission",
                hook: filter(97),
                rules: [sources(), draining()].into_iter().flatten().collect(),
            },
            Chain { name: "input", hook: filter(101), rules: guard() },
        ],
    }
}

/// Packets of connections that were there before count too: a client that may no longer is cut off.
fn sources() -> Vec<Rule> {
    Rule::of_each(
        "{ip} daddr . meta l4proto . th dport @filtered{n} \
         {ip} daddr . meta l4proto . th dport . {ip} saddr != @allowed{n} drop",
        r#"[
            {"match": {"op": "==", "left": {"concat": [
                {"payload": {"protocol": "{ip}", "field": "daddr"}},
                {"meta": {"key": "l4proto"}},
                {"payload": {"protocol": "th", "field": "dport"}}
            ]}, "right": "@filtered{n}"}},
            {"match": {"op": "!=", "left": {"concat": [
                {"payload": {"protocol": "{ip}", "field": "daddr"}},
                {"meta": {"key": "l4proto"}},
                {"payload": {"protocol": "th", "field": "dport"}},
                {"payload": {"protocol": "{ip}", "field": "saddr"}}
            ]}, "right": "@allowed{n}"}},
            {"drop": null}
        ]"#,
    )
}

fn draining() -> Vec<Rule> {
    Rule::of_each(
        "{ip} daddr . meta l4proto . th dport @draining{n} goto drain",
        r#"[
            {"match": {"op": "==", "left": {"concat": [
                {"payload": {"protocol": "{ip}", "field": "daddr"}},
                {"meta": {"key": "l4proto"}},
                {"payload": {"protocol": "th", "field": "dport"}}
            ]}, "right": "@draining{n}"}},
            {"goto": {"target": "drain"}}
        ]"#,
    )
}

/// A new connection of TCP begins with SYN alone, whatever conntrack thinks of it: where a client uses a port again, it
/// may hold it for part of the old connection, and what it does not know may be known to IPVS.
fn drain() -> Vec<Rule> {
    vec![
        Rule::new(
            "tcp flags & (fin | syn | rst | ack) == syn goto refuse",
            r#"[
                {"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, [1, 2, 4, 16]]}, "right": 2}},
                {"goto": {"target": "refuse"}}
            ]"#,
        ),
        Rule::new(
            "meta l4proto != 6 ct state new goto refuse",
            r#"[
                {"match": {"op": "!=", "left": {"meta": {"key": "l4proto"}}, "right": 6}},
                {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": 8}},
                {"goto": {"target": "refuse"}}
            ]"#,
        ),
    ]
}

/// Packets to VIPs without such a port, which would else reach the node's own sockets.
fn guard() -> Vec<Rule> {
    // Replies to a local socket that uses a VIP as its source.
    let mut rules = vec![Rule::new(
        "ct direction reply accept",
        r#"[
            {"match": {"op": "==", "left": {"ct": {"key": "direction"}}, "right": 1}},
            {"accept": null}
        ]"#,
    )];
    rules.extend(Rule::of_each(
        "{ip} daddr @guard{n} goto refuse",
        r#"[
            {"match": {"op": "==", "left": {"payload": {"protocol": "{ip}", "field": "daddr"}}, "right": "@guard{n}"}},
            {"goto": {"target": "refuse"}}
        ]"#,
    ));
    rules
}

fn refuse() -> Vec<Rule> {
    vec![
        // ICMP and ICMPv6: echo requests, "fragmentation needed", neighbour discovery. None of it reaches a port of the
        // node, and refusing it breaks path MTU discovery and IPv6.
        Rule::new(
            "meta l4proto { 1, 58 } accept",
            r#"[
                {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": [1, 58]}}},
                {"accept": null}
            ]"#,
        ),
        // Neither the first packet of a connection nor the last word of one.
        Rule::new(
            &format!("tcp flags & (syn | rst | ack) == ack counter name {STRAY}"),
            r#"[
                {"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, [2, 4, 16]]}, "right": 16}},
                {"counter": "stray"}
            ]"#,
        ),
        Rule::new(
            "meta l4proto 6 reject with tcp reset",
            r#"[
                {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": 6}},
                {"reject": {"type": "tcp reset"}}
            ]"#,
        ),
        Rule::new("reject with icmpx port-unreachable", r#"[{"reject": {"type": "icmpx", "expr": 1}}]"#),
    ]
}
