//! FRR's answers, in its JSON.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::{Heard, Session, Since};

/// `show bgp FAMILY unicast PREFIX json`; empty where FRR has no such route.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    paths: Vec<Path>,
}

#[derive(Deserialize)]
struct Path {
    aspath: AsPath,
    #[serde(rename = "metric")]
    med: Option<u32>,
    #[serde(rename = "locPrf")]
    local_pref: Option<u32>,
    #[serde(default)]
    community: Communities,
    #[serde(default, rename = "largeCommunity")]
    large_community: Communities,
    #[serde(default)]
    nexthops: Vec<NextHop>,
    peer: Peer,
}

#[derive(Deserialize)]
struct AsPath {
    #[serde(default)]
    segments: Vec<Segment>,
}

#[derive(Deserialize)]
struct Segment {
    list: Vec<u32>,
}

/// The text has the names as people write them; the list beside it has others (`noAdvertise`).
#[derive(Default, Deserialize)]
struct Communities {
    string: String,
}

#[derive(Deserialize)]
struct NextHop {
    ip: String,
    /// With two addresses for one next hop, `global` is said of the one that is no link-local one.
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Peer {
    #[serde(rename = "peerId")]
    id: String,
    /// Of an unnumbered neighbour, whose address is not known beforehand.
    interface: Option<String>,
}

pub(super) fn heard(answer: Value) -> Result<BTreeMap<String, Heard>> {
    let answer: Answer = serde_json::from_value(answer).context("routes of FRR")?;
    Ok(answer.paths.into_iter().map(Path::heard).collect())
}

impl Path {
    fn heard(self) -> (String, Heard) {
        let words = |communities: Communities| communities.string.split_whitespace().map(str::to_owned).collect();
        let global = self.nexthops.iter().position(|hop| hop.scope.as_deref() == Some("global")).unwrap_or_default();
        let heard = Heard {
            as_path: self.aspath.segments.into_iter().flat_map(|segment| segment.list).collect(),
            next_hop: self.nexthops.into_iter().nth(global).map(|hop| hop.ip).unwrap_or_default(),
            communities: words(self.community),
            large_communities: words(self.large_community),
            med: self.med,
            local_pref: self.local_pref,
        };
        (self.peer.interface.unwrap_or(self.peer.id), heard)
    }
}

/// `show bgp summary json`: neighbours by family.
#[derive(Deserialize)]
struct Summary {
    peers: BTreeMap<String, Neighbour>,
}

#[derive(Deserialize)]
struct Neighbour {
    state: String,
    #[serde(rename = "connectionsEstablished")]
    established: u64,
}

pub(super) fn sessions(answer: Value) -> Result<BTreeMap<String, Session>> {
    let families: BTreeMap<String, Summary> = serde_json::from_value(answer).context("sessions of FRR")?;
    let peers = families.into_values().flat_map(|family| family.peers);
    Ok(peers
        .map(|(name, peer)| {
            (name, Session { established: peer.state == "Established", since: Since::Count(peer.established) })
        })
        .collect())
}
