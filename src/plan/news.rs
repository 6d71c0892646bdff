//! What an operator wants to read in the log: one line per decision, quiet at rest.

use std::fmt;
use std::time::Duration;

use crate::model::bfd::{BfdState, BfdStatus};
use crate::model::bgp::{NextHop, Path, PeerName, Session, SessionState};
use crate::model::ipvs::ServerKey;
use crate::model::lease::LeaseStatus;
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
    /// The node is somewhere else on its way out or back, in words.
    Departure(String),
    /// The agent was to leave in some way, and leaves everything as it is, since the fleet cannot spare the node.
    Stays {
        /// What was asked for.
        leave: Leave,
        /// What the fleet says.
        reason: String,
    },
    /// Something is wrong with what is configured for a peer.
    Peer {
        /// The peer.
        peer: PeerName,
        /// What.
        problem: String,
    },
    /// gobgpd has a peer more.
    PeerAdded {
        /// The peer.
        peer: PeerName,
        /// Its AS number.
        asn: u32,
        /// Why.
        cause: String,
    },
    /// gobgpd has a peer less; its session, if any, has ended.
    PeerDeleted {
        /// The peer.
        peer: PeerName,
        /// Why.
        cause: String,
    },
    /// The routes of a peer were sent again, over the session that it has.
    Resent {
        /// The peer.
        peer: PeerName,
        /// What of them was not as it has to be.
        reason: String,
    },
    /// One of our policies in gobgpd was set, or removed.
    Policy {
        /// Which one.
        policy: Policy,
        /// Whom it is for; removed if empty.
        neighbors: Vec<String>,
        /// Why.
        cause: String,
    },
    /// A session changed its state.
    Session {
        /// The peer.
        peer: PeerName,
        /// Its session.
        session: Session,
    },
    /// The announcement lease is held again, or is not, or the speaker that holds it cannot be reached.
    Lease(Result<LeaseStatus, String>),
    /// A BFD session came up, went down, or cannot work.
    Bfd {
        /// The peer.
        peer: PeerName,
        /// How it stands.
        status: BfdStatus,
    },
    /// A route is announced.
    Announced {
        /// The route.
        prefix: Prefix,
        /// Its attributes.
        path: Path,
        /// Who hears it.
        peers: Vec<PeerName>,
        /// Why.
        cause: String,
    },
    /// A route was withdrawn.
    Withdrawn {
        /// The route.
        prefix: Prefix,
        /// Who hears it.
        peers: Vec<PeerName>,
        /// Why.
        cause: String,
    },
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
    /// Too much vanished at once, and is held.
    Held {
        /// What vanished.
        reason: String,
        /// How long; `None`: until it comes back, or somebody confirms.
        hold: Option<Duration>,
    },
    /// What vanished is held no more, for this reason.
    LetGo(&'static str),
    /// The data plane is proved, or not any more.
    Proof {
        /// The virtual server of the canary that tells.
        server: ServerKey,
        /// What is broken.
        problem: Option<String>,
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

/// A policy of ours in gobgpd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Which routes of others it rejects.
    Import,
    /// What of our routes it changes on the way out.
    Export,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Import => "import",
            Policy::Export => "export",
        })
    }
}

impl News {
    /// Does it tell of trouble?
    pub fn is_trouble(&self) -> bool {
        match self {
            News::SpeakerDown(_)
            | News::Idle(_)
            | News::Stays { .. }
            | News::Peer { .. }
            | News::Range { .. }
            | News::Held { .. }
            | News::Unreadable { .. }
            | News::Failed { .. } => true,
            News::Session { session, .. } => session.state == SessionState::Idle,
            News::Lease(lease) => {
                lease.as_ref().map_or(true, |lease| lease.reason.is_some() || lease.problem.is_some())
            }
            News::Bfd { status, .. } => !matches!(status.state, BfdState::Up | BfdState::AdminDown),
            News::Service { problems, .. } => !problems.is_empty(),
            News::Proof { problem, .. } => problem.is_some(),
            News::SpeakerUp
            | News::Serving
            | News::LetGo(_)
            | News::Leaving(_)
            | News::Departure(_)
            | News::PeerAdded { .. }
            | News::PeerDeleted { .. }
            | News::Resent { .. }
            | News::Policy { .. }
            | News::Announced { .. }
            | News::Withdrawn { .. } => false,
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
            News::Leaving(Leave::Drain) => {
                f.write_str("leaving; the node is drained, the routes are withdrawn, and the data plane stays")
            }
            News::Departure(line) => f.write_str(line),
            News::Stays { reason, .. } => {
                write!(f, "leaving; everything stays as it is, since this node cannot be spared: {reason}")
            }
            News::Peer { peer, problem } => write!(f, "peer {peer}: {problem}"),
            News::PeerAdded { peer, asn, cause } => write!(f, "added peer {peer} AS {asn}: {cause}"),
            News::PeerDeleted { peer, cause } => write!(f, "deleted peer {peer}: {cause}"),
            News::Resent { peer, reason } if reason.is_empty() => write!(f, "sent peer {peer} its routes again"),
            News::Resent { peer, reason } => write!(f, "sent peer {peer} its routes again: {reason}"),
            News::Policy { policy, neighbors, cause } if neighbors.is_empty() => {
                write!(f, "removed the {policy} policy from gobgpd: {cause}")
            }
            News::Policy { policy, neighbors, cause } => {
                write!(f, "set the {policy} policy in gobgpd for {}: {cause}", neighbors.join(", "))
            }
            News::Session { peer, session } => {
                write!(f, "BGP session with {peer} is {}", session.state)?;
                session.reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
            }
            News::Lease(Ok(LeaseStatus { state, reason: Some(reason), .. })) => {
                write!(f, "the announcement lease is {state}: {reason}")
            }
            News::Lease(Ok(LeaseStatus { state, problem: Some(problem), .. })) => {
                write!(f, "the announcement lease is {state}, but {problem}")
            }
            News::Lease(Ok(LeaseStatus { state, .. })) => write!(f, "the announcement lease is {state}"),
            News::Lease(Err(reason)) => write!(f, "nobody holds the announcement lease: {reason}"),
            News::Bfd { peer, status } => {
                write!(f, "BFD session with {peer} is {}", status.state)?;
                // That of the last time says nothing about a session that is up.
                let reason = status.reason.iter().filter(|_| status.state != BfdState::Up);
                status.problem.iter().chain(reason).try_for_each(|reason| write!(f, ": {reason}"))
            }
            News::Announced { prefix, path, peers, cause } => {
                write!(f, "announced {prefix}{}", names(" to", peers))?;
                let attributes = attributes(path);
                if !attributes.is_empty() {
                    write!(f, " with {}", attributes.join(", "))?;
                }
                write!(f, ": {cause}")
            }
            News::Withdrawn { prefix, peers, cause } => {
                write!(f, "withdrew {prefix}{}: {cause}", names(" from", peers))
            }
            News::Service { service, problems } if problems.is_empty() => write!(f, "Service {service} is well again"),
            News::Service { service, problems } => {
                write!(f, "Service {service}: ")?;
                problems.iter().enumerate().try_for_each(|(index, problem)| {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{problem}")
                })
            }
            News::Range { problem, .. } => f.write_str(problem),
            News::Held { reason, hold } => {
                write!(
                    f,
                    "{reason}; what vanished is kept until it comes back, `vipcast confirm` says that it is meant"
                )?;
                hold.iter().try_for_each(|hold| write!(f, ", or {} s have passed", hold.as_secs()))
            }
            News::LetGo(cause) => write!(f, "what vanished is kept no more: {cause}"),
            News::Proof { server, problem: None } => write!(f, "the data plane is proved: the canary {server} answers"),
            News::Proof { server, problem: Some(problem) } => {
                write!(f, "the data plane is not proved: the canary {server}: {problem}")
            }
            News::Unreadable { part, reason } => write!(f, "cannot read {part}: {reason}"),
            News::Failed { step, reason } => write!(f, "{step} failed: {reason}"),
        }
    }
}

/// The peers after a word for what they have to do with it; nothing where there are none, as before the sessions are up.
fn names(word: &str, peers: &[PeerName]) -> String {
    if peers.is_empty() {
        return String::new();
    }
    let names: Vec<String> = peers.iter().map(ToString::to_string).collect();
    format!("{word} {}", names.join(", "))
}

/// What a path has beside a next hop of one's own, in words.
fn attributes(path: &Path) -> Vec<String> {
    let list = |name: &str, words: Vec<String>| {
        let words = words.join(" ");
        (!words.is_empty()).then(|| format!("{name} {words}"))
    };
    let next_hop = match path.next_hop {
        NextHop::Own => None,
        NextHop::Address(address) => Some(format!("next hop {address}")),
    };
    let prepends = Some(path.as_path.len()).filter(|count| *count > 0).map(|count| format!("{count} prepends"));
    let parts = [
        next_hop,
        list("communities", path.communities.iter().map(ToString::to_string).collect()),
        list("large communities", path.large_communities.iter().map(ToString::to_string).collect()),
        path.med.map(|med| format!("MED {med}")),
        path.local_pref.map(|preference| format!("local preference {preference}")),
        prepends,
    ];
    parts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_come_and_go_with_peers_and_causes() {
        let peer = |text: &str| text.parse::<PeerName>().unwrap();
        let prefix: Prefix = "192.0.2.7/32".parse().unwrap();
        let peers = vec![peer("10.0.1.1"), peer("eth1")];
        let cause = "no usable endpoint in shop/cart".to_owned();
        let news = News::Withdrawn { prefix, peers: peers.clone(), cause: cause.clone() };
        assert_eq!(news.to_string(), "withdrew 192.0.2.7/32 from 10.0.1.1, eth1: no usable endpoint in shop/cart");
        let news = News::Withdrawn { prefix, peers: vec![], cause };
        assert_eq!(news.to_string(), "withdrew 192.0.2.7/32: no usable endpoint in shop/cart");
        let path = Path {
            communities: ["65001:100".parse().unwrap(), "no-export".parse().unwrap()].into(),
            as_path: vec![65001, 65001],
            med: Some(5),
            ..Path::new(NextHop::Own)
        };
        let cause = "shop/cart has usable endpoints".to_owned();
        let news = News::Announced { prefix, path, peers, cause };
        assert_eq!(
            news.to_string(),
            "announced 192.0.2.7/32 to 10.0.1.1, eth1 with communities 65001:100 no-export, MED 5, 2 prepends: \
             shop/cart has usable endpoints"
        );
    }
}
