//! Two sessions and what lies between them: the state machine held against what it promises.

mod engine;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use vipcast::bfd::{Packet, Session};
use vipcast::model::Time;
use vipcast::model::bfd::BfdState::{self, AdminDown, Down, Init, Up};
use vipcast::model::bfd::Timers;

use super::laws::cases;

/// What happens to the packets.
#[derive(Debug, Clone, Copy)]
struct Channel {
    /// Each takes at least so long.
    delay: Duration,
    /// And up to so much longer.
    spread: Duration,
    /// May one overtake another?
    reorders: bool,
    /// So many of a thousand get lost.
    lost: u64,
}

const PERFECT: Channel = Channel { delay: Duration::from_micros(50), spread: Duration::ZERO, reorders: false, lost: 0 };

/// Both sides, and the packets between them.
struct World {
    now: Time,
    sides: [Option<Session>; 2],
    channel: Channel,
    /// The longest that a packet which is under way may take.
    slowest: Duration,
    cut: bool,
    /// When it arrives, a number, to whom.
    flying: BTreeMap<(Time, u64), (usize, Packet)>,
    last_arrival: [Time; 2],
    dice: u64,
    sent: u64,
    /// Since when each side has had which state.
    history: [Vec<(Time, BfdState)>; 2],
}

impl World {
    fn new(timers: [Timers; 2], channel: Channel, seed: u64) -> World {
        let session = |side: usize| Session::new(timers[side], true, side as u32 + 1, seed + side as u64, Time::ZERO);
        World {
            now: Time::ZERO,
            sides: [Some(session(0)), Some(session(1))],
            channel,
            slowest: channel.delay + channel.spread,
            cut: false,
            flying: BTreeMap::new(),
            last_arrival: [Time::ZERO; 2],
            dice: seed,
            sent: 0,
            history: [vec![(Time::ZERO, Down)], vec![(Time::ZERO, Down)]],
        }
    }

    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.dice >> 33
    }

    fn send(&mut self, from: usize, packet: Packet) {
        assert_eq!(Packet::parse(&packet.encode()), Ok(packet));
        if self.cut || self.roll() % 1000 < self.channel.lost {
            return;
        }
        let to = 1 - from;
        let spread = self.channel.spread.as_micros() as u64;
        let more = if spread == 0 { 0 } else { self.roll() % (spread + 1) };
        let mut at = self.now + self.channel.delay + Duration::from_micros(more);
        if !self.channel.reorders {
            at = at.max(self.last_arrival[to]);
            self.last_arrival[to] = at;
        }
        self.sent += 1;
        self.flying.insert((at, self.sent), (to, packet));
    }

    fn state(&self, side: usize) -> BfdState {
        self.history[side].last().unwrap().1
    }

    fn changed(&mut self, side: usize) {
        let state = self.sides[side].as_ref().map_or(Down, Session::state);
        if state != self.state(side) {
            self.history[side].push((self.now, state));
        }
    }

    /// Was the side in one of `states` at some time from `since` on?
    fn was(&self, side: usize, states: &[BfdState], since: Time) -> bool {
        let history = &self.history[side];
        history.iter().enumerate().any(|(index, (_, state))| {
            let until = history.get(index + 1).map_or(self.now, |(until, _)| *until);
            states.contains(state) && until >= since
        })
    }

    /// The next thing that happens, not after `until`.
    fn step(&mut self, until: Time) -> bool {
        let arrival = self.flying.keys().next().copied();
        let wake = |side: usize| self.sides[side].as_ref().and_then(Session::wake_at).map(|at| (at, side));
        let wake = [wake(0), wake(1)].into_iter().flatten().min();
        match (arrival, wake) {
            (Some((at, number)), wake) if at <= until && wake.is_none_or(|(wake, _)| at <= wake) => {
                self.now = self.now.max(at);
                let (to, packet) = self.flying.remove(&(at, number)).unwrap();
                let Some(session) = &mut self.sides[to] else { return true };
                let before = session.state();
                let answer = session.receive(&packet, self.now).ok().and_then(|heard| heard.answer);
                let became = session.state();
                self.changed(to);
                if became == Up && before != Up {
                    let since = Time(self.now.since(Time(self.slowest)));
                    assert!(self.was(1 - to, &[Init, Up], since), "up, but the other side was not: {:?}", self.history);
                }
                if let Some(answer) = answer {
                    self.send(to, answer);
                }
            }
            (_, Some((at, side))) if at <= until => {
                self.now = self.now.max(at);
                let woken = self.sides[side].as_mut().unwrap().wake(self.now);
                self.changed(side);
                assert!(woken.transition.is_none_or(|transition| transition.to == Down));
                if let Some(packet) = woken.packet {
                    self.send(side, packet);
                }
            }
            _ => {
                self.now = self.now.max(until);
                return false;
            }
        }
        true
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        let mut steps = 0;
        while self.step(until) {
            steps += 1;
            assert!(steps < 200_000, "a storm of packets");
        }
    }

    fn side(&mut self, side: usize) -> &mut Session {
        self.sides[side].as_mut().unwrap()
    }

    fn states(&self) -> [BfdState; 2] {
        [self.state(0), self.state(1)]
    }
}

fn any_timers() -> impl Strategy<Value = Timers> {
    (10u64..1500, 1u8..10)
        .prop_map(|(millis, multiplier)| Timers { interval: Duration::from_millis(millis), multiplier })
}

/// Whatever an operator or a crash does to one side.
#[derive(Debug, Clone)]
enum Act {
    Wait(u64),
    Timers(usize, Timers),
    Enable(usize, bool),
    Stretch(usize, Option<u64>),
    /// The process begins anew, and knows nothing.
    Restart(usize, Timers),
    /// The process is replaced by one that knows all.
    Resume(usize),
    Cut(bool),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0u64..5000).prop_map(Act::Wait),
        2 => (0usize..2, any_timers()).prop_map(|(side, timers)| Act::Timers(side, timers)),
        1 => (0usize..2, any::<bool>()).prop_map(|(side, enabled)| Act::Enable(side, enabled)),
        1 => (0usize..2, proptest::option::of(1u64..60_000)).prop_map(|(side, time)| Act::Stretch(side, time)),
        1 => (0usize..2, any_timers()).prop_map(|(side, timers)| Act::Restart(side, timers)),
        1 => (0usize..2).prop_map(Act::Resume),
        1 => any::<bool>().prop_map(Act::Cut),
    ]
}

/// Does what has to be done, and keeps book of the timers.
fn act(world: &mut World, act: Act, timers: &mut [Timers; 2], started: &mut u32) {
    let now = world.now;
    match act {
        Act::Wait(millis) => world.run(Duration::from_millis(millis)),
        Act::Timers(side, new) => {
            timers[side] = new;
            world.side(side).set_timers(new, now);
        }
        Act::Enable(side, enabled) => {
            world.side(side).set_enabled(enabled, now);
            world.changed(side);
        }
        Act::Stretch(side, millis) => world.side(side).stretch(millis.map(Duration::from_millis), now),
        Act::Restart(side, new) => {
            *started += 1;
            timers[side] = new;
            world.sides[side] = Some(Session::new(new, true, 10 + *started, u64::from(*started), now));
            world.changed(side);
        }
        Act::Resume(side) => {
            let enabled = world.state(side) != AdminDown;
            let saved = world.side(side).saved(now);
            world.sides[side] = Some(Session::resume(&saved, timers[side], enabled, 5, now));
            world.changed(side);
        }
        Act::Cut(cut) => world.cut = cut,
    }
}

fn any_channel() -> impl Strategy<Value = Channel> {
    (0u64..200, 0u64..300, any::<bool>(), 0u64..500).prop_map(|(delay, spread, reorders, lost)| Channel {
        delay: Duration::from_millis(delay),
        spread: Duration::from_millis(spread),
        reorders,
        lost,
    })
}

/// Is what was negotiated what both asked for?
fn is_settled(world: &mut World, timers: [Timers; 2]) -> bool {
    let slowest = timers[0].interval.max(timers[1].interval);
    [0, 1].into_iter().all(|side| {
        let session = world.side(side);
        session.interval() == Some(slowest)
            && session.detection() == Some(slowest * u32::from(timers[1 - side].multiplier))
    })
}

proptest! {
    #![proptest_config(cases(128))]

    /// Whatever arrives is discarded, or is a packet that can be said again.
    #[test]
    fn any_datagram_is_a_packet_or_none(first in 0x20u8..0x40, second in any::<u8>(), rest in vec(any::<u8>(), 0..40)) {
        let length = rest.len() as u8 + 2;
        let mut bytes = [vec![first, second], rest].concat();
        if let Some(place) = bytes.get_mut(3) {
            *place %= length + 2;
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert!(packet.multiplier > 0 && packet.my_discriminator != 0);
            prop_assert!(packet.your_discriminator != 0 || matches!(packet.state, Down | AdminDown));
            prop_assert_eq!(packet.encode()[4..20].to_vec(), bytes[4..20].to_vec());
            prop_assert_eq!(Packet::parse(&packet.encode()), Ok(packet));
        }
    }

    /// Up only with the other one (`World::step` looks), no storm of packets, and whatever happened: once nothing is in the
    /// way any more both come up, end their poll sequences, and stay.
    #[test]
    fn whatever_happens_it_ends_well(
        timers in [any_timers(), any_timers()],
        channel in any_channel(),
        acts in vec(any_act(), 0..20),
        seed in 0u64..u64::MAX / 2,
    ) {
        let mut timers = timers;
        let mut started = 0;
        let mut world = World::new(timers, channel, seed);
        for one in acts {
            act(&mut world, one, &mut timers, &mut started);
        }
        world.channel = PERFECT;
        world.cut = false;
        let now = world.now;
        for side in [0, 1] {
            world.side(side).stretch(None, now);
            world.side(side).set_enabled(true, now);
            world.changed(side);
        }
        // The longest detection time that could be in force: stretched, a minute and what the multiplier adds to it.
        world.run(Duration::from_secs(300));
        prop_assert_eq!(world.states(), [Up, Up]);
        prop_assert!(is_settled(&mut world, timers), "{:?}", world.sides);
        let flaps = [world.side(0).flaps(), world.side(1).flaps()];
        world.run(Duration::from_secs(60));
        prop_assert_eq!([world.side(0).flaps(), world.side(1).flaps()], flaps);
    }

    /// When nothing arrives any more, each side is down after its detection time, and not before.
    #[test]
    fn silence_is_noticed_after_the_detection_time(
        timers in [any_timers(), any_timers()],
        seed in 0u64..u64::MAX / 2,
        up_for in 0u64..3000,
    ) {
        let mut world = World::new(timers, PERFECT, seed);
        world.run(Duration::from_millis(10_000 + up_for));
        prop_assert_eq!(world.states(), [Up, Up]);
        world.flying.clear();
        world.cut = true;
        let cut = world.now;
        world.run(Duration::from_secs(60));
        for side in [0, 1] {
            let (at, state) = *world.history[side].last().unwrap();
            let detection = timers[0].interval.max(timers[1].interval) * u32::from(timers[1 - side].multiplier);
            prop_assert_eq!(state, Down);
            prop_assert!(at - cut <= detection, "{:?} after a detection time of {:?}", at - cut, detection);
            // The last packet came at most one interval before.
            let interval = timers[0].interval.max(timers[1].interval);
            prop_assert!(at - cut + interval + PERFECT.delay >= detection);
        }
    }

    /// While every packet arrives, however late, and in order, nobody ever goes down: not when timers change, not when a
    /// process is replaced.
    #[test]
    fn there_is_no_false_alarm(
        timers in [any_timers(), any_timers()],
        delay in 0u64..100,
        spread in 0u64..1000,
        acts in vec(any_act(), 0..30),
        seed in 0u64..u64::MAX / 2,
    ) {
        // The spread takes what the fastest timers leave: 10 % of an interval at a multiplier of 1.
        let mut least = timers.iter().map(|t| (t.interval, t.multiplier)).collect::<Vec<_>>();
        least.extend(acts.iter().filter_map(|act| match act {
            Act::Timers(_, t) => Some((t.interval, t.multiplier)),
            _ => None,
        }));
        let slack = least.iter().map(|(interval, multiplier)| match multiplier {
            1 => *interval / 10,
            more => *interval * u32::from(more - 1),
        });
        let spread = slack.min().unwrap() * (spread as u32) / 1000;
        let channel = Channel { delay: Duration::from_millis(delay), spread, reorders: false, lost: 0 };
        let mut timers = timers;
        let mut world = World::new(timers, channel, seed);
        world.run(Duration::from_secs(20));
        prop_assert_eq!(world.states(), [Up, Up]);
        for one in acts {
            if !matches!(one, Act::Enable(..) | Act::Restart(..) | Act::Cut(_)) {
                act(&mut world, one, &mut timers, &mut 0);
                prop_assert_eq!([world.side(0).flaps(), world.side(1).flaps()], [0, 0]);
            }
        }
    }

    /// A process that stretched its session may be away for that long.
    #[test]
    fn a_stretched_session_survives_the_silence(
        timers in [any_timers(), any_timers()],
        silence in 1u64..200_000,
        seed in 0u64..u64::MAX / 2,
    ) {
        let mut world = World::new(timers, PERFECT, seed);
        world.run(Duration::from_secs(20));
        let silence = Duration::from_millis(silence);
        let now = world.now;
        world.side(0).stretch(Some(silence), now);
        world.run(Duration::from_secs(5));
        prop_assert!(world.side(0).is_stretched());
        let now = world.now;
        let saved = world.side(0).saved(now);
        world.sides[0] = None;
        let flaps = world.side(1).flaps();
        world.run(silence);
        let now = world.now;
        world.sides[0] = Some(Session::resume(&saved, timers[0], true, 3, now));
        world.run(Duration::from_secs(60));
        prop_assert_eq!(world.states(), [Up, Up]);
        prop_assert_eq!([world.side(0).flaps(), world.side(1).flaps()], [0, flaps]);
        prop_assert!(is_settled(&mut world, timers));
    }
}
