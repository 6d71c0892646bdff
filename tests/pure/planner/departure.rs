//! A node is drained and comes back: by which causes, in which order, and what an operator sees of it.

use std::time::Duration;

use vipcast::model::bgp::Community;
use vipcast::model::fleet::{Stance, Verdict};
use vipcast::model::ipvs::Connections;
use vipcast::model::node::{DrainAsked, Node};
use vipcast::model::settings::{Drain, Taint};
use vipcast::model::{Event, Family, Object, Settings};
use vipcast::plan::away::{Commanded, Saved};
use vipcast::plan::change::{Command, Leave};
use vipcast::plan::{Change, Plan, Report, Step};

use super::position;
use crate::support::build::{dual_stack, endpoint, host, host_routes, node, selector, tcp, web};
use crate::support::rig::Rig;

const DRAIN: Change = Change::Command(Command::Drain { force: false });
const UNDRAIN: Change = Change::Command(Command::Undrain);

fn serving(settings: Settings) -> Rig {
    let mut rig = Rig::new(settings);
    rig.list(web()).run();
    rig.establish("10.0.1.1", Family::Ipv4).establish("fd01::1", Family::Ipv6).run();
    assert!(rig.planner.status().ready, "{:?}", rig.planner.status().reasons);
    rig
}

fn with_fleet(settings: Settings) -> Settings {
    Settings { drain: Drain { fleet: Some("vipcast".into()), ..Drain::default() }, ..settings }
}

fn phase(rig: &Rig) -> String {
    rig.planner.status().drain.phase
}

/// One pass, with its steps performed.
fn turn(rig: &mut Rig) -> Plan {
    let plan = rig.planner.plan(rig.now);
    for step in &plan.steps {
        let outcome = rig.node.perform_one(step);
        rig.change(Change::Report(Report { step: step.clone(), outcome }));
    }
    plan
}

fn changed(node: Event, change: impl FnOnce(&mut Node)) -> Event {
    let Event::Put(Object::Node(mut node)) = node else { unreachable!("a Node is put") };
    change(&mut node);
    Event::Put(Object::Node(node))
}

/// What the fleet is told of this node in one pass.
fn stance(rig: &mut Rig) -> Option<Stance> {
    turn(rig).standing.map(|standing| standing.unwrap().stance)
}

fn marks(rig: &Rig) -> Vec<bool> {
    let bgp = rig.node.state.bgp.as_ref().unwrap();
    bgp.paths.values().map(|path| path.communities.contains(&Community::GRACEFUL_SHUTDOWN)).collect()
}

#[test]
fn routes_are_marked_and_then_withdrawn_and_nothing_else_is_touched() {
    for settings in [dual_stack(), host_routes()] {
        let mut rig = serving(settings);
        let before = rig.node.state.clone();
        let stages = rig.change(DRAIN).run();
        let writes: Vec<&Step> = stages.iter().flat_map(|stage| &stage.steps).collect();
        let routes = before.bgp.as_ref().unwrap().paths.len();
        let (marking, withdrawing) = writes.split_at(routes);
        let is_marked = |step: &&Step| matches!(step, Step::Announce(_, path) if path.communities.contains(&Community::GRACEFUL_SHUTDOWN));
        assert!(marking.iter().all(is_marked), "{writes:#?}");
        assert_eq!(withdrawing.len(), routes, "{writes:#?}");
        assert!(withdrawing.iter().all(|step| matches!(step, Step::Withdraw(_))), "{writes:#?}");
        let withdrawn = stages.iter().find(|stage| stage.steps.iter().any(|step| matches!(step, Step::Withdraw(_))));
        let quiet = Drain::default().quiet;
        assert!(withdrawn.unwrap().after - stages[0].after > quiet, "{stages:#?}");
        assert_eq!((&rig.node.state.ipvs, &rig.node.state.addr), (&before.ipvs, &before.addr));
        assert_eq!(rig.node.state.nft, before.nft);
        let status = rig.planner.status();
        assert_eq!((status.ready, status.drain.phase.as_str()), (false, "away"));
        assert_eq!(status.reasons, ["this node is drained (vipcast drain)"]);
        assert!(rig.planner.is_away());

        // Away, it follows the cluster, and rests.
        assert_eq!(rig.steps(), Vec::<String>::new());
        rig.now = rig.planner.next_resync();
        assert_eq!(rig.steps(), Vec::<String>::new());

        let steps = rig.change(UNDRAIN).steps();
        assert!(steps.iter().all(|step| step.starts_with("announce")), "{steps:#?}");
        assert_eq!(rig.node.state, before);
        let status = rig.planner.status();
        assert_eq!((status.ready, status.drain.phase.as_str()), (true, "here"), "{:?}", status.reasons);
    }
}

#[test]
fn everything_that_drains_a_node_drains_it_and_tells_which() {
    let taint = |value: Option<&str>| Taint {
        key: "example.com/maintenance".into(),
        value: value.map(Into::into),
        effect: Some("NoSchedule".into()),
    };
    let cases: [(Event, &str); 5] = [
        (changed(node("role=lb"), |node| node.drain = DrainAsked::Yes), "the annotation vipcast.io/drain"),
        (changed(node("role=lb"), |node| node.drain = DrainAsked::Forced), "the annotation vipcast.io/drain: force"),
        (
            changed(node("role=lb"), |node| node.taints = [taint(None), taint(Some("soon"))].into()),
            "the taint example.com/maintenance=soon:NoSchedule",
        ),
        (changed(node("role=lb"), |node| node.shutting_down = true), "the machine shuts down"),
        (node("role=worker"), "this node has not the label role=lb: standing by"),
    ];
    for (event, cause) in cases {
        let taints = vec![Taint { effect: None, ..taint(Some("soon")) }];
        let drain = Drain { taints, ..Drain::default() };
        let mut rig = Rig::new(Settings { drain, node_selector: selector("role=lb"), ..dual_stack() });
        rig.list(web().into_iter().chain([node("role=lb")])).run();
        rig.establish("10.0.1.1", Family::Ipv4).run();
        let before = rig.node.state.bgp.clone();
        rig.tell(event);
        turn(&mut rig);
        assert_eq!((phase(&rig).as_str(), marks(&rig)), ("shunned", vec![true, true]), "{cause}");
        assert_eq!(rig.planner.status().drain.causes, [cause]);
        // The routes have not gone yet: nothing but the mark changes, and back.
        rig.tell(node("role=lb"));
        let steps = rig.steps();
        assert!(steps.len() == 2 && steps.iter().all(|step| step.starts_with("announce")), "{cause}: {steps:#?}");
        assert_eq!(rig.node.state.bgp, before, "{cause}");
        assert_eq!(phase(&rig), "here");
    }
}

#[test]
fn new_connections_keep_the_routes_and_open_ones_keep_the_node() {
    let mut rig = serving(dual_stack());
    let (key, name) = (tcp("10.96.0.10", 80), endpoint("10.244.1.2", 8080));
    let mut open = Connections::default();
    open.set(name, 3);
    rig.node.connections.insert(key, open);
    rig.change(DRAIN);
    let began = rig.now;
    while rig.now.since(began) < Duration::from_secs(10) {
        *rig.node.arrived.entry(key).or_default() += 1;
        turn(&mut rig);
        assert_eq!(phase(&rig), "shunned", "somebody still sends");
        rig.now = rig.now + Duration::from_secs(1);
    }
    while phase(&rig) != "holding" {
        assert!(rig.now.since(began) < Duration::from_secs(60), "{:?}", rig.planner.status().drain);
        turn(&mut rig);
        rig.now = rig.now + Duration::from_secs(1);
    }
    assert!(rig.node.state.bgp.as_ref().unwrap().paths.is_empty());
    rig.node.connections.clear();
    rig.run();
    let drain = rig.planner.status().drain;
    assert_eq!((drain.phase.as_str(), drain.open_connections, drain.ended_connections), ("away", Some(0), 3));
    assert_eq!(drain.new_connections, 9, "the first count has nothing to be compared with");
}

/// A Service that comes while the node leaves is served, since what is open may need it, and not announced.
#[test]
fn who_leaves_announces_nothing_new() {
    let mut settings = host_routes();
    settings.drain.patience = Duration::from_secs(3600);
    let mut rig = Rig::new(settings);
    rig.list(web()).run();
    rig.change(DRAIN);
    turn(&mut rig);
    rig.tell(crate::support::build::service("late", &["10.96.0.99"], &[("http", 80)]));
    rig.tell(crate::support::build::slice("late", "late", &[("http", 8080)], &["10.244.1.9"]));
    let steps = rig.steps();
    assert!(steps.iter().any(|step| step.starts_with("add virtual server 10.96.0.99:80")), "{steps:#?}");
    assert!(!steps.iter().any(|step| step.starts_with("announce 10.96.0.99")), "{steps:#?}");
    let steps = rig.change(UNDRAIN).steps();
    assert!(steps.contains(&"announce 10.96.0.99/32".to_owned()), "{steps:#?}");
}

#[test]
fn the_fleet_is_asked_and_a_refusal_is_told_and_force_asks_nobody() {
    let mut rig = serving(with_fleet(dual_stack()));
    rig.change(DRAIN);
    assert_eq!(stance(&mut rig), Some(Stance::Asking));
    let drain = rig.planner.status().drain;
    assert_eq!((drain.phase.as_str(), drain.refused), ("asking", false));
    rig.change(Change::Fleet(Verdict::Refused("lb2 is away".into())));
    assert_eq!(rig.steps(), Vec::<String>::new());
    let drain = rig.planner.status().drain;
    assert_eq!((drain.waits.as_deref(), drain.refused), (Some("lb2 is away"), true));
    assert!(rig.planner.status().ready, "who asks serves");
    rig.change(Change::Fleet(Verdict::Granted));
    assert_eq!(stance(&mut rig), Some(Stance::Away));
    // Until it is back, others have to count it as away.
    rig.change(UNDRAIN);
    assert_eq!(stance(&mut rig), None);
    rig.run();
    assert_eq!(stance(&mut rig), None, "told in the run");
    assert_eq!(phase(&rig), "here");

    rig.change(Change::Command(Command::Drain { force: true }));
    turn(&mut rig);
    assert_eq!(phase(&rig), "shunned");
}

#[test]
fn an_agent_that_is_started_anew_stays_drained_and_never_announces_in_between() {
    let mut rig = serving(with_fleet(dual_stack()));
    rig.change(DRAIN).change(Change::Fleet(Verdict::Granted));
    let plan = turn(&mut rig);
    assert_eq!(plan.saved, Some(Saved { commanded: Some(Commanded::Asking), away: false, counted_on: true }));
    rig.change(Change::Fleet(Verdict::Granted)).run();
    assert_eq!(phase(&rig), "away");

    let saved = Saved { commanded: Some(Commanded::Asking), away: true, counted_on: false };
    let mut next = Rig::on(with_fleet(dual_stack()), rig.node.clone());
    next.change(Change::Remembered(saved));
    assert!(next.planner.is_away(), "before anything is known");
    assert_eq!(next.list(web()).steps(), Vec::<String>::new());
    assert_eq!(phase(&next), "away");
    // Without a file it finds that it announces nothing, which nobody has to be asked for.
    let mut next = Rig::on(with_fleet(dual_stack()), rig.node.clone());
    next.change(DRAIN);
    assert_eq!(next.list(web()).steps(), Vec::<String>::new());
    assert_eq!(phase(&next), "away");
    // What drained it is gone.
    let mut next = Rig::on(with_fleet(dual_stack()), rig.node.clone());
    next.change(Change::Remembered(Saved { away: true, ..Saved::default() }));
    let steps = next.list(web()).steps();
    assert!(steps.iter().all(|step| step.starts_with("announce")) && !steps.is_empty(), "{steps:#?}");
    assert!(next.planner.status().ready);
}

#[test]
fn an_agent_that_ends_drains_first_and_stays_as_it_is_if_it_cannot_be_spared() {
    let mut rig = serving(dual_stack());
    let before = rig.node.state.clone();
    rig.change(Change::End(Leave::Drain));
    assert_eq!(rig.planner.leaving(), Some(Leave::Drain));
    let steps = rig.steps();
    let last = steps.iter().rposition(|step| step.starts_with("announce")).unwrap();
    assert!(last < position(&steps, "withdraw"), "{steps:#?}");
    assert!(rig.planner.plan(rig.now).finished);
    assert_eq!(rig.node.state.ipvs, before.ipvs);
    assert!(rig.node.state.bgp.as_ref().unwrap().paths.is_empty());

    let mut rig = serving(with_fleet(dual_stack()));
    rig.change(Change::End(Leave::Drain));
    turn(&mut rig);
    rig.change(Change::Fleet(Verdict::Refused("lb1 is the last one".into())));
    assert!(rig.planner.is_draining());
    let stages = rig.run();
    assert!(rig.planner.plan(rig.now).finished);
    assert_eq!(rig.node.state, before);
    let news: Vec<String> = stages.iter().flat_map(|stage| &stage.news).map(ToString::to_string).collect();
    let last = news.last().unwrap();
    assert!(last.contains("everything stays as it is") && last.contains("lb1 is the last one"), "{news:#?}");
}

/// Whatever the fleet says, the pod of a node that lost its label ends.
#[test]
fn a_node_without_its_label_is_drained_and_leaves_nothing_behind() {
    let mut rig = Rig::new(Settings { node_selector: selector("role=lb"), ..with_fleet(dual_stack()) });
    rig.list(web().into_iter().chain([node("role=lb")])).run();
    rig.tell(node("")).change(Change::Fleet(Verdict::Unknown("no answer".into())));
    assert_eq!(rig.steps(), Vec::<String>::new(), "it serves on");
    rig.change(Change::End(Leave::Keep));
    let steps = rig.steps();
    assert!(position(&steps, "announce") < position(&steps, "withdraw"), "{steps:#?}");
    assert!(position(&steps, "withdraw") < position(&steps, "delete"), "{steps:#?}");
    assert!(rig.planner.plan(rig.now).finished && rig.node.state.ipvs.is_empty());
}

#[test]
fn prepends_make_the_routes_longer_where_they_are_asked_for() {
    let mut settings = dual_stack();
    settings.drain.prepend = 2;
    let mut rig = serving(settings);
    rig.change(DRAIN);
    turn(&mut rig);
    let bgp = rig.node.state.bgp.as_ref().unwrap();
    assert!(bgp.paths.values().all(|path| path.as_path == [65001, 65001]), "{bgp:#?}");
}

/// Peers may be selected by the very label that is lost: sessions stay until the routes are gone.
#[test]
fn a_node_that_loses_its_label_keeps_its_sessions_until_it_has_withdrawn() {
    let mut settings = Settings { node_selector: selector("role=lb"), ..dual_stack() };
    for entry in settings.bgp.iter_mut().flat_map(|bgp| &mut bgp.peers) {
        entry.node_selector = selector("role=lb");
    }
    let mut rig = Rig::new(settings);
    rig.list(web().into_iter().chain([node("role=lb")])).run();
    let steps = rig.tell(node("")).steps();
    assert!(position(&steps, "announce") < position(&steps, "withdraw"), "{steps:#?}");
    let last = steps.iter().rposition(|step| step.starts_with("withdraw")).unwrap();
    // gobgpd is ours alone: its sessions end all at once.
    assert!(last < position(&steps, "stop BGP"), "{steps:#?}");
    assert!(!steps.iter().any(|step| step.starts_with("delete peer")), "{steps:#?}");
}

/// An agent that has not announced yet says nothing of itself: its node may be about to come back.
#[test]
fn an_agent_that_begins_is_for_the_others_what_it_was() {
    let mut rig = Rig::new(with_fleet(dual_stack()));
    rig.list(web()).establish("10.0.1.1", Family::Ipv4);
    let mut told = Vec::new();
    for _ in 0..60 {
        let plan = turn(&mut rig);
        told.extend(plan.standing.map(|standing| standing.unwrap().stance));
        rig.now = plan.wake_at.filter(|at| *at < rig.planner.next_resync()).unwrap_or(rig.now).max(rig.now);
    }
    assert_eq!(told, [Stance::Present]);
}

/// Its routes are gone for a moment only, so the fleet is asked all the same.
#[test]
fn who_was_refused_stays_while_gobgpd_is_started_anew() {
    for asked_before in [true, false] {
        let mut rig = serving(with_fleet(dual_stack()));
        if asked_before {
            rig.change(DRAIN).change(Change::Fleet(Verdict::Refused("lb1 is the last one".into()))).run();
        }
        rig.change(Change::SpeakerGone("connection refused".into()));
        rig.node.state.bgp = None;
        rig.run();
        if !asked_before {
            rig.change(DRAIN).run();
        }
        assert_eq!(phase(&rig), "asking", "{asked_before}");
        rig.change(Change::SpeakerUp).run();
        assert_eq!((phase(&rig).as_str(), marks(&rig)), ("asking", vec![false, false]), "{asked_before}");
        rig.change(Change::Fleet(Verdict::Granted)).run();
        assert_eq!(phase(&rig), "away");
    }
}

/// What nobody hears keeps no other node from being the last one.
#[test]
fn who_announces_to_nobody_does_not_count_as_there() {
    let mut rig = serving(with_fleet(dual_stack()));
    rig.part("10.0.1.1");
    assert_eq!(stance(&mut rig), None, "the other session carries the other family");
    rig.part("fd01::1");
    assert_eq!(stance(&mut rig), Some(Stance::Absent));
    rig.establish("10.0.1.1", Family::Ipv4);
    assert_eq!(stance(&mut rig), Some(Stance::Present));

    // Nor is it back before it is heard.
    rig.change(Change::Command(Command::Drain { force: true })).run();
    rig.part("10.0.1.1").change(UNDRAIN).run();
    assert_eq!((phase(&rig).as_str(), marks(&rig).len()), ("returning", 2));
    rig.establish("fd01::1", Family::Ipv6).run();
    assert_eq!(phase(&rig), "here");
}

/// The agent and gobgpd are started anew at once: nothing is announced, and the last node stays all the same.
#[test]
fn who_was_refused_stays_while_agent_and_gobgpd_are_started_anew() {
    let mut rig = serving(with_fleet(dual_stack()));
    let saved = turn(&mut rig).saved;
    assert_eq!(saved, None, "told in the run");
    rig.node.state.bgp = None;
    let mut next = Rig::on(with_fleet(dual_stack()), rig.node);
    next.change(Change::Remembered(Saved { counted_on: true, ..Saved::default() })).change(DRAIN);
    next.list(web()).change(Change::Fleet(Verdict::Refused("lb1 is the last one".into()))).run();
    assert_eq!((phase(&next).as_str(), marks(&next)), ("asking", vec![false, false]));
}

#[test]
fn who_asks_and_is_not_heard_does_not_let_others_leave() {
    let mut rig = serving(with_fleet(dual_stack()));
    let serves = |rig: &mut Rig| turn(rig).standing.map(|standing| standing.unwrap().serves);
    rig.change(DRAIN);
    assert_eq!(serves(&mut rig), Some(true));
    rig.part("10.0.1.1").part("fd01::1");
    assert_eq!(serves(&mut rig), Some(false));
}

#[test]
fn who_has_nothing_but_broken_ranges_is_not_back() {
    let mut rig = serving(with_fleet(dual_stack()));
    rig.change(Change::Command(Command::Drain { force: true })).run();
    rig.node.host.addresses.clear();
    rig.change(Change::HostMoved).change(UNDRAIN).run();
    assert_eq!(phase(&rig), "returning");
    assert!(rig.node.state.bgp.as_ref().unwrap().paths.is_empty());
    rig.node.host = host();
    rig.change(Change::HostMoved).run();
    assert_eq!(phase(&rig), "here");
}

#[test]
fn who_leaves_its_fleet_says_so_once() {
    let mut rig = serving(with_fleet(dual_stack()));
    rig.change(Change::Settings(Box::new(dual_stack())));
    assert_eq!(turn(&mut rig).standing, Some(None));
    assert_eq!(turn(&mut rig).standing, None);
    rig.change(Change::Settings(Box::new(with_fleet(dual_stack()))));
    assert_eq!(stance(&mut rig), Some(Stance::Present));
}
