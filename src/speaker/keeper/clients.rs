//! What the keeper says to those who are connected.

use jiff::Timestamp;
use tracing::{info, warn};

use super::{Hands, Keeper, before};
use crate::model::Time;
use crate::model::lease::{LeaseState, LeaseStatus};
use crate::speaker::socket::ClientId;
use crate::speaker::wire::{Answer, FromSpeaker};

impl<H: Hands> Keeper<H> {
    /// How the lease stands.
    pub(super) fn status(&self, now: Time) -> LeaseStatus {
        let state = self.lease.state();
        let end = self.lease.until().filter(|_| state == LeaseState::Static);
        LeaseStatus {
            state,
            since: before(now.since(self.lease.since())),
            until: end.map(|end| Timestamp::now().as_second().saturating_add_unsigned(end.since(now).as_secs())),
            reason: self.lease.reason(),
            problem: self.lease.problem(),
        }
    }

    /// Tells once whether the lease would lapse with the agent.
    pub(super) fn settle_problem(&mut self, state: LeaseState, now: Time) {
        let problem = self.lease.problem();
        if problem.is_some() == self.has_problem {
            return;
        }
        self.has_problem = problem.is_some();
        match problem {
            Some(problem) => warn!("the lease is held, but {problem}"),
            None if state == LeaseState::Held => info!("the speaker's own probe would hold the lease again"),
            None => {}
        }
        // A change of the state is told by itself.
        if state == self.settled {
            self.tell_lease(now);
        }
    }

    /// Tells the agent, if there is one, how the lease stands.
    pub(super) fn tell_lease(&mut self, now: Time) {
        self.tell_agent(FromSpeaker { lease: Some(self.status(now)), ..FromSpeaker::default() });
    }

    /// Tells the agent, if there is one.
    pub(super) fn tell_agent(&mut self, message: FromSpeaker) {
        if let Some(agent) = self.agent {
            self.tell(agent, message);
        }
    }

    /// Tells a client how everything stands.
    pub(super) fn report(&mut self, id: ClientId) {
        let (lease, bfd, held) = (Some(self.status(self.now())), Some(self.bfd.clone()), Some(self.held.clone()));
        self.tell(id, FromSpeaker { lease, bfd, held, ..FromSpeaker::default() });
    }

    /// Tells a client that what it asked for is done, or why not.
    pub(super) fn answer(&mut self, id: ClientId, refusal: Option<String>) {
        self.tell(id, FromSpeaker { answer: Some(Answer { refusal }), ..FromSpeaker::default() });
    }

    pub(super) fn tell(&mut self, id: ClientId, message: FromSpeaker) {
        let Some(client) = self.clients.get(&id) else { return };
        if client.tell.try_send(message).is_err() {
            warn!(client = id, "does not read what it is told, and is let go");
            self.clients.remove(&id);
        }
    }
}
