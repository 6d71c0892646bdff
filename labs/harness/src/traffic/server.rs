//! Servers that tell who they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket;

use super::sctp;
use crate::Netns;

/// How often a server that cannot be woken looks whether it should end.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// A protocol and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// A TCP port.
    Tcp(u16),
    /// A UDP port.
    Udp(u16),
    /// An SCTP port.
    Sctp(u16),
}

/// A pod's server. TCP and SCTP: it tells who it is at once, then echoes. UDP: it answers each datagram. Dropped, it closes its
/// connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    name: String,
    stop: AtomicBool,
    served: AtomicUsize,
    /// Open connections, by the number under which they were served.
    open: Mutex<BTreeMap<usize, TcpStream>>,
}

impl Server {
    /// Starts a server for the pod `name` in a namespace that has the address.
    pub fn start(netns: &Netns, name: &str, address: IpAddr, port: Port) -> Result<Self> {
        let shared = Arc::new(Shared { name: name.to_owned(), ..Shared::default() });
        let worker = shared.clone();
        // Only the socket must be made inside: it stays there.
        let number = match port {
            Port::Tcp(number) | Port::Udp(number) | Port::Sctp(number) => number,
        };
        let address = SocketAddr::new(address, number);
        let place = || format!("listen on {address} ({port:?}) in {}", netns.name());
        let (listener, thread) = match port {
            Port::Tcp(_) | Port::Sctp(_) => {
                let is_tcp = matches!(port, Port::Tcp(_));
                let listener = netns.run(|| if is_tcp { TcpListener::bind(address) } else { sctp::listen(address) })?;
                let listener = listener.with_context(place)?;
                let ours = listener.try_clone().context("share a socket")?;
                (Some(ours), thread::spawn(move || accept(&worker, &listener)))
            }
            Port::Udp(_) => {
                let socket = netns.run(|| UdpSocket::bind(address))?.with_context(place)?;
                socket.set_read_timeout(Some(PAUSE)).context("set up a socket")?;
                (None, thread::spawn(move || answer(&worker, &socket)))
            }
        };
        Ok(Self { address, shared, listener, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its pod's name.
    pub fn pod(&self) -> &str {
        &self.shared.name
    }

    /// How many connections or datagrams it has served.
    pub fn served(&self) -> usize {
        self.shared.served.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(listener) = &self.listener {
            // Wakes the thread that waits in accept.
            let _ = socket::shutdown(listener.as_raw_fd(), socket::Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for stream in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            // A socket of SCTP's, which nothing wakes.
            Err(error) if error.kind() == ErrorKind::WouldBlock && !shared.stop.load(Ordering::Relaxed) => continue,
            Err(_) => return,
        };
        let number = shared.served.fetch_add(1, Ordering::Relaxed);
        let Ok(copy) = stream.try_clone() else { continue };
        shared.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, copy);
        let worker = shared.clone();
        thread::spawn(move || {
            // A client that goes away is what ends a connection.
            let _ = echo(&worker, stream, peer);
            worker.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        });
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn echo(shared: &Shared, mut stream: TcpStream, peer: SocketAddr) -> std::io::Result<()> {
    // SCTP has no such option, and no need of it here; and what it accepts has the time-out of its listener.
    let _ = stream.set_nodelay(true);
    stream.set_read_timeout(None)?;
    stream.write_all(identity(shared, peer).as_bytes())?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count])?,
        }
    }
}

fn answer(shared: &Shared, socket: &UdpSocket) {
    let mut buffer = [0; 4096];
    while !shared.stop.load(Ordering::Relaxed) {
        // Errors are time-outs, and refusals of what was sent before.
        if let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            shared.served.fetch_add(1, Ordering::Relaxed);
            let _ = socket.send_to(identity(shared, peer).as_bytes(), peer);
        }
    }
}

fn identity(shared: &Shared, peer: SocketAddr) -> String {
    let mut line = String::new();
    let _ = writeln!(line, "{} {peer}", shared.name);
    line
}
