//! The kernel's notifications about what is ours, as [`Change::HostMoved`].
//!
//! Told of are our link, our routes and whatever else the local table leads over our link, the node's addresses and
//! default routes, our nftables table and our iptables chain: whoever changed them, vipcast included. IPVS has no
//! notifications.

mod concerns;

use std::io;
use std::time::Duration;

use futures::FutureExt;
use rtnetlink::sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, netdevice};
use tokio::sync::mpsc::Sender;

use self::concerns::Concerns;
use crate::model::addr::LINK;
use crate::plan::Change;

/// A notification seldom comes alone: those that follow one within this time make one [`Change`].
const PAUSE: Duration = Duration::from_millis(100);

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE`
/// (include/uapi/linux/rtnetlink.h).
const ROUTE_GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// `NFNLGRP_NFTABLES` is group 7, and the lowest bit is group 1 (include/uapi/linux/netfilter/nfnetlink.h).
const NETFILTER_GROUPS: u32 = 1 << (7 - 1);

/// Room that is asked for, in bytes, for notifications that wait; the kernel grants up to `net.core.rmem_max`. Other
/// programs change thousands of rules at once.
const QUEUE: usize = 1 << 20;
/// More than the largest datagram of either kind.
const LARGEST: usize = 64 * 1024;
/// How many datagrams that wait are read before other tasks get their turn.
const TURN: usize = 256;

/// Why there are no notifications.
#[derive(Debug, thiserror::Error)]
#[error("no notifications from the kernel about {about}: {source}")]
pub struct MonitorError {
    about: &'static str,
    source: io::Error,
}

/// Sends [`Change::HostMoved`] whenever something moved that concerns us, and once at the start, since nobody knows what
/// happened before. It listens in the network namespace of the thread that first polls it.
///
/// Bursts become one change, and while `changes` is full nothing is lost: in a channel of its own with room for one,
/// never more than one waits. Ends without an error when nobody receives any more.
///
/// # Errors
/// When the kernel cannot be listened to.
pub async fn watch(changes: Sender<Change>) -> Result<(), MonitorError> {
    let mut monitor = Monitor::open()?;
    while changes.send(Change::HostMoved).await.is_ok() {
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            moved = monitor.moved() => moved?,
            () = changes.closed() => break,
        }
    }
    Ok(())
}

struct Monitor {
    route: Notifications,
    netfilter: Notifications,
    concerns: Concerns,
}

impl Monitor {
    fn open() -> Result<Monitor, MonitorError> {
        let route = Notifications::open("links and routes", NETLINK_ROUTE, ROUTE_GROUPS)?;
        let netfilter = Notifications::open("packet filter rules", NETLINK_NETFILTER, NETFILTER_GROUPS)?;
        // Looked up after listening began, so that no change of it is missed.
        Ok(Monitor { route, netfilter, concerns: Concerns::new(link_index()) })
    }

    /// Waits until something moved that concerns us, and takes in what waits behind it.
    async fn moved(&mut self) -> Result<(), MonitorError> {
        let Monitor { route, netfilter, concerns } = self;
        loop {
            let mut moved = tokio::select! {
                heard = route.next() => route_concerns(concerns, &heard?),
                heard = netfilter.next() => netfilter_concerns(&heard?),
            };
            for _ in 0..TURN {
                let Some(heard) = route.next().now_or_never() else { break };
                moved |= route_concerns(concerns, &heard?);
            }
            for _ in 0..TURN {
                let Some(heard) = netfilter.next().now_or_never() else { break };
                moved |= netfilter_concerns(&heard?);
            }
            if moved {
                return Ok(());
            }
        }
    }
}

fn route_concerns(concerns: &mut Concerns, heard: &Heard<'_>) -> bool {
    match heard {
        Heard::Datagram(datagram) => concerns.route(datagram),
        Heard::Lost => {
            *concerns = Concerns::new(link_index());
            true
        }
    }
}

fn netfilter_concerns(heard: &Heard<'_>) -> bool {
    match heard {
        Heard::Datagram(datagram) => concerns::nftables(datagram),
        Heard::Lost => true,
    }
}

/// What came out of a socket.
enum Heard<'a> {
    Datagram(&'a [u8]),
    /// The queue was full, so some were lost.
    Lost,
}

/// A socket that listens to multicast groups of netlink.
struct Notifications {
    about: &'static str,
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Notifications {
    fn open(about: &'static str, protocol: isize, groups: u32) -> Result<Notifications, MonitorError> {
        let open = || -> io::Result<TokioSocket> {
            let mut socket = TokioSocket::new(protocol)?;
            // A smaller queue does too: what it cannot hold counts as a change.
            let _ = socket.socket_ref().set_rx_buf_sz(QUEUE as u32);
            socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
            Ok(socket)
        };
        let socket = open().map_err(|source| MonitorError { about, source })?;
        Ok(Notifications { about, socket, buffer: Vec::with_capacity(LARGEST) })
    }

    /// What comes next. Nothing is lost when the future is dropped.
    async fn next(&mut self) -> Result<Heard<'_>, MonitorError> {
        loop {
            self.buffer.clear();
            let Err(source) = self.socket.recv(&mut self.buffer).await else {
                return Ok(Heard::Datagram(&self.buffer));
            };
            match Errno::from_io_error(&source) {
                Some(Errno::NOBUFS) => return Ok(Heard::Lost),
                Some(Errno::INTR) => {}
                _ => return Err(MonitorError { about: self.about, source }),
            }
        }
    }
}

/// The number of our link, if it exists.
fn link_index() -> Option<u32> {
    // Any socket will do to ask by.
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None).ok()?;
    netdevice::name_to_index(&socket, LINK).ok()
}
