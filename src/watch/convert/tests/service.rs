//! What a Service asks for besides ClusterIPs and ports: each field with its default, its limits and its mistakes.

use super::*;
use crate::model::service::TrafficPolicy::{Cluster, Local};

/// The Service of this type with more fields in its spec, and its status.
fn read_service(kind: &str, spec: &str, status: &str) -> (Service, Option<String>) {
    let spec = format!("{{type: {kind}, clusterIP: 10.96.0.1, {spec}}}");
    match read(Kind::Service, &format!("{{metadata: {{name: web}}, spec: {spec}, status: {status}}}")) {
        Reading::Good(Object::Service(_, service)) => (service, None),
        Reading::Partly(Object::Service(_, service), problem) => (service, Some(problem)),
        other => panic!("{kind} {spec} {status}: {other:?}"),
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// What is asked for is found, and if a problem is expected it is this one.
#[track_caller]
fn assert_read<T: PartialEq + std::fmt::Debug>(
    case: &str,
    (found, problem): (T, Option<String>),
    expected: T,
    wrong: &str,
) {
    assert_eq!(found, expected, "{case}");
    assert_eq!(problem.unwrap_or_default(), wrong, "{case}");
}

const SPECIAL: &str = "allowed: no unspecified, loopback, link-local or multicast address; left out";

#[test]
fn load_balancer_ips_count_while_the_type_is_load_balancer() {
    let mode = "status.loadBalancer.ingress[0].ipMode is \"vip\"; allowed: VIP, Proxy; the address is left out";
    let bad = "status.loadBalancer.ingress[1].ip is \"x\"; allowed: an IPv4 or IPv6 address; left out";
    let loopback = format!("status.loadBalancer.ingress[0].ip is 127.0.0.1; {SPECIAL}");
    let cases: [(&str, &str, &[&str], &str); 15] = [
        ("LoadBalancer", "[]", &[], ""),
        ("LoadBalancer", "~", &[], ""),
        ("LoadBalancer", "[{ip: 192.0.2.1}]", &["192.0.2.1"], ""),
        ("LoadBalancer", "[{ip: 192.0.2.1}, {ip: '2001:db8::1'}]", &["192.0.2.1", "2001:db8::1"], ""),
        ("LoadBalancer", "[{ip: 192.0.2.1}, {ip: 192.0.2.1}]", &["192.0.2.1"], ""),
        ("LoadBalancer", "[{ip: 192.0.2.1, ipMode: VIP}]", &["192.0.2.1"], ""),
        ("LoadBalancer", "[{ip: 192.0.2.1, ipMode: Proxy}, {ip: 192.0.2.2}]", &["192.0.2.2"], ""),
        ("LoadBalancer", "[{ip: 192.0.2.1, ipMode: vip}, {ip: 192.0.2.2}]", &["192.0.2.2"], mode),
        ("LoadBalancer", "[{hostname: lb.example.org}]", &[], ""),
        ("LoadBalancer", "[{hostname: lb.example.org, ip: ''}]", &[], ""),
        ("LoadBalancer", "[{hostname: lb.example.org, ip: 192.0.2.1}]", &["192.0.2.1"], ""),
        ("LoadBalancer", "[{ip: 192.0.2.1}, {ip: x}]", &["192.0.2.1"], bad),
        ("LoadBalancer", "[{ip: 127.0.0.1}]", &[], &loopback),
        // The status outlives the type for a while.
        ("ClusterIP", "[{ip: 192.0.2.1}]", &[], ""),
        ("NodePort", "[{ip: 192.0.2.1}]", &[], ""),
    ];
    for (kind, ingress, expected, wrong) in cases {
        let (service, problem) = read_service(kind, "", &format!("{{loadBalancer: {{ingress: {ingress}}}}}"));
        assert_read(&format!("{kind} {ingress}"), (service.load_balancer_ips, problem), ips(expected), wrong);
    }
}

#[test]
fn external_ips_that_mean_something_else_on_each_node_are_left_out() {
    for special in ["127.0.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0", "::1", "fe80::1", "ff02::1", "::"] {
        let (service, problem) = read_service("ClusterIP", &format!("externalIPs: ['{special}', 192.0.2.1]"), "{}");
        let wrong = format!("spec.externalIPs[0] is {special}; {SPECIAL}");
        assert_read(special, (service.external_ips, problem), ips(&["192.0.2.1"]), &wrong);
    }
}

#[test]
fn node_ports() {
    let again = "spec.ports[1].nodePort is 30080 TCP again; allowed: each number once for each protocol; left out";
    let limits = |found: &str| format!("spec.ports[0].nodePort is {found}; allowed: 1 to 65535; left out");
    let cases: [(&str, &str, &[Option<u16>], &str); 9] = [
        ("NodePort", "[{port: 80, nodePort: 30080}]", &[Some(30080)], ""),
        ("LoadBalancer", "[{port: 80, nodePort: 30080}]", &[Some(30080)], ""),
        ("NodePort", "[{port: 80}]", &[None], ""),
        ("LoadBalancer", "[{port: 80, nodePort: 0}]", &[None], ""),
        ("ClusterIP", "[{port: 80, nodePort: 30080}]", &[None], ""),
        ("NodePort", "[{port: 80, nodePort: -1}]", &[None], &limits("-1")),
        ("NodePort", "[{port: 80, nodePort: 65536}]", &[None], &limits("65536")),
        (
            "NodePort",
            "[{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30080}]",
            &[Some(30080), None],
            again,
        ),
        (
            "NodePort",
            "[{name: a, port: 53, nodePort: 30080}, {name: b, port: 53, protocol: UDP, nodePort: 30080}]",
            &[Some(30080), Some(30080)],
            "",
        ),
    ];
    for (kind, ports, expected, wrong) in cases {
        let (service, problem) = read_service(kind, &format!("ports: {ports}"), "{}");
        let found: Vec<Option<u16>> = service.ports.iter().map(|port| port.node_port).collect();
        assert_read(&format!("{kind} {ports}"), (found, problem), expected.to_vec(), wrong);
    }
}

#[test]
fn traffic_policies() {
    let wrong = |field: &str| format!("spec.{field} is \"local\"; allowed: Cluster, Local; Cluster counts");
    let (internal, external) = (wrong("internalTrafficPolicy"), wrong("externalTrafficPolicy"));
    let cases = [
        ("ClusterIP", "", Cluster, Cluster, ""),
        ("ClusterIP", "internalTrafficPolicy: Cluster", Cluster, Cluster, ""),
        ("ClusterIP", "internalTrafficPolicy: Local", Local, Cluster, ""),
        ("ClusterIP", "internalTrafficPolicy: local", Cluster, Cluster, &internal),
        ("NodePort", "externalTrafficPolicy: Local", Cluster, Local, ""),
        ("LoadBalancer", "externalTrafficPolicy: Local", Cluster, Local, ""),
        ("LoadBalancer", "externalTrafficPolicy: Cluster, internalTrafficPolicy: Local", Local, Cluster, ""),
        ("LoadBalancer", "externalTrafficPolicy: local", Cluster, Cluster, &external),
        // Nothing that it could rule.
        ("ClusterIP", "externalTrafficPolicy: Local", Cluster, Cluster, ""),
        ("ClusterIP", "externalTrafficPolicy: local", Cluster, Cluster, ""),
        ("ClusterIP", "externalIPs: [], externalTrafficPolicy: Local", Cluster, Cluster, ""),
        ("ClusterIP", "externalIPs: [192.0.2.1], externalTrafficPolicy: Local", Cluster, Local, ""),
    ];
    for (kind, spec, internal, external, wrong) in cases {
        let (service, problem) = read_service(kind, spec, "{}");
        let found = (service.internal_policy, service.external_policy);
        assert_read(&format!("{kind} {spec}"), (found, problem), (internal, external), wrong);
    }
}

#[test]
fn session_affinity() {
    let limits = |found: &str| {
        format!("spec.sessionAffinityConfig.clientIP.timeoutSeconds is {found}; allowed: 1 to 86400; 10800 counts")
    };
    let (zero, much, negative) = (limits("0"), limits("86401"), limits("-1"));
    let timeout = |text: &str| format!("sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {text}}}");
    let cases = [
        (String::new(), None, ""),
        ("sessionAffinity: None".to_owned(), None, ""),
        ("sessionAffinity: ''".to_owned(), None, ""),
        ("sessionAffinity: ClientIP".to_owned(), Some(10_800), ""),
        (timeout("~"), Some(10_800), ""),
        (timeout("{}"), Some(10_800), ""),
        (timeout("{timeoutSeconds: 1}"), Some(1), ""),
        (timeout("{timeoutSeconds: 86400}"), Some(86_400), ""),
        (timeout("{timeoutSeconds: 0}"), Some(10_800), &*zero),
        (timeout("{timeoutSeconds: 86401}"), Some(10_800), &*much),
        (timeout("{timeoutSeconds: -1}"), Some(10_800), &*negative),
        ("sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}".to_owned(), None, ""),
        (
            "sessionAffinity: clientIP".to_owned(),
            None,
            "spec.sessionAffinity is \"clientIP\"; allowed: None, ClientIP; None counts",
        ),
    ];
    for (spec, expected, wrong) in cases {
        let (service, problem) = read_service("ClusterIP", &spec, "{}");
        assert_read(&spec, (service.affinity, problem), expected, wrong);
    }
}

/// A Service that cannot say whom it lets in lets nobody in.
#[test]
fn source_ranges_never_open_what_they_should_close() {
    let both = &["192.0.2.1", "2001:db8::1"];
    let allowed = "allowed: a prefix such as 192.0.2.0/24 or 2001:db8::/32; left out";
    let bad = |i: u8, text: &str| format!("spec.loadBalancerSourceRanges[{i}] is \"{text}\"; {allowed}");
    let two = format!("{} (and 1 more)", bad(0, "x"));
    let mapped = bad(1, "::ffff:10.0.0.0/104");
    let cases: [(&str, &[&str], &[&str], String); 14] = [
        ("~", &[], both, String::new()),
        ("[]", &[], both, String::new()),
        ("[10.0.0.0/8]", &["10.0.0.0/8"], both, String::new()),
        ("[' 10.0.0.0/8 ', 'fd00::/8']", &["10.0.0.0/8", "fd00::/8"], both, String::new()),
        ("[10.1.2.3/8]", &["10.0.0.0/8"], both, String::new()),
        ("[10.1.0.0/16, 10.0.0.0/8, 10.0.0.0/8, 11.0.0.0/8]", &["10.0.0.0/8", "11.0.0.0/8"], both, String::new()),
        ("[0.0.0.0/0]", &["0.0.0.0/0"], both, String::new()),
        // A bad one keeps its clients away, and others are let in.
        ("[10.0.0.0/8, 'fd00::/8', x]", &["10.0.0.0/8", "fd00::/8"], both, bad(2, "x")),
        // Of which family it was meant to be, nobody knows.
        ("[10.0.0.0/8, x]", &["10.0.0.0/8"], &["192.0.2.1"], bad(1, "x")),
        ("['fd00::/8', '']", &["fd00::/8"], &["2001:db8::1"], bad(1, "")),
        ("[10.0.0.1]", &[], &[], bad(0, "10.0.0.1")),
        ("[010.0.0.0/8]", &[], &[], bad(0, "010.0.0.0/8")),
        ("[x, z]", &[], &[], two),
        ("[10.0.0.0/8, '::ffff:10.0.0.0/104']", &["10.0.0.0/8"], &["192.0.2.1"], mapped),
    ];
    let status = "{loadBalancer: {ingress: [{ip: 192.0.2.1}, {ip: '2001:db8::1'}]}}";
    for (ranges, expected, addresses, wrong) in cases {
        let spec = format!("externalIPs: [192.0.2.9], loadBalancerSourceRanges: {ranges}");
        let (service, problem) = read_service("LoadBalancer", &spec, status);
        let expected: Vec<Prefix> = expected.iter().map(|text| text.parse().unwrap()).collect();
        let found = (service.source_ranges, service.load_balancer_ips);
        assert_read(ranges, (found, problem), (expected, ips(addresses)), &wrong);
        assert_eq!(service.external_ips, ips(&["192.0.2.9"]), "{ranges}: they rule load-balancer IPs only");
    }
    let (service, problem) = read_service("ClusterIP", "loadBalancerSourceRanges: [x]", "{}");
    assert_read("no load balancer", (service.source_ranges, problem), Vec::new(), "");
}

#[test]
fn health_check_ports() {
    let local = |number: &str| format!("externalTrafficPolicy: Local, healthCheckNodePort: {number}");
    let cases = [
        ("LoadBalancer", local("30100"), Some(30100), ""),
        ("LoadBalancer", local("0"), None, ""),
        ("LoadBalancer", "externalTrafficPolicy: Local".to_owned(), None, ""),
        ("LoadBalancer", "healthCheckNodePort: 30100".to_owned(), None, ""),
        ("NodePort", local("30100"), None, ""),
        ("ClusterIP", local("30100"), None, ""),
        ("LoadBalancer", local("65536"), None, "spec.healthCheckNodePort is 65536; allowed: 1 to 65535; left out"),
    ];
    for (kind, spec, expected, wrong) in cases {
        let (service, problem) = read_service(kind, &spec, "{}");
        assert_read(&format!("{kind} {spec}"), (service.health_check_port, problem), expected, wrong);
    }
}

#[test]
fn who_asks_for_nothing_cannot_ask_in_a_wrong_way() {
    let wrong = "externalIPs: [x], internalTrafficPolicy: x, externalTrafficPolicy: x, sessionAffinity: x, \
                 loadBalancerSourceRanges: [x], healthCheckNodePort: -1, ports: [{port: 0, nodePort: -1}]";
    let status = "{loadBalancer: {ingress: [{ip: x}]}}";
    let metadata = "{namespace: demo, name: web, annotations: {vipcast.io/scheduler: x, vipcast.io/x: x}}";
    for nothing in ["type: ExternalName", "clusterIP: None", "type: LoadBalancer"] {
        let yaml = format!("{{metadata: {metadata}, spec: {{{nothing}, {wrong}}}, status: {status}}}");
        let expected = Object::Service(ServiceKey::new("demo", "web"), Service::default());
        assert_eq!(read(Kind::Service, &yaml), Reading::Good(expected), "{nothing}");
    }
}
