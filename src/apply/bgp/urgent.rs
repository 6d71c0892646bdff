//! What is done to gobgpd without the agent, by the speaker: withdrawing when nothing proves the data plane any more, and
//! ending a session whose way BFD finds broken.

use std::collections::{BTreeMap, BTreeSet};

use super::{PathChange, Speaker, not_ours};
use crate::apply::bgp::api::{Failure, Listed};
use crate::model::Prefix;
use crate::model::bgp::{Path, Peer, PeerName, SessionState};

impl Speaker {
    /// Withdraws all local paths, or those in the prefixes `owned`, and answers how many there were. Where nobody listens,
    /// there are none.
    ///
    /// # Errors
    /// When some may still be out: what gobgpd, or the connection to it, says.
    pub async fn withdraw_all(&mut self, owned: Option<&BTreeSet<Prefix>>) -> Result<usize, String> {
        match self.try_withdraw_all(owned).await {
            Ok(count) => Ok(count),
            Err(Failure::Absent(_)) => Ok(0),
            Err(failure) => Err(self.in_words(failure)),
        }
    }

    async fn try_withdraw_all(&mut self, owned: Option<&BTreeSet<Prefix>>) -> Result<usize, Failure> {
        let api = self.api().await?;
        if api.identity().await?.is_none() {
            return Ok(0);
        }
        let is_ours = |prefix: &Prefix| owned.is_none_or(|owned| owned.iter().any(|range| range.covers(*prefix)));
        let out =
            |paths: BTreeMap<Prefix, Path>| paths.into_keys().filter(|prefix| is_ours(prefix)).collect::<Vec<_>>();
        let found = out(api.paths(None).await?);
        if found.is_empty() {
            return Ok(0);
        }
        let changes: Vec<PathChange> = found.iter().map(|prefix| (*prefix, None)).collect();
        api.change_paths(&changes).await?;
        match out(api.paths(None).await?).len() {
            0 => Ok(found.len()),
            left => Err(Failure::Refused(format!("it still holds {left} of {} paths", found.len()))),
        }
    }

    /// Ends the session with a peer of ours at once, and keeps it from coming back until [`Speaker::release`]. The peer hears
    /// `why`, where the session still carries it. False if that was so before, or gobgpd has no such peer now.
    ///
    /// # Errors
    /// What gobgpd, or the connection to it, says.
    pub async fn hold(&mut self, name: &PeerName, why: &str) -> Result<bool, String> {
        let held = async {
            let api = self.api().await?;
            let peers = api.peers().await?;
            if peers.foreign.contains(name) {
                return Err(not_ours(name));
            }
            let is_shut = peers.sessions.get(name).is_some_and(|listed| listed.shut.is_some());
            let is_open = peers.ours.contains_key(name) && !is_shut;
            if is_open {
                api.disable_peer(name, why).await?;
            }
            Ok(is_open)
        };
        held.await.map_err(|failure| self.in_words(failure))
    }

    /// Lets the session with a peer of ours come back, if it is held. The peer is deleted and added again, as it was: gobgpd
    /// connects to a peer that is new seconds earlier than to one that was disabled. One that was deleted and could not be
    /// added is added by the next attempt.
    ///
    /// # Errors
    /// What gobgpd, or the connection to it, says.
    pub async fn release(&mut self, name: &PeerName) -> Result<(), String> {
        let released = async {
            let api = self.api().await?;
            let Some(global) = api.identity().await? else {
                // Another gobgpd: the agent tells it of all peers.
                self.detached.clear();
                return Ok(());
            };
            let mut peers = api.peers().await?;
            let is_held = peers.sessions.get(name).is_some_and(|listed| listed.shut.is_some());
            let found = peers.ours.remove(name);
            let Some(peer) = to_add(found, is_held, self.detached.remove(name)) else { return Ok(()) };
            self.detached.insert(name.clone(), peer.clone());
            let api = self.api().await?;
            api.delete_peer(name).await?;
            match api.add_peer(global.asn, name, &peer, false).await {
                // The agent was faster.
                Ok(()) | Err(Failure::Moved(_)) => {
                    self.detached.remove(name);
                    Ok(())
                }
                Err(failure) => Err(failure),
            }
        };
        released.await.map_err(|failure| self.in_words(failure))
    }

    /// The peers whose sessions are up, and that would drop our routes if gobgpd restarted now: they do not offer graceful
    /// restart (RFC 4724 section 3).
    ///
    /// # Errors
    /// What gobgpd, or the connection to it, says.
    pub async fn forgetful_peers(&mut self) -> Result<Vec<PeerName>, String> {
        let found = async { self.api().await?.peers().await };
        let sessions = found.await.map_err(|failure| self.in_words(failure))?.sessions;
        let is_forgetful = |listed: &Listed| listed.state == SessionState::Established && !listed.keeps_routes;
        Ok(sessions.into_iter().filter(|(_, listed)| is_forgetful(listed)).map(|(name, _)| name).collect())
    }

    /// What went wrong, after which the connection is made anew.
    fn in_words(&mut self, failure: Failure) -> String {
        self.api = None;
        format!("gobgpd at {}: {failure}", self.endpoint)
    }
}

/// The peer that has to be added so that its session comes back, if it has to: gobgpd has `found`, whose session is held or
/// not, and an attempt before this one may have left it `detached`, deleted as far as it knew.
fn to_add(found: Option<Peer>, is_held: bool, detached: Option<Peer>) -> Option<Peer> {
    match found {
        Some(found) => Some(found).filter(|_| is_held),
        None => detached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;

    #[test]
    fn a_peer_that_was_deleted_and_not_added_is_added_by_the_next_attempt() {
        let peer = |asn| Some(Peer::new(asn, [Family::Ipv4]));
        for (found, is_held, detached, expected) in [
            (peer(1), true, None, peer(1)),
            (peer(1), false, None, None),
            (None, false, None, None),
            // Deleted, and the addition failed.
            (None, false, peer(1), peer(1)),
            // The agent added it in between, as it is to be now; or the deletion had failed.
            (peer(2), false, peer(1), None),
            (peer(2), true, peer(1), peer(2)),
        ] {
            assert_eq!(to_add(found.clone(), is_held, detached.clone()), expected, "{found:?} {is_held} {detached:?}");
        }
    }
}
