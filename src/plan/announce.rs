//! The part of a pass that talks to gobgpd: identity, policies, paths, peers, in this order, so that a peer that is added
//! after a restart of gobgpd hears all paths at once, and each as it is to hear it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::Time;
use crate::model::bgp::{Bgp, Export, Peer, PeerName};
use crate::model::settings::{Announce, BgpSettings, Range};

use super::bgp;
use super::change::Leave;
use super::pass::Draft;
use super::planner::{Planner, router_id_source};
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
                let mut steps = self.peer_steps();
                if self.owes_routes() {
                    steps.retain(|step| !matches!(step, Step::AddPeer(..)));
                }
                self.send_all(steps, now, draft);
                self.plan_audits(now, draft);
            }
        }
    }

    fn send_all(&mut self, steps: Vec<Step>, now: Time, draft: &mut Draft) {
        for step in steps {
            let cause = self.speaker_cause(&step).map(|cause| (step.key(), cause));
            if self.send(step, now, draft) {
                self.speaker.causes.extend(cause);
            }
        }
    }

    pub(super) fn bgp_parts(&self) -> Option<(&BgpSettings, &Bgp)> {
        self.settings.bgp.as_ref().zip(self.actual.bgp.as_ref())
    }

    /// Does gobgpd run as it should?
    pub(super) fn is_started(&self) -> bool {
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
                let imports = (actual.rejected != rejected).then(|| rejected.unwrap_or_default());
                let wanted = self.desired_exports(actual);
                let is_due = actual.exports != wanted && !self.is_overridden_blindly();
                let exports = is_due.then(|| wanted.unwrap_or_default());
                let imports = imports.map(Step::RejectImports).into_iter();
                imports.chain(exports.map(Step::SetExports)).collect()
            }
            Some(_) => Vec::new(),
        }
    }

    fn peer_steps(&self) -> Vec<Step> {
        let Some((settings, actual)) = self.bgp_parts() else { return Vec::new() };
        // A peer is added once our policies cover it.
        let is_covered = actual.rejected == bgp::rejected(settings, &self.peers, actual)
            && (actual.exports == self.desired_exports(actual) || self.is_overridden_blindly());
        if !self.is_started() || !is_covered {
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

    /// Is a route that this gobgpd is to have missing for the moment only? Its peers hear End-of-RIB after what it has, and one
    /// that helps in a graceful restart would drop the rest.
    fn owes_routes(&self) -> bool {
        let Some((settings, actual)) = self.bgp_parts() else { return false };
        // Only what ends by itself is waited for: the reading of a host that can be read.
        let is_being_read = !self.host.fresh && self.host.unread.is_empty();
        if settings.graceful_restart.is_none() || !actual.peers.is_empty() || !is_being_read {
            return false;
        }
        let is_missing = |range: &Range| {
            let is_wanted = range.announce == Announce::Aggregate && self.wanted_in(range.prefix).is_ok();
            is_wanted && self.is_founded(range.prefix) && !actual.paths.contains_key(&range.prefix)
        };
        let is_founded = |vip: &IpAddr| self.ranges.covering(*vip).is_some_and(|range| self.is_founded(range.prefix));
        self.ranges.iter().any(is_missing) || self.speaker.waiting.iter().any(is_founded)
    }

    /// What our export policy has to change on the way to which peer, in the form of [`Bgp::exports`]. A peer that we left to
    /// somebody else is theirs to change.
    pub(super) fn desired_exports(&self, actual: &Bgp) -> Option<BTreeMap<IpAddr, Export>> {
        let nothing = Default::default();
        let labels = self.cluster.node().map_or(&nothing, |node| &node.labels);
        let entries = self.settings.bgp.iter().flat_map(|bgp| &bgp.peers);
        let selected = entries.filter(|entry| entry.node_selector.matches(labels));
        let ours = selected
            .filter(|entry| self.peers.contains_key(&entry.name) && !actual.foreign_peers.contains(&entry.name));
        // Going backwards, so that the first entry of a peer is the one that stays.
        let ours: Vec<_> = ours.filter_map(|entry| Some((entry.name.address()?, &entry.export))).collect();
        let first: BTreeMap<IpAddr, &Export> = ours.into_iter().rev().collect();
        let exports = first.into_iter().map(|(peer, export)| (peer, bgp::exported(export)));
        let mut exports: BTreeMap<IpAddr, Export> = exports.filter(|(_, export)| !export.is_empty()).collect();
        // What is meant by an entry that does not fit is not known: the peer keeps what it has.
        for peer in self.misfits.keys().filter_map(PeerName::address) {
            match actual.exports.as_ref().and_then(|in_force| in_force.get(&peer)) {
                Some(export) => drop(exports.insert(peer, export.clone())),
                None => drop(exports.remove(&peer)),
            }
        }
        Some(exports).filter(|exports| !exports.is_empty())
    }

    /// Once peers had time to hear the withdrawals, they are removed, and then the policies; a gobgpd that is ours
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
        if actual.peers.is_empty() {
            let imports = actual.rejected.as_ref().map(|_| Step::RejectImports(BTreeSet::new()));
            let exports = actual.exports.as_ref().map(|_| Step::SetExports(BTreeMap::new()));
            return imports.into_iter().chain(exports).collect();
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
