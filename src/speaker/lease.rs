//! The announcement lease as a state machine: pure, with time as an argument.
//!
//! One rule: what is announced needs a proof of the data plane that is not older than `ttl`. While the agent lives and
//! vouches for it, its renewals are the proof. When they stay out, for whatever reason, the speaker probes by itself, and its
//! probes that pass are the proof, for `fail_static` after the agent was last heard at most. (One that lives and cannot vouch,
//! as without the API server after its start, is no reason to withdraw what is proved otherwise.) A lease that lapsed stays
//! so until an agent renews it.

use std::time::Duration;

use crate::model::Time;
use crate::model::lease::LeaseState;
use crate::model::orders::Orders;

/// How often the speaker tries its own probe while it does not need it: that it cannot probe is to be known before.
const REHEARSAL: Duration = Duration::from_secs(60);

/// So many rehearsals in a row that fail are told. After one that failed comes the next when the lease could have lapsed.
const TELLING: u32 = 2;

/// What the orders say of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// How old a proof may be.
    pub(super) ttl: Duration,
    /// How long after the agent was last heard probes are a proof.
    pub(super) fail_static: Duration,
    /// Is there something to probe?
    pub(super) provable: bool,
}

impl Terms {
    /// Those of `orders`.
    pub(super) fn of(orders: &Orders) -> Terms {
        let Orders { ttl, fail_static, ref canaries, .. } = *orders;
        Terms { ttl, fail_static, provable: !canaries.is_empty() }
    }
}

/// What outlives the speaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Past {
    /// It was held, or never judged.
    Held,
    /// The agent had been silent for so long.
    Silent(Duration),
    /// It had lapsed, for this reason.
    Lapsed(String),
}

/// The lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    terms: Option<Terms>,
    state: LeaseState,
    since: Time,
    /// When the agent renewed it the last time, or when this speaker began.
    renewed: Time,
    /// By terms that were longer it is proved until then, if not by those in force.
    grace: Time,
    /// When the agent was heard the last time, whether it vouched or not, or when this speaker began.
    heard: Time,
    /// For how long the agent had been silent before that, as an earlier speaker knew.
    silent_before: Duration,
    /// Is an agent connected?
    connected: bool,
    /// Why the agent says that it does not renew it.
    objection: Option<String>,
    /// When the speaker's own probe passed the last time.
    probed: Option<Time>,
    /// Why it failed since.
    failure: Option<String>,
    /// When it was tried the last time, needed or not.
    tried: Option<Time>,
    /// How often it has failed since it passed, and why the last time.
    rehearsals: (u32, String),
    /// Why it lapsed.
    lapse: Option<String>,
    /// It does not lapse before that without a verdict.
    pardoned: Time,
}

impl Lease {
    /// That of a speaker without orders.
    pub(super) fn new(now: Time) -> Lease {
        Lease {
            terms: None,
            state: LeaseState::Unknown,
            since: now,
            renewed: now,
            grace: Time::ZERO,
            heard: now,
            silent_before: Duration::ZERO,
            connected: false,
            objection: None,
            probed: None,
            failure: None,
            tried: None,
            rehearsals: (0, String::new()),
            lapse: None,
            pardoned: Time::ZERO,
        }
    }

    /// That of a speaker which finds orders of an earlier one. The agent gets one `ttl` to come forward.
    pub(super) fn resumed(terms: Terms, past: Past, now: Time) -> Lease {
        let mut lease = Lease { terms: Some(terms), state: LeaseState::Held, ..Lease::new(now) };
        match past {
            Past::Held => {}
            Past::Silent(silent) => lease.silent_before = silent,
            Past::Lapsed(reason) => {
                lease.state = LeaseState::Lapsed;
                lease.lapse = Some(reason);
            }
        }
        lease
    }

    /// Its state.
    pub(super) fn state(&self) -> LeaseState {
        self.state
    }

    /// Since when it is in this state.
    pub(super) fn since(&self) -> Time {
        self.since
    }

    /// For how long no agent has been heard.
    pub(super) fn silence(&self, now: Time) -> Duration {
        self.silent_before + now.since(self.heard)
    }

    /// There are orders. What was proved by terms that were longer gets the new `ttl` from now on, and no more than it had.
    pub(super) fn order(&mut self, terms: Terms, now: Time) {
        match self.terms {
            None => {
                (self.renewed, self.heard) = (now, now);
                self.enter(LeaseState::Held, now);
            }
            Some(former) => {
                let proof = self.held_until(former).max(self.static_until(former).unwrap_or_default());
                self.grace = proof.min(now + terms.ttl);
            }
        }
        self.terms = Some(terms);
        self.judge(now);
    }

    /// An agent is there, or gone.
    pub(super) fn connected(&mut self, is_there: bool, now: Time) {
        self.connected = is_there;
        if !is_there {
            self.objection = None;
        }
        self.judge(now);
    }

    /// The agent turns, and says that the data plane is proved, or why it is not.
    pub(super) fn renew(&mut self, proof: Result<(), String>, now: Time) {
        self.objection = proof.err();
        (self.heard, self.silent_before) = (now, Duration::ZERO);
        if self.objection.is_none() && self.terms.is_some() {
            (self.renewed, self.grace) = (now, Time::ZERO);
            (self.probed, self.failure, self.lapse) = (None, None, None);
            self.enter(LeaseState::Held, now);
        }
        self.judge(now);
    }

    /// The speaker's own probe has a verdict.
    pub(super) fn probed(&mut self, verdict: Result<(), String>, now: Time) {
        self.tried = Some(now);
        self.rehearsals = match &verdict {
            Ok(()) => (0, String::new()),
            Err(why) => (self.rehearsals.0.saturating_add(1), why.clone()),
        };
        if verdict.is_ok() {
            self.probed = Some(now);
        }
        self.failure = verdict.err();
        self.pardoned = Time::ZERO;
        self.judge(now);
    }

    /// The speaker itself did not run for a while: what came in meanwhile is not late, and it could not probe. The lease does
    /// not lapse before `until` unless a probe that starts now says so.
    pub(super) fn pardon(&mut self, until: Time) {
        self.pardoned = until;
    }

    /// Time has passed.
    pub(super) fn judge(&mut self, now: Time) {
        let Some(terms) = self.terms else { return };
        if self.state == LeaseState::Lapsed || now < self.held_until(terms) {
            return;
        }
        match self.static_until(terms) {
            Some(until) if now < until => self.enter(LeaseState::Static, now),
            _ if now < self.pardoned => {}
            _ => {
                self.lapse = Some(self.why(terms, now));
                self.enter(LeaseState::Lapsed, now);
            }
        }
    }

    /// When [`Lease::judge`] may come to something else.
    pub(super) fn wake_at(&self) -> Option<Time> {
        let terms = self.terms?;
        match self.state {
            LeaseState::Unknown | LeaseState::Lapsed => None,
            LeaseState::Held => Some(self.held_until(terms).max(self.pardoned)),
            LeaseState::Static => {
                Some(self.static_until(terms).unwrap_or_default().max(self.held_until(terms)).max(self.pardoned))
            }
        }
    }

    /// From when on the speaker has to probe by itself; `None`: not at all. Early enough to have a verdict when the agent's
    /// last renewal is too old.
    pub(super) fn probe_from(&self) -> Option<Time> {
        let terms = self.terms.filter(|terms| terms.provable)?;
        match self.state {
            LeaseState::Unknown | LeaseState::Lapsed => None,
            LeaseState::Held if self.connected && self.objection.is_none() => {
                let pause = if self.rehearsals.0 == 0 { REHEARSAL } else { terms.ttl };
                Some(self.tried.map_or(Time::ZERO, |tried| (self.renewed + terms.ttl / 2).min(tried + pause)))
            }
            LeaseState::Held | LeaseState::Static => Some(Time::ZERO),
        }
    }

    /// How long it stays as it is if no probe fails and no agent comes.
    pub(super) fn until(&self) -> Option<Time> {
        let terms = self.terms?;
        match self.state {
            LeaseState::Unknown | LeaseState::Lapsed => None,
            LeaseState::Held => Some(self.held_until(terms)),
            LeaseState::Static => Some(self.end_of_static(terms)),
        }
    }

    /// What would go wrong if the agent were gone now, in words.
    pub(super) fn problem(&self) -> Option<String> {
        let (count, why) = &self.rehearsals;
        let is_held = self.state == LeaseState::Held && self.connected && self.objection.is_none();
        let tells = is_held && *count >= TELLING && self.terms.is_some_and(|terms| terms.provable);
        tells.then(|| format!("without the agent the routes would go: the speaker's own probe fails: {why}"))
    }

    /// Why it is not held, in words.
    pub(super) fn reason(&self) -> Option<String> {
        match self.state {
            LeaseState::Unknown | LeaseState::Held => None,
            LeaseState::Static => Some(self.silence_in_words()),
            LeaseState::Lapsed => self.lapse.clone(),
        }
    }

    /// Until when what the agent said last is proof enough.
    fn held_until(&self, terms: Terms) -> Time {
        (self.renewed + terms.ttl).max(self.grace)
    }

    fn static_until(&self, terms: Terms) -> Option<Time> {
        let probed = self.probed.filter(|_| terms.provable)?;
        Some((probed + terms.ttl).min(self.end_of_static(terms)))
    }

    fn end_of_static(&self, terms: Terms) -> Time {
        self.heard + terms.fail_static.saturating_sub(self.silent_before)
    }

    fn silence_in_words(&self) -> String {
        match (&self.objection, self.connected) {
            (Some(objection), _) => format!("the agent does not vouch for the data plane: {objection}"),
            (None, true) => "the agent is connected, and does not answer for its data plane".to_owned(),
            (None, false) => "no agent is connected".to_owned(),
        }
    }

    fn why(&self, terms: Terms, now: Time) -> String {
        let silence = self.silence_in_words();
        let proof = if !terms.provable {
            "nothing else can prove the data plane (proof.canaries)".to_owned()
        } else if let Some(failure) = &self.failure {
            format!("the speaker's own probe fails: {failure}")
        } else if now >= self.end_of_static(terms) {
            format!("the time for that (lease.static, {} s) is over", terms.fail_static.as_secs())
        } else {
            "the speaker's own probe has no verdict".to_owned()
        };
        format!("{silence}, and {proof}")
    }

    fn enter(&mut self, state: LeaseState, now: Time) {
        if self.state != state {
            // What failed in another state says nothing about this one.
            (self.tried, self.rehearsals) = (None, (0, String::new()));
            (self.state, self.since) = (state, now);
        }
    }
}

#[cfg(test)]
mod tests;
