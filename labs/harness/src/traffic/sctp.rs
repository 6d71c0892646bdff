//! SCTP sockets of the one-to-one style (RFC 6458, section 4). They are listened on, connected, read and written like
//! TCP's, so the types of `std` for those hold them.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen as listen_on, setsockopt,
    socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::server::PAUSE;

/// Why there is no SCTP on this kernel, if there is none.
pub fn lacks_sctp() -> Option<String> {
    open(AddressFamily::Inet).err().map(|error| format!("this kernel has no SCTP sockets: {error}"))
}

/// Listens on an address. Only there: a socket with several addresses tells its peers all of them, past any NAT. To shut it
/// down wakes nobody who accepts, as it would with TCP, so that ends by itself every now and then.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address)?;
    let millis = i64::try_from(PAUSE.as_millis()).map_err(io::Error::other)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(millis))?;
    listen_on(&socket, Backlog::new(64)?)?;
    Ok(socket.into())
}

/// Connects from the one address that the kernel would choose.
pub(super) fn connect(target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let chooser = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    chooser.connect(target)?;
    let socket = bound(SocketAddr::new(chooser.local_addr()?.ip(), 0))?;
    let millis = i64::try_from(timeout.as_millis()).map_err(io::Error::other)?;
    setsockopt(&socket, SendTimeout, &TimeVal::milliseconds(millis))?;
    nix::sys::socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(target))?;
    Ok(socket.into())
}

fn bound(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = open(family)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}

fn open(family: AddressFamily) -> nix::Result<OwnedFd> {
    socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Sctp)
}
