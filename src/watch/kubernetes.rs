//! The API server as a source, by kube's watchers.
//!
//! Four watches run side by side: Services, EndpointSlices, ServiceCIDRs and Nodes (`follow`); and one for each Secret that a
//! peer's password comes from (`secrets`). Each
//! turns what it is told into events and keeps nothing (`raw`). What fails becomes `Trouble` and is tried again, at most
//! 5 s later (`failure`, `backoff`); nothing is removed meanwhile, and a list that did not end leaves everything as it is.
//!
//! All of them ask through [`Access`], which knows the API servers' addresses and goes on to the next one when one does
//! not answer (`servers`), and remembers on disk which endpoints are behind the API server's own ClusterIP
//! (`remembered`).
//!
//! How soon a dead API server is noticed: a closed or refused connection at once; one that fell silent after 30 s (TCP
//! keep-alive after 10 s, given up 20 s later); a server that hangs while its kernel still answers after 20 s, and in the
//! middle of a watch after 125 s at most.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::{Api, Client};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch::Receiver;
use tokio::time::timeout;

use self::follow::Follower;
use self::raw::Raw;
use self::servers::Servers;
use super::{Closed, Reading};
use crate::config;
use crate::model::bgp::SecretKey;
use crate::model::node::Node;
use crate::model::{Kind, Object};
use crate::plan::Change;

mod backoff;
pub(crate) mod credentials;
mod discreet;
mod failure;
mod follow;
mod gate;
pub mod inquiry;
mod raw;
pub(crate) mod remembered;
pub(super) mod secrets;
mod servers;
pub(crate) mod words;

/// How long [`NodeReader`] waits for an answer: longer than a connection takes to fail, so that another server is asked.
const ONE_READING: Duration = Duration::from_secs(5);

/// The way to the API servers. Cheap to clone; clones share connections, and what is known of which server answers.
#[derive(Debug, Clone)]
pub struct Access {
    servers: Arc<Servers>,
}

impl Access {
    /// The way that `source` describes, and the endpoints that were remembered in `runtime_dir`. With `remembers`, new
    /// ones are written there. Nothing is asked yet.
    pub fn new(source: &config::Kubernetes, runtime_dir: &Path, remembers: bool) -> Access {
        let account = Path::new(credentials::SERVICE_ACCOUNT);
        Access { servers: Arc::new(Servers::new(source.clone(), account, runtime_dir, remembers)) }
    }

    /// A client that asks whichever API server answers. Needs a tokio runtime.
    pub fn client(&self) -> Client {
        let servers = self.servers.clone();
        let service = tower::service_fn(move |request| {
            let servers = servers.clone();
            async move { servers.send(request).await }
        });
        Client::new(service, "default")
    }

    /// The URL of the API server that answered last.
    pub fn server(&self) -> Option<String> {
        self.servers.current().map(|address| address.to_string())
    }
}

/// Tells what the API server holds, and from then on what changes, as [`watch`](super) promises; and what the Secrets
/// hold that are `wanted`. `node` is the name of this node's own Node. With `ranges_given`, ServiceCIDRs are not needed, and a
/// server that does not have them counts as having none. Returns when nobody listens any more.
pub async fn watch(
    access: Access,
    node: String,
    ranges_given: bool,
    wanted: Receiver<BTreeSet<SecretKey>>,
    changes: Sender<Change>,
) {
    let follow = |kind: Kind| Follower {
        kind,
        node: node.clone(),
        dispensable: ranges_given && kind == Kind::ServiceCidr,
        servers: access.servers.clone(),
        changes: changes.clone(),
    };
    // Each ends only when nobody listens, and then all do.
    let objects = futures::future::try_join_all(Kind::ALL.map(|kind| follow(kind).run()));
    let secrets = secrets::follow(access.servers.clone(), wanted, changes);
    let _: Result<_, Closed> = futures::future::try_join(objects, secrets).await;
}

/// Reads this node's own Node object, once, whatever the watches are doing.
#[derive(Clone)]
pub struct NodeReader {
    client: Client,
    node: String,
}

impl NodeReader {
    /// A reader of the Node object called `node`. Needs a tokio runtime.
    pub fn new(access: &Access, node: &str) -> NodeReader {
        NodeReader { client: access.client(), node: node.to_owned() }
    }

    /// The Node object as it is now; `None` if there is none of that name. Answers within 5 s, or says why it cannot.
    pub async fn read(&self) -> Result<Option<Node>, String> {
        let api = Api::<Raw>::all_with(self.client.clone(), &Kind::Node);
        let answer = timeout(ONE_READING, api.get_opt(&self.node)).await;
        let answer =
            answer.map_err(|_| format!("the API server does not answer within {} s", ONE_READING.as_secs()))?;
        match answer.map_err(|error| words::request(&error))?.map(|raw| raw.read(Kind::Node, &self.node)) {
            None | Some(Reading::Ignored) => Ok(None),
            Some(Reading::Good(Object::Node(node)) | Reading::Partly(Object::Node(node), _)) => Ok(Some(node)),
            Some(Reading::Bad(problem)) => Err(format!("Node {}: {problem}", self.node)),
            Some(Reading::Good(_) | Reading::Partly(..)) => Err(format!("Node {}: another object came", self.node)),
        }
    }
}

#[cfg(test)]
mod tests;
