//! Being heard by peers that are known by an interface.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::warn;

use super::api::Listed;
use crate::apply::addr::neighbor;
use crate::model::bgp::{Peer, PeerName, SessionState};

/// Sends router advertisements where a peer waits for one before it speaks BGP, as FRR does. gobgpd sends none.
#[derive(Debug, Default)]
pub(super) struct Herald {
    /// What went wrong the last time, by interface.
    failures: BTreeMap<Arc<str>, String>,
}

impl Herald {
    /// Advertises on the interface of each of these peers of ours that has one and no session.
    pub(super) fn call(&mut self, ours: &BTreeMap<PeerName, Peer>, sessions: &BTreeMap<PeerName, Listed>) {
        for interface in waiting(ours, sessions) {
            let failure = neighbor::advertise(&interface).err().map(|error| error.to_string());
            if let Some(why) = failure.as_ref().filter(|why| self.failures.get(&interface) != Some(*why)) {
                warn!(%interface, "no router advertisement can be sent, and the peer may wait for one: {why}");
            }
            match failure {
                Some(why) => drop(self.failures.insert(interface, why)),
                None => drop(self.failures.remove(&interface)),
            }
        }
    }
}

/// The interfaces at whose other end is a peer without a session.
fn waiting(ours: &BTreeMap<PeerName, Peer>, sessions: &BTreeMap<PeerName, Listed>) -> Vec<Arc<str>> {
    let is_up = |name| sessions.get(name).is_some_and(|listed| listed.state == SessionState::Established);
    let waiting = ours.keys().filter(|name| !is_up(name));
    waiting
        .filter_map(|name| match name {
            PeerName::Interface(interface) => Some(interface.clone()),
            PeerName::Address(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::bgp::api::Notifications;
    use crate::model::Family;

    #[test]
    fn only_interfaces_of_peers_without_a_session_are_called_on() {
        let peer = Peer::new(65000, Family::ALL);
        let names = ["192.0.2.1", "eth1", "eth2", "eth3"].map(|name| name.parse::<PeerName>().unwrap());
        let listed = |state| Listed {
            state,
            shut: None,
            since: None,
            local_address: None,
            families: [].into(),
            keeps_routes: false,
            notifications: Notifications::default(),
        };
        let ours = names.clone().map(|name| (name, peer.clone())).into();
        let sessions =
            [(names[1].clone(), listed(SessionState::Active)), (names[2].clone(), listed(SessionState::Established))];
        assert_eq!(waiting(&ours, &sessions.into()), ["eth1".into(), "eth3".into()]);
    }
}
