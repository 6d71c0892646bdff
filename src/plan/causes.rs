//! Why peers and policies of gobgpd are changed, and that they were: for the log, where every repair has its line.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::bgp::Export;

use super::news::{News, Policy};
use super::planner::Planner;
use super::role::Role;
use super::step::Step;

impl Planner {
    /// Why `step` is due, which is about a peer or a policy: asked before it is done, when actual state still shows it.
    pub(super) fn speaker_cause(&self, step: &Step) -> Option<String> {
        let actual = self.actual.bgp.as_ref()?;
        let is_drifted = self.speaker.drifted.contains(&step.key());
        // What is to be there and is not.
        let is_gone = match step {
            Step::AddPeer(..) => true,
            Step::DeletePeer(_) => false,
            Step::RejectImports(_) => actual.rejected.is_none(),
            Step::SetExports(_) => actual.exports.is_none(),
            _ => return None,
        };
        if self.leaving.is_some() {
            return Some("this node is leaving".to_owned());
        }
        if let Role::StandingBy(reason) = &self.role {
            return Some(reason.clone());
        }
        let cause = match step {
            Step::DeletePeer(name) if !self.peers.contains_key(name) => "it is not among the peers of this node",
            Step::AddPeer(name, _) if self.speaker.replaced.contains(name) => "anew, with the keys that it has now",
            _ if is_drifted && is_gone => "it was gone from gobgpd",
            _ if is_drifted => "it was changed in gobgpd",
            Step::DeletePeer(_) => "its keys are others now",
            Step::AddPeer(..) => "it is one of the peers of this node",
            _ if is_gone => "gobgpd had none",
            Step::SetExports(wanted) => return Some(export_cause(wanted, actual.exports.as_ref())),
            _ => "its neighbours are others now",
        };
        Some(cause.to_owned())
    }

    /// The cause of `step`, which was done.
    pub(super) fn cause_told(&mut self, step: &Step) -> String {
        self.speaker.causes.remove(&step.key()).unwrap_or_default()
    }

    /// Tells that a peer or a policy was changed.
    pub(super) fn tell_speaker_changed(&mut self, step: &Step) {
        let cause = self.cause_told(step);
        self.news.push(match step {
            Step::AddPeer(name, peer) => {
                self.speaker.replaced.remove(name);
                News::PeerAdded { peer: name.clone(), asn: peer.asn, cause }
            }
            Step::DeletePeer(name) => {
                if self.peers.contains_key(name) && !self.is_removing() {
                    self.speaker.replaced.insert(name.clone());
                }
                News::PeerDeleted { peer: name.clone(), cause }
            }
            Step::RejectImports(neighbors) => {
                let neighbors = neighbors.iter().map(ToString::to_string).collect();
                News::Policy { policy: Policy::Import, neighbors, cause }
            }
            Step::SetExports(exports) => {
                let neighbors = exports.keys().map(ToString::to_string).collect();
                News::Policy { policy: Policy::Export, neighbors, cause }
            }
            _ => return,
        });
    }
}

/// For whom the export policy is to be another than the one in force.
fn export_cause(wanted: &BTreeMap<IpAddr, Export>, actual: Option<&BTreeMap<IpAddr, Export>>) -> String {
    let in_force = |peer| actual.and_then(|actual| actual.get(peer));
    let peers: BTreeSet<&IpAddr> = wanted.keys().chain(actual.into_iter().flat_map(BTreeMap::keys)).collect();
    let changed = peers.into_iter().filter(|peer| wanted.get(*peer) != in_force(peer));
    let changed: Vec<String> = changed.map(ToString::to_string).collect();
    format!("it is another one for {}", changed.join(", "))
}
