//! What `nft -j -n list table inet vipcast` says, as a value. Pure.
//!
//! The table was made by `writing`, or by that and somebody's hand. What is recognised becomes a part of the value;
//! everything else, the missing included, becomes a line in [`Table::stray`], so that the value equals no desired one
//! and the table is replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::shape::{
    self, ALLOWED, CLAMP, Chain, DRAINING, FILTERED, GUARD, KEEP, MASQUERADE, NODE_PORTS, PODS, Set, TABLE, TRANSLATE,
};
use crate::model::ipvs::{Protocol, ServerKey};
use crate::model::nft::{Elements, Table};
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
    // What rules vary with follows from these chains; then all rules have to be the ones that follow from it.
    let source = shape::source(found.rules(TRANSLATE).unwrap_or_default());
    let mss = found.rules(CLAMP).map(shape::mss);
    for part in shape::parts(&source, mss) {
        part.chains.iter().for_each(|chain| found.chain(chain));
        part.counters.iter().for_each(|counter| found.counter(counter));
        part.sets.iter().for_each(|set| Family::ALL.into_iter().for_each(|family| found.set(set, family)));
    }
    let table = Table {
        masquerade: found.elements(MASQUERADE, prefix),
        source,
        guard: found.elements(GUARD, prefix),
        pods: found.elements(PODS, prefix),
        mss,
        elements: Elements {
            keep: found.elements(KEEP, |element| server(fields(element)?)),
            masquerade: found.elements(NODE_PORTS, |element| server(fields(element)?)),
            draining: found.elements(DRAINING, |element| server(fields(element)?)),
            sources: found.sources(),
        },
        stray: BTreeSet::new(),
    };
    Ok(Table { stray: found.strays(), ..table })
}

/// The objects of the table that are not accounted for yet.
#[derive(Debug, Default)]
struct Found {
    sets: BTreeMap<String, Map<String, Value>>,
    counters: BTreeSet<String>,
    chains: BTreeMap<String, (Map<String, Value>, Vec<Value>)>,
    /// The elements of the sets that were accounted for, by the name that the sets of both families share.
    elements: BTreeMap<&'static str, Vec<Value>>,
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
            "counter" => {
                self.counters.insert(text("name"));
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

    /// The rules of the chain `name`, if it is there.
    fn rules(&self, name: &str) -> Option<&[Value]> {
        self.chains.get(name).map(|(_, rules)| rules.as_slice())
    }

    /// Accounts for `chain`.
    fn chain(&mut self, chain: &Chain) {
        let name = chain.name;
        let Some((fields, rules)) = self.chains.remove(name) else {
            self.stray.insert(format!("chain {name} is missing"));
            return;
        };
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
        if rules.iter().eq(chain.rules.iter().map(|rule| &rule.listed)) {
            return;
        }
        for rule in rules.iter().filter(|rule| !chain.rules.iter().any(|ours| ours.listed == **rule)) {
            self.stray.insert(format!("rule in chain {name}: {rule}"));
        }
        for rule in chain.rules.iter().filter(|rule| !rules.contains(&rule.listed)) {
            self.stray.insert(format!("rule missing in chain {name}: {}", rule.text));
        }
        self.stray.insert(format!("the rules of chain {name} are not the ones of {TABLE} in their order"));
    }

    /// Accounts for the counter `name`.
    fn counter(&mut self, name: &str) {
        if !self.counters.remove(name) {
            self.stray.insert(format!("counter {name} is missing"));
        }
    }

    /// Accounts for the set of `family`, its elements apart.
    fn set(&mut self, set: &Set, family: Family) {
        let name = set.of(family);
        let Some(mut fields) = self.sets.remove(&name) else {
            self.stray.insert(format!("set {name} is missing"));
            return;
        };
        if let Some(Value::Array(elements)) = fields.remove("elem") {
            self.elements.entry(set.name).or_default().extend(elements);
        }
        let kind: Option<Vec<&str>> = match fields.get("type") {
            Some(Value::String(only)) => Some(vec![only]),
            Some(Value::Array(several)) => several.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let flags = set.kind.interval().then(|| Value::from("interval"));
        let plain = kind == Some(set.kind.fields(family))
            && fields.get("flags").map(single) == flags.as_ref()
            && !["timeout", "map", "auto-merge"].iter().any(|key| fields.contains_key(*key));
        if !plain {
            self.stray.insert(format!("set {name} is of another kind"));
        }
    }

    /// The elements of both sets `name` that `read` understands.
    fn elements<T: Ord>(&mut self, name: &str, read: impl Fn(&Value) -> Option<T>) -> BTreeSet<T> {
        let mut understood = BTreeSet::new();
        for element in self.elements.remove(name).unwrap_or_default() {
            match read(&element) {
                Some(value) => {
                    understood.insert(value);
                }
                None => {
                    self.stray.insert(format!("element of set {name}: {element}"));
                }
            }
        }
        understood
    }

    /// Which clients get through to which virtual servers.
    fn sources(&mut self) -> BTreeMap<ServerKey, BTreeSet<Prefix>> {
        let filtered = self.elements(FILTERED, |element| server(fields(element)?));
        let mut sources: BTreeMap<ServerKey, BTreeSet<Prefix>> =
            filtered.into_iter().map(|key| (key, BTreeSet::new())).collect();
        let client = |element: &Value| {
            let (source, key) = fields(element)?.split_last()?;
            Some((server(key)?, prefix(source)?))
        };
        for (key, source) in self.elements(ALLOWED, client) {
            match sources.get_mut(&key) {
                Some(prefixes) => {
                    prefixes.insert(source);
                }
                None => {
                    self.stray.insert(format!("{source} is allowed to {key}, which is not filtered"));
                }
            }
        }
        sources
    }

    /// What is not accounted for.
    fn strays(mut self) -> BTreeSet<String> {
        self.stray.extend(self.sets.keys().map(|name| format!("set {name}")));
        self.stray.extend(self.counters.iter().map(|name| format!("counter {name}")));
        self.stray.extend(self.chains.keys().map(|name| format!("chain {name}")));
        self.stray
    }
}

/// The fields of an element of a set of concatenations.
fn fields(element: &Value) -> Option<&[Value]> {
    element.get("concat")?.as_array().map(Vec::as_slice)
}

/// A virtual server: address, protocol and port.
fn server(fields: &[Value]) -> Option<ServerKey> {
    let [address, protocol, port] = fields else { return None };
    Some(ServerKey {
        address: address.as_str()?.parse().ok()?,
        protocol: Protocol::from_number(canonical(protocol).as_u64()?.try_into().ok()?)?,
        port: port.as_u64()?.try_into().ok()?,
    })
}

/// A prefix: an address, or an object with a prefix.
pub(super) fn prefix(element: &Value) -> Option<Prefix> {
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
            "fin" | "icmp" | "reply" | "port-unreachable" => Value::from(1),
            "syn" | "ipv4" => Value::from(2),
            "rst" => Value::from(4),
            "tcp" => Value::from(6),
            "new" => Value::from(8),
            "ipv6" => Value::from(10),
            "ack" => Value::from(16),
            "udp" => Value::from(17),
            "ipv6-icmp" | "icmpv6" => Value::from(58),
            "sctp" => Value::from(132),
            // An address can be spelled in several ways.
            text => text.parse::<IpAddr>().map_or_else(|_| value.clone(), |address| address.to_string().into()),
        },
        Value::Array(values) => Value::Array(values.iter().map(canonical).collect()),
        Value::Object(fields) => match fields.get("|").and_then(Value::as_array) {
            Some(flags) if fields.len() == 1 => Value::Array(flatten(flags)),
            _ => Value::Object(fields.iter().map(|(key, value)| field(key, value)).collect()),
        },
        _ => value.clone(),
    }
}

/// Flags that are set together, which some versions list as a list and others as an operation on two at a time.
fn flatten(flags: &[Value]) -> Vec<Value> {
    let mut flat: Vec<Value> = Vec::new();
    for flag in flags.iter().map(canonical) {
        match flag {
            Value::Array(several) => flat.extend(several),
            one => flat.push(one),
        }
    }
    flat.sort_by_key(Value::as_u64);
    flat
}

fn field(key: &str, value: &Value) -> (String, Value) {
    // Whose header a field is of, rather than a number in one.
    if key == "protocol" {
        return (key.to_owned(), value.clone());
    }
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
