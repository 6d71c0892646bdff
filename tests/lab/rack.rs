//! The lab with two agents, and how to look at it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vipcast_lab::lab::{Daemon, Lab, Node, Options};
use vipcast_lab::traffic::{Port, Server, lacks_sctp};
use vipcast_lab::{Netns, vm, wait_for};

/// The agent under test.
pub(crate) const VIPCAST: &str = env!("CARGO_BIN_EXE_vipcast");
const TOPOLOGY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/labs/rack/rack.clab.yml");
/// The same with BIRD as its ToR.
const WITH_BIRD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/labs/rack/rack-bird.clab.yml");

/// VIPs of every kind, pods on the LB nodes, and a client behind a narrow link.
const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/labs/services/services.clab.yml");

/// Two ToRs, FRR and BIRD, with every kind of session.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/labs/peers/peers.clab.yml");

/// Two ToRs and four LB nodes, each with a cable to both.
const FAILOVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/labs/failover/failover.clab.yml");

/// Two ToRs, FRR and BIRD, with BFD sessions of every kind.
const BFD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/labs/bfd/bfd.clab.yml");

/// Where an LB node has its configuration.
pub(crate) const CONFIG: &str = "/etc/vipcast/config.yaml";

/// What a pod serves.
pub(crate) const PORTS: [Port; 2] = [Port::Tcp(8080), Port::Udp(5353)];

/// The ranges that the LB nodes announce.
pub(crate) const RANGES: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];
/// The VIPs of the Service `demo/web`.
pub(crate) const WEB: [&str; 2] = ["10.96.0.10:80", "[fd00:10:96::10]:80"];
/// How long a request may take: far longer than any should, on an emulated machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long something that has to happen may take.
pub(crate) const LONG: Duration = Duration::from_secs(90);

/// The lab, its pods and its agents.
pub(crate) struct Rack {
    pub(crate) lab: Lab,
    /// The servers of all pods. Dropped, one closes its port and its connections.
    pub(crate) pods: Vec<Server>,
    /// The agents of lb1 and lb2. Dropped, an agent is killed; its speaker goes on.
    pub(crate) agents: Vec<Daemon>,
}

impl Rack {
    /// Deploys the lab and starts its pods; no agent runs yet. None where this kernel will not do, which is said.
    pub(crate) fn bare() -> Result<Option<Rack>> {
        Rack::deploy(TOPOLOGY, &PORTS)
    }

    /// As [`bare`](Rack::bare), the lab `services`. Its pods serve SCTP too, where the kernel has it.
    pub(crate) fn services() -> Result<Option<Rack>> {
        let sctp = if lacks_sctp().is_none() { &[Port::Sctp(9905)][..] } else { &[] };
        Rack::deploy(SERVICES, &[&PORTS, sctp].concat())
    }

    /// As [`bare`](Rack::bare), the lab `peers`, which has no node `tor` and no node `client`.
    pub(crate) fn peers() -> Result<Option<Rack>> {
        Rack::deploy(PEERS, &PORTS)
    }

    /// As [`peers`](Rack::peers), the lab `bfd`, with the one LB node `lb1`.
    pub(crate) fn bfd() -> Result<Option<Rack>> {
        Rack::deploy(BFD, &PORTS)
    }

    /// As [`peers`](Rack::peers), the lab `failover`, with four LB nodes and a client.
    pub(crate) fn failover() -> Result<Option<Rack>> {
        Rack::deploy(FAILOVER, &PORTS)
    }

    fn deploy(topology: &str, ports: &[Port]) -> Result<Option<Rack>> {
        if let Err(why) = vm::probe() {
            // The virtual machine was made for this: there it is a failure.
            ensure!(std::env::var_os("VIPCAST_IN_VM").is_none(), "the virtual machine cannot run labs: {why}");
            // Past the test harness, which shows no output of tests that pass.
            writeln!(std::io::stderr(), "SKIPPED lab: {why}")?;
            return Ok(None);
        }
        let lab = Lab::deploy(topology, Options::default())?;
        let pods = lab.start_pods(ports)?;
        Ok(Some(Rack { lab, pods, agents: Vec::new() }))
    }

    /// Deploys the lab and starts both agents; they are ready and the ToR has both next hops.
    pub(crate) fn up() -> Result<Option<Rack>> {
        let Some(mut rack) = Rack::bare()? else { return Ok(None) };
        rack.start_agents()?;
        Ok(Some(rack))
    }

    /// As [`up`](Rack::up), with BIRD as the ToR.
    pub(crate) fn up_with_bird() -> Result<Option<Rack>> {
        let Some(mut rack) = Rack::deploy(WITH_BIRD, &PORTS)? else { return Ok(None) };
        rack.start_agents()?;
        Ok(Some(rack))
    }

    /// Starts both agents and waits until the ToR has both next hops for both ranges.
    pub(crate) fn start_agents(&mut self) -> Result<()> {
        for name in ["lb1", "lb2"] {
            self.agents.push(self.lab.node(name).start_agent(VIPCAST)?);
        }
        self.wait_for_next_hops(2)
    }

    /// Kills both agents and starts them again; they are ready.
    pub(crate) fn restart_agents(&mut self) -> Result<()> {
        for agent in self.agents.drain(..) {
            agent.kill()?;
        }
        self.start_agents()?;
        ["lb1", "lb2"].iter().try_for_each(|name| wait_until_ready(self.lab.node(name)))
    }

    /// The client's namespace.
    pub(crate) fn client(&self) -> &Netns {
        self.lab.node("client").netns()
    }

    /// Runs a test and keeps evidence if it fails.
    pub(crate) fn attempt(mut self, test: impl FnOnce(&mut Rack) -> Result<()>) -> Result<()> {
        let done = test(&mut self);
        if let Err(error) = &done {
            for agent in &self.agents {
                println!("--- log of {}\n{}", agent.name(), agent.log());
            }
            self.lab.keep_evidence(&format!("{error:#}"));
        }
        done
    }

    /// The next hops in the ToR's forwarding table.
    pub(crate) fn next_hops(&self, range: &str) -> Result<BTreeSet<String>> {
        let routes: Value = serde_json::from_str(&self.routes(range)?)?;
        let mut hops = BTreeSet::new();
        for route in routes.as_array().context("routes are a list")? {
            let ways = route["nexthops"].as_array().cloned().unwrap_or_else(|| vec![route.clone()]);
            hops.extend(ways.iter().filter_map(|way| Some(way["gateway"].as_str()?.to_owned())));
        }
        Ok(hops)
    }

    /// The ToR's forwarding table for a prefix, as `ip` tells it in JSON.
    pub(crate) fn routes(&self, range: &str) -> Result<String> {
        let family = if range.contains(':') { "-6" } else { "-4" };
        Ok(self.lab.node("tor").command("ip").args([family, "-json", "route", "show", range]).run()?.stdout)
    }

    /// Waits until the ToR has this many next hops for both ranges.
    pub(crate) fn wait_for_next_hops(&self, count: usize) -> Result<()> {
        RANGES.iter().try_for_each(|range| self.wait_for_hops(range, count).map(drop))
    }

    /// Waits until the ToR has this many next hops for a prefix, and returns them.
    pub(crate) fn wait_for_hops(&self, prefix: &str, count: usize) -> Result<BTreeSet<String>> {
        wait_for(LONG, &format!("{count} next hops for {prefix}"), || {
            let hops = self.next_hops(prefix)?;
            Ok(if hops.len() == count { Ok(hops) } else { Err(hops) })
        })
    }

    /// Changes a line of an LB node's configuration; an agent that runs reads it.
    pub(crate) fn configure(&self, node: &str, from: &str, to: &str) -> Result<()> {
        let node = self.lab.node(node);
        let text = fs::read_to_string(node.path(CONFIG))?;
        ensure!(text.contains(from), "{CONFIG} of {} has no {from:?}", node.name());
        node.write(CONFIG, &text.replace(from, to))
    }
}

/// Asks an agent's admin listener, and answers with the status code and the body.
pub(crate) fn ask(node: &Node, path: &str) -> Result<(u16, String)> {
    node.run(|| {
        let mut stream = TcpStream::connect("127.0.0.1:9180")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
        let code = head.split(' ').nth(1).context("a status line")?.parse()?;
        anyhow::Ok((code, body.to_owned()))
    })?
}

/// A metric's value, or the sum over its labels.
pub(crate) fn metric(node: &Node, name: &str) -> Result<f64> {
    let (_, body) = ask(node, "/metrics")?;
    let lines = body.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// Waits until `/readyz` says yes.
pub(crate) fn wait_until_ready(node: &Node) -> Result<()> {
    wait_for(LONG, &format!("{} ready", node.name()), || {
        Ok(match ask(node, "/readyz") {
            Ok((200, _)) => Ok(()),
            Ok((_, reasons)) => Err(reasons),
            Err(error) => Err(error.to_string()),
        })
    })
}

/// A socket address in a test.
pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
