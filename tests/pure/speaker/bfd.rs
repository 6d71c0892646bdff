//! What the speaker makes of BFD, with the real gobgpd and an engine in the switch's place, on loopback.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rustix::process::Signal;
use vipcast::model::bfd::BfdState::{AdminDown, Down, Up};
use vipcast::model::bfd::{BfdState, Distance, Session, Timers};
use vipcast::model::bgp::PeerName;
use vipcast::model::orders::Orders;
use vipcast::plan::Step;
use vipcast::speaker::bfd::Engine;
use vipcast::speaker::wire::{Request, ToSpeaker};

use super::lease::{Agent, LONG, announce, orders, routes};
use super::{Folder, ended, send};
use crate::gobgpd::daemon::{Flavour, each_gobgpd, until};
use crate::gobgpd::{absent, done};

/// Slow enough for a busy machine.
const TIMERS: Timers = Timers { interval: Duration::from_millis(200), multiplier: 10 };

/// The addresses of this node and of the switch, of one test.
fn ends(test: u8) -> [IpAddr; 2] {
    [1, 2].map(|last| IpAddr::from([127, 88, test, last]))
}

fn one(here: IpAddr, there: IpAddr) -> BTreeMap<PeerName, Session> {
    let session = Session { timers: TIMERS, local_address: Some(here), distance: Distance::SingleHop, enabled: true };
    [(PeerName::Address(there), session)].into()
}

/// A switch that speaks BFD with this node.
fn switch([here, there]: [IpAddr; 2]) -> Engine {
    let engine = Engine::start().unwrap();
    engine.want(one(there, here));
    engine
}

/// Waits until the switch's session is in this state, with the slow beginning over; answers how often it went down.
async fn until_it_is(switch: &Engine, state: BfdState) -> u32 {
    let settled = async || {
        let status = switch.snapshot().into_values().next()?;
        let is_there = status.state == state && (state != Up || status.interval == TIMERS.interval);
        is_there.then_some(status.flaps)
    };
    until(&format!("BFD is {state}"), settled).await
}

/// The orders of an agent with a session that watches a BGP peer, or one that announces.
fn watched([here, there]: [IpAddr; 2], announces: bool) -> Orders {
    let announced_by = announces.then_some(PeerName::Address(there)).into_iter().collect();
    Orders { bfd: one(here, there), announced_by, ..orders(LONG) }
}

async fn bfd_that_goes_down_holds_the_bgp_session_down(flavour: Flavour) {
    let ends = ends(if flavour == Flavour::V3 { 1 } else { 2 });
    let folder = Folder::new();
    let _child = folder.speaker(flavour);
    folder.gobgpd(None).await;
    let mut writer = folder.writer();
    announce(&mut writer).await;
    done(&mut writer, [Step::AddPeer(ends[1].into(), absent())]).await;
    let mut agent = Agent::connect(&folder).await;
    let tor = switch(ends);
    agent.order_all(watched(ends, false)).await;
    until_it_is(&tor, Up).await;
    let said = async |words: &str, times: usize| {
        until(words, async || (folder.said().matches(words).count() == times).then_some(())).await;
    };
    assert!(!folder.said().contains("held down"), "{}", folder.said());
    // The switch dies without a word.
    drop(tor);
    said("BGP session ended and held down: BFD is down", 1).await;
    // What the agent, or another gobgpd, makes anew is held again.
    done(&mut writer, [Step::DeletePeer(ends[1].into()), Step::AddPeer(ends[1].into(), absent())]).await;
    said("BGP session ended and held down: BFD is down", 2).await;
    let tor = switch(ends);
    until_it_is(&tor, Up).await;
    said("BGP session released", 1).await;
    // Where its operator ends BFD, the way may be good.
    tor.close();
    drop(tor);
    while agent.hear().await.bfd.is_none_or(|bfd| bfd.values().all(|status| status.remote != AdminDown)) {}
    assert_eq!(folder.said().matches("held down: ").count(), 2, "{}", folder.said());
    assert_eq!(routes(&mut writer).await, 2);
}

#[tokio::test]
async fn no_switch_notices_that_the_speaker_is_another_one() {
    let ends = ends(3);
    let folder = Folder::new();
    let child = folder.speaker(Flavour::V3);
    let gobgpd = folder.gobgpd(None).await;
    let mut agent = Agent::connect(&folder).await;
    let tor = switch(ends);
    agent.order_all(watched(ends, false)).await;
    until_it_is(&tor, Up).await;
    // It does not, where what it would become could not start.
    let good = std::fs::read_to_string(folder.config()).unwrap();
    std::fs::write(folder.config(), good.replace("asn: 65001", "asn: none")).unwrap();
    send(&child, Signal::HUP);
    until("it refuses", async || folder.said().contains("not started anew: ").then_some(())).await;
    let said = folder.said();
    assert!(
        said.contains("vipcast.yaml:3") && said.contains("bgp.asn") && !said.contains("told to start anew"),
        "{said}"
    );
    std::fs::write(folder.config(), good).unwrap();
    // It takes its own place.
    send(&child, Signal::HUP);
    until("it has started anew", async || (folder.said().matches("adopted=true").count() == 1).then_some(())).await;
    assert_eq!(until_it_is(&tor, Up).await, 0, "{}", folder.said());
    // It is killed, and another one is there before anybody misses it.
    send(&child, Signal::KILL);
    ended(child).await;
    let child = folder.speaker(Flavour::V3);
    until("another one runs", async || (folder.said().matches("adopted=true").count() == 2).then_some(())).await;
    tokio::time::sleep(TIMERS.interval * 20).await;
    assert_eq!(until_it_is(&tor, Up).await, 0, "{}", folder.said());
    assert_eq!(folder.listener().await, Some(gobgpd));
    // Who ends it says so.
    send(&child, Signal::TERM);
    assert!(ended(child).await.success(), "{}", folder.said());
    until_it_is(&tor, Down).await;
    assert_eq!(tor.snapshot().into_values().next().unwrap().remote, AdminDown);
}

#[tokio::test]
async fn a_session_that_announces_goes_down_with_the_lease() {
    let ends = ends(4);
    let folder = Folder::new();
    let _child = folder.speaker(Flavour::V3);
    folder.gobgpd(None).await;
    let mut agent = Agent::connect(&folder).await;
    let tor = switch(ends);
    agent.order_all(Orders { ttl: Duration::from_secs(3), ..watched(ends, true) }).await;
    until_it_is(&tor, Up).await;
    drop(agent);
    until_it_is(&tor, Down).await;
    assert_eq!(tor.snapshot().into_values().next().unwrap().remote, AdminDown);
    let mut agent = Agent::connect(&folder).await;
    agent.renew(None).await;
    agent.say(ToSpeaker { request: Some(Request::Report), ..ToSpeaker::default() }).await;
    until_it_is(&tor, Up).await;
}

each_gobgpd!(bfd_that_goes_down_holds_the_bgp_session_down);
