//! The loop itself, apart from what it is connected to, so that tests turn it with executors of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::admin::Question;
use crate::admin::metrics::Metrics;
use crate::model::Time;
use crate::model::bgp::SecretKey;
use crate::model::fleet::Standing;
use crate::model::orders::Orders;
use crate::plan::away::Saved;
use crate::plan::change::Leave;
use crate::plan::explain::Unknown;
use crate::plan::health::Health;
use crate::plan::proof::Probing;
use crate::plan::{
    Answer, Change, Executor, Explanation, News, Notice, Observation, Outcome, Plan, Planner, Step, pass,
};

/// The most changes that are taken in before the next pass: a burst coalesces, and a pass is never far.
const MOST_CHANGES: usize = 4096;

/// The most steps that an executor performs before it reports: a small batch, so that its reports come early.
const BATCH: usize = 256;

/// How many lists of steps may wait for an executor. Each pass makes one at most, and a pass makes none while the
/// planner's window is full of steps under way.
const QUEUE: usize = 8192;

/// How long beyond `withdrawDelay` leaving may take, and a removal stand still, before the agent gives up waiting.
const LEAVING_PATIENCE: Duration = Duration::from_secs(10);

/// What the loop is connected to.
pub struct Wheel {
    /// Facts.
    pub changes: mpsc::Receiver<Change>,
    /// Questions of the admin listener.
    pub questions: mpsc::Receiver<Question>,
    /// Steps for the kernel.
    pub kernel: mpsc::Sender<Vec<Step>>,
    /// Steps for gobgpd.
    pub speaker: mpsc::Sender<Vec<Step>>,
    /// What the owners of objects can mend; `None`: nobody tells them. Without a bound, since the loop never waits and
    /// whoever listens only takes note.
    pub notices: Option<mpsc::UnboundedSender<Notice>>,
    /// The health check ports; `None`: nobody serves them.
    pub health: Option<watch::Sender<Health>>,
    /// The Secrets that peers' passwords come from; `None`: nobody tells what they hold.
    pub secrets: Option<watch::Sender<BTreeSet<SecretKey>>>,
    /// What is to be probed; `None`: nobody does.
    pub probing: Option<watch::Sender<Probing>>,
    /// What the speaker is to hold to, once that is known; `None`: there is no speaker.
    pub orders: Option<watch::Sender<Option<Orders>>>,
    /// What the next agent has to know; `None`: nobody keeps it.
    pub saved: Option<watch::Sender<Saved>>,
    /// How the node stands in its fleet; `None`: nobody tells it.
    pub standing: Option<watch::Sender<Option<Standing>>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The origin of the planner's time.
    pub origin: std::time::Instant,
}

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// What was asked for before leaving is done.
    Finished,
    /// It could not be done in time: gobgpd did not confirm the withdrawal.
    GaveUp,
    /// An executor or all sources of changes ended, which none of them does by itself.
    Disconnected,
}

impl Wheel {
    /// Turns until the agent may leave.
    pub async fn turn(&mut self, planner: &mut Planner) -> End {
        let mut waiting = Waiting::default();
        let mut batch = Vec::new();
        let mut deadline = None;
        // Without BGP nobody serves the other queue, and it is closed from the start.
        let has_speaker = !self.speaker.is_closed();
        loop {
            let now = self.now();
            let plan = planner.plan(now);
            let wake_at = plan.wake_at;
            let finished = plan.finished;
            if !self.hand_on(plan, planner, &mut waiting) {
                return End::Disconnected;
            }
            if finished {
                return End::Finished;
            }
            // What it waits for then ends by itself.
            if planner.is_draining() {
                deadline = Some(now + planner.withdraw_delay() + LEAVING_PATIENCE);
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return End::GaveUp;
            }
            let pause = [wake_at, deadline].into_iter().flatten().min().map(|at| at - self.now());
            tokio::select! {
                count = self.changes.recv_many(&mut batch, MOST_CHANGES) => {
                    if count == 0 {
                        return End::Disconnected;
                    }
                }
                Some(question) = self.questions.recv() => {
                    match question {
                        // Whoever asked may have gone away; that is no business of the loop.
                        Question::Status(answer) => drop(answer.send(planner.status())),
                        Question::Vouch(answer) => drop(answer.send(planner.vouch(self.now()))),
                        Question::Command(command, taken) => {
                            planner.apply(Change::Command(command), self.now());
                            let _ = taken.send(());
                        }
                        Question::Explain(asked, answer) => {
                            planner.apply(Change::Explain(waiting.note(answer), asked), self.now());
                        }
                    }
                }
                () = self.kernel.closed() => return End::Disconnected,
                () = self.speaker.closed(), if has_speaker => return End::Disconnected,
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
            let now = self.now();
            for change in batch.drain(..) {
                self.count(&change);
                let moves = match &change {
                    Change::Leave(_) | Change::End(_) => true,
                    // A removal takes as long as there is something to remove, and goes on.
                    Change::Report(report) => {
                        planner.leaving() == Some(Leave::Remove)
                            && matches!(report.outcome, Outcome::Done | Outcome::Read(Observation::Server(..)))
                    }
                    _ => false,
                };
                if moves {
                    deadline = Some(now + planner.withdraw_delay() + LEAVING_PATIENCE);
                }
                planner.apply(change, now);
            }
        }
    }

    fn now(&self) -> Time {
        Time(Instant::now().duration_since(self.origin.into()))
    }

    fn count(&self, change: &Change) {
        match change {
            Change::Source(_) => self.metrics.source_event(),
            Change::Probe(canary, result) => self.metrics.probe(canary.family(), result.is_ok()),
            Change::Report(report) => {
                self.metrics.step(report);
                debug!(step = %report.step, outcome = ?outcome_name(&report.outcome), "step");
            }
            _ => {}
        }
    }

    /// Hands the steps to their executors. False: one of them has ended.
    fn hand_on(&self, plan: Plan, planner: &Planner, waiting: &mut Waiting) -> bool {
        for Answer { ticket, explanation } in plan.answers {
            waiting.answer(ticket, explanation);
        }
        self.metrics.pass(planner.is_idle());
        for latency in plan.latencies {
            self.metrics.latency(latency);
        }
        for latency in plan.route_latencies {
            self.metrics.route_latency(latency);
        }
        for news in plan.news {
            if let News::Session { peer, session } = &news {
                self.metrics.session(peer, session.is_established());
            }
            if news.is_trouble() { warn!("{news}") } else { info!("{news}") }
        }
        if let Some(notices) = &self.notices {
            for notice in plan.notices {
                // Nobody listens any more only when the agent ends.
                let _ = notices.send(notice);
            }
        }
        if let (Some(health), Some(changed)) = (&self.health, plan.health) {
            health.send_replace(changed);
        }
        if let (Some(secrets), Some(wanted)) = (&self.secrets, plan.secrets) {
            secrets.send_replace(wanted);
        }
        if let (Some(probing), Some(changed)) = (&self.probing, plan.probing) {
            probing.send_replace(changed);
        }
        if let (Some(orders), Some(changed)) = (&self.orders, plan.orders) {
            orders.send_replace(Some(changed));
        }
        if let (Some(sender), Some(saved)) = (&self.saved, plan.saved) {
            sender.send_replace(saved);
        }
        if let (Some(sender), Some(standing)) = (&self.standing, plan.standing) {
            sender.send_replace(standing);
        }
        let writes = plan.steps.iter().filter(|step| !step.is_read() && !pass::is_for_speaker(step)).count();
        if writes > 0 {
            info!(steps = writes, "writing to the kernel");
        }
        let (speaker, kernel): (Vec<Step>, Vec<Step>) = plan.steps.into_iter().partition(pass::is_for_speaker);
        let sent =
            |queue: &mpsc::Sender<Vec<Step>>, steps: Vec<Step>| steps.is_empty() || queue.try_send(steps).is_ok();
        sent(&self.kernel, kernel) && sent(&self.speaker, speaker)
    }
}

/// Those who wait for an explanation, by the number under which they asked.
#[derive(Default)]
struct Waiting {
    senders: BTreeMap<u64, oneshot::Sender<Result<Explanation, Unknown>>>,
    last: u64,
}

impl Waiting {
    fn note(&mut self, sender: oneshot::Sender<Result<Explanation, Unknown>>) -> u64 {
        self.last += 1;
        self.senders.insert(self.last, sender);
        self.last
    }

    fn answer(&mut self, ticket: u64, explanation: Result<Explanation, Unknown>) {
        if let Some(sender) = self.senders.remove(&ticket) {
            // As above.
            let _ = sender.send(explanation);
        }
    }
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Drifted(_) => "drifted",
        Outcome::Refused(_) => "refused",
        Outcome::Later(_) => "later",
        Outcome::Read(_) => "read",
    }
}

/// Starts an executor on a thread of its own, with a runtime of its own: its sockets belong to that thread's network
/// namespace, and nothing that it waits for holds up anybody else. It ends when the queue is dropped.
pub fn start_executor<E: Executor + 'static>(
    name: &str,
    make: impl AsyncFnOnce() -> E + Send + 'static,
    changes: mpsc::Sender<Change>,
) -> std::io::Result<mpsc::Sender<Vec<Step>>> {
    let (queue, steps) = mpsc::channel::<Vec<Step>>(QUEUE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(async move { run_executor(make().await, steps, changes).await });
    })?;
    Ok(queue)
}

/// Lets `executor` perform the lists of `steps` in small batches, and tells the loop how each step ended. Ends when the
/// queue is dropped or the loop has ended.
pub async fn run_executor<E: Executor>(
    mut executor: E,
    mut steps: mpsc::Receiver<Vec<Step>>,
    changes: mpsc::Sender<Change>,
) {
    while let Some(mut list) = steps.recv().await {
        while !list.is_empty() {
            let rest = list.split_off(list.len().min(BATCH));
            let batch = std::mem::replace(&mut list, rest);
            for report in executor.perform(batch).await {
                if changes.send(Change::Report(report)).await.is_err() {
                    return;
                }
            }
        }
    }
}
