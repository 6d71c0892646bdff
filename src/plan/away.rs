//! How a node leaves, and how it comes back: one state machine for all that can drain a node. A pure value; `departure`
//! feeds it and makes routes of it.
//!
//! ```text
//! here ─▶ asking ─▶ shunned ─▶ withdrawn ─▶ holding ─▶ away ─▶ returning ─▶ here
//! ```
//! *Asking*: the other LB nodes have to spare this one. *Shunned*: the routes stay, with the community GRACEFUL_SHUTDOWN
//! (RFC 8326), so that switches which honour it have moved before the routes go, until no new connection has come for
//! `drain.quiet`. *Withdrawn*: the routes go, and peers get `withdrawDelay` to hear it. *Holding*: what has connections
//! here keeps them, until the last one ends, no packet comes any more, or `drain.deadline` has passed. *Away*: nothing depends on the node any more.
//! *Returning*: the routes come back as on a node that just started, each once what it promises is proved; until they are
//! out, the others count the node as away. Whenever the cause is gone, the node returns.

pub(super) mod meter;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Time;
use crate::model::fleet::Verdict;
use crate::model::settings::Drain;

use meter::Meter;

/// When no packet has come for so long, connections that are open are known here alone: a switch sends their packets
/// elsewhere. Of many connections that are alive one says something in this time.
const SILENCE: Duration = Duration::from_secs(30);

/// Where a node is on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It does not leave.
    #[default]
    Here,
    /// It asks whether the others can spare it.
    Asking,
    /// Its routes say that it is about to leave.
    Shunned,
    /// Its routes are going.
    Withdrawn,
    /// Connections may go on.
    Holding,
    /// Nothing depends on it.
    Away,
    /// Its routes are coming back.
    Returning,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Phase; 7] =
        [Phase::Here, Phase::Asking, Phase::Shunned, Phase::Withdrawn, Phase::Holding, Phase::Away, Phase::Returning];

    /// Its name in the status and the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Here => "here",
            Phase::Asking => "asking",
            Phase::Shunned => "shunned",
            Phase::Withdrawn => "withdrawn",
            Phase::Holding => "holding",
            Phase::Away => "away",
            Phase::Returning => "returning",
        }
    }
}

/// What becomes of the node's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bearing {
    /// They are announced.
    Announce,
    /// Those that are out stay, and say that they are about to go. None is announced anew.
    Shun,
    /// There are none.
    Withdraw,
}

/// That the node is to leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// Why, in words.
    pub(super) causes: Vec<String>,
    /// Whatever becomes of the others.
    pub(super) force: bool,
    /// There is no time to ask, and none to wait longer than for silence.
    pub(super) urgent: bool,
}

/// What the next phase depends on, beside time and what was counted.
#[derive(Debug, Clone)]
pub(super) struct Scene<'a> {
    /// Is the node to leave?
    pub(super) demand: Option<Demand>,
    /// Does it announce something, or may it?
    pub(super) out: bool,
    /// Do others count on it? They do while it announces, and while its routes are gone for a moment, as while gobgpd is
    /// started anew.
    pub(super) counted_on: bool,
    /// Can its routes say that it is about to leave? Not where there is no BGP.
    pub(super) speaks: bool,
    /// All routes that are out say so.
    pub(super) marked: bool,
    /// The withdrawal of all routes was heard; else when it will have been, if time alone decides.
    pub(super) heard: Result<(), Option<Time>>,
    /// All that it is to announce is out, as it is to be, and heard.
    pub(super) restored: bool,
    /// What is configured.
    pub(super) drain: &'a Drain,
}

/// What an agent that is started anew has to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Saved {
    /// `vipcast drain` was given, and not taken back.
    pub commanded: Option<Commanded>,
    /// The routes were withdrawn, so that the next agent must not announce them for a moment.
    pub away: bool,
    /// Others count on this node, so that the next agent asks them before it leaves.
    pub counted_on: bool,
}

/// How `vipcast drain` was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Commanded {
    /// The others have to be able to spare this node.
    Asking,
    /// With `--force`.
    Forced,
}

/// A node's way out and back.
#[derive(Debug, Clone, Default)]
pub(super) struct Away {
    phase: Phase,
    since: Time,
    /// What the fleet said last, while the node asks.
    verdict: Option<Verdict>,
    pub(super) meter: Meter,
}

impl Away {
    /// That of an agent whose predecessor left with the routes withdrawn.
    pub(super) fn resumed(now: Time) -> Away {
        Away { phase: Phase::Holding, since: now, meter: Meter::begun(now), ..Away::default() }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// When the phase began.
    pub(super) fn since(&self) -> Time {
        self.since
    }

    /// What the fleet said last, while the node asks.
    pub(super) fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// What becomes of the routes.
    pub(super) fn bearing(&self) -> Bearing {
        match self.phase {
            Phase::Here | Phase::Asking | Phase::Returning => Bearing::Announce,
            Phase::Shunned => Bearing::Shun,
            Phase::Withdrawn | Phase::Holding | Phase::Away => Bearing::Withdraw,
        }
    }

    /// The fleet answers. Only who asks listens.
    pub(super) fn told(&mut self, verdict: Verdict) {
        if self.phase == Phase::Asking {
            self.verdict = Some(verdict);
        }
    }

    /// Goes on to the phase that is due, and answers whether it is another one.
    pub(super) fn advance(&mut self, scene: &Scene, now: Time) -> bool {
        let before = self.phase;
        // Each phase leads to a later one; returning may turn round once.
        for _ in 0..=Phase::ALL.len() {
            if self.phase == Phase::Shunned && !scene.marked {
                self.meter.heard_until(now);
            }
            let next = self.next(scene, now);
            if next == self.phase {
                break;
            }
            self.enter(next, now);
        }
        self.phase != before
    }

    fn next(&self, scene: &Scene, now: Time) -> Phase {
        let Some(demand) = &scene.demand else {
            return match self.phase {
                Phase::Here | Phase::Asking => Phase::Here,
                Phase::Returning if scene.restored => Phase::Here,
                _ => Phase::Returning,
            };
        };
        // Who announces nothing has nothing to say that it leaves.
        let leave = if scene.out && scene.speaks { Phase::Shunned } else { Phase::Withdrawn };
        let is_over = |limit: Duration| self.since + limit <= now;
        match self.phase {
            Phase::Here if scene.counted_on => Phase::Asking,
            Phase::Here | Phase::Returning => leave,
            Phase::Asking => {
                let granted = self.verdict == Some(Verdict::Granted) || scene.drain.fleet.is_none();
                if granted || demand.force || demand.urgent || !scene.counted_on { leave } else { Phase::Asking }
            }
            Phase::Shunned => {
                let quiet = scene.marked && self.meter.quiet_for(scene.drain.quiet);
                if quiet || is_over(patience(scene, demand)) || !scene.out { Phase::Withdrawn } else { Phase::Shunned }
            }
            Phase::Withdrawn if scene.heard.is_ok() => Phase::Holding,
            Phase::Holding => {
                let idle = self.meter.is_empty_since(self.since) || self.meter.is_silent_for(SILENCE, self.since);
                if idle || is_over(scene.drain.deadline) { Phase::Away } else { Phase::Holding }
            }
            stays => stays,
        }
    }

    fn enter(&mut self, phase: Phase, now: Time) {
        let begins = |phase: Phase| matches!(phase, Phase::Shunned | Phase::Withdrawn);
        if begins(phase) && !begins(self.phase) {
            self.meter = Meter::begun(now);
        }
        self.verdict = None;
        self.phase = phase;
        self.since = now;
    }

    /// Is the traffic of interest?
    pub(super) fn counts(&self) -> bool {
        matches!(self.phase, Phase::Shunned | Phase::Holding)
    }

    /// When to ask again, whatever happens until then.
    pub(super) fn wake_at(&self, scene: &Scene) -> Option<Time> {
        let demand = scene.demand.as_ref()?;
        match self.phase {
            Phase::Shunned => Some(self.since + patience(scene, demand)),
            Phase::Withdrawn => scene.heard.err().flatten(),
            Phase::Holding => Some(self.since + scene.drain.deadline),
            Phase::Here | Phase::Asking | Phase::Away | Phase::Returning => None,
        }
    }
}

/// How long new connections may keep the routes out. A machine that shuts down has no time to see whether they stop.
fn patience(scene: &Scene, demand: &Demand) -> Duration {
    if demand.urgent { scene.drain.quiet } else { scene.drain.patience }
}

#[cfg(test)]
mod tests;
