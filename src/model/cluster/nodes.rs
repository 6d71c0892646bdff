//! All Nodes, as far as they concern every node: whose address is this, and whose pods live there?

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::Entry;
use crate::model::node::Footprint;
use crate::model::prefix::Prefix;

/// The footprints of all Nodes by name, and who has what, so that a question costs the same however many Nodes there
/// are, nearly. Two Nodes may claim the same: one may be about to go.
#[derive(Debug, Clone, Default)]
pub(super) struct Nodes {
    footprints: BTreeMap<Arc<str>, Entry<Footprint>>,
    addresses: Owners<IpAddr>,
    pods: Owners<Prefix>,
}

/// The names of those who have something. None of the sets is empty.
type Owners<T> = BTreeMap<T, BTreeSet<Arc<str>>>;

impl Nodes {
    /// Stores what the list `generation` tells of the Node `name`. Answers whether it differs from what was known.
    pub(super) fn put(&mut self, name: Arc<str>, value: Footprint, generation: u32) -> bool {
        if let Some(known) = self.footprints.get_mut(&name).filter(|known| known.value == value) {
            known.generation = generation;
            return false;
        }
        self.remove(&name);
        value.addresses.iter().for_each(|address| enter(&mut self.addresses, *address, &name));
        value.pod_cidrs.iter().for_each(|pods| enter(&mut self.pods, *pods, &name));
        self.footprints.insert(name, Entry { value, generation });
        true
    }

    /// Forgets the Node `name`. Answers whether it was known.
    pub(super) fn remove(&mut self, name: &Arc<str>) -> bool {
        let Some(old) = self.footprints.remove(name) else { return false };
        old.value.addresses.iter().for_each(|address| leave(&mut self.addresses, address, name));
        old.value.pod_cidrs.iter().for_each(|pods| leave(&mut self.pods, pods, name));
        true
    }

    /// The Node `name` is still there, says the list `generation`.
    pub(super) fn touch(&mut self, name: &str, generation: u32) {
        if let Some(entry) = self.footprints.get_mut(name) {
            entry.generation = generation;
        }
    }

    /// The names of all Nodes that a list other than `current` told of last.
    pub(super) fn stale(&self, current: u32) -> impl Iterator<Item = &Arc<str>> {
        super::stale(&self.footprints, current)
    }

    /// All footprints, by name.
    #[cfg(test)]
    pub(super) fn footprints(&self) -> impl Iterator<Item = (&Arc<str>, &Footprint)> {
        self.footprints.iter().map(|(name, entry)| (name, &entry.value))
    }

    /// The first Node by name that has `address`.
    pub(super) fn owning(&self, address: IpAddr) -> Option<&str> {
        first(&self.addresses, &address)
    }

    /// The narrowest pod range that holds `address`, with the first Node by name that has it.
    pub(super) fn pod_range_holding(&self, address: IpAddr) -> Option<(Prefix, &str)> {
        let longest = Prefix::host(address).length();
        let around = (0..=longest).rev().filter_map(|length| Prefix::containing(address, length));
        around.filter_map(|prefix| Some((prefix, first(&self.pods, &prefix)?))).next()
    }
}

fn enter<T: Ord>(owners: &mut Owners<T>, key: T, name: &Arc<str>) {
    owners.entry(key).or_default().insert(name.clone());
}

fn leave<T: Ord>(owners: &mut Owners<T>, key: &T, name: &Arc<str>) {
    if let Some(names) = owners.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            owners.remove(key);
        }
    }
}

fn first<'a, T: Ord>(owners: &'a Owners<T>, key: &T) -> Option<&'a str> {
    owners.get(key)?.first().map(|name| &**name)
}
