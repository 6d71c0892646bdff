//! The part of a pass that announces and withdraws. Routes of ranges are few and looked at in every pass; those of VIPs only
//! when their VIP was touched.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::bgp::PeerName;
use crate::model::settings::Announce;
use crate::model::{Prefix, Time};

use super::memory::Key;
use super::pass::{Draft, WINDOW};
use super::planner::Planner;
use super::preconditions::Footing;
use super::step::Step;

impl Planner {
    /// Routes: those of ranges, and those of the VIPs that were touched.
    pub(super) fn plan_routes(&mut self, now: Time, draft: &mut Draft) {
        let stand: BTreeMap<_, _> =
            self.ranges.prefixes().into_iter().map(|range| (range, self.footing(range))).collect();
        if stand != self.speaker.footings {
            let is_broken = |footing: &Footing| matches!(footing, Footing::Broken(_));
            let broke =
                stand.iter().any(|(range, now)| is_broken(now) && self.speaker.footings.get(range) != Some(now));
            self.speaker.footings = stand;
            self.speaker.vips.append(&mut self.speaker.waiting);
            if broke {
                self.touch_all_vips();
            }
        }
        let mut prefixes = self.speaker.wide.clone();
        prefixes.extend(self.ranges.iter().filter(|r| r.announce == Announce::Aggregate).map(|range| range.prefix));
        for prefix in prefixes {
            self.plan_route(prefix, now, draft);
        }
        while self.memory.paths_in_flight() < WINDOW {
            let Some(vip) = self.speaker.vips.pop_first() else { break };
            self.plan_route(Prefix::host(vip), now, draft);
        }
    }

    /// Announces or withdraws one route, if that is due. A VIP's is looked at again when the VIP, what its range stands on, or
    /// gobgpd changes.
    fn plan_route(&mut self, prefix: Prefix, now: Time, draft: &mut Draft) {
        let Some((_, actual)) = self.bgp_parts() else { return };
        let there = actual.paths.get(&prefix).cloned();
        let wanted = self.wanted_in(prefix).map(|wanted| (wanted.range.prefix, wanted.path));
        if wanted.as_ref().ok().map(|(_, path)| path) == there.as_ref() {
            self.speaker.drifted.remove(&Key::Path(prefix));
        }
        if wanted.is_err() && prefix.is_host() {
            self.speaker.changed.remove(&prefix.address());
        }
        match wanted {
            Err(_) if there.is_none() => {}
            Err(reason) => {
                if self.send(Step::Withdraw(prefix), now, draft) {
                    self.speaker.causes.insert(Key::Path(prefix), reason);
                }
            }
            Ok((range, path)) => {
                let is_new = there.is_none();
                if there.as_ref() == Some(&path) || !self.is_started() {
                    return;
                }
                let footed = !prefix.is_host() || self.is_footed(prefix.address());
                let stands = footed && self.speaker.footings.get(&range) == Some(&Footing::Proven);
                if is_new && !stands {
                    self.speaker.waiting.extend(Some(prefix.address()).filter(|_| prefix.is_host()));
                } else if !is_new || self.proven(prefix) {
                    let cause = self.cause(prefix, range, is_new);
                    self.speaker.ours.insert(prefix);
                    if self.send(Step::Announce(prefix, path), now, draft) {
                        self.speaker.causes.insert(Key::Path(prefix), cause);
                    }
                }
            }
        }
    }

    /// Why a route is announced, in words.
    fn cause(&self, prefix: Prefix, range: Prefix, is_new: bool) -> String {
        let is_drifted = self.speaker.drifted.contains(&Key::Path(prefix));
        match (is_drifted, is_new) {
            (true, true) => "it was gone from gobgpd".to_owned(),
            (true, false) => "it was changed in gobgpd".to_owned(),
            (false, false) => "its attributes are others now".to_owned(),
            (false, true) if prefix == range => "all that it promises is in place".to_owned(),
            (false, true) => match self.ledger.vip_owner(prefix.address()) {
                Some(owner) => format!("{owner} has usable endpoints"),
                None => "it was announced before".to_owned(),
            },
        }
    }

    /// Are the virtual servers under `prefix` read back as they should be, those apart that are reported as failed?
    /// What was written since it was read is queued for reading; a host route needs one virtual server at least.
    pub(super) fn proven(&mut self, prefix: Prefix) -> bool {
        if !self.settled(prefix) {
            return false;
        }
        let unread: Vec<_> = self.unread(prefix).copied().collect();
        if unread.is_empty() {
            let at_vip = |vip| self.ledger.servers_at(vip).any(|key| self.actual.ipvs.contains_key(key));
            // An aggregate promises no VIP, even if it is of a single address, such as one of a SNAT pool.
            let range = self.ranges.covering(prefix.address()).filter(|range| range.prefix == prefix);
            let is_aggregate = range.is_some_and(|range| range.announce == Announce::Aggregate);
            return !prefix.is_host() || is_aggregate || at_vip(prefix.address());
        }
        let queued: Vec<_> = unread.into_iter().filter(|key| !self.servers.reading.contains(key)).collect();
        self.servers.to_read.extend(queued);
        false
    }

    /// Notes since when `vip` waits for its route, if a change of its virtual servers made it wait.
    pub(super) fn note_waiting(&mut self, vip: IpAddr, now: Time) {
        let Some(actual) = &self.actual.bgp else { return };
        let is_out = actual.paths.contains_key(&Prefix::host(vip));
        if is_out || !self.may_have_route(vip) || self.ledger.servers_at(vip).next().is_none() {
            self.speaker.changed.remove(&vip);
        } else {
            self.speaker.changed.entry(vip).or_insert(now);
        }
    }

    /// May `vip` have a route of its own, by its range or since somebody wishes it?
    pub(super) fn may_have_route(&self, vip: IpAddr) -> bool {
        let range = self.ranges.covering(vip);
        range.is_some_and(|range| range.announce == Announce::Host) || self.ledger.is_wished_for(vip)
    }

    /// The peers that hear what gobgpd says of `prefix`: those with an established session that carries its family.
    pub(super) fn hearers(&self, prefix: Prefix) -> Vec<PeerName> {
        let hears = |peer: &&PeerName| {
            let session = self.speaker.sessions.get(*peer).filter(|session| session.is_established());
            session.is_some_and(|session| session.families.contains(&prefix.family()))
        };
        self.peers.keys().filter(hears).cloned().collect()
    }
}
