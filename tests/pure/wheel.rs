//! The whole loop, with executors that are slow, stuck or gone. Where something is stuck, time is the test's own.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use vipcast::admin::Question;
use vipcast::admin::metrics::Metrics;
use vipcast::daemon::{End, Wheel, run_executor, start_executor};
use vipcast::model::bgp::{PeerName, Session, SessionState};
use vipcast::model::{Event, Settings};
use vipcast::plan::change::Leave;
use vipcast::plan::step::Executor;
use vipcast::plan::{Change, ModelNode, Planner, Report, Status, Step};

use crate::support::build::{dual_stack, host, host_routes, listed, prefix, service, slice, tcp, web};
use crate::support::node::{Fault, Node};

/// How an executor behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pace {
    /// It performs at once.
    Prompt,
    /// Each batch that writes takes so long.
    Slow(Duration),
    /// It never answers again.
    Stuck,
    /// It panics, as none should.
    Dying,
}

/// One side of a node that both executors share.
#[derive(Clone)]
struct Side {
    node: Arc<Mutex<Node>>,
    pace: Arc<Mutex<Pace>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Executor for Side {
    async fn perform(&mut self, steps: Vec<Step>) -> Vec<Report> {
        let pace = *self.pace.lock().unwrap();
        match pace {
            Pace::Stuck => pending().await,
            Pace::Slow(time) if steps.iter().any(|step| !step.is_read()) => tokio::time::sleep(time).await,
            Pace::Dying => panic!("this executor dies in the test"),
            Pace::Prompt | Pace::Slow(_) => {}
        }
        let mut node = self.node.lock().unwrap();
        let writes = steps.iter().filter(|step| !step.is_read()).map(Step::to_string);
        self.log.lock().unwrap().extend(writes);
        let report = |step: Step| Report { outcome: node.perform(&step), step };
        steps.into_iter().map(report).collect()
    }
}

/// A loop that turns, and all ends of it.
struct Rig {
    node: Arc<Mutex<Node>>,
    kernel: Arc<Mutex<Pace>>,
    speaker: Arc<Mutex<Pace>>,
    changes: mpsc::Sender<Change>,
    questions: mpsc::Sender<Question>,
    metrics: Arc<Metrics>,
    end: JoinHandle<End>,
}

const DAY: Duration = Duration::from_secs(86400);

/// On what the executors run.
#[derive(Debug, Clone, Copy, PartialEq)]
enum On {
    /// Threads of their own, as in the agent.
    Threads,
    /// Tasks beside the loop, whose time is the test's.
    Tasks,
}

impl Rig {
    fn new(settings: Settings, on: On) -> Rig {
        let node = Node::new(ModelNode { host: host(), ..ModelNode::default() });
        let node = Arc::new(Mutex::new(node));
        let log = Arc::new(Mutex::new(Vec::new()));
        let (changes, receiver) = mpsc::channel(1024);
        let executor = |name: &str| {
            let side = Side { node: node.clone(), pace: Arc::new(Mutex::new(Pace::Prompt)), log: log.clone() };
            let pace = side.pace.clone();
            let queue = match on {
                On::Threads => start_executor(name, async move || side, changes.clone()).unwrap(),
                On::Tasks => {
                    let (queue, steps) = mpsc::channel(8192);
                    tokio::spawn(run_executor(side, steps, changes.clone()));
                    queue
                }
            };
            (queue, pace)
        };
        let (kernel_queue, kernel) = executor("kernel");
        let (speaker_queue, speaker) = executor("speaker");
        let (questions, asked) = mpsc::channel(16);
        let metrics = Arc::new(Metrics::default());
        let origin = tokio::time::Instant::now().into_std();
        let metrics_of_loop = metrics.clone();
        let end = tokio::spawn(async move {
            let mut planner = Planner::new(settings, vipcast::model::Time::ZERO);
            let mut wheel = Wheel {
                notices: None,
                health: None,
                secrets: None,
                probing: None,
                orders: None,
                saved: None,
                standing: None,
                changes: receiver,
                questions: asked,
                kernel: kernel_queue,
                speaker: speaker_queue,
                metrics: metrics_of_loop,
                origin,
            };
            wheel.turn(&mut planner).await
        });
        Rig { node, kernel, speaker, changes, questions, metrics, end }
    }

    async fn tell(&self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.changes.send(Change::Source(event)).await.unwrap();
        }
    }

    async fn status(&self) -> Status {
        let (answer, status) = oneshot::channel();
        self.questions.send(Question::Status(answer)).await.unwrap();
        status.await.unwrap()
    }

    /// Asks until it is so.
    async fn until(&self, what: &str, is: impl Fn(&Status) -> bool) {
        for _ in 0..100_000 {
            if is(&self.status().await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never {what}: {:?}", self.status().await);
    }

    /// An agent that serves and announces `web`.
    async fn serving(settings: Settings, on: On) -> Rig {
        let rig = Rig::new(settings, on);
        rig.changes.send(Change::SpeakerUp).await.unwrap();
        rig.tell(listed(web())).await;
        rig.until("ready", |status| status.ready).await;
        rig
    }

    async fn leave(self, leave: Leave) -> (End, Arc<Mutex<Node>>) {
        self.changes.send(Change::Leave(leave)).await.unwrap();
        (self.end.await.unwrap(), self.node)
    }

    fn set(pace: &Arc<Mutex<Pace>>, to: Pace) {
        *pace.lock().unwrap() = to;
    }

    fn has(&self, address: &str, port: u16) -> bool {
        self.node.lock().unwrap().model.state.ipvs.contains_key(&tcp(address, port))
    }

    fn passes(&self, status: &Status) -> usize {
        let text = self.metrics.render(status).unwrap();
        let line = text.lines().find(|line| line.starts_with("vipcast_passes_total")).unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

fn paths(node: &Arc<Mutex<Node>>) -> usize {
    node.lock().unwrap().model.state.bgp.iter().map(|bgp| bgp.paths.len()).sum()
}

/// Settings whose delays are short enough to be waited for.
fn brisk() -> Settings {
    Settings { withdraw_delay: Duration::from_millis(50), ..dual_stack() }
}

#[tokio::test]
async fn the_agent_serves_announces_and_withdraws() {
    let rig = Rig::serving(brisk(), On::Threads).await;
    assert_eq!(paths(&rig.node), 2);
    assert!(rig.has("10.96.0.10", 80) && rig.has("fd00:10:96::10", 80));
    let (end, node) = rig.leave(Leave::Withdraw).await;
    assert_eq!(end, End::Finished);
    assert_eq!(paths(&node), 0);
    assert_eq!(node.lock().unwrap().model.state.ipvs.len(), 2, "the data plane stays");
}

#[tokio::test]
async fn each_who_asks_gets_an_explanation_of_what_was_asked_for() {
    let rig = Rig::serving(brisk(), On::Threads).await;
    let ask = async |of: &str| {
        let (answer, explanation) = oneshot::channel();
        rig.questions.send(Question::Explain(of.parse().unwrap(), answer)).await.unwrap();
        explanation.await.unwrap()
    };
    let (one, other, none) = tokio::join!(ask("10.96.0.10"), ask("shop/web"), ask("shop/nothing"));
    assert_eq!(one.unwrap().asked, "10.96.0.10");
    assert_eq!(other.unwrap().asked, "shop/web");
    assert!(none.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stuck_kernel_holds_no_explanation_up_for_long() {
    let rig = Rig::serving(brisk(), On::Tasks).await;
    Rig::set(&rig.kernel, Pace::Stuck);
    let (answer, explanation) = oneshot::channel();
    rig.questions.send(Question::Explain("10.96.0.10".parse().unwrap(), answer)).await.unwrap();
    let explanation = explanation.await.unwrap().unwrap();
    assert!(explanation.remarks[0].contains("did not answer"), "{:?}", explanation.remarks);
}

#[tokio::test]
async fn sessions_that_end_are_counted() {
    let rig = Rig::serving(brisk(), On::Threads).await;
    let peer: PeerName = "10.0.1.1".parse().unwrap();
    for state in [SessionState::Established, SessionState::Idle, SessionState::Active, SessionState::Established] {
        rig.changes.send(Change::Session(peer.clone(), Session::new(state))).await.unwrap();
        let shown = state.to_string();
        rig.until("told", |status| status.bgp.as_ref().is_some_and(|bgp| bgp.peers[0].state == shown)).await;
    }
    let text = rig.metrics.render(&rig.status().await).unwrap();
    assert!(text.contains("vipcast_bgp_sessions_ended_total{peer=\"10.0.1.1\"} 1\n"), "{text}");
}

#[tokio::test]
async fn faults_of_both_executors_pass() {
    let rig = Rig::new(brisk(), On::Threads);
    let faults = || Fault::ALL.into_iter().cycle().take(40);
    rig.node.lock().unwrap().kernel_faults.extend(faults());
    rig.node.lock().unwrap().speaker_faults.extend(faults().take(10));
    rig.changes.send(Change::SpeakerUp).await.unwrap();
    rig.tell(listed(web())).await;
    rig.until("ready and well", |status| status.ready && status.failures.is_empty()).await;
    assert_eq!(paths(&rig.node), 2);
}

#[tokio::test]
async fn leaving_all_as_it_is_and_cleaning_up_end_too() {
    let rig = Rig::serving(brisk(), On::Threads).await;
    let (end, node) = rig.leave(Leave::Keep).await;
    assert_eq!((end, paths(&node)), (End::Finished, 2));

    let rig = Rig::serving(brisk(), On::Threads).await;
    let (end, node) = rig.leave(Leave::Remove).await;
    assert_eq!((end, paths(&node)), (End::Finished, 0));
    let state = node.lock().unwrap().model.state.clone();
    assert!(state.ipvs.is_empty() && state.addr == Default::default() && state.nft == Default::default());
}

/// Nothing of gobgpd is waited for but by those who need its answer.
#[tokio::test(start_paused = true)]
async fn a_stuck_gobgpd_delays_neither_the_kernel_nor_leaving() {
    for leave in [Leave::Withdraw, Leave::Keep, Leave::Remove] {
        // From the start.
        let rig = Rig::new(dual_stack(), On::Tasks);
        Rig::set(&rig.speaker, Pace::Stuck);
        rig.changes.send(Change::SpeakerUp).await.unwrap();
        rig.tell(listed(web())).await;
        rig.until("served", |status| status.ipvs.virtual_servers == 2).await;
        let (end, _) = rig.leave(leave).await;
        assert_eq!(end, if leave == Leave::Keep { End::Finished } else { End::GaveUp }, "{leave:?}");

        // Later.
        let rig = Rig::serving(dual_stack(), On::Tasks).await;
        Rig::set(&rig.speaker, Pace::Stuck);
        rig.tell([service("new", &["10.96.0.11"], &[("http", 80)])]).await;
        rig.tell([slice("new", "new", &[("http", 8080)], &["10.244.1.3"])]).await;
        rig.until("served", |status| status.ipvs.virtual_servers == 3).await;
        let (end, _) = rig.leave(leave).await;
        assert_eq!(end, if leave == Leave::Keep { End::Finished } else { End::GaveUp }, "{leave:?}");
    }
}

/// The kernel is busy for a day; the routes are withdrawn meanwhile, each for itself or all of them.
#[tokio::test(start_paused = true)]
async fn a_busy_kernel_delays_no_withdrawal() {
    let rig = Rig::serving(host_routes(), On::Tasks).await;
    assert_eq!(paths(&rig.node), 1);
    Rig::set(&rig.kernel, Pace::Slow(DAY));
    rig.tell([service("new", &["10.96.0.11"], &[("http", 80)])]).await;
    rig.tell([slice("new", "new", &[("http", 8080)], &["10.244.1.3"])]).await;
    rig.until("writing", |status| status.ipvs.desired == 2).await;
    rig.tell([slice("web-4", "web", &[("http", 8080)], &[])]).await;
    rig.until("withdrawn", |status| status.bgp.as_ref().is_some_and(|bgp| bgp.routes.is_empty())).await;
    assert!(!rig.has("10.96.0.11", 80), "the kernel is still busy");
    assert!(rig.has("10.96.0.10", 80), "and the old virtual server still there");

    for pace in [Pace::Slow(DAY), Pace::Stuck] {
        let rig = Rig::serving(dual_stack(), On::Tasks).await;
        Rig::set(&rig.kernel, pace);
        rig.tell([slice("web-4", "web", &[("http", 8080)], &[])]).await;
        let (end, node) = rig.leave(Leave::Withdraw).await;
        assert_eq!((end, paths(&node)), (End::Finished, 0), "{pace:?}");
        assert!(node.lock().unwrap().model.state.ipvs.contains_key(&tcp("10.96.0.10", 80)), "{pace:?}");
    }
}

/// A removal takes as long as it takes, as long as it goes on.
#[tokio::test(start_paused = true)]
async fn cleaning_up_is_patient_with_what_moves() {
    let rig = Rig::new(dual_stack(), On::Tasks);
    rig.changes.send(Change::SpeakerUp).await.unwrap();
    let objects = (0..600).flat_map(|n| {
        let (name, vip) = (format!("s{n}"), format!("10.96.{}.{}", n / 250, n % 250 + 1));
        [service(&name, &[&vip], &[("http", 80)]), slice(&name, &name, &[("http", 8080)], &["10.244.1.2"])]
    });
    rig.tell(listed(objects)).await;
    rig.until("ready", |status| status.ready).await;
    // All batches together outlast the patience with what stands still by far.
    Rig::set(&rig.kernel, Pace::Slow(Duration::from_secs(8)));
    let (end, node) = rig.leave(Leave::Remove).await;
    assert_eq!(end, End::Finished);
    assert_eq!(node.lock().unwrap().model.state.ipvs.len(), 0);
}

/// Thousands of changes make few passes, and whoever asks is answered meanwhile.
#[tokio::test]
async fn a_burst_coalesces_and_questions_are_answered() {
    let rig = Rig::serving(brisk(), On::Threads).await;
    let before = rig.passes(&rig.status().await);
    let burst = {
        let changes = rig.changes.clone();
        tokio::spawn(async move {
            for n in 0..10_000 {
                let pod = format!("10.244.{}.{}", n / 250, n % 250 + 1);
                let event = slice("web-4", "web", &[("http", 8080)], &[&pod]);
                changes.send(Change::Source(event)).await.unwrap();
            }
        })
    };
    let mut answers = 0;
    while !burst.is_finished() {
        rig.status().await;
        answers += 1;
    }
    assert!(answers > 0);
    let last = tcp("10.96.0.10", 80);
    let settled = |rig: &Rig| {
        let node = rig.node.lock().unwrap();
        let destinations = &node.model.state.ipvs[&last].destinations;
        destinations.len() == 1 && destinations.keys().all(|name| name.address.to_string() == "10.244.39.250")
    };
    rig.until("settled", |_| settled(&rig)).await;
    let status = rig.status().await;
    let passes = rig.passes(&status) - before - answers;
    assert!(passes < 2000, "{passes} passes for 10000 changes, and {answers} for questions");
    assert!(status.ready && status.failures.is_empty());
    assert_eq!(paths(&rig.node), 2);
}

/// An executor that ends leaves the loop nothing to do but to end too, whether it has a step for it or not.
#[tokio::test]
async fn an_executor_that_ends_ends_the_loop() {
    for kernel in [true, false] {
        let rig = Rig::new(brisk(), On::Threads);
        Rig::set(if kernel { &rig.kernel } else { &rig.speaker }, Pace::Dying);
        rig.changes.send(Change::SpeakerUp).await.unwrap();
        assert_eq!(rig.end.await.unwrap(), End::Disconnected);
    }
}

#[tokio::test]
async fn without_sources_the_loop_ends() {
    let (changes, receiver) = mpsc::channel(1);
    let (_questions, asked) = mpsc::channel(1);
    // Queues that are open, without executors that hold senders of changes.
    let (kernel, _kernel_steps) = mpsc::channel(8);
    let (speaker, _speaker_steps) = mpsc::channel(8);
    let mut wheel = Wheel {
        notices: None,
        health: None,
        secrets: None,
        probing: None,
        orders: None,
        saved: None,
        standing: None,
        changes: receiver,
        questions: asked,
        kernel,
        speaker,
        metrics: Arc::new(Metrics::default()),
        origin: std::time::Instant::now(),
    };
    drop(changes);
    let mut planner = Planner::new(dual_stack(), vipcast::model::Time::ZERO);
    assert_eq!(wheel.turn(&mut planner).await, End::Disconnected);
}

/// Without BGP nobody serves gobgpd's queue, and nobody misses it.
#[tokio::test]
async fn without_bgp_the_loop_needs_no_gobgpd() {
    let (changes, receiver) = mpsc::channel(64);
    let (_questions, asked) = mpsc::channel(1);
    let node = Arc::new(Mutex::new(Node::new(ModelNode { host: host(), ..ModelNode::default() })));
    let log = Arc::new(Mutex::new(Vec::new()));
    let side = Side { node: node.clone(), pace: Arc::new(Mutex::new(Pace::Prompt)), log: log.clone() };
    let kernel = start_executor("kernel", async move || side, changes.clone()).unwrap();
    let mut wheel = Wheel {
        notices: None,
        health: None,
        secrets: None,
        probing: None,
        orders: None,
        saved: None,
        standing: None,
        changes: receiver,
        questions: asked,
        kernel,
        speaker: mpsc::channel(1).0,
        metrics: Arc::new(Metrics::default()),
        origin: std::time::Instant::now(),
    };
    let mut planner = Planner::new(Settings { bgp: None, ..brisk() }, vipcast::model::Time::ZERO);
    let feeder = tokio::spawn(async move {
        for event in listed(web()) {
            changes.send(Change::Source(event)).await.unwrap();
        }
        while !log.lock().unwrap().iter().any(|step| step.starts_with("set local route fd00:10:96::/112")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        changes.send(Change::Leave(Leave::Withdraw)).await.unwrap();
    });
    assert_eq!(wheel.turn(&mut planner).await, End::Finished);
    feeder.await.unwrap();
    assert!(node.lock().unwrap().model.state.addr.routes.contains_key(&prefix("10.96.0.0/16")));
}
