//! Steps for one virtual server: what differs between the desired and the actual one.

use std::collections::BTreeMap;

use crate::model::Settings;
use crate::model::ipvs::{
    Destination, DestinationKey, Scheduler, ServerFlags, ServerKey, ServerSettings, VirtualServer,
};

use super::step::Step;

/// The settings of every virtual server.
pub fn settings(settings: &Settings) -> ServerSettings {
    let scheduler = settings.dataplane.scheduler.clone();
    // A client whose slot belongs to a destination of weight 0 would get none at all without the fallback, and hashing
    // the port too spreads the connections of one client.
    let flags = if &*scheduler.0 == "mh" { ServerFlags::MH_FALLBACK | ServerFlags::MH_PORT } else { 0 };
    ServerSettings { scheduler, flags: ServerFlags(flags), timeout: 0 }
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
