//! What each Service asks of this node.
//!
//! A [`Claim`] is a pure function of one Service and its EndpointSlices, so the work of a change is proportional to the
//! Service that changed. Who wins where two claim the same, the `ledger` says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::ipvs::{Destination, DestinationKey, Forwarding, ServerKey, ServerSettings};
use crate::model::service::{Service, ServicePort, Slice, TrafficPolicy, Weights};
use crate::model::settings::Use;
use crate::model::{Cluster, Family, Prefix, Settings};

use super::endpoints::{self, Endpoints};
use super::ipvs;
use super::problem::Problem;
use super::ranges::Ranges;
use super::surroundings::Surroundings;
use super::wish::{RouteWish, wish};

/// The destinations of one virtual server.
pub type Destinations = BTreeMap<DestinationKey, Destination>;

/// What one Service asks of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// `metadata.creationTimestamp` of the Service, in seconds.
    pub created: i64,
    /// The settings of all its virtual servers.
    pub settings: ServerSettings,
    /// Its virtual servers. One without destinations is not made: the guard then refuses at once. It is claimed all the same,
    /// so that nobody else takes a VIP when the endpoints of its Service are gone, or on another node.
    pub servers: BTreeMap<ServerKey, Ask>,
    /// What it wants of the routes of its VIPs, where that is not just what their ranges do.
    pub routes: BTreeMap<IpAddr, RouteWish>,
    /// Its health check port, and the number of its ready endpoints on this node.
    pub health: Option<(u16, usize)>,
    /// Why parts of it are not served.
    pub problems: Vec<Problem>,
}

impl Claim {
    /// Has a port of it usable endpoints?
    pub fn is_served(&self) -> bool {
        self.servers.values().any(|ask| !ask.destinations.is_empty())
    }
}

impl Claim {
    /// How many destinations take connections, over all its virtual servers.
    pub fn endpoints(&self) -> usize {
        let destinations = self.servers.values().flat_map(|ask| ask.destinations.values());
        destinations.filter(|destination| destination.weight > 0).count()
    }
}

/// What a Service asks of one virtual server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// Its destinations.
    pub destinations: Destinations,
    /// What the packet filter has to do for it.
    pub filter: Filter,
}

/// What the packet filter has to do for a virtual server, beside what it does for a whole range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Clients keep their addresses.
    pub keep: bool,
    /// Who may use it; `None`: everybody. No prefix holds another.
    pub sources: Option<Arc<BTreeSet<Prefix>>>,
}

/// What claims depend on beside the Service.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// What the operator asked for.
    pub settings: &'a Settings,
    /// The ranges in force.
    pub ranges: &'a Ranges,
    /// This node.
    pub here: &'a Surroundings,
    /// The cluster, for what concerns its other nodes.
    pub cluster: &'a Cluster,
}

/// An address on which a Service is served, and how.
struct Place {
    address: IpAddr,
    policy: TrafficPolicy,
    sources: Option<Arc<BTreeSet<Prefix>>>,
    /// What it is used for as a VIP; `None`: it is the node's own, with NodePorts.
    usage: Option<Use>,
}

/// The claim of `service` with its `slices`, which are in the order of their names.
pub fn claim(service: &Service, slices: &[&Slice], view: View) -> Claim {
    let mut claim = Claim { created: service.created, ..Claim::default() };
    let (settings, problem) = ipvs::settings(&view.settings.dataplane, service);
    claim.settings = settings;
    claim.problems.extend(problem);
    let places = places(service, view, &mut claim.problems);
    claim.routes = routes(service, &places, view, &mut claim.problems);
    let hints = service.wishes.topology_hints.unwrap_or(view.settings.dataplane.topology_hints);
    let weights = &service.wishes.weights;
    for port in &service.ports {
        for family in Family::ALL {
            let of_family = || places.iter().filter(|place| Family::of(place.address) == family);
            if of_family().next().is_none() {
                continue;
            }
            let mut found = endpoints::of_port(port, family, slices);
            leave_out(&mut found, view.ranges, &mut claim.problems);
            let destinations = |policy| destinations(&endpoints::chosen(&found, policy, hints, view.here), weights);
            let cluster = destinations(TrafficPolicy::Cluster);
            let local = of_family().any(|place| place.policy == TrafficPolicy::Local);
            let local = if local { destinations(TrafficPolicy::Local) } else { Destinations::new() };
            for place in of_family() {
                let Some(number) = number(port, place, view, &mut claim.problems) else { continue };
                let destinations = match place.policy {
                    TrafficPolicy::Cluster => &cluster,
                    TrafficPolicy::Local => &local,
                };
                let key = ServerKey { address: place.address, protocol: port.protocol, port: number };
                let filter = Filter { keep: place.policy == TrafficPolicy::Local, sources: place.sources.clone() };
                claim.servers.insert(key, Ask { destinations: destinations.clone(), filter });
            }
        }
    }
    claim.health = service.health_check_port.map(|port| (port, local_ready(slices, view.here)));
    claim.problems.dedup();
    claim
}

/// The addresses on which `service` is served here. Of an address that is named twice the last use counts, which is the one
/// that filters.
fn places(service: &Service, view: View, problems: &mut Vec<Problem>) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let vips = [
        (Use::ClusterIp, &service.cluster_ips, service.internal_policy),
        (Use::ExternalIp, &service.external_ips, service.external_policy),
        (Use::LoadBalancerIp, &service.load_balancer_ips, service.external_policy),
    ];
    for (usage, addresses, policy) in vips {
        for &address in addresses {
            if let Err(problem) = permitted(address, usage, view) {
                problems.extend(problem);
                continue;
            }
            let filters = usage == Use::LoadBalancerIp && !service.source_ranges.is_empty();
            let sources = filters.then(|| sources(&service.source_ranges, Family::of(address)));
            places.push(Place { address, policy, sources, usage: Some(usage) });
        }
    }
    let has_node_port = service.ports.iter().any(|port| port.node_port.is_some());
    let families: BTreeSet<Family> = service.cluster_ips.iter().map(|address| Family::of(*address)).collect();
    let nodes = view.here.node_port_addresses.iter().filter(|address| families.contains(&Family::of(**address)));
    let node =
        |address: &IpAddr| Place { address: *address, policy: service.external_policy, sources: None, usage: None };
    places.extend(nodes.filter(|_| has_node_port).map(node));
    places
}

/// What `service` wants of the routes of its VIPs. Of an address that is named twice the last use counts.
fn routes(service: &Service, places: &[Place], view: View, problems: &mut Vec<Problem>) -> BTreeMap<IpAddr, RouteWish> {
    let Some(settings) = view.settings.bgp.as_ref().filter(|_| !service.ports.is_empty()) else {
        return BTreeMap::new();
    };
    let uses: BTreeMap<IpAddr, (Use, TrafficPolicy)> =
        places.iter().filter_map(|place| Some((place.address, (place.usage?, place.policy)))).collect();
    let wishes = uses.into_iter().filter_map(|(vip, (usage, policy))| {
        let range = view.ranges.covering(vip)?;
        let configured = view.ranges.configured(range);
        Some((vip, wish(service, (vip, usage, policy), (range, configured), settings, problems)?))
    });
    wishes.collect()
}

/// May `address` be a VIP of this use? Somebody else may serve load-balancer IPs, so those outside the ranges are worth a
/// word only where ranges for them are configured.
fn permitted(address: IpAddr, usage: Use, view: View) -> Result<(), Option<Problem>> {
    let range = view.ranges.covering(address).filter(|range| range.uses.contains(&usage));
    if range.is_none() {
        let expected = usage != Use::LoadBalancerIp || view.ranges.iter().any(|range| range.uses.contains(&usage));
        return Err(expected.then(|| match usage {
            Use::ClusterIp => Problem::OutsideRanges(address, Arc::from(view.ranges.to_string())),
            Use::ExternalIp | Use::LoadBalancerIp => Problem::NotAllowed(usage, address),
        }));
    }
    // Ranges of ClusterIPs were compared with all of this as a whole.
    let in_use = (usage != Use::ClusterIp).then(|| view.here.in_use(address, view.settings, view.cluster)).flatten();
    in_use.map_or(Ok(()), |what| Err(Some(Problem::InUse(usage, address, Arc::from(what)))))
}

/// The port of `port` at `place`: its own at a VIP, and its node port, if it has one that may be ours, on a node.
fn number(port: &ServicePort, place: &Place, view: View, problems: &mut Vec<Problem>) -> Option<u16> {
    if place.usage.is_some() {
        return Some(port.port);
    }
    let number = port.node_port?;
    let (first, last) = view.settings.dataplane.node_ports.as_ref()?.ports;
    if (first..=last).contains(&number) {
        return Some(number);
    }
    problems.push(Problem::NodePortOutside(number, first, last));
    None
}

/// Leaves out endpoints inside a range that is wholly local: forwarding to one would lead back here.
fn leave_out(endpoints: &mut Endpoints, ranges: &Ranges, problems: &mut Vec<Problem>) {
    endpoints.retain(|key, endpoint| {
        let inside = ranges.covering(key.address).is_some_and(|range| range.is_whole());
        if inside && endpoint.ready {
            problems.push(Problem::EndpointInRange(key.address));
        }
        !inside
    });
}

fn destinations(chosen: &Endpoints, weights: &Weights) -> Destinations {
    let weights = endpoints::weighed(chosen, weights);
    let destination = |weight| Destination { weight, forwarding: Forwarding::Masquerade };
    chosen.keys().copied().zip(weights.into_iter().map(destination)).collect()
}

/// The prefixes of `family`, without those inside others. A Service that names clients of the other family only lets
/// nobody of this one through.
fn sources(ranges: &[Prefix], family: Family) -> Arc<BTreeSet<Prefix>> {
    let of_family = ranges.iter().copied().filter(|prefix| prefix.family() == family);
    Arc::new(super::nft::outermost(of_family.collect()))
}

/// How many addresses of ready endpoints are on this node (`localEndpoints` in `pkg/proxy/healthcheck`).
fn local_ready(slices: &[&Slice], here: &Surroundings) -> usize {
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let ready = endpoints.filter(|endpoint| endpoint.ready && here.is_local(endpoint));
    ready.map(|endpoint| endpoint.address).collect::<BTreeSet<_>>().len()
}
