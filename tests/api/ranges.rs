//! ServiceCIDR objects as the default of `ranges.clusterIPs`.

use serde_json::json;

use crate::agent::Agent;
use crate::cluster::{CIDRS, Call, Cluster, service, slice};

#[test]
fn service_cidrs_come_and_go() {
    let Some(cluster) = Cluster::shared() else { return };
    let agent = Agent::start(&cluster.kubeconfig, None);
    agent.until_ready();
    assert_eq!(agent.routes(), ["10.96.0.0/16", "fd00:10:96::/112"], "of the object that the API server makes");

    let name = "more";
    cluster.call(Call::post(CIDRS, json!({ "metadata": { "name": name }, "spec": { "cidrs": ["10.200.0.0/24"] } })));
    agent.until("a third range", |agent| agent.routes().contains(&"10.200.0.0/24".to_owned()));
    // The controller that would say so is part of kube-controller-manager; without it no address is allocated.
    let ready = json!([{ "type": "Ready", "status": "True", "reason": "Test", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    cluster.call(Call::patch(format!("{CIDRS}/{name}/status"), json!({ "status": { "conditions": ready } })));
    // The allocator learns of the condition by a watch of its own.
    agent.until("an address from the new range", |_| cluster.try_calls([service("far", "10.200.0.9")]).is_ok());
    cluster.call(slice("far", &["10.244.1.2"]));
    agent.until_serves(&[("10.200.0.9:80", &["10.244.1.2:8080"])]);

    cluster.clear();
    agent.until_serves(&[]);
    cluster.call(Call::delete(format!("{CIDRS}/{name}")));
    agent.until("two ranges", |agent| agent.routes() == ["10.96.0.0/16", "fd00:10:96::/112"]);
}
