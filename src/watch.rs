//! The sources: where the cluster's objects come from. All have one face.
//!
//! A source is a future that runs for as long as the agent does. It sends [`Event`]s, as [`Change::Source`], into a
//! bounded channel, waits where the channel is full, and returns only once nobody listens any more.
//!
//! What a source promises, so that [`Cluster`](crate::model::Cluster) is right whatever happens to it:
//!
//! - For each kind it sends `Listing`, one `Put` or `Bad` for every object that there is, and `Listed`, all kinds in
//!   any order and interleaved as it likes. Later it sends `Put`, `Bad` and `Gone` as things change.
//! - `Listed` is sent only when the list is known to be complete. A source that cannot finish a list leaves it open, and
//!   begins again with `Listing` when it can. So nothing is removed before a list is complete, or because one failed.
//! - It may list a kind again at any time: what the new list does not tell of is gone when that ends. It need not, where
//!   it knows what changed. Telling an unchanged object again is harmless.
//! - `Gone` means that the object is known to be deleted, or that it is not for us any more, never that the source lost
//!   sight of it.
//! - `Trouble` is for what is wrong besides single objects: a file, a folder, a watch, a server. It is sent when the
//!   words change, and with `None` when all is well again. Trouble removes nothing.
//! - This node's own Node object is told whole; of other Nodes what must not be a VIP ([`Reading::seen_from`]).
//!
//! A watch of the API server maps onto this one to one: its `Init` is `Listing`, `InitApply` and `Apply` become what
//! [`Reading::events`] says, `InitDone` is `Listed`, `Delete` is `Gone`, an error is `Trouble`. Objects are made compact
//! as they arrive ([`convert`]) and nothing keeps them whole.

pub mod convert;
pub mod kubernetes;
pub mod manifests;

use std::collections::BTreeSet;
use std::path::PathBuf;

use tokio::sync::mpsc::Sender;
use tokio::sync::watch::Receiver;
use tracing::{info, warn};

use self::kubernetes::Access;
use crate::config::{self, Config};
use crate::model::bgp::SecretKey;
use crate::model::{Event, Object, ObjectRef, Settings};
use crate::plan::Change;

/// The configured source.
#[derive(Debug, Clone)]
pub enum Source {
    /// The API server.
    Kubernetes(Access),
    /// A folder of manifests.
    Manifests(PathBuf),
}

impl Source {
    /// The source that `config` names. Only the agent `remembers` on disk what it learns; whoever just looks does not.
    pub fn new(config: &Config, remembers: bool) -> Source {
        match &config.source {
            config::Source::Kubernetes(source) => {
                Source::Kubernetes(Access::new(source, &config.runtime_dir, remembers))
            }
            config::Source::Manifests(folder) => Source::Manifests(folder.clone()),
        }
    }

    /// Watches it for a node with these `settings`, and the Secrets that are `wanted`. Returns when nobody listens any more.
    pub async fn watch(self, settings: Settings, wanted: Receiver<BTreeSet<SecretKey>>, changes: Sender<Change>) {
        match self {
            Source::Kubernetes(access) => {
                let ranges_given = settings.cluster_ips.is_some();
                kubernetes::watch(access, settings.node, ranges_given, wanted, changes).await;
            }
            Source::Manifests(folder) => {
                let refusing = kubernetes::secrets::refuse(wanted, changes.clone());
                futures::future::join(manifests::watch(folder, settings.node, changes), refusing).await;
            }
        }
    }
}

/// What became of one object when it was made compact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// All of it was understood.
    Good(Object),
    /// A part that stands for itself (one endpoint of many) was left out, for this reason; the rest is good.
    Partly(Object, String),
    /// It was not understood, for this reason; what was known of it before stays in force.
    Bad(String),
    /// It is not for us: as if it was not there.
    Ignored,
}

impl Reading {
    /// What there is to say of the object called `object`, of which nothing else is known.
    pub fn events(&self, object: &ObjectRef) -> Vec<Event> {
        match self {
            Reading::Good(value) => vec![Event::Put(value.clone())],
            Reading::Partly(value, problem) => {
                vec![Event::Put(value.clone()), Event::Bad(object.clone(), problem.clone())]
            }
            Reading::Bad(problem) => vec![Event::Bad(object.clone(), problem.clone())],
            Reading::Ignored => vec![Event::Gone(object.clone())],
        }
    }

    /// The same, of `object`, as the node sees it whose Node object is called `node`: other Nodes matter to it only for
    /// their addresses and pod ranges.
    pub fn seen_from(self, node: &str, object: &ObjectRef) -> Reading {
        let footprint = |whole: Object| match whole {
            Object::Node(other) if *object.name != *node => Object::OtherNode(object.name.clone(), other.footprint()),
            whole => whole,
        };
        match self {
            Reading::Good(whole) => Reading::Good(footprint(whole)),
            Reading::Partly(whole, problem) => Reading::Partly(footprint(whole), problem),
            unread @ (Reading::Bad(_) | Reading::Ignored) => unread,
        }
    }

    /// Is there anything to say of it in a list?
    pub fn is_present(&self) -> bool {
        !matches!(self, Reading::Ignored)
    }
}

/// Nobody listens any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody listens to the source any more")]
pub struct Closed;

/// Sends an event, waiting for room, and logs it if it tells of a problem. All sources speak through it, so that the
/// same problem reads the same wherever it comes from, and is logged once.
pub async fn tell(changes: &Sender<Change>, event: Event) -> Result<(), Closed> {
    match &event {
        Event::Bad(object, problem) => warn!(%object, problem, "object not understood"),
        Event::Trouble { origin, problem: Some(problem) } => warn!(%origin, problem, "source in trouble"),
        Event::Trouble { origin, problem: None } => info!(%origin, "source well again"),
        Event::Listing(_) | Event::Listed(_) | Event::Put(_) | Event::Gone(_) => {}
    }
    changes.send(Change::Source(event)).await.map_err(|_| Closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use crate::model::node::Node;

    #[test]
    fn what_a_reading_tells() {
        let object = convert::reference(Kind::Service, None, "web");
        let value = Object::ServiceCidr("x".into(), Vec::new());
        let (put, bad) = (Event::Put(value.clone()), Event::Bad(object.clone(), "no".to_owned()));
        let gone = Event::Gone(object.clone());
        let cases = [
            (Reading::Good(value.clone()), vec![put.clone()]),
            (Reading::Partly(value, "no".to_owned()), vec![put, bad.clone()]),
            (Reading::Bad("no".to_owned()), vec![bad]),
            (Reading::Ignored, vec![gone]),
        ];
        for (reading, events) in cases {
            assert_eq!(reading.events(&object), events);
        }
    }

    #[test]
    fn other_nodes_matter_for_what_must_not_be_a_vip() {
        let object = convert::reference(Kind::Node, None, "lb2");
        let pod_cidrs = vec!["10.244.2.0/24".parse().unwrap()];
        let labels = [("role".to_owned(), "lb".to_owned())].into();
        let whole = Node { pod_cidrs, labels, ..Node::default() };
        let other = Object::OtherNode("lb2".into(), whole.footprint());
        let good = Reading::Good(Object::Node(whole.clone()));
        let partly = Reading::Partly(Object::Node(whole), "no".to_owned());
        assert_eq!(good.clone().seen_from("lb2", &object), good);
        assert_eq!(good.seen_from("lb1", &object), Reading::Good(other.clone()));
        assert_eq!(partly.seen_from("lb1", &object), Reading::Partly(other, "no".to_owned()));
        let cidr = Reading::Good(Object::ServiceCidr("x".into(), Vec::new()));
        for same in [Reading::Bad("no".to_owned()), Reading::Ignored, cidr] {
            assert_eq!(same.clone().seen_from("lb1", &object), same);
        }
    }

    #[tokio::test]
    async fn a_source_learns_that_nobody_listens() {
        let (changes, listener) = tokio::sync::mpsc::channel(1);
        assert_eq!(tell(&changes, Event::Listed(Kind::Node)).await, Ok(()));
        drop(listener);
        assert_eq!(tell(&changes, Event::Listed(Kind::Node)).await, Err(Closed));
    }
}
