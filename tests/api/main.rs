//! The API server suite: the agent against a real kube-apiserver and etcd, built by `make test-api`. No root is needed.

#![allow(clippy::unwrap_used, reason = "a test that finds something else than it expects has failed")]

mod server;
