//! A gobgpd that is somebody else's, who has a peer and import policies in it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use vipcast::apply::bgp::Speaker;
use vipcast::model::bgp::{Attributes, Global, NextHop, Path, Peer, PeerName, Ttl};
use vipcast::model::settings::{BgpSettings, Dataplane, PeerEntry, Settings, Snat};
use vipcast::model::{Prefix, Selector, Time};
use vipcast::plan::change::Leave;
use vipcast::plan::step::{Executor, Target};
use vipcast::plan::{Change, ModelNode, Planner, Report, Step};

use super::daemon::{Flavour, Gobgpd, each_gobgpd, free_port, until};
use super::{absent, done, identity, path, prefix, read};
use crate::support::build::listed;

/// The addresses of our peer, of the owner's, and of the shared gobgpd.
const OURS: &str = "127.0.0.22";
const THEIRS: &str = "127.0.0.23";
const SHARED: &str = "127.0.0.21";

fn hosts(addresses: &[&str]) -> BTreeSet<Prefix> {
    addresses.iter().map(|address| Prefix::host(address.parse().unwrap())).collect()
}

/// A path with a next hop that gobgpd takes from a neighbour.
fn far_path() -> Path {
    path(NextHop::Address("192.0.2.1".parse().unwrap()), &[])
}

/// A gobgpd at `address` that announces `prefix` to the shared one. It listens on `listen_port`, or connects to `port`.
async fn neighbor(
    flavour: Flavour,
    address: &str,
    asn: u32,
    prefix: Prefix,
    listen_port: Option<u16>,
    port: u16,
) -> Gobgpd {
    let gobgpd = Gobgpd::start(flavour).await;
    let router_id = address.parse().unwrap();
    let shared = Peer {
        asn: identity().asn,
        port,
        local_address: Some(address.parse().unwrap()),
        ttl: Ttl::Multihop(2),
        ..absent()
    };
    let start = Step::StartBgp(Global { asn, router_id, listen_port });
    let add = Step::AddPeer(SHARED.parse().unwrap(), shared);
    done(&mut gobgpd.speaker(), [start, Step::Announce(prefix, far_path()), add]).await;
    gobgpd
}

/// All that is there of policies. Only the assignment has an order.
async fn policies(gobgpd: &Gobgpd) -> (String, BTreeSet<String>) {
    let mut lines = BTreeSet::new();
    for listing in ["policy", "policy statement", "policy neighbor", "policy prefix"] {
        lines.extend(gobgpd.gobgp(listing).await.lines().map(str::to_owned));
    }
    (gobgpd.gobgp("global policy").await, lines)
}

async fn only_what_our_peers_send_is_rejected(flavour: Flavour) {
    let (their_route, our_peers_route) = (prefix("198.51.100.0/24"), prefix("203.0.113.0/24"));
    let (shared_port, port) = (free_port(), free_port());
    let shared = Gobgpd::start(flavour).await;
    let mut speaker = shared.speaker();
    let global = Global { listen_port: Some(shared_port), ..identity() };
    done(&mut speaker, [Step::StartBgp(global)]).await;

    // The owner's part: two policies, in an order that no sorting makes, and a peer that sends a route.
    for name in ["zeta", "alpha"] {
        shared.gobgp(&format!("policy prefix add {name} 192.0.2.0/24")).await;
        shared.gobgp(&format!("policy statement {name} add condition prefix {name}")).await;
        shared.gobgp(&format!("policy statement {name} add action reject")).await;
        shared.gobgp(&format!("policy add {name} {name}")).await;
    }
    shared.gobgp("global policy import add zeta alpha default accept").await;
    shared.gobgp(&format!("neighbor add {THEIRS} as 65002")).await;
    let before = policies(&shared).await;
    assert!(before.0.find("zeta").unwrap() < before.0.find("alpha").unwrap(), "{}", before.0);

    // Ours.
    let reject = Step::RejectImports(hosts(&[OURS]));
    let our_peer = Peer { port, local_address: Some(SHARED.parse().unwrap()), ttl: Ttl::Multihop(2), ..absent() };
    let (address, range): (IpAddr, _) = (OURS.parse().unwrap(), prefix("10.96.0.0/16"));
    done(&mut speaker, [reject, Step::Announce(range, far_path()), Step::AddPeer(address.into(), our_peer)]).await;
    assert_eq!(read(&mut speaker).await.rejected, Some(hosts(&[OURS])));
    let tor = neighbor(flavour.other(), OURS, 65000, our_peers_route, Some(port), free_port()).await;
    let their_peer = neighbor(flavour, THEIRS, 65002, their_route, None, shared_port).await;

    for gobgpd in [&tor, &their_peer] {
        until("our route arrives", async || {
            gobgpd.gobgp("global rib").await.contains(&range.to_string()).then_some(())
        })
        .await;
    }
    for (from, route) in [(OURS, our_peers_route), (THEIRS, their_route)] {
        let adj_in = format!("neighbor {from} adj-in");
        until("a route comes in", async || shared.gobgp(&adj_in).await.contains(&route.to_string()).then_some(()))
            .await;
    }
    let check = async |what: &str| {
        let rib = shared.gobgp("global rib").await;
        assert!(rib.contains(&their_route.to_string()), "{what}: {rib}");
        assert!(!rib.contains(&our_peers_route.to_string()), "{what}: {rib}");
        assert!(rib.contains(&range.to_string()), "{what}: {rib}");
    };
    check("at first").await;

    // Other sets; for each, all routes go through the policies again.
    for rejected in [&[OURS, "127.0.0.99", "2001:db8::1"][..], &[OURS, "127.0.0.98"], &[OURS]] {
        done(&mut speaker, [Step::RejectImports(hosts(rejected))]).await;
        assert_eq!(read(&mut speaker).await.rejected, Some(hosts(rejected)));
        shared.gobgp("neighbor all softresetin").await;
        check(&format!("{rejected:?}")).await;
    }

    let nobody = Step::RejectImports(BTreeSet::new());
    done(&mut speaker, [Step::DeletePeer(address.into()), nobody.clone()]).await;
    assert_eq!(read(&mut speaker).await.rejected, None);
    assert_eq!(policies(&shared).await, before);
    check("after all").await;
    done(&mut speaker, [nobody]).await;
    assert_eq!(policies(&shared).await, before);
}

async fn whatever_is_left_of_the_import_policy_is_seen_mended_and_removed(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    done(&mut speaker, [Step::StartBgp(identity())]).await;
    let (_, before) = policies(&gobgpd).await;
    for damage in [
        &["global policy import del"][..],
        &["global policy import del", "policy del vipcast-reject-imports"],
        &["policy del vipcast-reject-imports"],
        &["policy neighbor del vipcast-neighbors 127.0.0.22/32"],
    ] {
        for _ in 0..2 {
            done(&mut speaker, [Step::RejectImports(hosts(&[OURS]))]).await;
            assert_eq!(read(&mut speaker).await.rejected, Some(hosts(&[OURS])), "{damage:?}");
            for words in damage {
                gobgpd.gobgp(words).await;
            }
            assert!(read(&mut speaker).await.rejected.is_some(), "{damage:?}");
        }
        done(&mut speaker, [Step::RejectImports(BTreeSet::new())]).await;
        assert_eq!(read(&mut speaker).await.rejected, None, "{damage:?}");
        // Deleting the assignment unset its default action too, and what others do to that is not undone.
        let (assignment, others) = policies(&gobgpd).await;
        assert!(!assignment.contains("vipcast"), "{damage:?}: {assignment}");
        assert_eq!(others, before, "{damage:?}");
    }
}

/// What a planner with these peers does to gobgpd until nothing is left to do.
async fn steps(speaker: &mut Speaker, peers: &[&str], leave: Option<Leave>) -> Vec<Step> {
    let entry = |address: &&str| PeerEntry::new(address.parse::<PeerName>().unwrap(), absent());
    let bgp = BgpSettings {
        asn: identity().asn,
        router_id: None,
        listen_port: None,
        exclusive: false,
        next_hop_ipv4: NextHop::Own,
        next_hop_ipv6: NextHop::Own,
        attributes: Attributes::default(),
        max_specifics: 64,
        graceful_restart: None,
        peers: peers.iter().map(entry).collect(),
    };
    let settings = Settings {
        node: "lb1".to_owned(),
        node_selector: Selector::default(),
        node_ips: Vec::new(),
        cluster_ips: Some(Vec::new()),
        allowed: Vec::new(),
        dataplane: Dataplane { snat: Snat::None, ..Dataplane::default() },
        bgp: Some(bgp),
        bfd: Default::default(),
        lease: Default::default(),
        proof: Default::default(),
        brake: Default::default(),
        drain: Default::default(),
        withdraw_delay: Duration::ZERO,
        resync: Duration::from_secs(300),
    };
    let (mut planner, mut node) = (Planner::new(settings, Time::ZERO), ModelNode::default());
    planner.apply(Change::SpeakerUp, Time::ZERO);
    for event in listed([]) {
        planner.apply(Change::Source(event), Time::ZERO);
    }
    if let Some(leave) = leave {
        planner.apply(Change::Leave(leave), Time::ZERO);
    }
    let mut performed = Vec::new();
    for _ in 0..100 {
        let plan = planner.plan(Time::ZERO);
        if plan.steps.is_empty() && plan.wake_at != Some(Time::ZERO) {
            assert_eq!(plan.finished, leave.is_some());
            return performed;
        }
        for step in plan.steps {
            let report = if step.target() == Target::Bgp {
                performed.extend(Some(step.clone()).filter(|step| !step.is_read()));
                speaker.perform(vec![step]).await.remove(0)
            } else {
                Report { outcome: node.perform_one(&step), step }
            };
            planner.apply(Change::Report(report), Time::ZERO);
        }
    }
    panic!("no end: {performed:?}");
}

async fn the_planner_rejects_what_our_peers_send_while_they_are_there(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    done(&mut speaker, [Step::StartBgp(identity())]).await;
    gobgpd.gobgp(&format!("neighbor add {THEIRS} as 65002")).await;
    let before = policies(&gobgpd).await;
    let (next, address) = ("127.0.0.24", |text: &str| text.parse::<PeerName>().unwrap());

    assert_eq!(steps(&mut speaker, &[], None).await, []);
    // A peer that is somebody else's stays so, whatever is configured.
    let expected = [Step::RejectImports(hosts(&[OURS])), Step::AddPeer(address(OURS), absent())];
    assert_eq!(steps(&mut speaker, &[OURS, THEIRS], None).await, expected);
    assert_eq!(steps(&mut speaker, &[OURS, THEIRS], None).await, []);

    let expected = [
        Step::RejectImports(hosts(&[OURS, next])),
        Step::DeletePeer(address(OURS)),
        Step::AddPeer(address(next), absent()),
        Step::RejectImports(hosts(&[next])),
    ];
    assert_eq!(steps(&mut speaker, &[next], None).await, expected);

    let expected = [Step::DeletePeer(address(next)), Step::RejectImports(BTreeSet::new())];
    assert_eq!(steps(&mut speaker, &[next], Some(Leave::Remove)).await, expected);
    assert_eq!(policies(&gobgpd).await, before);
    assert_eq!(read(&mut speaker).await.foreign_peers, [address(THEIRS)].into());
}

each_gobgpd!(
    only_what_our_peers_send_is_rejected,
    whatever_is_left_of_the_import_policy_is_seen_mended_and_removed,
    the_planner_rejects_what_our_peers_send_while_they_are_there,
);
