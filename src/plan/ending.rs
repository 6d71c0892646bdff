//! The part of a pass that lets connections end: it turns the deletion of destinations and virtual servers into what their
//! connections allow.
//!
//! UDP has no connections that end, so what takes UDP is deleted at once, and its flows are forgotten. So is all that a
//! node that serves no more has: its routes are gone, and packets of its connections take another way.

use std::collections::BTreeMap;

use crate::model::Time;
use crate::model::ipvs::{Destination, DestinationKey, Protocol, ServerKey};

use super::drain::{Fate, Situation, Verdict};
use super::memory::Key;
use super::pass::Draft;
use super::planner::Planner;
use super::step::Step;

impl Planner {
    /// What `steps`, which make the virtual server `key` as desired, have to be for its connections' sake.
    pub(super) fn let_end(&mut self, key: ServerKey, steps: Vec<Step>, now: Time) -> Vec<Step> {
        let whole = steps.iter().any(|step| matches!(step, Step::DeleteServer(_)));
        let unwanted = self.unwanted(key, &steps);
        let at_once = key.protocol == Protocol::Udp || self.is_removing() || unwanted.is_empty();
        // What goes whole is refused until it is gone.
        if !whole {
            self.host.elements.draining.remove(&key);
        }
        if at_once {
            self.servers.drains.forget(&key);
            return steps;
        }
        let Verdict { fates, connections, count } = self.judge(key, &unwanted, whole, now);
        if count {
            self.servers.to_read.insert(key);
        }
        let ended = connections == Some(0) || fates.values().all(|fate| *fate == Fate::Delete);
        if whole && ended {
            return steps;
        }
        if whole && connections.is_some() {
            self.host.elements.draining.insert(key);
        }
        // With weight 0 everywhere IPVS itself would refuse new connections, slowly: the packet filter has to come first.
        let may_quiet = !whole || self.refuses_new(&key);
        let instead = |name: DestinationKey| match fates.get(&name)? {
            Fate::Delete => Some(Step::DeleteDestination(key, name)),
            Fate::Quiet if may_quiet => {
                let there = unwanted.get(&name)?;
                Some(Step::SetDestination(key, name, Destination { weight: 0, ..*there }))
            }
            Fate::Quiet | Fate::Wait => None,
        };
        if whole {
            return unwanted.keys().filter_map(|name| instead(*name)).collect();
        }
        let replace = |step| match step {
            Step::DeleteDestination(_, name) => instead(name),
            other => Some(other),
        };
        steps.into_iter().filter_map(replace).collect()
    }

    /// May new connections to the virtual server `key`, which nobody wants any more, be refused though a route promises it
    /// still? Not where the range goes or the node leaves: the Service is as it was then, and the route has to go first.
    pub(super) fn may_refuse(&self, key: &ServerKey) -> bool {
        !self.is_removing() && self.ranges.covering(key.address).is_some()
    }

    /// Has new connections to the virtual server `key` refused, as long as it has to stay.
    pub(super) fn refuse(&mut self, key: ServerKey) -> Vec<Step> {
        self.host.elements.draining.insert(key);
        if !self.refuses_new(&key) {
            return Vec::new();
        }
        let destinations = self.actual.ipvs.get(&key).into_iter().flat_map(|server| &server.destinations);
        let taking = destinations.filter(|(_, there)| there.weight > 0);
        taking.map(|(name, there)| Step::SetDestination(key, *name, Destination { weight: 0, ..*there })).collect()
    }

    /// What is refused now goes on being refused while its virtual server is there and nobody wants it, whoever began with
    /// it: an earlier run, or this one before somebody wanted it for a moment.
    pub(super) fn keep_refusing(&mut self) {
        let refused = self.actual.nft.table.iter().flat_map(|table| &table.elements.draining);
        let drains = |key: &&ServerKey| {
            let unknown = !self.servers.adopted;
            unknown || self.actual.ipvs.contains_key(*key) && self.ledger.ask(key).is_none()
        };
        let kept: Vec<_> =
            refused.filter(|key| !self.host.elements.draining.contains(key)).filter(drains).copied().collect();
        self.servers.todo.extend(&kept);
        self.host.elements.draining.extend(kept);
    }

    /// The destinations that `steps` delete, by themselves or with their virtual server.
    fn unwanted(&self, key: ServerKey, steps: &[Step]) -> BTreeMap<DestinationKey, Destination> {
        let Some(server) = self.actual.ipvs.get(&key) else { return BTreeMap::new() };
        let there = |name: &DestinationKey| server.destinations.get(name).map(|value| (*name, *value));
        let deleted = |step: &Step| match step {
            Step::DeleteServer(_) => server.destinations.clone(),
            Step::DeleteDestination(_, name) => there(name).into_iter().collect(),
            _ => BTreeMap::new(),
        };
        steps.iter().flat_map(deleted).collect()
    }

    fn judge(
        &mut self,
        key: ServerKey,
        unwanted: &BTreeMap<DestinationKey, Destination>,
        whole: bool,
        now: Time,
    ) -> Verdict {
        let owner = self.servers.drains.owner(&key);
        let slices = owner.into_iter().flat_map(|owner| self.cluster.slices(owner));
        let listed = slices.flat_map(|slice| &slice.endpoints).map(|endpoint| endpoint.address).collect();
        let reading = self.servers.reading.contains(&key);
        let limit = self.settings.dataplane.drain;
        let situation = Situation { unwanted, whole, listed: &listed, reading, limit };
        self.servers.drains.judge(key, &situation, now)
    }

    /// Notes which UDP flows the kernel has to forget, now that `step` was done: those that went to what is gone, and those
    /// that passed by before the virtual server was there.
    pub(super) fn note_flows(&mut self, step: &Step) {
        let flows = &mut self.servers.flows;
        match step {
            Step::AddServer(key, _) if key.protocol == Protocol::Udp => {
                flows.insert((*key, DestinationKey { address: key.address, port: key.port }));
            }
            Step::DeleteServer(key) if key.protocol == Protocol::Udp => {
                let destinations = self.actual.ipvs.get(key).into_iter().flat_map(|server| server.destinations.keys());
                flows.extend(destinations.map(|name| (*key, *name)));
            }
            Step::DeleteDestination(key, name) if key.protocol == Protocol::Udp => {
                flows.insert((*key, *name));
            }
            Step::AddDestination(key, name, _) => {
                flows.remove(&(*key, *name));
            }
            _ => {}
        }
    }

    /// Flows are forgotten once nothing about their virtual server is under way.
    pub(super) fn plan_flows(&mut self, now: Time, draft: &mut Draft) {
        for (key, name) in std::mem::take(&mut self.servers.flows) {
            if self.servers.busy.contains_key(&key) || self.memory.is_in_flight(&Key::Flows(key, name)) {
                self.servers.flows.insert((key, name));
            } else {
                self.send(Step::Forget(key, name), now, draft);
            }
        }
    }

    /// Are new connections to `key` refused before IPVS sees them, as far as they will ever be? Where nothing is local,
    /// there is no packet filter.
    fn refuses_new(&self, key: &ServerKey) -> bool {
        let table = self.actual.nft.table.as_ref();
        let nothing_local = self.ranges.iter().next().is_none() && self.actual.addr.routes.is_empty();
        table.is_some_and(|table| table.elements.draining.contains(key)) || nothing_local
    }
}
