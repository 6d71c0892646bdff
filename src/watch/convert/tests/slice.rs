//! What is said of endpoints besides their address.

use super::*;
use crate::model::service::Hints;

/// The endpoints of a slice, each of which has these fields besides its address.
fn endpoints(fields: &[&str]) -> Vec<Endpoint> {
    let endpoint = |(i, fields): (usize, &&str)| format!("{{addresses: [10.1.0.{}], {fields}}}", i + 1);
    let all: Vec<String> = fields.iter().enumerate().map(endpoint).collect();
    match slice(&format!("addressType: IPv4, endpoints: [{}]", all.join(", "))) {
        Reading::Good(Object::Slice(_, slice)) => slice.endpoints,
        other => panic!("{fields:?}: {other:?}"),
    }
}

#[test]
fn conditions_and_their_defaults() {
    let cases = [
        ("", (true, true, false)),
        ("conditions: ~", (true, true, false)),
        ("conditions: {}", (true, true, false)),
        ("conditions: {ready: true}", (true, true, false)),
        ("conditions: {ready: ~, serving: ~, terminating: ~}", (true, true, false)),
        ("conditions: {ready: false}", (false, true, false)),
        ("conditions: {ready: false, serving: false}", (false, false, false)),
        ("conditions: {ready: false, terminating: true}", (false, true, true)),
        ("conditions: {ready: false, serving: true, terminating: true}", (false, true, true)),
        // With publishNotReadyAddresses.
        ("conditions: {ready: true, serving: false, terminating: true}", (true, false, true)),
    ];
    for (fields, expected) in cases {
        let found = &endpoints(&[fields])[0];
        assert_eq!((found.ready, found.serving, found.terminating), expected, "{fields}");
    }
}

#[test]
fn nodes_zones_and_hints() {
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<Arc<str>>>();
    let hints = |nodes: &[&str], zones: &[&str]| Some(Arc::new(Hints { nodes: names(nodes), zones: names(zones) }));
    let cases = [
        ("", None, None, None),
        ("nodeName: w1, zone: a", Some("w1"), Some("a"), None),
        ("nodeName: '', zone: ''", None, None, None),
        ("hints: {}", None, None, None),
        ("hints: {forZones: []}", None, None, None),
        ("hints: {forZones: [{name: ''}]}", None, None, None),
        ("hints: {forZones: [{name: a}, {name: b}]}", None, None, hints(&[], &["a", "b"])),
        ("hints: {forNodes: [{name: w1}], forZones: [{name: a}]}", None, None, hints(&["w1"], &["a"])),
    ];
    for (fields, node, zone, hints) in cases {
        let found = &endpoints(&[fields])[0];
        assert_eq!((found.node.as_deref(), found.zone.as_deref(), &found.hints), (node, zone, &hints), "{fields}");
    }
}

/// A slice has up to 1000 endpoints, on few nodes in fewer zones.
#[test]
fn what_endpoints_have_in_common_is_kept_once() {
    let same = "nodeName: w1, zone: a, hints: {forZones: [{name: a}]}";
    let all = endpoints(&[same, "nodeName: w2, zone: a, hints: {forZones: [{name: b}]}", same]);
    let [first, second, third] = all.as_slice() else { panic!("{all:?}") };
    let is_shared = |one: &Option<Arc<str>>, other: &Option<Arc<str>>| {
        one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other)) && one.is_some() && other.is_some()
    };
    assert!(is_shared(&first.node, &third.node) && is_shared(&first.zone, &second.zone));
    assert!(!is_shared(&first.node, &second.node));
    assert!(Arc::ptr_eq(first.hints.as_ref().unwrap(), third.hints.as_ref().unwrap()));
    assert!(Arc::ptr_eq(&first.hints.as_ref().unwrap().zones[0], first.zone.as_ref().unwrap()));
}
