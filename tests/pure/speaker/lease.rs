//! The announcement lease, with the real speaker and the real gobgpd. There is no data plane here, so the speaker's own probe
//! fails, or there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use vipcast::apply::bgp::Speaker;
use vipcast::apply::link;
use vipcast::model::bgp::{NextHop, Path};
use vipcast::model::lease::LeaseState;
use vipcast::model::orders::Orders;
use vipcast::plan::step::Executor;
use vipcast::plan::{Change, Observation, Outcome, Step};
use vipcast::speaker;
use vipcast::speaker::wire::{FromSpeaker, Hello, Renewal, ToSpeaker, parse, read_line, write_line};

use super::{Folder, ended, send};
use crate::gobgpd::daemon::{Flavour, each_gobgpd, until};
use crate::gobgpd::identity;

/// An agent as far as the speaker knows.
pub(super) struct Agent {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Agent {
    pub(super) async fn connect(folder: &Folder) -> Agent {
        let socket = speaker::own_socket(&folder.path());
        let stream = until("the speaker listens", async || UnixStream::connect(&socket).await.ok()).await;
        let (reader, writer) = stream.into_split();
        let mut agent = Agent { reader: BufReader::new(reader), writer };
        agent.say(ToSpeaker { hello: Some(Hello::new(true)), ..ToSpeaker::default() }).await;
        assert!(agent.hear().await.hello.is_some());
        agent
    }

    pub(super) async fn say(&mut self, message: ToSpeaker) {
        write_line(&mut self.writer, &message).await.unwrap();
    }

    pub(super) async fn hear(&mut self) -> FromSpeaker {
        loop {
            let message = parse::<FromSpeaker>(&read_line(&mut self.reader).await.unwrap().unwrap()).unwrap();
            // That renewals are heard is answered to each.
            if message != (FromSpeaker { renewed: true, ..FromSpeaker::default() }) {
                return message;
            }
        }
    }

    /// Gives orders, and renews the lease once.
    async fn order(&mut self, ttl: Duration) {
        self.order_all(orders(ttl)).await;
    }

    pub(super) async fn order_all(&mut self, orders: Orders) {
        self.say(ToSpeaker { orders: Some(orders), ..ToSpeaker::default() }).await;
        self.renew(None).await;
    }

    pub(super) async fn renew(&mut self, objection: Option<&str>) {
        let renewal = Some(Renewal { objection: objection.map(str::to_owned) });
        self.say(ToSpeaker { renewal, ..ToSpeaker::default() }).await;
    }
}

/// Orders without canaries and without BFD.
pub(super) fn orders(ttl: Duration) -> Orders {
    Orders {
        ttl,
        fail_static: LONG,
        owned: None,
        canaries: Vec::new(),
        undecided: false,
        bfd: Default::default(),
        graceful_restart: false,
        announced_by: Default::default(),
    }
}

/// Starts BGP and announces two routes.
pub(super) async fn announce(writer: &mut Speaker) {
    let path = |text: &str| Step::Announce(text.parse().unwrap(), Path::new(NextHop::Own));
    let steps = vec![Step::StartBgp(identity()), path("10.96.0.0/16"), path("fd00:10:96::/112")];
    for report in writer.perform(steps).await {
        assert_eq!(report.outcome, Outcome::Done);
    }
}

/// How many routes gobgpd holds; none if there is no gobgpd with BGP.
pub(super) async fn routes(writer: &mut Speaker) -> usize {
    match writer.perform(vec![Step::ReadSpeaker]).await.remove(0).outcome {
        Outcome::Read(Observation::Speaker(found)) => found.paths.len(),
        _ => 0,
    }
}

const TTL: Duration = Duration::from_secs(2);

/// Longer than any test.
pub(super) const LONG: Duration = Duration::from_secs(3600);

async fn routes_outlive_an_agent_by_one_ttl_where_nothing_proves_them(flavour: Flavour) {
    let folder = Folder::new();
    let _child = folder.speaker(flavour);
    folder.gobgpd(None).await;
    let mut writer = folder.writer();
    announce(&mut writer).await;
    let mut agent = Agent::connect(&folder).await;
    agent.order(TTL).await;
    // One that lives and objects is as good as none.
    for objection in [None, None, None, None, None, Some("the table is gone")] {
        agent.renew(objection).await;
        assert_eq!(routes(&mut writer).await, 2);
        tokio::time::sleep(TTL / 4).await;
    }
    until("the routes are withdrawn", async || (routes(&mut writer).await == 0).then_some(())).await;
    let said = folder.said();
    assert!(said.contains("the agent does not vouch for the data plane: the table is gone"), "{said}");

    // The agent hears of it, and may announce again.
    while agent.hear().await.lease.is_none_or(|lease| lease.state != LeaseState::Lapsed) {}
    agent.renew(None).await;
    assert_eq!(agent.hear().await.lease.unwrap().state, LeaseState::Held);
}

async fn a_restarted_speaker_holds_to_the_last_orders(flavour: Flavour) {
    let folder = Folder::new();
    let first = folder.speaker(flavour);
    let gobgpd = folder.gobgpd(None).await;
    let mut writer = folder.writer();
    announce(&mut writer).await;
    let mut agent = Agent::connect(&folder).await;
    agent.order(TTL).await;
    // What is known once the answer to what came later is there.
    agent.say(ToSpeaker { request: Some(speaker::wire::Request::Report), ..ToSpeaker::default() }).await;
    while agent.hear().await.answer.is_none() {}
    send(&first, Signal::KILL);
    ended(first).await;
    let _second = folder.speaker(flavour);
    until("the routes are withdrawn", async || (routes(&mut writer).await == 0).then_some(())).await;
    assert_eq!(folder.listener().await, Some(gobgpd));
    let said = folder.said();
    assert!(said.contains("the lease has lapsed: no agent is connected, and nothing else can prove"), "{said}");
}

async fn a_gobgpd_that_hangs_when_its_routes_have_to_go_is_killed(flavour: Flavour) {
    let folder = Folder::new();
    let _child = folder.speaker(flavour);
    let gobgpd = folder.gobgpd(None).await;
    let mut writer = folder.writer();
    announce(&mut writer).await;
    let mut agent = Agent::connect(&folder).await;
    agent.order(TTL).await;
    kill_process(gobgpd, Signal::STOP).unwrap();
    drop(agent);
    let next = folder.gobgpd(Some(gobgpd)).await;
    assert_ne!(next, gobgpd);
    assert_eq!(routes(&mut writer).await, 0);
    until("the withdrawal is done", async || folder.said().contains("nothing of ours is announced").then_some(()))
        .await;
}

/// As a killed gobgpd holds nothing, there is nothing to withdraw from the one that follows.
async fn a_gobgpd_that_is_gone_needs_no_withdrawal(flavour: Flavour) {
    let folder = Folder::new();
    let child = folder.speaker(flavour);
    let gobgpd = folder.gobgpd(None).await;
    announce(&mut folder.writer()).await;
    let mut agent = Agent::connect(&folder).await;
    agent.order(TTL).await;
    kill_process(gobgpd, Signal::KILL).unwrap();
    drop(agent);
    until("the withdrawal is done", async || folder.said().contains("nothing of ours is announced").then_some(()))
        .await;
    send(&child, Signal::TERM);
    assert!(ended(child).await.success());
}

#[tokio::test]
async fn a_speaker_without_orders_leaves_gobgpd_alone() {
    let folder = Folder::new();
    let _child = folder.speaker(Flavour::V3);
    folder.gobgpd(None).await;
    let mut writer = folder.writer();
    announce(&mut writer).await;
    let mut agent = Agent::connect(&folder).await;
    agent.renew(None).await;
    assert_eq!(agent.hear().await.lease.unwrap().state, LeaseState::Unknown);
    drop(agent);
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(routes(&mut writer).await, 2);
}

#[tokio::test]
async fn who_says_what_nobody_understands_is_told_so() {
    let folder = Folder::new();
    let _child = folder.speaker(Flavour::V3);
    folder.gobgpd(None).await;
    let talk = async |words: &[u8]| {
        let mut stream = UnixStream::connect(speaker::own_socket(&folder.path())).await.unwrap();
        stream.write_all(words).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    for (words, expected) in [
        ("", ""),
        ("{\"hello\":{\"speaks\":[1,1]", ""),
        ("GET / HTTP/1.1\r\n\r\n", "expected value"),
        ("{\"renewal\":{}}\n", "the first line has to be a hello"),
        ("{\"hello\":{\"speaks\":[7,9],\"version\":\"9.9\"}}\n", "vipcast 9.9, which speaks the versions 7 to 9"),
    ] {
        let answer = talk(words.as_bytes()).await;
        assert!(answer.starts_with("{\"hello\":{\"speaks\":[1,1]"), "{words}: {answer}");
        assert!(answer.contains(expected), "{words}: {answer}");
        assert_eq!(answer.lines().count(), if expected.is_empty() { 1 } else { 2 }, "{words}: {answer}");
    }
    // A later version's agent: what is not known of its words is passed over, and half a line is none.
    let mut agent = Agent::connect(&folder).await;
    agent.writer.write_all(b"{\"song\":\"la\"}\n{\"renewal\":{\"pitch\":440}}\nnonsense\n{\"renewal\"").await.unwrap();
    let problem = loop {
        if let Some(problem) = agent.hear().await.problem {
            break problem;
        }
    };
    assert!(problem.contains("expected"), "{problem}");
    agent.order(LONG).await;
    // The half line and the orders are one line, which is not understood.
    while agent.hear().await.problem.is_none() {}
}

/// The next thing that the agent's end of the link tells of the lease.
async fn lease_told(told: &mut mpsc::Receiver<Change>) -> Result<LeaseState, String> {
    loop {
        if let Change::Lease(lease) = told.recv().await.unwrap() {
            return lease.map(|lease| lease.state);
        }
    }
}

#[tokio::test]
async fn the_link_renews_while_its_loop_answers_and_tells_what_the_speaker_says() {
    let folder = Folder::new();
    let (changes, mut told) = mpsc::channel(64);
    let (given, taken) = watch::channel(None);
    let turns = Arc::new(AtomicBool::new(true));
    let it_turns = turns.clone();
    let vouch = async move || {
        if !it_turns.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Some(Ok(()))
    };
    let link = tokio::spawn(link::keep(speaker::own_socket(&folder.path()), taken, vouch, changes));
    assert!(lease_told(&mut told).await.unwrap_err().contains("cannot connect"));
    let child = folder.speaker(Flavour::V3);
    assert_eq!(lease_told(&mut told).await, Ok(LeaseState::Unknown));
    given.send_replace(Some(orders(TTL)));
    assert_eq!(lease_told(&mut told).await, Ok(LeaseState::Held));
    tokio::time::sleep(TTL * 2).await;
    assert!(told.try_recv().is_err());
    // A loop that hangs vouches for nothing.
    turns.store(false, Ordering::Relaxed);
    assert_eq!(lease_told(&mut told).await, Ok(LeaseState::Lapsed));
    turns.store(true, Ordering::Relaxed);
    assert_eq!(lease_told(&mut told).await, Ok(LeaseState::Held));
    // A speaker that hangs looks after nothing, though its socket takes what is written.
    send(&child, Signal::STOP);
    assert!(lease_told(&mut told).await.unwrap_err().contains("it hangs"));
    send(&child, Signal::CONT);
    while lease_told(&mut told).await != Ok(LeaseState::Held) {}
    // Another speaker gets the orders again.
    send(&child, Signal::KILL);
    ended(child).await;
    assert!(lease_told(&mut told).await.is_err());
    std::fs::remove_file(folder.path().join("orders.json")).unwrap();
    let _child = folder.speaker(Flavour::V3);
    while lease_told(&mut told).await != Ok(LeaseState::Held) {}
    drop(told);
    link.await.unwrap();
}

each_gobgpd!(
    routes_outlive_an_agent_by_one_ttl_where_nothing_proves_them,
    a_restarted_speaker_holds_to_the_last_orders,
    a_gobgpd_that_hangs_when_its_routes_have_to_go_is_killed,
    a_gobgpd_that_is_gone_needs_no_withdrawal,
);
