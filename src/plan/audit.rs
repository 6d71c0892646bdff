//! Desired against real: what gobgpd sends each peer is compared with what it has to send, after each change and at every
//! reading of gobgpd, and what somebody else changed in gobgpd is counted when it is repaired.
//!
//! GoBGP works out an Adj-RIB-Out when it is asked for it, from its paths and policies as they are then (`getAdjRib` in its
//! `pkg/server/server.go`). So a difference that ends by itself says that a policy was there and is gone, and not that the
//! peer heard the routes anew: they are sent once more before the peer counts as well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::bgp::{Bgp, Path, PeerName};
use crate::model::{Prefix, Time};

use super::bgp::sent::{self, Difference};
use super::memory::{Failure, Key};
use super::news::News;
use super::pass::Draft;
use super::planner::Planner;
use super::step::Step;

/// What a peer is sent is read this often at most; what changes meanwhile is read together.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of what one peer is sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Audit {
    /// To be read, since something about them changed.
    due: BTreeSet<Prefix>,
    /// When the next reading may be.
    next: Time,
    /// What was not as it has to be when it was read last.
    astray: BTreeMap<Prefix, Difference>,
    /// Something was astray, and the routes were not sent again since with nothing astray after it.
    doubt: bool,
    /// The routes were sent again since something was found astray.
    resent: bool,
}

/// How often what somebody else did, or what went wrong, was put right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Paths in gobgpd.
    pub paths: u64,
    /// Peers.
    pub peers: u64,
    /// The import policy and the export policy.
    pub policies: u64,
    /// What a peer was sent.
    pub sent: u64,
}

impl Repairs {
    /// Kinds, as metrics name them, with their counts.
    pub fn by_kind(&self) -> [(&'static str, u64); 4] {
        [("path", self.paths), ("peer", self.peers), ("policy", self.policies), ("sent", self.sent)]
    }
}

impl Planner {
    /// What `peer` has to be sent, by what gobgpd holds: nothing while its session is not established.
    pub fn desired_sent(&self, peer: &PeerName) -> BTreeMap<Prefix, Path> {
        let paths = self.actual.bgp.iter().flat_map(|bgp| bgp.paths.keys());
        paths.filter_map(|prefix| Some((*prefix, self.expected(peer, *prefix)?))).collect()
    }

    /// What `peer` was sent the last time that it was read; `None` if it was not.
    pub fn sent(&self, peer: &PeerName) -> Option<&BTreeMap<Prefix, Path>> {
        self.actual.bgp.as_ref()?.sent.get(peer)
    }

    /// What of the routes that `peer` is sent was not as it has to be when it was read last.
    pub fn astray(&self, peer: &PeerName) -> impl Iterator<Item = (Prefix, &Difference)> {
        let audit = self.speaker.audits.get(peer).into_iter();
        audit.flat_map(|audit| &audit.astray).map(|(prefix, difference)| (*prefix, difference))
    }

    /// What keeps `peer` from being sent what it has to be, if that lasts.
    pub fn sending_problem(&self, peer: &PeerName) -> Option<String> {
        let lasting = self.memory.failure(&Key::Resending(peer.clone())).filter(|failure| failure.lasts());
        if let Some(Failure { reason, .. }) = lasting {
            return Some(format!("{reason}; an export policy of somebody else's in gobgpd may be the reason"));
        }
        let session = self.speaker.sessions.get(peer).filter(|session| session.is_established())?;
        let families = &self.peers.get(peer)?.families;
        let deaf = families.difference(&session.families).find(|family| {
            let mut paths = self.actual.bgp.iter().flat_map(|bgp| bgp.paths.keys());
            paths.any(|prefix| prefix.family() == **family)
        });
        deaf.map(|family| format!("the other side does not carry {family} routes: it is sent none of them"))
    }

    /// How often something was put right.
    pub fn repairs(&self) -> Repairs {
        self.speaker.repairs
    }

    fn expected(&self, peer: &PeerName, prefix: Prefix) -> Option<Path> {
        let actual = self.actual.bgp.as_ref()?;
        let session = self.speaker.sessions.get(peer).filter(|session| session.is_established())?;
        let settings = actual.peers.get(peer)?;
        let export = peer.address().and_then(|address| actual.exports.as_ref()?.get(&address));
        sent::expected(prefix, actual.paths.get(&prefix)?, actual.global?.asn, settings, export, session)
    }

    /// Peers of ours with an established session.
    fn listeners(&self) -> Vec<PeerName> {
        let peers = self.actual.bgp.iter().flat_map(|bgp| bgp.peers.keys());
        let is_up = |peer: &&PeerName| self.speaker.sessions.get(*peer).is_some_and(|session| session.is_established());
        peers.filter(is_up).cloned().collect()
    }

    /// Readings that are due, and routes that have to be sent again.
    pub(super) fn plan_audits(&mut self, now: Time, draft: &mut Draft) {
        for peer in self.listeners() {
            let Some(audit) = self.speaker.audits.get(&peer) else { continue };
            let (is_due, next, must_resend) = (!audit.due.is_empty(), audit.next, audit.doubt && !audit.resent);
            if must_resend {
                self.send(Step::Resend(peer.clone()), now, draft);
            }
            if !is_due || self.memory.is_in_flight(&Key::SentReading(peer.clone())) {
                continue;
            }
            if next > now {
                draft.wake(next);
                continue;
            }
            let due = self.speaker.audits.get(&peer).map(|audit| audit.due.clone()).unwrap_or_default();
            if self.send(Step::ReadSent(peer.clone(), due), now, draft)
                && let Some(audit) = self.speaker.audits.get_mut(&peer)
            {
                audit.due.clear();
                audit.next = now + PAUSE;
            }
        }
    }

    /// What is sent of `prefixes` may be something else now.
    pub(super) fn audit(&mut self, prefixes: impl IntoIterator<Item = Prefix> + Clone) {
        for peer in self.listeners() {
            self.speaker.audits.entry(peer).or_default().due.extend(prefixes.clone());
        }
    }

    /// The same of all prefixes.
    pub(super) fn audit_all(&mut self) {
        let paths: Vec<Prefix> = self.actual.bgp.iter().flat_map(|bgp| bgp.paths.keys().copied()).collect();
        self.audit(paths);
    }

    /// A session came up or went down.
    pub(super) fn on_listener(&mut self, peer: &PeerName, is_up: bool) {
        self.speaker.audits.remove(peer);
        for key in [Key::Resending(peer.clone()), Key::SentReading(peer.clone())] {
            self.memory.forget(&key);
        }
        if let Some(actual) = &mut self.actual.bgp {
            actual.sent.remove(peer);
            let paths: BTreeSet<Prefix> = actual.paths.keys().copied().collect();
            if is_up && actual.peers.contains_key(peer) {
                self.speaker.audits.entry(peer.clone()).or_default().due = paths;
            }
        }
    }

    /// What `peer` is sent was read, for these prefixes.
    pub(super) fn on_sent(&mut self, peer: &PeerName, prefixes: &BTreeSet<Prefix>, now: Time) {
        // Nothing is sent over a session that has ended since, and nothing is sent again by who leaves.
        if self.leaving.is_some() || !self.listeners().contains(peer) {
            return;
        }
        let found = |prefix: &Prefix| self.sent(peer).and_then(|sent| sent.get(prefix));
        let difference = |prefix: &Prefix| (*prefix, sent::difference(self.expected(peer, *prefix), found(prefix)));
        let differences: Vec<_> = prefixes.iter().map(difference).collect();
        let audit = self.speaker.audits.entry(peer.clone()).or_default();
        let was_well = !audit.doubt;
        for (prefix, difference) in differences {
            match difference {
                Some(difference) => audit.astray.insert(prefix, difference),
                None => audit.astray.remove(&prefix),
            };
        }
        let key = Key::Resending(peer.clone());
        if audit.astray.is_empty() {
            if audit.resent {
                (audit.doubt, audit.resent) = (false, false);
                self.memory.forget(&key);
            }
            return;
        }
        let reason = in_words(&audit.astray);
        let in_vain = std::mem::take(&mut audit.resent);
        audit.doubt = true;
        if was_well {
            let problem = format!("{reason}; its routes are sent again");
            self.news.push(News::Peer { peer: peer.clone(), problem });
        } else if in_vain {
            self.memory.failed(key.clone(), reason.clone(), false, now);
            if self.memory.failure(&key).is_some_and(Failure::begins_to_last) {
                self.news.push(News::Failed { step: Step::Resend(peer.clone()), reason });
            }
        }
    }

    /// The routes of `peer` were sent again. Whether that helped, a reading tells.
    pub(super) fn on_resent(&mut self, peer: &PeerName) {
        self.speaker.repairs.sent += 1;
        let reason = self.speaker.audits.get(peer).map(|audit| in_words(&audit.astray)).unwrap_or_default();
        self.news.push(News::Resent { peer: peer.clone(), reason });
        let Some(audit) = self.speaker.audits.get_mut(peer) else { return };
        audit.resent = true;
        if audit.astray.is_empty() {
            (audit.doubt, audit.resent) = (false, false);
            self.memory.forget(&Key::Resending(peer.clone()));
        } else {
            audit.due.extend(audit.astray.keys());
        }
    }

    /// A reading of these prefixes did not come off: they are read later.
    pub(super) fn read_sent_again(&mut self, peer: &PeerName, prefixes: &BTreeSet<Prefix>) {
        if let Some(audit) = self.speaker.audits.get_mut(peer) {
            audit.due.extend(prefixes);
        }
    }

    /// All of gobgpd was read.
    pub(super) fn audit_reading(&mut self, now: Time) {
        self.speaker.audits.retain(|peer, _| self.actual.bgp.as_ref().is_some_and(|bgp| bgp.peers.contains_key(peer)));
        for peer in self.listeners() {
            let paths = self.actual.bgp.iter().flat_map(|bgp| bgp.paths.keys());
            // A session may have come up since, or the reading begun before that was told.
            let Some(sent) = self.sent(&peer) else {
                let paths: Vec<Prefix> = paths.copied().collect();
                self.speaker.audits.entry(peer).or_default().due.extend(paths);
                continue;
            };
            let known = self.speaker.audits.get(&peer).into_iter().flat_map(|audit| audit.astray.keys());
            let all: BTreeSet<Prefix> = paths.chain(sent.keys()).chain(known).copied().collect();
            self.on_sent(&peer, &all, now);
        }
    }

    /// Notes what in gobgpd is not as it was believed to be: whoever puts it right repairs something.
    pub(super) fn note_drift(&mut self, found: &Bgp) {
        let Some(known) = self.actual.bgp.as_ref().or(self.speaker.last.as_ref()) else { return };
        let paths = known.paths.keys().chain(found.paths.keys());
        let paths = paths.filter(|prefix| known.paths.get(*prefix) != found.paths.get(*prefix));
        let peers = known.peers.keys().chain(found.peers.keys());
        let peers = peers.filter(|peer| known.peers.get(*peer) != found.peers.get(*peer));
        let imports = (known.rejected != found.rejected).then_some(Key::Imports);
        let exports = (known.exports != found.exports).then_some(Key::Exports);
        let keys = paths.map(|prefix| Key::Path(*prefix)).chain(peers.map(|peer| Key::Peer(peer.clone())));
        // What was tried and failed may have been done all the same.
        let drifted = keys.chain(imports).chain(exports).filter(|key| self.memory.failure(key).is_none());
        let drifted: Vec<Key> = drifted.collect();
        self.speaker.drifted.extend(drifted);
        self.speaker.last = None;
    }

    /// Counts a step that was done if it put right what was not as believed.
    pub(super) fn count_repair(&mut self, step: &Step) {
        let key = step.key();
        if !self.speaker.drifted.remove(&key) {
            return;
        }
        let repairs = &mut self.speaker.repairs;
        match key {
            Key::Path(_) => repairs.paths += 1,
            Key::Peer(_) => repairs.peers += 1,
            Key::Imports | Key::Exports => repairs.policies += 1,
            _ => {}
        }
    }
}

/// The first few of what is astray, and how many more.
fn in_words(astray: &BTreeMap<Prefix, Difference>) -> String {
    const MOST: usize = 3;
    let first = astray.iter().take(MOST).map(|(prefix, difference)| format!("{prefix} is {difference}"));
    let more = astray.len().saturating_sub(MOST);
    let more = (more > 0).then(|| format!("{more} more are not as they have to be"));
    first.chain(more).collect::<Vec<_>>().join("; ")
}
