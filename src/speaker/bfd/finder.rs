//! Finds the other ends of links, for sessions with peers that are known by an interface. That takes netlink, and waits
//! for the kernel, so it has a thread of its own.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddrV6, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::net::netdevice;

use super::worker::{Line, Order};
use crate::apply::addr::neighbor;

/// The pause between looks.
const PAUSE: Duration = Duration::from_secs(1);

/// The thread that looks; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Finder {
    interfaces: mpsc::Sender<BTreeSet<Arc<str>>>,
}

impl Finder {
    /// A thread that says on `line` what it finds.
    pub(super) fn start(line: Line) -> io::Result<Finder> {
        let (interfaces, wanted) = mpsc::channel::<BTreeSet<Arc<str>>>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("bfd-find".to_owned()).spawn(move || {
            let mut looking = BTreeSet::new();
            loop {
                match wanted.recv_timeout(PAUSE) {
                    Ok(interfaces) => looking = interfaces,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                for interface in &looking {
                    let found = runtime.block_on(find(interface));
                    line.say(Order::Found(Arc::clone(interface), found));
                }
            }
        })?;
        Ok(Finder { interfaces })
    }

    /// At the other ends of these.
    pub(super) fn look_for(&self, interfaces: BTreeSet<Arc<str>>) {
        let _ = self.interfaces.send(interfaces);
    }
}

/// The neighbour at the other end of `interface`, without a port.
async fn find(interface: &str) -> Result<SocketAddrV6, String> {
    let address = neighbor::link_local(interface).await?;
    let index = UdpSocket::bind("[::]:0").and_then(|any| Ok(netdevice::name_to_index(&any, interface)?));
    let index = index.map_err(|error| format!("the index of {interface} is not known: {error}"))?;
    Ok(SocketAddrV6::new(address, 0, 0, index))
}
