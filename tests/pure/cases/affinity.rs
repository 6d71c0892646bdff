//! Session affinity, and health check ports.

use vipcast::model::Kind;

use crate::cases::{Site, ingress, service, slice};

const HERE: &str = "addresses: [10.180.0.1], nodeName: lb1";

/// kube-proxy keeps its scheduler and makes each virtual server persistent. Persistence is known to one LB node only, and
/// a ToR spreads the connections of a client over all: here `mh` by the client's address chooses alike on every node.
#[test]
fn case_18_session_affinity() {
    let spec = "type: NodePort, clusterIPs: [10.20.30.41], externalIPs: [50.60.70.81], sessionAffinity: ClientIP, \
                sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}, \
                ports: [{name: p80, port: 80, nodePort: 3001}]";
    let mut site = Site::new(&[service("web", spec), slice("web-4", "web", "{name: p80, port: 80}", &[HERE])]);
    assert_eq!(
        site.outcome(),
        [
            "10.20.30.41:80 TCP [mh fallback persistent 10800 s] -> 10.180.0.1:80",
            "50.60.70.81:80 TCP [mh fallback persistent 10800 s] -> 10.180.0.1:80; masquerade",
            "100.101.102.103:3001 TCP [mh fallback persistent 10800 s] -> 10.180.0.1:80; masquerade",
            "routes: 50.60.70.81",
        ]
    );
}

/// A Service for case 15 to 17, which asks for a health check port.
fn checked(name: &str, port: u16, policy: &str) -> String {
    let spec = format!(
        "type: LoadBalancer, clusterIPs: [10.20.30.{}], externalTrafficPolicy: {policy}, healthCheckNodePort: {port}, \
         ports: [{{name: p80, port: 80}}]",
        port - 29_999
    );
    ingress(name, &spec, "")
}

/// Without the policy Local each node is as good as another, and the port has no meaning.
#[test]
fn case_15_health_check_ports() {
    let mut site =
        Site::new(&[checked("a", 30000, "Local"), checked("b", 30001, "Local"), checked("c", 30002, "Cluster")]);
    assert_eq!(
        site.outcome(),
        ["health check port 30000 of shop/a: 0 ready here", "health check port 30001 of shop/b: 0 ready here"]
    );
}

#[test]
fn case_16_a_health_check_port_that_changes() {
    let mut site = Site::new(&[checked("a", 30000, "Local")]);
    assert_eq!(site.outcome(), ["health check port 30000 of shop/a: 0 ready here"]);
    site.put(&[checked("a", 30001, "Local")]);
    assert_eq!(site.outcome(), ["health check port 30001 of shop/a: 0 ready here"]);
    site.delete(Kind::Service, "a");
    assert_eq!(site.outcome(), Vec::<String>::new());
}

/// Endpoints on their way out take traffic where none is ready, but no new load balancer should send any: they do not
/// count. An address counts once, whatever its ports and slices; one elsewhere does not.
#[test]
fn case_17_a_health_check_port_counts_ready_endpoints_here() {
    let out = |address: &str, serving: bool| {
        let conditions = format!("{{ready: false, serving: {serving}, terminating: true}}");
        format!("addresses: [{address}], nodeName: lb1, conditions: {conditions}")
    };
    let there = "addresses: [10.180.1.1], nodeName: other";
    let ports = "{name: p80, port: 80}";
    let cases: [(Vec<String>, &str); 4] = [
        (vec![out("10.180.0.1", true), out("10.180.0.2", false)], "0 ready here"),
        (vec![out("10.180.0.1", true), there.to_owned()], "0 ready here"),
        (vec![HERE.to_owned(), out("10.180.0.2", true), there.to_owned()], "1 ready here"),
        (vec![HERE.to_owned(), "addresses: [10.180.0.2], nodeName: lb1".to_owned()], "2 ready here"),
    ];
    for (endpoints, expected) in cases {
        let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        let again = slice("a-5", "a", ports, &endpoints[..1]);
        let mut site = Site::new(&[checked("a", 30000, "Local"), slice("a-4", "a", ports, &endpoints), again]);
        let lines = site.outcome();
        let health = lines.iter().filter_map(|line| line.strip_prefix("health check port 30000 of shop/a: "));
        assert_eq!(health.collect::<Vec<_>>(), [expected], "{lines:#?}");
    }
}
