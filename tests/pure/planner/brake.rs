//! What vanishes at once, and how long it is kept all the same.

use std::time::Duration;

use vipcast::model::settings::Brake;
use vipcast::model::{Event, Kind, Settings};
use vipcast::plan::change::{Command, Leave};
use vipcast::plan::{Change, Report};

use crate::support::build::{dual_stack, gone, listed, service, slice};
use crate::support::rig::Rig;

const SERVICES: usize = 20;

fn name(n: usize) -> String {
    format!("s{n}")
}

fn endpoints(n: usize, count: usize) -> Event {
    let addresses: Vec<String> = (1..=count).map(|m| format!("10.244.{n}.{m}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    slice(&format!("{}-4", name(n)), &name(n), &[("p", 8080)], &addresses)
}

/// Services with four endpoints each.
fn objects() -> Vec<Event> {
    let service = |n: usize| service(&name(n), &[&format!("10.96.0.{n}")], &[("p", 80)]);
    (1..=SERVICES).flat_map(|n| [service(n), endpoints(n, 4)]).collect()
}

/// A node at rest that serves them.
fn at_rest() -> Rig {
    let mut rig = Rig::new(Settings { brake: Brake::default(), ..dual_stack() });
    rig.list(objects()).run();
    rig
}

fn destinations(rig: &Rig) -> usize {
    rig.node.state.ipvs.values().map(|server| server.destinations.values().filter(|d| d.weight > 0).count()).sum()
}

/// What the planner does at this moment and has to say; time stands still.
fn now(rig: &mut Rig) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..100 {
        let plan = rig.planner.plan(rig.now);
        told.extend(plan.news.iter().map(ToString::to_string));
        for step in plan.steps {
            let outcome = rig.node.perform_one(&step);
            rig.change(Change::Report(Report { step, outcome }));
        }
    }
    told
}

fn later(rig: &mut Rig, seconds: u64) -> Vec<String> {
    rig.now = rig.now + Duration::from_secs(seconds);
    now(rig)
}

fn is_held(rig: &Rig) -> bool {
    rig.planner.status().brake.is_some()
}

#[test]
fn most_endpoints_gone_at_once_are_kept_for_a_while() {
    let mut rig = at_rest();
    rig.tell_all((1..=15).map(|n| endpoints(n, 0)));
    let told = now(&mut rig);
    assert!(told.iter().any(|line| line.contains("60 of 80 endpoints vanished within 5 s")), "{told:#?}");
    assert!(told.iter().any(|line| line.contains("`vipcast confirm`")), "{told:#?}");
    assert_eq!(destinations(&rig), 80);
    let brake = rig.planner.status().brake.unwrap();
    assert_eq!((brake.services, brake.endpoints, brake.needs_confirmation), (15, 60, false));
    later(&mut rig, 59);
    assert_eq!(destinations(&rig), 80);
    let told = later(&mut rig, 2);
    assert!(told.contains(&"what vanished is kept no more: brake.hold has passed".to_owned()), "{told:#?}");
    assert_eq!((destinations(&rig), is_held(&rig)), (20, false));
}

#[test]
fn what_vanished_before_it_was_too_much_comes_back_too() {
    let mut rig = at_rest();
    for n in 1..=15 {
        rig.tell(endpoints(n, 0));
        rig.now = rig.now + Duration::from_millis(200);
        now(&mut rig);
    }
    assert!(is_held(&rig));
    assert_eq!(destinations(&rig), 80);
}

#[test]
fn what_takes_its_time_is_believed() {
    let mut rig = at_rest();
    for n in 1..=SERVICES {
        rig.tell(endpoints(n, 0));
        later(&mut rig, 2);
        assert!(!is_held(&rig), "{n}");
    }
    later(&mut rig, 60);
    assert_eq!(destinations(&rig), 0);
}

#[test]
fn ordinary_changes_are_believed() {
    // One Service, whatever its size; fewer than half; few; rolling updates of all at once.
    let mut rig = at_rest();
    rig.tell(slice("s1-4", "s1", &[("p", 8080)], &[]));
    rig.tell_all((2..=9).map(|n| endpoints(n, 0)));
    now(&mut rig);
    assert!(!is_held(&rig));
    let mut rig = at_rest();
    for round in 0..4 {
        for n in 1..=SERVICES {
            let addresses: Vec<String> =
                (1..=4).map(|m| format!("10.244.{n}.{}", if m <= round + 1 { m + 100 } else { m })).collect();
            let three: Vec<&str> = addresses.iter().map(String::as_str).filter(|a| !a.ends_with(".4")).collect();
            rig.tell(slice(&format!("s{n}-4"), &name(n), &[("p", 8080)], &three));
            let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
            rig.tell(slice(&format!("s{n}-4"), &name(n), &[("p", 8080)], &all));
        }
        later(&mut rig, 1);
        assert!(!is_held(&rig), "{round}");
    }
    let mut rig = Rig::new(Settings { brake: Brake::default(), ..dual_stack() });
    rig.list(objects().into_iter().take(4)).run();
    rig.tell_all([endpoints(1, 0), endpoints(2, 0)]);
    now(&mut rig);
    assert!(!is_held(&rig), "eight endpoints are not many");
    // One Service that has nearly all.
    let mut rig = Rig::new(Settings { brake: Brake::default(), ..dual_stack() });
    rig.list([service("s1", &["10.96.0.1"], &[("p", 80)]), endpoints(1, 50)]).run();
    rig.tell(endpoints(1, 5));
    now(&mut rig);
    assert!(!is_held(&rig));
}

#[test]
fn the_brake_lets_go_when_it_comes_back_or_somebody_confirms() {
    let mut rig = at_rest();
    rig.tell_all((1..=15).map(|n| endpoints(n, 0)));
    now(&mut rig);
    assert!(is_held(&rig));
    rig.tell_all((1..=15).map(|n| endpoints(n, 4)));
    let told = later(&mut rig, 1);
    assert!(told.contains(&"what vanished is kept no more: most of it came back".to_owned()), "{told:#?}");
    assert_eq!((destinations(&rig), is_held(&rig)), (80, false));

    // A confirmation is worth nothing before there is something to confirm.
    rig.change(Change::Command(Command::Confirm));
    rig.tell_all((1..=15).map(|n| endpoints(n, 0)));
    now(&mut rig);
    rig.change(Change::Command(Command::Confirm));
    now(&mut rig);
    assert_eq!((destinations(&rig), is_held(&rig)), (20, false));
}

#[test]
fn an_empty_source_is_held_until_somebody_confirms() {
    let mut rig = at_rest();
    rig.tell_all(listed([]));
    let told = now(&mut rig);
    assert!(told.iter().any(|line| line.contains("the source has no Services any more")), "{told:#?}");
    later(&mut rig, 100_000);
    assert_eq!(destinations(&rig), 80);
    assert!(rig.planner.status().brake.unwrap().needs_confirmation);
    rig.change(Change::Command(Command::Confirm));
    later(&mut rig, 1);
    later(&mut rig, 60);
    assert!(rig.node.state.ipvs.is_empty());

    // The same, and the objects come back.
    let mut rig = at_rest();
    let before = rig.node.state.clone();
    rig.tell_all(listed([]));
    now(&mut rig);
    later(&mut rig, 1000);
    rig.tell_all(objects());
    later(&mut rig, 1);
    assert!(!is_held(&rig));
    assert!(rig.node.state == before, "nothing had been touched");
}

#[test]
fn deleted_services_are_held_like_their_endpoints() {
    let mut rig = at_rest();
    for n in 1..=15 {
        rig.tell(gone(Kind::Service, &format!("shop/{}", name(n))));
    }
    now(&mut rig);
    assert_eq!((rig.node.state.ipvs.len(), is_held(&rig)), (20, true));
    // Who leaves does not hold anything.
    rig.change(Change::Leave(Leave::Remove));
    rig.run();
    assert!(rig.node.state.ipvs.is_empty());
}

#[test]
fn the_brake_can_be_off() {
    let mut rig = Rig::new(Settings { brake: Brake { share: 100, ..Brake::default() }, ..dual_stack() });
    rig.list(objects()).run();
    rig.tell_all(listed([])).run();
    assert!(rig.node.state.ipvs.is_empty());
}
