//! Addresses that must not become VIPs or endpoints, and their families.

use std::net::Ipv4Addr;

use crate::cases::{NODE_IPS, Site, ingress, node, service, site, slice};
use crate::support::build::{prefix, range};
use vipcast::model::settings::Announce;

const P80: &str = "{name: p80, port: 80}";
const PORTS: &str = "ports: [{name: p80, port: 80}]";
const ONE: &str = "addresses: [10.180.0.1]";
const SERVED: &str = "10.20.30.41:80 TCP -> 10.180.0.1:80";

/// What becomes of an external IP and a load-balancer IP that both are `vip`, in a site whose ranges would allow them.
fn as_vip(vip: &str) -> Vec<String> {
    let mut settings = site();
    let wide = |text, usage| vipcast::model::settings::Range::new(prefix(text), usage, Announce::Host);
    use vipcast::model::settings::Use::{ExternalIp, LoadBalancerIp};
    settings.allowed = ["100.101.102.0/24", "10.0.1.0/24", "10.244.0.0/16", "9.9.9.0/24"]
        .map(|text| vipcast::model::settings::Range {
            uses: [ExternalIp, LoadBalancerIp].into(),
            ..wide(text, ExternalIp)
        })
        .into();
    settings.bgp.as_mut().unwrap().router_id = Some(Ipv4Addr::new(9, 9, 9, 9));
    let spec = format!("type: LoadBalancer, clusterIPs: [10.20.30.41], externalIPs: [{vip}], {PORTS}");
    let pods = |yaml: String, pods: &str| yaml.replace("status:", &format!("spec: {{podCIDRs: [{pods}]}}, status:"));
    let objects = [
        ingress("web", &spec, &format!("{{ip: {vip}}}")),
        slice("a", "web", P80, &[ONE]),
        pods(node("lb1", "a", &[NODE_IPS[0]]), "10.244.1.0/24"),
        pods(node("other", "a", &["100.101.102.9"]), "10.244.2.0/24"),
        node("third", "a", &["100.101.102.10"]).replace("InternalIP", "ExternalIP"),
    ];
    Site::with(settings, &objects).outcome()
}

/// A VIP that is somebody's address takes that machine, a session or a whole node off the network (kubernetes#127410).
#[test]
fn edge_07_vips_that_are_addresses_of_something_else() {
    let cases = [
        ("100.101.102.103", "it is an address of the node lb1"),
        ("100.101.102.9", "it is an address of the node other"),
        ("100.101.102.10", "it is an address of the node third"),
        ("10.244.1.7", "it lies in the pod range 10.244.1.0/24 of the node lb1"),
        ("10.244.2.7", "it lies in the pod range 10.244.2.0/24 of the node other"),
        ("10.0.1.1", "it is a BGP peer's"),
        ("9.9.9.9", "it is the router ID"),
    ];
    for (vip, why) in cases {
        let told = |what: &str| format!("shop/web: {what} {vip} is not allowed: {why}; not served");
        assert_eq!(as_vip(vip), [SERVED, &told("external IP"), &told("load-balancer IP")]);
    }
    let lines = as_vip("100.101.102.11");
    assert_eq!(lines.last().unwrap(), "routes: 100.101.102.11", "{lines:#?}");
}

/// Another Service's ClusterIP lies in no range of external IPs: ranges are apart.
#[test]
fn a_cluster_ip_is_nobodys_external_ip() {
    let spec = format!("clusterIPs: [10.20.30.41], externalIPs: [10.20.30.42], {PORTS}");
    assert_eq!(
        Site::new(&[service("web", &spec), slice("a", "web", P80, &[ONE])]).outcome(),
        [
            SERVED,
            "shop/web: external IP 10.20.30.42 is not allowed: no range of ranges.externalIPs holds it; not served"
        ]
    );
}

/// A Service of one family in a cluster of two, and addresses that are written in another way than they are meant.
#[test]
fn edge_21_families_and_forms_of_addresses() {
    let six = "addresses: ['2009:db8::1']";
    let ipv6 = service("web", &format!("clusterIPs: ['fd00:172:16::41'], ipFamilies: [IPv6], {PORTS}"));
    assert_eq!(
        Site::new(&[ipv6, slice("a", "web", P80, &[ONE]), slice("b", "web", P80, &[six])]).outcome(),
        ["[fd00:172:16::41]:80 TCP -> [2009:db8::1]:80"]
    );
    for vip in ["10.20.030.41", "::ffff:10.20.30.41"] {
        let spec = format!("clusterIPs: ['{vip}'], {PORTS}");
        let lines = Site::new(&[service("web", &spec), slice("a", "web", P80, &[ONE])]).outcome();
        assert!(lines.len() == 1 && lines[0].starts_with("Service shop/web: spec.clusterIPs[0] is"), "{lines:#?}");
    }
    let web = || service("web", &format!("clusterIPs: [10.20.30.41], {PORTS}"));
    for wrong in ["addresses: [010.180.0.2]", "addresses: ['2009:db8::1']", "addresses: ['::ffff:10.180.0.2']"] {
        let slice = slice("a", "web", P80, &[ONE, wrong]).replace("addressType: IPv6", "addressType: IPv4");
        let lines = Site::new(&[web(), slice]).outcome();
        assert!(lines.len() == 2 && lines[0] == SERVED, "the others are served: {lines:#?}");
        assert!(lines[1].starts_with("EndpointSlice shop/a: endpoints[1].addresses[0] is"), "{lines:#?}");
    }
    let named = slice("a", "web", P80, &["addresses: [pod.example.org]"]).replace("IPv4", "FQDN");
    assert_eq!(Site::new(&[web(), named]).outcome(), Vec::<String>::new());
}

/// An endpoint that is itself in a range would lead back here. A pod on the node's own network is a good one.
#[test]
fn edge_24_endpoints_that_are_local_addresses() {
    let web = || service("web", &format!("clusterIPs: [10.20.30.41], {PORTS}"));
    for vip in ["10.20.30.41", "10.20.30.42"] {
        assert_eq!(
            Site::new(&[web(), slice("a", "web", P80, &[ONE, &format!("addresses: [{vip}]")])]).outcome(),
            [SERVED, &format!("shop/web: endpoint {vip} is itself inside a range of VIPs; left out")]
        );
    }
    let host_network = format!("addresses: [{}], nodeName: lb1", NODE_IPS[0]);
    assert_eq!(
        Site::new(&[web(), slice("a", "web", P80, &[&host_network])]).outcome(),
        ["10.20.30.41:80 TCP -> 100.101.102.103:80"]
    );
}

/// A pod that reaches itself through a VIP has to see another client than itself: all clients of ClusterIPs are masqueraded,
/// and where clients keep their address, pods of this node do not.
#[test]
fn edge_25_a_pod_that_reaches_itself() {
    let spec = format!("clusterIPs: [10.20.30.41], internalTrafficPolicy: Local, {PORTS}");
    let this = node("lb1", "a", &[NODE_IPS[0]]).replace("status:", "spec: {podCIDRs: [10.180.0.0/24]}, status:");
    let here = slice("a", "web", P80, &[&format!("{ONE}, nodeName: lb1")]);
    let mut site = Site::new(&[service("web", &spec), here, this]);
    assert_eq!(site.outcome(), [format!("{SERVED}; keep"), "specifics: 10.20.30.41".to_owned()]);
    let table = site.rig.node.state.nft.table.clone().unwrap();
    assert_eq!(table.pods, [prefix("10.180.0.0/24")].into());
    assert!(table.masquerade.contains(&range("10.20.0.0/16", Announce::Aggregate).prefix));
}
