//! Several Services and several ports, and how they change.

use vipcast::model::Kind;

use crate::cases::{Site, ingress, service, slice};

const P80: &str = "{name: p80, port: 80}";
const NOTHING: [&str; 0] = [];

/// Both families at once, and no cross-talk.
#[test]
fn case_06_two_services() {
    let objects = [
        service("a", "clusterIPs: [172.16.55.4, 'fd00:172:16::4'], ports: [{name: p80, port: 80}]"),
        slice("a-4", "a", P80, &["addresses: [10.180.0.1]"]),
        slice("a-6", "a", P80, &["addresses: ['2009:db8::1']"]),
        service("b", "clusterIPs: ['fd00:172:16::10', 172.16.55.10], ports: [{name: p8080, port: 8080}]"),
        slice("b-4", "b", "{name: p8080, port: 8080}", &["addresses: [10.180.1.1]"]),
        slice("b-6", "b", "{name: p8080, port: 8080}", &["addresses: ['2009:db8::2']"]),
    ];
    assert_eq!(
        Site::new(&objects).outcome(),
        [
            "172.16.55.4:80 TCP -> 10.180.0.1:80",
            "172.16.55.10:8080 TCP -> 10.180.1.1:8080",
            "[fd00:172:16::4]:80 TCP -> [2009:db8::1]:80",
            "[fd00:172:16::10]:8080 TCP -> [2009:db8::2]:8080",
        ]
    );
}

/// kube-proxy has a virtual server without destinations; here there is none, and the guard refuses.
#[test]
fn case_07_a_service_without_endpoints() {
    let mut site = Site::new(&[service("a", "clusterIPs: [172.16.55.4], ports: [{name: p80, port: 80}]")]);
    assert_eq!(site.outcome(), NOTHING);
    assert!(site.is_guarded("172.16.55.4"));
}

/// A Service with a load-balancer IP and these ports, and its slice.
fn with_ports(ports: &[u16]) -> [String; 2] {
    let of_service: Vec<String> = ports.iter().map(|port| format!("{{name: p{port}, port: {port}}}")).collect();
    let spec = format!("type: LoadBalancer, clusterIPs: [10.20.30.41], ports: [{}]", of_service.join(", "));
    let of_slice: Vec<String> = ports.iter().map(|port| format!("{{name: p{port}, port: 8080}}")).collect();
    let endpoints = ["addresses: [10.180.0.1]"];
    [ingress("web", &spec, "{ip: 1.2.3.4}"), slice("web-4", "web", &of_slice.join(", "), &endpoints)]
}

/// The VIP's address and its routes are there while a port has a virtual server.
#[test]
fn case_30_ports_of_one_vip_come_and_go() {
    let mut site = Site::new(&with_ports(&[80, 443]));
    assert_eq!(site.outcome().last().unwrap(), "routes: 1.2.3.4");
    for ports in [vec![80], vec![80, 443, 8080]] {
        let steps = site.put(&with_ports(&ports)).steps();
        assert!(
            steps
                .iter()
                .all(|step| step.contains("1.2.3.4:") || step.contains("10.20.30.41:") || step.contains("nftables")),
            "no route changes: {steps:#?}"
        );
        let lines = site.outcome();
        assert_eq!(lines.len(), 2 * ports.len() + 1, "{lines:#?}");
        assert_eq!(lines.last().unwrap(), "routes: 1.2.3.4");
    }
    site.delete(Kind::Service, "web");
    assert_eq!(site.outcome(), NOTHING);
}

/// A UDP Service with one port of this name and number, and its slice.
fn udp(name: &str, port: u16) -> [String; 2] {
    let ports = format!("ports: [{{name: {name}, port: {port}, protocol: UDP}}]");
    let of_slice = format!("{{name: {name}, port: 8080, protocol: UDP}}");
    [
        service("dns", &format!("clusterIPs: [10.20.30.41], {ports}")),
        slice("dns-4", "dns", &of_slice, &["addresses: [10.180.0.1]"]),
    ]
}

/// kube-proxy takes it for the end of one port and the beginning of another, and flushes UDP flows. Nothing changed.
#[test]
fn case_33_a_port_that_gets_another_name() {
    let mut site = Site::new(&udp("p11", 11));
    assert_eq!(site.outcome(), ["10.20.30.41:11 UDP -> 10.180.0.1:8080"]);
    assert_eq!(site.put(&udp("p11-2", 11)).steps(), NOTHING);
}

#[test]
fn case_34_a_port_that_gets_another_number() {
    let mut site = Site::new(&udp("p11", 11));
    site.outcome();
    let steps = site.put(&udp("p11", 22)).steps();
    let of_servers = steps.iter().filter(|step| !step.starts_with("forget"));
    assert_eq!(
        of_servers.collect::<Vec<_>>(),
        [
            "delete virtual server 10.20.30.41:11 UDP",
            "add virtual server 10.20.30.41:22 UDP rr",
            "add destination 10.180.0.1:8080 weight 1 to 10.20.30.41:22 UDP",
        ]
    );
}

/// Whatever address they carry. A Service that becomes one of these gives up what it had.
#[test]
fn case_35_headless_and_external_name() {
    let ports = "ports: [{name: p80, port: 80}]";
    let endpoints = || slice("web-4", "web", P80, &["addresses: [10.180.0.1]"]);
    for spec in [
        "clusterIP: None, clusterIPs: [None]",
        "type: ExternalName, externalName: web.example.org",
        "type: ExternalName, externalName: web.example.org, clusterIP: 10.20.30.41, clusterIPs: [10.20.30.41]",
    ] {
        let without = service("web", &format!("{spec}, externalIPs: [50.60.70.81], {ports}"));
        let mut site = Site::new(&[without.clone(), endpoints()]);
        assert_eq!(site.outcome(), NOTHING, "{spec}");
        site.put(&[service("web", &format!("clusterIPs: [10.20.30.41], {ports}"))]);
        assert_eq!(site.outcome(), ["10.20.30.41:80 TCP -> 10.180.0.1:80"]);
        site.put(&[without]);
        assert_eq!(site.outcome(), NOTHING, "{spec}");
    }
}
