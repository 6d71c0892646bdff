//! NodePorts: they are served on those of the node's addresses that the operator names.

use vipcast::model::settings::{Announce, Range, Use};

use crate::cases::{NODE_IPS, Site, service, site, slice};
use crate::support::build::{ip, prefix};

const WEB: &str = "type: NodePort, clusterIPs: [10.20.30.41], ports: [{name: p80, port: 80, nodePort: 3001}]";

/// The other family's endpoints and node addresses have no part in a Service of one family.
#[test]
fn case_01_a_node_port() {
    let objects = [
        service("web", WEB),
        slice("web-4", "web", "{name: p80, port: 80}", &["addresses: [10.180.0.1]"]),
        slice("web-6", "web", "{name: p80, port: 80}", &["addresses: ['1002:ab8::2:10']"]),
    ];
    assert_eq!(
        Site::new(&objects).outcome(),
        ["10.20.30.41:80 TCP -> 10.180.0.1:80", "100.101.102.103:3001 TCP -> 10.180.0.1:80; masquerade"]
    );
}

/// UDP, and a family that has no ClusterIP: nothing at all is there for it, on the node's address neither.
#[test]
fn case_02_a_node_port_of_udp() {
    let spec =
        "type: NodePort, clusterIPs: [10.20.30.41], ports: [{name: dns, port: 80, protocol: UDP, nodePort: 3001}]";
    let endpoints = |name, address| slice(name, "dns", "{name: dns, port: 80, protocol: UDP}", &[address]);
    let mut site = Site::new(&[service("dns", spec), endpoints("dns-4", "addresses: [10.180.0.1]")]);
    assert_eq!(
        site.outcome(),
        ["10.20.30.41:80 UDP -> 10.180.0.1:80", "100.101.102.103:3001 UDP -> 10.180.0.1:80; masquerade"]
    );
    let mut site = Site::new(&[service("dns", spec), endpoints("dns-6", "addresses: ['1002:ab8::2:10']")]);
    assert_eq!(site.outcome(), Vec::<String>::new());
}

/// kube-proxy makes virtual servers without destinations, to which IPVS answers with rate-limited ICMP. Here there is none:
/// the guard refuses in the range, and on the node's own address its stack.
#[test]
fn case_03_a_node_port_without_endpoints() {
    let mut site = Site::new(&[service("web", WEB)]);
    assert_eq!(site.outcome(), Vec::<String>::new());
    assert!(site.is_guarded("10.20.30.41") && !site.is_guarded("100.101.102.103"));
}

/// The node's addresses of case 4 and 5, three of each family.
fn three_each() -> vipcast::model::Settings {
    let mut settings = site();
    let more = ["100.101.102.104", "100.101.102.105", "2001:db8::1:2", "2001:db8::1:3"];
    settings.node_ips = NODE_IPS.into_iter().chain(more).map(ip).collect();
    settings
}

fn sctp(policy: &str) -> [String; 2] {
    let ports = "ports: [{name: p80, port: 80, protocol: SCTP, nodePort: 3001}]";
    let endpoint = "addresses: [10.180.0.1], nodeName: lb1";
    [
        service("web", &format!("type: NodePort, clusterIPs: [10.20.30.41], {ports}, externalTrafficPolicy: {policy}")),
        slice("web-4", "web", "{name: p80, port: 80, protocol: SCTP}", &[endpoint]),
    ]
}

#[test]
fn case_04_a_node_port_of_sctp_on_several_addresses() {
    assert_eq!(
        Site::with(three_each(), &sctp("Cluster")).outcome(),
        [
            "10.20.30.41:80 SCTP -> 10.180.0.1:80",
            "100.101.102.103:3001 SCTP -> 10.180.0.1:80; masquerade",
            "100.101.102.104:3001 SCTP -> 10.180.0.1:80; masquerade",
            "100.101.102.105:3001 SCTP -> 10.180.0.1:80; masquerade",
        ]
    );
}

/// With the policy Local clients keep their address there. The ClusterIP is none of its business.
#[test]
fn case_05_a_node_port_of_sctp_with_the_policy_local() {
    assert_eq!(
        Site::with(three_each(), &sctp("Local")).outcome(),
        [
            "10.20.30.41:80 SCTP -> 10.180.0.1:80",
            "100.101.102.103:3001 SCTP -> 10.180.0.1:80; masquerade; keep",
            "100.101.102.104:3001 SCTP -> 10.180.0.1:80; masquerade; keep",
            "100.101.102.105:3001 SCTP -> 10.180.0.1:80; masquerade; keep",
        ]
    );
}

/// Without `dataplane.nodePorts` an LB node serves none, whatever kube-proxy would: its addresses are not for clients.
#[test]
fn case_13_a_node_port_with_the_policy_local_on_the_addresses_that_are_named() {
    let spec = format!("{WEB}, externalTrafficPolicy: Local");
    let here = "addresses: [10.180.0.1], nodeName: lb1";
    let there = "addresses: [10.180.1.1], nodeName: other";
    let objects = [service("web", &spec), slice("web-4", "web", "{name: p80, port: 80}", &[here, there])];
    let mut settings = site();
    settings.node_ips.push(ip("100.101.103.1"));
    let cluster_ip = "10.20.30.41:80 TCP -> 10.180.0.1:80 10.180.1.1:80";
    assert_eq!(
        Site::with(settings.clone(), &objects).outcome(),
        [cluster_ip, "100.101.102.103:3001 TCP -> 10.180.0.1:80; masquerade; keep"]
    );
    settings.dataplane.node_ports.as_mut().unwrap().addresses = vec![prefix("100.101.103.0/24")];
    assert_eq!(
        Site::with(settings.clone(), &objects).outcome(),
        [cluster_ip, "100.101.103.1:3001 TCP -> 10.180.0.1:80; masquerade; keep"]
    );
    settings.dataplane.node_ports = None;
    assert_eq!(Site::with(settings, &objects).outcome(), [cluster_ip]);
}

/// The API server allocates from a range of its own, which the operator repeats here. A virtual server on another port of the
/// node's address could not be told from somebody else's.
#[test]
fn a_node_port_outside_the_ports_that_are_ours_is_reported() {
    let endpoint = slice("web-4", "web", "{name: p80, port: 80}", &["addresses: [10.180.0.1]"]);
    let mut settings = site();
    settings.dataplane.node_ports.as_mut().unwrap().ports = (30000, 32767);
    assert_eq!(
        Site::with(settings, &[service("web", WEB), endpoint]).outcome(),
        [
            "10.20.30.41:80 TCP -> 10.180.0.1:80",
            "shop/web: NodePort 3001 is not among 30000-32767 (dataplane.nodePorts.ports); not served"
        ]
    );
}

/// A range of external IPs may hold the node's subnet. Its own address is no VIP all the same, and has its routes already.
#[test]
fn a_node_port_on_an_address_in_a_range_gets_no_routes() {
    let endpoint = slice("web-4", "web", "{name: p80, port: 80}", &["addresses: [10.180.0.1]"]);
    let mut settings = site();
    settings.allowed.push(Range::new(prefix("100.101.102.0/24"), Use::ExternalIp, Announce::Host));
    assert_eq!(
        Site::with(settings, &[service("web", WEB), endpoint]).outcome(),
        ["10.20.30.41:80 TCP -> 10.180.0.1:80", "100.101.102.103:3001 TCP -> 10.180.0.1:80; masquerade"]
    );
}
