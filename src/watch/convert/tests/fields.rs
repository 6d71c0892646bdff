//! The table of honoured fields, held against what conversion does.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::watch::convert::fields::{FIELDS, Field};

/// An object in which every field counts.
fn example(kind: Kind) -> Value {
    match kind {
        Kind::Service => json!({
            "metadata": {"name": "web", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {}},
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.1", "externalIPs": ["192.0.2.1"],
                "ports": [{"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080, "targetPort": 8080}],
                "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}},
                "healthCheckNodePort": 30100,
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}]}},
        }),
        Kind::EndpointSlice => json!({
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
            "endpoints": [{"addresses": ["10.1.0.1"], "conditions": {}, "hints": {}}],
        }),
        Kind::Node => json!({
            "metadata": {"name": "lb1", "labels": {}}, "spec": {"podCIDR": "10.244.1.0/24", "taints": [{"key": "a/b", "effect": "NoSchedule"}]},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "10.0.1.2"}],
                "conditions": [{"type": "Ready", "status": "False", "message": "not yet"}],
            },
        }),
        Kind::ServiceCidr => json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16"]}}),
    }
}

/// `example` with another value at `path`, where `[]` is the first element of a list.
fn with(mut example: Value, path: &str, value: Value) -> Value {
    let mut place = &mut example;
    for step in path.split('.') {
        let (name, is_list) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
        place = &mut place[name];
        if is_list {
            place = &mut place[0];
        }
    }
    *place = value;
    example
}

/// Every field of the table, with a value that has to make a difference.
fn others() -> Vec<(Kind, &'static str, Value)> {
    let service = |path, value| (Kind::Service, path, value);
    let slice = |path, value| (Kind::EndpointSlice, path, value);
    vec![
        service("metadata.creationTimestamp", json!("2026-01-01T00:00:01Z")),
        service("metadata.uid", json!("2")),
        service("metadata.labels", json!({"service.kubernetes.io/headless": ""})),
        service("metadata.annotations", json!({"vipcast.io/scheduler": "mh"})),
        service("spec.type", json!("NodePort")),
        service("spec.clusterIP", json!("10.96.0.2")),
        service("spec.clusterIPs", json!(["10.96.0.2"])),
        service("spec.externalIPs", json!([])),
        service("spec.ports[].name", json!("https")),
        service("spec.ports[].protocol", json!("UDP")),
        service("spec.ports[].port", json!(81)),
        service("spec.ports[].nodePort", json!(30081)),
        service("spec.internalTrafficPolicy", json!("Local")),
        service("spec.externalTrafficPolicy", json!("Cluster")),
        service("spec.sessionAffinity", json!("None")),
        service("spec.sessionAffinityConfig.clientIP.timeoutSeconds", json!(6)),
        service("spec.loadBalancerSourceRanges", json!(["10.0.0.0/8"])),
        service("spec.healthCheckNodePort", json!(30101)),
        service("status.loadBalancer.ingress[].ip", json!("192.0.2.3")),
        service("status.loadBalancer.ingress[].ipMode", json!("Proxy")),
        slice("metadata.labels", json!({"kubernetes.io/service-name": "other"})),
        slice("addressType", json!("FQDN")),
        slice("ports[].name", json!("https")),
        slice("ports[].protocol", json!("UDP")),
        slice("ports[].port", json!(8081)),
        slice("endpoints[].addresses", json!(["10.1.0.2"])),
        slice("endpoints[].conditions.ready", json!(false)),
        slice("endpoints[].conditions.serving", json!(false)),
        slice("endpoints[].conditions.terminating", json!(true)),
        slice("endpoints[].nodeName", json!("w1")),
        slice("endpoints[].zone", json!("a")),
        slice("endpoints[].hints.forNodes", json!([{"name": "w1"}])),
        slice("endpoints[].hints.forZones", json!([{"name": "a"}])),
        (Kind::Node, "metadata.labels", json!({"role": "lb"})),
        (Kind::Node, "metadata.annotations", json!({"vipcast.io/asn": "65009"})),
        (Kind::Node, "spec.podCIDRs", json!(["10.244.2.0/24"])),
        (Kind::Node, "spec.podCIDR", json!("10.244.2.0/24")),
        (Kind::Node, "spec.taints[]", json!({"key": "a/b", "effect": "NoExecute"})),
        (Kind::Node, "status.addresses[].address", json!("10.0.1.3")),
        (Kind::Node, "status.conditions[].message", json!("node is shutting down")),
        (Kind::ServiceCidr, "spec.cidrs", json!(["10.97.0.0/16"])),
    ]
}

#[test]
fn every_field_of_the_table_makes_a_difference_and_no_other_is_tried() {
    let mut tried = BTreeSet::new();
    for (kind, path, value) in others() {
        let plain = from_value(kind, example(kind));
        assert!(matches!(plain, Reading::Good(_)), "{kind:?}: {plain:?}");
        let other = from_value(kind, with(example(kind), path, value));
        assert!(matches!(other, Reading::Good(_) | Reading::Ignored), "{kind:?} {path}: {other:?}");
        assert_ne!(plain, other, "{kind:?} {path}");
        tried.insert((kind, path));
    }
    let table: BTreeSet<_> = FIELDS.iter().map(|field| (field.kind, field.path)).collect();
    assert_eq!(table.len(), FIELDS.len(), "each path once");
    assert_eq!(table, tried);
}

#[test]
fn fields_that_are_not_in_the_table_change_nothing() {
    let cases = [
        (Kind::Service, "metadata.annotations", json!({"example.org/owner": "x"})),
        (Kind::Service, "metadata.resourceVersion", json!("2")),
        (Kind::Service, "spec.selector", json!({"app": "x"})),
        (Kind::Service, "spec.ports[].targetPort", json!(9090)),
        (Kind::Service, "spec.ports[].appProtocol", json!("http")),
        (Kind::Service, "spec.publishNotReadyAddresses", json!(true)),
        (Kind::Service, "spec.trafficDistribution", json!("PreferClose")),
        (Kind::Service, "spec.loadBalancerIP", json!("192.0.2.9")),
        (Kind::Service, "spec.loadBalancerClass", json!("example.org/x")),
        (Kind::Service, "spec.allocateLoadBalancerNodePorts", json!(false)),
        (Kind::Service, "spec.ipFamilyPolicy", json!("SingleStack")),
        (Kind::Service, "status.loadBalancer.ingress[].hostname", json!("lb.example.org")),
        (Kind::EndpointSlice, "endpoints[].hostname", json!("web-1")),
        (Kind::EndpointSlice, "endpoints[].targetRef", json!({"kind": "Pod", "name": "web-1"})),
        (Kind::EndpointSlice, "ports[].appProtocol", json!("http")),
        (Kind::Node, "spec.unschedulable", json!(true)),
        (Kind::Node, "status.conditions[].lastHeartbeatTime", json!("2026-01-01T00:00:00Z")),
        (Kind::Node, "status.images", json!([{"names": ["x"], "sizeBytes": 1}])),
    ];
    for (kind, path, value) in cases {
        let table = |field: &&Field| field.kind == kind && field.path == path;
        assert!(path == "metadata.annotations" || FIELDS.iter().find(table).is_none(), "{path}");
        let other = from_value(kind, with(example(kind), path, value));
        assert_eq!(from_value(kind, example(kind)), other, "{kind:?} {path}");
    }
}
