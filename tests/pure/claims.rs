//! What Services ask of a node, as tables: objects in, virtual servers and problems out.

use std::sync::Arc;

use vipcast::model::ipvs::Protocol;
use vipcast::model::service::{Endpoint, Service, ServicePort, Slice, SlicePort};
use vipcast::model::{Event, Family, Kind, Object, ServiceKey};

use crate::support::build::{dual_stack, gone, ip, listed};
use crate::support::rig::Rig;

/// A port in words: `http:80`, `dns:53/UDP`, or `:80` for one without a name.
fn port(text: &str) -> (Arc<str>, u16, Protocol) {
    let (name, rest) = text.split_once(':').unwrap();
    let (number, protocol) = match rest.split_once('/') {
        Some((number, "UDP")) => (number, Protocol::Udp),
        Some((number, "SCTP")) => (number, Protocol::Sctp),
        Some(_) => panic!("{text}"),
        None => (rest, Protocol::Tcp),
    };
    (name.into(), number.parse().unwrap(), protocol)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

/// The Service `shop/NAME`, created at a second, with a UID.
fn recreated(name: &str, created: i64, uid: &str, vips: &str, ports: &str) -> Event {
    let port = |(name, port, protocol)| ServicePort { name, protocol, port, node_port: None };
    let service = Service {
        created,
        uid: Some(uid.into()),
        cluster_ips: words(vips).map(ip).collect(),
        external_ips: Vec::new(),
        ports: words(ports).map(|text| port(self::port(text))).collect(),
        ..Service::default()
    };
    Event::Put(Object::Service(ServiceKey::new("shop", name), service))
}

fn svc(name: &str, vips: &str, ports: &str) -> Event {
    recreated(name, 0, name, vips, ports)
}

/// The EndpointSlice `shop/NAME`. An endpoint that ends in `!` is not ready.
fn eps(name: &str, service: &str, ports: &str, endpoints: &str) -> Event {
    let family = if endpoints.contains("::") { Family::Ipv6 } else { Family::Ipv4 };
    let port = |(name, port, protocol)| SlicePort { name, protocol, port };
    let endpoint = |text: &str| Endpoint::new(ip(text.trim_end_matches('!')), !text.ends_with('!'));
    let slice = Slice {
        service: ServiceKey::new("shop", service),
        family,
        ports: words(ports).map(|text| port(self::port(text))).collect(),
        endpoints: words(endpoints).map(endpoint).collect(),
    };
    Event::Put(Object::Slice(format!("shop/{name}").into(), slice))
}

/// The virtual servers of a node and the problems of its Services, in words.
fn outcome(rig: &mut Rig) -> Vec<String> {
    rig.run();
    assert_eq!(rig.node.state.ipvs, rig.planner.desired_servers());
    let mut lines = Vec::new();
    for (key, server) in &rig.node.state.ipvs {
        let names: Vec<String> = server.destinations.keys().map(ToString::to_string).collect();
        lines.push(format!("{key} -> {}", names.join(" ")));
    }
    let problems = rig.planner.status().services.problems;
    lines.extend(problems.into_iter().map(|problem| format!("{}: {}", problem.subject, problem.problem)));
    lines
}

#[test]
fn a_service_and_its_slices_make_virtual_servers() {
    let web = || svc("web", "10.96.0.10", "http:80");
    let cases: Vec<(&str, Vec<Event>, Vec<&str>)> = vec![
        ("no slice: no virtual server, so that the guard refuses at once", vec![web()], vec![]),
        (
            "a port and its endpoints",
            vec![web(), eps("a", "web", "http:8080", "10.244.1.2 10.244.1.3")],
            vec!["10.96.0.10:80 TCP -> 10.244.1.2:8080 10.244.1.3:8080"],
        ),
        (
            "a slice before its Service",
            vec![eps("a", "web", "http:8080", "10.244.1.2"), web()],
            vec!["10.96.0.10:80 TCP -> 10.244.1.2:8080"],
        ),
        ("a slice of nobody", vec![web(), eps("a", "other", "http:8080", "10.244.1.2")], vec![]),
        (
            "several slices, an endpoint in two of them",
            vec![
                web(),
                eps("a", "web", "http:8080", "10.244.1.2 10.244.1.3"),
                eps("b", "web", "http:8080", "10.244.1.3 10.244.1.4"),
            ],
            vec!["10.96.0.10:80 TCP -> 10.244.1.2:8080 10.244.1.3:8080 10.244.1.4:8080"],
        ),
        (
            "a named target port that is another number in each slice",
            vec![web(), eps("a", "web", "http:8080", "10.244.1.2"), eps("b", "web", "http:9090", "10.244.1.3")],
            vec!["10.96.0.10:80 TCP -> 10.244.1.2:8080 10.244.1.3:9090"],
        ),
        (
            "one address behind two numbers",
            vec![web(), eps("a", "web", "http:8080", "10.244.1.2"), eps("b", "web", "http:9090", "10.244.1.2")],
            vec!["10.96.0.10:80 TCP -> 10.244.1.2:8080 10.244.1.2:9090"],
        ),
        (
            "ports meet by name, not by number",
            vec![svc("web", "10.96.0.10", "http:80 https:443"), eps("a", "web", "https:80 http:443", "10.244.1.2")],
            vec!["10.96.0.10:80 TCP -> 10.244.1.2:443", "10.96.0.10:443 TCP -> 10.244.1.2:80"],
        ),
        (
            "a port without a name meets one without a name",
            vec![svc("web", "10.96.0.10", ":80"), eps("a", "web", ":8080", "10.244.1.2")],
            vec!["10.96.0.10:80 TCP -> 10.244.1.2:8080"],
        ),
        ("a name against none", vec![web(), eps("a", "web", ":8080", "10.244.1.2")], vec![]),
        ("another protocol", vec![web(), eps("a", "web", "http:8080/UDP", "10.244.1.2")], vec![]),
        (
            "one number, three protocols",
            vec![
                svc("dns", "10.96.0.10", "tcp:53 udp:53/UDP sctp:53/SCTP"),
                eps("a", "dns", "tcp:5353 udp:5354/UDP sctp:5355/SCTP", "10.244.1.2"),
            ],
            vec![
                "10.96.0.10:53 TCP -> 10.244.1.2:5353",
                "10.96.0.10:53 UDP -> 10.244.1.2:5354",
                "10.96.0.10:53 SCTP -> 10.244.1.2:5355",
            ],
        ),
        (
            "endpoints that are not ready",
            vec![web(), eps("a", "web", "http:8080", "10.244.1.2 10.244.1.3!")],
            vec!["10.96.0.10:80 TCP -> 10.244.1.2:8080"],
        ),
        ("none is ready", vec![web(), eps("a", "web", "http:8080", "10.244.1.2! 10.244.1.3!")], vec![]),
        (
            "each family for itself",
            vec![
                svc("web", "10.96.0.10 fd00:10:96::10", "http:80"),
                eps("a", "web", "http:8080", "10.244.1.2"),
                eps("b", "web", "http:8080", "fd00:244::2"),
            ],
            vec!["10.96.0.10:80 TCP -> 10.244.1.2:8080", "[fd00:10:96::10]:80 TCP -> [fd00:244::2]:8080"],
        ),
        (
            "a VIP of a family that has no endpoints",
            vec![svc("web", "10.96.0.10 fd00:10:96::10", "http:80"), eps("a", "web", "http:8080", "10.244.1.2")],
            vec!["10.96.0.10:80 TCP -> 10.244.1.2:8080"],
        ),
        (
            "headless: it asks for nothing",
            vec![svc("web", "", "http:80"), eps("a", "web", "http:8080", "10.244.1.2")],
            vec![],
        ),
        (
            "without ports it asks for nothing",
            vec![svc("web", "10.96.0.10", ""), eps("a", "web", "http:8080", "10.244.1.2")],
            vec![],
        ),
        (
            "a ClusterIP in none of the ranges, beside one that is",
            vec![
                svc("web", "10.97.0.10 fd00:10:96::10", "http:80"),
                eps("a", "web", "http:8080", "10.244.1.2"),
                eps("b", "web", "http:8080", "fd00:244::2"),
            ],
            vec![
                "[fd00:10:96::10]:80 TCP -> [fd00:244::2]:8080",
                "shop/web: ClusterIP 10.97.0.10 lies in none of the ranges (10.96.0.0/16, fd00:10:96::/112); not served",
            ],
        ),
        (
            "an endpoint that is itself in a range would come back to us",
            vec![web(), eps("a", "web", "http:8080", "10.244.1.2 10.96.0.11")],
            vec![
                "10.96.0.10:80 TCP -> 10.244.1.2:8080",
                "shop/web: endpoint 10.96.0.11 is itself inside a range of VIPs; left out",
            ],
        ),
    ];
    for (what, events, expected) in cases {
        assert_eq!(outcome(Rig::new(dual_stack()).list(events)), expected, "{what}");
    }
}

#[test]
fn of_two_claimants_the_older_one_has_the_virtual_server_then_the_first_name() {
    let lost = |key: &str, loser: &str, owner: &str| {
        format!("shop/{loser}: {key} is claimed by the older Service shop/{owner} too, which has it")
    };
    let pods = || [eps("a", "a", "http:8080", "10.244.1.1"), eps("b", "b", "http:8080", "10.244.1.2")];
    let claimed = |service: &str, created| recreated(service, created, service, "10.96.0.10", "http:80");
    for (a, b, owner) in [(1, 2, "a"), (2, 1, "b"), (1, 1, "a")] {
        let (loser, pod) = if owner == "a" { ("b", "10.244.1.1") } else { ("a", "10.244.1.2") };
        let expected = [format!("10.96.0.10:80 TCP -> {pod}:8080"), lost("10.96.0.10:80 TCP", loser, owner)];
        for services in [[claimed("a", a), claimed("b", b)], [claimed("b", b), claimed("a", a)]] {
            let events = services.into_iter().chain(pods());
            assert_eq!(outcome(Rig::new(dual_stack()).list(events)), expected, "created {a} and {b}");
        }
    }
    // The older one has it without endpoints too, so that nobody takes a VIP in the meantime; another port is no conflict.
    let mut rig = Rig::new(dual_stack());
    let [first, second] = pods();
    rig.list([claimed("a", 1), claimed("b", 2), second, recreated("c", 3, "c", "10.96.0.10", "http:81")]);
    assert_eq!(outcome(&mut rig), [lost("10.96.0.10:80 TCP", "b", "a")]);
    rig.tell(first);
    assert_eq!(
        outcome(&mut rig),
        ["10.96.0.10:80 TCP -> 10.244.1.1:8080".to_owned(), lost("10.96.0.10:80 TCP", "b", "a")]
    );
    rig.tell(gone(Kind::Service, "shop/a"));
    assert_eq!(outcome(&mut rig), ["10.96.0.10:80 TCP -> 10.244.1.2:8080"]);
}

/// Each row is told in one go, as a source tells of what happened between two passes, on top of the rows before it.
#[test]
fn services_come_and_go_and_change() {
    /// What happens, what is told, what the node holds then, and by which steps.
    type Row = (&'static str, Vec<Event>, Vec<&'static str>, Vec<&'static str>);
    let mut rig = Rig::new(dual_stack());
    rig.list([]).run();
    let rows: Vec<Row> = vec![
        (
            "a Service appears",
            vec![svc("web", "10.96.0.10", "http:80"), eps("a", "web", "http:8080", "10.244.1.2")],
            vec!["10.96.0.10:80 TCP -> 10.244.1.2:8080"],
            vec![
                "add virtual server 10.96.0.10:80 TCP rr",
                "add destination 10.244.1.2:8080 weight 1 to 10.96.0.10:80 TCP",
            ],
        ),
        (
            "recreated under its name, as another one: its connections stay",
            vec![gone(Kind::Service, "shop/web"), recreated("web", 9, "new", "10.96.0.10", "http:80")],
            vec!["10.96.0.10:80 TCP -> 10.244.1.2:8080"],
            vec![],
        ),
        (
            "recreated with another ClusterIP",
            vec![gone(Kind::Service, "shop/web"), recreated("web", 10, "newer", "10.96.0.11", "http:80")],
            vec!["10.96.0.11:80 TCP -> 10.244.1.2:8080"],
            vec![
                "add virtual server 10.96.0.11:80 TCP rr",
                "add destination 10.244.1.2:8080 weight 1 to 10.96.0.11:80 TCP",
                "delete virtual server 10.96.0.10:80 TCP",
            ],
        ),
        (
            "its ClusterIP goes over to another Service: the virtual server stays, its destinations change",
            vec![
                gone(Kind::Service, "shop/web"),
                gone(Kind::EndpointSlice, "shop/a"),
                svc("api", "10.96.0.11", "http:80"),
                eps("b", "api", "http:9090", "10.244.2.2"),
            ],
            vec!["10.96.0.11:80 TCP -> 10.244.2.2:9090"],
            vec![
                "add destination 10.244.2.2:9090 weight 1 to 10.96.0.11:80 TCP",
                "set destination 10.244.1.2:8080 weight 0 of 10.96.0.11:80 TCP",
                "delete destination 10.244.1.2:8080 of 10.96.0.11:80 TCP",
            ],
        ),
        (
            "the same, told the other way round",
            vec![
                eps("c", "shop", "http:7070", "10.244.3.2"),
                svc("shop", "10.96.0.11", "http:80"),
                gone(Kind::EndpointSlice, "shop/b"),
                gone(Kind::Service, "shop/api"),
            ],
            vec!["10.96.0.11:80 TCP -> 10.244.3.2:7070"],
            vec![
                "add destination 10.244.3.2:7070 weight 1 to 10.96.0.11:80 TCP",
                "set destination 10.244.2.2:9090 weight 0 of 10.96.0.11:80 TCP",
                "delete destination 10.244.2.2:9090 of 10.96.0.11:80 TCP",
            ],
        ),
        (
            "an endpoint moves from one slice to another",
            vec![eps("d", "shop", "http:7070", "10.244.3.2"), eps("c", "shop", "http:7070", "")],
            vec!["10.96.0.11:80 TCP -> 10.244.3.2:7070"],
            vec![],
        ),
        (
            "a slice changes hands",
            vec![svc("new", "10.96.0.12", "http:80"), eps("d", "new", "http:7070", "10.244.3.2")],
            vec!["10.96.0.12:80 TCP -> 10.244.3.2:7070"],
            vec![
                "add virtual server 10.96.0.12:80 TCP rr",
                "add destination 10.244.3.2:7070 weight 1 to 10.96.0.12:80 TCP",
                "delete virtual server 10.96.0.11:80 TCP",
            ],
        ),
        (
            "something comes and goes between two passes",
            vec![eps("e", "new", "http:7070", "10.244.9.9"), gone(Kind::EndpointSlice, "shop/e")],
            vec!["10.96.0.12:80 TCP -> 10.244.3.2:7070"],
            vec![],
        ),
    ];
    for (what, events, expected, steps) in rows {
        assert_eq!(rig.tell_all(events).steps(), steps, "{what}");
        assert_eq!(outcome(&mut rig), expected, "{what}");
    }
}

/// A Service that claims nothing any more, and one that never did, are the same to the node.
#[test]
fn nothing_is_left_of_a_service_that_is_gone() {
    let mut rig = Rig::new(dual_stack());
    rig.tell_all(listed([svc("web", "10.97.0.10", "http:80")]));
    assert_eq!(outcome(&mut rig).len(), 1, "a problem");
    rig.tell(gone(Kind::Service, "shop/web"));
    assert_eq!(outcome(&mut rig), Vec::<String>::new());
    assert_eq!(rig.planner.status().services.total, 0);
}
