//! What this node is for the cluster, and what follows from it when the agent is asked to end.
//!
//! A node serves while its Node object has the labels of `nodeSelector`. Without them it stands by: the routes are
//! withdrawn, what is ours is removed, and the agent goes on watching. While nothing is known of the Node, nothing is
//! touched.

use crate::model::settings::Settings;
use crate::model::{Cluster, Labels};

use super::change::Leave;

/// What this node is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Nothing yet: the first list of all objects is not complete.
    Unknown,
    /// Nothing, for the list is complete and holds no Node of this name: what an earlier run left stays as it is.
    Frozen,
    /// To forward and to announce.
    Serving,
    /// To have nothing of ours, for this reason.
    StandingBy(String),
}

impl Role {
    /// What the node called `settings.node` is, as far as `cluster` knows. Where nothing selects by labels, nobody needs
    /// its Node object.
    pub fn of(settings: &Settings, cluster: &Cluster) -> Role {
        if !settings.selects_by_labels() {
            return Role::Serving;
        }
        if !cluster.is_listed() {
            return Role::Unknown;
        }
        let selector = &settings.node_selector;
        match cluster.node() {
            Some(node) if selector.matches(&node.labels) => Role::Serving,
            Some(node) => {
                let missing = selector.missing(&node.labels);
                Role::StandingBy(format!("this node has not the label {missing}: standing by"))
            }
            None if !cluster.has_seen_node() => Role::Frozen,
            // A Node that was deleted has no labels.
            None if selector.is_empty() => Role::Serving,
            None => Role::StandingBy(format!("the Node {} was deleted: standing by", settings.node)),
        }
    }

    /// Its name in the status and the metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Role::Unknown => "unknown",
            Role::Frozen => "frozen",
            Role::Serving => "serving",
            Role::StandingBy(_) => Role::STANDING_BY,
        }
    }

    /// The name of [`Role::StandingBy`].
    pub const STANDING_BY: &str = "standing by";

    /// The names of all roles.
    pub const NAMES: [&str; 4] = ["unknown", "frozen", "serving", Role::STANDING_BY];

    /// Why the node does not serve, if it does not; before the first list, that says why.
    pub fn reason(&self, settings: &Settings) -> Option<String> {
        match self {
            Role::Unknown | Role::Serving => None,
            Role::Frozen => Some(format!(
                "there is no Node {}, whose labels are asked for: nothing is touched until there is one; `node` in the \
                 configuration has to be the name of this node's Node object",
                settings.node
            )),
            Role::StandingBy(reason) => Some(reason.clone()),
        }
    }
}

/// The labels of this node: none if it has no Node object.
pub fn labels(cluster: &Cluster) -> Labels {
    cluster.node().map(|node| node.labels.clone()).unwrap_or_default()
}

/// How an agent leaves that is told to end (SIGTERM), `cluster` being what is known of the Node at that moment.
///
/// A node that is no LB node any more leaves nothing behind. On one that shuts down the kernel's state goes by itself, and
/// only the routes have to go before. On an LB node the agent is about to be started anew, and `configured` says what
/// to do; so it does while the Node is unknown.
pub fn farewell(settings: &Settings, cluster: &Cluster, configured: Leave) -> Leave {
    let selector = &settings.node_selector;
    match cluster.node() {
        Some(node) if !selector.matches(&node.labels) => Leave::Remove,
        Some(node) if node.shutting_down => Leave::Withdraw,
        None if cluster.has_seen_node() && !selector.is_empty() => Leave::Remove,
        Some(_) | None => configured,
    }
}

#[cfg(test)]
mod tests;
