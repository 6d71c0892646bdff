//! Edits of the configuration with the real gobgpd: the session of a peer that they do not concern goes on.

use std::net::IpAddr;
use std::time::Duration;

use vipcast::apply::bgp::Speaker;
use vipcast::model::bgp::{Global, NextHop, Peer, Ttl};
use vipcast::model::settings::{Announce, PeerEntry};
use vipcast::model::{Family, Settings, Time};
use vipcast::plan::pass::is_for_speaker;
use vipcast::plan::step::Executor;
use vipcast::plan::{Change, ModelNode, Planner, Report, Step};

use super::daemon::{Flavour, Gobgpd, each_gobgpd, free_port, until};
use super::done;
use crate::support::build::{host, listed, range, settings, web};

const OWN: &str = "127.0.0.21";
const TOR: &str = "127.0.0.22";

/// A planner whose kernel is a model, and whose gobgpd is real.
struct Rig {
    planner: Planner,
    node: ModelNode,
    speaker: Speaker,
}

impl Rig {
    /// Until nothing is left to do at once.
    async fn run(&mut self) {
        for _ in 0..200 {
            let steps = self.planner.plan(Time::ZERO).steps;
            if steps.is_empty() {
                return;
            }
            let (speaker, kernel): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(is_for_speaker);
            let mut reports = self.speaker.perform(speaker).await;
            reports.extend(kernel.into_iter().map(|step| Report { outcome: self.node.perform_one(&step), step }));
            for report in reports {
                self.planner.apply(Change::Report(report), Time::ZERO);
            }
        }
        panic!("no end of steps");
    }

    async fn edit(&mut self, settings: Settings) {
        self.planner.apply(Change::Settings(Box::new(settings)), Time::ZERO);
        self.run().await;
    }
}

fn entry(address: &str, port: u16) -> PeerEntry {
    let peer = Peer {
        port,
        local_address: Some(OWN.parse().unwrap()),
        ttl: Ttl::Multihop(2),
        ..Peer::new(65000, [Family::Ipv4])
    };
    PeerEntry::new(address.parse::<IpAddr>().unwrap(), peer)
}

async fn an_edit_leaves_other_sessions_alone(flavour: Flavour) {
    let (lb, tor) = (Gobgpd::start(flavour).await, Gobgpd::start(flavour).await);
    let port = free_port();
    let global = Global { asn: 65000, router_id: "192.0.2.254".parse().unwrap(), listen_port: Some(port) };
    let back = PeerEntry {
        peer: Peer { asn: 65001, local_address: Some(TOR.parse().unwrap()), port: free_port(), ..entry(OWN, 1).peer },
        ..entry(OWN, 1)
    };
    done(&mut tor.speaker(), [Step::StartBgp(global), Step::AddPeer(back.name, back.peer)]).await;

    let mut before = settings(&[range("10.96.0.0/16", Announce::Aggregate)]);
    let bgp = before.bgp.as_mut().unwrap();
    // gobgpd refuses a route whose next hop is a loopback address.
    bgp.next_hop_ipv4 = NextHop::Address("192.0.2.1".parse().unwrap());
    bgp.peers = vec![entry(TOR, port)];
    let mut planner = Planner::new(before.clone(), Time::ZERO);
    planner.apply(Change::SpeakerUp, Time::ZERO);
    for event in listed(web()) {
        planner.apply(Change::Source(event), Time::ZERO);
    }
    let node = ModelNode { host: host(), ..ModelNode::default() };
    let mut rig = Rig { planner, node, speaker: lb.speaker() };
    rig.run().await;
    let arrives = async |text: &str| {
        let words = format!("the route with {text}");
        until(&words, async || tor.gobgp("global rib").await.contains(text).then_some(())).await;
    };
    arrives("10.96.0.0/16").await;
    let ups = || lb.logged().matches("Peer Up").count();
    until("the session is logged", async || (ups() == 1).then_some(())).await;

    // Another peer comes, all routes have another community, and the other peer goes again.
    let mut after = before.clone();
    let bgp = after.bgp.as_mut().unwrap();
    bgp.peers.push(entry("127.0.0.23", 1));
    bgp.attributes.communities = ["65001:7".parse().unwrap()].into();
    rig.edit(after.clone()).await;
    arrives("65001:7").await;
    assert!(lb.gobgp("neighbor").await.contains("127.0.0.23"));
    rig.edit(before.clone()).await;
    assert!(!lb.gobgp("neighbor").await.contains("127.0.0.23"));
    assert_eq!(ups(), 1, "{}", lb.logged());

    // Its own entry is another matter.
    after.bgp.as_mut().unwrap().peers[0].peer.hold_time = Duration::from_secs(12);
    rig.edit(after).await;
    until("the session is made anew", async || (ups() == 2).then_some(())).await;
}

each_gobgpd!(an_edit_leaves_other_sessions_alone);
