//! What the status says of the announcement lease and of BFD sessions, as the speaker tells.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bgp::rfc3339;
use crate::model::bfd::{BfdState, BfdStatus};
use crate::model::bgp::PeerName;
use crate::model::lease;
use crate::plan::planner::Planner;

/// The announcement lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseStatus {
    /// `held` by the agent; `static`: it is not, and the speaker's own probe proves the data plane; `lapsed`: nothing does, and
    /// what was announced is withdrawn; `unknown`: no orders were given yet; `lost`: the speaker cannot be reached.
    pub state: String,
    /// Since when (RFC 3339).
    pub since: Option<String>,
    /// When it lapses if nothing changes (RFC 3339).
    pub until: Option<String>,
    /// Why it is not held.
    pub reason: Option<String>,
    /// It is held, and would lapse with the agent, since the speaker cannot probe the data plane by itself: why.
    #[serde(default)]
    pub problem: Option<String>,
}

/// A BFD session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BfdSessionStatus {
    /// The address of the other side, or the interface at whose other end it is.
    pub peer: String,
    /// `bgp`: it watches the way to a BGP peer; `static`: the other side has static routes that live by it.
    pub kind: String,
    /// Its state: `AdminDown`, `Down`, `Init` or `Up`; `unknown` before the speaker told.
    pub state: String,
    /// What the other side said last that its state is.
    pub remote: Option<String>,
    /// Since when it is in this state (RFC 3339).
    pub since: Option<String>,
    /// The negotiated pause between packets sent, in milliseconds.
    pub interval_ms: Option<u64>,
    /// After so many milliseconds without a packet the other side is gone.
    pub detection_ms: Option<u64>,
    /// How often it has left Up.
    pub flaps: u32,
    /// It flaps: for so many milliseconds it is not believed to be up.
    pub damped_ms: Option<u64>,
    /// Why it left Up the last time.
    pub reason: Option<String>,
    /// What keeps it from working.
    pub problem: Option<String>,
}

impl LeaseStatus {
    /// What the speaker tells, or why it cannot be reached.
    pub fn of(lease: &Result<lease::LeaseStatus, String>) -> LeaseStatus {
        match lease {
            Ok(lease::LeaseStatus { state, since, until, reason, problem }) => LeaseStatus {
                state: state.to_string(),
                since: rfc3339(*since),
                until: until.and_then(rfc3339),
                reason: reason.clone(),
                problem: problem.clone(),
            },
            Err(why) => LeaseStatus { state: "lost".to_owned(), reason: Some(why.clone()), ..LeaseStatus::default() },
        }
    }

    /// Has somebody to look after it?
    pub fn is_trouble(&self) -> bool {
        !matches!(self.state.as_str(), "held" | "unknown")
    }
}

impl BfdSessionStatus {
    /// The session with `peer`, as the speaker tells, if it does.
    pub fn of(peer: &PeerName, announces: bool, told: Option<&BfdStatus>) -> BfdSessionStatus {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        BfdSessionStatus {
            peer: peer.to_string(),
            kind: if announces { "static" } else { "bgp" }.to_owned(),
            state: told.map_or("unknown".to_owned(), |told| told.state.to_string()),
            remote: told.map(|told| told.remote.to_string()),
            since: told.and_then(|told| rfc3339(told.since)),
            interval_ms: told.map(|told| millis(told.interval)),
            detection_ms: told.and_then(|told| told.detection).map(millis),
            flaps: told.map_or(0, |told| told.flaps),
            damped_ms: told.and_then(|told| told.damped).map(millis),
            reason: told.and_then(|told| told.reason.clone()),
            problem: told.and_then(|told| told.problem.clone()),
        }
    }

    /// Does this node hold it down on purpose?
    pub fn is_held_down(&self) -> bool {
        self.state == BfdState::AdminDown.to_string()
    }

    /// Is it up, and believed?
    pub fn is_up(&self) -> bool {
        self.state == BfdState::Up.to_string() && self.damped_ms.is_none()
    }
}

impl Planner {
    pub(super) fn lease_status(&self) -> Option<LeaseStatus> {
        self.link.lease.as_ref().map(LeaseStatus::of)
    }

    /// That BFD finds the way to a BGP peer broken, if it does.
    pub(super) fn bfd_problem(&self, peer: &PeerName) -> Option<String> {
        let told = self.link.bfd.get(peer)?;
        match (told.state, told.damped) {
            (BfdState::AdminDown, _) | (BfdState::Up, None) => None,
            (BfdState::Up, Some(_)) => Some("its BFD session flaps, and is not believed to be up yet".to_owned()),
            (BfdState::Down | BfdState::Init, _) => {
                let reason = told.problem.as_ref().or(told.reason.as_ref());
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                Some(format!("its BFD session is {}{reason}", told.state))
            }
        }
    }

    pub(super) fn bfd_status(&self) -> Vec<BfdSessionStatus> {
        let sessions = self.link.told.iter().flat_map(|orders| orders.bfd.keys().map(move |peer| (orders, peer)));
        let sessions = sessions.map(|(orders, peer)| {
            BfdSessionStatus::of(peer, orders.announced_by.contains(peer), self.link.bfd.get(peer))
        });
        sessions.collect()
    }
}
