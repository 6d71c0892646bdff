//! A real control plane for the lab: etcd and kube-apiserver, in the namespace of the pods.

use std::net::IpAddr;

use anyhow::{Context, Result, anyhow};
use vipcast_lab::apiserver::{ApiServer, ControlPlane, Credential, Programs, ServerOptions};
use vipcast_lab::{Lab, Unavailable};

use super::stage::NODES;

/// Where the API server is: an address of w1.
const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 1, 100));

/// The control plane. The server ends before the etcd that it needs.
pub(super) struct Control {
    pub(super) server: ApiServer,
    _plane: ControlPlane,
}

impl Control {
    /// Starts it, and tells it of the LB nodes and of what is in the lab's folder `cluster`.
    pub(super) fn start(lab: &Lab) -> Result<Control> {
        let programs = Programs::find()?.map_err(|Unavailable(reason)| anyhow!(reason))?;
        let plane = ControlPlane::start(&programs, Some(&lab.node("w1").netns().path()))?;
        let server = plane.serve(ServerOptions {
            bind: ADDRESS,
            service_ranges: super::stage::RANGE.to_owned(),
            ..ServerOptions::default()
        })?;
        let manifests = lab.shared("cluster/web.yaml");
        let cluster = std::fs::read_to_string(&manifests).with_context(|| format!("read {}", manifests.display()))?;
        let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: demo}\n";
        let node =
            |name| format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{role: lb}}}}\n");
        let objects = format!("{namespace}{}---\n{cluster}", NODES.map(node).concat());
        server.kubectl(&["create", "--validate=false", "-f", "-"], &objects)?;
        Ok(Control { server, _plane: plane })
    }

    /// What an agent's configuration says of it.
    pub(super) fn source(&self) -> Result<String> {
        let kubeconfig = self.server.kubeconfig(&self.server.url(), &Credential::Admin)?;
        Ok(format!("kubernetes: {{kubeconfig: {}}}", kubeconfig.display()))
    }
}
