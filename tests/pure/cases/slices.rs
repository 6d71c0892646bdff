//! EndpointSlices: several of a Service, their ports, and their hints.

use crate::cases::{Site, node, service, site, slice};

const P80: &str = "{name: p80, port: 80}";

fn web() -> String {
    service("web", "clusterIPs: [172.16.30.41], ports: [{name: p80, port: 80}]")
}

/// kube-proxy's cases of slices that overlap have both under one name, so they show that one replaces the other. Here they
/// overlap: an endpoint in several slices is one, and the slice that promises most says what it is.
#[test]
fn case_37_slices_add_up() {
    let eps = |name, endpoints: &[&str]| slice(name, "web", P80, endpoints);
    let (one, two) = ("addresses: [10.0.1.1]", "addresses: [10.0.1.2]");
    let gone = "addresses: [10.0.1.1], conditions: {ready: false}";
    let cases: Vec<(&str, Vec<String>, Vec<&str>)> = vec![
        ("disjoint", vec![eps("a", &[one]), eps("b", &[two])], vec!["172.16.30.41:80 TCP -> 10.0.1.1:80 10.0.1.2:80"]),
        (
            "overlapping",
            vec![eps("a", &[one, two]), eps("b", &[two])],
            vec!["172.16.30.41:80 TCP -> 10.0.1.1:80 10.0.1.2:80"],
        ),
        ("ready in one of them", vec![eps("a", &[gone]), eps("b", &[one])], vec!["172.16.30.41:80 TCP -> 10.0.1.1:80"]),
        (
            "one takes the place of another of its name",
            vec![eps("a", &[one]), eps("a", &[two])],
            vec!["172.16.30.41:80 TCP -> 10.0.1.2:80"],
        ),
        ("a port without a number", vec![slice("a", "web", "{name: p80}", &[one])], vec![]),
        ("no ports", vec![slice("a", "web", "", &[one])], vec![]),
        (
            "a port name that stands for two numbers",
            vec![slice("a", "web", P80, &[one, two]), slice("b", "web", "{name: p80, port: 8080}", &[one, two])],
            vec!["172.16.30.41:80 TCP -> 10.0.1.1:80 10.0.1.1:8080 10.0.1.2:80 10.0.1.2:8080"],
        ),
        (
            "the same endpoint under the names of two ports",
            vec![slice("a", "web", "{name: p80, port: 80}, {name: p81, port: 81}", &[one])],
            vec!["172.16.30.41:80 TCP -> 10.0.1.1:80"],
        ),
    ];
    for (what, slices, expected) in cases {
        let objects: Vec<String> = std::iter::once(web()).chain(slices).collect();
        assert_eq!(Site::new(&objects).outcome(), expected, "{what}");
    }
}

/// An endpoint of case 38: whose traffic it takes (zones, then nodes), whether it is ready, whether it is on this node.
#[derive(Clone, Copy, Default)]
struct Hinted<'a> {
    zones: &'a str,
    nodes: &'a str,
    unready: bool,
    here: bool,
}

/// Which of the endpoints get the traffic to each VIP that has one, on a node in this zone; 1 is the first.
fn chosen(zone: &str, policies: &str, endpoints: &[Hinted]) -> Vec<String> {
    let names = |names: &str| names.split_whitespace().map(|name| format!("{{name: {name}}}")).collect::<Vec<_>>();
    let endpoint = |(n, found): (usize, &Hinted)| {
        let (zones, nodes) = (names(found.zones).join(", "), names(found.nodes).join(", "));
        let node = if found.here { "lb1" } else { "other" };
        format!(
            "addresses: [10.0.1.{}], nodeName: {node}, conditions: {{ready: {}}}, \
             hints: {{forZones: [{zones}], forNodes: [{nodes}]}}",
            n + 1,
            !found.unready
        )
    };
    let endpoints: Vec<String> = endpoints.iter().enumerate().map(endpoint).collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let spec = format!("clusterIPs: [172.16.30.41], ports: [{{name: p80, port: 80}}], {policies}");
    let mut settings = site();
    settings.dataplane.topology_hints = true;
    let objects =
        [service("web", &spec), slice("web-4", "web", P80, &endpoints), node("lb1", zone, &["100.101.102.103"])];
    let mut site = Site::with(settings, &objects);
    site.outcome();
    let servers = site.rig.node.state.ipvs.values();
    let last = |address: std::net::IpAddr| address.to_string().rsplit('.').next().unwrap().to_owned();
    servers
        .map(|server| server.destinations.keys().map(|name| last(name.address)).collect::<Vec<_>>().join(" "))
        .collect()
}

/// Hints name the client's zone, and clients behind a ToR have none: they are followed only where the operator or the
/// Service asks for it (`dataplane.topologyHints`, `vipcast.io/topology-hints`).
#[test]
fn case_38_topology_hints() {
    const EXTERNAL: &str = "externalIPs: [50.60.70.81], externalTrafficPolicy: Local";
    let zone = |zones| Hinted { zones, ..Hinted::default() };
    let node = |nodes| Hinted { nodes, ..Hinted::default() };
    let both = |zones, nodes| Hinted { zones, nodes, ..Hinted::default() };
    let unready = |zones| Hinted { zones, unready: true, ..Hinted::default() };
    let here = |zones| Hinted { zones, here: true, ..Hinted::default() };
    type Case = (&'static str, &'static str, &'static str, Vec<Hinted<'static>>, Vec<&'static str>);
    let cases: Vec<Case> = vec![
        ("mine and others'", "a", "", vec![zone("a"), zone("b"), zone("c"), zone("a")], vec!["1 4"]),
        ("several zones in a hint", "a", "", vec![zone("a b"), zone("b c"), zone("c")], vec!["1"]),
        ("one has none", "a", "", vec![zone("a"), zone("b"), zone(""), zone("a")], vec!["1 2 3 4"]),
        ("the one that has none is not ready", "a", "", vec![zone("a"), zone("b"), unready("")], vec!["1"]),
        ("mine is not ready", "a", "", vec![unready("a"), zone("b"), zone("c")], vec!["2 3"]),
        ("none is mine", "d", "", vec![zone("a"), zone("b"), zone("c")], vec!["1 2 3"]),
        ("no zone of mine", "''", "", vec![zone("a"), zone("b")], vec!["1 2"]),
        ("nodes come first", "a", "", vec![both("a", "other"), both("b", "lb1")], vec!["2"]),
        ("no node is meant", "a", "", vec![both("a", "other"), both("b", "other")], vec!["1"]),
        ("one names no node", "a", "", vec![both("a", "lb1"), zone("b")], vec!["1"]),
        ("nodes alone, and none is mine", "a", "", vec![node("other"), node("third")], vec!["1 2"]),
        (
            "the external policy Local minds no zones, the ClusterIP does",
            "a",
            EXTERNAL,
            vec![zone("a"), here("b"), here("c")],
            vec!["2 3", "1"],
        ),
        (
            "the internal policy Local minds none either",
            "a",
            "internalTrafficPolicy: Local",
            vec![zone("a"), here("b")],
            vec!["2"],
        ),
        (
            "the external policy means nothing where nothing is external",
            "a",
            "externalTrafficPolicy: Local",
            vec![zone("a"), here("b")],
            vec!["1"],
        ),
    ];
    for (what, of, policies, endpoints, expected) in cases {
        assert_eq!(chosen(of, policies, &endpoints), expected, "{what}");
    }
}

/// As an operator has it who says nothing of hints.
#[test]
fn hints_are_followed_only_where_somebody_asks_for_it() {
    let eps = || {
        let hinted = |n, zone| format!("addresses: [10.0.1.{n}], hints: {{forZones: [{{name: {zone}}}]}}");
        let (one, two) = (hinted(1, "a"), hinted(2, "b"));
        slice("web-4", "web", P80, &[&one, &two])
    };
    let all = ["172.16.30.41:80 TCP -> 10.0.1.1:80 10.0.1.2:80"];
    let mine = ["172.16.30.41:80 TCP -> 10.0.1.1:80"];
    let in_a = || node("lb1", "a", &["100.101.102.103"]);
    assert_eq!(Site::new(&[web(), eps(), in_a()]).outcome(), all);
    let asking = |answer: &str| {
        let annotations = format!("annotations: {{vipcast.io/topology-hints: '{answer}'}}");
        web().replace("uid: web", &format!("uid: web, {annotations}"))
    };
    assert_eq!(Site::new(&[asking("true"), eps(), in_a()]).outcome(), mine);
    let mut settings = site();
    settings.dataplane.topology_hints = true;
    assert_eq!(Site::with(settings.clone(), &[web(), eps(), in_a()]).outcome(), mine);
    assert_eq!(Site::with(settings.clone(), &[asking("false"), eps(), in_a()]).outcome(), all);
    // The label of this node's zone comes later, and goes.
    let mut site = Site::with(settings, &[web(), eps()]);
    assert_eq!(site.outcome(), all);
    assert_eq!(site.put(&[in_a()]).outcome(), mine);
    assert_eq!(site.put(&[node("lb1", "b", &["100.101.102.103"])]).outcome(), [all[0].replace("10.0.1.1:80 ", "")]);
}
