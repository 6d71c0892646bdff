//! The Node of the agent: its label comes and goes, and so does the Node.

use serde_json::json;
use vipcast_lab::apiserver::ServerOptions;

use crate::agent::Agent;
use crate::cluster::{Call, Cluster, lb_node, service, slice};

const NODE: &str = "/api/v1/nodes/lb1";

fn until_bare(agent: &Agent, reason: &str) {
    agent.until("bare", |agent| agent.served().is_empty() && agent.routes().is_empty());
    let status = agent.status();
    assert_eq!((status.ready, status.leaving, status.role.as_str()), (false, false, "standing by"));
    assert_eq!(status.reasons, [reason]);
}

fn until_served(agent: &Agent) {
    agent.until_serves(&[("10.96.40.1:80", &["10.244.1.2:8080"])]);
    agent.until_ready();
    assert_eq!(agent.status().role, "serving");
    assert_eq!(agent.routes(), ["10.96.0.0/16", "fd00:10:96::/112"]);
}

/// The control plane is the test's own: others need the Node.
#[test]
fn a_label_comes_and_goes() {
    let Some(cluster) = Cluster::own(ServerOptions::default()) else { return };
    cluster.calls([service("web", "10.96.40.1"), slice("web", &["10.244.1.2"])]);
    let agent = cluster.agent();
    until_served(&agent);
    let label = |value: Option<&str>| {
        cluster.call(Call::patch(NODE.to_owned(), json!({ "metadata": { "labels": { "role": value } } })));
    };

    for value in [None, Some("worker")] {
        label(value);
        until_bare(&agent, "this node has not the label role=lb: standing by");
        label(Some("lb"));
        until_served(&agent);
    }

    cluster.call(Call::delete(NODE.to_owned()));
    until_bare(&agent, "the Node lb1 was deleted: standing by");
    cluster.call(lb_node());
    until_served(&agent);
}
