//! An API server that goes away, forgets, refuses, or says what nobody understands. What is known stays in force.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use vipcast_lab::apiserver::{Credential, Request, ServerOptions};

use crate::agent::{Agent, RANGES};
use crate::cluster::{Call, Cluster, SERVICES, SLICES, call_all, endpoints, service, slice};
use crate::wire::{Forger, Wire};

const WEB: (&str, &[&str]) = ("10.96.40.1:80", &["10.244.1.2:8080"]);
const SHOP: (&str, &[&str]) = ("10.96.40.2:80", &["10.244.1.3:8080"]);

fn web() -> [Call; 2] {
    [service("web", "10.96.40.1"), slice("web", &["10.244.1.2"])]
}

fn shop() -> [Call; 2] {
    [service("shop", "10.96.40.2"), slice("shop", &["10.244.1.3"])]
}

fn without_web() -> [Call; 2] {
    [Call::delete(format!("{SERVICES}/web")), Call::delete(format!("{SLICES}/web"))]
}

/// An agent whose connections go through a wire.
fn agent_behind_a_wire(cluster: &Cluster) -> (Agent, Wire) {
    let wire = Wire::to(cluster.server.address());
    let credential = Credential::TokenFile(cluster.token_file.clone());
    let kubeconfig = cluster.server.kubeconfig(&wire.url(), &credential).unwrap();
    let agent = Agent::start(&kubeconfig, Some(RANGES));
    agent.until_ready();
    (agent, wire)
}

/// How often the agent began to list all of a kind.
fn lists(cluster: &Cluster) -> usize {
    let streams =
        |request: &Request| request.uri.contains("sendInitialEvents=true") && request.stage == "ResponseStarted";
    cluster.asked_by_agent().iter().filter(|request| request.verb == "list" || streams(request)).count()
}

/// The resource version that the API server is at.
fn version(cluster: &Cluster) -> String {
    let list = cluster.server.kubectl(&["get", "--raw", "/api/v1/services?limit=1"], "").unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

fn until_in_trouble(agent: &Agent) {
    agent.until("in trouble", |agent| agent.status().source.troubles.len() == 4);
}

/// The API server is away for a minute, so that watches end and are asked for as seldom as they ever are. Another one changes
/// things meanwhile, etcd is started anew, and only then the first one is back.
#[test]
fn an_absent_server_freezes_the_state() {
    let Some(cluster) = Cluster::own(ServerOptions::default()) else { return };
    cluster.calls(web());
    let agent = cluster.agent();
    agent.until_serves(&[WEB]);
    let written = agent.writes();

    cluster.server.stop().unwrap();
    until_in_trouble(&agent);
    let other = cluster.plane.serve(ServerOptions::default()).unwrap();
    call_all(&other, without_web().into_iter().chain(shop()));
    drop(other);
    cluster.plane.stop_etcd();
    thread::sleep(Duration::from_secs(60));
    assert_eq!(agent.writes_since(written), [""; 0], "nothing is written in the dark");
    let status = agent.status();
    assert!(status.ready, "what is known stays in force: {status:?}");
    assert_eq!(status.source.troubles.len(), 4, "each watch says so: {:?}", status.source.troubles);

    cluster.plane.start_etcd().unwrap();
    cluster.server.start().unwrap();
    agent.until_serves(&[SHOP]);
    agent.until("well", |agent| agent.status().source.troubles.is_empty());
    assert!(agent.writes() - written <= 5, "{:?}", agent.writes_since(written));
}

/// A watch that is cut goes on where it was: nothing is listed anew, and nothing is missed.
#[test]
fn a_watch_cut_in_the_middle_goes_on() {
    let Some(cluster) = Cluster::shared() else { return };
    cluster.calls(web());
    let (agent, wire) = agent_behind_a_wire(&cluster);
    agent.until_serves(&[WEB]);
    let listed = lists(&cluster);
    for round in 0..3 {
        wire.cut();
        // Short and long, for the agent.
        thread::sleep(Duration::from_millis(200 * round));
        cluster.calls(if round == 1 { web() } else { without_web() });
        wire.open();
        agent.until_serves(if round == 1 { &[WEB] } else { &[] });
    }
    agent.until("well", |agent| agent.status().source.troubles.is_empty());
    assert_eq!(lists(&cluster), listed, "what was missed is told, not listed");
}

/// While the agent cannot see it, history is compacted, and the API server starts anew and remembers nothing: the agent's
/// resource versions are gone (410), and it lists.
#[test]
fn an_expired_resource_version_leads_to_a_new_list() {
    let Some(cluster) = Cluster::own(ServerOptions::default()) else { return };
    cluster.calls(web());
    let (agent, wire) = agent_behind_a_wire(&cluster);
    agent.until_serves(&[WEB]);
    let seen = version(&cluster);
    let written = agent.writes();

    wire.cut();
    cluster.calls(without_web().into_iter().chain(shop()));
    cluster.server.kill().unwrap();
    cluster.plane.compact().unwrap();
    cluster.server.start().unwrap();
    let watch = format!("/api/v1/services?watch=true&timeoutSeconds=1&resourceVersion={seen}");
    let said = match cluster.server.kubectl(&["get", "--raw", &watch], "") {
        Ok(said) => said,
        Err(error) => error.to_string(),
    };
    assert!(said.contains("\"code\":410") || said.contains("too old resource version"), "{said}");
    let listed = lists(&cluster);

    wire.open();
    agent.until_serves(&[SHOP]);
    assert!(lists(&cluster) > listed, "it listed anew");
    agent.until("well", |agent| agent.status().source.troubles.is_empty());
    assert!(agent.writes() - written <= 5, "no more than the difference: {:?}", agent.writes_since(written));
}

/// The kubelet writes a new token in time, and the old one dies: its Secret is deleted. The file is read again.
#[test]
fn a_token_rotated_on_disk_is_used() {
    let Some(cluster) = Cluster::shared() else { return };
    cluster.calls(web());
    let token = |name: &str| {
        let secret = json!({ "metadata": { "name": name } });
        let secret = cluster.call(Call::post("/api/v1/namespaces/vipcast/secrets", secret));
        let uid = secret["metadata"]["uid"].as_str().unwrap();
        cluster.server.token("vipcast", "vipcast", Some(("Secret", name, uid))).unwrap()
    };
    let (first, second) = (token("first"), token("second"));
    let file = cluster.plane.folder().join("rotated");
    fs::write(&file, &first).unwrap();
    let wire = Wire::to(cluster.server.address());
    let kubeconfig = cluster.server.kubeconfig(&wire.url(), &Credential::TokenFile(file.clone())).unwrap();
    let agent = Agent::start(&kubeconfig, Some(RANGES));
    agent.until_serves(&[WEB]);

    fs::write(&file, &second).unwrap();
    cluster.call(Call::delete("/api/v1/namespaces/vipcast/secrets/first".to_owned()));
    // The API server remembers for some seconds that a token was good.
    agent.until("the first token refused", |_| cluster.status_for(&first) == 401);
    wire.cut();
    cluster.calls(shop());
    wire.open();
    agent.until_serves(&[WEB, SHOP]);
    agent.until("well", |agent| agent.status().source.troubles.is_empty());
    cluster.call(Call::delete("/api/v1/namespaces/vipcast/secrets/second".to_owned()));
}

/// Something between us and the API server makes a word of a number. The object is named, what was known of it stays, and
/// all others are served.
#[test]
fn an_object_that_does_not_deserialise_is_skipped_and_named() {
    let Some(cluster) = Cluster::shared() else { return };
    cluster.calls(web());
    let forger = Forger::before(&cluster.server.ca_file(), &cluster.server.url());
    let credential = Credential::TokenFile(cluster.token_file.clone());
    let kubeconfig = cluster.server.kubeconfig(&forger.url(), &credential).unwrap();
    let agent = Agent::start(&kubeconfig, Some(RANGES));
    agent.until_serves(&[WEB]);

    forger.forge("\"port\":8181", "\"port\":\"81\"");
    let ports = json!([{ "name": "http", "port": 8181 }]);
    cluster.call(Call::patch(format!("{SLICES}/web"), json!({ "ports": ports })));
    cluster.calls(shop());
    agent.until_serves(&[WEB, SHOP]);
    let bad = agent.status().source.bad_objects;
    assert!(matches!(&bad[..], [one] if one.subject == "EndpointSlice shop/web"), "{bad:?}");
    assert!(bad[0].problem.contains("port"), "{bad:?}");

    // One that starts now knows nothing of it, and serves the others.
    let late = Agent::start(&kubeconfig, Some(RANGES));
    late.until_serves(&[SHOP]);
    assert_eq!(late.status().source.bad_objects, bad);

    forger.be_honest();
    cluster.call(Call::patch(format!("{SLICES}/web"), json!({ "endpoints": endpoints(&["10.244.1.9"]) })));
    agent.until_serves(&[("10.96.40.1:80", &["10.244.1.9:8181"]), SHOP]);
    assert_eq!(agent.status().source.bad_objects, []);
}

/// What no API server would have accepted, but somebody wrote into etcd.
#[test]
fn an_object_that_makes_no_sense_is_skipped_and_named() {
    let Some(cluster) = Cluster::shared() else { return };
    cluster.calls(web());
    let agent = cluster.agent();
    agent.until_serves(&[WEB]);
    let metadata = json!({ "name": "odd", "namespace": "shop", "uid": "6f0c2e8e-8b4f-4f5e-9a55-3b6f1c7d2a10",
        "creationTimestamp": "2026-01-01T00:00:00Z" });
    let spec = json!({ "type": "ClusterIP", "clusterIP": "10.96.40.3", "clusterIPs": ["10.96.40.3"],
        "ports": [{ "name": "http", "protocol": "TCP", "port": 700_000, "targetPort": 8080 }] });
    let odd = json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec });
    cluster.plane.write_raw("/registry/services/specs/shop/odd", odd.to_string().as_bytes()).unwrap();
    cluster.calls(shop());
    agent.until_serves(&[WEB, SHOP]);
    let bad = agent.status().source.bad_objects;
    assert!(matches!(&bad[..], [one] if one.subject == "Service shop/odd"), "{bad:?}");
    cluster.call(Call::delete(format!("{SERVICES}/odd")));
    agent.until("nothing bad", |agent| agent.status().source.bad_objects.is_empty());
}
