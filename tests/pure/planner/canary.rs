//! The canary: made like everything else, and no route without its answer.

use std::time::Duration;

use vipcast::model::Settings;
use vipcast::model::canary::{Canary, Fault};
use vipcast::model::settings::{Proof, Snat};
use vipcast::plan::{Change, Outcome, Plan, Report, Step};

use super::position;
use crate::support::build::{dual_stack, host_routes, prefix, service, slice, web};
use crate::support::rig::Rig;

fn proved(settings: Settings) -> Settings {
    Settings { proof: Proof::default(), ..settings }
}

/// A rig with the canaries of both families and `web`, at rest.
fn at_rest() -> Rig {
    let mut rig = Rig::new(proved(dual_stack()));
    rig.list(web()).run();
    rig
}

fn canary(rig: &Rig, n: usize) -> Canary {
    rig.planner.canaries()[n]
}

fn probe(rig: &mut Rig, canary: Canary, results: &[Result<(), &str>]) {
    for result in results {
        rig.change(Change::Probe(canary, result.map_err(|why| Fault::Broken(why.to_owned()))));
    }
}

fn is_out(rig: &Rig, range: &str) -> bool {
    rig.node.state.bgp.as_ref().is_some_and(|bgp| bgp.paths.contains_key(&prefix(range)))
}

#[test]
fn the_canary_is_made_before_anything_is_announced_and_removed_with_the_rest() {
    let mut rig = Rig::new(proved(dual_stack()));
    let steps = rig.list(web()).steps();
    let announced = position(&steps, "announce");
    for step in [
        "set up link vipcast1 with routes 169.254.77.2/31 fd76:6970:6361:7374::2/127",
        "add virtual server 169.254.77.1:9 TCP rr",
        "add destination 169.254.77.2:9 weight 1 to 169.254.77.1:9 TCP",
        "set local route 169.254.77.1/32 src 10.0.1.2",
        "add virtual server [fd76:6970:6361:7374::1]:9 TCP",
    ] {
        assert!(position(&steps, step) < announced, "{step} in {steps:#?}");
    }
    assert!(is_out(&rig, "10.96.0.0/16") && is_out(&rig, "fd00:10:96::/112"));
    assert!(rig.planner.is_proved());
    assert_eq!(rig.planner.given_orders().map(|orders| orders.ttl), Some(Duration::from_secs(5)));
    let status = rig.planner.status();
    assert!(status.ready && status.proof.iter().all(|proof| proof.state == "proved"), "{status:#?}");
    // Nobody else hears of it, and nobody takes it for a Service.
    assert_eq!((status.ranges.len(), status.services.served, status.ipvs.virtual_servers), (2, 1, 2));
    assert!(rig.node.state.bgp.iter().all(|bgp| bgp.paths.len() == 2));

    assert_eq!(rig.steps(), Vec::<String>::new(), "a second pass does nothing");
    let mut next = Rig::on(proved(dual_stack()), rig.node.clone());
    assert_eq!(next.list(web()).steps(), Vec::<String>::new(), "the next agent adopts it");

    rig.change(Change::Settings(Box::new(dual_stack())));
    let steps = rig.steps();
    position(&steps, "delete link vipcast1");
    position(&steps, "delete virtual server 169.254.77.1:9 TCP");
    assert_eq!((rig.planner.canaries(), rig.planner.is_proved()), (vec![], true));
    let mut without = Rig::new(dual_stack());
    without.list(web()).run();
    assert!(rig.node.state == without.node.state, "as if it had never been");
}

#[test]
fn a_family_that_is_not_served_has_no_canary() {
    let mut rig = Rig::new(proved(host_routes()));
    rig.list([service("a", &["10.96.0.1"], &[("p", 80)]), slice("a-4", "a", &[("p", 80)], &["10.244.1.1"])]).run();
    assert_eq!(rig.planner.canaries().len(), 1);
    assert!(is_out(&rig, "10.96.0.1/32"));
}

#[test]
fn without_source_nat_the_canary_expects_none() {
    let mut settings = proved(dual_stack());
    settings.dataplane.snat = Snat::None;
    let mut rig = Rig::new(settings);
    rig.list(web()).run();
    assert!(!canary(&rig, 0).masqueraded);
    assert!(is_out(&rig, "10.96.0.0/16"));
}

#[test]
fn no_answer_no_route() {
    let mut rig = Rig::new(proved(dual_stack()));
    rig.list(web());
    // Pass by pass without probes: all is in place, and nothing is announced.
    for _ in 0..30 {
        for step in rig.planner.plan(rig.now).steps {
            assert!(!matches!(step, Step::Announce(..)), "{step}");
            let outcome = rig.node.perform_one(&step);
            rig.change(Change::Report(Report { step, outcome }));
        }
    }
    let reasons = rig.planner.status().reasons.join("\n");
    assert!(reasons.contains("the canary 169.254.77.1:9 TCP has not answered yet"), "{reasons}");
    let four = canary(&rig, 0);
    probe(&mut rig, four, &[Ok(())]);
    assert!(!rig.planner.status().ready, "one answer is none");
    probe(&mut rig, four, &[Ok(())]);
    for _ in 0..5 {
        for step in rig.planner.plan(rig.now).steps {
            let outcome = rig.node.perform_one(&step);
            rig.change(Change::Report(Report { step, outcome }));
        }
    }
    assert!(is_out(&rig, "10.96.0.0/16") && !is_out(&rig, "fd00:10:96::/112"), "each family is proved by itself");
}

#[test]
fn a_failed_probe_leads_to_a_reading_and_several_to_a_withdrawal_that_names_it() {
    let mut rig = at_rest();
    let (four, why) = (canary(&rig, 0), "the reply did not come back");
    probe(&mut rig, four, &[Err(why)]);
    let steps = rig.planner.plan(rig.now).steps;
    assert_eq!(steps, [Step::ReadHost, Step::ListServers], "looking comes before giving up");
    for step in steps {
        let outcome = rig.node.perform_one(&step);
        rig.change(Change::Report(Report { step, outcome }));
    }
    rig.run();
    assert!(is_out(&rig, "10.96.0.0/16") && rig.planner.is_proved());

    probe(&mut rig, four, &[Err(why), Err(why)]);
    let news: Vec<String> = rig.run().into_iter().flat_map(|stage| stage.news).map(|news| news.to_string()).collect();
    let told = |what: &str| news.iter().any(|line| line.contains(what));
    assert!(told("withdrew 10.96.0.0/16"), "{news:#?}");
    assert!(told("the canary 169.254.77.1:9 TCP: the reply did not come back (3 probes in a row)"), "{news:#?}");
    assert!(!is_out(&rig, "10.96.0.0/16") && is_out(&rig, "fd00:10:96::/112"), "the other family works");
    assert!(rig.planner.is_proved(), "what is still promised is proved");

    probe(&mut rig, four, &[Ok(()), Err(why), Ok(())]);
    rig.run();
    assert!(!is_out(&rig, "10.96.0.0/16"), "a single answer is luck");
    probe(&mut rig, four, &[Ok(())]);
    rig.run();
    assert!(is_out(&rig, "10.96.0.0/16"));
}

/// IPVS has no notifications: its table is found empty by the first probe, not by the resync.
#[test]
fn a_table_that_was_flushed_is_filled_again_after_one_probe() {
    let mut rig = at_rest();
    let before = rig.node.state.clone();
    rig.node.state.ipvs.clear();
    let four = canary(&rig, 0);
    assert_eq!(rig.node.probe(&four), Err("there is no virtual server".to_owned()));
    probe(&mut rig, four, &[Err("no virtual server took the SYN, so it was refused")]);
    let steps = rig.steps();
    position(&steps, "add virtual server 10.96.0.10:80 TCP");
    assert!(!steps.iter().any(|step| step.starts_with("withdraw")), "{steps:#?}");
    assert!(rig.node.state == before);
}

#[test]
fn probes_of_a_canary_that_is_gone_tell_nothing() {
    let mut rig = at_rest();
    let old = canary(&rig, 0);
    let ranges = vec![prefix("198.51.100.0/29"), prefix("fd76:6970:6361:7374::/125")];
    let settings = Settings { proof: Proof { canaries: ranges, ..Proof::default() }, ..dual_stack() };
    rig.change(Change::Settings(Box::new(settings)));
    rig.run();
    assert_eq!(canary(&rig, 0).vip.to_string(), "198.51.100.1");
    probe(&mut rig, old, &[Err("late"); 9]);
    rig.run();
    assert!(is_out(&rig, "10.96.0.0/16") && rig.planner.is_proved());
    assert!(!rig.node.state.addr.routes.contains_key(&prefix("169.254.77.1/32")));
}

/// What worked before there were canaries goes on where the probe's link cannot be made.
#[test]
fn a_route_that_is_out_waits_for_its_first_proof_and_a_new_one_does_too() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    for (node, is_out_after) in [(rig.node.clone(), true), (Rig::new(dual_stack()).node, false)] {
        let mut next = Rig::on(proved(dual_stack()), node);
        next.list(web());
        for _ in 0..40 {
            for step in next.planner.plan(next.now).steps {
                let outcome = match step {
                    Step::EnsureProbe(_) => Outcome::Refused("there is no veth".to_owned()),
                    _ => next.node.perform_one(&step),
                };
                next.change(Change::Report(Report { step, outcome }));
            }
            next.now = next.now + Duration::from_secs(1);
        }
        assert_eq!(is_out(&next, "10.96.0.0/16"), is_out_after);
        let proof = &next.planner.status().proof[0];
        assert_eq!((proof.state.as_str(), proof.problem.as_deref()), ("unproved", Some("there is no veth")));
        assert!(!next.planner.is_proved() || !is_out_after);
    }
}

/// Passes with a probe of each canary, answered as `answer` says, and an executor that makes no probe's link
/// if `without_link`.
fn live(rig: &mut Rig, seconds: u32, without_link: bool, answer: impl Fn(&Canary) -> Result<(), Fault>) -> Vec<Plan> {
    let mut plans = Vec::new();
    for _ in 0..seconds * 10 {
        let plan = rig.planner.plan(rig.now);
        for step in plan.steps.clone() {
            let outcome = match step {
                Step::EnsureProbe(_) if without_link => Outcome::Refused("there is no veth".to_owned()),
                _ => rig.node.perform_one(&step),
            };
            rig.change(Change::Report(Report { step, outcome }));
        }
        for canary in rig.planner.canaries() {
            rig.change(Change::Probe(canary, answer(&canary)));
        }
        rig.now = rig.now + Duration::from_millis(100);
        plans.push(plan);
    }
    plans
}

/// An upgrade from a version without canaries, or where a canary never answers, as behind a host firewall.
#[test]
fn the_speaker_is_not_told_to_hold_earlier_routes_to_a_proof_that_nobody_has() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    let never = |_: &Canary| Err(Fault::Broken("the reply did not come back".to_owned()));
    for without_link in [true, false] {
        let mut next = Rig::on(proved(dual_stack()), rig.node.clone());
        next.list(web());
        live(&mut next, 30, without_link, never);
        assert!(is_out(&next, "10.96.0.0/16"));
        assert!(next.planner.given_orders().is_none() && next.planner.vouch(next.now).is_err());
    }

    // IPv6 alone can be unprovable: the speaker goes by IPv4 then, and the rest stays.
    let mut next = Rig::on(proved(dual_stack()), rig.node.clone());
    next.list(web());
    live(&mut next, 30, false, |canary| if canary.vip.is_ipv4() { Ok(()) } else { never(canary) });
    assert!(is_out(&next, "10.96.0.0/16") && is_out(&next, "fd00:10:96::/112"));
    let trusted = &next.planner.given_orders().unwrap().canaries;
    assert!(trusted.iter().map(|canary| canary.vip.is_ipv4()).eq([true]), "{trusted:?}");

    // A node that announces nothing has nothing to lose.
    let mut fresh = Rig::new(proved(dual_stack()));
    fresh.list(web());
    live(&mut fresh, 30, false, never);
    assert!(fresh.planner.given_orders().is_some_and(|orders| orders.canaries.is_empty()));
}

#[test]
fn a_canary_that_never_answered_withdraws_nothing_and_says_so() {
    let mut rig = at_rest();
    let mut next = Rig::on(proved(dual_stack()), rig.node.clone());
    next.list(web());
    let plans = live(&mut next, 30, false, |_| Err(Fault::Broken("the reply did not come back".to_owned())));
    let writes: Vec<&Step> = plans.iter().flat_map(|plan| &plan.steps).filter(|step| !step.is_read()).collect();
    assert!(writes.is_empty(), "{writes:?}");
    let told: Vec<String> = plans.iter().flat_map(|plan| &plan.news).map(ToString::to_string).collect();
    let alarms = told.iter().filter(|line| line.contains("the canary 169.254.77.1:9 TCP: the reply did not come back"));
    assert_eq!(alarms.count(), 1, "{told:#?}");
    assert_eq!(next.planner.status().proof[0].state, "unproved");

    // Nor does one that cannot be probed any more, which had answered.
    let before = rig.node.state.clone();
    let plans = live(&mut rig, 30, false, |_| Err(Fault::Unable("no capability".to_owned())));
    let told: Vec<String> = plans.iter().flat_map(|plan| &plan.news).map(ToString::to_string).collect();
    assert!(told.iter().any(|line| line.contains("it cannot be probed: no capability")), "{told:#?}");
    assert_eq!((rig.node.state.bgp.as_ref(), rig.planner.vouch(rig.now)), (before.bgp.as_ref(), Ok(())));
    assert_eq!(rig.planner.status().proof[0].state, "unproved");
}

#[test]
fn a_proof_gets_old() {
    let mut rig = at_rest();
    live(&mut rig, 1, false, |_| Ok(()));
    assert_eq!(rig.planner.vouch(rig.now), Ok(()));
    // The agent was stopped, or nobody probes any more.
    rig.now = rig.now + Duration::from_secs(6);
    let objection = rig.planner.vouch(rig.now).unwrap_err();
    assert_eq!(objection, "the canary 169.254.77.1:9 TCP has not been probed lately");
    // What fails now is no proof, even before it counts as broken.
    let four = canary(&rig, 0);
    probe(&mut rig, four, &[Err("late")]);
    assert!(rig.planner.vouch(rig.now).is_err() && is_out(&rig, "10.96.0.0/16"));
    live(&mut rig, 1, false, |_| Ok(()));
    assert_eq!(rig.planner.vouch(rig.now), Ok(()));
}

#[test]
fn a_canary_in_a_range_is_refused_and_named() {
    let mut settings = proved(dual_stack());
    settings.proof.canaries = vec![prefix("10.96.7.0/29")];
    let mut rig = Rig::new(settings);
    rig.list(web()).run();
    assert!(rig.planner.canaries().is_empty() && is_out(&rig, "10.96.0.0/16"));
    let reasons = rig.planner.status().reasons.join("\n");
    assert!(
        reasons.contains("the canary's range 10.96.7.0/29 shares addresses with the range 10.96.0.0/16"),
        "{reasons}"
    );
}

/// After a reboot the kernel is empty, and every switch would send its share as soon as it hears the route.
#[test]
fn after_a_reboot_two_thousand_services_are_forwarded_and_proved_before_one_route_is_out() {
    const SERVICES: usize = 2000;
    let objects = (0..SERVICES).flat_map(|n| {
        let (name, host) = (format!("s{n}"), format!("{}.{}", n / 250, n % 250 + 1));
        let vip = format!("10.96.{host}");
        [
            service(&name, &[&vip], &[("p", 80)]),
            slice(&format!("{name}-4"), &name, &[("p", 8080)], &[&format!("10.244.{host}")]),
        ]
    });
    let mut rig = Rig::new(proved(dual_stack()));
    rig.list(objects);
    let mut probed = 0;
    while !is_out(&rig, "10.96.0.0/16") {
        let plan = rig.planner.plan(rig.now);
        for step in plan.steps {
            if let Step::Announce(range, _) = &step {
                let served = rig.node.state.ipvs.keys().filter(|key| range.contains(key.address)).count();
                let expected = if range.address().is_ipv4() { SERVICES } else { 0 };
                assert_eq!((served, probed >= 2), (expected, true), "{range}");
            }
            let outcome = rig.node.perform_one(&step);
            rig.change(Change::Report(Report { step, outcome }));
        }
        // One probe of each in every tenth of a second: the first fail, since not all is there yet.
        for canary in rig.planner.canaries() {
            let result = rig.node.probe(&canary);
            probed = if result.is_ok() { probed + 1 } else { 0 };
            rig.change(Change::Probe(canary, result.map_err(Fault::Broken)));
        }
        rig.now = rig.now + Duration::from_millis(100);
        assert!(rig.now.0 < Duration::from_secs(60), "{:#?}", rig.planner.status().reasons);
    }
}

/// A canary's route would take the traffic of whoever has its addresses.
#[test]
fn a_canary_with_somebody_elses_addresses_is_not_in_force() {
    let mut peers = dual_stack();
    let settings = peers.bgp.as_mut().unwrap();
    let mut peer = settings.peers[0].clone();
    peer.name = vipcast::model::bgp::PeerName::Address("169.254.77.1".parse().unwrap());
    settings.peers.push(peer);
    let mut rig = Rig::new(proved(peers));
    rig.list(web()).run();
    assert_eq!(rig.planner.canaries().len(), 1, "IPv6's");
    assert!(!rig.node.state.addr.routes.contains_key(&prefix("169.254.77.1/32")));
    let reasons = rig.planner.status().reasons.join("\n");
    assert!(reasons.contains("the canary's range 169.254.77.0/29 holds the BGP peer 169.254.77.1"), "{reasons}");
}
