//! One side of a session (RFC 5880 section 6.8).

mod timing;

use std::time::Duration;

use super::damping::Damping;
use super::jitter::Jitter;
use super::offer::Offer;
use super::packet::{Diagnostic, Discard, Packet};
use super::saved::Saved;
use crate::model::Time;
use crate::model::bfd::{BfdState, Timers};

/// One side of a session: the state variables of RFC 5880 section 6.8.1.
///
/// After each call, [`Session::wake_at`] says when [`Session::wake`] wants to be called; that can be at once.
#[derive(Debug, Clone)]
pub struct Session {
    timers: Timers,
    /// While it is to survive a silence: what is offered instead of `timers`.
    stretched: Option<Offer>,
    state: BfdState,
    diagnostic: Diagnostic,
    /// Has a packet come that says Up, since this side is? Before, nothing may be fast: see [`Session::target`].
    confirmed: bool,
    my_discriminator: u32,
    remote: Remote,
    /// What packets say.
    told: Offer,
    /// What the other side is known to go by.
    used: Offer,
    poll: Poll,
    sent_at: Option<Time>,
    send_at: Option<Time>,
    heard_at: Option<Time>,
    jitter: Jitter,
    damping: Damping,
    flaps: u32,
    reason: Option<Diagnostic>,
}

/// What is known of the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Remote {
    discriminator: u32,
    state: BfdState,
    offer: Offer,
    demand: bool,
}

impl Remote {
    /// As long as nothing was heard (section 6.8.1).
    const UNKNOWN: Remote = Remote {
        discriminator: 0,
        state: BfdState::Down,
        offer: Offer { tx: Duration::ZERO, rx: Duration::from_micros(1), multiplier: 1 },
        demand: false,
    };
}

/// A poll sequence (section 6.5), by which this side learns that the other one goes by what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poll {
    /// None is under way.
    Idle,
    /// All periodic packets carry P.
    Running,
    /// F came. Another may follow on its heels, so the next sequence begins after a packet without.
    Ending,
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: BfdState,
    /// The state now.
    pub to: BfdState,
    /// Why.
    pub diagnostic: Diagnostic,
}

/// What a packet led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// To be sent now.
    pub answer: Option<Packet>,
    /// The state changed.
    pub transition: Option<Transition>,
}

/// What the passing of time led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Woken {
    /// To be sent now.
    pub packet: Option<Packet>,
    /// The state changed.
    pub transition: Option<Transition>,
}

impl Session {
    /// A session that begins Down, or in AdminDown unless it is `enabled`. The discriminator is not 0 and no other session
    /// of this system has it; jitter follows from `seed`.
    pub fn new(timers: Timers, enabled: bool, my_discriminator: u32, seed: u64, now: Time) -> Session {
        let told = Offer::slow(timers);
        let (state, diagnostic) =
            if enabled { (BfdState::Down, Diagnostic::NONE) } else { (BfdState::AdminDown, Diagnostic::ADMIN_DOWN) };
        Session {
            timers,
            stretched: None,
            state,
            diagnostic,
            confirmed: false,
            my_discriminator,
            remote: Remote::UNKNOWN,
            told,
            used: told,
            poll: Poll::Idle,
            sent_at: None,
            send_at: Some(now),
            heard_at: None,
            jitter: Jitter::new(seed),
            damping: Damping::default(),
            flaps: 0,
            reason: None,
        }
    }

    /// What another process needs to go on with the session.
    pub fn saved(&self, now: Time) -> Saved {
        Saved {
            my_discriminator: self.my_discriminator,
            your_discriminator: self.remote.discriminator,
            state: self.state,
            remote_state: self.remote.state,
            told: self.told,
            used: self.used,
            remote: self.remote.offer,
            flaps: self.flaps,
            drops: self.damping.count(now),
            damped: self.damping.left(now).is_some(),
            reason: self.reason,
        }
    }

    /// Goes on with a session that another process saved. One that was Up sends at once, as if it had never been away: the
    /// other side notices nothing, if less than its detection time has passed. Else it answers that it is down, and so is
    /// this one. A session that was not Up begins anew, with its discriminator.
    pub fn resume(saved: &Saved, timers: Timers, enabled: bool, seed: u64, now: Time) -> Session {
        let mut session = Session::new(timers, enabled, saved.my_discriminator, seed, now);
        session.damping = Damping::with(saved.drops, now);
        session.flaps = saved.flaps;
        session.reason = saved.reason;
        let was_up = saved.state == BfdState::Up && saved.remote_state == BfdState::Up;
        if was_up && saved.your_discriminator != 0 && saved.remote.multiplier != 0 {
            session.remote = Remote {
                discriminator: saved.your_discriminator,
                state: saved.remote_state,
                offer: saved.remote,
                demand: false,
            };
            if enabled {
                session.state = BfdState::Up;
                session.confirmed = true;
                session.heard_at = Some(now);
                (session.told, session.used) = (saved.told, saved.used);
                session.negotiate(now);
                if saved.damped {
                    session.damping.came_up(now);
                }
            }
        }
        session
    }

    /// Other timers. While the session is up, the other side is asked by a poll sequence.
    pub fn set_timers(&mut self, timers: Timers, now: Time) {
        self.timers = timers;
        self.negotiate(now);
    }

    /// Makes the other side wait for `silence` at least before it takes this one for gone, once [`Session::is_stretched`]:
    /// by a poll sequence to a slow interval and a large multiplier. `None`: back to the timers.
    pub fn stretch(&mut self, silence: Option<Duration>, now: Time) {
        self.stretched = silence.map(|silence| Offer::stretched(self.timers, self.remote.offer.rx, silence));
        self.negotiate(now);
    }

    /// Does the other side go by what [`Session::stretch`] asked for? A session that is not up has nothing to lose.
    pub fn is_stretched(&self) -> bool {
        self.state != BfdState::Up || self.stretched.is_some_and(|offer| offer == self.used)
    }

    /// Lets the session come up, or holds it in AdminDown (section 6.8.16).
    pub fn set_enabled(&mut self, enabled: bool, now: Time) -> Option<Transition> {
        match (enabled, self.state) {
            (false, BfdState::AdminDown) => None,
            (false, _) => self.enter(BfdState::AdminDown, Diagnostic::ADMIN_DOWN, now),
            (true, BfdState::AdminDown) => self.enter(BfdState::Down, Diagnostic::NONE, now),
            (true, _) => None,
        }
    }

    /// A packet came from where the other side is.
    ///
    /// # Errors
    /// It is for another session.
    pub fn receive(&mut self, packet: &Packet, now: Time) -> Result<Heard, Discard> {
        if packet.your_discriminator != 0 && packet.your_discriminator != self.my_discriminator {
            return Err(Discard::Stranger(packet.your_discriminator));
        }
        let interval = self.interval();
        self.heard_at = Some(now);
        self.remote = Remote {
            discriminator: packet.my_discriminator,
            state: packet.state,
            offer: Offer { tx: packet.desired_tx, rx: packet.required_rx, multiplier: packet.multiplier },
            demand: packet.demand,
        };
        self.poll = match (self.poll, packet.is_final) {
            (Poll::Running, true) => {
                self.used = self.told;
                Poll::Ending
            }
            (Poll::Ending, false) => Poll::Idle,
            (poll, _) => poll,
        };
        let transition = self.react(packet.state, now);
        self.confirmed = self.state == BfdState::Up && (self.confirmed || packet.state == BfdState::Up);
        self.negotiate(now);
        self.reschedule(interval, now);
        let answer = packet.poll.then(|| self.packet(true));
        Ok(Heard { answer, transition })
    }

    /// The state machine (section 6.8.6).
    fn react(&mut self, heard: BfdState, now: Time) -> Option<Transition> {
        use BfdState::{AdminDown, Down, Init, Up};

        match (self.state, heard) {
            (AdminDown, _) => None,
            (Init | Up, AdminDown) | (Up, Down) => self.enter(Down, Diagnostic::NEIGHBOR_DOWN, now),
            (Down, Down) => self.enter(Init, self.diagnostic, now),
            (Down, Init) | (Init, Init | Up) => self.enter(Up, Diagnostic::NONE, now),
            (Down, AdminDown | Up) | (Init, Down) | (Up, Init | Up) => None,
        }
    }

    /// Time has passed: is nothing heard any more, is it time to send?
    pub fn wake(&mut self, now: Time) -> Woken {
        let mut woken = Woken::default();
        if self.expires_at().is_some_and(|at| at <= now) {
            self.heard_at = None;
            self.remote = Remote::UNKNOWN;
            if matches!(self.state, BfdState::Init | BfdState::Up) {
                woken.transition = self.enter(BfdState::Down, Diagnostic::EXPIRED, now);
            }
        }
        if self.damping.until().is_some_and(|until| until <= now) {
            self.damping.believe();
        }
        if self.send_at.is_some_and(|at| at <= now) {
            woken.packet = Some(self.packet(false));
            self.sent_at = Some(now);
            self.send_at = self.interval().map(|interval| now + self.jitter.of(interval, self.told.multiplier));
        }
        woken
    }

    /// When to call [`Session::wake`]; `None`: not before something else happens.
    pub fn wake_at(&self) -> Option<Time> {
        [self.send_at, self.expires_at(), self.damping.until()].into_iter().flatten().min()
    }

    /// The state.
    pub fn state(&self) -> BfdState {
        self.state
    }

    /// The state of the other side, as far as it is known.
    pub fn remote_state(&self) -> BfdState {
        self.remote.state
    }

    /// This side's discriminator.
    pub fn my_discriminator(&self) -> u32 {
        self.my_discriminator
    }

    /// How often the session has left Up.
    pub fn flaps(&self) -> u32 {
        self.flaps
    }

    /// Why it left Up the last time.
    pub fn reason(&self) -> Option<Diagnostic> {
        self.reason
    }

    /// For how long from `now` the session is not believed to be up, although it is.
    pub fn damped(&self, now: Time) -> Option<Duration> {
        self.damping.left(now)
    }

    fn enter(&mut self, state: BfdState, diagnostic: Diagnostic, now: Time) -> Option<Transition> {
        let from = std::mem::replace(&mut self.state, state);
        self.diagnostic = diagnostic;
        if state == BfdState::Up {
            self.damping.came_up(now);
        } else if from == BfdState::Up {
            self.flaps = self.flaps.saturating_add(1);
            self.reason = Some(diagnostic);
            // Whoever holds a session down has a plan; that is no flapping.
            let is_planned = state == BfdState::AdminDown || self.remote.state == BfdState::AdminDown;
            if !is_planned {
                self.damping.dropped(now);
            } else {
                self.damping.believe();
            }
        }
        self.confirmed = false;
        self.negotiate(now);
        self.send_at = Some(now);
        Some(Transition { from, to: state, diagnostic })
    }

    fn packet(&self, is_final: bool) -> Packet {
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: !is_final && self.poll == Poll::Running,
            is_final,
            // The speaker's BFD goes on when gobgpd or the agent ends.
            independent: true,
            demand: false,
            multiplier: self.told.multiplier,
            my_discriminator: self.my_discriminator,
            your_discriminator: self.remote.discriminator,
            desired_tx: self.told.tx,
            required_rx: self.told.rx,
        }
    }
}

#[cfg(test)]
mod tests;
