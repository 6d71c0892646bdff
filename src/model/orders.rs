//! What the agent tells the speaker to hold to, also when the agent is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bfd;
use super::bgp::PeerName;
use super::canary::Canary;
use super::prefix::Prefix;

/// Everything that the speaker does by itself. It keeps the last orders in the runtime folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Orders {
    /// How long routes outlive an agent that is gone, where nothing proves the data plane.
    pub ttl: Duration,
    /// How long routes outlive an agent that is gone, while the speaker's own probe proves the data plane.
    #[serde(rename = "static")]
    pub fail_static: Duration,
    /// Routes in these prefixes are ours; `None`: all local routes in gobgpd are.
    pub owned: Option<BTreeSet<Prefix>>,
    /// How the data plane is proved: by these canaries, one of each family that is served. None: nothing can prove it.
    pub canaries: Vec<Canary>,
    /// The BFD sessions that there should be.
    #[serde(with = "pairs")]
    pub bfd: BTreeMap<PeerName, bfd::Session>,
    /// Do peers keep the routes of a gobgpd that ends without a word, until the next one is back?
    #[serde(default)]
    pub graceful_restart: bool,
    /// Those of the BFD sessions that are announcements themselves: the other side has static routes which live by the
    /// session. The other ones watch the way to a BGP peer.
    #[serde(default)]
    pub announced_by: BTreeSet<PeerName>,
    /// It is not decided yet whether those may be up: each stays as it was ordered before, and down where nothing was.
    #[serde(default)]
    pub undecided: bool,
}

impl Orders {
    /// The sessions that there should be while what is announced is withdrawn.
    pub fn withdrawn(&self) -> BTreeMap<PeerName, bfd::Session> {
        let mut sessions = self.bfd.clone();
        for (name, session) in &mut sessions {
            session.enabled &= !self.announced_by.contains(name);
        }
        sessions
    }

    /// These orders after `former` ones: what is undecided is as it was.
    pub fn after(mut self, former: Option<&Orders>) -> Orders {
        if std::mem::take(&mut self.undecided) {
            let was_enabled = |name: &PeerName| {
                let former = former.filter(|former| former.announced_by.contains(name));
                former.and_then(|former| former.bfd.get(name)).is_some_and(|session| session.enabled)
            };
            for (name, session) in self.bfd.iter_mut().filter(|(name, _)| self.announced_by.contains(*name)) {
                session.enabled = was_enabled(name);
            }
        }
        self
    }
}

/// JSON's keys are strings only, so a map goes as a list of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}
