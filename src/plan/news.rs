//! What an operator wants to read in the log: one line per decision, quiet at rest.

use std::fmt;

use crate::model::bgp::{Path, PeerName, Session, SessionState};
use crate::model::{Prefix, ServiceKey};

use super::change::Leave;
use super::problem::Problem;
use super::step::Step;

/// Something worth a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// gobgpd can be reached.
    SpeakerUp,
    /// gobgpd cannot be reached.
    SpeakerDown(String),
    /// The node does not serve (any more), for this reason.
    Idle(String),
    /// The node serves, as its labels say.
    Serving,
    /// The agent leaves in this way.
    Leaving(Leave),
    /// Something is wrong with what is configured for a peer.
    Peer {
        /// The peer.
        peer: PeerName,
        /// What.
        problem: String,
    },
    /// A session changed its state.
    Session {
        /// The peer.
        peer: PeerName,
        /// Its session.
        session: Session,
    },
    /// A route is announced.
    Announced(Prefix, Path),
    /// A route is about to be withdrawn.
    Withdrawing {
        /// The route.
        prefix: Prefix,
        /// Why.
        reason: String,
    },
    /// A route was withdrawn.
    Withdrawn(Prefix),
    /// The problems of a Service changed; none are left if empty.
    Service {
        /// The Service.
        service: ServiceKey,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// Something speaks against a range.
    Range {
        /// The range.
        range: Prefix,
        /// What.
        problem: String,
    },
    /// A part of the host cannot be read.
    Unreadable {
        /// The part.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// A step failed.
    Failed {
        /// The step.
        step: Step,
        /// Why.
        reason: String,
    },
}

impl News {
    /// Does it tell of trouble?
    pub fn is_trouble(&self) -> bool {
        match self {
            News::SpeakerDown(_)
            | News::Idle(_)
            | News::Peer { .. }
            | News::Range { .. }
            | News::Unreadable { .. }
            | News::Failed { .. } => true,
            News::Session { session, .. } => session.state == SessionState::Idle,
            News::Service { problems, .. } => !problems.is_empty(),
            News::SpeakerUp
            | News::Serving
            | News::Leaving(_)
            | News::Announced(..)
            | News::Withdrawing { .. }
            | News::Withdrawn(_) => false,
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            News::SpeakerUp => f.write_str("gobgpd can be reached"),
            News::SpeakerDown(reason) => write!(f, "gobgpd cannot be reached: {reason}"),
            News::Idle(reason) => f.write_str(reason),
            News::Serving => f.write_str("this node has its labels: serving"),
            News::Leaving(Leave::Keep) => f.write_str("leaving; everything stays as it is"),
            News::Leaving(Leave::Withdraw) => {
                f.write_str("leaving; the routes are withdrawn, and the data plane stays")
            }
            News::Leaving(Leave::Remove) => f.write_str("leaving; the routes are withdrawn, and all that is ours goes"),
            News::Peer { peer, problem } => write!(f, "peer {peer}: {problem}"),
            News::Session { peer, session } => {
                write!(f, "BGP session with {peer} is {}", session.state)?;
                session.reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
            }
            News::Announced(prefix, path) => {
                write!(f, "announced {prefix}")?;
                let communities: Vec<String> = path.communities.iter().map(ToString::to_string).collect();
                if communities.is_empty() { Ok(()) } else { write!(f, " with communities {}", communities.join(" ")) }
            }
            News::Withdrawing { prefix, reason } => write!(f, "withdrawing {prefix}: {reason}"),
            News::Withdrawn(prefix) => write!(f, "withdrew {prefix}"),
            News::Service { service, problems } if problems.is_empty() => write!(f, "Service {service} is well again"),
            News::Service { service, problems } => {
                write!(f, "Service {service}: ")?;
                problems.iter().enumerate().try_for_each(|(index, problem)| {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{problem}")
                })
            }
            News::Range { problem, .. } => f.write_str(problem),
            News::Unreadable { part, reason } => write!(f, "cannot read {part}: {reason}"),
            News::Failed { step, reason } => write!(f, "{step} failed: {reason}"),
        }
    }
}
