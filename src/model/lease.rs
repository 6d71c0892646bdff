//! The announcement lease: for how long what is announced may go on being announced. The speaker holds it
//! ([`crate::speaker`]), the agent renews it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the lease stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseStatus {
    /// In one word.
    pub state: LeaseState,
    /// Since when, in seconds since 1970.
    pub since: i64,
    /// Until when it stays so if nothing else happens, in seconds since 1970; `None`: for ever.
    pub until: Option<i64>,
    /// Why it is not held, in words.
    pub reason: Option<String>,
    /// It is held, and would lapse with the agent: why, in words.
    #[serde(default)]
    pub problem: Option<String>,
}

/// The states of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// No agent has ever given orders: gobgpd is left alone.
    Unknown,
    /// The agent renews it.
    Held,
    /// The agent does not renew it any more, and the speaker's own probe proves the data plane: everything stays as it is.
    Static,
    /// Nothing proves the data plane: what was announced is withdrawn, until an agent renews the lease.
    Lapsed,
}

impl fmt::Display for LeaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LeaseState::Unknown => "unknown",
            LeaseState::Held => "held",
            LeaseState::Static => "static",
            LeaseState::Lapsed => "lapsed",
        })
    }
}
