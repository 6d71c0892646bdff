//! Traffic policies, and endpoints that terminate.

use crate::cases::{Site, ingress, service, slice};

const P80: &str = "{name: p80, port: 80}";

/// A Service that has a ClusterIP only.
fn internal(policy: &str) -> String {
    let ports = "ports: [{name: p80, port: 80}]";
    service("web", &format!("clusterIPs: [172.16.30.41], internalTrafficPolicy: {policy}, {ports}"))
}

/// Endpoints `10.0.1.1`, `.2` and so on on these nodes.
fn on_nodes(nodes: &[&str]) -> String {
    let endpoint = |(n, node): (usize, &&str)| format!("addresses: [10.0.1.{}], nodeName: {node}", n + 1);
    let endpoints: Vec<String> = nodes.iter().enumerate().map(endpoint).collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    slice("web-4", "web", P80, &endpoints)
}

/// kube-proxy notes which endpoint is local, so that a pod that reaches itself is masqueraded; here all clients are, by the
/// range.
#[test]
fn case_19_the_internal_policy_cluster() {
    assert_eq!(
        Site::new(&[internal("Cluster"), on_nodes(&["lb1", "host1", "host2"])]).outcome(),
        ["172.16.30.41:80 TCP -> 10.0.1.1:80 10.0.1.2:80 10.0.1.3:80"]
    );
}

/// Clients keep their address where the policy is Local, but for this node's own pods, which the packet filter knows by
/// their range.
#[test]
fn case_20_the_internal_policy_local() {
    assert_eq!(
        Site::new(&[internal("Local"), on_nodes(&["lb1", "host1", "host2"])]).outcome(),
        ["172.16.30.41:80 TCP -> 10.0.1.1:80; keep", "specifics: 172.16.30.41"]
    );
}

/// kube-proxy keeps a virtual server without destinations; here the guard refuses.
#[test]
fn case_21_the_internal_policy_local_without_local_endpoints() {
    let mut site = Site::new(&[internal("Local"), on_nodes(&["host0", "host1", "host2"])]);
    assert_eq!(site.outcome(), Vec::<String>::new());
    assert!(site.is_guarded("172.16.30.41"));
}

/// What is true of an endpoint beside its address and node.
#[derive(Clone, Copy)]
enum Is {
    Ready,
    ServingOnTheWayOut,
    OnTheWayOut,
    Nothing,
}

use Is::{Nothing, OnTheWayOut, Ready, ServingOnTheWayOut};

/// Endpoints `10.0.1.1` to `.5`: what they are, and whether they are on this node. Served on a ClusterIP and on a
/// load-balancer IP.
fn five(policy: &str, endpoints: [(Is, bool); 5]) -> [String; 2] {
    let spec = "type: LoadBalancer, clusterIPs: [172.16.30.41], ports: [{name: p80, port: 80}]";
    let endpoint = |(n, (is, here)): (usize, (Is, bool))| {
        let (ready, serving, terminating) = match is {
            Ready => (true, true, false),
            ServingOnTheWayOut => (false, true, true),
            OnTheWayOut => (false, false, true),
            Nothing => (false, false, false),
        };
        let conditions = format!("{{ready: {ready}, serving: {serving}, terminating: {terminating}}}");
        let node = if here { "lb1" } else { "other" };
        format!("addresses: [10.0.1.{}], nodeName: {node}, conditions: {conditions}", n + 1)
    };
    let endpoints: Vec<String> = endpoints.into_iter().enumerate().map(endpoint).collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    [
        ingress("web", &format!("{spec}, externalTrafficPolicy: {policy}"), "{ip: 1.2.3.4}"),
        slice("web-4", "web", P80, &endpoints),
    ]
}

const SOME_READY: [(Is, bool); 5] =
    [(Ready, true), (Ready, true), (ServingOnTheWayOut, true), (OnTheWayOut, true), (Ready, false)];

#[test]
fn case_22_ready_endpoints_take_all_of_the_traffic() {
    assert_eq!(
        Site::new(&five("Cluster", SOME_READY)).outcome(),
        [
            "1.2.3.4:80 TCP -> 10.0.1.1:80 10.0.1.2:80 10.0.1.5:80; masquerade",
            "172.16.30.41:80 TCP -> 10.0.1.1:80 10.0.1.2:80 10.0.1.5:80",
            "routes: 1.2.3.4",
        ]
    );
}

#[test]
fn case_23_the_same_with_the_external_policy_local() {
    assert_eq!(
        Site::new(&five("Local", SOME_READY)).outcome(),
        [
            "1.2.3.4:80 TCP -> 10.0.1.1:80 10.0.1.2:80; masquerade; keep",
            "172.16.30.41:80 TCP -> 10.0.1.1:80 10.0.1.2:80 10.0.1.5:80",
            "routes: 1.2.3.4",
        ]
    );
}

#[test]
fn case_24_where_none_is_ready_those_that_still_serve_take_it() {
    let endpoints = [
        (ServingOnTheWayOut, true),
        (ServingOnTheWayOut, true),
        (OnTheWayOut, true),
        (ServingOnTheWayOut, false),
        (Nothing, false),
    ];
    assert_eq!(
        Site::new(&five("Cluster", endpoints)).outcome(),
        [
            "1.2.3.4:80 TCP -> 10.0.1.1:80 10.0.1.2:80 10.0.1.4:80; masquerade",
            "172.16.30.41:80 TCP -> 10.0.1.1:80 10.0.1.2:80 10.0.1.4:80",
            "routes: 1.2.3.4",
        ]
    );
}

/// Each scope falls back for itself.
#[test]
fn case_25_the_same_with_the_external_policy_local_and_one_ready_elsewhere() {
    let endpoints = [
        (ServingOnTheWayOut, true),
        (ServingOnTheWayOut, true),
        (OnTheWayOut, true),
        (OnTheWayOut, false),
        (Ready, false),
    ];
    assert_eq!(
        Site::new(&five("Local", endpoints)).outcome(),
        [
            "1.2.3.4:80 TCP -> 10.0.1.1:80 10.0.1.2:80; masquerade; keep",
            "172.16.30.41:80 TCP -> 10.0.1.5:80",
            "routes: 1.2.3.4",
        ]
    );
}
