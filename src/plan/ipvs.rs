//! Steps for one virtual server: what differs between the desired and the actual one.

use std::collections::BTreeMap;

use crate::model::ipvs::{
    Destination, DestinationKey, Scheduler, ServerFlags, ServerKey, ServerSettings, VirtualServer,
};
use crate::model::service::{Service, Weights};
use crate::model::settings::Dataplane;

use super::problem::Problem;
use super::step::Step;

/// The settings of all virtual servers of `service`, and what of its wishes cannot be fulfilled.
///
/// Persistence is known to one LB node only, and the ToR spreads the connections of one client over all of them. So a
/// Service with session affinity that names no scheduler gets `mh` by the client's address alone, which chooses the same
/// destination on every node.
pub fn settings(dataplane: &Dataplane, service: &Service) -> (ServerSettings, Option<Problem>) {
    let wishes = &service.wishes;
    let weighted = wishes.weights != Weights::Even;
    let scheduler = match &wishes.scheduler {
        Some(scheduler) => scheduler.clone(),
        None if service.affinity.is_some() => Scheduler::new("mh"),
        None if weighted => dataplane.scheduler.weighted(),
        None => dataplane.scheduler.clone(),
    };
    // Flags of their own have only those that keep a table.
    let asked = wishes.flags.filter(|_| scheduler.builds_table());
    let flags = asked.unwrap_or(match &*scheduler.0 {
        // A client whose slot belongs to a destination of weight 0 would get none at all without the fallback, and hashing
        // the port too spreads the connections of one client.
        "mh" if service.affinity.is_none() => ServerFlags(ServerFlags::MH_FALLBACK | ServerFlags::MH_PORT),
        "mh" => ServerFlags(ServerFlags::MH_FALLBACK),
        _ => ServerFlags::default(),
    });
    let problem = (weighted && scheduler != scheduler.weighted()).then(|| Problem::WeightsIgnored(scheduler.clone()));
    let persistent = if service.affinity.is_some() { ServerFlags::PERSISTENT } else { 0 };
    let flags = ServerFlags(flags.0 | persistent);
    (ServerSettings { scheduler, flags, timeout: service.affinity.unwrap_or_default() }, problem)
}

/// The steps from `actual` to `desired`. Destinations are added before others are deleted, so that there is always one
/// to take a connection; a scheduler changes in place.
pub fn steps(key: ServerKey, desired: Option<&VirtualServer>, actual: Option<&VirtualServer>) -> Vec<Step> {
    match (desired, actual) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec![Step::DeleteServer(key)],
        (Some(desired), None) => creation(key, desired),
        (Some(desired), Some(actual)) => {
            let mut steps = Vec::new();
            destinations(key, &desired.destinations, &actual.destinations, &mut steps);
            if desired.settings != actual.settings {
                steps.push(Step::SetServer(key, desired.settings.clone()));
            }
            steps
        }
    }
}

/// A new virtual server. One whose scheduler keeps a table is filled under `none`, in canonical order, so that the
/// table is built once, and alike on every node.
fn creation(key: ServerKey, desired: &VirtualServer) -> Vec<Step> {
    let add = |settings| Step::AddServer(key, settings);
    let fill = desired.destinations.iter().map(|(name, value)| Step::AddDestination(key, *name, *value));
    if desired.settings.scheduler.builds_table() {
        let unscheduled = ServerSettings { scheduler: Scheduler::new("none"), ..desired.settings.clone() };
        let schedule = Step::SetServer(key, desired.settings.clone());
        return std::iter::once(add(unscheduled)).chain(fill).chain([schedule]).collect();
    }
    std::iter::once(add(desired.settings.clone())).chain(fill).collect()
}

fn destinations(
    key: ServerKey,
    desired: &BTreeMap<DestinationKey, Destination>,
    actual: &BTreeMap<DestinationKey, Destination>,
    steps: &mut Vec<Step>,
) {
    for (name, value) in desired {
        match actual.get(name) {
            None => steps.push(Step::AddDestination(key, *name, *value)),
            Some(there) if there != value => steps.push(Step::SetDestination(key, *name, *value)),
            Some(_) => {}
        }
    }
    let surplus = actual.keys().filter(|name| !desired.contains_key(name));
    steps.extend(surplus.map(|name| Step::DeleteDestination(key, *name)));
}
