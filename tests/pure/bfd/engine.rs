//! The engine on real sockets, on loopback: two engines, or one and a socket that misbehaves. Routers of others it meets in
//! the lab.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use vipcast::bfd::{Diagnostic, Packet};
use vipcast::model::bfd::BfdState::{self, AdminDown, Down, Init, Up};
use vipcast::model::bfd::{BfdStatus, Distance, Session, Timers};
use vipcast::model::bgp::PeerName;
use vipcast::speaker::bfd::{Engine, Saved};

/// Slow enough for a busy machine: these tests are about what happens, not about when.
const TIMERS: Timers = Timers { interval: Duration::from_millis(300), multiplier: 10 };

/// How long a test waits for what has to happen.
const PATIENCE: Duration = Duration::from_secs(30);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn session(local: &str) -> Session {
    Session { timers: TIMERS, local_address: Some(ip(local)), distance: Distance::SingleHop, enabled: true }
}

fn one(remote: &str, session: Session) -> BTreeMap<PeerName, Session> {
    BTreeMap::from([(PeerName::Address(ip(remote)), session)])
}

/// Waits until the only session of the engine is as asked.
fn until(engine: &Engine, what: &str, asked: impl Fn(&BfdStatus) -> bool) -> BfdStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let snapshot = engine.snapshot();
        let status = snapshot.into_values().next();
        match status {
            Some(status) if asked(&status) => return status,
            other => assert!(Instant::now() < deadline, "not {what}: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is(state: BfdState) -> impl Fn(&BfdStatus) -> bool {
    move |status| status.state == state
}

/// Up, and nothing left to negotiate.
fn settled(status: &BfdStatus) -> bool {
    status.state == Up && status.interval == TIMERS.interval && status.detection == Some(TIMERS.interval * 10)
}

#[tokio::test]
async fn two_engines_come_up_and_one_is_replaced_without_the_others_notice() {
    let (here, there) = ("127.87.1.1", "127.87.1.2");
    let engine = Engine::start().unwrap();
    let other = Engine::start().unwrap();
    let mut news = other.news();
    engine.want(one(there, session(here)));
    other.want(one(here, session(there)));
    until(&engine, "up", settled);
    until(&other, "up", settled);

    // A planned hand-over: the other side waits for longer than the pause.
    assert_eq!(engine.stretch(Duration::from_secs(60)).await, [].into());
    until(&other, "patient", |status| status.detection.is_some_and(|time| time >= Duration::from_secs(60)));
    let saved = serde_json::to_string(&engine.saved()).unwrap();
    drop(engine);
    let saved: Saved = serde_json::from_str(&saved).unwrap();
    let engine = Engine::resume(saved.clone()).unwrap();
    engine.want(one(there, session(here)));
    assert_eq!(until(&engine, "up", settled).flaps, 0);
    assert_eq!(until(&other, "up", settled).flaps, 0);

    // A process that was killed, and was back before it was missed.
    let saved = engine.saved();
    drop(engine);
    let engine = Engine::resume(saved).unwrap();
    engine.want(one(there, session(here)));
    assert_eq!(until(&engine, "up", settled).flaps, 0);
    assert_eq!(until(&other, "up", settled).flaps, 0);
    let mut states = Vec::new();
    while let Ok(news) = news.try_recv() {
        states.extend(news.status.map(|status| status.state));
    }
    states.dedup();
    assert_eq!(states.last(), Some(&Up));
    assert!(states.iter().skip_while(|state| **state != Up).all(|state| *state == Up), "{states:?}");

    // One that knows nothing is another one: that costs the session.
    drop(engine);
    let engine = Engine::start().unwrap();
    engine.want(one(there, session(here)));
    until(&engine, "up", settled);
    assert_eq!(until(&other, "up", settled).flaps, 1);
}

#[tokio::test]
async fn what_is_wanted_is_followed_and_told() {
    let (here, there) = ("127.87.2.1", "127.87.2.2");
    let engine = Engine::start().unwrap();
    let other = Engine::start().unwrap();
    engine.want(one(there, session(here)));
    other.want(one(here, session(there)));
    until(&other, "up", settled);
    let slow = Timers { interval: Duration::from_millis(400), multiplier: 20 };
    engine.want(one(there, Session { timers: slow, ..session(here) }));
    until(&other, "slower", |status| status.interval == slow.interval && status.detection == Some(slow.interval * 20));

    engine.want(one(there, Session { enabled: false, ..session(here) }));
    until(&engine, "held", is(AdminDown));
    let status = until(&other, "down", |status| status.remote == AdminDown);
    assert_eq!(status.state, Down);
    assert_eq!(status.reason.as_deref(), Some("neighbor signaled session down"));
    // Whoever holds a session down has a plan.
    assert_eq!(status.damped, None);
    engine.want(one(there, session(here)));
    until(&other, "up", settled);

    // Not wanted any more: that is said, and then nothing is left.
    let mut news = engine.news();
    engine.want(BTreeMap::new());
    until(&other, "down", |status| status.remote == AdminDown);
    assert_eq!(engine.snapshot(), BTreeMap::new());
    loop {
        let news = tokio::time::timeout(PATIENCE, news.recv()).await.unwrap().unwrap();
        if news.status.is_none() {
            assert_eq!(news.peer, PeerName::Address(ip(there)));
            break;
        }
    }
    engine.want(one(there, session(here)));
    until(&other, "up", settled);

    // And so does one that ends for good.
    engine.close();
    until(&other, "down", |status| status.remote == AdminDown);
}

/// The other side of a session, by hand.
struct Hand {
    listener: UdpSocket,
    sender: UdpSocket,
    to: IpAddr,
}

const BY_HAND: Packet = Packet {
    diagnostic: Diagnostic::NONE,
    state: Down,
    poll: false,
    is_final: false,
    independent: false,
    demand: false,
    multiplier: 200,
    my_discriminator: 4711,
    your_discriminator: 0,
    desired_tx: Duration::from_secs(1),
    required_rx: Duration::from_millis(10),
};

impl Hand {
    fn new(here: &str, port: u16, to: &str) -> Hand {
        let listener = UdpSocket::bind((here, port)).unwrap();
        listener.set_read_timeout(Some(PATIENCE)).unwrap();
        let sender = UdpSocket::bind((here, 0)).unwrap();
        sender.set_ttl(255).unwrap();
        Hand { listener, sender, to: ip(to) }
    }

    fn send(&self, bytes: &[u8]) {
        let port = self.listener.local_addr().unwrap().port();
        self.sender.send_to(bytes, (self.to, port)).unwrap();
    }

    fn hear(&self) -> Packet {
        let mut room = [0; 100];
        let (length, from) = self.listener.recv_from(&mut room).unwrap();
        assert_eq!(from.ip(), self.to);
        assert!(from.port() >= 49152, "{from}");
        Packet::parse(&room[..length]).unwrap()
    }

    /// The next packet that says this state.
    fn hear_of(&self, state: BfdState) -> Packet {
        loop {
            let packet = self.hear();
            if packet.state == state {
                return packet;
            }
        }
    }
}

#[test]
fn what_must_not_be_taken_is_not_and_the_reason_is_told() {
    let (here, there) = ("127.87.3.1", "127.87.3.2");
    let hand = Hand::new(there, 3784, here);
    let engine = Engine::start().unwrap();
    engine.want(one(there, session(here)));
    let first = hand.hear();
    assert_eq!((first.state, first.desired_tx, first.independent), (Down, Duration::from_secs(1), true));
    let ours = Packet { your_discriminator: first.my_discriminator, ..BY_HAND };
    let stranger = Packet { your_discriminator: first.my_discriminator ^ 1, ..ours };
    let authenticated = {
        let mut bytes = ours.encode();
        bytes[1] |= 4;
        bytes
    };
    for (ttl, bytes, why) in [
        (254, ours.encode().to_vec(), "it arrived with TTL 254, and less than 255 is not taken from this peer"),
        (255, stranger.encode().to_vec(), "which is not that of this session"),
        (255, authenticated.to_vec(), "it is authenticated"),
        (255, vec![1, 2, 3], "it has 3 bytes"),
    ] {
        hand.sender.set_ttl(ttl).unwrap();
        hand.send(&bytes);
        let told = |status: &BfdStatus| status.problem.as_ref().is_some_and(|problem| problem.contains(why));
        assert_eq!(until(&engine, why, told).state, Down);
    }
    // From somebody else it is not even a problem of this session.
    let other = Hand::new("127.87.3.3", 3784, here);
    other.send(&Packet { your_discriminator: 0, ..ours }.encode());

    hand.sender.set_ttl(255).unwrap();
    hand.send(&ours.encode());
    assert_eq!(until(&engine, "heard", is(Init)).problem, None);
    hand.send(&Packet { state: Init, ..ours }.encode());
    until(&engine, "up", is(Up));
    // Slow until it is confirmed, and then at once: FRR would miss us otherwise.
    assert_eq!(hand.hear_of(Up).desired_tx, Duration::from_secs(1));
    hand.send(&Packet { state: Up, poll: true, ..ours }.encode());
    let answer = hand.hear_of(Up);
    assert_eq!((answer.is_final, answer.desired_tx), (true, TIMERS.interval));
    assert!(hand.hear_of(Up).poll);
    // A session that is up does not fall for a forged packet, nor speak of it.
    hand.sender.set_ttl(64).unwrap();
    hand.send(&Packet { state: Down, ..ours }.encode());
    hand.sender.set_ttl(255).unwrap();
    hand.send(&Packet { state: Up, is_final: true, ..ours }.encode());
    let status = until(&engine, "settled", |status| status.interval == TIMERS.interval);
    assert_eq!((status.state, status.problem, status.flaps), (Up, None, 0));
}

#[test]
fn a_session_over_routers_takes_what_has_the_ttl_that_was_agreed() {
    let (here, there) = ("127.87.4.1", "127.87.4.2");
    let hand = Hand::new(there, 4784, here);
    let engine = Engine::start().unwrap();
    engine.want(one(there, Session { distance: Distance::Multihop(60), ..session(here) }));
    let ours = Packet { your_discriminator: hand.hear().my_discriminator, ..BY_HAND };
    hand.sender.set_ttl(59).unwrap();
    hand.send(&ours.encode());
    until(&engine, "refused", |status| status.problem.as_ref().is_some_and(|problem| problem.contains("less than 60")));
    hand.sender.set_ttl(60).unwrap();
    hand.send(&ours.encode());
    until(&engine, "heard", is(Init));
}

#[test]
fn a_port_that_is_taken_is_told_and_taken_when_it_is_free() {
    let (here, there) = ("127.87.5.1", "127.87.5.2");
    let squatter = UdpSocket::bind((here, 3784)).unwrap();
    let engine = Engine::start().unwrap();
    let other = Engine::start().unwrap();
    engine.want(one(there, session(here)));
    other.want(one(here, session(there)));
    let told = "no packet can be heard on 127.87.5.1, port 3784: ";
    until(&engine, told, |status| status.problem.as_ref().is_some_and(|problem| problem.starts_with(told)));
    drop(squatter);
    until(&engine, "up", settled);
    // Where no address is named, all are listened on.
    engine.want(one(there, Session { local_address: None, ..session(here) }));
    until(&engine, "deaf", |status| status.problem.is_some());
}

#[test]
fn ipv6_is_watched_as_ipv4_is() {
    let hand = Hand::new("::1", 3784, "::1");
    let engine = Engine::start().unwrap();
    engine.want(BTreeMap::from([(
        PeerName::Address(ip("::1")),
        Session { distance: Distance::SingleHop, ..session("::1") },
    )]));
    // Both ends cannot have the one address and port of loopback: it is told, and packets leave all the same.
    let first = hand.hear();
    assert_eq!(first.state, Down);
    until(&engine, "deaf", |status| status.problem.is_some());
    drop(hand);
    until(&engine, "with itself", |status| status.problem.as_ref().is_none());
}
