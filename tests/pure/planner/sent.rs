//! What peers are sent: our export policy, and what gobgpd says that it sends, compared and put right.

use std::time::Duration;

use vipcast::model::bgp::{Attributes, Community, Export, PeerName, Session, SessionState};
use vipcast::model::settings::Announce;
use vipcast::model::{Family, Settings};
use vipcast::plan::change::Leave;
use vipcast::plan::{Change, Observation, Outcome, Report, Step};

use crate::support::build::{dual_stack, host_routes, prefix, range, service, settings, slice, web};
use crate::support::rig::Rig;

fn name(text: &str) -> PeerName {
    text.parse().unwrap()
}

fn marked(number: u32) -> Export {
    let attributes = Attributes { communities: [Community(number)].into(), ..Attributes::default() };
    Export { attributes, ..Export::default() }
}

fn exporting(mut settings: Settings, export: Export) -> Settings {
    settings.bgp.as_mut().unwrap().peers[0].export = export;
    settings
}

fn position(steps: &[String], what: &str) -> usize {
    steps.iter().position(|step| step.starts_with(what)).unwrap_or_else(|| panic!("no step {what} in {steps:#?}"))
}

/// At rest, with an established session with `10.0.1.1`.
fn connected(settings: Settings) -> Rig {
    let mut rig = Rig::new(settings);
    rig.list(web()).run();
    rig.establish("10.0.1.1", Family::Ipv4);
    rig.run();
    rig
}

/// One pass, performed and reported: its steps in words.
fn pass(rig: &mut Rig) -> Vec<String> {
    let steps = rig.planner.plan(rig.now).steps;
    let words = steps.iter().map(Step::to_string).collect();
    for step in steps {
        let outcome = rig.node.perform_one(&step);
        rig.change(Change::Report(Report { step, outcome }));
    }
    words
}

#[test]
fn the_export_policy_is_there_before_the_first_peer() {
    let mut rig = Rig::new(exporting(dual_stack(), marked(5)));
    rig.list(web());
    let steps = rig.steps();
    let (policy, peer) = (position(&steps, "set the BGP export policy of 10.0.1.1"), position(&steps, "add peer"));
    assert!(policy < peer, "{steps:#?}");
    assert!(position(&steps, "reject BGP routes") < peer, "{steps:#?}");
    assert_eq!(rig.steps(), Vec::<String>::new());
}

#[test]
fn an_edit_of_what_a_peer_hears_touches_no_session() {
    let mut rig = connected(dual_stack());
    let turns = [
        (marked(5), "set the BGP export policy of 10.0.1.1"),
        (marked(6), "set the BGP export policy of 10.0.1.1"),
        (Export::default(), "remove the BGP export policy"),
    ];
    for (export, step) in turns {
        rig.change(Change::Settings(Box::new(exporting(dual_stack(), export.clone()))));
        assert_eq!(rig.steps(), [step]);
        let sent = &rig.node.state.bgp.as_ref().unwrap().sent[&name("10.0.1.1")];
        assert_eq!(sent[&prefix("10.96.0.0/16")].communities, export.attributes.communities);
        assert_eq!(rig.planner.repairs().policies, 0, "nobody else changed anything");
    }
}

/// The policy of a gobgpd that others share goes after our peers, and what is theirs is never in it.
#[test]
fn the_export_policy_goes_with_the_peers() {
    let mut settings = exporting(dual_stack(), marked(5));
    settings.bgp.as_mut().unwrap().exclusive = false;
    let mut rig = Rig::new(settings.clone());
    rig.list(web()).run();
    let mut cleanup = Rig::on(settings.clone(), rig.node);
    cleanup.change(Change::Leave(Leave::Remove));
    let steps = cleanup.steps();
    let order = ["withdraw 10.96.0.0/16", "delete peer 10.0.1.1", "remove the BGP export policy"];
    assert!(order.windows(2).all(|pair| position(&steps, pair[0]) < position(&steps, pair[1])), "{steps:#?}");
    assert!(cleanup.planner.plan(cleanup.now).finished);
    assert_eq!(cleanup.node.state.bgp.unwrap().exports, None);

    let mut theirs = Rig::new(settings);
    let bgp = theirs.node.state.bgp.get_or_insert_default();
    bgp.foreign_peers.insert(name("10.0.1.1"));
    theirs.list(web()).run();
    assert_eq!(theirs.node.state.bgp.unwrap().exports, None);
}

#[test]
fn what_a_peer_is_sent_is_read_once_a_second_and_only_what_changed() {
    let mut rig = connected(host_routes());
    assert_eq!(pass(&mut rig), Vec::<String>::new());
    rig.now = rig.now + Duration::from_secs(5);
    let more = |n: u8| {
        let (name, vip) = (format!("s{n}"), format!("10.96.1.{n}"));
        let pods = slice(&name, &name, &[("http", 8080)], &["10.244.1.9"]);
        [service(&name, &[&vip], &[("http", 80)]), pods]
    };
    let mut readings: Vec<(Duration, usize)> = Vec::new();
    let start = rig.now;
    for n in 0..40 {
        if n < 20 {
            rig.tell_all(more(n));
        }
        for _ in 0..8 {
            let steps = rig.planner.plan(rig.now).steps;
            for step in steps {
                if let Step::ReadSent(_, prefixes) = &step {
                    readings.push((rig.now - start, prefixes.len()));
                }
                let outcome = rig.node.perform_one(&step);
                rig.change(Change::Report(Report { step, outcome }));
            }
        }
        rig.now = rig.now + Duration::from_millis(100);
    }
    assert_eq!(readings.iter().map(|(_, count)| count).sum::<usize>(), 20, "{readings:?}");
    assert!(readings.windows(2).all(|pair| pair[1].0 - pair[0].0 >= Duration::from_secs(1)), "{readings:?}");
    assert!(readings.len() >= 2 && readings.len() <= 4, "{readings:?}");
}

/// gobgpd may know of the end of a session before it is told: no route is missed then.
#[test]
fn what_a_session_that_just_ended_sends_is_no_alarm() {
    let mut rig = connected(dual_stack());
    rig.change(Change::SpeakerMoved);
    rig.run();
    let prefixes = [prefix("10.96.0.0/16")].into();
    let step = Step::ReadSent(name("10.0.1.1"), prefixes);
    let outcome = Outcome::Read(Observation::Sent(None));
    rig.change(Change::Report(Report { step, outcome }));
    let stages = rig.run();
    assert!(stages.iter().all(|stage| stage.news.is_empty()));
    let steps: Vec<String> = stages.iter().flat_map(|stage| &stage.steps).map(Step::to_string).collect();
    assert_eq!(steps, [] as [&str; 0]);
    assert_eq!((rig.planner.repairs().sent, rig.planner.astray(&name("10.0.1.1")).count()), (0, 0));
}

#[test]
fn an_update_that_was_lost_is_sent_again_and_counted() {
    let mut rig = connected(dual_stack());
    let sent = |rig: &Rig| rig.node.state.bgp.as_ref().unwrap().sent[&name("10.0.1.1")].clone();
    let before = sent(&rig);
    let lose = |rig: &mut Rig| {
        let bgp = rig.node.state.bgp.as_mut().unwrap();
        bgp.sent.get_mut(&name("10.0.1.1")).unwrap().clear();
    };
    lose(&mut rig);
    assert_eq!(rig.planner.repairs().sent, 0);
    rig.change(Change::SpeakerMoved);
    let stages = rig.run();
    let steps: Vec<String> = stages.iter().flat_map(|stage| &stage.steps).map(Step::to_string).collect();
    assert_eq!(steps, ["send peer 10.0.1.1 its routes again"]);
    let news: Vec<String> = stages.iter().flat_map(|stage| &stage.news).map(ToString::to_string).collect();
    let lines = [
        "peer 10.0.1.1: 10.96.0.0/16 is not sent; its routes are sent again",
        "sent peer 10.0.1.1 its routes again: 10.96.0.0/16 is not sent",
    ];
    assert_eq!(news, lines);
    assert_eq!(sent(&rig), before);
    assert_eq!(rig.planner.repairs().sent, 1);
    assert_eq!(rig.planner.astray(&name("10.0.1.1")).count(), 0);
    assert!(rig.planner.is_idle());
}

/// Somebody else's policy changes what the peer hears: sending again does not help, and the peer's problem is told. When the
/// policy goes, the routes are sent once more, since gobgpd tells what it would send, and not what it has sent.
#[test]
fn a_difference_that_lasts_is_a_problem_of_the_peer() {
    let mut rig = connected(dual_stack());
    let spoil = |rig: &mut Rig| {
        let bgp = rig.node.state.bgp.as_mut().unwrap();
        bgp.sent.get_mut(&name("10.0.1.1")).unwrap().get_mut(&prefix("10.96.0.0/16")).unwrap().med = Some(9);
    };
    spoil(&mut rig);
    rig.change(Change::SpeakerMoved);
    let mut resent = 0;
    let end = rig.now + Duration::from_secs(120);
    while rig.now < end {
        let plan = rig.planner.plan(rig.now);
        if plan.steps.is_empty() {
            rig.now = plan.wake_at.map_or(end, |at| at.max(rig.now + Duration::from_millis(1)));
        }
        for step in plan.steps {
            let outcome = rig.node.perform_one(&step);
            if let Step::Resend(_) = &step {
                resent += 1;
                spoil(&mut rig);
            }
            rig.change(Change::Report(Report { step, outcome }));
        }
    }
    assert!((5..20).contains(&resent), "{resent} times in two minutes");
    let told = rig.planner.sending_problem(&name("10.0.1.1")).unwrap();
    assert!(told.starts_with("10.96.0.0/16 is sent with MED 9 instead of none;"), "{told}");
    assert_eq!(rig.planner.astray(&name("10.0.1.1")).count(), 1);

    rig.node.send_paths(None);
    rig.change(Change::SpeakerMoved);
    assert_eq!(rig.steps(), ["send peer 10.0.1.1 its routes again"]);
    assert_eq!(rig.planner.sending_problem(&name("10.0.1.1")), None);
    assert!(rig.planner.is_idle());
}

#[test]
fn a_session_that_comes_up_is_looked_at() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    rig.establish("10.0.1.1", Family::Ipv4);
    assert_eq!(pass(&mut rig), ["read what peer 10.0.1.1 was sent"]);
    assert_eq!(pass(&mut rig), Vec::<String>::new());
    let wanted = rig.planner.desired_sent(&name("10.0.1.1"));
    assert!(wanted.keys().eq(&[prefix("10.96.0.0/16")]), "{wanted:?}");
    assert_eq!(rig.planner.sent(&name("10.0.1.1")), Some(&wanted));
    rig.change(Change::Session(name("10.0.1.1"), Session::new(SessionState::Idle)));
    assert_eq!(rig.planner.sent(&name("10.0.1.1")), None);
    assert!(rig.planner.desired_sent(&name("10.0.1.1")).is_empty());
}

/// The other side does not carry a family: nothing of it is sent, and nothing is wrong with what is.
#[test]
fn a_family_that_the_other_side_does_not_carry_is_named() {
    let mut settings =
        settings(&[range("10.96.0.0/16", Announce::Aggregate), range("fd00:10:96::/112", Announce::Aggregate)]);
    settings.bgp.as_mut().unwrap().peers[0].peer.families = Family::ALL.into();
    let rig = connected(settings);
    let told = rig.planner.sending_problem(&name("10.0.1.1"));
    assert_eq!(told.as_deref(), Some("the other side does not carry IPv6 routes: it is sent none of them"));
    assert_eq!(rig.planner.repairs().sent, 0);
}

#[test]
fn what_somebody_else_changed_is_put_right_and_counted() {
    let mut rig = connected(exporting(dual_stack(), marked(5)));
    assert_eq!(rig.planner.repairs(), Default::default(), "what was never there is not repaired");
    let gobgpd = |rig: &mut Rig, change: fn(&mut vipcast::model::bgp::Bgp)| {
        change(rig.node.state.bgp.as_mut().unwrap());
        rig.node.send_paths(None);
        rig.change(Change::SpeakerMoved);
        rig.steps()
    };
    let steps = gobgpd(&mut rig, |bgp| bgp.paths.clear());
    assert_eq!(steps, ["announce 10.96.0.0/16", "announce fd00:10:96::/112"]);
    let steps = gobgpd(&mut rig, |bgp| bgp.paths.values_mut().for_each(|path| path.med = Some(9)));
    assert_eq!(steps, ["announce 10.96.0.0/16", "announce fd00:10:96::/112"]);
    let steps = gobgpd(&mut rig, |bgp| drop(bgp.peers.pop_last()));
    assert_eq!(steps, ["add peer fd01::1 AS 65000"]);
    let steps = gobgpd(&mut rig, |bgp| (bgp.rejected, bgp.exports) = (None, None));
    assert_eq!(steps.len(), 2, "{steps:?}");
    let repairs = rig.planner.repairs();
    assert_eq!((repairs.paths, repairs.peers, repairs.policies), (4, 1, 2));
    // gobgpd was killed: that is a repair too, and a route that a Service does not want any more is none.
    rig.change(Change::SpeakerDown("killed".into()));
    rig.node.state.bgp = None;
    rig.change(Change::SpeakerUp).run();
    assert_eq!(rig.planner.repairs().paths, 6);
    let next = Rig::on(dual_stack(), rig.node).list(web()).planner.repairs();
    assert_eq!(next, Default::default());
}
