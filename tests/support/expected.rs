//! What a node should hold, worked out from the whole world at once and without haste: an oracle for the planner.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vipcast::model::addr::{Addr, Link, LocalRoute};
use vipcast::model::bgp::{Attributes, Export, Path};
use vipcast::model::ipvs::{Destination, Forwarding, ServerKey, VirtualServer};
use vipcast::model::nft::{Elements, Nft, Table};
use vipcast::model::service::{Announcing, Service, ServicePort, Slice, TrafficPolicy};
use vipcast::model::settings::{Announce, BgpSettings, Range, Snat, Use};
use vipcast::model::{Family, Object, Prefix, ServiceKey, Settings, State};
use vipcast::plan::surroundings::Surroundings;
use vipcast::plan::{ipvs, sysctl};

use super::build::{host, ip};
use super::choice::{believed, takers, weights};
use super::world::World;

/// The ranges in force.
pub(crate) fn ranges(settings: &Settings, world: &World) -> Vec<Range> {
    let told = world.objects.values().flat_map(|object| match object {
        Object::ServiceCidr(_, prefixes) => prefixes.clone(),
        _ => Vec::new(),
    });
    let implied = |prefix| super::build::range_of(prefix, Announce::Aggregate);
    let wanted = settings.cluster_ips.clone().unwrap_or_else(|| told.map(implied).collect());
    let outer = |range: &Range| {
        let covered = |other: &Range| other.prefix != range.prefix && other.prefix.covers(range.prefix);
        !wanted.iter().any(covered)
    };
    let outermost: BTreeMap<Prefix, Range> =
        wanted.iter().filter(|range| outer(range)).map(|range| (range.prefix, range.clone())).collect();
    let labels = world.labels();
    let here = |range: Range| Range {
        announce: if range.node_selector.matches(&labels) { range.announce } else { Announce::None },
        ..range
    };
    outermost.into_values().chain(settings.allowed.iter().cloned()).map(here).collect()
}

/// A virtual server, and what the packet filter has to do for it.
#[derive(Debug, Clone)]
struct Served {
    server: VirtualServer,
    keep: bool,
    masquerade: bool,
    sources: Option<BTreeSet<Prefix>>,
}

/// The virtual servers, each with the endpoints of the oldest Service that has any for it.
pub(crate) fn servers(settings: &Settings, world: &World) -> BTreeMap<ServerKey, VirtualServer> {
    served(settings, world).into_iter().map(|(key, served)| (key, served.server)).collect()
}

fn served(settings: &Settings, world: &World) -> BTreeMap<ServerKey, Served> {
    let mut services: Vec<(&ServiceKey, &Service)> = Vec::new();
    for object in world.objects.values() {
        if let Object::Service(key, service) = object {
            services.push((key, service));
        }
    }
    services.sort_by_key(|(key, service)| (service.created, (*key).clone()));
    let mut all = BTreeMap::new();
    for (name, service) in services {
        for (key, served) in of_service(settings, world, name, service) {
            all.entry(key).or_insert(served);
        }
    }
    // Whoever is the oldest without endpoints has the key, and no virtual server.
    all.retain(|_, served| !served.server.destinations.is_empty());
    all
}

/// What one Service would have if it was alone.
fn of_service(settings: &Settings, world: &World, name: &ServiceKey, service: &Service) -> BTreeMap<ServerKey, Served> {
    let mut all = BTreeMap::new();
    let mut serve = |address: IpAddr, number: u16, port: &ServicePort, policy: TrafficPolicy, filters: bool| {
        let destinations = destinations(settings, world, name, service, port, Family::of(address), policy);
        let family = Family::of(address);
        let sources = service.source_ranges.iter().copied().filter(|prefix| prefix.family() == family).collect();
        let served = Served {
            server: VirtualServer { settings: ipvs::settings(&settings.dataplane, service).0, destinations },
            keep: policy == TrafficPolicy::Local,
            masquerade: !is_whole(settings, world, address),
            sources: Some(sources).filter(|_| filters),
        };
        all.insert(ServerKey { address, protocol: port.protocol, port: number }, served);
    };
    for port in &service.ports {
        for (usage, addresses) in [
            (Use::ClusterIp, &service.cluster_ips),
            (Use::ExternalIp, &service.external_ips),
            (Use::LoadBalancerIp, &service.load_balancer_ips),
        ] {
            let policy = if usage == Use::ClusterIp { service.internal_policy } else { service.external_policy };
            let filters = usage == Use::LoadBalancerIp && !service.source_ranges.is_empty();
            for address in addresses.iter().copied().filter(|address| is_allowed(settings, world, *address, usage)) {
                serve(address, port.port, port, policy, filters);
            }
        }
        let Some((number, node_ports)) = port.node_port.zip(settings.dataplane.node_ports.as_ref()) else { continue };
        let has_family =
            |address: &IpAddr| service.cluster_ips.iter().any(|vip| Family::of(*vip) == Family::of(*address));
        let named = |address: &IpAddr| node_ports.addresses.iter().any(|prefix| prefix.contains(*address));
        for address in host().addresses.into_iter().filter(has_family).filter(named) {
            if number >= node_ports.ports.0 && number <= node_ports.ports.1 {
                serve(address, number, port, service.external_policy, false);
            }
        }
    }
    all
}

/// May a Service have this VIP? One that is somebody's address must not become one.
fn is_allowed(settings: &Settings, world: &World, address: IpAddr, usage: Use) -> bool {
    let in_range =
        ranges(settings, world).iter().any(|range| range.prefix.contains(address) && range.uses.contains(&usage));
    let of_node = |object: &Object| match object {
        Object::Node(node) => {
            node.addresses.contains(&address) || node.pod_cidrs.iter().any(|pods| pods.contains(address))
        }
        Object::OtherNode(_, node) => {
            node.addresses.contains(&address) || node.pod_cidrs.iter().any(|pods| pods.contains(address))
        }
        _ => false,
    };
    let is_peer = settings.bgp.iter().flat_map(|bgp| &bgp.peers).any(|entry| entry.name.address() == Some(address));
    let taken = own_addresses(settings).contains(&address) || is_peer || world.objects.values().any(of_node);
    in_range && (usage == Use::ClusterIp || !taken)
}

/// The addresses that this node has or is said to have by its configuration.
fn own_addresses(settings: &Settings) -> BTreeSet<IpAddr> {
    host().addresses.into_iter().chain(settings.node_ips.iter().copied()).collect()
}

/// Does the address lie in a range that is wholly local?
fn is_whole(settings: &Settings, world: &World, address: IpAddr) -> bool {
    ranges(settings, world).iter().any(|range| range.is_whole() && range.prefix.contains(address))
}

fn destinations(
    settings: &Settings,
    world: &World,
    name: &ServiceKey,
    service: &Service,
    port: &ServicePort,
    family: Family,
    policy: TrafficPolicy,
) -> BTreeMap<vipcast::model::ipvs::DestinationKey, Destination> {
    let slices = world.objects.values().filter_map(|object| match object {
        Object::Slice(_, slice) if slice.service == *name => Some(slice),
        _ => None,
    });
    let slices: Vec<&Slice> = slices.collect();
    let mut found = believed(port, family, &slices);
    found.retain(|(key, _)| !is_whole(settings, world, key.address));
    let zone = world.labels().get("topology.kubernetes.io/zone").map(|zone| zone.as_str().into());
    let here = Surroundings { node: settings.node.as_str().into(), zone, ..Surroundings::default() };
    let hints = service.wishes.topology_hints.unwrap_or(settings.dataplane.topology_hints);
    let takers = takers(&found, policy, hints, &here);
    let weights = weights(&takers, &service.wishes.weights);
    let destination = |weight| Destination { weight, forwarding: Forwarding::Masquerade };
    takers.into_iter().map(|(key, _)| key).zip(weights.into_iter().map(destination)).collect()
}

/// The paths that should be out.
pub(crate) fn paths(settings: &Settings, world: &World) -> BTreeMap<Prefix, Path> {
    let Some(bgp) = &settings.bgp else { return BTreeMap::new() };
    let servers = servers(settings, world);
    let claims = vips(settings, world);
    let own = host().addresses;
    let labels = world.labels();
    let peers = bgp.peers_of(&labels);
    let carried = |range: &Range| peers.values().any(|entry| entry.peer.families.contains(&range.prefix.family()));
    let mut paths = BTreeMap::new();
    for range in ranges(settings, world).into_iter().filter(carried) {
        if range.announce == Announce::Aggregate {
            paths.insert(range.prefix, path(bgp, &range, range.prefix, None));
        }
        // A range that this node does not announce: no VIP of it has a route here.
        if !range.node_selector.matches(&labels) {
            continue;
        }
        for (vip, claim) in claims.iter().filter(|(vip, _)| range.prefix.contains(**vip) && !own.contains(*vip)) {
            let served = servers.keys().any(|key| key.address == *vip);
            let nodes = claim.asked.nodes.as_ref().is_none_or(|nodes| nodes.matches(&labels));
            let out = match range.announce {
                Announce::Host => served && nodes && claim.wanted != Some(false),
                Announce::None => served && nodes && claim.wanted == Some(true),
                Announce::Aggregate => served && nodes && claim.admitted && (!claim.local || claim.is_served),
            };
            if out {
                paths.insert(Prefix::host(*vip), path(bgp, &range, Prefix::host(*vip), Some(&claim.asked.attributes)));
            }
        }
    }
    paths
}

/// What the oldest Service that has a VIP wants of its route.
struct VipClaim {
    wanted: Option<bool>,
    asked: Announcing,
    local: bool,
    /// The Service itself has endpoints there.
    is_served: bool,
    /// Inside an aggregate: it differs, and is among the oldest that do.
    admitted: bool,
}

fn vips(settings: &Settings, world: &World) -> BTreeMap<IpAddr, VipClaim> {
    let mut services: Vec<(&ServiceKey, &Service)> = Vec::new();
    for object in world.objects.values() {
        if let Object::Service(key, service) = object {
            services.push((key, service));
        }
    }
    services.sort_by_key(|(key, service)| (service.created, (*key).clone()));
    let bgp = settings.bgp.as_ref().expect("BGP");
    let inner = bgp.peers.iter().any(|entry| entry.peer.asn == bgp.asn);
    let mut room = bgp.max_specifics;
    let mut all: BTreeMap<IpAddr, VipClaim> = BTreeMap::new();
    for (name, service) in services.into_iter().filter(|(_, service)| !service.ports.is_empty()) {
        let mut asked = service.wishes.announcing.as_deref().cloned().unwrap_or_default();
        if inner && asked.attributes.prepend != Some(0) {
            asked.attributes.prepend = None;
        }
        let mut uses: BTreeMap<IpAddr, (Use, TrafficPolicy)> = BTreeMap::new();
        for (usage, addresses, policy) in [
            (Use::ClusterIp, &service.cluster_ips, service.internal_policy),
            (Use::ExternalIp, &service.external_ips, service.external_policy),
            (Use::LoadBalancerIp, &service.load_balancer_ips, service.external_policy),
        ] {
            for vip in addresses.iter().filter(|vip| is_allowed(settings, world, **vip, usage)) {
                uses.insert(*vip, (usage, policy));
            }
        }
        let own = of_service(settings, world, name, service);
        for (vip, (usage, policy)) in uses {
            if all.contains_key(&vip) {
                continue;
            }
            let wanted = asked.wanted.get(&usage).copied();
            let local = policy == TrafficPolicy::Local;
            let differs =
                wanted == Some(true) || local || asked.nodes.is_some() || asked.attributes != Attributes::default();
            let applies = differs && wanted != Some(false) && is_in_aggregate(settings, world, vip);
            let admitted = applies && room > 0;
            room -= usize::from(admitted);
            let served = own.iter().any(|(key, served)| key.address == vip && !served.server.destinations.is_empty());
            let claim = VipClaim { wanted, asked: asked.clone(), local, is_served: served, admitted };
            all.insert(vip, claim);
        }
    }
    all
}

/// Does the VIP lie in a range that is announced as a whole, by whatever nodes?
fn is_in_aggregate(settings: &Settings, world: &World, vip: IpAddr) -> bool {
    let configured = settings.cluster_ips.iter().flatten().chain(&settings.allowed);
    let in_force = ranges(settings, world).into_iter().find(|range| range.prefix.contains(vip));
    let of_range = in_force.map(|range| {
        configured.clone().find(|other| other.prefix == range.prefix).map_or(range.announce, |other| other.announce)
    });
    of_range == Some(Announce::Aggregate)
}

fn path(bgp: &BgpSettings, range: &Range, prefix: Prefix, asked: Option<&Attributes>) -> Path {
    let layers = [Some(&bgp.attributes), Some(&range.attributes), asked];
    let layers = || layers.into_iter().flatten();
    let last = |value: fn(&Attributes) -> Option<u32>| layers().filter_map(value).next_back();
    let prepends = layers().filter_map(|layer| layer.prepend).next_back().unwrap_or_default();
    Path {
        next_hop: if prefix.family() == Family::Ipv4 { bgp.next_hop_ipv4 } else { bgp.next_hop_ipv6 },
        as_path: vec![bgp.asn; usize::from(prepends)],
        communities: layers().flat_map(|layer| layer.communities.iter().copied()).collect(),
        large_communities: layers().flat_map(|layer| layer.large_communities.iter().copied()).collect(),
        med: last(|layer| layer.med),
        local_pref: last(|layer| layer.local_pref),
    }
}

/// What the export policy should say.
pub(crate) fn exports(settings: &Settings, world: &World) -> Option<BTreeMap<IpAddr, Export>> {
    let peers = settings.bgp.as_ref()?.peers_of(&world.labels());
    let peers = peers.into_values().filter(|entry| entry.export != Export::default());
    let exports: BTreeMap<IpAddr, Export> =
        peers.filter_map(|entry| Some((entry.name.address()?, entry.export))).collect();
    (!exports.is_empty()).then_some(exports)
}

/// All in the kernel that is ours.
pub(crate) fn kernel(settings: &Settings, world: &World) -> State {
    let ranges = ranges(settings, world);
    let served = served(settings, world);
    let prefixes: BTreeSet<Prefix> = ranges.iter().map(|range| range.prefix).collect();
    let families: BTreeSet<Family> = prefixes.iter().map(|prefix| prefix.family()).collect();
    let route = |prefix: Prefix| {
        let source = match prefix.family() {
            Family::Ipv4 => ip("10.0.1.2"),
            Family::Ipv6 => ip("fd01::2"),
        };
        (prefix, LocalRoute { source: Some(source), on_link: true })
    };
    let whole: BTreeSet<Prefix> = ranges.iter().filter(|range| range.is_whole()).map(|range| range.prefix).collect();
    let in_range = |vip: &IpAddr| prefixes.iter().any(|prefix| prefix.contains(*vip));
    let on_their_own = |vip: &IpAddr| in_range(vip) && !whole.iter().any(|prefix| prefix.contains(*vip));
    let vips = served.keys().map(|key| key.address).filter(|vip| on_their_own(vip) && !host().addresses.contains(vip));
    let routes = whole.iter().copied().chain(vips.map(Prefix::host)).map(route).collect();
    State {
        sysctls: sysctl::desired(&families),
        addr: Addr { link: (!prefixes.is_empty()).then_some(Link::DESIRED), routes, probe: None },
        nft: Nft {
            table: Some(table(settings, world, &ranges, &served)).filter(|table| *table != Table::default()),
            classic: if settings.dataplane.snat == Snat::IpvsMatch { families } else { BTreeSet::new() },
            classic_broken: BTreeSet::new(),
        },
        ipvs: servers(settings, world),
        timeouts: Some(settings.dataplane.timeouts),
        bgp: None,
    }
}

fn table(settings: &Settings, world: &World, ranges: &[Range], served: &BTreeMap<ServerKey, Served>) -> Table {
    let rewrites = settings.dataplane.snat == Snat::Nftables;
    let whole = ranges.iter().filter(|range| range.is_whole()).map(|range| range.prefix);
    // In a range of which just single VIPs are local, the node's own addresses stay as they are.
    let mut own = own_addresses(settings);
    if settings.node_ips.is_empty() {
        own.extend(world.node().iter().flat_map(|node| node.addresses.iter().copied()));
    }
    let pieces = |range: &Range| if range.is_whole() { vec![range.prefix] } else { range.prefix.without(&own) };
    let any = settings.dataplane.snat != Snat::None;
    let those = |counts: bool, wanted: fn(&Served) -> bool| {
        let those = served.iter().filter(|(_, served)| counts && wanted(served));
        those.map(|(key, _)| *key).collect()
    };
    let elements = Elements {
        keep: those(any, |served| served.keep),
        masquerade: those(rewrites, |served| served.masquerade),
        draining: BTreeSet::new(),
        sources: served.iter().filter_map(|(key, served)| Some((*key, served.sources.clone()?))).collect(),
    };
    let is_used = !ranges.is_empty() || elements != Elements::default();
    let pods = world.node().filter(|_| any && is_used);
    Table {
        masquerade: whole.filter(|_| rewrites).collect(),
        guard: ranges.iter().flat_map(pieces).collect(),
        pods: pods.into_iter().flat_map(|node| node.pod_cidrs.iter().copied()).collect(),
        elements,
        ..Table::default()
    }
}
