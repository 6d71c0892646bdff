//! How an agent ends: by what it is told and what its Node says, and when all is done that has to be done before.

use crate::model::Time;

use super::away::Phase;
use super::change::Leave;
use super::memory::Key;
use super::news::News;
use super::pass::Draft;
use super::planner::Planner;
use super::role::{Role, farewell};

impl Planner {
    /// The agent is told to end.
    pub(super) fn on_end(&mut self, configured: Leave, now: Time) {
        let leave = farewell(&self.settings, &self.cluster, configured);
        self.news.push(News::Leaving(leave));
        let drains = match leave {
            Leave::Keep => false,
            Leave::Withdraw => self.is_shutting_down(),
            Leave::Drain | Leave::Remove => true,
        };
        if drains && self.derived && self.role == Role::Serving {
            self.away.ending = Some(leave);
        } else {
            self.on_leave(leave, now);
        }
    }

    /// Does the agent that was told to end wait for something that time ends by itself?
    pub fn is_draining(&self) -> bool {
        let waits = matches!(self.away.state.phase(), Phase::Asking | Phase::Shunned | Phase::Holding);
        self.leaving.is_none() && self.away.ending.is_some() && waits
    }

    /// Is all done that the agent was asked to do before it leaves?
    pub(super) fn is_finished(&self, now: Time, draft: &mut Draft) -> bool {
        let Some(leaving) = self.leaving else { return false };
        // What is under way in the kernel is not waited for: it does no harm there, and the kernel may be slow.
        let withdrawn = match self.withdrawal_heard(now) {
            Ok(()) => true,
            Err(Some(heard)) => {
                draft.wake(heard);
                return false;
            }
            Err(None) => false,
        };
        match leaving {
            Leave::Keep => true,
            Leave::Withdraw | Leave::Drain => withdrawn,
            Leave::Remove => {
                let quiet = draft.steps.is_empty() && self.memory.in_flight().next().is_none();
                let link = self.actual.addr.link.is_some_and(|link| link.dummy)
                    || self.actual.addr.probe.as_ref().is_some_and(|link| link.paired);
                let alone = self
                    .actual
                    .bgp
                    .as_ref()
                    .is_none_or(|bgp| bgp.peers.is_empty() && bgp.rejected.is_none() && bgp.exports.is_none());
                withdrawn && quiet && self.is_bare() && !link && alone
            }
        }
    }

    /// Is the withdrawal of all routes known, and `withdrawDelay` over since? `Err` holds when to ask again, if time
    /// alone decides.
    pub(super) fn withdrawal_heard(&self, now: Time) -> Result<(), Option<Time>> {
        let delay = self.settings.withdraw_delay;
        let heard = self.speaker.withdrawn.values().map(|at| *at + delay).max();
        let died = self.has_died();
        let died_at = died.then_some(self.speaker.dark + delay);
        let fallen = self.fallen().map(|at| at + delay);
        if let Some(heard) = heard.max(died_at).max(fallen).filter(|heard| *heard > now) {
            return Err(Some(heard));
        }
        let is_silent = self.settings.bgp.is_none();
        let gone = is_silent || died || self.actual.bgp.as_ref().is_some_and(|bgp| bgp.paths.is_empty());
        let known = !self.speaker.wanted && !self.memory.is_in_flight(&Key::SpeakerReading);
        let withdrawn = gone && self.memory.paths_in_flight() == 0 && (known || died || is_silent);
        if withdrawn { Ok(()) } else { Err(None) }
    }
}
