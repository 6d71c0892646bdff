//! gobgpd goes away, comes back, answers late or not at all.

use std::collections::BTreeSet;
use std::time::Duration;

use vipcast::model::bgp::{Bgp, Global, PeerName};
use vipcast::model::node::Node;
use vipcast::model::{Event, Kind, Object, Settings};
use vipcast::plan::change::Leave;
use vipcast::plan::pass::is_for_speaker;
use vipcast::plan::{Change, Outcome, Report, Step, bgp};

use crate::support::build::{cidr, dual_stack, gone, host_routes, ip, prefix, settings, slice, web};
use crate::support::rig::Rig;

fn at_rest(settings: Settings) -> Rig {
    let mut rig = Rig::new(settings);
    rig.list(web()).run();
    rig
}

/// The next steps for gobgpd, nothing else being done first.
fn speaker_steps(rig: &mut Rig) -> Vec<Step> {
    let (speaker, kernel): (Vec<Step>, Vec<Step>) =
        rig.planner.plan(rig.now).steps.into_iter().partition(is_for_speaker);
    finish(rig, kernel);
    speaker
}

fn words(steps: &[Step]) -> Vec<String> {
    steps.iter().map(Step::to_string).collect()
}

/// Performs kernel steps until the planner has one for gobgpd, which is not performed.
fn until_speaker(rig: &mut Rig) -> Vec<Step> {
    for _ in 0..100 {
        let (speaker, kernel): (Vec<Step>, Vec<Step>) =
            rig.planner.plan(rig.now).steps.into_iter().partition(is_for_speaker);
        finish(rig, kernel);
        if !speaker.is_empty() {
            return speaker;
        }
    }
    panic!("no step for gobgpd")
}

fn perform(rig: &mut Rig, steps: Vec<Step>) -> Vec<Report> {
    let report = |step: Step| Report { outcome: rig.node.perform_one(&step), step };
    steps.into_iter().map(report).collect()
}

fn finish(rig: &mut Rig, steps: Vec<Step>) {
    for report in perform(rig, steps) {
        rig.change(Change::Report(report));
    }
}

fn no_endpoints() -> Event {
    slice("web-4", "web", &[("http", 8080)], &[])
}

/// StartBgp on a running gobgpd empties its table.
#[test]
fn a_report_that_comes_after_gobgpd_went_away_says_nothing_of_the_next_one() {
    let mut rig = at_rest(host_routes());
    rig.tell(no_endpoints());
    let steps = speaker_steps(&mut rig);
    assert_eq!(words(&steps), ["withdraw 10.96.0.10/32"]);
    let reports = perform(&mut rig, steps);
    rig.change(Change::SpeakerDown("no answer".into()));
    for report in reports {
        rig.change(Change::Report(report));
    }
    assert_eq!(words(&speaker_steps(&mut rig)), Vec::<String>::new());
    rig.change(Change::SpeakerUp);
    assert_eq!(words(&speaker_steps(&mut rig)), ["read gobgpd"]);
}

/// gobgpd restarted while it was being read: what was read is the old one's.
#[test]
fn a_reading_that_began_before_gobgpd_came_back_counts_for_nothing() {
    let mut rig = at_rest(dual_stack());
    rig.change(Change::SpeakerMoved);
    let steps = speaker_steps(&mut rig);
    let old = perform(&mut rig, steps);
    rig.change(Change::SpeakerDown("killed".into()));
    rig.node.state.bgp = None;
    rig.change(Change::SpeakerUp);
    for report in old {
        rig.change(Change::Report(report));
    }
    assert!(rig.planner.actual().bgp.is_none());
    rig.run();
    assert_eq!(rig.node.state.bgp.unwrap().paths.len(), 2);
}

/// The route is on its way out when its last endpoint goes: the virtual server stays until it is back in.
#[test]
fn a_host_route_that_is_on_its_way_holds_its_virtual_server() {
    let mut rig = Rig::new(host_routes());
    rig.list(web());
    let start = until_speaker(&mut rig);
    assert_eq!(words(&start), ["read gobgpd"]);
    finish(&mut rig, start);
    let mut announce = Vec::new();
    while words(&announce) != ["announce 10.96.0.10/32"] {
        finish(&mut rig, announce);
        announce = until_speaker(&mut rig);
    }
    rig.tell(no_endpoints());
    rig.now = rig.now + Duration::from_secs(60);
    assert_eq!(words(&speaker_steps(&mut rig)), Vec::<String>::new());
    finish(&mut rig, announce);
    let stages = rig.run();
    let steps: Vec<_> = stages.iter().flat_map(|s| s.steps.iter().map(|step| (s.after, step.to_string()))).collect();
    let at = |text: &str| steps.iter().find(|(_, step)| step == text).map(|(after, _)| *after);
    assert_eq!(at("withdraw 10.96.0.10/32"), Some(Duration::ZERO), "{steps:#?}");
    assert_eq!(at("delete virtual server 10.96.0.10:80 TCP"), Some(Duration::from_secs(2)), "{steps:#?}");
}

/// The endpoint comes back while its route is being withdrawn.
#[test]
fn a_host_route_that_is_wanted_again_during_its_withdrawal_comes_back() {
    let mut rig = at_rest(host_routes());
    rig.tell(no_endpoints());
    let withdraw = speaker_steps(&mut rig);
    assert_eq!(words(&withdraw), ["withdraw 10.96.0.10/32"]);
    rig.tell_all(web());
    assert_eq!(words(&speaker_steps(&mut rig)), Vec::<String>::new());
    finish(&mut rig, withdraw);
    let steps = rig.steps();
    assert!(steps.contains(&"announce 10.96.0.10/32".to_owned()), "{steps:#?}");
    assert!(!steps.iter().any(|step| step.starts_with("delete virtual server")), "{steps:#?}");
}

/// gobgpd took the path, and its answer was lost: the agent must not leave it behind.
#[test]
fn a_path_whose_answer_was_lost_is_withdrawn_all_the_same() {
    let mut rig = at_rest(host_routes());
    rig.tell(no_endpoints()).run();
    rig.tell_all(web());
    let announce = until_speaker(&mut rig);
    assert_eq!(words(&announce), ["announce 10.96.0.10/32"]);
    for Report { step, .. } in perform(&mut rig, announce) {
        rig.change(Change::Report(Report { step, outcome: Outcome::Later("timeout".into()) }));
    }
    rig.change(Change::Leave(Leave::Withdraw));
    assert_eq!(rig.steps(), ["withdraw 10.96.0.10/32"]);
    assert_eq!(rig.node.state.bgp.unwrap().paths.len(), 0);
}

/// The same, but the agent stays: until it has looked, it removes nothing that the path may promise.
#[test]
fn a_path_whose_answer_was_lost_holds_its_virtual_server() {
    let mut rig = at_rest(host_routes());
    rig.tell(no_endpoints()).run();
    rig.tell_all(web());
    let announce = until_speaker(&mut rig);
    rig.now = rig.now + Duration::from_secs(60);
    for Report { step, .. } in perform(&mut rig, announce) {
        rig.change(Change::Report(Report { step, outcome: Outcome::Later("timeout".into()) }));
    }
    rig.tell(no_endpoints());
    let steps = words(&rig.planner.plan(rig.now).steps);
    assert!(
        !steps.iter().any(|step| step.starts_with("delete")) && steps.contains(&"read gobgpd".to_owned()),
        "{steps:#?}"
    );
}

/// The agent is asked to leave while it announces.
#[test]
fn a_path_on_its_way_is_waited_for_and_withdrawn() {
    let mut rig = at_rest(host_routes());
    rig.tell(no_endpoints()).run();
    rig.tell_all(web());
    let announce = until_speaker(&mut rig);
    rig.now = rig.now + Duration::from_secs(60);
    rig.change(Change::Leave(Leave::Withdraw));
    assert!(!rig.planner.plan(rig.now).finished);
    finish(&mut rig, announce);
    assert_eq!(rig.steps(), ["withdraw 10.96.0.10/32"]);
    assert!(rig.planner.plan(rig.now).finished);
}

/// Steps that failed while gobgpd was away are tried as soon as it is back, not when their time comes.
#[test]
fn gobgpd_that_is_back_is_told_everything_at_once() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web());
    for _ in 0..2000 {
        for step in rig.planner.plan(rig.now).steps {
            let outcome =
                if is_for_speaker(&step) { Outcome::Later("timeout".into()) } else { rig.node.perform_one(&step) };
            rig.change(Change::Report(Report { step, outcome }));
        }
        rig.now = rig.now + Duration::from_millis(100);
    }
    rig.change(Change::SpeakerDown("no answer".into())).change(Change::SpeakerUp);
    let before = rig.now;
    let announced =
        rig.run().into_iter().find(|stage| stage.steps.iter().any(|s| s.to_string().starts_with("announce")));
    assert_eq!(announced.map(|stage| stage.after), Some(Duration::ZERO), "at {before:?}");
}

/// The agent before this one may have withdrawn a path a moment ago.
#[test]
fn a_new_agent_gives_peers_time_before_it_removes_what_an_earlier_one_left() {
    let mut rig = at_rest(dual_stack());
    rig.node.state.bgp.as_mut().unwrap().paths.remove(&prefix("fd00:10:96::/112"));
    let mut settings = dual_stack();
    settings.cluster_ips.as_mut().unwrap().pop();
    let mut next = Rig::on(settings, rig.node.clone());
    let stages = next.list(web()).run();
    let touching: Vec<_> = stages.iter().filter(|stage| !stage.steps.is_empty()).collect();
    assert!(touching.iter().all(|stage| stage.after >= Duration::from_secs(2)), "{stages:#?}");
    assert_eq!(next.node.state.addr.routes.len(), 1);
}

/// A router ID ends all sessions when it changes, so it is not taken from what happens to be known first.
#[test]
fn the_router_id_waits_for_the_node_object() {
    let mut settings = dual_stack();
    settings.node_ips.clear();
    let mut rig = Rig::new(settings);
    rig.node.host.default_addresses = vec![ip("192.0.2.7")];
    assert_eq!(rig.steps(), Vec::<String>::new());
    let node = Node { addresses: vec![ip("10.0.1.2")], ..Default::default() };
    rig.list([Event::Put(Object::Node(node))]).run();
    assert_eq!(rig.node.state.bgp.unwrap().global.unwrap().router_id.to_string(), "10.0.1.2");
}

/// In a gobgpd that others use too, what is ours is told by the ranges and the routes: those have to be known first.
#[test]
fn a_shared_gobgpd_is_read_when_our_routes_are_known() {
    let mut shared = dual_stack();
    shared.bgp.as_mut().unwrap().exclusive = false;
    let rig = at_rest(shared.clone());
    shared.cluster_ips.as_mut().unwrap().remove(0);
    let mut next = Rig::on(shared, rig.node);
    let first = next.planner.plan(next.now).steps;
    assert_eq!(words(&first), ["read the host"]);
    finish(&mut next, first);
    next.list(web()).run();
    let paths: Vec<_> = next.node.state.bgp.unwrap().paths.keys().copied().collect();
    assert_eq!(paths, [prefix("fd00:10:96::/112")]);
}

/// The range goes, its route is gone already (somebody deleted it), and the path is still withdrawn.
#[test]
fn a_path_of_our_own_stays_ours_in_a_shared_gobgpd() {
    let mut shared = dual_stack();
    shared.cluster_ips = None;
    shared.bgp.as_mut().unwrap().exclusive = false;
    let mut rig = Rig::new(shared);
    rig.list(web().into_iter().chain([cidr("a", &["10.96.0.0/16"])])).run();
    rig.node.state.addr = Default::default();
    rig.change(Change::HostMoved).tell(gone(Kind::ServiceCidr, "a")).run();
    assert_eq!(rig.node.state.bgp.unwrap().paths.len(), 0);
}

#[test]
fn in_a_shared_gobgpd_only_our_peers_are_rejected() {
    let mut settings = settings(&[]).bgp.unwrap();
    let peers = settings.peers_of(&Default::default());
    let peer = peers[&ip("10.0.1.1").into()].peer.clone();
    let mut actual = Bgp { peers: [(ip("10.0.1.9").into(), peer)].into(), ..Bgp::default() };
    let mut expect = |exclusive: bool, actual: &Bgp, texts: &[&str]| {
        settings.exclusive = exclusive;
        let expected = Some(texts.iter().map(|text| text.parse().unwrap()).collect());
        assert_eq!(bgp::rejected(&settings, &peers, actual), expected.filter(|set: &BTreeSet<_>| !set.is_empty()));
    };
    expect(true, &actual, &["0.0.0.0/0", "::/0"]);
    expect(false, &actual, &["10.0.1.1/32", "10.0.1.9/32", "fd01::1/128"]);
    actual.foreign_peers = [ip("10.0.1.1"), ip("10.0.1.7")].map(PeerName::from).into();
    expect(false, &actual, &["10.0.1.9/32", "fd01::1/128"]);
    actual.peers.clear();
    actual.foreign_peers.insert(ip("fd01::1").into());
    expect(false, &actual, &[]);
}

#[test]
fn somebody_elses_gobgpd_may_listen_where_it_likes() {
    let mut settings = dual_stack();
    settings.bgp.as_mut().unwrap().exclusive = false;
    let mut rig = Rig::new(settings);
    let global = Global { asn: 65001, router_id: "10.0.1.2".parse().unwrap(), listen_port: Some(179) };
    rig.node.state.bgp = Some(Bgp { global: Some(global), ..Bgp::default() });
    rig.list(web()).run();
    let bgp = rig.node.state.bgp.unwrap();
    assert_eq!(bgp.global, Some(global));
    assert_eq!((bgp.paths.len(), bgp.peers.len()), (2, 2));
}

/// What helps gobgpd in a graceful restart drops the routes that do not come before End-of-RIB.
#[test]
fn peers_of_a_restarted_gobgpd_wait_for_routes_that_wait_for_a_reading() {
    for (graceful, waits) in [(Some(Duration::from_secs(30)), true), (None, false)] {
        let mut settings = dual_stack();
        settings.bgp.as_mut().unwrap().graceful_restart = graceful;
        let mut rig = at_rest(settings);
        let before = rig.node.state.bgp.clone();
        rig.change(Change::SpeakerDown("killed".into()));
        rig.node.state.bgp = Some(Bgp::default());
        rig.change(Change::SpeakerUp).change(Change::HostMoved);
        let adds_peer = |steps: &[Step]| steps.iter().any(|step| matches!(step, Step::AddPeer(..)));
        let announces = |steps: &[Step]| steps.iter().any(|step| matches!(step, Step::Announce(..)));
        // The reading takes a while; gobgpd is quicker.
        let (mut reading, mut early) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let (speaker, kernel): (Vec<Step>, Vec<Step>) =
                rig.planner.plan(rig.now).steps.into_iter().partition(is_for_speaker);
            reading.extend(kernel);
            early.extend(speaker.clone());
            finish(&mut rig, speaker);
        }
        assert_eq!((adds_peer(&early), announces(&early)), (!waits, false), "{early:#?}");
        finish(&mut rig, reading);
        rig.run();
        assert_eq!(rig.node.state.bgp, before);
    }
}
