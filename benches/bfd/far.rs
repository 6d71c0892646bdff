//! The other side: what it hears, and when the kernel heard it.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::setpriority_process;
use vipcast::bfd::{Packet, Session};
use vipcast::model::Time;
use vipcast::model::bfd::{BfdState, Timers};

/// The port of single-hop sessions (RFC 5881 section 4).
const PORT: u16 = 3784;

/// What was heard while both sides were up.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// How many packets.
    pub(crate) packets: u64,
    /// The longest time between two of them.
    pub(crate) longest: Duration,
    /// How many gaps took more than 90 % of the detection time.
    pub(crate) near_misses: u64,
    last: Option<Duration>,
}

impl Gaps {
    fn heard(&mut self, at: Duration, allowed: Duration) {
        self.packets += 1;
        if let Some(last) = self.last.replace(at) {
            let gap = at.saturating_sub(last);
            self.longest = self.longest.max(gap);
            self.near_misses += u64::from(gap > allowed * 9 / 10);
        }
    }
}

/// One side of a session.
pub(crate) struct Far {
    session: Session,
    listener: UdpSocket,
    sender: UdpSocket,
    to: SocketAddr,
    allowed: Duration,
    clock: Instant,
}

impl Far {
    pub(crate) fn new(here: &str, there: &str, timers: Timers) -> Far {
        let listener = UdpSocket::bind((here, PORT)).unwrap();
        setsockopt(&listener, sockopt::ReceiveTimestampns, &true).unwrap();
        let sender = UdpSocket::bind((here, 0)).unwrap();
        sender.set_ttl(255).unwrap();
        Far {
            session: Session::new(timers, true, 1, 1, Time::ZERO),
            listener,
            sender,
            to: SocketAddr::new(there.parse::<IpAddr>().unwrap(), PORT),
            allowed: timers.interval * u32::from(timers.multiplier),
            clock: Instant::now(),
        }
    }

    /// Runs until told to stop. Answers with what was heard, and how often the session went down.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> (Gaps, u32) {
        let _ = setpriority_process(None, -20);
        let mut gaps = Gaps::default();
        while !stop.load(Ordering::Relaxed) {
            let now = self.now();
            while let Some((packet, at)) = self.receive() {
                let was_up = self.session.state() == BfdState::Up;
                let heard = self.session.receive(&packet, self.now()).unwrap_or_default();
                self.send(heard.answer);
                if was_up && packet.state == BfdState::Up && self.session.interval() < Some(Duration::from_secs(1)) {
                    gaps.heard(at, self.allowed);
                } else {
                    gaps.last = None;
                }
            }
            let woken = self.session.wake(now);
            self.send(woken.packet);
            self.wait();
        }
        (gaps, self.session.flaps())
    }

    fn now(&self) -> Time {
        Time(self.clock.elapsed())
    }

    fn send(&self, packet: Option<Packet>) {
        if let Some(packet) = packet {
            let _ = self.sender.send_to(&packet.encode(), self.to);
        }
    }

    /// The next packet, and when the kernel received it.
    fn receive(&self) -> Option<(Packet, Duration)> {
        let mut room = [0; 64];
        let mut control = cmsg_space!(TimeSpec);
        let (length, at) = {
            let mut place = [IoSliceMut::new(&mut room)];
            let fd = self.listener.as_raw_fd();
            let message =
                recvmsg::<SockaddrStorage>(fd, &mut place, Some(&mut control), MsgFlags::MSG_DONTWAIT).ok()?;
            let at = message.cmsgs().ok()?.find_map(|control| match control {
                ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
                _ => None,
            });
            (message.bytes, at?)
        };
        Some((Packet::parse(&room[..length]).ok()?, at))
    }

    fn wait(&self) {
        // Often enough to see that it is told to stop.
        let most = Duration::from_millis(200);
        let time = self.session.wake_at().map_or(most, |at| (at - self.now()).min(most));
        let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        let _ = poll(&mut [PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN)], Some(&time));
    }
}
