//! Connecting the wheel: executors, sensors and sources as tasks and threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use super::wheel::{Wheel, start_executor};
use crate::admin::Question;
use crate::admin::metrics::Metrics;
use crate::apply::bgp::{self, Endpoint, Speaker};
use crate::apply::kernel::Kernel;
use crate::apply::monitor;
use crate::config::{Config, Gobgpd};
use crate::plan::Change;
use crate::speaker;

/// How many changes may wait for the loop. Whoever tells more waits, so memory stays bounded in a burst.
const CHANGES: usize = 4096;

/// How long a sensor that failed rests before it is started anew.
const REST: Duration = Duration::from_secs(1);

/// A wheel whose executors run, and the sender by which facts reach it. Sensors run among `tasks`; none of them ends by
/// itself.
pub(super) fn connect(
    config: &Config,
    metrics: Arc<Metrics>,
    questions: mpsc::Receiver<Question>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<(Wheel, mpsc::Sender<Change>)> {
    let (sender, changes) = mpsc::channel(CHANGES);
    let kernel = start_executor("kernel", connected_kernel, sender.clone()).context("kernel executor")?;
    let speaker = match endpoint(config)? {
        Some(endpoint) => {
            let (ledger_sender, ledger) = tokio::sync::oneshot::channel();
            let of_executor = endpoint.clone();
            let make = async move || {
                let speaker = Speaker::new(of_executor);
                // The sensor may be gone only when the agent ends.
                let _ = ledger_sender.send(speaker.ledger());
                speaker
            };
            let queue = start_executor("speaker", make, sender.clone()).context("gobgpd executor")?;
            let changes = sender.clone();
            tasks.spawn(async move {
                if let Ok(ledger) = ledger.await {
                    bgp::watch(endpoint, ledger, changes).await;
                }
            });
            queue
        }
        // Without BGP the planner never has a step for it; a closed queue would only be noticed if it had.
        None => mpsc::channel(1).0,
    };
    let wheel = Wheel {
        changes,
        questions,
        kernel,
        speaker,
        notices: None,
        health: None,
        secrets: None,
        probing: None,
        orders: None,
        saved: None,
        standing: None,
        metrics,
        origin: Instant::now(),
    };
    Ok((wheel, sender))
}

/// The kernel, as soon as it can be connected to.
async fn connected_kernel() -> Kernel {
    loop {
        match Kernel::connect() {
            Ok(kernel) => return kernel,
            Err(error) => warn!("{error}; trying again"),
        }
        tokio::time::sleep(REST).await;
    }
}

/// Where gobgpd's API is; none if BGP is not configured.
pub(super) fn endpoint(config: &Config) -> anyhow::Result<Option<Endpoint>> {
    Ok(match &config.gobgpd {
        None => None,
        Some(Gobgpd::Spawn(_)) => Some(Endpoint::unix(&speaker::socket(&config.runtime_dir))?),
        Some(Gobgpd::Address(address)) => Some(address.parse()?),
    })
}

/// Watches the kernel's notifications for ever. While the watch is down, one reading a time stands in for it.
pub(super) async fn watch_kernel(changes: mpsc::Sender<Change>) {
    loop {
        if let Err(error) = monitor::watch(changes.clone()).await {
            warn!("kernel notifications: {error}; trying again");
        }
        if changes.send(Change::HostMoved).await.is_err() {
            return;
        }
        tokio::time::sleep(REST).await;
    }
}
