//! The lab with its speakers and agents, and what "as it should be" means.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use vipcast_lab::lab::{Daemon, Lab, Node, Options, Session};
use vipcast_lab::traffic::steady::SteadyPods;
use vipcast_lab::{folders, traffic, wait_for};

use super::bfd;
use super::cells::{Detection, Setting};
use super::control::Control;
use super::hasher::Hasher;

/// The range that the LB nodes announce.
pub(super) const RANGE: &str = "10.96.0.0/16";

/// The VIP that the client connects to.
pub(super) const VIP: &str = "10.96.0.10:80";

/// The addresses that the client connects from: the first by tor1, the second by tor2.
pub(super) const SOURCES: [&str; 2] = ["10.9.0.1", "10.9.0.2"];

/// The LB nodes.
pub(super) const NODES: [&str; 4] = ["lb1", "lb2", "lb3", "lb4"];

/// The routers.
pub(super) const TORS: [&str; 2] = ["tor1", "tor2"];

/// How long anything may take to become as it should be.
pub(super) const LONG: Duration = Duration::from_secs(300);

/// An LB node's configuration.
pub(super) const CONFIG: &str = "/etc/vipcast/config.yaml";

/// For how long sessions have to stay before something happens to them.
const CALM: Duration = Duration::from_secs(1);

/// So many connections that one of four nodes is left out by chance hardly ever.
const PROBES: usize = 48;

/// What stands before what `vipcast switch-config` prints, in the files of routers.
const MARK: &str = "---- From here on as `vipcast switch-config` prints it.\n";

/// Connections that are held open do not end by themselves.
const DRAIN: &str = "drain: {deadline: 5s}\n";

/// The port that pods serve.
const PORT: u16 = 8080;

/// A lab, whole or not.
pub(super) struct Stage {
    /// In the order in which they have to end: who runs in the lab, and the lab.
    pub(super) agents: BTreeMap<&'static str, Daemon>,
    pub(super) speakers: BTreeMap<&'static str, Daemon>,
    pub(super) control: Option<Control>,
    _pods: SteadyPods,
    pub(super) lab: Lab,
    pub(super) vipcast: PathBuf,
    setting: Setting,
    detection: Detection,
}

impl Stage {
    /// Deploys the lab and starts everything in it.
    pub(super) fn up(setting: Setting, detection: Detection, vipcast: &Path) -> Result<Stage> {
        let lab = if setting == Setting::Static { "failover-static" } else { "failover" };
        let topology = folders::repository()?.join("labs").join(lab).join(format!("{lab}.clab.yml"));
        let lab = Lab::deploy(topology, Options { without_daemons: true })?;
        let worker = lab.node("w1");
        let addresses =
            worker.pods().iter().flat_map(|pod| pod.addresses.iter().map(|address| (pod.name.clone(), *address)));
        let pods = addresses.map(|(name, address)| (name, SocketAddr::new(address, PORT))).collect();
        let pods = SteadyPods::start(worker.netns(), pods)?;
        let mut stage = Stage {
            agents: BTreeMap::new(),
            speakers: BTreeMap::new(),
            control: None,
            _pods: pods,
            lab,
            vipcast: vipcast.to_owned(),
            setting,
            detection,
        };
        stage.configure()?;
        if setting == Setting::Kubernetes {
            let control = Control::start(&stage.lab)?;
            let source = control.source()?;
            for name in NODES {
                stage.edit(name, |text| text.replace("manifests: cluster/", &source))?;
            }
            stage.control = Some(control);
        }
        for name in NODES {
            stage.start(name)?;
        }
        Ok(stage)
    }

    /// Makes the nodes' configurations what is measured, and the ToRs' what `vipcast switch-config` prints for that.
    fn configure(&mut self) -> Result<()> {
        let interval = match self.detection {
            Detection::Hold => None,
            Detection::Bfd300 => Some("interval: 300ms"),
            Detection::Bfd50 => Some("interval: 50ms"),
        };
        for name in NODES {
            self.edit(name, |text| {
                let text = format!("{text}{DRAIN}");
                match interval {
                    None => text,
                    Some(interval) if self.setting == Setting::Static => text.replace("interval: 300ms", interval),
                    Some(interval) => {
                        let text = text.replace("keepalive: 3s}", "keepalive: 3s, bfd: on}");
                        format!("{text}bfd: {{{interval}, multiplier: 3}}\n")
                    }
                }
            })?;
        }
        for (number, tor) in (1..).zip(TORS) {
            self.configure_router(tor, number)?;
            self.lab.start_router(tor)?;
        }
        Ok(())
    }

    /// Writes the configuration of the ToR with this number.
    fn configure_router(&self, tor: &str, number: usize) -> Result<()> {
        let is_static = self.setting == Setting::Static;
        let (vendor, file) = if is_static { ("bird", "etc/bird/bird.conf") } else { ("frr", "etc/frr/frr.conf") };
        let file = self.lab.node(tor).path(file);
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let (own, _) = text.split_once(MARK).with_context(|| format!("{} has no line {MARK:?}", file.display()))?;
        let node = self.lab.node(NODES[0]);
        let command = node.command(&self.vipcast).arg("--config").arg(node.path(CONFIG));
        let mut command = command.args(["switch-config", "--vendor", vendor]);
        if is_static {
            command = command.arg("--static");
        }
        command = command.arg("--peer").arg(format!("10.{number}.1.1"));
        for index in 1..=NODES.len() {
            command = command.arg("--neighbor").arg(format!("10.{number}.{index}.2"));
        }
        let printed = command.run()?.stdout;
        fs::write(&file, format!("{own}{MARK}{printed}")).with_context(|| format!("write {}", file.display()))
    }

    /// Changes the configuration of an LB node.
    pub(super) fn edit(&self, name: &str, change: impl FnOnce(&str) -> String) -> Result<()> {
        let node = self.lab.node(name);
        let text = fs::read_to_string(node.path(CONFIG)).with_context(|| format!("read {CONFIG} of {name}"))?;
        let changed = change(&text);
        node.write(CONFIG, &changed)
    }

    /// Starts the speaker and the agent of an LB node, each as a service of its own.
    pub(super) fn start(&mut self, name: &'static str) -> Result<()> {
        self.start_speaker(name)?;
        self.start_agent(name)
    }

    /// Starts an LB node's speaker.
    pub(super) fn start_speaker(&mut self, name: &'static str) -> Result<()> {
        let node = self.lab.node(name);
        let command = node.command(&self.vipcast).arg("speaker").arg("--config").arg(node.path(CONFIG));
        self.speakers.insert(name, node.spawn_daemon("speaker", command)?);
        Ok(())
    }

    /// Starts an LB node's agent.
    pub(super) fn start_agent(&mut self, name: &'static str) -> Result<()> {
        let node = self.lab.node(name);
        let command = node.command(&self.vipcast).args(["run", "--no-speaker", "--config"]).arg(node.path(CONFIG));
        self.agents.insert(name, node.spawn_daemon("vipcast", command)?);
        Ok(())
    }

    /// Waits until an LB node's agent has nothing left to do.
    pub(super) fn wait_until_ready(&self, name: &str) -> Result<()> {
        let node = self.lab.node(name);
        wait_for(LONG, &format!("{name} to be ready"), || {
            let said = node.run(ready)?;
            Ok(said
                .map_err(|error| format!("{error:#}"))
                .and_then(|said| if said.contains(" 200 ") { Ok(()) } else { Err(said) }))
        })
    }

    /// Waits until all is as it should be: every agent ready, every ToR with every node. The answers are the hashers of ToRs that
    /// hash resiliently, with groups that are fresh, so that every node has its share.
    pub(super) fn settle(&self) -> Result<Vec<Hasher>> {
        for name in NODES {
            self.wait_until_ready(name)?;
        }
        let is_resilient = self.setting == Setting::Resilient;
        for name in TORS {
            let node = self.lab.node(name);
            if is_resilient {
                Hasher::clear(node)?;
            }
            wait_for_next_hops(node, NODES.len())?;
            if self.detection != Detection::Hold {
                bfd::wait_until_up(node, NODES.len())?;
            }
        }
        self.wait_until_served()?;
        self.wait_until_calm()?;
        let hashing = TORS.iter().filter(|_| is_resilient);
        hashing.map(|name| Hasher::start(self.lab.node(name))).collect()
    }

    /// Waits until no session has been lost for [`CALM`]: BFD at 50 ms x 3 takes other sides for dead while four nodes start on
    /// two emulated processors.
    fn wait_until_calm(&self) -> Result<()> {
        wait_for(LONG, "sessions that stay", || {
            let before = self.sessions()?;
            sleep(CALM);
            let now = self.sessions()?;
            let lost = before.into_iter().find(|(key, session)| !now.get(key).is_some_and(|now| session.went_on(now)));
            Ok(lost.map_or(Ok(()), |(key, _)| Err(key)))
        })
    }

    /// Waits until new connections from everywhere are answered by way of every node.
    fn wait_until_served(&self) -> Result<()> {
        let vip: SocketAddr = VIP.parse().context("a VIP")?;
        wait_for(LONG, "all LB nodes to serve", || {
            let tally = traffic::tcp(self.lab.node("client").netns(), vip, PROBES, Duration::from_secs(2))?;
            let whole = tally.failures.is_empty() && tally.by_source().len() == NODES.len();
            Ok(if whole { Ok(()) } else { Err((tally.by_source(), tally.failures.into_iter().next())) })
        })
    }

    /// The sessions that the ToRs have with the LB nodes, by ToR and neighbour: BGP's, or BFD's where there is no BGP.
    pub(super) fn sessions(&self) -> Result<BTreeMap<(&'static str, String), Session>> {
        let mut all = BTreeMap::new();
        for name in TORS {
            let node = self.lab.node(name);
            let sessions = if self.setting == Setting::Static { node.bfd_sessions()? } else { node.sessions()? };
            all.extend(sessions.into_iter().map(|(neighbour, session)| ((name, neighbour), session)));
        }
        Ok(all)
    }
}

/// Asks the agent of this thread's namespace whether it is ready, and answers with all that it says.
fn ready() -> Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect("127.0.0.1:9180")?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

/// Waits until a router forwards to so many LB nodes.
pub(super) fn wait_for_next_hops(node: &Node, count: usize) -> Result<()> {
    wait_for(LONG, &format!("{count} next hops on {}", node.name()), || {
        let hops: BTreeSet<_> = node.forwarding(RANGE)?.into_iter().map(|hop| hop.gateway).collect();
        Ok(if hops.len() == count { Ok(()) } else { Err(hops) })
    })
}
