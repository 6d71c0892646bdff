//! External and load-balancer IPs.

use crate::cases::{Site, ingress, service, slice};

const P80: &str = "{name: p80, port: 80}";
const PORTS: &str = "ports: [{name: p80, port: 80}]";
/// An endpoint on this node, and one elsewhere.
const HERE: &str = "addresses: [10.180.0.1], nodeName: lb1";
const THERE: &str = "addresses: [10.180.1.1], nodeName: other";

/// The ClusterIP's virtual server in most of these cases.
const CLUSTER_IP: &str = "10.20.30.41:80 TCP -> 10.180.0.1:80 10.180.1.1:80";

const EXTERNAL_IPS: &str =
    "clusterIPs: [10.20.30.41], externalIPs: [50.60.70.81, '2012::51', 127.0.0.1], ports: [{name: p80, port: 80}]";

/// kube-proxy serves the loopback address too, which takes the port from everything on the node that listens there. Here it
/// is refused, and its owner is told.
const LOOPBACK: &str = "Service shop/web: spec.externalIPs[2] is 127.0.0.1; \
                        allowed: no unspecified, loopback, link-local or multicast address; left out";

#[test]
fn case_08_external_ips_of_both_families_and_loopback() {
    let mut site = Site::new(&[service("web", EXTERNAL_IPS), slice("web-4", "web", P80, &[HERE])]);
    assert_eq!(
        site.outcome(),
        [
            "10.20.30.41:80 TCP -> 10.180.0.1:80",
            "50.60.70.81:80 TCP -> 10.180.0.1:80; masquerade",
            "routes: 50.60.70.81",
            LOOPBACK,
        ]
    );
    // Nobody listens on the VIP without a virtual server: it is not local.
    assert!(site.is_guarded("50.60.70.81"));
}

/// The protocol is in the key that joins ports. kube-proxy then has virtual servers without destinations.
#[test]
fn case_09_endpoints_of_another_protocol() {
    let udp = "{name: p80, port: 80, protocol: UDP}";
    let mut site = Site::new(&[service("web", EXTERNAL_IPS), slice("web-4", "web", udp, &[HERE])]);
    assert_eq!(site.outcome(), [LOOPBACK]);
}

#[test]
fn case_10_external_ips_with_the_policy_local() {
    let spec = "clusterIPs: [10.20.30.41], externalIPs: [50.60.70.81, 50.60.70.82], externalTrafficPolicy: Local";
    let mut site =
        Site::new(&[service("web", &format!("{spec}, {PORTS}")), slice("web-4", "web", P80, &[HERE, THERE])]);
    assert_eq!(
        site.outcome(),
        [
            CLUSTER_IP,
            "50.60.70.81:80 TCP -> 10.180.0.1:80; masquerade; keep",
            "50.60.70.82:80 TCP -> 10.180.0.1:80; masquerade; keep",
            "routes: 50.60.70.81 50.60.70.82",
        ]
    );
    // kube-proxy falls back to the endpoints elsewhere, and the reply is lost (kubernetes#93456); here the VIP is gone.
    site.put(&[slice("web-4", "web", P80, &[THERE])]);
    assert_eq!(site.outcome(), ["10.20.30.41:80 TCP -> 10.180.1.1:80"]);
}

/// The order of rules of kube-proxy's chains has its counterpart in the table's own chains (`model::nft`).
#[test]
fn case_11_a_load_balancer_ip() {
    let spec = format!("type: LoadBalancer, clusterIPs: [10.20.30.41], {PORTS}");
    let mut site = Site::new(&[ingress("web", &spec, "{ip: 1.2.3.4}"), slice("web-4", "web", P80, &[HERE, THERE])]);
    assert_eq!(
        site.outcome(),
        ["1.2.3.4:80 TCP -> 10.180.0.1:80 10.180.1.1:80; masquerade", CLUSTER_IP, "routes: 1.2.3.4"]
    );
}

#[test]
fn case_12_a_load_balancer_ip_with_the_policy_local() {
    let spec = format!("type: LoadBalancer, clusterIPs: [10.20.30.41], externalTrafficPolicy: Local, {PORTS}");
    let mut site = Site::new(&[ingress("web", &spec, "{ip: 1.2.3.4}"), slice("web-4", "web", P80, &[HERE, THERE])]);
    assert_eq!(site.outcome(), ["1.2.3.4:80 TCP -> 10.180.0.1:80; masquerade; keep", CLUSTER_IP, "routes: 1.2.3.4"]);
}

/// Source ranges are about load-balancer IPs, not about the ClusterIP. Ranges of the other family only let nobody through.
#[test]
fn case_14_source_ranges() {
    let spec = format!("type: LoadBalancer, clusterIPs: [10.20.30.41], {PORTS}");
    for (ranges, only) in [
        ("' 10.0.0.0/8'", "10.0.0.0/8"),
        ("203.0.113.0/25, 10.0.0.0/8, 10.1.0.0/16, 'fd00::/8'", "10.0.0.0/8 203.0.113.0/25"),
        ("'fd00::/8'", ""),
    ] {
        let spec = format!("{spec}, loadBalancerSourceRanges: [{ranges}]");
        let mut site = Site::new(&[ingress("web", &spec, "{ip: 1.2.3.4}"), slice("web-4", "web", P80, &[HERE, THERE])]);
        assert_eq!(
            site.outcome(),
            [
                &format!("1.2.3.4:80 TCP -> 10.180.0.1:80 10.180.1.1:80; masquerade; only from {only}"),
                CLUSTER_IP,
                "routes: 1.2.3.4"
            ]
        );
    }
}

/// A load balancer elsewhere that passes on by itself is none of ours. (The gate of kube-proxy for this is long open.)
#[test]
fn case_26_ip_modes() {
    let spec = format!("type: LoadBalancer, clusterIPs: [10.20.30.41], {PORTS}");
    let served = vec!["1.2.3.4:80 TCP -> 10.180.0.1:80 10.180.1.1:80; masquerade", CLUSTER_IP, "routes: 1.2.3.4"];
    for (address, expected) in [
        ("{ip: 1.2.3.4, ipMode: Proxy}", vec![CLUSTER_IP]),
        ("{ip: 1.2.3.4, ipMode: VIP}", served.clone()),
        ("{ip: 1.2.3.4}", served),
        ("{hostname: web.example.org}", vec![CLUSTER_IP]),
    ] {
        let mut site = Site::new(&[ingress("web", &spec, address), slice("web-4", "web", P80, &[HERE, THERE])]);
        assert_eq!(site.outcome(), expected, "{address}");
    }
}
