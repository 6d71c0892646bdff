//! Objects of the small cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use vipcast::model::bgp::{Attributes, Community};
use vipcast::model::ipvs::{Protocol, Scheduler};
use vipcast::model::node::{Footprint, Node};
use vipcast::model::service::{
    Announcing, Endpoint, Hints, Service, ServicePort, Slice, SlicePort, TrafficPolicy, Weights, Wishes,
};
use vipcast::model::settings::Use;
use vipcast::model::{Family, Object, Prefix};

use super::{SERVICES, SLICES, service_key, slice_name};
use crate::support::build::{ip, labels, prefix, selector};

/// VIPs in the ranges of [`any_setup`], and one beyond.
const VIPS_4: [&str; 4] = ["10.96.0.1", "10.96.0.2", "10.96.128.1", "10.97.0.1"];
const VIPS_6: [&str; 2] = ["fd00:10:96::1", "fd00:10:96::2"];
/// Endpoints; the last lies inside a range itself.
const PODS_4: [&str; 5] = ["10.244.1.2", "10.244.1.3", "10.244.2.2", "10.244.2.3", "10.96.0.9"];
const PODS_6: [&str; 3] = ["fd00:244::2", "fd00:244::3", "fd00:10:96::9"];
const PORTS: [(&str, u16, Protocol); 4] =
    [("http", 80, Protocol::Tcp), ("https", 443, Protocol::Tcp), ("dns", 53, Protocol::Udp), ("", 80, Protocol::Tcp)];

/// External and load-balancer IPs: most in the ranges of `any_setup`, among them addresses of this node and of the other
/// one, a BGP peer's, one in the other node's pod range, and one beyond.
const EXTERNAL: [&str; 10] = [
    "192.0.2.1",
    "192.0.2.1",
    "192.0.2.2",
    "192.0.2.5",
    "192.0.2.9",
    "10.0.1.1",
    "10.0.1.2",
    "10.0.1.9",
    "2001:db8:5::1",
    "203.0.113.7",
];
const BALANCED: [&str; 4] = ["198.51.100.1", "198.51.100.2", "192.0.2.1", "2001:db8:5::1"];
/// The last is outside the ports of `any_setup`.
const NODE_PORTS: [u16; 3] = [30001, 30002, 29999];
const ZONES: [&str; 2] = ["a", "b"];
/// Another node.
pub(super) const OTHER_NODE: &str = "worker";

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    prop_oneof![3 => Just(TrafficPolicy::Cluster), 1 => Just(TrafficPolicy::Local)]
}

fn some_of(pool: &'static [&'static str]) -> impl Strategy<Value = Vec<IpAddr>> {
    let some = btree_set(select(pool).prop_map(ip), 1..3).prop_map(|some| some.into_iter().collect());
    prop_oneof![2 => Just(Vec::new()), 1 => some]
}

fn any_wishes() -> impl Strategy<Value = Wishes> {
    let by_zone = btree_map(select(&ZONES[..]).prop_map(Arc::from), 1..5_u32, 1..3);
    let weights = prop_oneof![
        4 => Just(Weights::Even),
        1 => Just(Weights::ZonesAlike),
        1 => by_zone.prop_map(|zones| Weights::ByZone(Arc::new(zones))),
    ];
    let scheduler = prop::option::weighted(0.2, select(vec!["lc", "mh", "wrr"]).prop_map(Scheduler::new));
    let hints = prop::option::weighted(0.2, any::<bool>());
    let announcing = prop::option::weighted(0.3, any_announcing().prop_map(Box::new));
    (weights, scheduler, hints, announcing).prop_map(|(weights, scheduler, topology_hints, announcing)| Wishes {
        scheduler,
        weights,
        topology_hints,
        announcing,
        ..Wishes::default()
    })
}

/// What annotations may ask of routes.
fn any_announcing() -> impl Strategy<Value = Announcing> {
    let wanted = prop_oneof![
        2 => Just(BTreeMap::new()),
        1 => any::<bool>().prop_map(|is| Use::ALL.into_iter().map(|usage| (usage, is)).collect()),
        1 => btree_map(select(Use::ALL.to_vec()), any::<bool>(), 1..3),
    ];
    let nodes = prop::option::weighted(0.3, select(vec!["rack=a", "rack=b", "role=lb"]).prop_map(selector));
    let communities = subsequence(vec![Community(1), Community(0xffff_ff01)], 0..=1);
    let attributes = (communities, prop::option::weighted(0.2, 0..3_u32), prop::option::weighted(0.2, 0..3_u8));
    let attributes = attributes.prop_map(|(communities, med, prepend)| Attributes {
        communities: communities.into_iter().collect(),
        med,
        prepend,
        ..Attributes::default()
    });
    (wanted, nodes, attributes).prop_map(|(wanted, nodes, attributes)| Announcing { wanted, nodes, attributes })
}

/// A Service that can be reached from outside, or not.
pub(super) fn any_service() -> impl Strategy<Value = Object> {
    let vips = |pool: &'static [&str]| select(pool).prop_map(ip);
    let vips = prop_oneof![
        6 => vips(&VIPS_4).prop_map(|vip| vec![vip]),
        2 => vips(&VIPS_6).prop_map(|vip| vec![vip]),
        4 => (vips(&VIPS_4), vips(&VIPS_6)).prop_map(|(first, second)| vec![first, second]),
        1 => Just(Vec::new()),
    ];
    let port = |((name, port, protocol), node_port): ((&str, u16, Protocol), Option<u16>)| ServicePort {
        name: name.into(),
        protocol,
        port,
        node_port,
    };
    // Two ports of one Service never share number and protocol: the API server sees to it.
    let ports = prop_oneof![subsequence(PORTS[..3].to_vec(), 0..=3), Just(vec![PORTS[3]]),];
    let numbers = prop_oneof![2 => Just(Vec::new()), 1 => Just(NODE_PORTS.to_vec()).prop_shuffle()];
    let ports = (ports, numbers).prop_map(move |(ports, numbers)| {
        let numbers = numbers.into_iter().map(Some).chain(std::iter::repeat(None));
        ports.into_iter().zip(numbers).map(port).collect::<Vec<_>>()
    });
    let uid = prop::option::of(select(vec!["a", "b"])).prop_map(|uid| uid.map(Arc::from));
    let sources =
        prop_oneof![3 => Just(vec![]), 1 => Just(vec!["10.0.0.0/8"]), 1 => Just(vec!["10.0.0.0/8", "fd00::/8"])];
    let outside = (some_of(&EXTERNAL), some_of(&BALANCED), sources);
    let affinity = prop::option::weighted(0.2, select(vec![100, 10800]));
    let how = (policy(), policy(), affinity, any_wishes());
    (0..SERVICES, 0..3_i64, uid, vips, ports, outside, how).prop_map(
        |(index, created, uid, cluster_ips, ports, (external_ips, load_balancer_ips, sources), how)| {
            let (internal_policy, external_policy, affinity, wishes) = how;
            let asks = !cluster_ips.is_empty();
            let service = Service {
                created,
                uid,
                external_ips: if asks { external_ips } else { Vec::new() },
                load_balancer_ips: if asks { load_balancer_ips } else { Vec::new() },
                cluster_ips,
                ports,
                internal_policy,
                external_policy,
                affinity,
                source_ranges: sources.into_iter().map(prefix).collect(),
                health_check_port: None,
                wishes: wishes.into(),
            };
            Object::Service(service_key(index), service)
        },
    )
}

fn any_endpoint(pool: &'static [&'static str]) -> impl Strategy<Value = Endpoint> {
    let name = |pool: &'static [&'static str]| prop::option::weighted(0.8, select(pool).prop_map(Arc::from));
    let names = |pool: &'static [&'static str]| {
        btree_set(select(pool).prop_map(Arc::from), 0..3).prop_map(|names| names.into_iter().collect::<Vec<_>>())
    };
    let hints =
        (names(&["lb1", OTHER_NODE]), names(&ZONES)).prop_map(|(nodes, zones)| Arc::new(Hints { nodes, zones }));
    let conditions = prop_oneof![
        8 => Just((true, true, false)),
        1 => Just((false, true, true)),
        1 => Just((false, false, true)),
        1 => Just((false, false, false)),
        1 => Just((false, true, false)),
    ];
    let place = (name(&["lb1", "lb1", OTHER_NODE]), name(&ZONES), prop::option::weighted(0.8, hints));
    (select(pool), conditions, place).prop_map(|(address, (ready, serving, terminating), (node, zone, hints))| {
        Endpoint { address: ip(address), ready, serving, terminating, node, zone, hints }
    })
}

pub(super) fn any_slice() -> impl Strategy<Value = Object> {
    let endpoints = |pool: &'static [&str]| vec(any_endpoint(pool), 0..4);
    let of_family = prop_oneof![
        3 => endpoints(&PODS_4).prop_map(|endpoints| (Family::Ipv4, endpoints)),
        1 => endpoints(&PODS_6).prop_map(|endpoints| (Family::Ipv6, endpoints)),
    ];
    let port =
        |((name, _, protocol), port): ((&str, u16, Protocol), u16)| SlicePort { name: name.into(), protocol, port };
    let ports = vec((select(PORTS.to_vec()), 8080..8083_u16).prop_map(port), 0..4);
    (0..SLICES, 0..SERVICES, of_family, ports).prop_map(|(index, service, (family, endpoints), ports)| {
        Object::Slice(slice_name(index), Slice { service: service_key(service), family, ports, endpoints })
    })
}

/// The node's own object. Its first address may be one that the node does not have.
pub(super) fn any_node() -> impl Strategy<Value = Object> {
    let addresses = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect::<Vec<IpAddr>>();
    let addresses = prop_oneof![
        Just(addresses(&["10.0.1.2", "fd01::2"])),
        Just(addresses(&["10.0.7.3", "10.0.1.2", "fd01::2"])),
        Just(addresses(&["fd01::2", "10.0.1.2"])),
    ];
    let pods = prop::bool::ANY.prop_map(|is| if is { vec![prefix("10.244.0.0/24")] } else { Vec::new() });
    let zone = select(vec!["", "topology.kubernetes.io/zone=a", "topology.kubernetes.io/zone=b"]);
    let labels = (select(vec!["role=lb", "role=lb", "role=worker"]), select(vec!["rack=a", "rack=a", "rack=b"]), zone)
        .prop_map(|(role, rack, zone)| labels(&format!("{role} {rack} {zone}")));
    // What drains a node comes and goes by `Act::Drain`, and is over when a run is healed.
    (addresses, pods, labels).prop_map(|(addresses, pod_cidrs, labels)| {
        Object::Node(Node { addresses, pod_cidrs, labels, ..Node::default() })
    })
}

/// Another node, whose address and pods lie where external IPs may.
pub(super) fn any_other_node() -> impl Strategy<Value = Object> {
    let pods: [Prefix; 2] = [prefix("10.244.7.0/24"), prefix("192.0.2.8/30")];
    (
        btree_set(select(vec!["192.0.2.5", "10.0.1.9", "10.0.7.7"]).prop_map(ip), 0..3),
        btree_set(select(pods.to_vec()), 0..3),
    )
        .prop_map(|(addresses, pod_cidrs)| Object::OtherNode(OTHER_NODE.into(), Footprint { addresses, pod_cidrs }))
}

pub(super) fn any_cidr() -> impl Strategy<Value = Object> {
    let pool = vec!["10.96.0.0/16", "10.96.0.0/17", "10.96.128.0/17", "fd00:10:96::/112"];
    (select(vec!["a", "b"]), btree_set(select(pool), 0..3))
        .prop_map(|(name, prefixes)| Object::ServiceCidr(name.into(), prefixes.into_iter().map(prefix).collect()))
}
