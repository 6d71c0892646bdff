//! One session: its state machine, its socket, and what is known of it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::SavedSession;
use super::discards::Discards;
use super::socket::{Arrival, Sender, random};
use crate::bfd::{self, Packet, Transition};
use crate::model::Time;
use crate::model::bfd::{BfdState, BfdStatus, Session};
use crate::model::bgp::PeerName;

/// How long a session that is not wanted any more says so (RFC 5880 section 6.8.16: for a detection time): with a packet a
/// second, three of them.
const FAREWELL: Duration = Duration::from_millis(2500);

/// A session.
#[derive(Debug)]
pub(super) struct Watched {
    peer: PeerName,
    wanted: Session,
    machine: bfd::Session,
    /// Where the other side is; `None`: not found yet.
    remote: Option<SocketAddr>,
    sender: Option<Sender>,
    source_port: Option<u16>,
    since: i64,
    /// Why there is no socket, or why it does not send.
    mute: Option<String>,
    /// Why the other side is not found.
    lost: Option<String>,
    /// Why packets that came were discarded.
    discarded: Discards,
    /// It is not wanted any more, and goes then.
    leaves: Option<Time>,
}

impl Watched {
    /// A new session, or, if what was `saved` fits, that one.
    pub(super) fn new(
        peer: PeerName,
        wanted: Session,
        saved: Option<&SavedSession>,
        discriminator: u32,
        now: Time,
    ) -> Watched {
        let port = wanted.distance.port();
        let remote = peer.address().map(|address| SocketAddr::new(address, port));
        let saved = saved.filter(|saved| {
            let is_same = saved.distance.port() == port && saved.remote.port() == port;
            is_same && remote.is_none_or(|remote| remote == saved.remote) && saved.session.my_discriminator != 0
        });
        let machine = match saved {
            Some(saved) => bfd::Session::resume(&saved.session, wanted.timers, wanted.enabled, random(), now),
            None => bfd::Session::new(wanted.timers, wanted.enabled, discriminator, random(), now),
        };
        if machine.state() == BfdState::Up {
            info!(%peer, "BFD session goes on: another process left it Up");
        }
        Watched {
            remote: remote.or(saved.map(|saved| saved.remote)),
            sender: None,
            source_port: saved.and_then(|saved| saved.source_port),
            since: unix_time(),
            mute: None,
            lost: None,
            discarded: Discards::default(),
            leaves: None,
            peer,
            wanted,
            machine,
        }
    }

    /// Can `wanted` be had by a change of this session? Otherwise it is another one.
    pub(super) fn is_like(&self, wanted: &Session) -> bool {
        self.wanted.distance.port() == wanted.distance.port() && self.wanted.local_address == wanted.local_address
    }

    /// Follows what is wanted now.
    pub(super) fn want(&mut self, wanted: Session, now: Time) {
        self.leaves = None;
        self.machine.set_timers(wanted.timers, now);
        let transition = self.machine.set_enabled(wanted.enabled, now);
        self.wanted = wanted;
        self.changed(transition);
    }

    /// Nobody wants the session any more: that is said for a moment.
    pub(super) fn leave(&mut self, now: Time) {
        if self.leaves.is_none() {
            self.leaves = Some(now + FAREWELL);
            let transition = self.machine.set_enabled(false, now);
            self.changed(transition);
        }
    }

    /// When it goes, if nobody wants it any more.
    pub(super) fn leaves(&self) -> Option<Time> {
        self.leaves
    }

    /// The other side of an interface, or why it is not found. One that is up stays where it is.
    pub(super) fn found(&mut self, found: Result<SocketAddr, String>) {
        match found {
            Ok(mut remote) => {
                remote.set_port(self.wanted.distance.port());
                self.lost = None;
                if self.remote != Some(remote) && self.machine.state() != BfdState::Up {
                    self.remote = Some(remote);
                    self.sender = None;
                }
            }
            Err(lost) => self.lost = Some(lost),
        }
    }

    /// Does a packet from `source` that came to `port` belong here?
    pub(super) fn is_with(&self, source: SocketAddr, port: u16) -> bool {
        self.remote.is_some_and(|remote| {
            let scope = |address: SocketAddr| match address {
                SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id(),
                _ => 0,
            };
            remote.port() == port && remote.ip() == source.ip() && scope(remote) == scope(source)
        })
    }

    /// A datagram from the other side.
    pub(super) fn receive(&mut self, arrival: &Arrival<'_>, now: Time) {
        let least = self.wanted.distance.least_ttl();
        let heard = match arrival.ttl {
            Some(ttl) if ttl >= i32::from(least) => Packet::parse(arrival.bytes)
                .and_then(|packet| self.machine.receive(&packet, now))
                .map_err(|discard| discard.to_string()),
            Some(ttl) => Err(format!("it arrived with TTL {ttl}, and less than {least} is not taken from this peer")),
            None => Err("the kernel does not tell its TTL".to_owned()),
        };
        match heard {
            Ok(heard) => {
                self.discarded.note(None, now);
                if let Some(answer) = heard.answer {
                    self.send(&answer);
                }
                self.changed(heard.transition);
            }
            Err(why) => {
                let why = format!("its last packet was discarded: {why}");
                if self.discarded.note(Some(why.clone()), now) {
                    warn!(peer = %self.peer, "BFD: {why}");
                }
            }
        }
    }

    /// Time has passed.
    pub(super) fn wake(&mut self, now: Time) {
        let woken = self.machine.wake(now);
        if let Some(packet) = woken.packet {
            self.send(&packet);
        }
        self.changed(woken.transition);
    }

    /// When to call [`Watched::wake`].
    pub(super) fn wake_at(&self) -> Option<Time> {
        self.machine.wake_at()
    }

    /// The last packet of a process that ends for good.
    pub(super) fn say_farewell(&mut self, now: Time) {
        self.leave(now);
        self.wake(now);
    }

    /// Asks the other side to wait for `silence`; `None`: no longer.
    pub(super) fn stretch(&mut self, silence: Option<Duration>, now: Time) {
        self.machine.stretch(silence, now);
    }

    /// Did it agree?
    pub(super) fn is_stretched(&self) -> bool {
        self.machine.is_stretched()
    }

    /// The address that packets have to arrive at; `None`: any.
    pub(super) fn local_address(&self) -> Option<IpAddr> {
        self.wanted.local_address
    }

    /// Where the other side is.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// This side's discriminator.
    pub(super) fn discriminator(&self) -> u32 {
        self.machine.my_discriminator()
    }

    /// Is it up?
    pub(super) fn is_up(&self) -> bool {
        self.machine.state() == BfdState::Up
    }

    /// What another process needs to go on; `None`: there is nothing to go on with.
    pub(super) fn saved(&self, now: Time) -> Option<SavedSession> {
        Some(SavedSession {
            peer: self.peer.clone(),
            remote: self.remote?,
            distance: self.wanted.distance,
            source_port: self.source_port,
            session: self.machine.saved(now),
        })
    }

    /// How the session stands; `deaf` says why nothing is heard.
    pub(super) fn status(&self, deaf: Option<&str>, now: Time) -> BfdStatus {
        // What was discarded matters while nothing better comes.
        let discarded = self.discarded.why().filter(|_| !self.is_up());
        let lost = self.lost.as_deref().filter(|_| self.remote.is_none());
        let problem = self.mute.as_deref().or(deaf).or(lost).or(discarded);
        BfdStatus {
            state: self.machine.state(),
            remote: self.machine.remote_state(),
            reason: self.machine.reason().map(|reason| reason.to_string()),
            since: self.since,
            interval: self.machine.interval().unwrap_or_default(),
            detection: self.machine.detection(),
            flaps: self.machine.flaps(),
            damped: self.machine.damped(now),
            problem: problem.map(str::to_owned),
        }
    }

    fn send(&mut self, packet: &Packet) {
        let Some(remote) = self.remote else { return };
        let sent = match &self.sender {
            Some(sender) => sender.send(&packet.encode(), remote),
            None => Sender::open(remote, self.wanted.local_address, self.source_port).and_then(|sender| {
                self.source_port = Some(sender.port());
                self.sender.insert(sender).send(&packet.encode(), remote)
            }),
        };
        // A full buffer loses a packet as a wire does.
        self.mute = match sent {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                Some(format!("no packet can be sent to {}: {error}", remote.ip()))
            }
            _ => None,
        };
    }

    fn changed(&mut self, transition: Option<Transition>) {
        let Some(Transition { from, to, diagnostic }) = transition else { return };
        self.since = unix_time();
        if from == BfdState::Up && to == BfdState::Down {
            warn!(peer = %self.peer, "BFD session is Down: {diagnostic}");
        } else {
            info!(peer = %self.peer, "BFD session is {to}, was {from}");
        }
    }
}

/// Seconds since 1970.
fn unix_time() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
