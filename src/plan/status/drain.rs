//! How far the node is on its way out, or back.

use serde::{Deserialize, Serialize};

use crate::model::fleet::Verdict;
use crate::plan::away::Phase;
use crate::plan::planner::Planner;

/// How far the node is on its way out, or back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// `here`; `asking` whether the other LB nodes can spare it; `shunned`, with routes that say that they are about to go;
    /// `withdrawn`; `holding`, for connections that go on; `away`; `returning`.
    pub phase: String,
    /// What drains it.
    pub causes: Vec<String>,
    /// Why it waits, while it asks.
    pub waits: Option<String>,
    /// It waits because the others cannot spare it now.
    pub refused: bool,
    /// Connections that have come since its routes began to go.
    pub new_connections: u64,
    /// Connections that are open; none before they were counted.
    pub open_connections: Option<u64>,
    /// Connections that were open when its routes began to go, and have ended.
    pub ended_connections: u64,
}

impl Planner {
    /// How far the node is on its way out, or back.
    pub fn drain_status(&self) -> DrainStatus {
        let state = &self.away.state;
        let (phase, meter) = (state.phase(), &state.meter);
        let waits = match state.verdict() {
            _ if phase != Phase::Asking => None,
            Some(Verdict::Refused(reason) | Verdict::Unknown(reason)) => Some(reason.clone()),
            Some(Verdict::Granted) => None,
            None => Some("the other LB nodes have not been asked yet".to_owned()),
        };
        DrainStatus {
            phase: phase.name().to_owned(),
            causes: self.away.causes.clone(),
            waits,
            refused: matches!(state.verdict(), Some(Verdict::Refused(_))),
            new_connections: meter.arrived(),
            open_connections: meter.open(),
            ended_connections: meter.ended(),
        }
    }
}
