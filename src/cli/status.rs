//! `vipcast status`: the running agent's view, once or again and again.

mod link;
mod text;
mod watch;

use anyhow::Context;
use serde::Serialize;

use super::{agent, speaker};
use crate::config::Config;
use crate::daemon::{Bystander, observe};
use crate::model::bgp::PeerName;
use crate::plan::Status;
use crate::plan::status::{BfdSessionStatus, LeaseStatus};
use crate::runtime::Lock;
pub use watch::{interval, watch};

/// The answer of `vipcast status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Does an agent run? Without one, the rest is what the kernel and gobgpd hold of ours.
    pub agent: bool,
    /// How things stand.
    #[serde(flatten)]
    pub status: Status,
}

impl Answer {
    /// The answer as text, at the time `now`, in seconds since 1970.
    pub fn text(&self, now: i64) -> String {
        let mut text = String::new();
        if !self.agent {
            text.push_str("No agent runs with this configuration; this is what the kernel and gobgpd hold.\n");
        }
        // Writing to a String cannot fail.
        let _ = text::write(&self.status, now, &mut text);
        text
    }
}

/// Asks the running agent; where there is none, looks at the kernel and gobgpd.
pub async fn status(config: &Config) -> anyhow::Result<Answer> {
    if let Some(holder) = Lock::holder(&config.runtime_dir, "agent") {
        let status = agent::get(config.admin, "/status").await;
        let status = status.with_context(|| format!("the agent ({holder}) at {}", config.admin))?;
        return Ok(Answer { agent: true, status });
    }
    let observed = observe(config).await?;
    let mut status = Bystander::new(config, &observed).await.status();
    status.ready = false;
    status.reasons = vec!["no agent runs".to_owned()];
    status.reasons.extend(observed.unread);
    if config.has_speaker() {
        match speaker::report(config).await {
            Ok(report) => {
                status.lease = report.lease.map(|lease| LeaseStatus::of(&Ok(lease)));
                let announces = |peer: &PeerName| config.settings.bfd.peers.iter().any(|entry| entry.name == *peer);
                let sessions = report.bfd.iter();
                status.bfd =
                    sessions.map(|(peer, told)| BfdSessionStatus::of(peer, announces(peer), Some(told))).collect();
            }
            Err(error) => status.lease = Some(LeaseStatus::of(&Err(format!("{error:#}")))),
        }
    }
    Ok(Answer { agent: false, status })
}
