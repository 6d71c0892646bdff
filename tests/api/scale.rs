//! Many objects, and many changes at once.

use std::collections::BTreeSet;

use serde_json::json;

use crate::agent::{Agent, RANGES, Served};
use crate::cluster::{Call, Cluster, SLICES, endpoints, service, slice};
use crate::wire::Wire;

use vipcast_lab::apiserver::Credential;

fn vip(number: usize) -> String {
    format!("10.96.{}.{}", 100 + number / 250, 1 + number % 250)
}

fn many(count: usize) -> impl Iterator<Item = Call> {
    (0..count).flat_map(|number| {
        let name = format!("s{number}");
        [service(&name, &vip(number)), slice(&name, &["10.244.1.2", "10.244.2.2"])]
    })
}

#[test]
fn the_agent_starts_with_no_service() {
    let Some(cluster) = Cluster::shared() else { return };
    let agent = cluster.agent();
    assert!(agent.served().is_empty());
    let status = agent.status();
    assert!(status.source.listed && status.source.troubles.is_empty(), "{status:?}");
    assert_eq!(status.services.total, 1, "default/kubernetes, which has no endpoints here");
}

#[test]
fn the_agent_starts_with_one_service() {
    let Some(cluster) = Cluster::shared() else { return };
    cluster.calls(many(1));
    let agent = cluster.agent();
    agent.until_serves(&[("10.96.100.1:80", &["10.244.1.2:8080", "10.244.2.2:8080"])]);
}

/// A list of many pages' worth, each object written once; and a next agent that finds all of it there, and writes nothing.
#[test]
fn the_agent_starts_with_two_thousand_services() {
    const COUNT: usize = 2000;
    let Some(cluster) = Cluster::shared() else { return };
    cluster.calls(many(COUNT));
    let agent = cluster.agent();
    let served = agent.served();
    assert_eq!(served.keys().collect::<BTreeSet<_>>().len(), COUNT, "ready means that all of them are there");
    assert!(served.values().all(|destinations| destinations.len() == 2));
    let infrastructure = agent.writes() - 3 * COUNT;
    assert!(infrastructure < 50, "{infrastructure} steps beside 3 for each Service");

    let next = Agent::on(agent.kill(), &cluster.kubeconfig, Some(RANGES));
    next.until_ready();
    assert_eq!((next.served().len(), next.writes_since(0)), (COUNT, Vec::new()));
}

/// While the kernel is busy, changes pile up; when it is free again it gets what is true then, and not what was overtaken.
/// One by one, each change would be two steps: an endpoint added, another one deleted.
#[test]
fn a_thousand_changes_in_a_burst_coalesce() {
    const CHANGED: usize = 10;
    const ROUNDS: usize = 100;
    let Some(cluster) = Cluster::shared() else { return };
    cluster.calls(many(CHANGED));
    cluster.call(service("last", &vip(CHANGED)));
    let wire = Wire::to(cluster.server.address());
    let credential = Credential::TokenFile(cluster.token_file.clone());
    let kubeconfig = cluster.server.kubeconfig(&wire.url(), &credential).unwrap();
    let agent = Agent::start(&kubeconfig, Some(RANGES));
    agent.until_ready();
    assert_eq!(agent.served().len(), CHANGED);

    let address = |round: usize, number: usize| format!("10.244.{}.{}", 3 + round, 1 + number);
    let writes = agent.writes();
    wire.hold();
    for round in 0..ROUNDS {
        let patch = |number: usize| {
            let endpoints = endpoints(&[&address(round, number)]);
            Call::patch(format!("{SLICES}/s{number}"), json!({ "endpoints": endpoints }))
        };
        cluster.calls((0..CHANGED).map(patch));
    }
    cluster.call(slice("last", &[&address(ROUNDS, CHANGED)]));
    let kernel = agent.occupy_kernel();
    wire.open();
    // The last one comes by the same watch, after all others.
    agent.until("the last change heard", |agent| agent.status().ipvs.desired == CHANGED + 1);
    drop(kernel);

    let expected = |number: usize| {
        let round = if number == CHANGED { ROUNDS } else { ROUNDS - 1 };
        (format!("{}:80 TCP", vip(number)), vec![format!("{}:8080", address(round, number))])
    };
    let expected: Served = (0..=CHANGED).map(expected).collect();
    agent.until("the last of them in the kernel", |agent| agent.served() == expected);
    // What was under way when the kernel became busy, and what was true in the end: each adds a destination, and gives another
    // one the weight 0 before it goes.
    let steps = agent.writes_since(writes);
    assert!(steps.len() <= 9 * CHANGED, "{} steps for {} changes: {steps:?}", steps.len(), CHANGED * ROUNDS);
}
