//! What vanishes at once, and how long it is kept all the same.

use std::time::Duration;

use vipcast::model::settings::Brake;
use vipcast::model::{Event, Kind, Settings};
use vipcast::plan::change::{Command, Leave};
use vipcast::plan::{Change, Report};

use crate::support::build::{cidr, dual_stack, gone, listed, prefix, service, slice};
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

/// The source turns out to be empty, and what it had is held without an end.
fn is_held_when_emptied(rig: &mut Rig) {
    rig.tell_all(listed([]));
    let told = now(rig);
    assert!(told.iter().any(|line| line.contains("the source has no Services any more")), "{told:#?}");
    later(rig, 100_000);
    assert_eq!(destinations(rig), 80);
    assert!(rig.planner.status().brake.unwrap().needs_confirmation);
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
    is_held_when_emptied(&mut rig);
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

/// The API server's watches begin anew one by one: endpoints may be gone before their Services are.
#[test]
fn an_empty_source_is_held_whatever_is_heard_of_it_first() {
    let mut rig = at_rest();
    rig.tell_all((1..=SERVICES).map(|n| gone(Kind::EndpointSlice, &format!("shop/{}-4", name(n)))));
    now(&mut rig);
    assert!(!rig.planner.status().brake.unwrap().needs_confirmation);
    later(&mut rig, 1);
    is_held_when_emptied(&mut rig);
}

/// What is held without an end does not gather what is scaled down or moved meanwhile.
#[test]
fn services_that_live_go_on_changing_while_something_is_held_without_an_end() {
    let mut rig = Rig::new(from_cidrs());
    rig.list(objects().into_iter().chain([cidr("a", &["10.96.0.0/16"])])).run();
    rig.tell(gone(Kind::ServiceCidr, "a"));
    now(&mut rig);
    assert!(rig.planner.status().brake.unwrap().needs_confirmation);
    later(&mut rig, 60);
    rig.tell(endpoints(1, 1));
    later(&mut rig, 60);
    assert_eq!((destinations(&rig), is_held(&rig)), (77, true));
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

/// What the cluster's ServiceCIDR objects say, with the brake on.
fn from_cidrs() -> Settings {
    Settings { brake: Brake::default(), cluster_ips: None, ..dual_stack() }
}

fn is_out(rig: &Rig, range: &str) -> bool {
    rig.node.state.bgp.as_ref().is_some_and(|bgp| bgp.paths.contains_key(&prefix(range)))
}

#[test]
fn what_is_held_stays_held_when_the_ranges_change() {
    let objects = || objects().into_iter().chain([cidr("a", &["10.96.0.0/16"]), cidr("b", &["10.97.0.0/16"])]);
    let mut rig = Rig::new(from_cidrs());
    rig.list(objects()).run();
    rig.tell_all((1..=15).map(|n| endpoints(n, 0)));
    now(&mut rig);
    rig.tell(cidr("c", &["10.98.0.0/16"]));
    now(&mut rig);
    assert_eq!((destinations(&rig), is_held(&rig)), (80, true));
    let told = later(&mut rig, 61);
    assert!(told.contains(&"what vanished is kept no more: brake.hold has passed".to_owned()), "{told:#?}");
    assert_eq!((destinations(&rig), is_held(&rig)), (20, false));
}

/// An etcd that was restored from nothing has no ServiceCIDR either, and who hears of that first is chance.
#[test]
fn ranges_stay_while_the_source_has_no_range_at_all() {
    let with_range = || objects().into_iter().chain([cidr("a", &["10.96.0.0/16"])]);
    for services_first in [true, false] {
        let mut rig = Rig::new(from_cidrs());
        rig.list(with_range()).run();
        assert!(is_out(&rig, "10.96.0.0/16"));
        let before = rig.node.state.clone();
        let services = (1..=SERVICES).map(|n| gone(Kind::Service, &format!("shop/{}", name(n))));
        let range = [gone(Kind::ServiceCidr, "a")];
        match services_first {
            true => rig.tell_all(services.chain(range)),
            false => {
                rig.tell_all(range);
                now(&mut rig);
                rig.tell_all(services)
            }
        };
        now(&mut rig);
        later(&mut rig, 10_000);
        assert!(rig.node.state == before && is_held(&rig), "{services_first}");
        // Back again, or meant.
        let mut back = Rig { planner: rig.planner.clone(), node: rig.node.clone(), now: rig.now };
        back.tell_all(with_range());
        now(&mut back);
        assert!(back.node.state == before && !is_held(&back), "{services_first}");
        rig.change(Change::Command(Command::Confirm));
        for _ in 0..10 {
            later(&mut rig, 60);
        }
        assert!(!is_out(&rig, "10.96.0.0/16") && rig.node.state.ipvs.is_empty(), "{services_first}");
        assert!(!is_held(&rig), "{services_first}");
    }
    // A range of several that goes is meant.
    let mut rig = Rig::new(from_cidrs());
    rig.list(with_range().chain([cidr("b", &["10.97.0.0/16"])])).run();
    rig.tell(gone(Kind::ServiceCidr, "b")).run();
    assert!(is_out(&rig, "10.96.0.0/16") && !is_out(&rig, "10.97.0.0/16") && !is_held(&rig));
}

#[test]
fn an_agent_that_starts_while_the_source_is_empty_keeps_what_it_finds() {
    let settings = || Settings { brake: Brake::default(), ..dual_stack() };
    let before = at_rest();
    let mut rig = Rig::on(settings(), before.node.clone());
    rig.list([]);
    let told = now(&mut rig);
    assert!(
        told.iter().any(|line| line.contains("the source has no Services, and 80 endpoints are served")),
        "{told:#?}"
    );
    later(&mut rig, 100_000);
    assert!(rig.node.state == before.node.state, "nothing is touched");
    assert!(rig.planner.status().brake.unwrap().needs_confirmation);
    // One by one they come back, and nothing goes meanwhile.
    let mut back = Rig { planner: rig.planner.clone(), node: rig.node.clone(), now: rig.now };
    back.tell_all(objects().into_iter().take(4));
    now(&mut back);
    assert_eq!((destinations(&back), is_held(&back)), (80, true));
    back.tell_all(objects().into_iter().take(2 * SERVICES - 2));
    later(&mut back, 1);
    assert!(!is_held(&back));
    for _ in 0..10 {
        later(&mut back, 60);
    }
    assert_eq!(destinations(&back), 76, "the one that did not come back is gone");

    rig.change(Change::Command(Command::Confirm));
    for _ in 0..10 {
        later(&mut rig, 60);
    }
    assert!(rig.node.state.ipvs.is_empty() && !is_held(&rig));

    // Few are no reason to wait.
    let mut small = Rig::new(settings());
    small.list(objects().into_iter().take(4)).run();
    let mut next = Rig::on(settings(), small.node.clone());
    next.list([]).run();
    assert!(next.node.state.ipvs.is_empty() && !is_held(&next));
}
