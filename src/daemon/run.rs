//! `vipcast run`: the agent.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::connect::{connect, watch_kernel};
use super::wheel::End;
use crate::admin;
use crate::admin::Face;
use crate::admin::metrics::Metrics;
use crate::apply::events;
use crate::check;
use crate::config::{Config, Gobgpd};
use crate::model::Time;
use crate::plan::{Change, Planner};
use crate::runtime::Lock;
use crate::speaker;
use crate::watch::Source;

/// How often the agent looks whether the speaker still runs.
const SPEAKER_CHECK: Duration = Duration::from_secs(2);

/// Runs until a signal ends it. With `own_speaker`, the speaker is started where none runs, and stays behind.
pub async fn run(config: Config, own_speaker: bool) -> anyhow::Result<()> {
    let _lock = Lock::take(&config.runtime_dir, "agent")?;
    // Before anything else: what comes from here on is kept until somebody asks for it.
    let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let listener = admin::bind(config.admin).await.with_context(|| format!("admin.listen: {}", config.admin))?;
    let outer = match config.metrics {
        Some(address) => Some(admin::bind(address).await.with_context(|| format!("admin.metrics: {address}"))?),
        None => None,
    };
    info!(node = %config.settings.node, admin = %config.admin, "starting");
    for finding in check::essentials(&config, &check::gather(&config)) {
        warn!("{finding}");
    }

    let metrics = Arc::new(Metrics::default());
    let (ask, questions) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    let (mut wheel, changes) = connect(&config, metrics.clone(), questions, &mut tasks)?;
    if let Some(outer) = outer {
        tasks.spawn(serve(outer, Face::Outer, ask.clone(), metrics.clone()));
    }
    tasks.spawn(serve(listener, Face::Whole, ask, metrics));
    tasks.spawn(watch_kernel(changes.clone()));
    let source = Source::new(&config, true);
    if let Source::Kubernetes(access) = &source {
        let (notices, told) = mpsc::unbounded_channel();
        wheel.notices = Some(notices);
        tasks.spawn(events::tell(access.client(), config.settings.node.clone(), told));
    }
    tasks.spawn(source.watch(config.settings.clone(), changes.clone()));
    if let Some(Gobgpd::Spawn(_)) = config.gobgpd
        && own_speaker
    {
        tasks.spawn(keep_speaker(config.clone()));
    }
    let leave = config.shutdown;
    tasks.spawn(async move {
        any(&mut signals).await;
        info!("leaving");
        if changes.send(Change::Leave(leave)).await.is_ok() {
            any(&mut signals).await;
            error!("second signal: leaving at once, without waiting for the withdrawal");
            std::process::exit(1);
        }
    });

    let mut planner = Planner::new(config.settings.clone(), Time::ZERO);
    let end = tokio::select! {
        end = wheel.turn(&mut planner) => end,
        // An agent that no longer hears is worse than one that is started anew.
        Some(ended) = tasks.join_next() => bail!("a task ended by itself: {ended:?}"),
    };
    match end {
        End::Finished => {
            info!("left");
            Ok(())
        }
        End::GaveUp => bail!("gobgpd did not confirm the withdrawal in time; left without it"),
        End::Disconnected => bail!("an executor has ended by itself"),
    }
}

async fn serve(
    listener: tokio::net::TcpListener,
    face: Face,
    ask: mpsc::Sender<admin::Question>,
    metrics: Arc<Metrics>,
) {
    if let Err(error) = admin::serve(listener, face, ask, metrics).await {
        error!("admin listener: {error}");
    }
}

/// Keeps a speaker running: one that a former agent left behind, or a new one.
async fn keep_speaker(config: Config) {
    loop {
        if let Err(error) = speaker::ensure(&config.runtime_dir, &config.file) {
            warn!("speaker: {error:#}");
        }
        tokio::time::sleep(SPEAKER_CHECK).await;
    }
}

async fn any(signals: &mut [Signal; 2]) {
    let [terminate, interrupt] = signals;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
