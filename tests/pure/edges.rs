//! What a naive build of a Service proxy misses, numbered as in the list that this project keeps of kube-proxy's history.
//! What another test shows already is named here, and a test holds these names to the sources:
//!
//! | number | what | shown by |
//! |---|---|---|
//! | 5 | recreated between two passes; a ClusterIP goes over to another Service | `tests/pure/claims.rs::services_come_and_go_and_change` |
//! | 9 | forward first, announce after; a restart changes nothing | `tests/pure/planner.rs::the_main_job_goes_forward_first_and_announces_after`, `tests/pure/planner.rs::a_restart_adopts_what_is_there_and_changes_nothing` |
//! | 12 | UDP flows move when their endpoint goes | `tests/pure/planner/drain.rs::udp_destinations_go_at_once_and_their_flows_are_forgotten` |
//! | 17 | hints, and the zone of a node that changes | `tests/pure/cases/slices.rs::case_38_topology_hints`, `tests/pure/cases/slices.rs::hints_are_followed_only_where_somebody_asks_for_it` |
//! | 23 | flags that the kernel owns; somebody else writes at the same time | `src/apply/ipvs/codec/tests.rs::flags_that_the_kernel_owns_are_neither_sent_nor_seen`, `tests/pure/laws/survival.rs::every_run_keeps_order_and_arrives` |
//! | 26 | nothing before all is listed; what failed is tried again | `tests/pure/planner.rs::nothing_happens_before_the_first_complete_list`, `tests/pure/laws/survival.rs::every_run_keeps_order_and_arrives` |
//! | 27 | a kube-proxy on the same node | `src/check/judge/tests.rs::other_service_proxies` |

mod addresses;

use vipcast::model::Kind;
use vipcast::model::settings::Announce;
use vipcast::plan::sysctl;

use crate::cases::{NODE_IPS, Site, ingress, node, service, site, slice, told};
use crate::support::build::{prefix, range};

const P80: &str = "{name: p80, port: 80}";
const PORTS: &str = "ports: [{name: p80, port: 80}]";
const NOTHING: [&str; 0] = [];
const ONE: &str = "addresses: [10.180.0.1]";
const SERVED: &str = "10.20.30.41:80 TCP -> 10.180.0.1:80";

fn web() -> String {
    service("web", &format!("clusterIPs: [10.20.30.41], {PORTS}"))
}

fn eps(name: &str, endpoints: &[&str]) -> String {
    slice(name, "web", P80, endpoints)
}

/// While the slices of a Service are balanced anew, an endpoint stands in two of them, or for a moment in none.
#[test]
fn edge_01_an_endpoint_that_moves_between_slices() {
    let stale = "addresses: [10.180.0.1], conditions: {ready: false, serving: false, terminating: true}";
    for (first, second) in [(ONE, stale), (stale, ONE)] {
        for names in [["a", "b"], ["b", "a"]] {
            let mut site = Site::new(&[web(), eps(names[0], &[first]), eps(names[1], &[second])]);
            assert_eq!(site.outcome(), [SERVED], "{names:?}, {first}");
        }
    }
    let mut site = Site::new(&[web(), eps("a", &[ONE]), eps("b", &[])]);
    site.outcome();
    assert_eq!(site.put(&[eps("b", &[ONE])]).steps(), NOTHING);
    assert_eq!(site.put(&[eps("a", &[])]).steps(), NOTHING);
    // In none between two events of one pass.
    assert_eq!(site.put(&[eps("b", &[]), eps("a", &[ONE])]).steps(), NOTHING);
}

#[test]
fn edge_02_slices_and_services_in_any_order() {
    let two = "addresses: [10.180.0.2]";
    let both = "10.20.30.41:80 TCP -> 10.180.0.1:80 10.180.0.2:80";
    let mut site = Site::new(&[eps("a", &[ONE])]);
    assert_eq!(site.outcome(), NOTHING);
    assert_eq!(site.put(&[web()]).outcome(), [SERVED], "the slice was kept");
    assert_eq!(site.put(&[eps("b", &[two])]).outcome(), [both], "one slice does not replace another");
    assert_eq!(site.delete(Kind::EndpointSlice, "unknown").outcome(), [both]);
    assert_eq!(site.delete(Kind::EndpointSlice, "b").outcome(), [SERVED]);
}

/// The name joins them, and none is as good as an empty one. `targetPort` is the EndpointSlice controller's business.
#[test]
fn edge_03_ports_are_joined_by_name() {
    let spec = "clusterIPs: [10.20.30.41], ports: [{port: 80, targetPort: web}]";
    for unnamed in ["port: 8080", "port: 8080, name: ''", "port: 8080, name: null", "port: 8080, protocol: TCP"] {
        let mut site = Site::new(&[service("web", spec), slice("a", "web", &format!("{{{unnamed}}}"), &[ONE])]);
        assert_eq!(site.outcome(), ["10.20.30.41:80 TCP -> 10.180.0.1:8080"], "{unnamed}");
    }
    let two = "addresses: [10.180.0.2]";
    let numbers = [slice("a", "web", "{port: 8080}", &[ONE]), slice("b", "web", "{port: 9090}", &[two])];
    let mut site = Site::new(&[&[service("web", spec)], numbers.as_slice()].concat());
    assert_eq!(site.outcome(), ["10.20.30.41:80 TCP -> 10.180.0.1:8080 10.180.0.2:9090"]);
}

/// The protocol is in the key of a port and of a virtual server; the VIP is one.
#[test]
fn edge_04_one_number_and_name_in_another_protocol() {
    let of = |protocol: &str| {
        let spec = format!(
            "type: LoadBalancer, clusterIPs: [10.20.30.41], ports: [{{name: p, port: 53, protocol: {protocol}}}]"
        );
        let ports = format!("{{name: p, port: 53, protocol: {protocol}}}");
        [ingress("web", &spec, "{ip: 1.2.3.4}"), slice("a", "web", &ports, &[ONE])]
    };
    let lines = |protocol: &str| {
        vec![
            format!("1.2.3.4:53 {protocol} -> 10.180.0.1:53; masquerade"),
            format!("10.20.30.41:53 {protocol} -> 10.180.0.1:53"),
            "routes: 1.2.3.4".to_owned(),
        ]
    };
    let mut site = Site::new(&of("TCP"));
    assert_eq!(site.outcome(), lines("TCP"));
    assert_eq!(site.put(&of("UDP")).outcome(), lines("UDP"));
    let both = "ports: [{name: t, port: 53}, {name: u, port: 53, protocol: UDP}]";
    let of_slice = "{name: t, port: 53}, {name: u, port: 53, protocol: UDP}";
    site.put(&[
        ingress("web", &format!("type: LoadBalancer, clusterIPs: [10.20.30.41], {both}"), "{ip: 1.2.3.4}"),
        slice("a", "web", of_slice, &[ONE]),
    ]);
    let lines = site.outcome();
    assert_eq!(lines.iter().filter(|line| line.starts_with("1.2.3.4:53 ")).count(), 2, "{lines:#?}");
    assert_eq!(lines.last().unwrap(), "routes: 1.2.3.4");
}

/// Services that share a load-balancer IP by port, one of each policy.
#[test]
fn edge_06_a_vip_of_several_services() {
    let lb = |name: &str, vip: &str, port: u16, more: &str| {
        let ports = format!("ports: [{{name: p80, port: {port}}}]");
        ingress(name, &format!("type: LoadBalancer, clusterIPs: [{vip}], {ports}{more}"), "{ip: 1.2.3.4}")
    };
    let a = || [lb("a", "10.20.0.1", 80, ""), slice("a", "a", P80, &["addresses: [10.180.0.1], nodeName: other"])];
    let b = |node: &str| {
        let endpoint = format!("addresses: [10.180.0.2], nodeName: {node}");
        [lb("b", "10.20.0.2", 81, ", externalTrafficPolicy: Local"), slice("b", "b", P80, &[&endpoint])]
    };
    let mut site = Site::new(&[a(), b("other")].concat());
    let of_a = "1.2.3.4:80 TCP -> 10.180.0.1:80; masquerade";
    let (vip_a, vip_b) = ("10.20.0.1:80 TCP -> 10.180.0.1:80", "10.20.0.2:81 TCP -> 10.180.0.2:80");
    assert_eq!(site.outcome(), [of_a, vip_a, vip_b, "routes: 1.2.3.4"]);
    let of_b = "1.2.3.4:81 TCP -> 10.180.0.2:80; masquerade; keep";
    assert_eq!(site.put(&b("lb1")).outcome(), [of_a, of_b, vip_a, vip_b, "routes: 1.2.3.4"]);
    assert_eq!(site.delete(Kind::Service, "a").outcome(), [of_b, vip_b, "routes: 1.2.3.4"]);
    assert_eq!(site.put(&b("other")).outcome(), [vip_b], "the last of them takes the routes with it");
}

/// Without a preferred source the kernel would take a VIP as the source of what the node itself sends there, and a VIP
/// that is local on every node would answer ARP for all of them.
#[test]
fn edge_08_local_vips_are_no_sources_and_answer_no_arp() {
    let spec = format!("clusterIPs: [10.20.30.41], externalIPs: [50.60.70.81], {PORTS}");
    let mut site = Site::new(&[service("web", &spec), eps("a", &[ONE])]);
    let steps = site.steps();
    for step in [
        "set local route 10.20.0.0/16 src 100.101.102.103",
        "set local route 50.60.70.81/32 src 100.101.102.103",
        "set local route fd00:172:16::/112 src 2001:db8::1:1",
    ] {
        assert!(steps.iter().any(|found| found == step), "{step} is not in {steps:#?}");
    }
    for (name, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
        let found = site.rig.node.state.sysctls.iter().find(|(sysctl, _)| sysctl.0.ends_with(name));
        assert_eq!(found.map(|(_, value)| value.as_str()), Some(value));
    }
}

/// A whole range is announced, so what no virtual server takes of it must not go back to where it came from.
#[test]
fn edge_10_unused_addresses_and_ports_of_a_range_are_refused() {
    let mut site = Site::new(&[web(), eps("a", &[ONE])]);
    assert_eq!(site.outcome(), [SERVED]);
    let local =
        |address: &str| site.rig.node.state.addr.routes.keys().any(|route| route.contains(address.parse().unwrap()));
    for address in ["10.20.30.41", "10.20.255.254", "172.16.0.9", "fd00:172:16::9"] {
        assert!(local(address) && site.is_guarded(address), "{address}");
    }
    assert!(!local("50.60.70.81") && !local("1.2.3.4"), "nothing leads here");
}

/// After the loss of a node its flows come to others. `mh` chooses alike there only if its table was filled alike.
#[test]
fn edge_11_mh_is_filled_in_one_order_on_every_node() {
    let mut settings = site();
    settings.dataplane.scheduler = vipcast::model::ipvs::Scheduler::new("mh");
    let (two, three) = ("addresses: [10.180.0.2]", "addresses: [10.180.0.3]");
    let fills = |objects: &[String]| {
        let steps = Site::with(settings.clone(), objects).steps();
        steps.into_iter().filter(|step| step.contains("10.20.30.41")).collect::<Vec<_>>()
    };
    let left = fills(&[web(), eps("a", &[three, ONE]), eps("b", &[two])]);
    let right = fills(&[eps("c", &[two, ONE]), eps("d", &[three, two]), web()]);
    assert_eq!(left, right);
    assert_eq!(left.len(), 5, "{left:#?}");
    assert!(
        left[0].contains("none") && left[4].starts_with("set virtual server") && left[4].contains("mh"),
        "{left:#?}"
    );
}

#[test]
fn edge_13_affinity_has_limits() {
    let with = |seconds: &str| {
        let config = format!("sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {seconds}}}}}");
        let spec = format!("clusterIPs: [10.20.30.41], sessionAffinity: ClientIP, {config}, {PORTS}");
        Site::new(&[service("web", &spec), eps("a", &[ONE])]).outcome()
    };
    let server = |seconds: u32| format!("10.20.30.41:80 TCP [mh fallback persistent {seconds} s] -> 10.180.0.1:80");
    assert_eq!(with("1"), [server(1)]);
    assert_eq!(with("86400"), [server(86400)]);
    assert_eq!(with("null"), [server(10800)]);
    for seconds in ["0", "86401", "-1"] {
        let lines = with(seconds);
        assert_eq!(lines[0], server(10800));
        assert!(lines[1].contains("timeoutSeconds") && lines[1].contains("1 to 86400"), "{lines:#?}");
    }
    // A timeout that changes is set in place.
    let spec = |more: &str| service("web", &format!("clusterIPs: [10.20.30.41], {PORTS}{more}"));
    let mut site = Site::new(&[spec(""), eps("a", &[ONE])]);
    site.outcome();
    let steps = site.put(&[spec(", sessionAffinity: ClientIP")]).steps();
    assert!(steps.len() == 1 && steps[0].starts_with("set virtual server 10.20.30.41:80 TCP"), "{steps:#?}");
}

/// Else a client of a persistent virtual server comes back to an endpoint that takes nothing new, for as long as its
/// template lives.
#[test]
fn edge_14_templates_of_quiet_destinations_expire() {
    let wanted = sysctl::desired(&vipcast::model::Family::ALL.into());
    let found = wanted.iter().find(|(name, _)| name.0.ends_with("vs/expire_quiescent_template"));
    assert_eq!(found.map(|(_, value)| value.as_str()), Some("1"));
}

#[test]
fn edge_15_conditions_that_are_missing_or_odd() {
    let cases = [
        ("conditions: {}", true),
        ("conditions: {ready: null, serving: null, terminating: null}", true),
        ("conditions: {ready: true, serving: false}", true),
        ("conditions: {ready: false, serving: true, terminating: false}", false),
        ("conditions: {ready: false, serving: true}", false),
        ("conditions: {ready: false, terminating: true}", true),
        ("conditions: {ready: false, serving: false, terminating: true}", false),
    ];
    for (conditions, served) in cases {
        let lines = Site::new(&[web(), eps("a", &[&format!("{ONE}, {conditions}")])]).outcome();
        assert_eq!(lines, if served { vec![SERVED] } else { vec![] }, "{conditions}");
    }
    // One that terminates counts only where none is ready.
    let leaving = "addresses: [10.180.0.2], conditions: {ready: false, serving: true, terminating: true}";
    assert_eq!(Site::new(&[web(), eps("a", &[ONE, leaving])]).outcome(), [SERVED]);
}

/// The EndpointSlice controller then says `ready` of an endpoint that terminates, and of one that is not ready.
#[test]
fn edge_16_publish_not_ready_addresses() {
    let spec = format!("clusterIPs: [10.20.30.41], publishNotReadyAddresses: true, {PORTS}");
    let leaving = "addresses: [10.180.0.2], conditions: {ready: true, serving: false, terminating: true}";
    assert_eq!(
        Site::new(&[service("web", &spec), eps("a", &[ONE, leaving])]).outcome(),
        ["10.20.30.41:80 TCP -> 10.180.0.1:80 10.180.0.2:80"]
    );
}

/// Whether endpoints on a node are well, the EndpointSlices say.
#[test]
fn edge_18_a_node_that_is_not_ready() {
    let not_ready = |name: &str, address: &str| {
        node(name, "a", &[address]).replace("status: {", "status: {conditions: [{type: Ready, status: 'False'}], ")
    };
    let endpoint = "addresses: [10.180.0.1], nodeName: other";
    let mut site = Site::new(&[web(), eps("a", &[endpoint]), node("lb1", "a", &[NODE_IPS[0]])]);
    assert_eq!(site.outcome(), [SERVED]);
    let told = [not_ready("other", "100.101.102.9"), not_ready("lb1", NODE_IPS[0])];
    assert!(told.iter().all(|yaml| yaml.contains("conditions")));
    assert_eq!(site.put(&told).steps(), NOTHING);
}

/// A range of ClusterIPs that is announced by VIP: the internal policy decides about the VIP's route, not the external one.
#[test]
fn edge_19_cluster_ips_with_the_policy_local() {
    let mut settings = site();
    settings.cluster_ips = Some(vec![range("10.20.0.0/16", Announce::Host)]);
    let paths = |policies: &str, node: &str| {
        let spec = format!("type: NodePort, clusterIPs: [10.20.30.41], {PORTS}, {policies}");
        let endpoint = format!("{ONE}, nodeName: {node}");
        let mut site = Site::with(settings.clone(), &[service("web", &spec), eps("a", &[&endpoint])]);
        site.rig.run();
        site.rig.node.state.bgp.clone().unwrap().paths.into_keys().collect::<Vec<_>>()
    };
    let vip = prefix("10.20.30.41/32");
    assert_eq!(paths("externalTrafficPolicy: Local", "other"), [vip]);
    assert_eq!(paths("internalTrafficPolicy: Local", "lb1"), [vip]);
    assert_eq!(paths("internalTrafficPolicy: Local", "other"), []);
}

/// The status of a load balancer stays for a while when the type is another one already.
#[test]
fn edge_20_a_type_that_changes() {
    let of = |kind: &str| ingress("web", &format!("type: {kind}, clusterIPs: [10.20.30.41], {PORTS}"), "{ip: 1.2.3.4}");
    let mut site = Site::new(&[of("LoadBalancer"), eps("a", &[ONE])]);
    let served = ["1.2.3.4:80 TCP -> 10.180.0.1:80; masquerade", SERVED, "routes: 1.2.3.4"];
    assert_eq!(site.outcome(), served);
    assert_eq!(site.put(&[of("ClusterIP")]).outcome(), [SERVED]);
    assert_eq!(site.put(&[of("ExternalName")]).outcome(), NOTHING);
    assert_eq!(site.put(&[of("LoadBalancer")]).outcome(), served);
}

/// Whatever their values. Added later, they act as deletion; taken away, as creation.
#[test]
fn edge_22_labels_that_give_a_service_to_another_proxy() {
    for label in ["service.kubernetes.io/service-proxy-name: other", "service.kubernetes.io/headless: ''"] {
        let labelled = || web().replace("uid: web", &format!("uid: web, labels: {{{label}}}"));
        let mut site = Site::new(&[web(), eps("a", &[ONE])]);
        assert_eq!(site.outcome(), [SERVED]);
        assert_eq!(site.put(&[labelled()]).outcome(), NOTHING, "{label}");
        assert_eq!(site.put(&[web()]).outcome(), [SERVED]);
        let slice = eps("a", &[ONE]).replace("labels: {", &format!("labels: {{{label}, "));
        assert!(told(&slice).len() == 1 && slice.contains(label));
        assert_eq!(site.put(&[slice]).outcome(), NOTHING, "{label}");
    }
}

/// However many Services there are: no addresses on links, no set that holds them one by one.
#[test]
fn edge_28_a_range_is_one_route() {
    let objects = (1..200).flat_map(|n| {
        let name = format!("s{n}");
        [service(&name, &format!("clusterIPs: [10.20.0.{n}], {PORTS}")), slice(&name, &name, P80, &[ONE])]
    });
    let mut site = Site::new(&objects.collect::<Vec<_>>());
    site.rig.run();
    let state = &site.rig.node.state;
    assert_eq!((state.ipvs.len(), state.addr.routes.len()), (199, 3));
    assert_eq!(state.nft.table.as_ref().unwrap().elements, Default::default());
}
