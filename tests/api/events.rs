//! What users see of their mistakes: Events, by `kubectl describe`.

use crate::cluster::{Cluster, service};

/// The answers to what agents wrote of Events, in order.
fn answers(cluster: &Cluster) -> Vec<u16> {
    let asked = cluster.asked_by_agent().into_iter();
    let of_events = asked.filter(|request| request.resource == "events" && request.uri.contains("/namespaces/shop/"));
    of_events.map(|request| request.code).collect()
}

#[test]
fn a_mistake_is_told_once_whatever_the_number_of_nodes() {
    let Some(cluster) = Cluster::shared() else { return };
    let before = answers(&cluster).len();
    let (one, _two) = (cluster.agent(), cluster.agent());
    cluster.calls([service("mistaken", "10.96.41.1").asking_for("192.0.2.7")]);
    one.until("told by both nodes", |_| answers(&cluster).len() >= before + 2);
    let mut told = answers(&cluster).split_off(before);
    told.sort_unstable();
    assert_eq!(told, [201, 409], "the first one makes it, the second one finds it there");

    let described = cluster.server.kubectl(&["-n", "shop", "describe", "service", "mistaken"], "").unwrap();
    let events: Vec<&str> = described.lines().filter(|line| line.contains("ExternalIPNotAllowed")).collect();
    assert_eq!(events.len(), 1, "{described}");
    assert!(events[0].contains("Warning") && events[0].contains("192.0.2.7 is not allowed"), "{events:?}");
}
