//! What a cluster's operator applies, held against the API server's own validation.

use std::fs;

use crate::cluster::{Cluster, repository};

/// Every overlay is accepted, in a dry run.
#[test]
fn the_server_accepts_every_overlay() {
    let Some(cluster) = Cluster::shared() else { return };
    let mut overlays = 0;
    for overlay in fs::read_dir(repository("deploy/overlays")).unwrap() {
        let path = overlay.unwrap().path();
        let folder = path.to_string_lossy();
        let said =
            cluster.server.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-k", &folder], "").unwrap();
        assert!(said.contains("daemonset.apps/") && !said.contains("Warning"), "{folder}: {said}");
        overlays += 1;
    }
    assert!(overlays >= 2, "{overlays} overlays");
}

/// The default overlay, applied for real; applied again, it changes nothing.
#[test]
fn the_default_overlay_is_applied() {
    let Some(cluster) = Cluster::shared() else { return };
    let overlay = repository("deploy/overlays/split").display().to_string();
    cluster.server.kubectl(&["apply", "--validate=strict", "-k", &overlay], "").unwrap();
    let again = cluster.server.kubectl(&["apply", "-k", &overlay], "").unwrap();
    assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
    let sets = cluster.server.kubectl(&["get", "daemonsets", "-n", "vipcast", "-o", "name"], "").unwrap();
    assert_eq!(sets.lines().count(), 2, "agent and speaker: {sets}");
}
