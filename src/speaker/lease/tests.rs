//! What becomes of the lease in each combination of an agent that lives, hangs, objects or is dead, a data plane that is
//! proved or not, and a speaker that is restarted. (gobgpd is not its business: see the keeper's tests.)

use proptest::prelude::*;

use super::*;

const TTL: Duration = Duration::from_secs(5);
const STATIC: Duration = Duration::from_secs(60);
const PROVABLE: Terms = Terms { ttl: TTL, fail_static: STATIC, provable: true };
const BLIND: Terms = Terms { provable: false, ..PROVABLE };

fn at(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}

fn held(terms: Terms) -> Lease {
    let mut lease = Lease::new(Time::ZERO);
    lease.connected(true, Time::ZERO);
    lease.order(terms, Time::ZERO);
    lease.renew(Ok(()), Time::ZERO);
    lease
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Agent {
    Alive,
    Hung,
    Objecting,
    Dead,
}

/// Lets `seconds` pass from second `from` on, with an agent like this and a probe, where one is wanted, with this verdict.
fn pass(lease: &mut Lease, from: u64, seconds: u64, agent: Agent, verdict: &Result<(), String>) {
    lease.connected(agent != Agent::Dead, at(from));
    for second in from + 1..=from + seconds {
        let now = at(second);
        match agent {
            Agent::Alive => lease.renew(Ok(()), now),
            Agent::Objecting => lease.renew(Err("range 10.96.0.0/16: broken".to_owned()), now),
            Agent::Hung | Agent::Dead => lease.judge(now),
        }
        if lease.probe_from().is_some_and(|from| from <= now) {
            lease.probed(verdict.clone(), now);
        }
    }
}

#[test]
fn every_combination_of_agent_and_proof() {
    use LeaseState::{Held, Lapsed, Static};
    let passes = Ok(());
    let fails = Err("SYN did not come out".to_owned());
    let cases = [
        (Agent::Alive, PROVABLE, &passes, [Held, Held, Held], ""),
        (Agent::Alive, PROVABLE, &fails, [Held, Held, Held], ""),
        (Agent::Alive, BLIND, &fails, [Held, Held, Held], ""),
        (
            Agent::Hung,
            PROVABLE,
            &passes,
            [Held, Static, Lapsed],
            "does not answer for its data plane, and the time for that",
        ),
        (Agent::Hung, PROVABLE, &fails, [Held, Lapsed, Lapsed], "own probe fails: SYN did not come out"),
        (Agent::Hung, BLIND, &passes, [Held, Lapsed, Lapsed], "nothing else can prove"),
        (Agent::Objecting, PROVABLE, &passes, [Held, Static, Static], "does not vouch for the data plane: range 10.96"),
        (Agent::Objecting, BLIND, &passes, [Held, Lapsed, Lapsed], "range 10.96.0.0/16: broken, and nothing else can"),
        (
            Agent::Objecting,
            PROVABLE,
            &fails,
            [Held, Lapsed, Lapsed],
            "range 10.96.0.0/16: broken, and the speaker's own",
        ),
        (Agent::Dead, PROVABLE, &passes, [Held, Static, Lapsed], "no agent is connected, and the time for that"),
        (
            Agent::Dead,
            PROVABLE,
            &fails,
            [Held, Lapsed, Lapsed],
            "no agent is connected, and the speaker's own probe fails",
        ),
        (Agent::Dead, BLIND, &passes, [Held, Lapsed, Lapsed], "no agent is connected, and nothing else can prove"),
    ];
    for (agent, terms, verdict, expected, reason) in cases {
        let mut lease = held(terms);
        let mut found = Vec::new();
        let mut from = 0;
        // Before the last renewal is too old, after it, and after the time for probes alone.
        for seconds in [4, 2, 60] {
            pass(&mut lease, from, seconds, agent, verdict);
            from += seconds;
            found.push(lease.state());
        }
        assert_eq!(found, expected, "{agent:?} {terms:?} {verdict:?}");
        let told = lease.reason().unwrap_or_default();
        assert!(told.contains(reason), "{agent:?} {terms:?} {verdict:?}: {told}");
    }
}

#[test]
fn without_orders_nothing_lapses() {
    let mut lease = Lease::new(Time::ZERO);
    lease.connected(true, at(1));
    lease.renew(Ok(()), at(1));
    lease.connected(false, at(2));
    lease.judge(at(1_000_000));
    assert_eq!((lease.state(), lease.wake_at(), lease.probe_from()), (LeaseState::Unknown, None, None));
}

#[test]
fn a_data_plane_that_breaks_after_the_agent_costs_one_ttl() {
    let mut lease = held(PROVABLE);
    pass(&mut lease, 0, 20, Agent::Dead, &Ok(()));
    assert_eq!(lease.state(), LeaseState::Static);
    pass(&mut lease, 20, 4, Agent::Dead, &Err("broken".to_owned()));
    assert_eq!(lease.state(), LeaseState::Static);
    pass(&mut lease, 24, 1, Agent::Dead, &Err("broken".to_owned()));
    assert_eq!(lease.state(), LeaseState::Lapsed);
}

#[test]
fn one_probe_that_failed_costs_nothing() {
    let mut lease = held(PROVABLE);
    for second in (0..40).step_by(2) {
        pass(&mut lease, second, 1, Agent::Dead, &Ok(()));
        pass(&mut lease, second + 1, 1, Agent::Dead, &Err("lost".to_owned()));
    }
    assert_eq!(lease.state(), LeaseState::Static);
}

#[test]
fn a_lease_that_lapsed_waits_for_an_agent() {
    let mut lease = held(PROVABLE);
    pass(&mut lease, 0, 10, Agent::Dead, &Err("broken".to_owned()));
    assert_eq!(lease.state(), LeaseState::Lapsed);
    assert_eq!(lease.probe_from(), None);
    lease.probed(Ok(()), at(11));
    pass(&mut lease, 11, 5, Agent::Objecting, &Ok(()));
    assert_eq!(lease.state(), LeaseState::Lapsed);
    lease.renew(Ok(()), at(17));
    assert_eq!((lease.state(), lease.since(), lease.reason()), (LeaseState::Held, at(17), None));
    // What was proved before it lapsed proves nothing now.
    pass(&mut lease, 17, 6, Agent::Dead, &Err("broken".to_owned()));
    assert_eq!(lease.state(), LeaseState::Lapsed);
}

#[test]
fn a_restarted_speaker_goes_on_where_the_former_one_ended() {
    let passes = Ok(());
    let cases = [
        (Past::Held, &passes, LeaseState::Held, LeaseState::Static),
        (Past::Silent(Duration::from_secs(30)), &passes, LeaseState::Held, LeaseState::Static),
        (Past::Silent(STATIC), &passes, LeaseState::Held, LeaseState::Lapsed),
        (Past::Silent(STATIC * 2), &passes, LeaseState::Held, LeaseState::Lapsed),
        (Past::Held, &Err("broken".to_owned()), LeaseState::Held, LeaseState::Lapsed),
        (Past::Lapsed("before".to_owned()), &passes, LeaseState::Lapsed, LeaseState::Lapsed),
    ];
    for (past, verdict, early, late) in cases {
        let mut lease = Lease::resumed(PROVABLE, past.clone(), Time::ZERO);
        pass(&mut lease, 0, 4, Agent::Dead, verdict);
        assert_eq!(lease.state(), early, "{past:?}");
        pass(&mut lease, 4, 4, Agent::Dead, verdict);
        assert_eq!(lease.state(), late, "{past:?}");
        // The agent's return mends all of them.
        lease.renew(Ok(()), at(9));
        assert_eq!((lease.state(), lease.silence(at(10))), (LeaseState::Held, Duration::from_secs(1)), "{past:?}");
    }
}

#[test]
fn what_was_silent_before_counts() {
    let mut lease = Lease::resumed(PROVABLE, Past::Silent(Duration::from_secs(50)), Time::ZERO);
    pass(&mut lease, 0, 9, Agent::Dead, &Ok(()));
    assert_eq!((lease.state(), lease.silence(at(9))), (LeaseState::Static, Duration::from_secs(59)));
    pass(&mut lease, 9, 1, Agent::Dead, &Ok(()));
    assert_eq!(lease.state(), LeaseState::Lapsed);
}

#[test]
fn the_probe_is_rehearsed_while_the_agent_lives() {
    let mut lease = held(PROVABLE);
    assert_eq!(lease.probe_from(), Some(Time::ZERO));
    pass(&mut lease, 0, 30, Agent::Alive, &Err("no packet socket".to_owned()));
    let problem = "without the agent the routes would go: the speaker's own probe fails: no packet socket";
    assert_eq!((lease.state(), lease.problem().as_deref()), (LeaseState::Held, Some(problem)));
    // One that fails once is looked at again before it is told.
    pass(&mut lease, 30, 10, Agent::Alive, &Ok(()));
    assert_eq!(lease.problem(), None);
    lease.probed(Err("lost".to_owned()), at(41));
    lease.renew(Ok(()), at(45));
    assert_eq!((lease.problem(), lease.probe_from()), (None, Some(at(41) + TTL)));
    // What failed before it lapsed is not told when it is held again.
    pass(&mut lease, 45, 10, Agent::Dead, &Err("lost".to_owned()));
    assert_eq!((lease.state(), lease.problem()), (LeaseState::Lapsed, None));
    lease.connected(true, at(56));
    lease.renew(Ok(()), at(56));
    assert_eq!((lease.state(), lease.problem(), lease.tried), (LeaseState::Held, None, None));
    // Without canaries there is nothing to try.
    let mut lease = held(BLIND);
    pass(&mut lease, 0, 120, Agent::Alive, &Ok(()));
    assert_eq!((lease.tried, lease.problem()), (None, None));
}

#[derive(Debug, Clone)]
enum Input {
    Renew(bool),
    Connect(bool),
    Probe(bool),
    Wait(u64),
}

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        any::<bool>().prop_map(Input::Renew),
        any::<bool>().prop_map(Input::Connect),
        any::<bool>().prop_map(Input::Probe),
        (1u64..4000).prop_map(Input::Wait),
    ]
}

proptest! {
    /// Whatever happens: it is not lapsed exactly as long as there has been a proof within each `ttl` since an agent renewed
    /// it, and the probe alone did not have to do for longer than `fail_static` after the agent was heard.
    #[test]
    fn a_proof_is_never_older_than_the_ttl(inputs in proptest::collection::vec(any_input(), 0..60)) {
        let mut lease = held(PROVABLE);
        let (mut now, mut lapsed) = (Time::ZERO, false);
        let (mut renewed, mut heard, mut proved) = (Time::ZERO, Time::ZERO, Time::ZERO);
        for input in inputs {
            match input {
                Input::Renew(proof) => {
                    lease.renew(if proof { Ok(()) } else { Err("no".to_owned()) }, now);
                    heard = now;
                    if proof {
                        (renewed, proved, lapsed) = (now, now, false);
                    }
                }
                Input::Connect(is_there) => lease.connected(is_there, now),
                Input::Probe(passes) => {
                    lease.probed(if passes { Ok(()) } else { Err("no".to_owned()) }, now);
                    if passes {
                        proved = now;
                    }
                }
                Input::Wait(millis) => {
                    // Whoever keeps the lease looks when it asks for it.
                    let end = now + Duration::from_millis(millis);
                    while let Some(wake) = lease.wake_at().filter(|wake| *wake <= end) {
                        lease.judge(wake);
                    }
                    lapsed |= end >= proved + TTL || end >= (heard + STATIC).max(renewed + TTL);
                    now = end;
                    lease.judge(now);
                }
            }
            prop_assert_eq!(lease.state() == LeaseState::Lapsed, lapsed);
            prop_assert_eq!(lease.state() == LeaseState::Held, !lapsed && now < renewed + TTL);
        }
    }
}

/// Another `lease.ttl`, or canaries that are switched on, must not withdraw what the former terms held.
#[test]
fn a_shorter_ttl_counts_from_now_on_and_prolongs_nothing() {
    let long = Terms { ttl: Duration::from_secs(120), ..BLIND };
    let mut lease = held(long);
    lease.order(PROVABLE, at(100));
    assert_eq!((lease.state(), lease.until()), (LeaseState::Held, Some(at(105))));
    // The same again is no renewal.
    lease.order(PROVABLE, at(103));
    assert_eq!(lease.until(), Some(at(105)));
    lease.judge(at(105));
    assert_eq!(lease.state(), LeaseState::Lapsed);

    // Of what was left to it, it gets no more than that.
    let mut lease = held(long);
    lease.order(PROVABLE, at(118));
    assert_eq!(lease.until(), Some(at(120)));
    lease.renew(Ok(()), at(119));
    assert_eq!(lease.until(), Some(at(124)));

    // There and back.
    let mut lease = held(long);
    lease.order(PROVABLE, at(100));
    lease.order(long, at(101));
    assert_eq!(lease.until(), Some(at(120)));

    // What the speaker's own probe proved is proved for a moment without canaries, too.
    let mut lease = held(PROVABLE);
    pass(&mut lease, 0, 20, Agent::Objecting, &Ok(()));
    assert_eq!(lease.state(), LeaseState::Static);
    lease.order(BLIND, at(20));
    assert_eq!(lease.state(), LeaseState::Static);
    assert_eq!(lease.wake_at(), Some(at(25)));
    lease.judge(at(25));
    assert_eq!(lease.state(), LeaseState::Lapsed);
}
