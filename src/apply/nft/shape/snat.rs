//! Source addresses. Replies come back through this node because the client's address is replaced by one of the node's.
//! IPVS leaves a connection's original destination in conntrack, so that is where the VIP is.

use std::fmt::Display;
use std::net::IpAddr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Chain, Hook, KEEP, Kind, MASQUERADE, NODE_PORTS, PODS, Part, Rule, Set, Words};
use crate::apply::nft::listing::prefix;
use crate::model::nft::Source;
use crate::model::{Family, Prefix};

/// The chain that says what a client's address becomes.
pub(in crate::apply::nft) const TRANSLATE: &str = "translate";

pub(super) fn part(source: &Source) -> Part {
    Part {
        sets: &[
            Set { name: MASQUERADE, kind: Kind::Ranges },
            Set { name: PODS, kind: Kind::Ranges },
            Set { name: KEEP, kind: Kind::Servers },
            Set { name: NODE_PORTS, kind: Kind::Servers },
        ],
        counters: &[],
        chains: vec![
            Chain { name: TRANSLATE, hook: None, rules: Family::ALL.map(|family| translation(family, source)).into() },
            Chain {
                name: "postrouting",
                // Before iptables' chain at 100: what is bound here is passed over there, the classic rule included.
                hook: Some(Hook { kind: "nat", hook: "postrouting", priority: 99 }),
                rules: [keep(), masquerade(), node_ports()].into_iter().flatten().collect(),
            },
        ],
    }
}

/// Binding a connection to the address that it has, rather than just leaving the chain, keeps every other chain from
/// translating it.
fn keep() -> Vec<Rule> {
    Rule::of_each_protocol(
        "meta l4proto {protocol} ct original {ip} daddr . meta l4proto . ct original proto-dst @keep{n} \
         {ip} saddr != @pods{n} snat {ip} to {ip} saddr",
        r#"[
            {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {protocol}}},
            {"match": {"op": "==", "left": {"concat": [
                {"ct": {"key": "{ip} daddr", "dir": "original"}},
                {"meta": {"key": "l4proto"}},
                {"ct": {"key": "proto-dst", "dir": "original"}}
            ]}, "right": "@keep{n}"}},
            {"match": {"op": "!=", "left": {"payload": {"protocol": "{ip}", "field": "saddr"}}, "right": "@pods{n}"}},
            {"snat": {"family": "{ip}", "addr": {"payload": {"protocol": "{ip}", "field": "saddr"}}}}
        ]"#,
    )
}

/// A packet that still has a VIP as its destination was routed directly and keeps its source.
fn masquerade() -> Vec<Rule> {
    Rule::of_each(
        "ct original {ip} daddr @masquerade{n} {ip} daddr != @masquerade{n} goto translate",
        r#"[
            {"match": {"op": "==", "left": {"ct": {"key": "{ip} daddr", "dir": "original"}}, "right": "@masquerade{n}"}},
            {"match": {"op": "!=", "left": {"payload": {"protocol": "{ip}", "field": "daddr"}}, "right": "@masquerade{n}"}},
            {"goto": {"target": "translate"}}
        ]"#,
    )
}

fn node_ports() -> Vec<Rule> {
    Rule::of_each_protocol(
        "meta l4proto {protocol} ct original {ip} daddr . meta l4proto . ct original proto-dst @nodeports{n} \
         goto translate",
        r#"[
            {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {protocol}}},
            {"match": {"op": "==", "left": {"concat": [
                {"ct": {"key": "{ip} daddr", "dir": "original"}},
                {"meta": {"key": "l4proto"}},
                {"ct": {"key": "proto-dst", "dir": "original"}}
            ]}, "right": "@nodeports{n}"}},
            {"goto": {"target": "translate"}}
        ]"#,
    )
}

/// Fully random: two CPUs that pick the same port for two connections at once lose one of them.
fn translation(family: Family, source: &Source) -> Rule {
    let words = Words::of(family);
    let mut text = format!("meta nfproto {}", words.number);
    let mut listed = vec![json!({"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": words.number}})];
    if source.ports.is_some() {
        // Only these have ports: without it, nft takes none.
        text.push_str(" meta l4proto { 6, 17, 132 }");
        listed
            .push(json!({"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": [6, 17, 132]}}}));
    }
    let mut statement = json!({"flags": "fully-random"});
    let mut ports = String::new();
    if let Some((first, last)) = source.ports {
        ports = format!(":{}", span(first, last));
        statement["port"] = range(first, last);
    }
    match source.pool.get(&family) {
        Some((first, last)) => {
            statement["family"] = words.rules.into();
            statement["addr"] = addresses(*first, *last);
            let pool = span(bracketed(first), bracketed(last));
            text.push_str(&format!(" snat {} to {pool}{ports} fully-random", words.rules));
            listed.push(json!({"snat": statement}));
        }
        None => {
            let ports = if ports.is_empty() { ports } else { format!(" to {ports}") };
            text.push_str(&format!(" masquerade{ports} fully-random"));
            listed.push(json!({"masquerade": statement}));
        }
    }
    Rule { text, listed: Value::Array(listed) }
}

/// A range as nft takes it: one of a single value is that value.
fn span<T: PartialEq + Display>(first: T, last: T) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// The same as nft lists it.
fn range<T: PartialEq + Serialize>(first: T, last: T) -> Value {
    if first == last { json!(first) } else { json!({"range": [first, last]}) }
}

/// A range of addresses as nft lists it: by its prefix, if it is one.
fn addresses(first: IpAddr, last: IpAddr) -> Value {
    match Prefix::spanning(first, last).as_slice() {
        [prefix] if !prefix.is_host() => json!({"prefix": {"addr": first, "len": prefix.length()}}),
        _ => range(first, last),
    }
}

/// The first and the last value of a range that nft lists.
fn ends<T: DeserializeOwned>(listed: &Value) -> Option<(T, T)> {
    let read = |value: &Value| serde_json::from_value(value.clone()).ok();
    match listed.get("range").map_or(std::slice::from_ref(listed), |ends| ends.as_array().map_or(&[], Vec::as_slice)) {
        [only] => Some((read(only)?, read(only)?)),
        [first, last] => Some((read(first)?, read(last)?)),
        _ => None,
    }
}

/// An IPv6 address has colons of its own.
fn bracketed(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The source that the rules of the chain [`TRANSLATE`] were written for, as they are listed; any, if they were not
/// written by us.
pub(in crate::apply::nft) fn source(rules: &[Value]) -> Source {
    let mut source = Source::default();
    // The last expression of a rule is its statement: an object whose only value are the parameters.
    let statement = |rule: &'_ Value| rule.as_array()?.last()?.as_object()?.values().next().cloned();
    for parameters in rules.iter().filter_map(statement) {
        let of_prefix = |listed| prefix(listed).map(|prefix| (prefix.address(), prefix.last()));
        let pool = parameters.get("addr").and_then(|listed| ends::<IpAddr>(listed).or_else(|| of_prefix(listed)));
        if let Some((first, last)) = pool {
            source.pool.insert(Family::of(first), (first, last));
        }
        if let Some(ports) = parameters.get("port").and_then(ends) {
            source.ports = Some(ports);
        }
    }
    source
}
