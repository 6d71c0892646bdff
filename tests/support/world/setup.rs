//! Settings that an operator may have.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use vipcast::model::bgp::{Attributes, Community, Export};
use vipcast::model::ipvs::Scheduler;
use vipcast::model::settings::{Announce, NodePorts, Range, Snat, Use};
use vipcast::model::{Selector, Settings};

use crate::support::build::{prefix, range, selector, settings};

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
        for range in &settings.allowed {
            write!(f, "{:?} {} {:?} ", range.uses, range.prefix, range.announce)?;
        }
        write!(f, "{:?} {}", settings.dataplane.snat, settings.dataplane.scheduler)?;
        f.write_str(if settings.dataplane.topology_hints { " hints" } else { "" })?;
        f.write_str(if settings.dataplane.node_ports.is_some() { " NodePorts" } else { "" })?;
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
        if let Some(bgp) = &settings.bgp {
            let (first, second) = (&bgp.peers[0].export, bgp.peers[1].peer.asn);
            write!(f, " specifics:{} {:?} export:{first:?} AS {second}", bgp.max_specifics, bgp.attributes)?;
        }
        let shared = settings.bgp.as_ref().is_some_and(|bgp| !bgp.exclusive);
        f.write_str(if shared { " shared" } else { "" })
    }
}

/// Ranges of external and load-balancer IPs, apart from each other. One of them is this node's own subnet.
fn any_allowed() -> impl Strategy<Value = Vec<Range>> {
    let announce = || select(vec![Announce::Host, Announce::Host, Announce::Aggregate, Announce::None]);
    let allowed = |text, uses: &[Use], announce| Range {
        uses: uses.iter().copied().collect(),
        ..Range::new(prefix(text), Use::ExternalIp, announce)
    };
    let both = [Use::ExternalIp, Use::LoadBalancerIp];
    let apart = (announce(), announce()).prop_map(move |(external, balanced)| {
        let external = allowed("192.0.2.0/28", &[Use::ExternalIp], external);
        vec![external, allowed("198.51.100.0/24", &[Use::LoadBalancerIp], balanced)]
    });
    let shared = (announce(), announce()).prop_map(move |(ipv4, ipv6)| {
        vec![allowed("192.0.2.0/28", &both, ipv4), allowed("2001:db8:5::/64", &both, ipv6)]
    });
    let own = select(vec![Announce::Host, Announce::None]).prop_map(move |announce| {
        vec![allowed("10.0.1.0/28", &both, announce), allowed("192.0.2.0/28", &[Use::ExternalIp], Announce::Host)]
    });
    prop_oneof![apart, shared, own]
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
    let routes = any_routes();
    let services = (any_allowed(), any::<bool>(), prop::bool::weighted(0.3), prop::bool::weighted(0.3));
    let ranges = (ranges, services);
    let how = (snat, scheduler, from_object);
    (ranges, how, selectors, routes).prop_map(|(ranges, (snat, scheduler, from_object), selectors, routes)| {
        let mut settings = settings(&[]);
        let (cluster_ips, (allowed, allows, hints, node_ports)) = ranges;
        settings.cluster_ips = cluster_ips;
        settings.allowed = if allows { allowed } else { Vec::new() };
        settings.dataplane.topology_hints = hints;
        let addresses = vec![prefix("10.0.1.0/24"), prefix("fd01::/64")];
        settings.dataplane.node_ports = node_ports.then_some(NodePorts { addresses, ports: (30000, 30010) });
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
        let bgp = settings.bgp.as_mut().expect("BGP");
        bgp.max_specifics = routes.max_specifics;
        bgp.attributes = routes.of_all;
        bgp.peers[0].export = routes.export;
        bgp.peers[1].peer.asn = routes.asn;
        settings.cluster_ips.iter_mut().flatten().take(1).for_each(|first| first.attributes = routes.of_range.clone());
        Setup(settings)
    })
}

/// What an operator may ask of routes.
#[derive(Debug, Clone)]
struct Routes {
    max_specifics: usize,
    of_all: Attributes,
    of_range: Attributes,
    export: Export,
    /// The AS of the second peer.
    asn: u32,
}

fn any_routes() -> impl Strategy<Value = Routes> {
    let attributes = || {
        let communities = subsequence(vec![Community(7), Community(8)], 0..=2);
        (communities, prop::option::of(5..7_u32)).prop_map(|(communities, med)| Attributes {
            communities: communities.into_iter().collect(),
            med,
            ..Attributes::default()
        })
    };
    let asn = select(vec![65000, 65000, 65001]);
    (select(vec![64, 64, 1, 0]), attributes(), attributes(), attributes(), asn).prop_map(
        |(max_specifics, of_all, of_range, exported, asn)| {
            let export = Export { attributes: exported, ..Export::default() };
            Routes { max_specifics, of_all, of_range, export, asn }
        },
    )
}
