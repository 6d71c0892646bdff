//! containerlab's topology files, the part of them that labs here use.
//!
//! Keys that mean something only to containers (images' entry points, the management network) are read over.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// A topology file.
#[derive(Clone, Debug, Deserialize)]
pub struct Topology {
    /// The lab's name.
    pub name: String,
    topology: Inner,
}

#[derive(Clone, Debug, Deserialize)]
struct Inner {
    nodes: BTreeMap<String, NodeSpec>,
    #[serde(default)]
    links: Vec<LinkSpec>,
}

/// A node of a topology.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NodeSpec {
    /// The container image.
    #[serde(default)]
    pub image: String,
    /// Commands that run in the node once its links are there.
    #[serde(default)]
    pub exec: Vec<String>,
    /// `source:target[:options]`; sources are relative to the topology file.
    #[serde(default)]
    pub binds: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Labels; ours is `vipcast.role`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
struct LinkSpec {
    endpoints: Vec<String>,
}

/// One end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The node.
    pub node: String,
    /// The interface's name in it.
    pub interface: String,
}

/// What a node is in a lab, from its label `vipcast.role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A router that runs FRR or BIRD.
    Tor,
    /// A node that runs vipcast.
    Lb,
    /// A node that has pods.
    Worker,
    /// Where requests come from.
    Client,
}

impl Topology {
    /// Reads a topology file.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", file.display()))
    }

    /// Reads a topology file's text.
    pub fn parse(text: &str) -> Result<Self> {
        let topology: Self = serde_saphyr::from_str(text)?;
        for (name, node) in topology.nodes() {
            node.role().with_context(|| format!("node {name}"))?;
            node.binds().with_context(|| format!("node {name}"))?;
        }
        for (a, b) in topology.links()? {
            for end in [a, b] {
                let Endpoint { node, interface } = end;
                ensure!(topology.topology.nodes.contains_key(&node), "a link ends at {node}, which is no node");
                // The kernel's limit for a link's name.
                ensure!(interface.len() < 16, "{node}:{interface}: an interface's name has at most 15 characters");
            }
        }
        Ok(topology)
    }

    /// The nodes by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &NodeSpec)> {
        self.topology.nodes.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// The links, each as its two ends.
    pub fn links(&self) -> Result<Vec<(Endpoint, Endpoint)>> {
        self.topology
            .links
            .iter()
            .map(|link| match link.endpoints.as_slice() {
                [a, b] => Ok((endpoint(a)?, endpoint(b)?)),
                ends => bail!("a link has two endpoints, not {}", ends.len()),
            })
            .collect()
    }
}

impl NodeSpec {
    /// The role, from the label, else from the image; a node without either is a client.
    pub fn role(&self) -> Result<Role> {
        match self.labels.get("vipcast.role").map(String::as_str) {
            Some("tor") => Ok(Role::Tor),
            Some("lb") => Ok(Role::Lb),
            Some("worker") => Ok(Role::Worker),
            Some("client") => Ok(Role::Client),
            Some(other) => bail!("vipcast.role is {other:?}, not tor, lb, worker or client"),
            None if self.image.contains("frr") || self.image.contains("bird") => Ok(Role::Tor),
            None if self.image.contains("vipcast") => Ok(Role::Lb),
            None => Ok(Role::Client),
        }
    }

    /// The binds as (source, target) pairs, the target without its leading slash.
    pub fn binds(&self) -> Result<Vec<(PathBuf, PathBuf)>> {
        self.binds
            .iter()
            .map(|bind| {
                let mut parts = bind.split(':');
                let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
                    bail!("bind {bind:?} is not source:target");
                };
                let target =
                    target.strip_prefix('/').with_context(|| format!("bind {bind:?}: the target is no path"))?;
                Ok((PathBuf::from(source), PathBuf::from(target)))
            })
            .collect()
    }
}

fn endpoint(text: &str) -> Result<Endpoint> {
    let (node, interface) = text.split_once(':').with_context(|| format!("endpoint {text:?} is not node:interface"))?;
    Ok(Endpoint { node: node.to_owned(), interface: interface.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
name: small
mgmt: {network: none}
topology:
  kinds:
    linux: {image: alpine}
  nodes:
    tor:
      kind: linux
      image: quay.io/frrouting/frr:8.4.4
      binds: ["tor/frr.conf:/etc/frr/frr.conf:ro"]
      exec: ["ip addr add 10.0.1.1/24 dev eth1"]
    lb1: {kind: linux, labels: {vipcast.role: lb}, env: {A: b}}
  links:
    - endpoints: ["tor:eth1", "lb1:eth1"]
"#;

    #[test]
    fn a_topology_is_read() {
        let topology = Topology::parse(SMALL).expect("parses");
        assert_eq!(topology.name, "small");
        let roles: Vec<_> = topology.nodes().map(|(name, node)| (name, node.role().expect("a role"))).collect();
        assert_eq!(roles, [("lb1", Role::Lb), ("tor", Role::Tor)]);
        let (_, tor) = topology.nodes().find(|(name, _)| *name == "tor").expect("there");
        assert_eq!(tor.binds().expect("binds"), [("tor/frr.conf".into(), "etc/frr/frr.conf".into())]);
        let end = |node: &str| Endpoint { node: node.to_owned(), interface: "eth1".to_owned() };
        assert_eq!(topology.links().expect("links"), [(end("tor"), end("lb1"))]);
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, says) in [
            ("lb1:eth1", "lb9:eth1", "lb9"),
            ("lb1:eth1", "lb1", "node:interface"),
            ("\"tor:eth1\", ", "", "two endpoints"),
            ("role: lb", "role: boss", "boss"),
            ("frr.conf:/etc", "frr.conf:etc", "no path"),
            ("lb1:eth1", "lb1:a-very-long-interface", "15 characters"),
        ] {
            let error = Topology::parse(&SMALL.replace(from, to)).expect_err(from);
            assert!(format!("{error:#}").contains(says), "{error:#} does not say {says}");
        }
    }
}
