//! Builders: short words for objects and settings.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use vipcast::model::bgp::{Attributes, NextHop, Peer};
use vipcast::model::ipvs::{Destination, DestinationKey, Forwarding, Protocol, Scheduler, ServerKey};
use vipcast::model::node::{Host, Node};
use vipcast::model::service::{Endpoint, Service, ServicePort, Slice, SlicePort};
use vipcast::model::settings::{Announce, BgpSettings, Brake, Dataplane, PeerEntry, Proof, Range, Use};
use vipcast::model::{Event, Family, Kind, Labels, Object, ObjectRef, Prefix, Selector, ServiceKey, Settings};

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().expect(text)
}

pub(crate) fn range(text: &str, announce: Announce) -> Range {
    range_of(prefix(text), announce)
}

pub(crate) fn range_of(prefix: Prefix, announce: Announce) -> Range {
    Range::new(prefix, Use::ClusterIp, announce)
}

/// Settings of the node lb1, `10.0.1.2` and `fd01::2`, with a peer of each family and a gobgpd of its own.
pub(crate) fn settings(ranges: &[Range]) -> Settings {
    let entry = |address, family| PeerEntry::new(ip(address), Peer::new(65000, [family]));
    Settings {
        node: "lb1".into(),
        node_selector: Selector::default(),
        node_ips: vec![ip("10.0.1.2"), ip("fd01::2")],
        cluster_ips: Some(ranges.to_vec()),
        allowed: Vec::new(),
        dataplane: Dataplane::default(),
        bgp: Some(BgpSettings {
            asn: 65001,
            router_id: None,
            listen_port: None,
            exclusive: true,
            next_hop_ipv4: NextHop::Own,
            next_hop_ipv6: NextHop::Own,
            attributes: Attributes::default(),
            max_specifics: 64,
            graceful_restart: None,
            peers: vec![entry("10.0.1.1", Family::Ipv4), entry("fd01::1", Family::Ipv6)],
        }),
        bfd: Default::default(),
        lease: Default::default(),
        proof: Proof { canaries: Vec::new(), ..Proof::default() },
        brake: Brake { share: 100, ..Brake::default() },
        drain: Default::default(),
        withdraw_delay: Duration::from_secs(2),
        resync: Duration::from_secs(300),
    }
}

/// A range of each family, announced as aggregates.
pub(crate) fn dual_stack() -> Settings {
    settings(&[range("10.96.0.0/16", Announce::Aggregate), range("fd00:10:96::/112", Announce::Aggregate)])
}

/// One IPv4 range of which each VIP has a route.
pub(crate) fn host_routes() -> Settings {
    settings(&[range("10.96.0.0/16", Announce::Host)])
}

/// What the kernel of lb1 says about it.
pub(crate) fn host() -> Host {
    let addresses = [ip("10.0.1.2"), ip("fd01::2")];
    Host { addresses: addresses.into(), default_addresses: addresses.to_vec(), ..Host::default() }
}

/// The Service `shop/NAME` with TCP ports.
pub(crate) fn service(name: &str, vips: &[&str], ports: &[(&str, u16)]) -> Event {
    service_created(0, name, vips, ports)
}

/// The same, created at some second.
pub(crate) fn service_created(created: i64, name: &str, vips: &[&str], ports: &[(&str, u16)]) -> Event {
    let port = |(name, port): &(&str, u16)| ServicePort {
        name: (*name).into(),
        protocol: Protocol::Tcp,
        port: *port,
        node_port: None,
    };
    let service = Service {
        created,
        uid: None,
        cluster_ips: vips.iter().map(|vip| ip(vip)).collect(),
        external_ips: Vec::new(),
        ports: ports.iter().map(port).collect(),
        ..Service::default()
    };
    Event::Put(Object::Service(ServiceKey::new("shop", name), service))
}

/// The EndpointSlice `shop/NAME` with TCP ports and ready endpoints, of the first endpoint's family.
pub(crate) fn slice(name: &str, service: &str, ports: &[(&str, u16)], endpoints: &[&str]) -> Event {
    let port = |(name, port): &(&str, u16)| SlicePort { name: (*name).into(), protocol: Protocol::Tcp, port: *port };
    let family = endpoints.first().map_or(Family::Ipv4, |first| Family::of(ip(first)));
    let slice = Slice {
        service: ServiceKey::new("shop", service),
        family,
        ports: ports.iter().map(port).collect(),
        endpoints: endpoints.iter().map(|address| Endpoint::new(ip(address), true)).collect(),
    };
    Event::Put(Object::Slice(Arc::from(format!("shop/{name}")), slice))
}

/// Labels, written as `key=value` with spaces between them.
pub(crate) fn labels(text: &str) -> Labels {
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

pub(crate) fn selector(text: &str) -> Selector {
    Selector::new(labels(text))
}

/// The Node object with these labels and the addresses that `host` has.
pub(crate) fn node(text: &str) -> Event {
    let addresses = vec![ip("10.0.1.2"), ip("fd01::2")];
    Event::Put(Object::Node(Node { addresses, labels: labels(text), ..Node::default() }))
}

/// A ServiceCIDR.
pub(crate) fn cidr(name: &str, prefixes: &[&str]) -> Event {
    Event::Put(Object::ServiceCidr(name.into(), prefixes.iter().map(|text| prefix(text)).collect()))
}

/// The object `name` of this kind.
pub(crate) fn reference(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef { kind, name: name.into() }
}

pub(crate) fn gone(kind: Kind, name: &str) -> Event {
    Event::Gone(reference(kind, name))
}

/// `web`: two VIPs, port 80, two IPv4 endpoints and one IPv6 endpoint.
pub(crate) fn web() -> Vec<Event> {
    vec![
        service("web", &["10.96.0.10", "fd00:10:96::10"], &[("http", 80)]),
        slice("web-4", "web", &[("http", 8080)], &["10.244.1.2", "10.244.2.2"]),
        slice("web-6", "web", &[("http", 8080)], &["fd00:244::2"]),
    ]
}

/// A list of all kinds: `objects` and nothing else are there.
pub(crate) fn listed(objects: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let listing = Kind::ALL.into_iter().map(Event::Listing);
    listing.chain(objects).chain(Kind::ALL.into_iter().map(Event::Listed)).collect()
}

pub(crate) fn tcp(address: &str, port: u16) -> ServerKey {
    ServerKey { address: ip(address), protocol: Protocol::Tcp, port }
}

pub(crate) fn endpoint(address: &str, port: u16) -> DestinationKey {
    DestinationKey { address: ip(address), port }
}

/// What every destination is.
pub(crate) const DESTINATION: Destination = Destination { weight: 1, forwarding: Forwarding::Masquerade };

/// A data plane with this scheduler.
pub(crate) fn scheduled(name: &str) -> Dataplane {
    Dataplane { scheduler: Scheduler::new(name), ..Dataplane::default() }
}
