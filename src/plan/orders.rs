//! What the speaker is told to hold to, and what it says: the announcement lease and the BFD sessions.
//!
//! A BFD session watches the way to a BGP peer, or is an announcement itself: the other side has static routes that live by
//! it. One that announces comes up under the conditions under which a range's route goes out, and goes down under those
//! under which it is withdrawn.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::bfd::{self, BfdState, BfdStatus};
use crate::model::bgp::{PeerName, SHUT_DOWN};
use crate::model::canary::Canary;
use crate::model::lease::{LeaseState, LeaseStatus};
use crate::model::orders::Orders;
use crate::model::settings::Announce;
use crate::model::{Prefix, Time};

use super::away::Bearing;
use super::change::Leave;
use super::news::News;
use super::pass::Draft;
use super::planner::Planner;
use super::preconditions::Footing;
use super::proof::Standing;
use super::role::{Role, labels};

/// What is known of the speaker.
#[derive(Debug, Clone, Default)]
pub(super) struct LinkBook {
    /// How the lease stands, or why the speaker cannot be reached; `None` before it was tried.
    pub(super) lease: Option<Result<LeaseStatus, String>>,
    /// How BFD sessions stand.
    pub(super) bfd: BTreeMap<PeerName, BfdStatus>,
    /// The BGP sessions that the speaker holds down, and why.
    pub(super) held: BTreeMap<PeerName, String>,
    /// The orders that were given last.
    pub(super) told: Option<Orders>,
    /// May the sessions that announce be up? `None` before that was decided: they stay as an earlier agent ordered.
    stands: Option<bool>,
    /// The announced ranges that were proved while they were up, or were when they went down: they are promised by them. A
    /// range that comes later and never works takes none down.
    stood: BTreeSet<Prefix>,
    /// When it was decided that they may not.
    fell: Time,
}

impl Planner {
    /// How the lease stands, or why the speaker cannot be reached.
    pub(super) fn on_lease(&mut self, lease: Result<LeaseStatus, String>) {
        let is_bad = |lease: &Result<LeaseStatus, String>| match lease {
            Ok(status) => matches!(status.state, LeaseState::Static | LeaseState::Lapsed) || status.problem.is_some(),
            Err(_) => true,
        };
        if is_bad(&lease) || self.link.lease.as_ref().is_some_and(is_bad) {
            self.news.push(News::Lease(lease.clone()));
        }
        if lease.is_err() {
            self.link.bfd.clear();
            self.link.held.clear();
        }
        self.link.lease = Some(lease);
    }

    pub(super) fn on_bfd(&mut self, peer: PeerName, status: BfdStatus) {
        let old = self.link.bfd.insert(peer.clone(), status.clone());
        let is_up = |status: &BfdStatus| status.state == BfdState::Up;
        let problem = |status: &BfdStatus| status.problem.clone();
        if old.as_ref().is_some_and(is_up) != is_up(&status)
            || old.as_ref().and_then(problem) != problem(&status) && status.problem.is_some()
        {
            self.news.push(News::Bfd { peer, status });
        }
    }

    /// Why there is no session with a peer, or why it ended the last time. gobgpd does not know who told it to end one.
    pub(super) fn session_reason(&self, peer: &PeerName) -> Option<String> {
        let reason = self.speaker.sessions.get(peer)?.reason.as_deref()?;
        let held = self.link.held.get(peer).filter(|_| reason == SHUT_DOWN);
        Some(held.map_or_else(|| reason.to_owned(), |why| format!("held down by the speaker: {why}")))
    }

    /// Does the agent vouch for what is announced? It does while it knows what is to be served and sees to it: what is broken
    /// is withdrawn by itself, and only what stays out all the same is not vouched for.
    ///
    /// # Errors
    /// Why it does not, in words.
    pub fn vouch(&self, now: Time) -> Result<(), String> {
        if self.leaving.is_some() {
            return Ok(());
        }
        if !self.derived || !self.informed() {
            return Err(
                "it does not know yet what is to be served: the first list of all objects is not complete".into()
            );
        }
        if let Some(canary) = self.stale(now) {
            return Err(format!("the canary {} has not been probed lately", canary.server()));
        }
        if self.is_proved() {
            return Ok(());
        }
        let mut problems = self.vip_ranges().filter_map(|range| match self.footing(range.prefix) {
            Footing::Proven => None,
            Footing::Mending(reason) | Footing::Broken(reason) => Some(format!("range {}: {reason}", range.prefix)),
        });
        Err(problems.next().unwrap_or_else(|| "its routes are not read back yet".to_owned()))
    }

    /// May a session be up that announces one of the ranges `open`, which are not proved?
    pub(super) fn may_stand_on(&self, open: &[Prefix]) -> bool {
        match self.link.stands {
            Some(true) => open.iter().any(|range| self.link.stood.contains(range)),
            Some(false) => false,
            // Nobody else announces there, so an earlier agent may have had them come up, and for whatever it was.
            None if self.settings.bgp.is_none() => true,
            None => self.is_answered_by_bfd(),
        }
    }

    /// Is a session up that announces?
    pub(super) fn is_answered_by_bfd(&self) -> bool {
        let is_up = |peer: &PeerName| self.link.bfd.get(peer).is_some_and(|status| status.state == BfdState::Up);
        self.announcing_sessions().keys().any(is_up)
    }

    /// The ranges that are announced, as aggregates or VIP by VIP.
    pub(super) fn announced_ranges(&self) -> impl Iterator<Item = Prefix> {
        self.vip_ranges().filter(|range| range.announce != Announce::None).map(|range| range.prefix)
    }

    /// Are the sessions up that announce, as far as it was decided?
    pub(super) fn stands(&self) -> Option<bool> {
        self.link.stands
    }

    /// The orders that were given last.
    pub fn given_orders(&self) -> Option<&Orders> {
        self.link.told.as_ref()
    }

    /// The orders, where they are others than before.
    pub(super) fn plan_orders(&mut self, now: Time, draft: &mut Draft) -> Option<Orders> {
        let stood = self.link.stands;
        let orders = self.orders(now);
        if self.link.stands != stood {
            // What may be removed depends on it.
            draft.wake(now);
        }
        let orders = orders.filter(|orders| self.link.told.as_ref() != Some(orders))?;
        let named = |peer: &PeerName| orders.bfd.contains_key(peer);
        self.link.bfd.retain(|peer, _| named(peer));
        self.link.told = Some(orders.clone());
        Some(orders)
    }

    /// What the speaker has to hold to; `None` while too little is known: then an earlier agent's orders stand.
    fn orders(&mut self, now: Time) -> Option<Orders> {
        if !self.derived || !self.informed() || matches!(self.role, Role::Unknown | Role::Frozen) {
            return None;
        }
        let announced_by: BTreeSet<PeerName> = self.announcing_sessions().into_keys().collect();
        self.judge_stand(&announced_by, now);
        let undecided = !announced_by.is_empty() && self.link.stands.is_none();
        if undecided && self.settings.bgp.is_none() {
            return None;
        }
        // The speaker would hold an earlier agent's routes to a proof that nobody has yet, and maybe cannot have.
        if self.link.told.is_none() && self.may_announce() && self.is_unproved() {
            return None;
        }
        let mut sessions = self.watching_sessions();
        for (name, session) in self.announcing_sessions() {
            sessions.entry(name).or_insert(session);
        }
        let owned = (!self.is_exclusive()).then(|| {
            let configured = self.settings.cluster_ips.iter().flatten().chain(&self.settings.allowed);
            self.ranges.prefixes().into_iter().chain(configured.map(|range| range.prefix)).collect()
        });
        Some(Orders {
            ttl: self.settings.lease.ttl(!self.canaries().is_empty()),
            fail_static: self.settings.lease.fail_static,
            owned,
            canaries: self.trusted_canaries(),
            graceful_restart: self.settings.bgp.as_ref().is_some_and(|bgp| bgp.graceful_restart.is_some()),
            announced_by: announced_by.into_iter().filter(|name| sessions.contains_key(name)).collect(),
            bfd: sessions,
            undecided,
        })
    }

    /// The canaries that the speaker goes by when the agent is gone: those of families whose data plane they prove. What
    /// was never proved is not to be held to it, and what the agent withdrew has nothing to prove.
    fn trusted_canaries(&self) -> Vec<Canary> {
        let proves = |canary: &Canary| {
            self.proof.verdicts.get(canary).is_some_and(|verdict| verdict.standing() == Standing::Proved)
        };
        self.canaries().into_iter().filter(proves).collect()
    }

    /// The sessions that watch the ways to BGP peers. While all of ours goes, they stay until gobgpd has no peer any more:
    /// who sees one end drops the routes without having heard their withdrawal. On a node that is drained they stay up: the
    /// way is as good as before, and switches end a BGP session when they hear AdminDown (RFC 5882 section 4.2 asks them not
    /// to), which would only make the return slower.
    fn watching_sessions(&self) -> BTreeMap<PeerName, bfd::Session> {
        let Some(settings) = &self.settings.bgp else { return BTreeMap::new() };
        let entries = settings.peers_of(&labels(&self.cluster));
        let left = |name: &PeerName| self.actual.bgp.as_ref().is_some_and(|bgp| bgp.peers.contains_key(name));
        let kept = entries.into_iter().filter(|(name, _)| !self.is_removing() || left(name));
        kept.filter_map(|(name, entry)| Some((name, self.settings.bfd.watching(&entry)?))).collect()
    }

    /// The sessions that are announcements themselves.
    pub(super) fn announcing_sessions(&self) -> BTreeMap<PeerName, bfd::Session> {
        let labels = labels(&self.cluster);
        let selected = self.settings.bfd.peers.iter().filter(|entry| entry.node_selector.matches(&labels));
        let enabled = self.link.stands == Some(true);
        // Going backwards, so that the first of a peer is the one that stays.
        let sessions = selected.rev().map(|entry| {
            let session = bfd::Session {
                timers: entry.timers,
                local_address: entry.local_address,
                distance: entry.distance,
                enabled,
            };
            (entry.name.clone(), session)
        });
        sessions.collect()
    }

    /// Decides whether the sessions that announce may be up. They come up for all ranges at once that can be served here, and
    /// go down when one breaks that they came up for.
    fn judge_stand(&mut self, announced_by: &BTreeSet<PeerName>, now: Time) {
        if announced_by.is_empty() {
            (self.link.stands, self.link.stood) = (None, BTreeSet::new());
            return;
        }
        let announced: BTreeSet<Prefix> = self.announced_ranges().collect();
        self.link.stood.retain(|range| announced.contains(range));
        let bearing = self.away.state.bearing();
        let leaves = matches!(self.leaving, Some(Leave::Withdraw | Leave::Drain)) || bearing == Bearing::Withdraw;
        // What was promised tells; before anything was, all that a switch can have a route over this node for.
        let can_be = |range: &Prefix| self.desired_route(*range).is_some();
        let promised: Vec<Prefix> = match self.link.stood.is_empty() {
            false => self.link.stood.iter().copied().collect(),
            true => announced.iter().copied().filter(can_be).collect(),
        };
        let is_gone = promised.is_empty() || self.is_removing() || leaves;
        let was_up = self.link.stands == Some(true);
        let is_broken = |range: &Prefix| matches!(self.footing(*range), Footing::Broken(_));
        if is_gone || was_up && self.link.stood.is_empty() || promised.iter().any(is_broken) {
            if self.link.stands != Some(false) {
                self.link.fell = now;
            }
            self.link.stands = Some(false);
            return;
        }
        if bearing != Bearing::Announce || !was_up && promised.iter().any(|range| !self.is_proven_by_footing(*range)) {
            return;
        }
        // All of them, so that all that is to be read is asked for at once.
        let candidates = announced.into_iter().filter(|range| !self.link.stood.contains(range) || !was_up);
        let candidates: Vec<Prefix> = candidates.filter(|range| self.is_proven_by_footing(*range)).collect();
        let proven: Vec<Prefix> = candidates.into_iter().filter(|range| self.proven(*range)).collect();
        if was_up || promised.iter().all(|range| proven.contains(range)) {
            self.link.stands = Some(true);
            self.link.stood.extend(proven);
        }
    }

    fn is_proven_by_footing(&self, range: Prefix) -> bool {
        self.footing(range) == Footing::Proven
    }

    /// When the sessions that announce went down for good, if there are any.
    pub(super) fn fallen(&self) -> Option<Time> {
        (self.link.stands == Some(false)).then_some(self.link.fell)
    }

    /// While all of ours goes: have the sessions that announce been down for long enough? `Err` holds when to ask again, if
    /// time alone decides.
    pub(super) fn fell(&self, now: Time) -> Result<(), Option<Time>> {
        if !self.is_removing() || self.announcing_sessions().is_empty() {
            return Ok(());
        }
        let Some(fell) = self.fallen() else { return Err(None) };
        let heard = fell + self.settings.withdraw_delay;
        if heard > now { Err(Some(heard)) } else { Ok(()) }
    }
}
