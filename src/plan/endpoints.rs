//! Which endpoints take a Service port's traffic, and with what weight.
//!
//! The rules are Kubernetes' (`CategorizeEndpoints` in `pkg/proxy/topology.go`): ready endpoints; where there are none,
//! those that still serve while they terminate; each within what the traffic policy and, where it is followed, the hint of
//! the EndpointSlice controller leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::Family;
use crate::model::ipvs::DestinationKey;
use crate::model::service::{Endpoint, ServicePort, Slice, TrafficPolicy, Weights};

use super::surroundings::Surroundings;

/// Endpoints by the address and port that they are reached at.
pub type Endpoints<'a> = BTreeMap<DestinationKey, &'a Endpoint>;

/// All endpoints of `port` in `family`: joined by port name and protocol, each address and port once. While an endpoint
/// moves from one slice to another it stands in both: the one that promises most counts, and of two alike the one in the
/// first of `slices`.
pub fn of_port<'a>(port: &ServicePort, family: Family, slices: &[&'a Slice]) -> Endpoints<'a> {
    let promise = |endpoint: &Endpoint| (endpoint.ready, endpoint.serving, !endpoint.terminating);
    let mut found = Endpoints::new();
    for slice in slices.iter().copied().filter(|slice| slice.family == family) {
        let ports = slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol);
        for number in ports.map(|p| p.port) {
            for endpoint in &slice.endpoints {
                let there = found.entry(DestinationKey { address: endpoint.address, port: number }).or_insert(endpoint);
                if promise(endpoint) > promise(there) {
                    *there = endpoint;
                }
            }
        }
    }
    found
}

/// Those of `endpoints` that take the traffic which `policy` rules. `hints` says whether hints are followed.
pub fn chosen<'a>(endpoints: &Endpoints<'a>, policy: TrafficPolicy, hints: bool, here: &Surroundings) -> Endpoints<'a> {
    let in_scope = |endpoint: &Endpoint| policy == TrafficPolicy::Cluster || here.is_local(endpoint);
    let those = |wanted: fn(&Endpoint) -> bool| -> Endpoints<'a> {
        let those = endpoints.iter().filter(|(_, endpoint)| in_scope(endpoint) && wanted(endpoint));
        those.map(|(key, endpoint)| (*key, *endpoint)).collect()
    };
    let ready = those(|endpoint| endpoint.ready);
    if ready.is_empty() {
        return those(|endpoint| endpoint.serving && endpoint.terminating);
    }
    if hints && policy == TrafficPolicy::Cluster { hinted(ready, here) } else { ready }
}

/// What hints leave of `ready`: those for this node, else those for its zone. A hint is followed only where each endpoint
/// has one and somebody is meant, so that no traffic is left without an endpoint.
fn hinted<'a>(ready: Endpoints<'a>, here: &Surroundings) -> Endpoints<'a> {
    type Names = fn(&Endpoint) -> &[Arc<str>];
    let nodes: Names = |endpoint| endpoint.hints.as_deref().map_or(&[], |hints| &hints.nodes);
    let zones: Names = |endpoint| endpoint.hints.as_deref().map_or(&[], |hints| &hints.zones);
    for (names, ours) in [(nodes, Some(&here.node)), (zones, here.zone.as_ref())] {
        let meant: Endpoints = ready
            .iter()
            .filter(|(_, e)| ours.is_some_and(|ours| names(e).contains(ours)))
            .map(|(k, e)| (*k, *e))
            .collect();
        if !meant.is_empty() && ready.values().all(|endpoint| !names(endpoint).is_empty()) {
            return meant;
        }
    }
    ready
}

/// The weight of each of `endpoints`.
pub fn weighed(endpoints: &Endpoints, weights: &Weights) -> Vec<u32> {
    let zone = |endpoint: &Endpoint| endpoint.zone.clone();
    match weights {
        Weights::Even => vec![1; endpoints.len()],
        Weights::ByZone(zones) => {
            let weight = |endpoint: &&Endpoint| endpoint.zone.as_ref().and_then(|zone| zones.get(zone)).copied();
            endpoints.values().map(|endpoint| weight(endpoint).unwrap_or(1)).collect()
        }
        Weights::ZonesAlike => {
            let mut counts: BTreeMap<Option<Arc<str>>, u32> = BTreeMap::new();
            endpoints.values().for_each(|endpoint| *counts.entry(zone(endpoint)).or_default() += 1);
            let share = counts.values().fold(1, |share, count| least_common_multiple(share, *count).min(MOST_SHARE));
            endpoints.values().map(|endpoint| (share / counts[&zone(endpoint)]).max(1)).collect()
        }
    }
}

/// A zone's weight is shared by its endpoints without a remainder up to this much; beyond, shares are rounded, since a
/// scheduler that goes round takes as many steps as the weights add up to.
const MOST_SHARE: u32 = 1000;

fn least_common_multiple(a: u32, b: u32) -> u32 {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor).saturating_mul(b)
}
