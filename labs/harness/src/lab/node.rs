//! One machine of a lab.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::Daemon;
use crate::clab::{NodeSpec, Role};
use crate::netns::{Netns, NsCommand};

/// A pod of a worker: a name and addresses that the worker has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name, as its servers tell it.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A node: a namespace, files, and perhaps daemons.
#[derive(Debug)]
pub struct Node {
    name: String,
    role: Role,
    env: BTreeMap<String, String>,
    pods: Vec<Pod>,
    folder: PathBuf,
    // Before the namespace, which would have to look for them.
    daemons: Vec<Daemon>,
    netns: Netns,
}

impl Node {
    pub(super) fn new(name: &str, spec: &NodeSpec, netns: Netns, folder: PathBuf) -> Result<Self> {
        let pods = spec.labels.get("vipcast.pods").map(String::as_str).unwrap_or_default();
        Ok(Self {
            name: name.to_owned(),
            role: spec.role()?,
            env: spec.env.clone(),
            pods: pods_in(pods).with_context(|| format!("vipcast.pods of {name}: {pods:?}"))?,
            folder,
            daemons: Vec::new(),
            netns,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is in the lab.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its process of this name.
    pub fn process(&self, name: &str) -> Result<Pid> {
        let is_it =
            |pid: &Pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name);
        let found = self.netns.processes()?.into_iter().find(is_it);
        found.with_context(|| format!("no process {name} on {}", self.name()))
    }

    /// Its pods, from the label `vipcast.pods: "NAME=ADDRESS,ADDRESS NAME=…"`.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// A path in it (`etc/frr/frr.conf`): what a container would have at `/etc/frr/frr.conf`.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.folder.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Writes one of its files in one step, as a careful editor does.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) -> Result<()> {
        super::files::write(&self.path(path), text)
    }

    /// A command that will run in it, with the variables that the topology gives it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> NsCommand<'_> {
        let command = self.netns.command(program).current_dir(&self.folder);
        self.env.iter().fold(command, |command, (name, value)| command.env(name, value))
    }

    /// Runs a closure on a thread inside its namespace, see [`Netns::run`].
    pub fn run<R: Send>(&self, closure: impl FnOnce() -> R + Send) -> Result<R> {
        self.netns.run(closure)
    }

    /// Starts a daemon whose output goes to `log/NAME.log`; the caller ends it by dropping it.
    pub fn spawn_daemon(&self, name: &str, command: NsCommand<'_>) -> Result<Daemon> {
        Daemon::start(name, command, self.path(format!("log/{name}.log")))
            .with_context(|| format!("start {name} in {}", self.name))
    }

    /// Starts vipcast with the node's `/etc/vipcast/config.yaml`. Dropped, only the agent is killed: what it started
    /// (speaker, gobgpd) goes on, as on a real node, until the lab ends.
    pub fn start_agent(&self, vipcast: impl AsRef<OsStr>) -> Result<Daemon> {
        let command = self.command(vipcast).arg("run").arg("--config").arg(self.path("etc/vipcast/config.yaml"));
        self.spawn_daemon("vipcast", command)
    }

    /// The node's own daemons, which run as long as it does.
    pub(super) fn kept(&self) -> &[Daemon] {
        &self.daemons
    }

    pub(super) fn keep(&mut self, daemon: Daemon) {
        self.daemons.push(daemon);
    }

    /// Kills the node's own daemons (SIGKILL), and forgets what they had in `run`.
    pub(super) fn kill_daemons(&mut self) -> Result<()> {
        self.daemons.clear();
        let run = self.path("run");
        fs::remove_dir_all(&run).and_then(|()| fs::create_dir(&run)).with_context(|| format!("empty {}", run.display()))
    }

    /// Starts the daemons that a router has.
    pub(super) fn start_router(&mut self) -> Result<()> {
        if self.has_bird() { self.start_bird() } else { self.start_frr() }
    }
}

fn pods_in(label: &str) -> Result<Vec<Pod>> {
    label
        .split_whitespace()
        .map(|pod| {
            let (name, addresses) = pod.split_once('=').context("a pod is NAME=ADDRESS,ADDRESS")?;
            let addresses = addresses.split(',').map(str::parse).collect::<Result<_, _>>()?;
            Ok(Pod { name: name.to_owned(), addresses })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_in_a_label() {
        let pods = pods_in("w1a=10.244.1.2,fd00:244:1::2 w1b=10.244.1.3").expect("parses");
        assert_eq!(pods.len(), 2);
        assert_eq!(pods[0].name, "w1a");
        assert_eq!(pods[0].addresses.len(), 2);
        assert!(pods_in("w1a").is_err() && pods_in("w1a=host").is_err() && pods_in("").expect("none").is_empty());
    }
}
