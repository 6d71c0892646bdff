//! A session on its way from one process to the next.

use serde::{Deserialize, Serialize};

use super::offer::Offer;
use super::packet::Diagnostic;
use crate::model::bfd::BfdState;

/// What a session has to remember so that the other side does not notice that another process goes on with it. Fields
/// that a reader does not know are skipped, and those that came later have defaults: processes of neighbouring versions
/// understand each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    /// This side's discriminator.
    pub my_discriminator: u32,
    /// The other side's; 0: not known.
    pub your_discriminator: u32,
    /// The state.
    pub state: BfdState,
    /// The other side's state.
    pub remote_state: BfdState,
    /// What packets say of this side's timing.
    pub told: Offer,
    /// What the other side is known to go by.
    pub used: Offer,
    /// What the other side said of its timing.
    pub remote: Offer,
    /// How often the session has left Up.
    #[serde(default)]
    pub flaps: u32,
    /// What is left of its drops ([`super::Damping::count`]).
    #[serde(default)]
    pub drops: f64,
    /// It was up and not believed yet: the wait begins anew.
    #[serde(default)]
    pub damped: bool,
    /// Why it left Up the last time.
    #[serde(default)]
    pub reason: Option<Diagnostic>,
}
