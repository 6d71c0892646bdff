//! What the status says of the proof of the data plane.

use serde::{Deserialize, Serialize};

use crate::plan::planner::Planner;
use crate::plan::proof::Standing;

/// What probes of one canary have shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProofStatus {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// The canary's virtual server: address, port and protocol.
    pub canary: String,
    /// `unproved` before probes told enough, and while none can be made; else `proved` or `broken`.
    pub state: String,
    /// How many probes in a row have failed.
    pub failed: u32,
    /// Why the last probe failed, or why there is none.
    pub problem: Option<String>,
}

impl Planner {
    pub(super) fn proof_status(&self) -> Vec<ProofStatus> {
        let of = |canary: &_| {
            let verdict = self.proof.verdicts.get(canary);
            let problem = verdict.and_then(|verdict| verdict.problem().map(str::to_owned));
            let standing = verdict.map_or(Standing::Unproved, |verdict| verdict.shown());
            ProofStatus {
                family: canary.family().to_string(),
                canary: canary.server().to_string(),
                state: standing.name().to_owned(),
                failed: verdict.map_or(0, |verdict| verdict.failed()),
                problem: problem.or_else(|| self.canary_failure(canary)),
            }
        };
        self.canaries().iter().map(of).collect()
    }
}
