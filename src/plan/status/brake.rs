//! What the status says of what is held.

use serde::{Deserialize, Serialize};

use crate::plan::brake::Held;
use crate::plan::planner::Planner;

/// Too much vanished from the source at once to be believed, and is held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BrakeStatus {
    /// What vanished.
    pub reason: String,
    /// How many Services miss endpoints.
    pub services: usize,
    /// How many endpoints they miss.
    pub endpoints: usize,
    /// Is it held until it comes back or `vipcast confirm` says that it is meant, however long that takes?
    pub needs_confirmation: bool,
}

impl Planner {
    pub(super) fn brake_status(&self) -> Option<BrakeStatus> {
        self.held_back().map(|Held { reason, services, endpoints, for_ever }| BrakeStatus {
            reason: reason.to_owned(),
            services,
            endpoints,
            needs_confirmation: for_ever,
        })
    }
}
