//! What fails is tried again, as often as it makes sense; what is mended is forgotten.

use std::time::Duration;

use vipcast::model::sysctl::Sysctl;
use vipcast::model::{Settings, Time};
use vipcast::plan::{Change, Observation, Outcome, Report, Step};

use crate::support::build::{dual_stack, host_routes, ip, prefix, scheduled, service, slice, tcp, web};
use crate::support::node::Fault;
use crate::support::rig::Rig;
use crate::support::sim::{Act, Side, Sim};
use crate::support::watchman::FOREIGN;
use crate::support::world::{Happening, World};

/// A world with `web` in it.
fn web_world() -> World {
    let mut world = World::default();
    for event in web() {
        let vipcast::model::Event::Put(object) = event else { unreachable!("web is put") };
        world.happen(Happening::Put(object));
    }
    world
}

fn sim() -> Sim {
    let mut sim = Sim::new(dual_stack());
    sim.world = web_world();
    sim
}

#[test]
fn the_first_readings_are_tried_again_long_before_the_resync() {
    for fault in [Fault::Refuse, Fault::Postpone, Fault::ReadHalf] {
        for steps_before in 0..4 {
            for side in [Side::Kernel, Side::Speaker] {
                let mut sim = sim();
                sim.list();
                sim.plan();
                sim.act(Act::Perform(side, steps_before));
                sim.act(Act::Fail(side, vec![fault]));
                sim.run_for(Duration::from_secs(10));
                sim.assert_converged();
            }
        }
    }
}

#[test]
fn a_reading_at_the_resync_is_tried_again_too() {
    let mut sim = sim();
    sim.list();
    sim.run_for(Duration::from_secs(10));
    sim.now = sim.planner.next_resync();
    sim.node.model.state.ipvs.remove(&tcp("10.96.0.10", 80));
    sim.act(Act::Fail(Side::Kernel, vec![Fault::Postpone; 2]));
    sim.act(Act::Fail(Side::Speaker, vec![Fault::Postpone]));
    sim.run_for(Duration::from_secs(10));
    sim.assert_converged();
}

/// A step that drifted is planned anew; only one that is refused, or fails again and again, speaks against the range.
#[test]
fn a_route_is_withdrawn_when_repair_is_refused_and_not_when_it_has_to_look_again() {
    for (faults, withdrawn) in [
        (vec![Fault::Drift], false),
        (vec![Fault::Postpone, Fault::Postpone], false),
        (vec![Fault::Refuse], true),
        (vec![Fault::Postpone; 9], true),
    ] {
        let mut sim = sim();
        sim.list();
        sim.run_for(Duration::from_secs(10));
        sim.writes.clear();
        sim.node.model.state.nft.table = None;
        sim.change(Change::HostMoved);
        sim.plan();
        sim.perform(Side::Kernel);
        sim.report(Side::Kernel);
        sim.act(Act::Fail(Side::Kernel, faults.clone()));
        sim.run_for(Duration::from_secs(60));
        let has = sim.writes.iter().any(|step| step == "withdraw 10.96.0.0/16");
        assert_eq!(has, withdrawn, "{faults:?}: {:#?}", sim.writes);
        sim.assert_converged();
    }
}

/// Somebody else repairs what we could not: the failure is no longer shown.
#[test]
fn a_failure_is_forgotten_when_it_is_over() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    let table = rig.node.state.nft.table.take();
    rig.change(Change::HostMoved);
    loop {
        let steps = rig.planner.plan(rig.now).steps;
        if steps.is_empty() {
            break;
        }
        for step in steps {
            let outcome = match step {
                Step::ReplaceTable(_) => Outcome::Refused("no".into()),
                _ => rig.node.perform_one(&step),
            };
            rig.change(Change::Report(Report { step, outcome }));
        }
    }
    assert_eq!(rig.planner.status().failures.len(), 1);
    rig.node.state.nft.table = table;
    rig.change(Change::HostMoved);
    rig.run();
    assert_eq!(rig.planner.status().failures, []);
    assert!(rig.planner.is_idle());
}

/// The kernel takes a value and does not keep it, or somebody else resets it each time.
#[test]
fn a_write_that_does_not_last_is_a_failure_with_back_off() {
    let name = Sysctl("net/ipv4/ip_forward".into());
    let mut rig = Rig::new(dual_stack());
    rig.list(web());
    let mut writes = 0;
    for _ in 0..10_000 {
        let plan = rig.planner.plan(rig.now);
        let idle = plan.steps.is_empty();
        for step in plan.steps {
            let outcome = rig.node.perform_one(&step);
            if matches!(&step, Step::SetSysctl(set, _) if *set == name) {
                writes += 1;
                rig.node.state.sysctls.insert(name.clone(), "0".into());
            }
            rig.change(Change::Report(Report { step, outcome }));
        }
        match plan.wake_at {
            Some(at) if idle && at > Time(Duration::from_secs(200)) => break,
            Some(at) if idle => rig.now = rig.now.max(at),
            _ => {}
        }
    }
    assert!((5..20).contains(&writes), "{writes} writes in 200 seconds");
    let failures = rig.planner.status().failures;
    let words: Vec<_> = failures.iter().map(|failure| format!("{}: {}", failure.what, failure.reason)).collect();
    assert_eq!(words, ["kernel parameter net/ipv4/ip_forward: it was done, and did not last"]);
    assert_eq!(rig.node.state.bgp.unwrap().paths.len(), 0);
}

/// The kernel forgets a learned default route once forwarding is on, unless `accept_ra` is 2 before.
#[test]
fn accept_ra_is_set_once_and_before_forwarding() {
    let mut rig = Rig::new(dual_stack());
    rig.node.host.router_advertised_links.insert("eth0".into());
    let steps = rig.list(web()).steps();
    let at = |what: &str| {
        let found: Vec<usize> = (0..steps.len()).filter(|n| steps[*n].starts_with(what)).collect();
        assert_eq!(found.len(), 1, "{what} in {steps:#?}");
        found[0]
    };
    assert!(at("set net/ipv6/conf/eth0/accept_ra to 2") < at("set net/ipv6/conf/all/forwarding to 1"));
    assert!(rig.node.state.bgp.unwrap().paths.contains_key(&prefix("fd00:10:96::/112")));
}

/// A virtual server that the kernel refuses to show is reported, and the others are announced.
#[test]
fn one_virtual_server_that_cannot_be_read_back_does_not_hold_up_the_range() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web());
    for _ in 0..100 {
        let plan = rig.planner.plan(rig.now);
        for step in plan.steps {
            let outcome = match step {
                Step::ReadServer(key) if key == tcp("10.96.0.10", 80) => Outcome::Refused("no".into()),
                _ => rig.node.perform_one(&step),
            };
            rig.change(Change::Report(Report { step, outcome }));
        }
    }
    assert_eq!(rig.node.state.bgp.as_ref().unwrap().paths.len(), 2);
    let failures = rig.planner.status().failures;
    assert!(failures.iter().any(|failure| failure.what == "reading virtual server 10.96.0.10:80 TCP"), "{failures:?}");
}

/// The packet filter cannot be read, for whatever reason; a route that somebody deletes comes back at once all the same.
#[test]
fn a_part_that_cannot_be_read_does_not_hold_up_the_repair_of_others() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    let turn = |rig: &mut Rig| {
        for step in rig.planner.plan(rig.now).steps {
            let mut outcome = rig.node.perform_one(&step);
            if let Outcome::Read(Observation::Host(reading)) = &mut outcome {
                reading.nft = Err("no nft".into());
            }
            rig.change(Change::Report(Report { step, outcome }));
        }
    };
    rig.change(Change::HostMoved);
    for _ in 0..100 {
        turn(&mut rig);
        rig.now = rig.now + Duration::from_secs(1);
    }
    rig.node.state.addr.routes.clear();
    rig.change(Change::HostMoved);
    for _ in 0..4 {
        turn(&mut rig);
    }
    assert_eq!(rig.node.state.addr.routes.len(), 2);
}

/// The time from a change to the kernel counts what is in the kernel, and nothing that failed.
#[test]
fn a_latency_is_counted_when_the_virtual_server_is_as_it_should_be() {
    let mut sim = sim();
    sim.node.refused.insert(ip("10.244.1.2"));
    sim.list();
    sim.run_for(Duration::from_secs(10));
    let failures = sim.planner.status().failures;
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(sim.latencies, 1, "the IPv6 one is in place, the other is not");
    sim.node.refused.clear();
    sim.run_for(Duration::from_secs(60));
    assert_eq!(sim.latencies, 2);
}

/// A virtual server that cannot be made: its reason is told, not that of the steps that were to fill it, and what
/// happens to be there under its name is not filled in its place.
#[test]
fn what_follows_a_failed_creation_fails_with_it() {
    let settings = Settings { dataplane: scheduled("mh"), ..dual_stack() };
    let mut sim = Sim::new(settings);
    sim.world = web_world();
    sim.node.refused.insert(ip("10.96.0.10"));
    sim.list();
    sim.run_for(Duration::from_secs(10));
    let failures = sim.planner.status().failures;
    let words: Vec<_> = failures.iter().map(|failure| format!("{}: {}", failure.what, failure.reason)).collect();
    assert_eq!(words, ["virtual server 10.96.0.10:80 TCP: invalid argument"]);
    let told = sim.seen.iter().filter(|line| line.contains("failed: ")).count();
    assert_eq!(told, 1, "once, however often it is tried: {:#?}", sim.seen);

    // One is there that the agent could not read.
    let mut sim = Sim::new(Settings { dataplane: scheduled("mh"), ..dual_stack() });
    sim.world = web_world();
    let left = sim.node.model.state.ipvs[&FOREIGN].clone();
    sim.node.model.state.ipvs.insert(tcp("10.96.0.10", 80), left);
    sim.list();
    while !sim.plan().iter().any(|step| matches!(step, Step::ReadServer(_))) {
        while sim.perform(Side::Kernel) {}
        while sim.report(Side::Kernel) {}
    }
    sim.act(Act::Fail(Side::Kernel, vec![Fault::Refuse; 2]));
    sim.turn();
    sim.run_for(Duration::from_secs(10));
    sim.assert_converged();
}

/// What was read counts as long as nothing was told or done since.
#[test]
fn nothing_is_announced_between_a_change_of_the_host_and_its_reading() {
    let ready = || {
        let mut rig = Rig::new(host_routes());
        rig.list(web()).run();
        rig.tell(slice("web-4", "web", &[("http", 8080)], &[])).run();
        rig.now = rig.now + Duration::from_secs(60);
        rig.tell_all(web());
        // The virtual server is written and read back; all but the announcement is done.
        let mut announce = Vec::new();
        let mut steps = rig.planner.plan(rig.now).steps;
        while !steps.is_empty() {
            for step in steps {
                if matches!(step, Step::Announce(..)) {
                    announce.push(step);
                    continue;
                }
                let outcome = rig.node.perform_one(&step);
                // The last step before the announcement: what happens now happens before the next pass.
                if let Step::ReadServer(_) = step {
                    return (rig, Report { step, outcome });
                }
                rig.change(Change::Report(Report { step, outcome }));
            }
            steps = rig.planner.plan(rig.now).steps;
        }
        panic!("it was never read back: {announce:?}")
    };
    let (mut rig, report) = ready();
    rig.change(Change::Report(report));
    let next = |rig: &mut Rig| -> Vec<String> { rig.planner.plan(rig.now).steps.iter().map(Step::to_string).collect() };
    assert_eq!(next(&mut rig), ["announce 10.96.0.10/32"]);

    // The kernel told of a change.
    let (mut rig, report) = ready();
    rig.change(Change::Report(report)).change(Change::HostMoved);
    assert_eq!(next(&mut rig), ["read the host"]);

    // It tells of another one while the host is being read.
    let (mut rig, report) = ready();
    rig.change(Change::Report(report)).change(Change::HostMoved);
    assert_eq!(next(&mut rig), ["read the host"]);
    let outcome = rig.node.perform_one(&Step::ReadHost);
    rig.change(Change::HostMoved).change(Change::Report(Report { step: Step::ReadHost, outcome }));
    assert_eq!(next(&mut rig), ["read the host"]);

    // A write was done or not: its answer was lost.
    let (mut rig, report) = ready();
    rig.node.state.nft.table.as_mut().unwrap().stray.insert("a rule".into());
    rig.change(Change::HostMoved);
    assert_eq!(next(&mut rig), ["read the host"]);
    let outcome = rig.node.perform_one(&Step::ReadHost);
    rig.change(Change::Report(Report { step: Step::ReadHost, outcome }));
    let step = rig.planner.plan(rig.now).steps.remove(0);
    rig.node.perform_one(&step);
    rig.change(Change::Report(Report { step, outcome: Outcome::Later("timeout".into()) }));
    rig.change(Change::Report(report));
    assert_eq!(next(&mut rig), ["read the host"]);
}

/// More virtual servers than steps may be under way: each VIP gets its turn, and its route.
#[test]
fn no_host_route_is_forgotten_when_there_is_more_to_do_than_fits() {
    let mut rig = Rig::new(host_routes());
    let pods = ["10.244.1.1", "10.244.1.2", "10.244.1.3"];
    let objects = (0..2000).flat_map(|n| {
        let (name, vip) = (format!("s{n}"), format!("10.96.{}.{}", n / 250, n % 250 + 1));
        [service(&name, &[&vip], &[("http", 80)]), slice(&name, &name, &[("http", 8080)], &pods)]
    });
    rig.list(objects).run();
    assert_eq!(rig.node.state.bgp.as_ref().unwrap().paths.len(), 2000);
    assert!(rig.now < rig.planner.next_resync());
}

/// A VIP whose first announcement fell into a time when the range was being mended is announced after it.
#[test]
fn a_host_route_waits_for_its_range_and_is_not_forgotten() {
    let mut sim = Sim::new(host_routes());
    sim.list();
    sim.run_for(Duration::from_secs(10));
    sim.node.model.state.nft.table = None;
    sim.change(Change::HostMoved);
    sim.world = web_world();
    sim.list();
    sim.act(Act::Fail(Side::Kernel, vec![Fault::Postpone; 4]));
    sim.run_for(Duration::from_secs(20));
    sim.assert_converged();
}
