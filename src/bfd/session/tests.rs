use BfdState::{AdminDown, Down, Init, Up};

use super::*;

const TIMERS: Timers = Timers { interval: Duration::from_millis(50), multiplier: 3 };
const MINE: u32 = 7;
const YOURS: u32 = 9;

fn at(millis: u64) -> Time {
    Time(Duration::from_millis(millis))
}

/// What the other side says that takes and wants a packet every 50 ms.
fn packet(state: BfdState) -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        is_final: false,
        independent: false,
        demand: false,
        multiplier: 3,
        my_discriminator: YOURS,
        your_discriminator: MINE,
        desired_tx: TIMERS.interval,
        required_rx: TIMERS.interval,
    }
}

fn session() -> Session {
    Session::new(TIMERS, true, MINE, 1, at(0))
}

/// A session that is up at `at(0)`, after its first poll sequence.
fn up() -> Session {
    let mut session = session();
    session.receive(&packet(Init), at(0)).unwrap();
    session.receive(&packet(Up), at(0)).unwrap();
    session.wake(at(0));
    session.receive(&Packet { is_final: true, ..packet(Up) }, at(0)).unwrap();
    session.receive(&packet(Up), at(0)).unwrap();
    assert_eq!(session.state(), Up);
    session
}

fn in_state(state: BfdState) -> Session {
    let mut session = session();
    match state {
        AdminDown => assert!(session.set_enabled(false, at(0)).is_some()),
        Down => {}
        Init => assert!(session.receive(&packet(Down), at(0)).unwrap().transition.is_some()),
        Up => session = up(),
    }
    assert_eq!(session.state(), state);
    session
}

#[test]
fn the_state_machine_is_that_of_the_rfc() {
    for (state, heard, expected) in [
        (AdminDown, AdminDown, AdminDown),
        (AdminDown, Down, AdminDown),
        (AdminDown, Init, AdminDown),
        (AdminDown, Up, AdminDown),
        (Down, AdminDown, Down),
        (Down, Down, Init),
        (Down, Init, Up),
        (Down, Up, Down),
        (Init, AdminDown, Down),
        (Init, Down, Init),
        (Init, Init, Up),
        (Init, Up, Up),
        (Up, AdminDown, Down),
        (Up, Down, Down),
        (Up, Init, Up),
        (Up, Up, Up),
    ] {
        let mut session = in_state(state);
        session.wake(at(0));
        let heard_state = heard;
        let heard = session.receive(&packet(heard), at(1)).unwrap();
        assert_eq!(session.state(), expected, "{state} {heard_state}");
        assert_eq!(session.remote_state(), heard_state);
        let change = heard.transition.map(|transition| (transition.from, transition.to));
        assert_eq!(change, (state != expected).then_some((state, expected)));
        // A change is told at once.
        assert_eq!(session.wake(at(1)).packet.map(|packet| packet.state), change.map(|(_, to)| to));
    }
}

#[test]
fn why_a_session_is_down_is_told() {
    for (heard, expected) in [(Down, Diagnostic::NEIGHBOR_DOWN), (AdminDown, Diagnostic::NEIGHBOR_DOWN)] {
        let mut session = up();
        let transition = session.receive(&packet(heard), at(1)).unwrap().transition.unwrap();
        assert_eq!(transition.diagnostic, expected);
        assert_eq!(session.wake(at(1)).packet.unwrap().diagnostic, expected);
    }
    let mut session = up();
    session.wake(at(1));
    assert_eq!(session.wake(at(149)).transition, None);
    let woken = session.wake(at(150));
    assert_eq!(woken.transition, Some(Transition { from: Up, to: Down, diagnostic: Diagnostic::EXPIRED }));
    let told = woken.packet.unwrap();
    assert_eq!((told.diagnostic, told.state, told.your_discriminator), (Diagnostic::EXPIRED, Down, 0));
    assert_eq!((session.flaps(), session.reason()), (1, Some(Diagnostic::EXPIRED)));
    let mut session = up();
    let transition = session.set_enabled(false, at(1)).unwrap();
    assert_eq!(transition.diagnostic, Diagnostic::ADMIN_DOWN);
    assert_eq!(session.set_enabled(false, at(1)), None);
    assert_eq!(session.set_enabled(true, at(2)).unwrap().to, Down);
    assert_eq!(session.set_enabled(true, at(2)), None);
}

#[test]
fn a_packet_for_another_session_changes_nothing() {
    let mut session = up();
    let before = format!("{session:?}");
    let stray = Packet { your_discriminator: 8, ..packet(Down) };
    assert_eq!(session.receive(&stray, at(1)), Err(Discard::Stranger(8)));
    assert_eq!(format!("{session:?}"), before);
    // One that knows no discriminator of ours is from somebody who began anew.
    let anew = Packet { your_discriminator: 0, my_discriminator: 10, ..packet(Down) };
    assert_eq!(session.receive(&anew, at(1)).unwrap().transition.unwrap().to, Down);
    assert_eq!(session.wake(at(1)).packet.unwrap().your_discriminator, 10);
}

/// FRR's bfdd takes a packet a second until it is up, and from that moment misses what our last packet promised.
#[test]
fn nothing_is_fast_before_the_other_side_is_heard_to_be_up() {
    let slow = |state: BfdState| Packet { required_rx: Duration::from_secs(1), ..packet(state) };
    let mut session = session();
    session.receive(&slow(Down), at(0)).unwrap();
    assert_eq!(session.wake(at(0)).packet.unwrap().desired_tx, Duration::from_secs(1));
    session.receive(&slow(Init), at(1)).unwrap();
    assert_eq!(session.state(), Up);
    let first = session.wake(at(1)).packet.unwrap();
    assert_eq!((first.state, first.desired_tx, first.poll), (Up, Duration::from_secs(1), false));
    // Now it is up, polls, and is answered at once; and so is our own poll, with a rate that no longer waits for the slow one.
    let heard = session.receive(&Packet { poll: true, ..packet(Up) }, at(2)).unwrap();
    let answer = heard.answer.unwrap();
    assert!(answer.is_final && !answer.poll);
    assert_eq!(answer.desired_tx, TIMERS.interval);
    let polling = session.wake(at(2)).packet.unwrap();
    assert!(polling.poll && !polling.is_final);
    assert_eq!(polling.desired_tx, TIMERS.interval);
    let next = session.wake_at().unwrap();
    assert!(next <= at(52), "{next:?}");
    // It polls until it is answered.
    assert!(session.wake(next).packet.unwrap().poll);
    session.receive(&Packet { is_final: true, ..packet(Up) }, next).unwrap();
    assert!(!session.wake(session.wake_at().unwrap()).packet.unwrap().poll);
}

#[test]
fn slower_only_once_the_other_side_knows_and_faster_at_once() {
    let slow = Timers { interval: Duration::from_millis(400), multiplier: 5 };
    let mut session = up();
    session.set_timers(slow, at(1));
    let asking = session.wake(at(1)).packet.unwrap();
    assert!(asking.poll);
    assert_eq!((asking.desired_tx, asking.required_rx, asking.multiplier), (slow.interval, slow.interval, 5));
    assert_eq!(session.interval(), Some(TIMERS.interval));
    assert_eq!(session.detection(), Some(slow.interval * 3));
    // A second change waits for the first one, and for a packet after its end.
    session.set_timers(TIMERS, at(2));
    assert_eq!(session.wake(at(48)).packet.unwrap().desired_tx, slow.interval);
    session.receive(&Packet { is_final: true, ..packet(Up) }, at(49)).unwrap();
    assert_eq!(session.interval(), Some(slow.interval));
    session.receive(&Packet { is_final: true, ..packet(Up) }, at(50)).unwrap();
    assert_eq!(session.interval(), Some(slow.interval));
    session.receive(&packet(Up), at(51)).unwrap();
    let asking = session.wake(at(51)).packet.unwrap();
    assert!(asking.poll);
    assert_eq!(asking.desired_tx, TIMERS.interval);
    assert_eq!(session.interval(), Some(TIMERS.interval));
    assert_eq!(session.detection(), Some(slow.interval * 3));
    session.receive(&Packet { is_final: true, ..packet(Up) }, at(52)).unwrap();
    assert_eq!(session.detection(), Some(TIMERS.interval * 3));
}

#[test]
fn who_wants_no_periodic_packets_gets_none() {
    for quiet in [Packet { demand: true, ..packet(Up) }, Packet { required_rx: Duration::ZERO, ..packet(Up) }] {
        let mut session = up();
        session.wake(at(0));
        session.receive(&quiet, at(1)).unwrap();
        assert_eq!(session.interval(), None);
        assert_eq!(session.wake(at(149)).packet, None);
        // It is answered all the same, and missed.
        assert!(session.receive(&Packet { poll: true, ..quiet }, at(149)).unwrap().answer.is_some());
        assert_eq!(session.wake_at(), Some(at(299)));
        // And gets them again when it wants them.
        session.receive(&packet(Up), at(200)).unwrap();
        assert!(session.wake_at().unwrap() <= at(250));
    }
}

#[test]
fn a_session_that_keeps_dropping_is_believed_later_unless_somebody_means_it() {
    for (heard, damped) in [(Down, true), (AdminDown, false)] {
        let mut session = up();
        for _ in 0..2 {
            session.receive(&packet(heard), at(1)).unwrap();
            session.receive(&packet(Down), at(1)).unwrap();
            session.receive(&packet(Up), at(1)).unwrap();
        }
        assert_eq!(session.state(), Up);
        assert_eq!(session.damped(at(1)).is_some(), damped, "{heard}");
        assert_eq!(session.flaps(), 2);
    }
}

#[test]
fn another_process_goes_on_where_this_one_ended() {
    let session = up();
    let saved = session.saved(at(5));
    let text = serde_json::to_string(&saved).unwrap();
    let saved: Saved = serde_json::from_str(&text).unwrap();
    let mut next = Session::resume(&saved, TIMERS, true, 2, at(1000));
    assert_eq!(next.state(), Up);
    let packet = next.wake(at(1000)).packet.unwrap();
    assert_eq!((packet.state, packet.poll, packet.desired_tx), (Up, false, TIMERS.interval));
    assert_eq!((packet.my_discriminator, packet.your_discriminator), (MINE, YOURS));
    assert_eq!(next.detection(), Some(TIMERS.interval * 3));
    assert!(next.wake(at(1150)).transition.is_some());

    // Other timers are negotiated.
    let other = Timers { interval: Duration::from_millis(100), multiplier: 3 };
    let mut next = Session::resume(&saved, other, true, 2, at(0));
    assert!(next.wake(at(0)).packet.unwrap().poll);
    assert_eq!(next.interval(), Some(TIMERS.interval));

    // What is not to come up does not, and says so to the right one.
    let mut next = Session::resume(&saved, TIMERS, false, 2, at(0));
    let packet = next.wake(at(0)).packet.unwrap();
    assert_eq!((packet.state, packet.your_discriminator), (AdminDown, YOURS));

    // What was not believed is not believed now.
    let damped = Saved { drops: 3.0, damped: true, ..saved.clone() };
    let next = Session::resume(&damped, TIMERS, true, 2, at(0));
    assert_eq!((next.state(), next.damped(at(0))), (Up, Some(Duration::from_secs(4))));
    assert!(next.saved(at(0)).damped && !next.saved(at(4000)).damped);
    let believed = Saved { damped: false, ..damped };
    assert_eq!(Session::resume(&believed, TIMERS, true, 2, at(0)).damped(at(0)), None);

    // What was not up begins anew.
    let mut next = Session::resume(&in_state(Init).saved(at(0)), TIMERS, true, 2, at(0));
    let packet = next.wake(at(0)).packet.unwrap();
    assert_eq!((packet.state, packet.my_discriminator, packet.your_discriminator), (Down, MINE, 0));
}

#[test]
fn a_stretched_session_waits_for_the_other_side() {
    let mut session = up();
    session.stretch(Some(Duration::from_secs(30)), at(1));
    let asking = session.wake(at(1)).packet.unwrap();
    assert!(asking.poll);
    assert_eq!((asking.desired_tx, asking.multiplier), (Duration::from_secs(1), 31));
    assert!(!session.is_stretched());
    session.receive(&Packet { is_final: true, ..packet(Up) }, at(2)).unwrap();
    assert!(session.is_stretched());
    assert_eq!(session.interval(), Some(Duration::from_secs(1)));
    // What is not up has nothing to stretch.
    let mut down = in_state(Down);
    down.stretch(Some(Duration::from_secs(30)), at(1));
    assert!(down.is_stretched());
    assert_eq!(down.wake(at(1)).packet.unwrap().multiplier, 3);
}
