//! `vipcast cleanup`: removes what vipcast owns, and only that, in the order in which an agent would.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::connect::{connect, endpoint};
use super::observe::can_reach;
use super::wheel::End;
use crate::admin::metrics::Metrics;
use crate::config::{Config, Gobgpd};
use crate::model::Time;
use crate::plan::change::Leave;
use crate::plan::status::SysctlStatus;
use crate::plan::{Change, Planner};
use crate::runtime::Lock;
use crate::speaker;

/// How long gobgpd gets to answer before it counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(2);

/// Withdraws, waits until peers heard it, and removes all that is ours; then stops the speaker. Answers with the kernel
/// parameters, which stay as they are.
pub async fn cleanup(mut config: Config) -> anyhow::Result<Vec<SysctlStatus>> {
    let _lock = Lock::take(&config.runtime_dir, "agent").context("cleanup needs the agent to be stopped")?;
    if let Some(endpoint) = endpoint(&config)?
        && !can_reach(&endpoint, PATIENCE).await
    {
        match &config.gobgpd {
            Some(Gobgpd::Address(address)) => {
                bail!("gobgpd at {address} does not answer, so routes may still be out; nothing was removed")
            }
            // Our own gobgpd announces nothing while it does not run. One that hangs goes on announcing, also after its
            // speaker was killed.
            _ => {
                let refusal = "does not answer, so routes may still be out; nothing was removed";
                let found = speaker::leftover(&config.runtime_dir).await;
                if let Some(pid) = found.with_context(|| format!("gobgpd {refusal}"))? {
                    bail!("gobgpd, process {pid}, {refusal}");
                }
                if speaker::is_running(&config.runtime_dir).is_some() {
                    bail!("gobgpd, the speaker's child, {refusal}");
                }
                config.settings.bgp = None;
                config.gobgpd = None;
            }
        }
    }
    let (_ask, questions) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    let (mut wheel, changes) = connect(&config, Arc::new(Metrics::default()), questions, &mut tasks)?;
    let mut planner = Planner::new(config.settings.clone(), Time::ZERO);
    changes.send(Change::Leave(Leave::Remove)).await.context("the loop has ended")?;
    match wheel.turn(&mut planner).await {
        End::Finished => {}
        End::GaveUp | End::Disconnected => bail!("not all could be removed: {}", failures(&planner)),
    }
    speaker::stop(&config.runtime_dir).await?;
    Ok(planner.known_sysctls())
}

/// What went wrong, in one line.
pub(super) fn failures(planner: &Planner) -> String {
    let status = planner.status();
    let failures = status.failures.iter().map(|failure| format!("{}: {}", failure.what, failure.reason));
    failures.chain(status.bgp.and_then(|bgp| bgp.problem)).collect::<Vec<_>>().join("; ")
}
