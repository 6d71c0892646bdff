//! The planner leaves and returns: what drains this node, what that makes of its routes, and who is told.

use std::net::IpAddr;

use crate::model::bgp::{Bgp, Community, Path};
use crate::model::fleet::{Stance, Standing, Verdict};
use crate::model::ipvs::ServerKey;
use crate::model::node::DrainAsked;
use crate::model::settings::Announce;
use crate::model::traffic::Traffic;
use crate::model::{Prefix, Time};

use super::away::{Away, Bearing, Commanded, Demand, Phase, Saved, Scene};
use super::change::{Command, Leave};
use super::news::News;
use super::pass::Draft;
use super::planner::Planner;
use super::preconditions::Footing;
use super::role::Role;
use super::step::Step;

/// What is known of this node's leaving.
#[derive(Debug, Clone, Default)]
pub(super) struct AwayBook {
    /// How far it is.
    pub(super) state: Away,
    /// `vipcast drain` was given.
    pub(super) commanded: Option<Commanded>,
    /// Why the node is no LB node any more, while it still serves.
    pub(super) disowned: Option<String>,
    /// The agent ends in this way once the node is away.
    pub(super) ending: Option<Leave>,
    /// The causes of the last demand.
    pub(super) causes: Vec<String>,
    /// What the next agent has to know, as it was told last.
    saved: Saved,
    /// What the fleet was told last.
    standing: Option<Standing>,
    /// It has announced something, and nobody decided that it stops.
    counted_on: bool,
}

impl Planner {
    /// Is the node away, with nothing announced that anybody still hears?
    pub fn is_away(&self) -> bool {
        matches!(self.away.state.phase(), Phase::Holding | Phase::Away)
    }

    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Drain { force: true } => self.away.commanded = Some(Commanded::Forced),
            Command::Drain { force: false } => self.away.commanded = Some(Commanded::Asking),
            Command::Undrain => self.away.commanded = None,
            Command::Confirm => self.confirm(),
        }
    }

    /// Connections were counted. Those of somebody else's virtual servers are no business of ours, and the canary's are our
    /// own.
    pub(super) fn on_traffic(&mut self, traffic: Traffic, now: Time) {
        let is_canary = |key: &ServerKey| self.settings.proof.canaries.iter().any(|range| range.contains(key.address));
        let is_ours = |key: &ServerKey| self.owns_server(key) && !is_canary(key);
        let ours = traffic.into_iter().filter(|(key, _)| is_ours(key)).collect();
        self.away.state.meter.count(ours, now);
    }

    /// What the former agent knew.
    pub(super) fn on_remembered(&mut self, saved: Saved, now: Time) {
        self.away.commanded = saved.commanded;
        self.away.counted_on = saved.counted_on;
        if saved.away {
            self.away.state = Away::resumed(now);
        }
        self.away.saved = saved;
    }

    /// Does kubelet say that the machine is going down?
    pub(super) fn is_shutting_down(&self) -> bool {
        self.cluster.node().is_some_and(|node| node.shutting_down)
    }

    /// Is the node to leave, and why?
    fn demand(&self) -> Option<Demand> {
        let mut demand = Demand::default();
        let mut cause = |text: String, force: bool| {
            demand.causes.push(text);
            demand.force |= force;
        };
        if let Some(commanded) = self.away.commanded {
            cause("vipcast drain".to_owned(), commanded == Commanded::Forced);
        }
        if let Some(node) = self.cluster.node() {
            match node.drain {
                DrainAsked::No | DrainAsked::Unread => {}
                DrainAsked::Yes => cause("the annotation vipcast.io/drain".to_owned(), false),
                DrainAsked::Forced => cause("the annotation vipcast.io/drain: force".to_owned(), true),
            }
            let selects = |taint| self.settings.drain.taints.iter().any(|wanted| wanted.selects(taint));
            node.taints
                .iter()
                .filter(|taint| selects(taint))
                .for_each(|taint| cause(format!("the taint {taint}"), false));
        }
        if let Some(reason) = &self.away.disowned {
            cause(reason.clone(), false);
        }
        if let Some(leave) = self.away.ending {
            // Its pod goes, whatever the others say, and its speaker with it.
            cause("the agent was told to end".to_owned(), leave == Leave::Remove);
        }
        if self.is_shutting_down() {
            cause("the machine shuts down".to_owned(), false);
            demand.urgent = true;
        }
        (!demand.causes.is_empty()).then_some(demand)
    }

    /// Goes on to leave or to return, before routes are looked at.
    pub(super) fn plan_departure(&mut self, now: Time, draft: &mut Draft) {
        // Before the node is known there is nothing to decide, and whoever leaves for good has decided.
        if self.leaving.is_some() || !self.derived || self.role != Role::Serving {
            return;
        }
        let demand = self.demand();
        if demand.is_none() && self.away.state.phase() == Phase::Here {
            return;
        }
        let before = self.away.state.bearing();
        let causes = demand.iter().flat_map(|demand| demand.causes.clone()).collect();
        let drain = self.settings.drain.clone();
        let mut scene = Scene {
            demand,
            out: self.may_announce(),
            counted_on: self.may_announce() || self.away.counted_on,
            speaks: self.settings.bgp.is_some(),
            marked: self.are_all_marked(),
            heard: self.withdrawal_heard(now),
            // Under another bearing other routes are wanted.
            restored: before == Bearing::Announce && self.is_restored(),
            drain: &drain,
        };
        self.away.causes = causes;
        let mut state = std::mem::take(&mut self.away.state);
        let moved = state.advance(&scene, now);
        if let Some(leave) = self.away.ending.filter(|leave| *leave != Leave::Remove)
            && state.phase() == Phase::Asking
            && state.since() + drain.patience <= now
        {
            // The node stays what it is, and the next agent finds it so.
            self.news.push(News::Stays { leave, reason: refusal(state.verdict()) });
            self.away.state = state;
            self.on_leave(Leave::Keep, now);
            return;
        }
        let phase = state.phase();
        if moved {
            scene.heard = self.withdrawal_heard(now);
        }
        if phase == Phase::Asking && self.away.ending.is_some() {
            draft.wake(state.since() + drain.patience);
        }
        state.wake_at(&scene).into_iter().for_each(|at| draft.wake(at));
        if state.counts() {
            if state.meter.is_due(now) {
                self.send(Step::ReadTraffic, now, draft);
            }
            draft.wake(state.meter.due_at());
        }
        self.away.state = state;
        if before != self.away.state.bearing() {
            self.touch_all_vips();
        }
        if moved {
            self.news.push(News::Departure(self.departure_line()));
        }
        if phase == Phase::Away {
            match self.away.ending {
                Some(leave) => self.on_leave(leave, now),
                None if self.away.disowned.is_some() => {
                    self.derive_role();
                    self.derive_ranges(now);
                }
                None => {}
            }
        }
    }

    /// The routes may be out again by what this pass found: then the next one, which is due at once, says so.
    pub(super) fn plan_return(&mut self, now: Time, draft: &mut Draft) {
        let decides = self.leaving.is_none() && self.derived && self.role == Role::Serving;
        if decides && self.away.state.phase() == Phase::Returning && self.is_restored() {
            draft.wake(now);
        }
    }

    /// Notes whether others count on this node, after all that this pass decided. Who asks to leave is counted on until the
    /// others let it go.
    pub(super) fn note_counted_on(&mut self) {
        if !self.derived || self.leaving.is_some() {
            return;
        }
        let is_out = self.announces() || self.memory.paths_in_flight() > 0;
        let is_known = self.settings.bgp.is_none() || self.actual.bgp.is_some();
        self.away.counted_on = match self.away.state.phase() {
            Phase::Here if is_known => is_out,
            Phase::Here | Phase::Asking => is_out || self.away.counted_on,
            _ => false,
        };
    }

    /// What the next agent has to know, if that is something else than it was told last.
    pub(super) fn saved_anew(&mut self) -> Option<Saved> {
        // What was withdrawn for good comes back with the next agent.
        let away = self.away.state.bearing() == Bearing::Withdraw && self.away.ending.is_none();
        let saved = Saved { commanded: self.away.commanded, away, counted_on: self.away.counted_on };
        let differs = saved != self.away.saved;
        self.away.saved = saved;
        differs.then_some(saved)
    }

    /// How the node stands in its fleet, or that it is in none, if that is something else than was told last. Before the node
    /// is known, it is what it was for the others.
    pub(super) fn standing_anew(&mut self) -> Option<Option<Standing>> {
        let Some(fleet) = self.settings.drain.fleet.clone() else {
            return self.away.standing.take().map(|_| None);
        };
        if !self.derived || self.leaving.is_some() {
            return None;
        }
        let stance = match self.away.state.phase() {
            _ if self.role != Role::Serving => Stance::Absent,
            Phase::Here if self.announces() && self.is_heard() => Stance::Present,
            // Before it has announced anything, it is what it was for the others: about to come back, maybe.
            Phase::Here if self.away.standing.is_none() => return None,
            Phase::Here => Stance::Absent,
            Phase::Asking => Stance::Asking,
            _ => Stance::Away,
        };
        let serves = matches!(stance, Stance::Present | Stance::Asking) && self.announces() && self.is_heard();
        let standing = Standing { fleet, max_unavailable: self.settings.drain.max_unavailable, stance, serves };
        let told = Some(standing.clone());
        let differs = told != self.away.standing;
        self.away.standing = told;
        differs.then_some(Some(standing))
    }

    /// Does anybody hear what it announces, if it announces something? In a gobgpd whose peers are all somebody else's, that is
    /// taken for granted.
    fn is_heard(&self) -> bool {
        if !self.announces() || self.settings.bgp.is_some() && self.peers.is_empty() {
            return true;
        }
        let mut paths = self.actual.bgp.iter().flat_map(|bgp| bgp.paths.keys());
        self.is_answered_by_bfd() || paths.any(|prefix| !self.hearers(*prefix).is_empty())
    }

    /// Does the node announce something? Whoever answers BFD is announced by switches with static routes.
    fn announces(&self) -> bool {
        let is_out = self.settings.bgp.is_some() && self.actual.bgp.as_ref().is_some_and(|bgp| !bgp.paths.is_empty());
        is_out || self.stands() == Some(true)
    }

    /// The same, as far as can be excluded.
    pub(super) fn may_announce(&self) -> bool {
        let is_unknown = self.settings.bgp.is_some() && self.actual.bgp.is_none() && !self.has_died();
        let is_undecided =
            self.settings.bgp.is_none() && self.stands().is_none() && !self.announcing_sessions().is_empty();
        is_unknown || is_undecided || self.announces() || self.memory.paths_in_flight() > 0
    }

    /// Do all routes that are out say that they are about to go? Those apart that stay as an earlier run left them.
    fn are_all_marked(&self) -> bool {
        let may_be_left = |prefix: &Prefix| prefix.is_host() && self.is_blind();
        let is_marked = |path: &Path| path.communities.contains(&Community::GRACEFUL_SHUTDOWN);
        let are_marked = |bgp: &Bgp| bgp.paths.iter().all(|(prefix, path)| is_marked(path) || may_be_left(prefix));
        self.actual.bgp.as_ref().is_some_and(are_marked) && self.memory.paths_in_flight() == 0
    }

    /// Are the routes of all ranges out again, as they are to be, and heard? One that something else speaks against is waited for by
    /// nobody, nor is one of a range that has not been proved, once there are others that were; but a node that has nothing
    /// else than what is broken is not back.
    fn is_restored(&self) -> bool {
        if !self.is_heard() {
            return false;
        }
        let announced: Vec<Prefix> = self.announced_ranges().collect();
        if self.settings.bgp.is_none() {
            let can_be = announced.iter().any(|range| self.desired_route(*range).is_some());
            return self.announcing_sessions().is_empty() || self.stands() == Some(true) || !can_be;
        }
        let Some(bgp) = &self.actual.bgp else { return false };
        let is_broken = |range: &Prefix| matches!(self.footing(*range), Footing::Broken(_));
        if !announced.is_empty() && announced.iter().all(is_broken) {
            return false;
        }
        let is_any_founded = announced.iter().any(|range| self.is_founded(*range));
        let counts = |range: Prefix| !is_any_founded || self.is_founded(range);
        let aggregates =
            self.ranges.iter().filter(|range| range.announce == Announce::Aggregate && counts(range.prefix));
        let mut wanted = aggregates.filter_map(|range| Some((range.prefix, self.wanted_in(range.prefix).ok()?.path)));
        let waits = |vip: &IpAddr| self.ranges.covering(*vip).is_some_and(|range| counts(range.prefix));
        self.memory.paths_in_flight() == 0
            && self.speaker.vips.is_empty()
            && !self.speaker.waiting.iter().any(waits)
            && wanted.all(|(prefix, path)| bgp.paths.get(&prefix) == Some(&path))
    }

    /// `path`, which is to go soon, so that switches prefer all others.
    pub(super) fn shunned(&self, mut path: Path) -> Path {
        path.communities.insert(Community::GRACEFUL_SHUTDOWN);
        if let Some(bgp) = &self.settings.bgp {
            path.as_path.extend(std::iter::repeat_n(bgp.asn, self.settings.drain.prepend.into()));
        }
        path
    }

    /// Why routes go, in words.
    pub(super) fn leaving_words(&self) -> String {
        format!("this node is drained ({})", self.away.causes.join(", "))
    }

    /// Where the node is on its way, in a line.
    fn departure_line(&self) -> String {
        let causes = self.away.causes.join(", ");
        let meter = &self.away.state.meter;
        match self.away.state.phase() {
            Phase::Here => "back: the node announces again".to_owned(),
            Phase::Asking => format!("asking whether the other LB nodes can spare this one: {causes}"),
            Phase::Shunned => format!("draining: the routes have the community graceful-shutdown now: {causes}"),
            Phase::Withdrawn => {
                format!("draining: the routes are withdrawn, after {} new connections", meter.arrived())
            }
            Phase::Holding => {
                let open = meter.open().map_or_else(|| "what is".to_owned(), |open| open.to_string());
                format!("draining: nobody sends anything new; {open} open connections get their time")
            }
            Phase::Away => match meter.open().unwrap_or_default() {
                0 => format!("drained: no connection is left: {causes}"),
                cut => format!(
                    "drained: {cut} connections are still open, but nothing comes for them, or their time is over: {causes}"
                ),
            },
            Phase::Returning => "returning: the routes come back as soon as the data plane is proved".to_owned(),
        }
    }
}

/// Why the fleet did not let the node go, in words.
fn refusal(verdict: Option<&Verdict>) -> String {
    match verdict {
        Some(Verdict::Refused(reason) | Verdict::Unknown(reason)) => reason.clone(),
        Some(Verdict::Granted) | None => "the other LB nodes could not be asked in time".to_owned(),
    }
}
