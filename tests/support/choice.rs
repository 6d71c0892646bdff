//! The choice of endpoints, slow and plain: written from what Kubernetes promises (`CategorizeEndpoints`, KEP-1669,
//! KEP-2086, KEP-2433, KEP-3015), one sentence after the other. It shares nothing with the code.

use std::collections::BTreeSet;
use std::sync::Arc;

use vipcast::model::Family;
use vipcast::model::ipvs::DestinationKey;
use vipcast::model::service::{Endpoint, ServicePort, Slice, TrafficPolicy, Weights};
use vipcast::plan::surroundings::Surroundings;

/// The endpoints of a port as the reference has them.
pub(crate) type Found = Vec<(DestinationKey, Endpoint)>;

/// All that the slices say of each address and port, in the order of the slices; then who is believed.
pub(crate) fn believed(port: &ServicePort, family: Family, slices: &[&Slice]) -> Found {
    let mut said: Vec<(DestinationKey, &Endpoint)> = Vec::new();
    for slice in slices {
        for target in &slice.ports {
            for endpoint in &slice.endpoints {
                if slice.family == family && target.name == port.name && target.protocol == port.protocol {
                    said.push((DestinationKey { address: endpoint.address, port: target.port }, endpoint));
                }
            }
        }
    }
    let keys: BTreeSet<DestinationKey> = said.iter().map(|(key, _)| *key).collect();
    let winner = |key: DestinationKey| {
        let mut left: Vec<&Endpoint> = said.iter().filter(|(of, _)| *of == key).map(|(_, said)| *said).collect();
        prefer(&mut left, |endpoint| endpoint.ready);
        prefer(&mut left, |endpoint| endpoint.serving);
        prefer(&mut left, |endpoint| !endpoint.terminating);
        (key, left[0].clone())
    };
    keys.into_iter().map(winner).collect()
}

/// Those that are `good`, if there are any.
fn prefer(endpoints: &mut Vec<&Endpoint>, good: fn(&Endpoint) -> bool) {
    if endpoints.iter().any(|endpoint| good(endpoint)) {
        endpoints.retain(|endpoint| good(endpoint));
    }
}

/// Who takes the traffic.
pub(crate) fn takers(all: &Found, policy: TrafficPolicy, follow_hints: bool, here: &Surroundings) -> Found {
    // The policy Local leaves the endpoints of this node.
    let mut scope = all.clone();
    if policy == TrafficPolicy::Local {
        scope.retain(|(_, endpoint)| endpoint.node.as_deref() == Some(&*here.node));
    }
    let ready: Found = scope.iter().filter(|(_, endpoint)| endpoint.ready).cloned().collect();
    // Without a ready one, those take it that terminate and still serve, and no hint counts.
    if ready.is_empty() {
        scope.retain(|(_, endpoint)| endpoint.serving && endpoint.terminating);
        return scope;
    }
    // Hints are about the traffic of the whole cluster.
    if policy == TrafficPolicy::Local || !follow_hints {
        return ready;
    }
    let hints = |endpoint: &Endpoint| endpoint.hints.as_deref().cloned().unwrap_or_default();
    // Nodes first: each endpoint names some, and one names this node.
    let named: Found =
        ready.iter().filter(|(_, endpoint)| hints(endpoint).nodes.contains(&here.node)).cloned().collect();
    if !named.is_empty() && ready.iter().all(|(_, endpoint)| !hints(endpoint).nodes.is_empty()) {
        return named;
    }
    // Zones then.
    let Some(zone) = &here.zone else { return ready };
    let named: Found = ready.iter().filter(|(_, endpoint)| hints(endpoint).zones.contains(zone)).cloned().collect();
    if !named.is_empty() && ready.iter().all(|(_, endpoint)| !hints(endpoint).zones.is_empty()) {
        return named;
    }
    ready
}

/// What each of them weighs.
pub(crate) fn weights(found: &Found, wish: &Weights) -> Vec<u32> {
    let zones: Vec<Option<Arc<str>>> = found.iter().map(|(_, endpoint)| endpoint.zone.clone()).collect();
    match wish {
        Weights::Even => vec![1; found.len()],
        Weights::ByZone(named) => {
            let weight = |zone: &Option<Arc<str>>| named.iter().find(|(name, _)| Some(*name) == zone.as_ref());
            zones.iter().map(|zone| weight(zone).map_or(1, |(_, weight)| *weight)).collect()
        }
        // Each zone has the same share, the smallest that all can divide; a large one is rounded.
        Weights::ZonesAlike => {
            let members = |zone| zones.iter().filter(|other| *other == zone).count() as u32;
            let share = (1..1000).find(|share| zones.iter().all(|zone| share % members(zone) == 0)).unwrap_or(1000);
            zones.iter().map(|zone| (share / members(zone)).max(1)).collect()
        }
    }
}
