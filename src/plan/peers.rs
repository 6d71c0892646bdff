//! Which peers this node has: entries of the configuration that its labels select, what its Node's annotations say in
//! their place, and passwords from Secrets filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::bgp::{PeerName, SecretKey};
use crate::model::node::Overrides;
use crate::model::settings::BgpSettings;
use crate::model::{Family, Settings, Time};

use super::bgp;
use super::news::News;
use super::planner::Planner;
use super::role::labels;

impl Planner {
    /// The Secrets that peers' passwords come from.
    pub fn wanted_secrets(&self) -> &BTreeSet<SecretKey> {
        &self.wanted_secrets
    }

    /// Has all been told once at least, the objects of the cluster and these Secrets?
    pub fn is_told(&self) -> bool {
        self.is_listed() && self.wanted_secrets.iter().all(|key| self.secrets.contains_key(key))
    }

    /// The configuration says something else. Nothing of it is looked at by an agent that leaves.
    pub(super) fn on_settings(&mut self, settings: Settings, now: Time) {
        if self.leaving.is_some() || settings == self.configured {
            return;
        }
        self.next_resync = self.next_resync.min(now + settings.resync);
        self.configured = settings;
        // What gobgpd refused may be something else now.
        self.memory.forget_speaker();
        self.derive_role();
        self.derive_ranges(now);
    }

    /// Works out the settings of this node: as configured, with what its Node's annotations say in their place.
    pub(super) fn derive_settings(&mut self) {
        let node = self.cluster.node().map(|node| &node.bgp);
        let (settings, misfits) = node.unwrap_or(&Overrides::default()).applied_to(&self.configured);
        self.misfits = misfits;
        if settings != self.settings {
            self.settings = settings;
            // Claims and routes follow from much of it.
            self.unsettled = true;
        }
    }

    /// Works out which peers this node has by its labels, which have to be known, and which of them are not known well
    /// enough to tell gobgpd of them. Answers whether they are others than before.
    pub(super) fn derive_peers(&mut self) -> bool {
        let labels = labels(&self.cluster);
        let entries = self.settings.bgp.as_ref().map(|bgp| bgp.peers_of(&labels)).unwrap_or_default();
        self.wanted_secrets = entries.values().filter_map(|entry| entry.secret.clone()).collect();
        // One that is asked for again later may hold something else by then.
        self.secrets.retain(|key, _| self.wanted_secrets.contains(key));
        let (mut peers, mut held) = (BTreeMap::new(), BTreeMap::new());
        for (name, mut entry) in entries {
            let password = entry.secret.map(|key| (self.secrets.get(&key), key));
            let reason = match (self.misfits.get(&name), password) {
                (Some(misfit), _) => Some(Held::Problem(misfit.to_string())),
                (None, None) => None,
                (None, Some((None, key))) => Some(Held::Waits(key)),
                (None, Some((Some(Ok(password)), _))) => {
                    entry.peer.password = Some(password.clone());
                    None
                }
                (None, Some((Some(Err(reason)), key))) => Some(Held::Problem(format!("Secret {key} {reason}"))),
            };
            entry.peer.graceful_restart = self.settings.bgp.as_ref().and_then(|bgp| bgp.graceful_restart);
            // One that something is wrong with is what gobgpd has, as long as that is known.
            let known = self.actual.bgp.as_ref().and_then(|bgp| bgp.peers.get(&name));
            if let (Some(known), true) = (known, reason.as_ref().is_some_and(Held::is_problem)) {
                entry.peer = known.clone();
            }
            held.extend(reason.map(|reason| (name.clone(), reason)));
            peers.insert(name, entry.peer);
        }
        for (peer, reason) in held.iter().filter(|(name, reason)| self.held.get(name) != Some(reason)) {
            if reason.is_problem() {
                self.news.push(News::Peer { peer: peer.clone(), problem: reason.to_string() });
            }
        }
        self.held = held;
        self.speaker.replaced.retain(|peer| peers.contains_key(peer));
        let differs = peers != self.peers;
        self.peers = peers;
        differs
    }

    /// Do the annotations of the Node say something of BGP that has not been understood since the start? What an earlier run
    /// told gobgpd because of them must stay.
    pub(super) fn is_overridden_blindly(&self) -> bool {
        self.cluster.node().is_some_and(|node| node.bgp.is_blind())
    }

    /// Why no peer of this node can carry routes of `family`, if so. One that gobgpd has may be the annotations' as long as
    /// these are not understood: the routes that it carries stay.
    pub(super) fn unannounceable(&self, settings: &BgpSettings, family: Family) -> Option<String> {
        let left = self.actual.bgp.iter().filter(|_| self.is_overridden_blindly()).flat_map(|bgp| bgp.peers.values());
        bgp::unannounceable(settings, self.peers.values().chain(left), family)
    }

    /// What keeps a peer from being as it should, or several entries for it.
    pub(super) fn peer_problem(&self, peer: &PeerName) -> Option<String> {
        let own = self.cluster.node().and_then(|node| node.bgp.peers.as_ref());
        let is_own = own.is_some_and(|entries| entries.iter().any(|entry| entry.name == *peer));
        let rivals = || {
            let entries = self.configured.bgp.as_ref()?.rival_entries(&labels(&self.cluster)).remove(peer)?;
            Some(rivalry(&entries))
        };
        self.held.get(peer).map(ToString::to_string).or_else(|| rivals().filter(|_| !is_own))
    }
}

/// Why gobgpd is not told of a peer: neither added nor deleted nor changed, it stays as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// Its password has not been told yet.
    Waits(SecretKey),
    /// Something is wrong.
    Problem(String),
}

impl Held {
    /// Does somebody have to mend something?
    pub(super) fn is_problem(&self) -> bool {
        matches!(self, Held::Problem(_))
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Held::Waits(key) => {
                write!(f, "waits for its password, in the Secret {key}; nothing is told to gobgpd meanwhile")
            }
            Held::Problem(problem) => write!(f, "{problem}; the peer stays as gobgpd has it"),
        }
    }
}

/// That several entries of `bgp.peers` are for one peer on this node, and which one counts.
fn rivalry(entries: &[usize]) -> String {
    let names: Vec<String> = entries.iter().map(|number| format!("bgp.peers[{number}]")).collect();
    format!("{} select this node; the first counts", names.join(" and "))
}
