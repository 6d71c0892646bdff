//! Destinations on their way out: what is known of their connections, and when each of them has to be gone. A pure value;
//! `ending` makes steps of it.
//!
//! A destination that nobody wants any more gets the weight 0 and no new connections. Its connections are counted from then
//! on, at growing intervals; when none is left it is deleted. From the moment at which no EndpointSlice of its Service
//! lists it any more, its connections have a limited time (`dataplane.drain`): who still lists it, in whatever condition,
//! still expects it to answer. What an earlier run left draining drains anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::model::ipvs::{Connections, Destination, DestinationKey, Protocol, ServerKey, VirtualServer};
use crate::model::{ServiceKey, Time};

/// Connections are counted again after the first of these, then after twice as long each time, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// What becomes of a destination that nobody wants any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It takes connections and must not any more: it gets the weight 0.
    Quiet,
    /// Its connections may go on.
    Wait,
    /// It has none, or their time is over: it is deleted.
    Delete,
}

/// What becomes of the unwanted destinations of one virtual server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Of each destination.
    pub(super) fates: BTreeMap<DestinationKey, Fate>,
    /// The connections of all of them, as far as they were counted since the virtual server is in this condition; `None`
    /// where one was not.
    pub(super) connections: Option<u64>,
    /// They have to be counted now.
    pub(super) count: bool,
}

/// What a decision about the unwanted destinations of one virtual server depends on.
pub(super) struct Situation<'a> {
    /// The destinations, as they are.
    pub(super) unwanted: &'a BTreeMap<DestinationKey, Destination>,
    /// They are all that the virtual server has, and it goes with them.
    pub(super) whole: bool,
    /// The addresses that slices of its Service list.
    pub(super) listed: &'a BTreeSet<IpAddr>,
    /// The virtual server is being read.
    pub(super) reading: bool,
    /// How long connections may go on after the last slice has let go.
    pub(super) limit: Duration,
}

/// All virtual servers with something on its way out.
#[derive(Debug, Clone, Default)]
pub(super) struct DrainBook {
    drains: BTreeMap<ServerKey, Drain>,
    alarms: BTreeSet<(Time, ServerKey)>,
    /// Who has or had each virtual server.
    owners: BTreeMap<ServerKey, ServiceKey>,
    /// The draining virtual servers of each Service.
    of_service: BTreeSet<(ServiceKey, ServerKey)>,
}

/// What is known of one virtual server's destinations.
#[derive(Debug, Clone)]
struct Drain {
    /// The virtual server goes as a whole.
    whole: bool,
    /// Since when no slice lists a destination, by unwanted destination; `None` while one does.
    unlisted: BTreeMap<DestinationKey, Option<Time>>,
    /// Weight and connections of each destination when they were last counted; what was written since is not in here.
    counted: BTreeMap<DestinationKey, (u32, u64)>,
    /// A count is under way that began before the virtual server came into this condition: it proves nothing.
    stale: bool,
    /// A count is under way.
    asked: bool,
    count_at: Time,
    pause: Duration,
    alarm: Option<Time>,
}

impl Drain {
    fn begin(whole: bool, stale: bool, now: Time) -> Drain {
        let (unlisted, counted) = Default::default();
        Drain { whole, unlisted, counted, stale, asked: false, count_at: now, pause: FIRST_PAUSE, alarm: None }
    }

    fn fate(&self, name: &DestinationKey, weight: u32, limit: Duration, now: Time) -> Fate {
        if self.deadline(name, limit).is_some_and(|at| at <= now) {
            return Fate::Delete;
        }
        match self.counted.get(name) {
            _ if weight > 0 => Fate::Quiet,
            // Only what was counted under the weight 0 can get no new connections since.
            Some((0, 0)) => Fate::Delete,
            _ => Fate::Wait,
        }
    }

    fn deadline(&self, name: &DestinationKey, limit: Duration) -> Option<Time> {
        self.unlisted.get(name).copied().flatten().map(|since| since + limit)
    }
}

impl DrainBook {
    /// Decides about the virtual server `key` in this situation.
    pub(super) fn judge(&mut self, key: ServerKey, situation: &Situation<'_>, now: Time) -> Verdict {
        let Situation { unwanted, whole, listed, reading, limit } = *situation;
        if let Some(owner) = self.owners.get(&key) {
            self.of_service.insert((owner.clone(), key));
        }
        let drain = self.drains.entry(key).or_insert_with(|| Drain::begin(whole, reading, now));
        if drain.whole != whole {
            // What was counted before tells nothing of the connections that came since.
            drain.whole = whole;
            drain.counted.clear();
            drain.stale = reading;
        }
        drain.unlisted.retain(|name, _| unwanted.contains_key(name));
        for name in unwanted.keys() {
            let since = drain.unlisted.entry(*name).or_default();
            *since = if listed.contains(&name.address) { None } else { Some(since.unwrap_or(now)) };
        }
        let fates: BTreeMap<_, _> =
            unwanted.iter().map(|(name, value)| (*name, drain.fate(name, value.weight, limit, now))).collect();
        let connections = unwanted.keys().map(|name| drain.counted.get(name).map(|(_, count)| *count)).sum();
        // What still takes connections is counted only where it may go with its virtual server.
        let waits = |fate: Fate| fate == Fate::Wait || whole && fate == Fate::Quiet;
        let waiting: Vec<_> = fates.iter().filter(|(_, fate)| waits(**fate)).map(|(name, _)| name).collect();
        let uncounted = waiting.iter().any(|name| !drain.counted.contains_key(name));
        let count = !drain.asked && !waiting.is_empty() && (uncounted || drain.count_at <= now);
        drain.asked |= count;
        let count_at = Some(drain.count_at).filter(|_| !drain.asked && !waiting.is_empty());
        let deadlines = unwanted.keys().filter_map(|name| drain.deadline(name, limit)).filter(|at| *at > now);
        let next = deadlines.chain(count_at).min();
        let old = std::mem::replace(&mut drain.alarm, next);
        self.ring(key, old, next);
        Verdict { fates, connections, count }
    }

    /// The virtual server `key` was read: as `found`, with so many `connections`.
    pub(super) fn counted(
        &mut self,
        key: &ServerKey,
        found: Option<&VirtualServer>,
        connections: &Connections,
        now: Time,
    ) {
        let Some(drain) = self.drains.get_mut(key) else { return };
        drain.asked = false;
        if std::mem::take(&mut drain.stale) {
            return;
        }
        let destinations = found.into_iter().flat_map(|server| &server.destinations);
        drain.counted = destinations.map(|(name, value)| (*name, (value.weight, connections.of(name)))).collect();
        drain.count_at = now + drain.pause;
        drain.pause = (drain.pause * 2).min(LAST_PAUSE);
    }

    /// A destination was written, or may have been: what was counted before tells nothing of it.
    pub(super) fn written(&mut self, key: &ServerKey, name: &DestinationKey) {
        if let Some(drain) = self.drains.get_mut(key) {
            drain.counted.remove(name);
        }
    }

    /// These destinations are wanted, if only for a moment: the time of those among them that drained is over.
    pub(super) fn wanted(&mut self, key: &ServerKey, destinations: &BTreeMap<DestinationKey, Destination>) {
        if let Some(drain) = self.drains.get_mut(key) {
            drain.unlisted.retain(|name, _| !destinations.contains_key(name));
        }
    }

    /// Nothing of the virtual server `key` is on its way out.
    pub(super) fn forget(&mut self, key: &ServerKey) {
        if let Some(drain) = self.drains.remove(key) {
            self.ring(*key, drain.alarm, None);
        }
        if let Some(owner) = self.owners.get(key) {
            self.of_service.remove(&(owner.clone(), *key));
        }
    }

    /// The virtual server `key` belongs to `owner`, or to nobody.
    pub(super) fn own(&mut self, key: ServerKey, owner: Option<&ServiceKey>) {
        if self.owners.get(&key) == owner {
            return;
        }
        let old = match owner {
            Some(owner) => self.owners.insert(key, owner.clone()),
            None => self.owners.remove(&key),
        };
        old.map(|old| self.of_service.remove(&(old, key)));
    }

    /// Who has the virtual server `key`, or had it last.
    pub(super) fn owner(&self, key: &ServerKey) -> Option<&ServiceKey> {
        self.owners.get(key)
    }

    /// The virtual servers of `service` with something on its way out.
    pub(super) fn of_service(&self, service: &ServiceKey) -> impl Iterator<Item = ServerKey> {
        let first = ServerKey { address: Ipv4Addr::UNSPECIFIED.into(), protocol: Protocol::Tcp, port: 0 };
        let after = self.of_service.range((service.clone(), first)..);
        after.take_while(move |(owner, _)| owner == service).map(|(_, key)| *key)
    }

    /// How many destinations are on their way out.
    pub(super) fn destinations(&self) -> usize {
        self.drains.values().map(|drain| drain.unlisted.len()).sum()
    }

    /// Takes the virtual servers whose time has come.
    pub(super) fn due(&mut self, now: Time) -> Vec<ServerKey> {
        let mut due = Vec::new();
        while let Some((at, key)) = self.alarms.first().copied().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, key));
            if let Some(drain) = self.drains.get_mut(&key) {
                drain.alarm = None;
            }
            due.push(key);
        }
        due
    }

    /// When the next one's time comes.
    pub(super) fn next_alarm(&self) -> Option<Time> {
        self.alarms.first().map(|(at, _)| *at)
    }

    fn ring(&mut self, key: ServerKey, old: Option<Time>, new: Option<Time>) {
        old.map(|at| self.alarms.remove(&(at, key)));
        self.alarms.extend(new.map(|at| (at, key)));
    }
}

#[cfg(test)]
mod tests;
