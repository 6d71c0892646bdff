//! The ClusterRole of `deploy/base`: enough, and nothing in it is unneeded.

use std::collections::BTreeSet;

use serde_json::Value;
use vipcast::config::Kubernetes;
use vipcast::watch::kubernetes::{Access, NodeReader};
use vipcast_lab::apiserver::{Request, ServerOptions};

use crate::cluster::{Cluster, service, slice};

/// An API group, a resource, a verb.
type Right = (String, String, String);

/// What a role called `vipcast` of this kind grants.
fn granted(cluster: &Cluster, kind: &str) -> BTreeSet<Right> {
    let role = cluster.server.kubectl(&["get", kind, "vipcast", "--namespace=vipcast", "-o", "json"], "").unwrap();
    let role: Value = serde_json::from_str(&role).unwrap();
    let words = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                rights.extend(words(&rule["verbs"]).into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    rights
}

/// A whole run of the agent, a user's mistake included. Answers with what it asked for.
fn run(cluster: &Cluster) -> BTreeSet<Right> {
    let agent = cluster.agent();
    cluster.calls([service("web", "10.96.40.1").asking_for("192.0.2.7"), slice("web", &["10.244.1.2"])]);
    agent.until_serves(&[("10.96.40.1:80", &["10.244.1.2:8080"])]);
    agent.until("told of the mistake", |_| cluster.asked_by_agent().iter().any(|request| request.resource == "events"));
    // What SIGTERM asks for.
    let source = Kubernetes { kubeconfig: Some(cluster.kubeconfig.clone()), ..Kubernetes::default() };
    let access = Access::new(&source, cluster.plane.folder(), false);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(async { NodeReader::new(&access, "lb1").read().await });
    assert!(node.unwrap().is_some());
    assert_eq!(agent.status().source.troubles, []);

    let asked = cluster.asked_by_agent();
    let refused: Vec<_> = asked.iter().filter(|request| matches!(request.code, 401 | 403)).collect();
    assert!(refused.is_empty(), "the role is not enough: {refused:?}");
    asked.into_iter().map(|request| (request.group, request.resource, request.verb)).collect()
}

/// With a server that streams lists, and with one that does not, where each kind has to be listed first.
#[test]
fn the_role_is_enough_and_not_more() {
    let Some(streaming) = Cluster::shared() else { return };
    let mut used = run(&streaming);
    let is_streamed = |request: &Request| request.uri.contains("sendInitialEvents=true");
    assert!(streaming.asked_by_agent().iter().any(is_streamed), "the server streams lists");
    let (everywhere, own) = (granted(&streaming, "clusterrole"), granted(&streaming, "role"));
    drop(streaming);

    let flags = vec!["--feature-gates=WatchList=false".to_owned()];
    let Some(listing) = Cluster::own(ServerOptions { flags, ..ServerOptions::default() }) else { return };
    let of_listing = run(&listing);
    assert!(of_listing.iter().any(|(_, resource, verb)| resource == "services" && verb == "list"), "{of_listing:?}");
    used.extend(of_listing);

    let unused: Vec<_> = everywhere.difference(&used).collect();
    assert!(unused.is_empty(), "granted and not used: {unused:?}");
    // Other tests of this server use what the agent may do in its own namespace.
    let missing: Vec<_> = used.iter().filter(|right| !everywhere.contains(*right) && !own.contains(*right)).collect();
    assert!(missing.is_empty(), "used and not granted: {missing:?}");
}
