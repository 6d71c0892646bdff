//! A small cluster that changes at random: few names, few addresses, so that claims collide often.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use vipcast::model::ipvs::{Protocol, Scheduler};
use vipcast::model::node::Node;
use vipcast::model::service::{Endpoint, Service, ServicePort, Slice, SlicePort};
use vipcast::model::settings::{Announce, Snat};
use vipcast::model::{Event, Family, Kind, Labels, Object, ObjectRef, Selector, ServiceKey, Settings};

use super::build::{ip, labels, prefix, range, selector, settings};

/// VIPs in the ranges of [`any_setup`], and one beyond.
const VIPS_4: [&str; 4] = ["10.96.0.1", "10.96.0.2", "10.96.128.1", "10.97.0.1"];
const VIPS_6: [&str; 2] = ["fd00:10:96::1", "fd00:10:96::2"];
/// Endpoints; the last lies inside a range itself.
const PODS_4: [&str; 5] = ["10.244.1.2", "10.244.1.3", "10.244.2.2", "10.244.2.3", "10.96.0.9"];
const PODS_6: [&str; 3] = ["fd00:244::2", "fd00:244::3", "fd00:10:96::9"];
const PORTS: [(&str, u16, Protocol); 4] =
    [("http", 80, Protocol::Tcp), ("https", 443, Protocol::Tcp), ("dns", 53, Protocol::Udp), ("", 80, Protocol::Tcp)];
const SERVICES: usize = 5;
const SLICES: usize = 6;

/// What is really there.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct World {
    pub(crate) objects: BTreeMap<ObjectRef, Object>,
}

/// Something that happens in the cluster or to a source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Happening {
    /// An object is there in this form.
    Put(Object),
    /// An object is gone.
    Gone(ObjectRef),
    /// An object is there, but nobody understands it.
    Bad(ObjectRef),
    /// A file or a watch is in trouble, or well again.
    Trouble(bool),
    /// A source lists a kind anew, and completely.
    List(Kind),
    /// A source begins to list a kind, and breaks off after so many objects.
    BreakOff(Kind, usize),
}

impl World {
    /// Lets it happen; answers with what a source tells of it.
    pub(crate) fn happen(&mut self, happening: Happening) -> Vec<Event> {
        match happening {
            Happening::Put(object) => {
                self.objects.insert(object.reference(), object.clone());
                vec![Event::Put(object)]
            }
            Happening::Gone(object) => {
                self.objects.remove(&object);
                vec![Event::Gone(object)]
            }
            Happening::Bad(object) => vec![Event::Bad(object, "cannot be understood".into())],
            Happening::Trouble(is) => {
                vec![Event::Trouble { origin: "a watch".into(), problem: is.then(|| "is down".into()) }]
            }
            Happening::List(kind) => self.list(kind, usize::MAX, true),
            Happening::BreakOff(kind, count) => self.list(kind, count, false),
        }
    }

    /// This node's Node object.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.objects.values().find_map(|object| match object {
            Object::Node(node) => Some(node),
            _ => None,
        })
    }

    /// The labels of this node: none if it has no Node object.
    pub(crate) fn labels(&self) -> Labels {
        self.node().map(|node| node.labels.clone()).unwrap_or_default()
    }

    /// The node has these labels now.
    pub(crate) fn label(&mut self, text: &str) -> Happening {
        let node = self.node().cloned().unwrap_or_default();
        Happening::Put(Object::Node(Node { labels: labels(text), ..node }))
    }

    /// All kinds, listed completely.
    pub(crate) fn list_all(&self) -> Vec<Event> {
        Kind::ALL.into_iter().flat_map(|kind| self.list(kind, usize::MAX, true)).collect()
    }

    fn list(&self, kind: Kind, count: usize, to_the_end: bool) -> Vec<Event> {
        let of_kind = self.objects.values().filter(|object| object.kind() == kind).take(count).cloned();
        let end = to_the_end.then_some(Event::Listed(kind));
        std::iter::once(Event::Listing(kind)).chain(of_kind.map(Event::Put)).chain(end).collect()
    }
}

fn service_key(index: usize) -> ServiceKey {
    ServiceKey::new("shop", &format!("s{index}"))
}

fn slice_name(index: usize) -> Arc<str> {
    format!("shop/e{index}").into()
}

fn any_service() -> impl Strategy<Value = Object> {
    let vips = |pool: &'static [&str]| select(pool).prop_map(ip);
    let vips = prop_oneof![
        6 => vips(&VIPS_4).prop_map(|vip| vec![vip]),
        2 => vips(&VIPS_6).prop_map(|vip| vec![vip]),
        4 => (vips(&VIPS_4), vips(&VIPS_6)).prop_map(|(first, second)| vec![first, second]),
        1 => Just(Vec::new()),
    ];
    let port = |(name, port, protocol): (&str, u16, Protocol)| ServicePort {
        name: name.into(),
        protocol,
        port,
        node_port: None,
    };
    // Two ports of one Service never share number and protocol: the API server sees to it.
    let ports = prop_oneof![subsequence(PORTS[..3].to_vec(), 0..=3), Just(vec![PORTS[3]]),]
        .prop_map(move |ports| ports.into_iter().map(port).collect::<Vec<_>>());
    let uid = prop::option::of(select(vec!["a", "b"])).prop_map(|uid| uid.map(Arc::from));
    (0..SERVICES, 0..3_i64, uid, vips, ports).prop_map(|(index, created, uid, cluster_ips, ports)| {
        Object::Service(service_key(index), Service { created, uid, cluster_ips, ports, ..Service::default() })
    })
}

fn any_slice() -> impl Strategy<Value = Object> {
    let endpoints = |pool: &'static [&str]| {
        let endpoint = |(address, ready): (&str, bool)| Endpoint::new(ip(address), ready);
        vec((select(pool), prop::bool::weighted(0.8)).prop_map(endpoint), 0..4)
    };
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
fn any_node() -> impl Strategy<Value = Object> {
    let addresses = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect::<Vec<IpAddr>>();
    let addresses = prop_oneof![
        Just(addresses(&["10.0.1.2", "fd01::2"])),
        Just(addresses(&["10.0.1.3", "10.0.1.2", "fd01::2"])),
        Just(addresses(&["fd01::2", "10.0.1.2"])),
    ];
    let pods = prop::bool::ANY.prop_map(|is| if is { vec![prefix("10.244.0.0/24")] } else { Vec::new() });
    let labels = (select(vec!["role=lb", "role=lb", "role=worker"]), select(vec!["rack=a", "rack=a", "rack=b"]))
        .prop_map(|(role, rack)| labels(&format!("{role} {rack}")));
    (addresses, pods, labels, any::<bool>()).prop_map(|(addresses, pod_cidrs, labels, shutting_down)| {
        Object::Node(Node { addresses, pod_cidrs, labels, shutting_down, ..Node::default() })
    })
}

fn any_cidr() -> impl Strategy<Value = Object> {
    let pool = vec!["10.96.0.0/16", "10.96.0.0/17", "10.96.128.0/17", "fd00:10:96::/112"];
    (select(vec!["a", "b"]), btree_set(select(pool), 0..3))
        .prop_map(|(name, prefixes)| Object::ServiceCidr(name.into(), prefixes.into_iter().map(prefix).collect()))
}

/// Any object.
pub(crate) fn any_object() -> impl Strategy<Value = Object> {
    prop_oneof![8 => any_service(), 10 => any_slice(), 2 => any_node(), 2 => any_cidr()]
}

/// The name of any object.
fn any_reference() -> impl Strategy<Value = ObjectRef> {
    prop_oneof![
        3 => (0..SERVICES).prop_map(|index| (Kind::Service, service_key(index).name())),
        4 => (0..SLICES).prop_map(|index| (Kind::EndpointSlice, slice_name(index))),
        1 => select(vec!["a", "b"]).prop_map(|name| (Kind::ServiceCidr, name.into())),
        1 => Just((Kind::Node, "".into())),
    ]
    .prop_map(|(kind, name)| ObjectRef { kind, name })
}

fn any_kind() -> impl Strategy<Value = Kind> {
    select(Kind::ALL.to_vec())
}

/// Anything that can happen.
pub(crate) fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        20 => any_object().prop_map(Happening::Put),
        6 => any_reference().prop_map(Happening::Gone),
        2 => any_reference().prop_map(Happening::Bad),
        1 => any::<bool>().prop_map(Happening::Trouble),
        2 => any_kind().prop_map(Happening::List),
        1 => (any_kind(), 0..4_usize).prop_map(|(kind, count)| Happening::BreakOff(kind, count)),
    ]
}

/// A world with something in it.
pub(crate) fn any_world() -> impl Strategy<Value = World> {
    vec(any_object(), 8..30).prop_map(|objects| {
        let objects = objects.into_iter().map(|object| (object.reference(), object)).collect();
        World { objects }
    })
}

/// Settings that show in few words how they differ from others.
#[derive(Clone, PartialEq)]
pub(crate) struct Setup(pub(crate) Settings);

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup(settings) = self;
        match &settings.cluster_ips {
            Some(ranges) => ranges.iter().try_for_each(|range| write!(f, "{} {:?} ", range.prefix, range.announce))?,
            None => f.write_str("ServiceCIDRs ")?,
        }
        write!(f, "{:?} {}", settings.dataplane.snat, settings.dataplane.scheduler)?;
        if settings.node_ips.is_empty() {
            f.write_str(" nodeIPs:object")?;
        }
        if settings.selects_by_labels() {
            let ranges = settings.cluster_ips.iter().flatten().map(|range| &range.node_selector);
            let peers = settings.bgp.iter().flat_map(|bgp| &bgp.peers).map(|entry| &entry.node_selector);
            let words = |selectors: Vec<&Selector>| selectors.iter().map(ToString::to_string).collect::<Vec<_>>();
            let (ranges, peers) = (words(ranges.collect()), words(peers.collect()));
            write!(f, " selector:{} ranges:{ranges:?} peers:{peers:?}", settings.node_selector)?;
        }
        let shared = settings.bgp.as_ref().is_some_and(|bgp| !bgp.exclusive);
        f.write_str(if shared { " shared" } else { "" })
    }
}

/// What an operator may configure, with a gobgpd of our own.
pub(crate) fn any_setup() -> impl Strategy<Value = Setup> {
    let announce = || prop_oneof![4 => Just(Announce::Aggregate), 3 => Just(Announce::Host), 1 => Just(Announce::None)];
    let ipv4 = (select(vec!["10.96.0.0/16", "10.96.0.0/16", "10.96.0.0/17", "10.96.128.0/17"]), announce());
    let ranges = prop_oneof![
        3 => (ipv4, prop::option::of(announce())).prop_map(move |((ipv4, announce), ipv6)| {
            let ipv6 = ipv6.map(|announce| range("fd00:10:96::/112", announce));
            Some(std::iter::once(range(ipv4, announce)).chain(ipv6).collect())
        }),
        1 => Just(None),
    ];
    let snat = prop_oneof![4 => Just(Snat::Nftables), 1 => Just(Snat::IpvsMatch), 1 => Just(Snat::None)];
    let scheduler = prop_oneof![3 => Just("rr"), 1 => Just("mh")];
    let from_object = prop::bool::weighted(0.3);
    // Who is an LB node, who announces the first range, and who has the first peer.
    let selectors = prop_oneof![
        3 => Just(["", "", ""]),
        3 => Just(["role=lb", "", ""]),
        1 => Just(["", "", "rack=a"]),
        1 => Just(["role=lb", "rack=a", "rack=b"]),
    ];
    (ranges, snat, scheduler, from_object, selectors).prop_map(|(ranges, snat, scheduler, from_object, selectors)| {
        let mut settings = settings(&[]);
        settings.cluster_ips = ranges;
        settings.dataplane.snat = snat;
        settings.dataplane.scheduler = Scheduler::new(scheduler);
        if from_object {
            settings.node_ips.clear();
        }
        let [node, range, peer] = selectors.map(selector);
        settings.node_selector = node;
        settings.cluster_ips.iter_mut().flatten().take(1).for_each(|first| first.node_selector = range.clone());
        settings.bgp.iter_mut().flat_map(|bgp| &mut bgp.peers).take(1).for_each(|first| {
            first.node_selector = peer.clone();
        });
        Setup(settings)
    })
}
