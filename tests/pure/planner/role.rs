//! Labels of the Node: what makes a node serve and stand by, which peers and routes it has; and its addresses.

use std::time::Duration;

use vipcast::model::addr::LocalRoute;
use vipcast::model::bgp::Peer;
use vipcast::model::node::Node;
use vipcast::model::settings::{Announce, PeerEntry};
use vipcast::model::{Event, Kind, Object, Prefix, Settings};
use vipcast::plan::change::Leave;
use vipcast::plan::pass::is_for_speaker;
use vipcast::plan::rehearse::Stage;
use vipcast::plan::{Change, ModelNode, Outcome, Report, Step};

use super::position;
use crate::support::build::{
    DESTINATION, dual_stack, endpoint, gone, host, host_routes, ip, labels, node, prefix, range, selector, settings,
    tcp, web,
};
use crate::support::rig::Rig;

/// LB nodes have the label role=lb.
fn labelled(settings: Settings) -> Settings {
    Settings { node_selector: selector("role=lb"), ..settings }
}

fn with(labels: &str) -> Vec<Event> {
    web().into_iter().chain([node(labels)]).collect()
}

/// A node that serves `web`.
fn serving(settings: Settings) -> Rig {
    let mut rig = Rig::new(settings);
    rig.list(with("role=lb")).run();
    assert!(rig.planner.status().ready, "{:?}", rig.planner.status());
    rig
}

fn assert_bare(node: &ModelNode) {
    let state = &node.state;
    assert!(state.ipvs.is_empty() && state.addr == Default::default() && state.nft == Default::default(), "{state:#?}");
    let bgp = state.bgp.as_ref().unwrap();
    assert!(bgp.paths.is_empty() && bgp.peers.is_empty() && bgp.rejected.is_none(), "{bgp:#?}");
}

#[test]
fn a_label_taken_away_withdraws_first_and_leaves_nothing_and_one_given_back_brings_all_back() {
    for settings in [dual_stack(), host_routes()] {
        let mut rig = serving(labelled(settings));
        let before = rig.node.state.clone();
        rig.tell(node("role=worker"));
        let stages = rig.run();
        // It is drained first; then what is ours goes, when peers had time to hear of it.
        let is_route = |step: &Step| matches!(step, Step::Withdraw(_) | Step::Announce(..));
        let withdraws = |stage: &&Stage| stage.steps.iter().any(|step| matches!(step, Step::Withdraw(_)));
        let withdrawn = stages.iter().rfind(withdraws).unwrap().after;
        let mut removed = stages.iter().filter(|stage| !stage.steps.iter().all(is_route));
        assert!(removed.all(|stage| stage.after >= withdrawn + Duration::from_secs(2)), "{stages:#?}");
        assert_bare(&rig.node);
        let status = rig.planner.status();
        assert_eq!((status.ready, status.leaving, status.role.as_str()), (false, false, "standing by"));
        assert_eq!(status.reasons, ["this node has not the label role=lb: standing by"]);

        // At rest, a resync included, nothing is done.
        rig.tell_all(web());
        rig.now = rig.planner.next_resync();
        assert_eq!(rig.steps(), Vec::<String>::new());

        rig.tell(node("role=lb"));
        let steps = rig.steps();
        assert!(position(&steps, "set local route") < position(&steps, "announce"), "{steps:#?}");
        assert_eq!(rig.node.state, before);
        assert!(rig.planner.status().ready);
    }
}

#[test]
fn a_node_that_was_deleted_stands_by() {
    let mut rig = serving(labelled(dual_stack()));
    rig.tell(gone(Kind::Node, "lb1")).run();
    assert_bare(&rig.node);
    assert_eq!(rig.planner.status().reasons, ["the Node lb1 was deleted: standing by"]);
}

#[test]
fn a_node_that_was_never_seen_freezes_what_an_earlier_run_left() {
    let before = serving(labelled(dual_stack()));
    let mut next = Rig::on(labelled(dual_stack()), before.node.clone());
    assert_eq!(next.list(web()).steps(), Vec::<String>::new());
    let status = next.planner.status();
    assert_eq!((status.ready, status.role.as_str()), (false, "frozen"));
    assert!(
        status.reasons[0].starts_with("there is no Node lb1") && status.reasons[0].contains("`node`"),
        "{status:?}"
    );
    next.now = next.planner.next_resync();
    assert_eq!(next.steps(), Vec::<String>::new());
    assert_eq!(next.node.state, before.node.state);
    // It registers later.
    assert_eq!(next.tell(node("role=lb")).steps(), Vec::<String>::new());
    assert!(next.planner.status().ready);
}

/// A node of somebody else's: nothing is begun, gobgpd's BGP included.
#[test]
fn a_node_without_the_label_begins_nothing() {
    let mut settings = labelled(dual_stack());
    settings.bgp.as_mut().unwrap().router_id = Some("10.0.1.2".parse().unwrap());
    let mut rig = Rig::new(settings);
    assert_eq!(rig.steps(), Vec::<String>::new(), "nothing is known yet");
    assert_eq!(rig.planner.status().role, "unknown");
    assert_eq!(rig.list(with("")).steps(), Vec::<String>::new());
}

/// What an earlier run left goes; kube-proxy's virtual servers on a node that was never ours stay.
#[test]
fn who_stands_by_removes_what_an_agent_left_and_nothing_of_those_who_serve_there_now() {
    let left = serving(labelled(dual_stack())).node;
    let mut next = Rig::on(labelled(dual_stack()), left.clone());
    next.list(with("")).run();
    assert_bare(&next.node);

    let mut others = ModelNode { host: host(), ..ModelNode::default() };
    others.state.ipvs = left.state.ipvs;
    for leave in [None, Some(Leave::Remove)] {
        let mut rig = Rig::on(labelled(dual_stack()), others.clone());
        rig.list(with(""));
        if let Some(leave) = leave {
            rig.change(Change::Leave(leave));
        }
        assert_eq!(rig.steps(), Vec::<String>::new(), "{leave:?}");
        rig.now = rig.planner.next_resync();
        assert_eq!(rig.steps(), Vec::<String>::new(), "{leave:?}");
        assert_eq!(rig.planner.plan(rig.now).finished, leave.is_some());
    }
    // With the label the range is ours, and so is what lies in it.
    let mut rig = Rig::on(labelled(dual_stack()), others);
    let server = rig.node.state.ipvs.values_mut().next().unwrap();
    server.destinations.insert(endpoint("192.0.2.99", 99), DESTINATION);
    let steps = rig.list(with("role=lb")).steps();
    assert!(steps.iter().any(|step| step.starts_with("delete destination 192.0.2.99:99")), "{steps:#?}");
    assert!(rig.node.state.ipvs.contains_key(&tcp("10.96.0.10", 80)));
}

#[test]
fn labels_that_nothing_asks_for_cost_nothing() {
    for settings in [dual_stack(), labelled(dual_stack())] {
        let mut rig = serving(settings);
        rig.tell(node("role=lb rack=b"));
        let plan = rig.planner.plan(rig.now);
        assert_eq!((plan.steps, plan.news), (Vec::new(), Vec::new()), "not even a reading");
    }
}

#[test]
fn without_a_selector_every_node_serves_with_or_without_a_node_object() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    assert_eq!(rig.planner.status().role, "serving");
    rig.tell(node("")).tell(gone(Kind::Node, "lb1"));
    assert_eq!(rig.steps(), Vec::<String>::new());
}

/// Peers of two racks in one file: 10.0.1.1 in both, as another AS, fd01::1 everywhere.
fn racks() -> Settings {
    let mut settings = dual_stack();
    let bgp = settings.bgp.as_mut().unwrap();
    let ipv4 = bgp.peers.remove(0);
    let entry = |rack, asn| PeerEntry {
        node_selector: selector(rack),
        peer: Peer { asn, ..ipv4.peer.clone() },
        ..ipv4.clone()
    };
    bgp.peers.extend([entry("rack=a", 64601), entry("rack=b", 64602), entry("zone=z", 64603)]);
    settings
}

fn peers(rig: &Rig) -> Vec<(String, u32)> {
    let bgp = rig.node.state.bgp.as_ref().unwrap();
    bgp.peers.iter().map(|(address, peer)| (address.to_string(), peer.asn)).collect()
}

fn with_rack(rack: &str) -> impl Iterator<Item = Event> {
    web().into_iter().chain([node(rack)])
}

#[test]
fn peers_follow_the_labels_and_only_those_concerned_move() {
    let mut rig = Rig::new(racks());
    rig.list(with_rack("rack=a")).run();
    let expect = |rig: &Rig, asn: Option<u32>| {
        let ipv4 = asn.map(|asn| ("10.0.1.1".to_owned(), asn));
        assert_eq!(peers(rig), ipv4.into_iter().chain([("fd01::1".to_owned(), 65000)]).collect::<Vec<_>>());
    };
    expect(&rig, Some(64601));
    let steps = rig.tell(node("rack=b")).steps();
    assert_eq!(steps.len(), 2, "{steps:#?}");
    assert!(steps[0] == "delete peer 10.0.1.1" && steps[1].starts_with("add peer 10.0.1.1"), "{steps:#?}");
    expect(&rig, Some(64602));
    // Without a peer of its family, the route of that family cannot go out; the other one is not touched.
    let steps = rig.tell(node("rack=c")).steps();
    assert_eq!(steps.iter().filter(|step| step.starts_with("delete peer")).count(), 1, "{steps:#?}");
    assert!(!steps.iter().any(|step| step.contains("fd0")), "{steps:#?}");
    expect(&rig, None);
    let status = rig.planner.status();
    let reason = "range 10.96.0.0/16: none of bgp.peers that select this node by its labels carries IPv4 routes";
    assert!(status.reasons.contains(&reason.to_owned()), "{:?}", status.reasons);
    let steps = rig.tell(node("rack=a")).steps();
    assert!(steps.contains(&"announce 10.96.0.0/16".to_owned()), "{steps:#?}");
    expect(&rig, Some(64601));
    assert!(rig.planner.status().ready);
}

#[test]
fn of_several_entries_for_one_address_the_first_counts_and_the_status_names_them() {
    let mut rig = Rig::new(racks());
    let stages = rig.list(with_rack("rack=b zone=z")).run();
    assert_eq!(peers(&rig)[0].1, 64602);
    let status = rig.planner.status();
    let problems: Vec<_> = status.bgp.unwrap().peers.into_iter().filter_map(|peer| peer.problem).collect();
    let words = "bgp.peers[2] and bgp.peers[3] select this node; the first counts";
    assert_eq!(problems, [words]);
    assert!(status.ready);
    let news: Vec<String> = stages.iter().flat_map(|stage| &stage.news).map(ToString::to_string).collect();
    assert!(news.contains(&format!("peer 10.0.1.1: {words}")), "{news:#?}");
}

/// Before the labels are known, the peers that are there stay: a restart resets no session.
#[test]
fn adopted_peers_stay_until_the_labels_are_known() {
    let mut rig = Rig::new(racks());
    rig.list(with_rack("rack=a")).run();
    let mut settings = racks();
    settings.bgp.as_mut().unwrap().router_id = Some("10.0.1.2".parse().unwrap());
    for shared in [false, true] {
        settings.bgp.as_mut().unwrap().exclusive = !shared;
        let mut next = Rig::on(settings.clone(), rig.node.clone());
        assert_eq!(next.steps(), Vec::<String>::new());
        assert_eq!(next.list(web()).steps(), Vec::<String>::new(), "listed, and no Node among the objects");
        let steps = next.tell(node("rack=a")).steps();
        assert!(!steps.iter().any(|step| step.contains(" peer ")), "{steps:#?}");
    }
}

/// A node that does not announce a range forwards it all the same.
#[test]
fn a_range_is_announced_by_the_nodes_that_it_selects() {
    let mut ranges = [range("10.96.0.0/16", Announce::Aggregate), range("10.97.0.0/16", Announce::Aggregate)];
    ranges[1].node_selector = selector("rack=a");
    let mut rig = Rig::new(settings(&ranges));
    let out = |rig: &Rig| -> Vec<Prefix> { rig.node.state.bgp.as_ref().unwrap().paths.keys().copied().collect() };
    rig.list(with_rack("rack=b")).run();
    assert_eq!(out(&rig), [prefix("10.96.0.0/16")]);
    assert!(rig.node.state.addr.routes.contains_key(&prefix("10.97.0.0/16")));
    assert!(rig.planner.status().ready);
    assert_eq!(rig.tell(node("rack=a")).steps(), ["announce 10.97.0.0/16"]);
    assert_eq!(rig.tell(node("")).steps(), ["withdraw 10.97.0.0/16"]);
}

/// gobgpd of our own dies while its routes are withdrawn, as when both pods of a node are deleted at once.
#[test]
fn removal_goes_on_when_our_own_gobgpd_dies_meanwhile() {
    for withdrawn in [0, 2] {
        for leave in [None, Some(Leave::Remove), Some(Leave::Withdraw)] {
            let mut rig = serving(labelled(dual_stack()));
            match leave {
                Some(leave) => rig.change(Change::Leave(leave)),
                None => rig.tell(node("")),
            };
            let mut answered = 0;
            let steps = rig.planner.plan(rig.now).steps;
            for step in steps {
                let outcome = if is_for_speaker(&step) && answered >= withdrawn {
                    Outcome::Later("connection refused".into())
                } else {
                    rig.node.perform_one(&step)
                };
                answered += usize::from(is_for_speaker(&step));
                rig.change(Change::Report(Report { step, outcome }));
            }
            rig.node.state.bgp = None;
            // That it cannot be reached says nothing yet.
            rig.change(Change::SpeakerDown("it closed the connection".into()));
            rig.now = rig.now + Duration::from_millis(500);
            rig.change(Change::SpeakerGone("connection refused".into()));
            let gone_at = rig.now;
            let stages = rig.run();
            let first = stages.iter().find(|stage| !stage.steps.is_empty()).map(|stage| stage.after);
            let delay = rig.planner.withdraw_delay();
            match leave {
                Some(Leave::Withdraw) => assert_eq!(first, None),
                // Whether connections are left is counted once more.
                None => assert!(first >= Some(delay), "{stages:#?}"),
                _ => assert_eq!(first, Some(delay), "{stages:#?}"),
            }
            assert_eq!(rig.planner.plan(rig.now).finished, leave.is_some());
            assert!(rig.now - gone_at >= delay);
            let state = &rig.node.state;
            let bare = state.ipvs.is_empty() && state.addr == Default::default() && state.nft == Default::default();
            assert_eq!(bare, leave != Some(Leave::Withdraw), "{leave:?}");
        }
    }
}

/// One that hangs goes on announcing, and so does one that others use.
#[test]
fn removal_waits_for_a_gobgpd_that_may_still_announce() {
    let mut shared = labelled(dual_stack());
    shared.bgp.as_mut().unwrap().exclusive = false;
    let changes = [
        (labelled(dual_stack()), Change::SpeakerDown("no answer".into())),
        (shared, Change::SpeakerGone("connection refused".into())),
    ];
    for (settings, change) in changes {
        let mut rig = serving(settings);
        rig.tell(node("")).change(change);
        assert_eq!(rig.steps(), Vec::<String>::new());
        let reasons = rig.planner.status().reasons;
        assert!(reasons.iter().any(|reason| reason.contains("gobgpd cannot be reached")), "{reasons:?}");
        rig.change(Change::SpeakerUp).run();
        assert_bare(&rig.node);
    }
}

/// The agent is told to end: what is known of the Node decides how.
#[test]
fn a_signal_asks_the_node_how_to_leave() {
    let shutting_down = {
        let Event::Put(Object::Node(known)) = node("role=lb") else { unreachable!("a Node is put") };
        Event::Put(Object::Node(Node { shutting_down: true, ..known }))
    };
    let cases = [
        (node("role=lb"), Leave::Keep),
        (node("role=lb rack=a"), Leave::Keep),
        (shutting_down, Leave::Withdraw),
        (node(""), Leave::Remove),
        (gone(Kind::Node, "lb1"), Leave::Remove),
    ];
    for (event, expected) in cases {
        let mut rig = serving(labelled(dual_stack()));
        let before = rig.node.state.clone();
        rig.tell(event).change(Change::End(Leave::Keep));
        assert_eq!(rig.planner.leaving(), Some(expected));
        rig.run();
        assert!(rig.planner.plan(rig.now).finished, "{expected:?}");
        match expected {
            Leave::Keep => assert_eq!(rig.node.state, before),
            Leave::Withdraw | Leave::Drain => assert!(rig.node.state.bgp.as_ref().unwrap().paths.is_empty()),
            Leave::Remove => assert_bare(&rig.node),
        }
        if expected == Leave::Withdraw {
            assert_eq!(rig.node.state.addr, before.addr, "the data plane stays");
        }
    }
}

fn with_addresses(addresses: &[&str]) -> Event {
    Event::Put(Object::Node(Node {
        addresses: addresses.iter().map(|address| ip(address)).collect(),
        labels: labels(""),
        ..Node::default()
    }))
}

fn source(rig: &Rig) -> Option<LocalRoute> {
    rig.node.state.addr.routes.get(&prefix("10.96.0.0/16")).copied()
}

fn from(address: &str) -> Option<LocalRoute> {
    Some(LocalRoute { source: Some(ip(address)), on_link: true })
}

/// The source of what the node itself sends to VIPs follows the Node; the router ID, whose change would end all sessions,
/// stays; and no route is withdrawn.
#[test]
fn the_source_follows_the_nodes_addresses_and_the_router_id_stays() {
    let mut settings = dual_stack();
    settings.node_ips.clear();
    let mut rig = Rig::new(settings);
    rig.node.host.addresses.insert(ip("10.0.1.3"));
    rig.list(web().into_iter().chain([with_addresses(&["10.0.1.2", "fd01::2"])])).run();
    assert_eq!(source(&rig), from("10.0.1.2"));
    rig.tell(with_addresses(&["10.0.1.3", "fd01::2"]));
    assert_eq!(rig.steps(), ["set local route 10.96.0.0/16 src 10.0.1.3"]);
    // One that no link has yet is not taken.
    rig.tell(with_addresses(&["10.0.1.4", "10.0.1.3", "fd01::2"]));
    assert_eq!(rig.steps(), Vec::<String>::new());
    rig.node.host.addresses.insert(ip("10.0.1.4"));
    assert_eq!(rig.change(Change::HostMoved).steps(), ["set local route 10.96.0.0/16 src 10.0.1.4"]);
    let router_id = rig.node.state.bgp.as_ref().unwrap().global.unwrap().router_id;
    assert_eq!(router_id.to_string(), "10.0.1.2");
    assert!(rig.planner.status().ready);
}

/// The first address vanishes from its link, and the kernel with it the routes that prefer it.
#[test]
fn the_second_address_takes_over_from_the_first() {
    let mut settings = dual_stack();
    settings.node_ips = vec![ip("10.0.1.2"), ip("10.0.1.3"), ip("fd01::2")];
    let mut rig = Rig::new(settings);
    rig.node.host.addresses.insert(ip("10.0.1.3"));
    rig.list(web()).run();
    rig.node.host.addresses.remove(&ip("10.0.1.2"));
    rig.node.state.addr.routes.remove(&prefix("10.96.0.0/16"));
    assert_eq!(rig.change(Change::HostMoved).steps(), ["set local route 10.96.0.0/16 src 10.0.1.3"]);
    rig.node.host.addresses.insert(ip("10.0.1.2"));
    assert_eq!(rig.change(Change::HostMoved).steps(), ["set local route 10.96.0.0/16 src 10.0.1.2"]);
    assert!(rig.planner.status().ready);
}
