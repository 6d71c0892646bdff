//! The API server suite: the agent, on a model of a node, against a real kube-apiserver and etcd (`make test-api` builds
//! them). No root is needed.
//!
//! The agent is the one of `vipcast run` without the kernel: configuration, source, planner and loop. It shows the token
//! of the ServiceAccount of `deploy/base`, and nothing is granted to that but what `deploy/base/rbac.yaml` grants. Most
//! tests share one control plane and take turns; those that stop it have their own.

#![allow(clippy::unwrap_used, reason = "a test that finds something else than it expects has failed")]

mod agent;
mod cluster;
mod deploy;
mod events;
mod fleet;
mod node;
mod objects;
mod ranges;
mod role;
mod scale;
mod secrets;
mod server;
mod trouble;
mod wire;
