//! Sockets of BFD (RFC 5881 sections 4 and 5, RFC 5883 section 5).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt as nix_sockopt};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::model::bfd::Distance;

/// The ports that packets come from.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;

/// How many of them are tried.
const ATTEMPTS: u64 = 64;

/// With what TTL packets leave: what arrives with another one was forwarded (RFC 5082).
const TTL: u8 = 255;

/// Network control (RFC 4594 section 3.1, CS6), so that a full queue does not look like a dead peer.
const TOS: u8 = 0xc0;

/// Room for a packet with authentication: what is longer is none.
const ROOM: usize = 128;

impl Distance {
    /// The port that packets go to.
    pub(super) fn port(self) -> u16 {
        match self {
            Distance::SingleHop => 3784,
            Distance::Multihop(_) => 4784,
        }
    }

    /// The least TTL that packets may arrive with.
    pub(super) fn least_ttl(self) -> u8 {
        match self {
            Distance::SingleHop => TTL,
            Distance::Multihop(least) => least,
        }
    }
}

/// Numbers that nobody foresees: seeds of jitter, discriminators, source ports.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A socket that packets of all sessions arrive at that share its address and port.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
}

/// A datagram.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    /// Who sent it.
    pub(super) from: SocketAddr,
    /// What its TTL was on arrival, if the kernel told.
    pub(super) ttl: Option<i32>,
    /// What it says.
    pub(super) bytes: &'a [u8],
}

impl Listener {
    /// Listens on `address`, which is unspecified for all addresses of its family. Nobody else may: of two who do, one
    /// would hear nothing.
    pub(super) fn open(address: IpAddr, port: u16) -> io::Result<Listener> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
        if address.is_ipv4() {
            setsockopt(&socket, nix_sockopt::Ipv4RecvTtl, &true)?;
        } else {
            sockopt::set_ipv6_v6only(&socket, true)?;
            setsockopt(&socket, nix_sockopt::Ipv6RecvHopLimit, &true)?;
        }
        bind(&socket, &SocketAddr::new(address, port))?;
        Ok(Listener { socket })
    }

    /// The next datagram that has arrived; `None`: none has.
    pub(super) fn receive<'a>(&self, room: &'a mut [u8; ROOM]) -> io::Result<Option<Arrival<'a>>> {
        let mut control = cmsg_space!(i32);
        let (from, ttl, length) = {
            let mut place = [IoSliceMut::new(room)];
            let fd = self.socket.as_raw_fd();
            let message = match recvmsg::<SockaddrStorage>(fd, &mut place, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
                Ok(message) => message,
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let ttl = message.cmsgs()?.find_map(|control| match control {
                ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => Some(ttl),
                _ => None,
            });
            (message.address, ttl, message.bytes)
        };
        let from = from.as_ref().and_then(source).ok_or_else(|| io::Error::other("a datagram from nowhere"))?;
        Ok(Some(Arrival { from, ttl, bytes: &room[..length] }))
    }

    /// Room for a datagram.
    pub(super) fn room() -> [u8; ROOM] {
        [0; ROOM]
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn source(address: &SockaddrStorage) -> Option<SocketAddr> {
    let ipv4 = || address.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    let ipv6 = || {
        let v6 = address.as_sockaddr_in6()?;
        Some(SocketAddr::V6(SocketAddrV6::new(v6.ip(), v6.port(), 0, v6.scope_id())))
    };
    ipv4().or_else(ipv6)
}

/// The socket that a session's packets leave by. It is not connected: then an ICMP error would take the place of the next
/// packet.
#[derive(Debug)]
pub(super) struct Sender {
    socket: UdpSocket,
    port: u16,
}

impl Sender {
    /// A socket towards `remote`, from `local` (else the kernel chooses), from `port` if that is given and free.
    pub(super) fn open(remote: SocketAddr, local: Option<IpAddr>, port: Option<u16>) -> io::Result<Sender> {
        let any = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let local = local.unwrap_or(any);
        let (first, count) = (u64::from(*SOURCE_PORTS.start()), SOURCE_PORTS.len() as u64);
        let start = random();
        let others = (0..ATTEMPTS).filter_map(|step| u16::try_from(first + start.wrapping_add(step) % count).ok());
        let mut result = Err(io::ErrorKind::AddrInUse.into());
        for port in port.into_iter().chain(others) {
            result = UdpSocket::bind(SocketAddr::new(local, port)).map(|socket| (socket, port));
            if !matches!(&result, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
                break;
            }
        }
        let (socket, port) = result?;
        socket.set_nonblocking(true)?;
        if remote.is_ipv4() {
            socket.set_ttl(u32::from(TTL))?;
            sockopt::set_ip_tos(&socket, TOS)?;
        } else {
            sockopt::set_ipv6_unicast_hops(&socket, Some(TTL))?;
            sockopt::set_ipv6_tclass(&socket, u32::from(TOS))?;
        }
        Ok(Sender { socket, port })
    }

    pub(super) fn send(&self, bytes: &[u8], remote: SocketAddr) -> io::Result<()> {
        self.socket.send_to(bytes, remote).map(|_| ())
    }

    /// The port that packets come from.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}
