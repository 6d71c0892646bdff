//! What a node should hold, worked out from the whole world at once and without haste: an oracle for the planner.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vipcast::model::addr::{Addr, Link, LocalRoute};
use vipcast::model::ipvs::{DestinationKey, ServerKey, VirtualServer};
use vipcast::model::nft::{Nft, Table};
use vipcast::model::service::{Service, Slice};
use vipcast::model::settings::{Announce, Range, Snat};
use vipcast::model::{Family, Object, Prefix, ServiceKey, Settings, State};
use vipcast::plan::{ipvs, sysctl};

use super::build::{DESTINATION, ip};
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
    outermost.into_values().map(here).collect()
}

/// The virtual servers, each with the endpoints of the oldest Service that has any for it.
pub(crate) fn servers(settings: &Settings, world: &World) -> BTreeMap<ServerKey, VirtualServer> {
    let ranges = ranges(settings, world);
    let in_range = |address: IpAddr| ranges.iter().any(|range| range.prefix.contains(address));
    let mut services: Vec<(&ServiceKey, &Service)> = Vec::new();
    let mut slices: Vec<&Slice> = Vec::new();
    for object in world.objects.values() {
        match object {
            Object::Service(key, service) => services.push((key, service)),
            Object::Slice(_, slice) => slices.push(slice),
            Object::Node(_) | Object::OtherNode(..) | Object::ServiceCidr(..) => {}
        }
    }
    services.sort_by_key(|(key, service)| (service.created, (*key).clone()));
    let mut servers = BTreeMap::new();
    for (name, service) in services {
        for &address in service.cluster_ips.iter().filter(|address| in_range(**address)) {
            for port in &service.ports {
                let mut destinations = BTreeMap::new();
                for slice in slices.iter().filter(|slice| slice.service == *name && slice.family == Family::of(address))
                {
                    for target in slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol) {
                        for pod in slice.endpoints.iter().filter(|pod| pod.ready && !in_range(pod.address)) {
                            let key = DestinationKey { address: pod.address, port: target.port };
                            destinations.insert(key, DESTINATION);
                        }
                    }
                }
                if !destinations.is_empty() {
                    let key = ServerKey { address, protocol: port.protocol, port: port.port };
                    servers.entry(key).or_insert(VirtualServer {
                        settings: ipvs::settings(&settings.dataplane, service).0,
                        destinations,
                    });
                }
            }
        }
    }
    servers
}

/// The paths that should be out.
pub(crate) fn paths(settings: &Settings, world: &World) -> BTreeSet<Prefix> {
    let servers = servers(settings, world);
    let mut paths = BTreeSet::new();
    let peers = settings.bgp.as_ref().map(|bgp| bgp.peers_of(&world.labels())).unwrap_or_default();
    let carried = |range: &Range| peers.values().any(|peer| peer.families.contains(&range.prefix.family()));
    for range in ranges(settings, world).into_iter().filter(carried) {
        match range.announce {
            Announce::Aggregate => {
                paths.insert(range.prefix);
            }
            Announce::Host => {
                let vips = servers.keys().map(|key| key.address).filter(|vip| range.prefix.contains(*vip));
                paths.extend(vips.map(Prefix::host));
            }
            Announce::None => {}
        }
    }
    paths
}

/// All in the kernel that is ours.
pub(crate) fn kernel(settings: &Settings, world: &World) -> State {
    let ranges = ranges(settings, world);
    let prefixes: BTreeSet<Prefix> = ranges.iter().map(|range| range.prefix).collect();
    let families: BTreeSet<Family> = prefixes.iter().map(|prefix| prefix.family()).collect();
    let route = |prefix: &Prefix| {
        let source = match prefix.family() {
            Family::Ipv4 => ip("10.0.1.2"),
            Family::Ipv6 => ip("fd01::2"),
        };
        (*prefix, LocalRoute { source: Some(source), on_link: true })
    };
    let masquerade = if settings.dataplane.snat == Snat::Nftables { prefixes.clone() } else { BTreeSet::new() };
    let pods = world.node().filter(|_| settings.dataplane.snat == Snat::Nftables && !prefixes.is_empty());
    let pods = pods.into_iter().flat_map(|node| node.pod_cidrs.iter().copied()).collect();
    let table = Table { masquerade, guard: prefixes.clone(), pods, ..Table::default() };
    State {
        sysctls: sysctl::desired(&families),
        addr: Addr {
            link: (!prefixes.is_empty()).then_some(Link::DESIRED),
            routes: prefixes.iter().map(route).collect(),
        },
        nft: Nft {
            table: (!prefixes.is_empty()).then_some(table),
            classic: if settings.dataplane.snat == Snat::IpvsMatch { families } else { BTreeSet::new() },
            classic_broken: BTreeSet::new(),
        },
        ipvs: servers(settings, world),
        bgp: None,
    }
}
