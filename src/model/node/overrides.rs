//! What the annotations of a Node say of BGP, in place of what the configuration says for all nodes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::model::bgp::{Peer, PeerName};
use crate::model::settings::{Misfit, PeerEntry, Settings};

/// What is other on one node. What is `None` is as in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// This node's AS number (`vipcast.io/asn`).
    pub asn: Option<u32>,
    /// Its BGP identifier (`vipcast.io/router-id`).
    pub router_id: Option<Ipv4Addr>,
    /// Its peers (`vipcast.io/peers`), each as it stands by itself: one of a name that the configuration has is in that one's
    /// place.
    pub peers: Option<Vec<PeerEntry>>,
    /// Which of the three are there and not understood.
    pub unread: Unread,
}

/// What is there and not understood: it is `None`, and may have been something else before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unread {
    /// [`Overrides::asn`].
    pub asn: bool,
    /// [`Overrides::router_id`].
    pub router_id: bool,
    /// [`Overrides::peers`].
    pub peers: bool,
}

impl Overrides {
    /// Has what `former` had where this is not understood: a slip of the pen must not end a session.
    pub fn keep(&mut self, former: &Overrides) {
        if self.unread.asn {
            (self.asn, self.unread.asn) = (former.asn, former.unread.asn);
        }
        if self.unread.router_id {
            (self.router_id, self.unread.router_id) = (former.router_id, former.unread.router_id);
        }
        if self.unread.peers {
            (self.peers, self.unread.peers) = (former.peers.clone(), former.unread.peers);
        }
    }

    /// Is something unknown that gobgpd may have been told by an earlier run?
    pub fn is_blind(&self) -> bool {
        self.unread != Unread::default()
    }

    /// `settings` on a node of which this is said, and the peers that do not go with the rest of them.
    pub fn applied_to(&self, settings: &Settings) -> (Settings, BTreeMap<PeerName, Misfit>) {
        let mut settings = settings.clone();
        let mut misfits = BTreeMap::new();
        let prepends = settings.prepends();
        let Some(bgp) = settings.bgp.as_mut().filter(|_| *self != Overrides::default()) else {
            return (settings, misfits);
        };
        bgp.asn = self.asn.unwrap_or(bgp.asn);
        bgp.router_id = self.router_id.or(bgp.router_id);
        let own = self.peers.as_deref().unwrap_or_default();
        let mut entries: Vec<PeerEntry> = Vec::new();
        for entry in own {
            match bgp.fit(entry.clone(), prepends) {
                Ok(fitting) => entries.push(fitting),
                Err(misfit) => {
                    misfits.insert(entry.name.clone(), misfit);
                    // Nothing of it counts, but that there is such a peer, even if none could be in its place: it must not be taken
                    // for one that nobody wants. What the configuration says of it is the best guess at what it was before.
                    if bgp.peers.iter().all(|theirs| theirs.name != entry.name) {
                        let plain = PeerEntry::new(entry.name.clone(), Peer::new(entry.peer.asn, []));
                        entries.push(bgp.filled(plain));
                    }
                }
            }
        }
        let is_replaced = |name: &PeerName| entries.iter().any(|entry| entry.name == *name);
        let theirs: Vec<PeerEntry> = bgp.peers.iter().filter(|entry| !is_replaced(&entry.name)).cloned().collect();
        for entry in theirs {
            match bgp.fit(entry.clone(), prepends) {
                Ok(fitting) => entries.push(fitting),
                Err(misfit) => {
                    misfits.insert(entry.name.clone(), misfit);
                    entries.push(entry);
                }
            }
        }
        bgp.peers = entries;
        (settings, misfits)
    }
}

impl Settings {
    /// Are there routes that all peers are sent with prepends?
    fn prepends(&self) -> bool {
        let ranges = self.cluster_ips.iter().flatten().chain(&self.allowed).map(|range| &range.attributes);
        let mut all = ranges.chain(self.bgp.iter().map(|bgp| &bgp.attributes));
        self.drain.prepend > 0 || all.any(|attributes| attributes.prepends())
    }
}
