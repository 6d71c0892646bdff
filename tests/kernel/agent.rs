//! The agent itself, the real binary, on a node that others damage, share and look at; everything is read back with the
//! tools that an operator has.

mod cleanup;
mod commands;
mod container;
mod damage;
mod drain;
mod plane;
mod proof;
mod restart;
mod role;
mod seeing;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vipcast_lab::{Daemon, Lab, Options, wait_for};

use crate::require_ipvs;

const VIPCAST: &str = env!("CARGO_BIN_EXE_vipcast");
const TOPOLOGY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/agent/node.clab.yml");
/// How long something that has to happen may take, on an emulated machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// BGP with peers that never answer: the routes are in gobgpd all the same.
const BGP: &str = "
withdrawDelay: 1s
bgp:
  asn: 65001
  peers: [{address: 10.0.1.1, asn: 65000}, {address: 'fd00:1::1', asn: 65000}]
";

/// A node that may run an agent.
struct Node {
    lab: Lab,
    agent: Option<Daemon>,
}

/// Runs `test` on a fresh node, and keeps evidence if it fails.
fn on_node(test: impl FnOnce(&mut Node) -> Result<()>) -> Result<()> {
    if require_ipvs() { on_lab(TOPOLOGY, test) } else { Ok(()) }
}

/// The same with the node `lb1` of this topology.
fn on_lab(topology: &str, test: impl FnOnce(&mut Node) -> Result<()>) -> Result<()> {
    let mut node = Node { lab: Lab::deploy(topology, Options::default())?, agent: None };
    let done = test(&mut node);
    if let Err(error) = &done {
        println!("{}", node.log());
        node.lab.keep_evidence(&format!("{error:#}"));
    }
    done
}

impl Node {
    fn machine(&self) -> &vipcast_lab::Node {
        self.lab.node("lb1")
    }

    /// Changes the configuration for commands and agents to come.
    fn configure(&self, from: &str, to: &str) -> Result<()> {
        let file = self.machine().path("etc/vipcast/config.yaml");
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(from), "{} has no {from:?}:\n{text}", file.display());
        Ok(fs::write(&file, text.replace(from, to))?)
    }

    /// Starts an agent and waits until it is ready and has nothing under way.
    fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_until_ready()
    }

    /// Starts an agent that writes a line for each step.
    fn launch(&mut self) -> Result<()> {
        let machine = self.machine();
        let config = machine.path("etc/vipcast/config.yaml");
        let command = machine.command(VIPCAST).args(["--log-level", "info,vipcast::daemon=debug", "--config"]);
        self.agent = Some(machine.spawn_daemon("vipcast", command.arg(config).arg("run"))?);
        Ok(())
    }

    /// Kills the agent, which gets no chance to do anything.
    fn kill(&mut self) -> Result<()> {
        self.agent.take().context("no agent runs")?.kill().map(drop)
    }

    /// Kills the agent and starts another one; where its part of the log begins.
    fn restart(&mut self) -> Result<usize> {
        self.kill()?;
        let before = self.log().len();
        self.start()?;
        Ok(before)
    }

    /// The steps that write which the log names from `start` on.
    fn steps(&self, start: usize) -> Vec<String> {
        self.log()[start..].lines().filter_map(written).collect()
    }

    /// Waits until that many steps were performed since `start` and nothing is left to plan.
    fn wait_for_steps(&self, start: usize, count: usize) -> Result<Vec<String>> {
        wait_for(PATIENCE, &format!("{count} steps"), || {
            let steps = self.steps(start);
            Ok(if steps.len() >= count { Ok(()) } else { Err(steps) })
        })?;
        self.vipcast(&["plan", "--exit-code"])?.ended(0)?;
        let steps = self.steps(start);
        ensure!(steps.len() == count, "not {count} steps: {steps:#?}");
        Ok(steps)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let agent = self.agent.as_ref().context("no agent runs")?;
        let ended = wait_for(PATIENCE, "an agent that is ready", || {
            Ok(match (agent.ended()?, self.ask("/readyz")) {
                (None, Ok((200, _))) => Ok(None),
                (None, Ok((_, reasons))) => Err(reasons),
                (None, Err(error)) => Err(error.to_string()),
                (ended, _) => Ok(ended),
            })
        })?;
        ensure!(ended.is_none(), "the agent has ended: {ended:?}");
        Ok(())
    }

    /// What all agents of this node wrote.
    fn log(&self) -> String {
        fs::read_to_string(self.machine().path("log/vipcast.log")).unwrap_or_default()
    }

    /// Asks the admin listener.
    fn ask(&self, path: &str) -> Result<(u16, String)> {
        self.machine().run(|| {
            let mut stream = TcpStream::connect("127.0.0.1:9180")?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
            let code = head.split(' ').nth(1).context("a status line")?.parse()?;
            anyhow::Ok((code, body.to_owned()))
        })?
    }

    /// How many steps that write the agent performed, by its own count.
    fn writes(&self) -> Result<f64> {
        let (_, body) = self.ask("/metrics")?;
        let values = body.lines().filter(|line| line.starts_with("vipcast_steps_total"));
        Ok(values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Runs a vipcast command with the node's configuration.
    fn vipcast(&self, arguments: &[&str]) -> Result<Said> {
        let config = self.machine().path("etc/vipcast/config.yaml");
        let output = self.machine().command(VIPCAST).arg("--config").arg(config).args(arguments).output()?;
        Ok(Said::from(output))
    }

    /// Runs a line of shell, which has to succeed; its output.
    fn sh(&self, line: &str) -> Result<String> {
        Ok(self.machine().command("sh").args(["-ec", line]).run()?.stdout)
    }

    /// Everything in the kernel that is ours and carries traffic, as text.
    fn ours(&self) -> Result<String> {
        self.sh("ip -o link show vipcast0 | cut -d: -f3 | sed 's/mtu.*//'
                 ip -4 route show table local proto 118
                 ip -6 route show table local proto 118
                 nft -s list table inet vipcast
                 ipvsadm -Sn
                 cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/vs/conntrack")
    }

    /// Waits until what is ours is `expected`.
    fn wait_for_ours(&self, expected: &str, after: &str) -> Result<()> {
        wait_for(PATIENCE, &format!("repair after {after}"), || {
            let found = self.ours().unwrap_or_else(|error| error.to_string());
            Ok(if found == expected { Ok(()) } else { Err(found) })
        })
    }
}

/// How a command ended and what it said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Said {
    /// Fails unless the command ended with `code`.
    fn ended(self, code: i32) -> Result<Said> {
        ensure!(self.code == Some(code), "not exit code {code}: {self:#?}");
        Ok(self)
    }
}

/// The step that a log line tells of, if it is one that writes.
fn written(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("step step=")?;
    let (step, outcome) = rest.rsplit_once(" outcome=")?;
    (outcome != "\"read\"").then(|| step.to_owned())
}
