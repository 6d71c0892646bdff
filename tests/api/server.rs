//! The control plane itself: it is the version that was asked for, knows who asks, and grants nothing by itself.

use vipcast_lab::apiserver::Credential;

use crate::cluster::{Cluster, programs};

#[test]
fn the_server_authenticates_and_authorizes() {
    let Some(cluster) = Cluster::shared() else { return };
    let server = &cluster.server;
    let version = server.kubectl(&["get", "--raw", "/version"], "").unwrap();
    assert!(version.contains(&programs().unwrap().version), "{version}");

    server.kubectl(&["create", "serviceaccount", "nobody", "--namespace", "shop"], "").unwrap();
    let nobody = server.token("shop", "nobody", None).unwrap();
    for (token, code) in [("", 401), ("wrong", 401), (nobody.as_str(), 403)] {
        assert_eq!(cluster.status_for(token), code, "for the token {token:?}");
    }
    server.kubectl(&["delete", "serviceaccount", "nobody", "--namespace", "shop"], "").unwrap();
    let credential = Credential::TokenFile(cluster.token_file.clone());
    let kubeconfig = server.kubeconfig(&server.url(), &credential).unwrap();
    let as_agent = |verb: &str, resource: &str| {
        let kubeconfig = kubeconfig.to_string_lossy();
        server.kubectl(&["--kubeconfig", &kubeconfig, "auth", "can-i", verb, resource, "--all-namespaces"], "")
    };
    as_agent("watch", "services").unwrap();
    for (verb, resource) in [("update", "services"), ("get", "secrets"), ("create", "pods"), ("list", "pods")] {
        as_agent(verb, resource).unwrap_err();
    }
}
