//! The keeper with hands of the tests' own, in the tests' own time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;
use crate::model::Prefix;
use crate::model::bfd::{BfdState, Distance, Session, Timers};
use crate::model::bgp::PeerName;
use crate::model::canary::Canary;
use crate::speaker::wire::{Answer, Hello, Renewal};

/// How gobgpd answers a withdrawal.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Gobgpd {
    Answers,
    Refuses,
    Hangs,
}

#[derive(Debug)]
struct World {
    proved: bool,
    gobgpd: Gobgpd,
    /// What was done, in words.
    done: Vec<String>,
    sessions: BTreeMap<PeerName, Session>,
    held: BTreeMap<PeerName, String>,
}

#[derive(Clone)]
struct FakeHands(Arc<Mutex<World>>);

impl Hands for FakeHands {
    async fn probe(&self, canaries: Vec<Canary>) -> Result<(), String> {
        assert!(!canaries.is_empty());
        if self.0.lock().unwrap().proved { Ok(()) } else { Err("SYN did not come out".to_owned()) }
    }

    async fn withdraw(&self, owned: Option<BTreeSet<Prefix>>) -> Result<usize, String> {
        let gobgpd = self.0.lock().unwrap().gobgpd;
        match gobgpd {
            Gobgpd::Answers => {
                let text = owned.map_or("all".to_owned(), |owned| format!("{owned:?}"));
                self.0.lock().unwrap().done.push(format!("withdrew {text}"));
                Ok(3)
            }
            Gobgpd::Refuses => Err("no".to_owned()),
            Gobgpd::Hangs => std::future::pending().await,
        }
    }

    async fn restart_gobgpd(&self, graceful: bool) -> Result<(), String> {
        self.0.lock().unwrap().done.push(format!("restarted gobgpd, graceful: {graceful}"));
        Ok(())
    }

    async fn end_gobgpd(&self) {
        let mut world = self.0.lock().unwrap();
        world.done.push("ended gobgpd".to_owned());
        world.gobgpd = Gobgpd::Answers;
    }

    fn want_sessions(&self, sessions: BTreeMap<PeerName, Session>) {
        self.0.lock().unwrap().sessions = sessions;
    }

    fn hold_peers(&self, held: BTreeMap<PeerName, String>) {
        self.0.lock().unwrap().held = held;
    }
}

fn canary() -> Canary {
    let at = |last: u8| IpAddr::from([169, 254, 77, last]);
    Canary { vip: at(1), destination: at(2), client: at(3), masqueraded: true }
}

fn session() -> Session {
    Session { timers: Timers::default(), local_address: None, distance: Distance::SingleHop, enabled: true }
}

fn orders(canaries: Vec<Canary>) -> Orders {
    let peers = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<PeerName>().unwrap());
    Orders {
        ttl: Duration::from_secs(5),
        fail_static: Duration::from_secs(60),
        owned: None,
        canaries,
        undecided: false,
        graceful_restart: true,
        announced_by: [peers[1].clone()].into(),
        bfd: peers.map(|peer| (peer, session())).into(),
    }
}

/// A keeper that runs, and the world in its hands.
struct Rig {
    folder: TempDir,
    world: Arc<Mutex<World>>,
    visits: mpsc::Sender<Visit>,
    news: mpsc::UnboundedSender<News>,
    keeper: tokio::task::JoinHandle<()>,
}

type Ends = (mpsc::Sender<Visit>, mpsc::UnboundedSender<News>, tokio::task::JoinHandle<()>);

impl Rig {
    fn new() -> Rig {
        let world = World {
            proved: true,
            gobgpd: Gobgpd::Answers,
            done: Vec::new(),
            sessions: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        let world = Arc::new(Mutex::new(world));
        let (visits, news, keeper) = Rig::start(&folder, &world);
        Rig { folder, world, visits, news, keeper }
    }

    fn start(folder: &TempDir, world: &Arc<Mutex<World>>) -> Ends {
        let (visits, receiver) = mpsc::channel(16);
        let (news, told) = mpsc::unbounded_channel();
        let held = world.lock().unwrap().held.keys().cloned().collect();
        let keeper = Keeper::new(FakeHands(world.clone()), Store::new(folder.path()), held);
        (visits, news, tokio::spawn(keeper.keep(receiver, told)))
    }

    /// The BFD session with a peer stands so.
    async fn bfd(&self, peer: &str, state: BfdState) {
        let status = BfdStatus {
            state,
            remote: state,
            reason: None,
            since: 0,
            interval: Duration::from_millis(300),
            detection: None,
            flaps: 0,
            damped: None,
            problem: None,
        };
        self.news.send(News { peer: peer.parse().unwrap(), status: Some(status) }).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn held(&self) -> Vec<String> {
        self.world.lock().unwrap().held.keys().map(ToString::to_string).collect()
    }

    /// Another speaker takes the place of this one.
    fn restart(&mut self) {
        self.keeper.abort();
        (self.visits, self.news, self.keeper) = Rig::start(&self.folder, &self.world);
    }

    async fn come(&self, id: ClientId, agent: bool) -> mpsc::Receiver<FromSpeaker> {
        let (tell, told) = mpsc::channel(1024);
        self.visits.send(Visit::Came(id, Hello::new(agent), tell)).await.unwrap();
        told
    }

    async fn say(&self, id: ClientId, said: ToSpeaker) {
        self.visits.send(Visit::Said(id, Box::new(said))).await.unwrap();
    }

    async fn order(&self, id: ClientId, orders: Orders) {
        self.say(id, ToSpeaker { orders: Some(orders), ..ToSpeaker::default() }).await;
    }

    /// The agent lives for so many seconds.
    async fn live(&self, id: ClientId, seconds: u64) {
        for _ in 0..seconds {
            self.say(id, ToSpeaker { renewal: Some(Renewal::default()), ..ToSpeaker::default() }).await;
            wait(1).await;
        }
    }

    fn done(&self) -> Vec<String> {
        std::mem::take(&mut self.world.lock().unwrap().done)
    }

    /// Are the session that watches and the one that announces to be up?
    fn enabled(&self) -> Vec<bool> {
        self.world.lock().unwrap().sessions.values().map(|session| session.enabled).collect()
    }
}

async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// The states that an agent or a command was told of, and how they ended.
fn states(told: &mut mpsc::Receiver<FromSpeaker>) -> Vec<LeaseState> {
    std::iter::from_fn(|| told.try_recv().ok()).filter_map(|message| Some(message.lease?.state)).collect()
}

#[tokio::test(start_paused = true)]
async fn while_the_agent_renews_nothing_happens_whatever_the_probe_would_say() {
    let rig = Rig::new();
    rig.world.lock().unwrap().proved = false;
    let mut told = rig.come(1, true).await;
    rig.order(1, orders(vec![canary()])).await;
    rig.live(1, 60).await;
    assert_eq!(rig.done(), [""; 0]);
    assert_eq!(rig.enabled(), [true, true]);
    let told: Vec<FromSpeaker> = std::iter::from_fn(|| told.try_recv().ok()).collect();
    assert_eq!(told.iter().filter(|message| message.renewed).count(), 60);
    // What would happen to it without the agent is told, once.
    let leases =
        told.into_iter().filter_map(|message| message.lease).map(|lease| (lease.state, lease.problem.is_some()));
    assert_eq!(
        leases.collect::<Vec<_>>(),
        [(LeaseState::Unknown, false), (LeaseState::Held, false), (LeaseState::Held, true)]
    );
    let mut command = rig.come(2, false).await;
    rig.world.lock().unwrap().proved = true;
    rig.live(1, 10).await;
    rig.say(2, ToSpeaker { request: Some(Request::Report), ..ToSpeaker::default() }).await;
    wait(1).await;
    assert_eq!(command.try_recv().unwrap().lease.unwrap().problem, None);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_dies_leaves_all_as_it_is_while_the_probe_passes() {
    let rig = Rig::new();
    let _told = rig.come(1, true).await;
    rig.order(1, orders(vec![canary()])).await;
    rig.live(1, 10).await;
    rig.visits.send(Visit::Left(1)).await.unwrap();
    wait(50).await;
    assert_eq!(rig.done(), [""; 0]);
    let mut command = rig.come(2, false).await;
    rig.say(2, ToSpeaker { request: Some(Request::Report), ..ToSpeaker::default() }).await;
    wait(1).await;
    let report: Vec<FromSpeaker> = std::iter::from_fn(|| command.try_recv().ok()).collect();
    let lease = report[0].lease.clone().unwrap();
    assert_eq!((lease.state, lease.reason.as_deref()), (LeaseState::Static, Some("no agent is connected")));
    assert_eq!(report.last().unwrap().answer, Some(Answer::default()));
    // The probe alone does not do for ever.
    wait(10).await;
    assert_eq!(rig.done(), ["withdrew all"]);
    assert_eq!(rig.enabled(), [true, false]);
}

#[tokio::test(start_paused = true)]
async fn what_nothing_proves_is_withdrawn_within_the_ttl() {
    for (canaries, proved) in [(vec![canary()], false), (vec![], true)] {
        let rig = Rig::new();
        rig.world.lock().unwrap().proved = proved;
        let _told = rig.come(1, true).await;
        rig.order(1, orders(canaries)).await;
        rig.live(1, 10).await;
        rig.visits.send(Visit::Left(1)).await.unwrap();
        wait(3).await;
        assert_eq!(rig.done(), [""; 0]);
        wait(2).await;
        assert_eq!(rig.done(), ["withdrew all"]);
        assert_eq!(rig.enabled(), [true, false]);

        // It is done once, and the next agent takes over.
        wait(100).await;
        assert_eq!(rig.done(), [""; 0]);
        let mut told = rig.come(2, true).await;
        rig.live(2, 1).await;
        assert_eq!(states(&mut told), [LeaseState::Lapsed, LeaseState::Held]);
        assert_eq!(rig.enabled(), [true, true]);
    }
}

/// It may have announced before it died.
#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_to_a_lapsed_lease_and_dies_leaves_nothing_out() {
    let rig = Rig::new();
    let _told = rig.come(1, true).await;
    rig.order(1, orders(vec![])).await;
    rig.visits.send(Visit::Left(1)).await.unwrap();
    wait(6).await;
    assert_eq!(rig.done(), ["withdrew all"]);
    let _told = rig.come(2, true).await;
    rig.visits.send(Visit::Left(2)).await.unwrap();
    wait(1).await;
    assert_eq!(rig.done(), ["withdrew all"]);
    // A command is no agent.
    let _told = rig.come(3, false).await;
    rig.visits.send(Visit::Left(3)).await.unwrap();
    wait(1).await;
    assert_eq!(rig.done(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_gobgpd_that_hangs_is_ended_and_one_that_refuses_is_asked_again() {
    for (gobgpd, expected) in [(Gobgpd::Hangs, &["ended gobgpd", "withdrew all"][..]), (Gobgpd::Refuses, &[])] {
        let rig = Rig::new();
        (rig.world.lock().unwrap().proved, rig.world.lock().unwrap().gobgpd) = (false, gobgpd);
        let _told = rig.come(1, true).await;
        rig.order(1, orders(vec![canary()])).await;
        rig.visits.send(Visit::Left(1)).await.unwrap();
        wait(20).await;
        assert_eq!(rig.done(), expected);
        if gobgpd == Gobgpd::Refuses {
            rig.world.lock().unwrap().gobgpd = Gobgpd::Answers;
            wait(2).await;
            assert_eq!(rig.done(), ["withdrew all"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_returns_ends_a_withdrawal_that_is_under_way() {
    let rig = Rig::new();
    (rig.world.lock().unwrap().proved, rig.world.lock().unwrap().gobgpd) = (false, Gobgpd::Refuses);
    let _told = rig.come(1, true).await;
    rig.order(1, orders(vec![canary()])).await;
    rig.visits.send(Visit::Left(1)).await.unwrap();
    wait(10).await;
    let _told = rig.come(2, true).await;
    rig.live(2, 2).await;
    rig.world.lock().unwrap().gobgpd = Gobgpd::Answers;
    rig.live(2, 20).await;
    assert_eq!(rig.done(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_speaker_goes_on_with_the_last_orders() {
    for proved in [true, false] {
        let mut rig = Rig::new();
        let _told = rig.come(1, true).await;
        rig.order(1, orders(vec![canary()])).await;
        rig.live(1, 3).await;
        rig.world.lock().unwrap().sessions.clear();
        rig.restart();
        wait(1).await;
        assert_eq!(rig.enabled(), [true, true]);
        rig.world.lock().unwrap().proved = proved;
        wait(10).await;
        assert_eq!(rig.done().is_empty(), proved);

        // One that had lapsed begins so, and makes sure.
        if !proved {
            rig.restart();
            wait(1).await;
            assert_eq!(rig.done(), ["withdrew all"]);
            assert_eq!(rig.enabled(), [true, false]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_orders_gobgpd_is_left_alone() {
    let rig = Rig::new();
    rig.world.lock().unwrap().proved = false;
    let mut told = rig.come(1, true).await;
    rig.live(1, 1).await;
    rig.visits.send(Visit::Left(1)).await.unwrap();
    wait(10_000).await;
    assert_eq!(rig.done(), [""; 0]);
    assert_eq!(states(&mut told), [LeaseState::Unknown]);
}

#[tokio::test(start_paused = true)]
async fn only_the_agent_that_came_last_gives_orders() {
    let rig = Rig::new();
    let mut first = rig.come(1, true).await;
    rig.order(1, orders(vec![canary()])).await;
    let mut second = rig.come(2, true).await;
    let mut command = rig.come(3, false).await;
    for id in [1, 3] {
        rig.order(id, Orders { bfd: BTreeMap::new(), ..orders(vec![]) }).await;
    }
    rig.say(3, ToSpeaker { request: Some(Request::Unknown), ..ToSpeaker::default() }).await;
    // The first connection ends late: that is not the end of the agent.
    rig.visits.send(Visit::Left(1)).await.unwrap();
    rig.live(2, 10).await;
    assert_eq!(rig.enabled(), [true, true]);
    assert_eq!(states(&mut second), [LeaseState::Held]);
    let answers: Vec<FromSpeaker> = std::iter::from_fn(|| command.try_recv().ok()).collect();
    assert!(answers[0].problem.as_ref().unwrap().contains("the agent that has connected last"));
    assert!(answers[1].answer.clone().unwrap().refusal.unwrap().contains("does not know"));
    while first.try_recv().is_ok() {}
    assert!(first.is_closed());
}

#[tokio::test(start_paused = true)]
async fn bfd_that_goes_down_holds_its_own_bgp_session_and_no_static_peer() {
    let mut rig = Rig::new();
    let mut told = rig.come(1, true).await;
    rig.order(1, orders(vec![canary()])).await;
    rig.live(1, 1).await;
    for peer in ["192.0.2.1", "192.0.2.2"] {
        rig.bfd(peer, BfdState::Up).await;
    }
    for peer in ["192.0.2.1", "192.0.2.2"] {
        rig.bfd(peer, BfdState::Down).await;
    }
    assert_eq!(rig.held(), ["192.0.2.1"]);
    let heard: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).filter_map(|message| message.bfd).collect();
    assert_eq!(heard.iter().map(BTreeMap::len).collect::<Vec<_>>(), [0, 1, 1, 1, 1]);
    // The next speaker knows what this one held, and releases it.
    rig.restart();
    rig.bfd("192.0.2.1", BfdState::Down).await;
    assert_eq!(rig.held(), ["192.0.2.1"]);
    rig.bfd("192.0.2.1", BfdState::Up).await;
    assert_eq!(rig.held(), [""; 0]);
    // BFD that does not come back gives way after a while.
    rig.bfd("192.0.2.1", BfdState::Down).await;
    assert_eq!(rig.held(), ["192.0.2.1"]);
    wait(31).await;
    assert_eq!(rig.held(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn gobgpd_is_restarted_where_its_routes_come_back() {
    let rig = Rig::new();
    let mut command = rig.come(7, false).await;
    let mut ask = async |request| {
        rig.say(7, ToSpeaker { request: Some(request), ..ToSpeaker::default() }).await;
        command.recv().await.unwrap().answer.unwrap().refusal
    };
    let refusal = ask(Request::RestartGobgpd).await.unwrap();
    assert!(refusal.contains("no agent is connected"), "{refusal}");
    let _told = rig.come(1, true).await;
    rig.order(1, Orders { graceful_restart: false, ..orders(vec![]) }).await;
    let refusal = ask(Request::RestartGobgpd).await.unwrap();
    assert!(refusal.contains("bgp.gracefulRestart is off"), "{refusal}");
    assert_eq!(rig.done(), [""; 0]);
    assert_eq!(ask(Request::ResetGobgpd).await, None);
    rig.order(1, orders(vec![])).await;
    assert_eq!(ask(Request::RestartGobgpd).await, None);
    assert_eq!(rig.done(), ["restarted gobgpd, graceful: false", "restarted gobgpd, graceful: true"]);
}

/// As on a virtual machine that is paused, or under a storage that hangs: on many nodes at once.
#[tokio::test(start_paused = true)]
async fn a_speaker_that_did_not_run_looks_before_it_lapses() {
    for (proved, canaries, agent_goes_on) in
        [(true, vec![canary()], false), (false, vec![canary()], false), (false, vec![], true), (false, vec![], false)]
    {
        let rig = Rig::new();
        rig.world.lock().unwrap().proved = proved;
        let _told = rig.come(1, true).await;
        rig.order(1, orders(canaries.clone())).await;
        rig.live(1, 10).await;
        // Nobody runs while this passes; then the agent's next word is on its way, or it is not.
        tokio::time::advance(Duration::from_secs(30)).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let is_proved = !canaries.is_empty() && proved;
        assert_eq!(rig.done().is_empty(), canaries.is_empty() || proved, "{proved} {canaries:?}");
        if agent_goes_on {
            rig.live(1, 10).await;
        } else {
            wait(10).await;
        }
        let is_kept = is_proved || agent_goes_on || !canaries.is_empty();
        assert_eq!(rig.done().is_empty(), is_kept, "{proved} {canaries:?} {agent_goes_on}");
    }
}
