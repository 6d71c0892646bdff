//! Looking without touching: what `vipcast plan` rehearses on, and what `vipcast status` shows without an agent.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::connect::endpoint;
use super::remember;
use crate::apply::bgp::{Endpoint, Speaker};
use crate::apply::kernel::Kernel;
use crate::config::Config;
use crate::model::{Settings, State, Time};
use crate::plan::explain::Unknown;
use crate::plan::rehearse::{ModelNode, Stage, ask, look, rehearse};
use crate::plan::step::{Executor, Observation, Outcome};
use crate::plan::{Asked, Change, Explanation, Planner, Report, Status, Step};
use crate::watch::Source;

/// How long the source gets for its first complete list, and gobgpd for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is there, and what could not be read.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The node, as a model to rehearse on.
    pub node: ModelNode,
    /// gobgpd answered.
    pub speaker: bool,
    /// Parts that could not be read, in words. They count as empty.
    pub unread: Vec<String>,
}

/// Reads the kernel and gobgpd, and changes nothing: where the kernel has not loaded IPVS, there is none to be read,
/// and asking would load it.
pub async fn observe(config: &Config) -> anyhow::Result<Observed> {
    let mut observed = Observed::default();
    let mut kernel = Kernel::connect_if_loaded()?;
    let mut steps = vec![Step::ReadHost];
    if Path::new("/proc/net/ip_vs").exists() {
        steps.push(Step::ListServers);
    }
    let mut state = State::default();
    let mut readings = Vec::new();
    for Report { step, outcome } in kernel.perform(steps).await {
        match outcome {
            Outcome::Read(Observation::Host(reading)) => {
                let reading = *reading;
                let unread = &mut observed.unread;
                state.sysctls = part(reading.sysctls, "kernel parameters", unread);
                state.addr = part(reading.addr, "link and routes", unread);
                state.nft = part(reading.nft, "packet filter", unread);
                state.timeouts = part(reading.timeouts, "IPVS timeouts", unread);
                observed.node.host = part(reading.host, "node addresses", unread);
            }
            Outcome::Read(Observation::Servers(found)) => readings.extend(found.into_keys().map(Step::ReadServer)),
            other => observed.unread.push(format!("{step}: {other}")),
        }
    }
    for Report { step, outcome } in kernel.perform(readings).await {
        match (step, outcome) {
            (Step::ReadServer(key), Outcome::Read(Observation::Server(found, connections))) => {
                observed.node.connections.insert(key, connections);
                state.ipvs.extend(found.map(|server| (key, server)));
            }
            (step, other) => observed.unread.push(format!("{step}: {other}")),
        }
    }
    if let Some(endpoint) = endpoint(config)?
        && can_reach(&endpoint, PATIENCE).await
    {
        let reports = Speaker::new(endpoint).perform(vec![Step::ReadSpeaker]).await;
        for Report { step, outcome } in reports {
            match outcome {
                Outcome::Read(Observation::Speaker(bgp)) => {
                    state.bgp = Some(*bgp);
                    observed.speaker = true;
                }
                other => observed.unread.push(format!("{step}: {other}")),
            }
        }
    }
    observed.node.state = state;
    Ok(observed)
}

fn part<T: Default>(value: Result<T, String>, name: &str, unread: &mut Vec<String>) -> T {
    value.unwrap_or_else(|reason| {
        unread.push(format!("{name}: {reason}"));
        T::default()
    })
}

/// Does gobgpd answer at `endpoint` within `patience`?
pub(super) async fn can_reach(endpoint: &Endpoint, patience: Duration) -> bool {
    let mut speaker = Speaker::new(endpoint.clone());
    let answer = tokio::time::timeout(patience, speaker.perform(vec![Step::ReadSpeaker])).await;
    answer.is_ok_and(|reports| reports.iter().any(|report| matches!(report.outcome, Outcome::Read(_))))
}

/// A planner with these settings that knows the cluster's objects as they are now, and has not looked at the node yet.
/// Troubles of the source are in its status.
async fn informed(config: &Config, settings: Settings) -> Planner {
    let mut planner = Planner::new(settings, Time::ZERO);
    planner.apply(Change::Remembered(remember::read(&config.runtime_dir)), Time::ZERO);
    planner.apply(Change::SpeakerUp, Time::ZERO);
    let (sender, mut changes) = mpsc::channel(1024);
    let (secrets, wanted) = watch::channel(BTreeSet::new());
    let source = Source::new(config, false).watch(config.settings.clone(), wanted, sender);
    let listen = async {
        while !planner.is_told() {
            secrets.send_if_modified(|asked| {
                let differs = asked != planner.wanted_secrets();
                asked.clone_from(planner.wanted_secrets());
                differs
            });
            match changes.recv().await {
                Some(change) => planner.apply(change, Time::ZERO),
                None => return,
            }
        }
    };
    tokio::select! {
        _ = source => {}
        _ = tokio::time::timeout(PATIENCE, listen) => {}
    }
    planner
}

/// What `run` would do now, in stages, rehearsed on a model of the node; and how things would stand afterwards.
/// `as_lb_node`: as if the node had the labels of `nodeSelector`.
pub async fn rehearsal(config: &Config, observed: &Observed, as_lb_node: bool) -> (Planner, Vec<Stage>) {
    let settings = config.settings.clone();
    let mut planner = informed(config, if as_lb_node { settings.as_lb_node() } else { settings }).await;
    let mut node = observed.node.clone();
    let (stages, _) = rehearse(&mut planner, &mut node, Time::ZERO);
    (planner, stages)
}

/// A planner that looks and does not act. What is there is shown as it is; what should be there follows from the cluster's
/// objects as they are now.
pub struct Bystander {
    planner: Planner,
    node: ModelNode,
}

impl Bystander {
    /// Beside the node as it was `observed`.
    pub async fn new(config: &Config, observed: &Observed) -> Bystander {
        let mut planner = informed(config, config.settings.clone()).await;
        let mut node = observed.node.clone();
        look(&mut planner, &mut node, Time::ZERO);
        Bystander { planner, node }
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        self.planner.status()
    }

    /// What is behind a VIP or a Service.
    ///
    /// # Errors
    /// If nothing is known by that name.
    pub fn explain(&mut self, asked: Asked) -> Result<Explanation, Unknown> {
        ask(&mut self.planner, &mut self.node, asked, Time::ZERO)
    }
}
