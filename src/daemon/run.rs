//! `vipcast run`: the agent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::cleanup::failures;
use super::connect::{connect, watch_kernel};
use super::reload;
use super::remember;
use super::signals::{self, Signals};
use super::wheel::End;
use crate::admin;
use crate::admin::Face;
use crate::admin::metrics::Metrics;
use crate::apply::{events, fleet, link, load, probe, stray};
use crate::check;
use crate::config::Config;
use crate::model::Time;
use crate::plan::change::Leave;
use crate::plan::health::Health;
use crate::plan::proof::Probing;
use crate::plan::{Change, Planner};
use crate::runtime::Lock;
use crate::speaker;
use crate::watch::Source;
use crate::watch::kubernetes::NodeReader;

/// How often the agent looks whether the speaker still runs.
const SPEAKER_CHECK: Duration = Duration::from_secs(2);

/// Runs until a signal ends it. With `own_speaker`, the speaker is started where none runs, and stays behind, unless all
/// that is ours has to go.
pub async fn run(config: Config, own_speaker: bool) -> anyhow::Result<()> {
    let _lock = Lock::take(&config.runtime_dir, "agent")?;
    // Before anything else: what comes from here on is kept until somebody asks for it.
    let signals = Signals::new()?;
    let hangup = signal(SignalKind::hangup())?;
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
    let (health, told) = watch::channel(Health::default());
    wheel.health = Some(health);
    tasks.spawn(admin::health::serve(told, ask.clone()));
    if config.has_speaker() {
        let (orders, told) = watch::channel(None);
        wheel.orders = Some(orders);
        let desk = ask.clone();
        let vouch = async move || admin::ask(&desk, admin::Question::Vouch).await;
        tasks.spawn(link::keep(speaker::own_socket(&config.runtime_dir), told, vouch, changes.clone()));
    }
    let control = admin::control::bind(&config.runtime_dir)
        .with_context(|| format!("the agent's socket {}", admin::control::socket(&config.runtime_dir).display()))?;
    tasks.spawn(command(control, ask.clone()));
    tasks.spawn(serve(listener, Face::Whole, ask, metrics));
    let remembered = remember::read(&config.runtime_dir);
    let (saved, to_keep) = watch::channel(remembered);
    wheel.saved = Some(saved);
    tasks.spawn(remember::keep(config.runtime_dir.clone(), to_keep));
    tasks.spawn(watch_kernel(changes.clone()));
    tasks.spawn(load::watch(changes.clone()));
    tasks.spawn(stray::watch(changes.clone()));
    let source = Source::new(&config, true);
    let reader = match &source {
        Source::Kubernetes(access) => {
            let (notices, told) = mpsc::unbounded_channel();
            wheel.notices = Some(notices);
            let (standing, told_standing) = watch::channel(None);
            wheel.standing = Some(standing);
            let member = fleet::Member {
                client: access.client(),
                namespace: config.namespace.clone(),
                node: config.settings.node.clone(),
            };
            tasks.spawn(fleet::keep(member, told_standing, changes.clone()));
            tasks.spawn(events::tell(access.client(), config.settings.node.clone(), told));
            Some(NodeReader::new(access, &config.settings.node))
        }
        Source::Manifests(_) => None,
    };
    let (secrets, wanted) = watch::channel(BTreeSet::new());
    wheel.secrets = Some(secrets);
    tasks.spawn(source.watch(config.settings.clone(), wanted, changes.clone()));
    let (probing, asked) = watch::channel(Probing::default());
    wheel.probing = Some(probing);
    tasks.spawn(probe::keep_probing(asked, changes.clone()));
    let keeper = (own_speaker && config.has_speaker()).then(|| tasks.spawn(keep_speaker(config.clone())));
    tasks.spawn(reload::follow(config.clone(), hangup, changes.clone()));
    tasks.spawn(signals::obey(signals, reader, config.shutdown, changes));

    let mut planner = Planner::new(config.settings.clone(), Time::ZERO);
    planner.apply(Change::Remembered(remembered), Time::ZERO);
    let end = tokio::select! {
        end = wheel.turn(&mut planner) => end,
        // An agent that no longer hears is worse than one that is started anew.
        Some(ended) = tasks.join_next() => bail!("a task ended by itself: {ended:?}"),
    };
    match end {
        End::Finished => {
            if let Some(keeper) = keeper.filter(|_| planner.leaving() == Some(Leave::Remove)) {
                keeper.abort();
                speaker::stop(&config.runtime_dir).await?;
            }
            info!("left");
            Ok(())
        }
        End::GaveUp if planner.leaving() == Some(Leave::Remove) => {
            bail!("not all could be removed in time: {}", failures(&planner))
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

async fn command(listener: tokio::net::UnixListener, ask: mpsc::Sender<admin::Question>) {
    if let Err(error) = admin::control::serve(listener, ask).await {
        error!("the agent's socket: {error}");
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
