use crate::model::ipvs::{Protocol, ServerKey};
use crate::model::traffic::{Count, Traffic};

use super::*;

fn at(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}

fn demand() -> Demand {
    Demand { causes: vec!["vipcast drain".to_owned()], ..Demand::default() }
}

/// An LB node that announces, of a fleet, and that is to leave.
fn scene(drain: &Drain) -> Scene<'_> {
    Scene {
        demand: Some(demand()),
        out: true,
        counted_on: true,
        speaks: true,
        marked: false,
        heard: Err(None),
        restored: false,
        drain,
    }
}

fn fleet() -> Drain {
    Drain { fleet: Some("vipcast".into()), ..Drain::default() }
}

/// So many connections ever, and open ones, of one virtual server, with as many packets as connections.
fn traffic(total: u64, open: u64) -> Traffic {
    with_packets(total, open, total)
}

fn with_packets(total: u64, open: u64, packets: u64) -> Traffic {
    let key = ServerKey { address: [10, 96, 0, 1].into(), protocol: Protocol::Tcp, port: 80 };
    [(key, Count { total, packets, open })].into()
}

fn go(away: &mut Away, scene: &Scene, seconds: u64) -> Phase {
    away.advance(scene, at(seconds));
    away.phase()
}

#[test]
fn a_node_leaves_by_all_phases_and_returns() {
    let drain = fleet();
    let mut away = Away::default();
    let mut scene = scene(&drain);
    assert_eq!(go(&mut away, &scene, 0), Phase::Asking);
    assert_eq!(away.bearing(), Bearing::Announce, "who asks serves on");
    away.told(Verdict::Refused("lb2 is away".into()));
    assert_eq!(go(&mut away, &scene, 600), Phase::Asking);
    away.told(Verdict::Granted);
    assert_eq!(go(&mut away, &scene, 601), Phase::Shunned);
    assert_eq!(away.bearing(), Bearing::Shun);
    scene.marked = true;
    away.meter.count(traffic(100, 7), at(602));
    away.meter.count(traffic(101, 8), at(603));
    // The kernel tells of the connections of the last 2 s late.
    for (seconds, phase) in [(606, Phase::Shunned), (607, Phase::Withdrawn)] {
        away.meter.count(traffic(101, 5), at(seconds));
        assert_eq!(go(&mut away, &scene, seconds), phase);
    }
    assert_eq!(away.bearing(), Bearing::Withdraw);
    scene.out = false;
    scene.heard = Err(Some(at(609)));
    assert_eq!((go(&mut away, &scene, 608), away.wake_at(&scene)), (Phase::Withdrawn, Some(at(609))));
    scene.heard = Ok(());
    assert_eq!(go(&mut away, &scene, 609), Phase::Holding);
    away.meter.count(traffic(101, 1), at(610));
    assert_eq!((go(&mut away, &scene, 610), away.wake_at(&scene)), (Phase::Holding, Some(at(909))));
    away.meter.count(traffic(101, 0), at(611));
    assert_eq!(go(&mut away, &scene, 611), Phase::Away);
    assert_eq!((away.meter.arrived(), away.meter.ended()), (1, 7));

    scene.demand = None;
    assert_eq!(go(&mut away, &scene, 700), Phase::Returning);
    assert_eq!(away.bearing(), Bearing::Announce);
    scene.restored = true;
    assert_eq!(go(&mut away, &scene, 701), Phase::Here);
}

#[test]
fn nothing_waits_for_ever_once_it_has_begun() {
    let drain = Drain::default();
    let mut away = Away::default();
    let mut scene = scene(&drain);
    assert_eq!(go(&mut away, &scene, 0), Phase::Shunned, "without a fleet nobody is asked");
    scene.marked = true;
    for second in 1..30 {
        away.meter.count(traffic(second, 1), at(second));
        assert_eq!(go(&mut away, &scene, second), Phase::Shunned, "connections keep coming");
    }
    assert_eq!(away.wake_at(&scene), Some(at(30)));
    assert_eq!(go(&mut away, &scene, 30), Phase::Withdrawn);
    (scene.out, scene.heard) = (false, Ok(()));
    assert_eq!(go(&mut away, &scene, 32), Phase::Holding);
    away.meter.count(traffic(30, 1), at(331));
    assert_eq!(go(&mut away, &scene, 331), Phase::Holding, "one does not end");
    assert_eq!(go(&mut away, &scene, 332), Phase::Away);
    assert_eq!(away.meter.open(), Some(1));
}

#[test]
fn who_is_forced_or_shuts_down_or_announces_nothing_does_not_ask() {
    let drain = fleet();
    let cases: [(&str, Scene, Phase); 6] = [
        ("asks", scene(&drain), Phase::Asking),
        ("forced", Scene { demand: Some(Demand { force: true, ..demand() }), ..scene(&drain) }, Phase::Shunned),
        ("urgent", Scene { demand: Some(Demand { urgent: true, ..demand() }), ..scene(&drain) }, Phase::Shunned),
        ("announces nothing", Scene { out: false, counted_on: false, ..scene(&drain) }, Phase::Withdrawn),
        ("announces nothing for a moment", Scene { out: false, ..scene(&drain) }, Phase::Asking),
        (
            "has no BGP and is forced",
            Scene { speaks: false, demand: Some(Demand { force: true, ..demand() }), ..scene(&drain) },
            Phase::Withdrawn,
        ),
    ];
    for (what, scene, expected) in cases {
        assert_eq!(go(&mut Away::default(), &scene, 0), expected, "{what}");
    }
}

#[test]
fn a_machine_that_shuts_down_waits_for_silence_no_longer_than_silence_takes() {
    let drain = Drain::default();
    let mut away = Away::default();
    let scene = Scene { demand: Some(Demand { urgent: true, ..demand() }), ..scene(&drain) };
    assert_eq!(go(&mut away, &scene, 0), Phase::Shunned);
    assert_eq!(away.wake_at(&scene), Some(at(2)));
    assert_eq!(go(&mut away, &scene, 2), Phase::Withdrawn);
}

#[test]
fn silence_counts_from_when_switches_were_told() {
    let drain = Drain::default();
    let mut away = Away::default();
    let mut scene = scene(&drain);
    go(&mut away, &scene, 0);
    for second in 0..10 {
        away.meter.count(traffic(0, 0), at(second));
        assert_eq!(go(&mut away, &scene, second), Phase::Shunned, "not all routes say it yet");
    }
    scene.marked = true;
    for (second, phase) in [(10, Phase::Shunned), (12, Phase::Shunned), (13, Phase::Withdrawn)] {
        away.meter.count(traffic(0, 0), at(second));
        assert_eq!(go(&mut away, &scene, second), phase);
    }
}

/// Whenever the cause goes, the node returns; whenever there is one again, it leaves without asking twice.
#[test]
fn a_cause_may_come_and_go_at_any_time() {
    let drain = fleet();
    for phase in Phase::ALL {
        let mut away = Away { phase, ..Away::default() };
        let undrained = Scene { demand: None, ..scene(&drain) };
        let expected = if matches!(phase, Phase::Here | Phase::Asking) { Phase::Here } else { Phase::Returning };
        assert_eq!(go(&mut away, &undrained, 10), expected, "{phase:?}");
        assert_eq!(away.bearing(), Bearing::Announce);
        let expected = if expected == Phase::Here { Phase::Asking } else { Phase::Shunned };
        assert_eq!(go(&mut away, &scene(&drain), 11), expected, "{phase:?}");
    }
}

#[test]
fn an_answer_to_a_former_question_is_none_to_this_one() {
    let drain = fleet();
    let mut away = Away::default();
    let scene = scene(&drain);
    away.told(Verdict::Granted);
    assert_eq!(go(&mut away, &scene, 0), Phase::Asking, "nobody had asked");
    away.told(Verdict::Refused("lb2 is away".into()));
    go(&mut away, &Scene { demand: None, ..scene.clone() }, 1);
    assert_eq!(go(&mut away, &scene, 2), Phase::Asking);
    assert_eq!(away.verdict(), None);
}

#[test]
fn a_virtual_server_that_was_made_anew_counts_from_nothing() {
    let mut meter = Meter::begun(at(0));
    meter.count(traffic(1000, 3), at(0));
    meter.count(traffic(2, 2), at(1));
    assert_eq!(meter.arrived(), 0);
    meter.count(traffic(5, 2), at(2));
    assert_eq!((meter.arrived(), meter.open(), meter.ended()), (3, Some(2), 1));
}

/// A switch has sent the packets of open connections elsewhere: nobody waits for what no packet comes for.
#[test]
fn connections_that_nothing_comes_for_hold_nobody() {
    let drain = Drain::default();
    let scene = Scene { out: false, heard: Ok(()), ..scene(&drain) };
    let mut away = Away::default();
    assert_eq!(go(&mut away, &scene, 0), Phase::Holding);
    for (second, packets, phase) in [
        (1, 5, Phase::Holding),
        (20, 6, Phase::Holding),
        (51, 6, Phase::Holding),
        // The kernel tells of the packets of the last 2 s late.
        (52, 6, Phase::Away),
    ] {
        away.meter.count(with_packets(9, 3, packets), at(second));
        assert_eq!(go(&mut away, &scene, second), phase, "{second}");
    }
    assert_eq!(away.meter.open(), Some(3));
}
