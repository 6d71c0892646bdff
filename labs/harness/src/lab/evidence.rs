//! What is kept of a lab that failed: every node's state and logs, in one folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;

use anyhow::{Context, Result};

use super::{Lab, Node};
use crate::clab::Role;
use crate::{folders, gobgp};

/// What is asked on every node.
const EVERYWHERE: [(&str, &str); 8] = [
    ("links", "ip -details -statistics link"),
    ("addresses", "ip addr"),
    ("routes4", "ip -4 route show table all"),
    ("routes6", "ip -6 route show table all"),
    ("neighbours", "ip neigh"),
    ("nft", "nft list ruleset"),
    ("sockets", "ss -anp"),
    ("counters", "nstat -az"),
];

/// What is asked on nodes that run vipcast.
const ON_LB: [(&str, &str); 4] = [
    ("ipvs", "ipvsadm -Ln --stats"),
    ("ipvs-connections", "ipvsadm -Lnc"),
    ("conntrack", "conntrack -L"),
    ("conntrack6", "conntrack -L -f ipv6"),
];

/// What is asked of FRR.
const OF_FRR: [(&str, &str); 7] = [
    ("running-config", "show running-config"),
    ("bgp-summary", "show bgp summary"),
    ("bgp4", "show bgp ipv4 unicast"),
    ("bgp6", "show bgp ipv6 unicast"),
    ("frr-routes4", "show ip route"),
    ("frr-routes6", "show ipv6 route"),
    ("bgp-neighbours", "show bgp neighbors"),
];

/// What is asked of BIRD.
const OF_BIRD: [(&str, &str); 3] =
    [("bird-protocols", "show protocols all"), ("bird-routes", "show route all"), ("bird-status", "show status")];

/// What is asked of gobgpd.
const OF_GOBGP: [(&str, &str); 4] = [
    ("gobgp-global", "global"),
    ("gobgp-neighbours", "neighbor"),
    ("gobgp-rib4", "global rib -a ipv4"),
    ("gobgp-rib6", "global rib -a ipv6"),
];

impl Lab {
    /// Collects every node's routes, rules, IPVS table, BGP state and logs in one folder, says where, and returns it.
    pub fn keep_evidence(&self, reason: &str) -> Option<PathBuf> {
        match self.collect(reason) {
            Ok(folder) => {
                eprintln!("vipcast-lab: evidence of {} ({reason}) is in {}", self.id, folder.display());
                Some(folder)
            }
            Err(error) => {
                eprintln!("vipcast-lab: no evidence of {} ({reason}): {error:#}", self.id);
                None
            }
        }
    }

    fn collect(&self, reason: &str) -> Result<PathBuf> {
        let readable = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '-' };
        let test = thread::current().name().unwrap_or("main").chars().map(readable).collect::<String>();
        // A reason can be as long as a log; a file name cannot.
        let reason = reason.chars().map(readable).take(60).collect::<String>();
        let (home, name) = (folders::evidence()?, format!("{}-{test}-{reason}", self.id));
        // Process ids come again, in a virtual machine even every time: no run overwrites another's evidence.
        let folder = (1..)
            .map(|count| home.join(if count == 1 { name.clone() } else { format!("{name}-{count}") }))
            .find(|folder| !folder.exists())
            .context("no free name for evidence")?;
        // Side by side, since it is a hundred processes. What one node cannot tell must not hide the others.
        thread::scope(|scope| {
            let collect = |node: &Node| {
                if let Err(error) = node.collect(&folder.join(node.name())) {
                    eprintln!("vipcast-lab: evidence of {}: {error:#}", node.name());
                }
            };
            for node in self.nodes() {
                scope.spawn(move || collect(node));
            }
        });
        Ok(folder)
    }
}

impl Node {
    /// Each question's answer becomes a file; a question that fails is an answer too.
    fn collect(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let ask = |name: &str, program: &Path, words: &[&str]| {
            let said = match self.command(program).args(words).output() {
                Ok(Output { stdout, stderr, .. }) => [stdout, stderr].concat(),
                Err(error) => format!("{error:#}\n").into_bytes(),
            };
            fs::write(folder.join(name).with_extension("txt"), said)
        };
        let on_lb = if self.role() == Role::Lb { &ON_LB[..] } else { &[] };
        for (name, line) in EVERYWHERE.iter().chain(on_lb) {
            let words: Vec<&str> = line.split(' ').collect();
            ask(name, Path::new(words[0]), &words[1..])?;
        }
        if self.has_bird() {
            for (name, question) in OF_BIRD {
                let said = self.birdc(question).unwrap_or_else(|error| format!("{error:#}\n"));
                fs::write(folder.join(name).with_extension("txt"), said)?;
            }
        } else if self.role() == Role::Tor {
            let (socket, config) = (self.path("run/frr"), self.path("etc/frr"));
            let (socket, config) = (socket.to_string_lossy(), config.to_string_lossy());
            for (name, question) in OF_FRR {
                ask(name, Path::new("vtysh"), &["--vty_socket", &socket, "--config_dir", &config, "-c", question])?;
            }
        }
        for socket in sockets(&self.path("run")) {
            let target = format!("unix://{}", socket.display());
            // Each speaks only to a gobgpd of its own version.
            let fourth = self.path(gobgp::IN_NODE).join("gobgp");
            let answer = self.command(&fourth).args(["--target", &target, "global"]).output();
            let is_fourth = answer.is_ok_and(|answer| answer.status.success());
            let program = if is_fourth { fourth.as_path() } else { Path::new("gobgp") };
            for (name, line) in OF_GOBGP {
                let words: Vec<&str> = ["--target", &target].into_iter().chain(line.split(' ')).collect();
                ask(name, program, &words)?;
            }
        }
        for log in fs::read_dir(self.path("log"))? {
            let log = log?;
            fs::copy(log.path(), folder.join(log.file_name()))?;
        }
        Ok(())
    }
}

/// gobgpd's API sockets below a node's `run` folder: the ones whose path says so.
fn sockets(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sockets(&path));
        } else if path.extension().is_some_and(|extension| extension == "sock")
            && path.file_name().is_some_and(|name| name.to_string_lossy().contains("gobgp"))
        {
            found.push(path);
        }
    }
    found
}
