//! The probe of the data plane: one TCP handshake with a canary, over frames of our own.
//!
//! The prober sits at [`PROBER_LINK`] and plays both the client and the destination of the canary, which the kernel reaches
//! over [`PROBE_LINK`], the other end of the pair. So everything between is the kernel's, as for any client: the local route,
//! IPVS, source NAT, routing, and the whole way of the reply.
//!
//! Each probe is a new connection from another port, and its sequence number is drawn, so that the agent and the speaker
//! can probe at the same time. The capability NET_RAW is needed.

mod frame;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use self::frame::{ACK, Mac, RST, SYN, Segment};
use crate::model::Family;
use crate::model::addr::{PROBE_LINK, PROBER_LINK};
use crate::model::canary::{Canary, Fault, PORT};
use crate::plan::Change;
use crate::plan::proof::Probing;

/// How long each leg of a probe may take. It takes less than a millisecond; but a machine under load can be slow without being broken.
const PATIENCE: Duration = Duration::from_secs(1);

/// Room for any frame of a handshake; what is longer is something else.
const LONGEST: usize = 256;

/// The first port of clients, and how many there are: none that a program listens on by habit.
const FIRST_PORT: u16 = 32768;
const PORTS: u64 = 28000;

/// Probes what it is asked to, again and again, and tells what came of it, for as long as somebody listens.
pub async fn keep_probing(mut asked: watch::Receiver<Probing>, changes: mpsc::Sender<Change>) {
    let mut probers: BTreeMap<Canary, Prober> = BTreeMap::new();
    loop {
        let Probing { canaries, interval } = asked.borrow_and_update().clone();
        probers.retain(|canary, _| canaries.contains(canary));
        let next = Instant::now() + interval;
        for canary in &canaries {
            let result = probers.entry(*canary).or_insert_with(|| Prober::new(canary)).probe().await;
            if changes.send(Change::Probe(*canary, result)).await.is_err() {
                return;
            }
        }
        // With nothing to probe, only to be asked for something else ends the wait.
        let pause = async {
            if canaries.is_empty() { std::future::pending().await } else { tokio::time::sleep_until(next).await }
        };
        tokio::select! {
            () = pause => {}
            asked = asked.changed() => if asked.is_err() { return },
        }
    }
}

/// Probes one canary.
#[derive(Debug)]
pub struct Prober {
    canary: Canary,
    /// Opened at the first probe, and anew after each that failed: the links may be others by then.
    wire: Option<Wire>,
    /// Grows with each probe.
    count: u64,
    random: RandomState,
}

/// The prober's end of the link.
#[derive(Debug)]
struct Wire {
    /// A packet socket. Of a datagram socket the runtime asks no more than to be one, whatever its family.
    socket: UdpSocket,
    /// The MAC address of the prober's end, and of the kernel's.
    own: Mac,
    kernel: Mac,
}

impl Prober {
    /// A prober for `canary`. It does nothing before the first probe.
    pub fn new(canary: &Canary) -> Prober {
        Prober { canary: *canary, wire: None, count: 0, random: RandomState::new() }
    }

    /// Tries the whole way once, in the network namespace of the calling thread, within a Tokio runtime. It takes a few
    /// seconds at most.
    ///
    /// # Errors
    /// In words, how far it came: which leg of the way is broken, or why it cannot be tried.
    pub async fn probe(&mut self) -> Result<(), Fault> {
        let wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::open(self.canary.family()).map_err(Fault::Unable)?,
        };
        self.count = self.count.wrapping_add(1);
        let handshake =
            Handshake::new(&self.canary, self.random.hash_one(0), self.random.hash_one(self.count), self.count);
        handshake.shake(&wire).await?;
        self.wire = Some(wire);
        Ok(())
    }
}

impl Wire {
    fn open(family: Family) -> Result<Wire, String> {
        let links: Vec<_> = getifaddrs().map_err(|error| format!("cannot list the links: {error}"))?.collect();
        let end = |name: &str| {
            let of_link = links.iter().filter(|link| link.interface_name == name);
            let found: Option<LinkAddr> = of_link.filter_map(|link| link.address?.as_link_addr().copied()).next();
            found.ok_or_else(|| format!("there is no link {name}"))
        };
        let (kernel, own) = (end(PROBE_LINK)?, end(PROBER_LINK)?);
        let protocol = match family {
            Family::Ipv4 => SockProtocol::EthIp,
            Family::Ipv6 => SockProtocol::EthIpv6,
        };
        let failed = |error: nix::Error| match error {
            nix::Error::EPERM => "cannot open a packet socket: the capability NET_RAW is needed".to_owned(),
            error => format!("cannot open a packet socket on {PROBER_LINK}: {error}"),
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, protocol).map_err(failed)?;
        // The address names no protocol, so it stays the socket's own (`packet_bind` in net/packet/af_packet.c).
        bind(socket.as_raw_fd(), &own).map_err(failed)?;
        let socket = UdpSocket::from_std(socket.into());
        let socket = socket.map_err(|error| format!("cannot wait for packets on {PROBER_LINK}: {error}"))?;
        let mac = |link: LinkAddr| link.addr().unwrap_or_default();
        Ok(Wire { socket, own: mac(own), kernel: mac(kernel) })
    }

    async fn send(&self, segment: Segment) -> Result<(), Fault> {
        let frame = segment.frame(self.own, self.kernel);
        let failed = |why: &str| Fault::Unable(format!("cannot send on {PROBER_LINK}: {why}"));
        match timeout(PATIENCE, self.socket.send(&frame)).await {
            Ok(sent) => sent.map(|_| ()).map_err(|error| failed(&error.to_string())),
            Err(_) => Err(failed(&format!("there is no room within {} ms", PATIENCE.as_millis()))),
        }
    }

    /// The next segment that `is_it` makes something of; without one, `missing` is what did not happen.
    async fn next<T>(&self, missing: &str, is_it: impl Fn(Segment) -> Option<T>) -> Result<T, Fault> {
        let mut frame = [0; LONGEST];
        let found = async {
            loop {
                let length = self.socket.recv(&mut frame).await?;
                if let Some(found) = Segment::parse(&frame[..length]).and_then(&is_it) {
                    return Ok::<T, io::Error>(found);
                }
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(Fault::Unable(format!("cannot receive on {PROBER_LINK}: {error}"))),
            Err(_) => Err(Fault::Broken(format!("{missing} within {} ms", PATIENCE.as_millis()))),
        }
    }
}

/// One handshake, and what it is known by on its way.
#[derive(Debug, Clone, Copy)]
struct Handshake {
    client: SocketAddr,
    vip: SocketAddr,
    destination: SocketAddr,
    masqueraded: bool,
    /// The sequence numbers of the SYN and of its answer.
    asked: u32,
    answered: u32,
}

impl Handshake {
    /// The handshake number `count` with `canary`; `start` and `drawn` are random, the first one always the same.
    fn new(canary: &Canary, start: u64, drawn: u64, count: u64) -> Handshake {
        let port = FIRST_PORT + (start.wrapping_add(count) % PORTS) as u16;
        let place = |address: IpAddr| SocketAddr::new(address, PORT);
        Handshake {
            client: SocketAddr::new(canary.client, port),
            vip: place(canary.vip),
            destination: place(canary.destination),
            masqueraded: canary.masqueraded,
            asked: drawn as u32,
            answered: (drawn >> 32) as u32,
        }
    }

    async fn shake(&self, wire: &Wire) -> Result<(), Fault> {
        let syn = Segment { from: self.client, to: self.vip, sequence: self.asked, acknowledged: 0, flags: SYN };
        wire.send(syn).await?;
        let arrived =
            wire.next("the SYN did not come out of the virtual server", |segment| self.arrival(segment)).await?;
        let seen = arrived.map_err(|why| Fault::Broken(why.to_owned()))?;
        wire.send(self.answer(seen)).await?;
        let is_back = |segment| self.returns(segment).then_some(());
        wire.next("the reply did not come back to the client", is_back).await?;
        // The kernel forgets a connection within seconds only after it was established (`tcp_states` in
        // net/netfilter/ipvs/ip_vs_proto_tcp.c).
        let (sequence, acknowledged) = (self.asked.wrapping_add(1), self.answered.wrapping_add(1));
        let after = Segment { sequence, acknowledged, flags: ACK, ..syn };
        wire.send(after).await?;
        wire.send(Segment { flags: RST | ACK, ..after }).await
    }

    /// What became of the SYN, if `segment` tells: whom the destination takes for the client, or why it does not get it.
    fn arrival(&self, segment: Segment) -> Option<Result<SocketAddr, &'static str>> {
        let to_client = segment.from == self.vip && segment.to == self.client;
        if to_client && segment.is(RST | ACK) && segment.acknowledged == self.asked.wrapping_add(1) {
            return Some(Err("no virtual server took the SYN, so it was refused"));
        }
        if segment.to != self.destination || !segment.is(SYN) || segment.sequence != self.asked {
            return None;
        }
        if self.masqueraded && segment.from.ip() == self.client.ip() {
            return Some(Err("the SYN came out of the virtual server with its client's address, without source NAT"));
        }
        Some(Ok(segment.from))
    }

    /// The destination's answer to the client that it has `seen`.
    fn answer(&self, seen: SocketAddr) -> Segment {
        Segment {
            from: self.destination,
            to: seen,
            sequence: self.answered,
            acknowledged: self.asked.wrapping_add(1),
            flags: SYN | ACK,
        }
    }

    /// Is `segment` the destination's answer as the client has to get it?
    fn returns(&self, segment: Segment) -> bool {
        segment.from == self.vip
            && segment.to == self.client
            && segment.is(SYN | ACK)
            && segment.acknowledged == self.asked.wrapping_add(1)
            && segment.sequence == self.answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(masqueraded: bool) -> Handshake {
        let canary = Canary::of("169.254.77.0/29".parse().unwrap(), masqueraded).unwrap();
        Handshake::new(&canary, 7, 0x0000_0005_ffff_ffff, 1)
    }

    fn segment(from: &str, to: SocketAddr, sequence: u32, acknowledged: u32, flags: u8) -> Segment {
        Segment { from: from.parse().unwrap(), to, sequence, acknowledged, flags }
    }

    #[test]
    fn what_becomes_of_a_syn_is_told_by_what_is_seen() {
        let it = handshake(true);
        let syn = |from: &str, sequence| segment(from, it.destination, sequence, 0, SYN);
        let node = "10.0.1.2:5000";
        assert_eq!(it.arrival(syn(node, u32::MAX)), Some(Ok(node.parse().unwrap())));
        // Somebody else's probe.
        assert_eq!(it.arrival(syn(node, 8)), None);
        let bare = syn(&it.client.to_string(), u32::MAX);
        assert!(it.arrival(bare).is_some_and(|seen| seen.is_err_and(|why| why.contains("without source NAT"))));
        assert_eq!(handshake(false).arrival(bare), Some(Ok(it.client)));
        let reset = |acknowledged| segment("169.254.77.1:9", it.client, 0, acknowledged, RST | ACK);
        assert!(it.arrival(reset(0)).is_some_and(|seen| seen.is_err_and(|why| why.contains("refused"))));
        assert_eq!(it.arrival(reset(1)), None);
    }

    #[test]
    fn the_reply_has_to_come_from_the_vip() {
        let it = handshake(true);
        let reply = |from: &str| segment(from, it.client, 5, 0, SYN | ACK);
        assert!(it.returns(reply("169.254.77.1:9")));
        assert!(!it.returns(reply("169.254.77.2:9")));
        assert!(!it.returns(Segment { sequence: 6, ..reply("169.254.77.1:9") }));
        assert!(!it.returns(Segment { flags: RST | ACK, ..reply("169.254.77.1:9") }));
    }

    #[test]
    fn each_handshake_has_a_port_of_its_own() {
        let canary = Canary::of("fd76::/125".parse().unwrap(), true).unwrap();
        let ports = |start| (0..3).map(move |count| Handshake::new(&canary, start, 0, count).client.port());
        assert!(ports(0).eq([32768, 32769, 32770]));
        assert!(ports(u64::MAX).all(|port| (FIRST_PORT..FIRST_PORT + PORTS as u16).contains(&port)));
    }
}
