//! The part of a pass that talks to gobgpd: identity, import policy, paths, peers, in this order, so that a peer that
//! is added after a restart of gobgpd hears all paths at once.
//!
//! Routes of ranges are few and looked at in every pass; host routes only when their VIP was touched.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::bgp::{Bgp, Peer, PeerName};
use crate::model::settings::{Announce, BgpSettings, Range};
use crate::model::{Prefix, Time};

use super::bgp;
use super::change::Leave;
use super::news::News;
use super::pass::{Draft, WINDOW};
use super::planner::{Planner, router_id_source};
use super::preconditions::{Footing, bounds};
use super::role::Role;
use super::step::Step;

impl Planner {
    /// Steps for gobgpd. Nothing is decided while what it holds is unknown, and routes only when all objects were told
    /// and all virtual servers read; but an agent that leaves withdraws whatever is out.
    pub(super) fn plan_bgp(&mut self, now: Time, draft: &mut Draft) {
        if self.settings.bgp.is_none() || self.actual.bgp.is_none() {
            return;
        }
        match self.leaving {
            Some(Leave::Keep) => {}
            // Without facts about the host nothing was derived yet: what is ours in a gobgpd of others is not known.
            None if self.is_standing_by() && !self.derived => {}
            _ if self.is_removing() => {
                self.plan_routes(now, draft);
                let steps = self.removal_steps(now);
                self.send_all(steps, now, draft);
            }
            Some(_) => self.plan_routes(now, draft),
            // What the Node's annotations say is known with the first list: until then the identity could be another one.
            None if self.role != Role::Serving || !self.cluster.is_listed() => {}
            None => {
                let steps = self.identity_steps();
                self.send_all(steps, now, draft);
                if self.derived && self.servers.adopted {
                    self.plan_routes(now, draft);
                }
                let steps = self.peer_steps();
                self.send_all(steps, now, draft);
            }
        }
    }

    fn send_all(&mut self, steps: Vec<Step>, now: Time, draft: &mut Draft) {
        for step in steps {
            self.send(step, now, draft);
        }
    }

    fn bgp_parts(&self) -> Option<(&BgpSettings, &Bgp)> {
        self.settings.bgp.as_ref().zip(self.actual.bgp.as_ref())
    }

    /// Does gobgpd run as it should?
    fn is_started(&self) -> bool {
        self.bgp_parts().is_some_and(|(settings, actual)| {
            actual.global.is_some()
                && actual.global == bgp::global(settings, actual.global.as_ref(), router_id_source(self))
        })
    }

    fn identity_steps(&self) -> Vec<Step> {
        let Some((settings, actual)) = self.bgp_parts() else { return Vec::new() };
        let Some(wanted) = bgp::global(settings, actual.global.as_ref(), router_id_source(self)) else {
            return Vec::new();
        };
        match actual.global {
            None => vec![Step::StartBgp(wanted)],
            Some(running) if running != wanted && settings.exclusive && !self.is_overridden_blindly() => {
                vec![Step::StopBgp]
            }
            Some(running) if running == wanted => {
                let rejected = bgp::rejected(settings, &self.peers, actual);
                let is_due = actual.rejected != rejected;
                is_due.then(|| Step::RejectImports(rejected.unwrap_or_default())).into_iter().collect()
            }
            Some(_) => Vec::new(),
        }
    }

    /// Routes: those of ranges, and the host routes that were touched.
    fn plan_routes(&mut self, now: Time, draft: &mut Draft) {
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

    /// Announces or withdraws one route, if that is due. A host route is looked at again when its VIP, what its range
    /// stands on, or gobgpd changes.
    fn plan_route(&mut self, prefix: Prefix, now: Time, draft: &mut Draft) {
        let Some((settings, actual)) = self.bgp_parts() else { return };
        let there = actual.paths.get(&prefix);
        match self.wanted_in(prefix) {
            Err(_) if there.is_none() => {}
            Err(reason) => {
                if self.send(Step::Withdraw(prefix), now, draft) {
                    self.news.push(News::Withdrawing { prefix, reason });
                }
            }
            Ok(range) => {
                let path = bgp::path(settings, range, prefix);
                let is_new = there.is_none();
                if there == Some(&path) || !self.is_started() {
                    return;
                }
                let footed = !prefix.is_host() || self.is_footed(prefix.address());
                let stands = footed && self.speaker.footings.get(&range.prefix) == Some(&Footing::Proven);
                if is_new && !stands {
                    self.speaker.waiting.extend(Some(prefix.address()).filter(|_| prefix.is_host()));
                } else if !is_new || self.proven(prefix) {
                    self.speaker.ours.insert(prefix);
                    self.send(Step::Announce(prefix, path), now, draft);
                }
            }
        }
    }

    /// The range in which `prefix` is to be announced, or why it must not be.
    pub(super) fn wanted_in(&self, prefix: Prefix) -> Result<&Range, String> {
        if let Role::StandingBy(reason) = &self.role {
            return Err(reason.clone());
        }
        if self.leaving.is_some() {
            return Err("this node is leaving".into());
        }
        let range = self.ranges.covering(prefix.address()).ok_or("no range in force holds it")?;
        let wanted = match range.announce {
            Announce::Aggregate => prefix == range.prefix,
            Announce::Host => prefix.is_host(),
            Announce::None => false,
        };
        if !wanted {
            return Err(format!("range {} is not announced in this way", range.prefix));
        }
        if prefix.is_host() && self.here.addresses.contains(&prefix.address()) {
            return Err("it is an address of this node".into());
        }
        let (first, last) = bounds(prefix);
        let wanted = || {
            let mut left = self.actual.ipvs.range(first..=last).map(|(key, _)| key);
            self.ledger.servers_at(prefix.address()).next().is_some() || left.any(|key| self.may_be_wanted(key))
        };
        if range.announce == Announce::Host && !wanted() {
            return Err("no Service with ready endpoints has this VIP".into());
        }
        if let Some(reason) = self.unmendable(prefix.address()).filter(|_| prefix.is_host()) {
            return Err(reason);
        }
        if let Some(Footing::Broken(reason)) = self.speaker.footings.get(&range.prefix) {
            return Err(reason.clone());
        }
        let settings = self.settings.bgp.as_ref().ok_or("BGP is not configured")?;
        bgp::unannounceable(settings, &self.peers, prefix.family()).map_or(Ok(range), Err)
    }

    /// Are the virtual servers under `prefix` read back as they should be, those apart that are reported as failed?
    /// What was written since it was read is queued for reading; a host route needs one virtual server at least.
    fn proven(&mut self, prefix: Prefix) -> bool {
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

    fn peer_steps(&self) -> Vec<Step> {
        let Some((settings, actual)) = self.bgp_parts() else { return Vec::new() };
        // A peer is added once our import policy covers it.
        if !self.is_started() || actual.rejected != bgp::rejected(settings, &self.peers, actual) {
            return Vec::new();
        }
        let may_tell = |name: &PeerName| !self.held.contains_key(name);
        let is_wrong = |name: &PeerName, peer: &Peer| may_tell(name) && self.peers.get(name) != Some(peer);
        let wrong = actual.peers.iter().filter(|(name, peer)| is_wrong(name, peer) && !self.is_overridden_blindly());
        let free = |name: &PeerName| {
            may_tell(name) && !actual.peers.contains_key(name) && !actual.foreign_peers.contains(name)
        };
        let missing = self.peers.iter().filter(|(name, _)| free(name));
        let delete = wrong.map(|(name, _)| Step::DeletePeer(name.clone()));
        delete.chain(missing.map(|(name, peer)| Step::AddPeer(name.clone(), peer.clone()))).collect()
    }

    /// Do the annotations of the Node say something of BGP that has not been understood since the start? What an earlier run
    /// told gobgpd because of them must stay.
    fn is_overridden_blindly(&self) -> bool {
        self.cluster.node().is_some_and(|node| node.bgp.is_blind())
    }

    /// Once peers had time to hear the withdrawals, they are removed, and then the import policy; a gobgpd that is ours
    /// alone is stopped.
    fn removal_steps(&self, now: Time) -> Vec<Step> {
        let Some((settings, actual)) = self.bgp_parts() else { return Vec::new() };
        let heard = self.speaker.withdrawn.values().all(|at| *at + self.settings.withdraw_delay <= now);
        if !actual.paths.is_empty() || !heard {
            return Vec::new();
        }
        if settings.exclusive && actual.global.is_some() {
            return vec![Step::StopBgp];
        }
        if actual.peers.is_empty() && actual.rejected.is_some() {
            return vec![Step::RejectImports(BTreeSet::new())];
        }
        actual.peers.keys().cloned().map(Step::DeletePeer).collect()
    }

    /// What keeps BGP from doing its part, in words.
    pub(super) fn bgp_problem(&self) -> Option<String> {
        let settings = self.settings.bgp.as_ref()?;
        if let Some(reason) = &self.speaker.down {
            return Some(format!("gobgpd cannot be reached: {reason}"));
        }
        let Some(actual) = &self.actual.bgp else { return Some("gobgpd has not been read yet".into()) };
        if !self.derived {
            return Some("BGP waits for the first list of all objects".into());
        }
        let Some(wanted) = bgp::global(settings, actual.global.as_ref(), router_id_source(self)) else {
            return Some("no router ID: set bgp.routerID, or give this node an IPv4 address".into());
        };
        match actual.global {
            Some(running) if running != wanted => Some(format!(
                "gobgpd runs as AS {} with router ID {}; AS {} with {} is configured",
                running.asn, running.router_id, wanted.asn, wanted.router_id
            )),
            None => Some("BGP is not started yet".into()),
            Some(_) => {
                let foreign = self.peers.keys().find(|peer| actual.foreign_peers.contains(peer))?;
                Some(format!("peer {foreign} exists in gobgpd and is not ours; it is left alone"))
            }
        }
    }
}
