//! What `nft -j -n list table inet vipcast` says, as a value. Pure.
//!
//! The table was made by `writing`, or by that and somebody's hand. What is recognised becomes a part of the value;
//! everything else, the missing included, becomes a line in [`Table::stray`], so that the value equals no desired one
//! and the table is replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::shape::{Chain, GUARD, MASQUERADE, Part, TABLE, set_type};
use crate::model::nft::Table;
use crate::model::{Family, Prefix};

/// Reads a listing.
///
/// # Errors
/// In words, when it is no listing of nftables.
pub(super) fn table(json: &str) -> Result<Table, String> {
    let listing: Value = serde_json::from_str(json).map_err(|error| format!("nft did not answer in JSON: {error}"))?;
    let objects = listing.get("nftables").and_then(Value::as_array).ok_or("nft's answer holds no list `nftables`")?;
    let mut found = Found::default();
    for object in objects.iter().filter_map(Value::as_object).flatten() {
        found.take(object.0, object.1);
    }
    let mut table = Table {
        masquerade: found.part(&MASQUERADE),
        guard: found.part(&GUARD),
        stray: std::mem::take(&mut found.stray),
        ..Table::default()
    };
    table.stray.extend(found.sets.keys().map(|name| format!("set {name}")));
    table.stray.extend(found.chains.keys().map(|name| format!("chain {name}")));
    Ok(table)
}

/// The objects of the table that are not accounted for yet.
#[derive(Debug, Default)]
struct Found {
    sets: BTreeMap<String, Map<String, Value>>,
    chains: BTreeMap<String, (Map<String, Value>, Vec<Value>)>,
    stray: BTreeSet<String>,
}

impl Found {
    fn take(&mut self, kind: &str, object: &Value) {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let fields = object.as_object().cloned().unwrap_or_default();
        match kind {
            "metainfo" => {}
            "table" => {
                // `dormant` switches the table off.
                if let Some(flags) = fields.get("flags") {
                    self.stray.insert(format!("flags of the table: {flags}"));
                }
            }
            "set" => {
                self.sets.insert(text("name"), fields);
            }
            "chain" => {
                self.chains.entry(text("name")).or_default().0 = fields;
            }
            // Rules come in their order within their chain.
            "rule" => {
                let expressions = canonical(fields.get("expr").unwrap_or(&Value::Null));
                self.chains.entry(text("chain")).or_default().1.push(expressions);
            }
            other => {
                self.stray.insert(format!("{other} {}", text("name")));
            }
        }
    }

    /// Accounts for what is there of `part`; the ranges that it covers.
    fn part(&mut self, part: &Part) -> BTreeSet<Prefix> {
        let sets = Family::ALL.map(|family| (family, part.set(family)));
        let present = part.chains.iter().any(|chain| self.chains.contains_key(chain.name))
            || sets.iter().any(|(_, name)| self.sets.contains_key(name));
        let mut ranges = BTreeSet::new();
        if !present {
            return ranges;
        }
        for chain in part.chains {
            match self.chains.remove(chain.name) {
                Some((fields, rules)) => self.chain(chain, &fields, &rules),
                None => {
                    self.stray.insert(format!("chain {} is missing", chain.name));
                }
            }
        }
        for (family, name) in sets {
            match self.sets.remove(&name) {
                Some(fields) => self.set(family, &name, &fields, &mut ranges),
                None => {
                    self.stray.insert(format!("set {name} is missing"));
                }
            }
        }
        // Such a part is left out when the table is written.
        if ranges.is_empty() {
            self.stray.insert(format!("the part {} covers nothing", part.name));
        }
        ranges
    }

    fn chain(&mut self, chain: &Chain, fields: &Map<String, Value>, rules: &[Value]) {
        let name = chain.name;
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        let placed = match &chain.hook {
            Some(hook) => {
                text("type") == Some(hook.kind)
                    && text("hook") == Some(hook.hook)
                    && fields.get("prio").and_then(Value::as_i64) == Some(hook.priority)
                    && text("policy").unwrap_or("accept") == "accept"
            }
            None => !fields.contains_key("hook"),
        };
        if !placed {
            let place: Vec<String> = ["type", "hook", "prio", "policy"]
                .iter()
                .filter_map(|key| fields.get(*key).map(|value| format!("{key} {value}")))
                .collect();
            self.stray.insert(format!("chain {name} is in another place: {}", place.join(" ")));
        }
        let expected: Vec<Value> =
            chain.rules.iter().map(|rule| serde_json::from_str(rule.listed).unwrap_or_default()).collect();
        if rules == expected {
            return;
        }
        for rule in rules.iter().filter(|rule| !expected.contains(rule)) {
            self.stray.insert(format!("rule in chain {name}: {rule}"));
        }
        for (rule, _) in chain.rules.iter().zip(&expected).filter(|(_, listed)| !rules.contains(listed)) {
            self.stray.insert(format!("rule missing in chain {name}: {}", rule.text));
        }
        self.stray.insert(format!("the rules of chain {name} are not the ones of {TABLE} in their order"));
    }

    fn set(&mut self, family: Family, name: &str, fields: &Map<String, Value>, ranges: &mut BTreeSet<Prefix>) {
        let plain = fields.get("type").and_then(Value::as_str) == Some(set_type(family))
            && fields.get("flags").map(single) == Some(&Value::from("interval"))
            && !["timeout", "map", "auto-merge"].iter().any(|key| fields.contains_key(*key));
        if !plain {
            self.stray.insert(format!("set {name} is of another kind"));
        }
        for element in fields.get("elem").and_then(Value::as_array).into_iter().flatten() {
            match prefix(element) {
                Some(range) => {
                    ranges.insert(range);
                }
                None => {
                    self.stray.insert(format!("element of set {name}: {element}"));
                }
            }
        }
    }
}

/// An element of a set: an address, or an object with a prefix.
fn prefix(element: &Value) -> Option<Prefix> {
    if let Some(address) = element.as_str() {
        return Some(Prefix::host(address.parse().ok()?));
    }
    let prefix = element.get("prefix")?;
    let address: IpAddr = prefix.get("addr")?.as_str()?.parse().ok()?;
    let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
    Prefix::containing(address, length).filter(|prefix| prefix.address() == address)
}

/// The value, or the only one of an array of one: versions of nft differ in how they list a single flag.
fn single(value: &Value) -> &Value {
    match value.as_array().map(Vec::as_slice) {
        Some([only]) => only,
        _ => value,
    }
}

/// Expressions in the spelling of `shape`, whatever of its spellings the version of nft prefers.
fn canonical(value: &Value) -> Value {
    match value {
        Value::String(name) => match name.as_str() {
            "icmp" | "reply" | "port-unreachable" => Value::from(1),
            "tcp" => Value::from(6),
            "ipv6-icmp" | "icmpv6" => Value::from(58),
            _ => value.clone(),
        },
        Value::Array(values) => Value::Array(values.iter().map(canonical).collect()),
        Value::Object(fields) => Value::Object(fields.iter().map(|(key, value)| field(key, value)).collect()),
        _ => value.clone(),
    }
}

fn field(key: &str, value: &Value) -> (String, Value) {
    let mut value = canonical(value);
    match (key, &mut value) {
        ("set", Value::Array(members)) => members.sort_by_key(Value::as_u64),
        ("flags", _) => value = single(&value).clone(),
        // Without a word about it, a packet is refused like this.
        ("reject", Value::Null) => value = serde_json::json!({"type": "icmpx", "expr": 1}),
        _ => {}
    }
    (key.to_owned(), value)
}

#[cfg(test)]
mod tests;
