//! Services and EndpointSlices that come, change and go.

use serde_json::json;

use crate::cluster::{Call, Cluster, SERVICES, SLICES, endpoints, service, slice};

const WEB: &str = "10.96.40.1:80";

fn web() -> [Call; 2] {
    [service("web", "10.96.40.1"), slice("web", &["10.244.1.2", "10.244.2.2"])]
}

fn patch(name: &str, body: serde_json::Value) -> Call {
    Call::patch(format!("{SERVICES}/{name}"), body)
}

fn patch_slice(name: &str, addresses: &[&str]) -> Call {
    Call::patch(format!("{SLICES}/{name}"), json!({ "endpoints": endpoints(addresses) }))
}

/// Each change leads to the few steps that it needs, and to no others.
#[test]
fn changes_of_objects_reach_the_kernel() {
    let Some(cluster) = Cluster::shared() else { return };
    let agent = cluster.agent();
    let mut written = agent.writes();
    let mut steps = |what: &str, most: usize| {
        let steps = agent.writes_since(written);
        written += steps.len();
        assert!((1..=most).contains(&steps.len()), "{what}: {steps:?}");
    };

    cluster.calls(web());
    agent.until_serves(&[(WEB, &["10.244.1.2:8080", "10.244.2.2:8080"])]);
    steps("create", 3);

    cluster.call(patch_slice("web", &["10.244.1.2", "10.244.3.2"]));
    agent.until_serves(&[(WEB, &["10.244.1.2:8080", "10.244.3.2:8080"])]);
    steps("one endpoint replaced", 3);

    let unready = json!([{ "addresses": ["10.244.1.2"], "conditions": { "ready": false } },
        { "addresses": ["10.244.3.2"], "conditions": { "ready": true } }]);
    cluster.call(Call::patch(format!("{SLICES}/web"), json!({ "endpoints": unready })));
    agent.until_serves(&[(WEB, &["10.244.3.2:8080"])]);
    steps("one endpoint not ready", 2);

    cluster.call(patch("web", json!({ "spec": { "ports": [{ "name": "http", "port": 81, "targetPort": 8080 }] } })));
    agent.until_serves(&[("10.96.40.1:81", &["10.244.3.2:8080"])]);
    steps("another port", 3);

    cluster.call(Call::delete(format!("{SLICES}/web")));
    agent.until_serves(&[]);
    steps("no endpoints", 2);

    cluster.call(slice("web", &["10.244.4.2"]));
    agent.until_serves(&[("10.96.40.1:81", &["10.244.4.2:8080"])]);
    steps("endpoints again", 2);

    cluster.call(Call::delete(format!("{SERVICES}/web")));
    agent.until_serves(&[]);
    steps("delete", 2);
}

/// Whoever labels a Service so has another proxy for it, or none. The API server filters for us, and tells of a label
/// that comes and goes as of a deletion and a creation.
#[test]
fn labels_that_take_a_service_away_act_as_delete_and_create() {
    let Some(cluster) = Cluster::shared() else { return };
    cluster.calls(web());
    let agent = cluster.agent();
    let served = [(WEB, &["10.244.1.2:8080", "10.244.2.2:8080"][..])];
    agent.until_serves(&served);
    for label in ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"] {
        cluster.call(patch("web", json!({ "metadata": { "labels": { label: "other" } } })));
        agent.until_serves(&[]);
        cluster.call(patch("web", json!({ "metadata": { "labels": { label: null } } })));
        agent.until_serves(&served);
    }
    for label in ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"] {
        let mut labelled = service("late", "10.96.40.2");
        labelled.label(label, "");
        cluster.calls([labelled, slice("late", &["10.244.1.3"])]);
        cluster.call(patch("web", json!({ "metadata": { "annotations": { "told": label } } })));
        cluster.call(patch("late", json!({ "metadata": { "labels": { label: null } } })));
        agent.until_serves(&[served[0], ("10.96.40.2:80", &["10.244.1.3:8080"])]);
        cluster.calls([Call::delete(format!("{SERVICES}/late")), Call::delete(format!("{SLICES}/late"))]);
        agent.until_serves(&served);
    }
}

#[test]
fn a_service_made_anew_has_its_new_address() {
    let Some(cluster) = Cluster::shared() else { return };
    let agent = cluster.agent();
    cluster.calls(web());
    let destinations = ["10.244.1.2:8080", "10.244.2.2:8080"];
    agent.until_serves(&[(WEB, &destinations)]);
    for vip in ["10.96.40.7", "10.96.40.8", "10.96.40.1"] {
        cluster.call(Call::delete(format!("{SERVICES}/web")));
        cluster.call(service("web", vip));
        agent.until_serves(&[(&format!("{vip}:80"), &destinations)]);
    }
}

#[test]
fn an_external_name_has_no_address() {
    let Some(cluster) = Cluster::shared() else { return };
    let agent = cluster.agent();
    cluster.calls(web());
    let destinations = ["10.244.1.2:8080", "10.244.2.2:8080"];
    agent.until_serves(&[(WEB, &destinations)]);
    let external =
        json!({ "type": "ExternalName", "externalName": "web.example.org", "clusterIP": null, "clusterIPs": null });
    cluster.call(patch("web", json!({ "spec": external })));
    agent.until_serves(&[]);
    let inside = json!({ "type": "ClusterIP", "externalName": null, "clusterIP": "10.96.40.9" });
    cluster.call(patch("web", json!({ "spec": inside })));
    agent.until_serves(&[("10.96.40.9:80", &destinations)]);
    assert_eq!(agent.status().services.problems, []);
}

/// A Service with an address of each family, and an EndpointSlice for each.
#[test]
fn both_families_are_served() {
    let Some(cluster) = Cluster::shared() else { return };
    let agent = cluster.agent();
    let spec = json!({ "ipFamilyPolicy": "RequireDualStack", "clusterIP": "10.96.40.1",
        "clusterIPs": ["10.96.40.1", "fd00:10:96::40"],
        "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] });
    cluster.call(Call::post(SERVICES, json!({ "metadata": { "name": "web" }, "spec": spec })));
    let labels = json!({ "kubernetes.io/service-name": "web" });
    let six = json!({ "metadata": { "name": "web-6", "labels": labels }, "addressType": "IPv6",
        "endpoints": endpoints(&["fd00:244::2"]), "ports": [{ "name": "http", "port": 8080 }] });
    cluster.calls([slice("web", &["10.244.1.2"]), Call::post(SLICES, six)]);
    agent.until_serves(&[(WEB, &["10.244.1.2:8080"]), ("[fd00:10:96::40]:80", &["[fd00:244::2]:8080"])]);
}
