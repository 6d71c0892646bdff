//! FRR in a node: its daemons, each started in the foreground, with sockets and files in the node's folder.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::unistd::{User, chown};

use super::{Daemon, Node};
use crate::wait_for;

/// Where Debian puts the daemons.
const PROGRAMS: &str = "/usr/lib/frr";

/// Whom they run as.
const USER: &str = "frr";

/// Starting a daemon means reading it from the host's files, on an emulated CPU.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(60);

impl Node {
    /// Starts what `etc/frr/daemons` names, and loads `etc/frr/frr.conf`.
    pub(super) fn start_frr(&mut self) -> Result<()> {
        let (etc, run) = (self.path("etc/frr"), self.path("run/frr"));
        fs::create_dir_all(&run).with_context(|| format!("create {}", run.display()))?;
        // The daemons give up root for a user of their own, and make their sockets after that.
        let user = User::from_name(USER)?.with_context(|| format!("no user {USER}: install frr"))?;
        chown(&run, Some(user.uid), Some(user.gid)).with_context(|| format!("chown {}", run.display()))?;
        let wanted = fs::read_to_string(etc.join("daemons"))
            .with_context(|| format!("{}: a router binds /etc/frr/daemons and /etc/frr/frr.conf", self.name()))?;

        // The others look for zebra's socket when they start.
        let zebra = self.start_daemon_of_frr("zebra", &run)?;
        self.keep(zebra);
        let mut others = enabled(&wanted);
        // FRR's own start script starts this one always: static routes are in no router optional.
        others.push("staticd");
        for name in others {
            let daemon = self.start_daemon_of_frr(name, &run)?;
            self.keep(daemon);
        }
        for daemon in self.kept() {
            wait_for_socket(daemon, &run.join(daemon.name()).with_extension("vty"))?;
        }
        self.frr_shell().arg("-b").run().context("load frr.conf")?;
        Ok(())
    }

    fn start_daemon_of_frr(&self, name: &str, run: &Path) -> Result<Daemon> {
        let program = Path::new(PROGRAMS).join(name);
        ensure!(program.is_file(), "{} is not there: install frr", program.display());
        let mut command = self
            .command(program)
            .args(["--log", "stdout", "--log-level", "informational", "-A", "127.0.0.1"])
            .arg("--vty_socket")
            .arg(run)
            .arg("-z")
            .arg(run.join("zserv.api"))
            .arg("-i")
            .arg(run.join(name).with_extension("pid"))
            // An empty one: the configuration is loaded once, when all are there, by vtysh.
            .args(["-f", "/dev/null"]);
        if name == "zebra" {
            // The default receive buffer overflows when many routes change at once.
            command = command.args(["-s", "90000000"]);
        }
        if name == "bfdd" {
            // Its control socket is in a folder of the whole machine otherwise.
            command = command.arg("--bfdctl").arg(run.join("bfdd.sock"));
        }
        let daemon = self.spawn_daemon(name, command)?;
        if name == "zebra" {
            let socket = run.join("zserv.api");
            wait_for_socket(&daemon, &socket)?;
        }
        Ok(daemon)
    }

    /// Asks the node's FRR, as in `vtysh -c COMMAND`.
    pub fn vtysh(&self, command: &str) -> Result<String> {
        Ok(self.frr_shell().args(["-c", command]).run()?.stdout)
    }

    /// Asks the node's FRR for JSON; `json` is appended to the command.
    pub fn vtysh_json(&self, command: &str) -> Result<serde_json::Value> {
        let text = self.vtysh(&format!("{command} json"))?;
        serde_json::from_str(&text).with_context(|| format!("{command} json: {text}"))
    }

    /// Adds a file to what the node's FRR is configured with, as in `vtysh -f FILE`.
    pub fn vtysh_file(&self, file: &Path) -> Result<()> {
        self.frr_shell().arg("-f").arg(file).run().with_context(|| format!("load {}", file.display()))?;
        Ok(())
    }

    fn frr_shell(&self) -> crate::netns::NsCommand<'_> {
        let command = self.command("vtysh").arg("--vty_socket").arg(self.path("run/frr"));
        command.arg("--config_dir").arg(self.path("etc/frr"))
    }
}

/// Waits until a daemon has opened a socket, or has ended instead.
fn wait_for_socket(daemon: &Daemon, socket: &Path) -> Result<()> {
    wait_for(START_TIMEOUT, &socket.display().to_string(), || match daemon.ended()? {
        Some(status) => Ok(Ok(Err(anyhow!("{} ended with {status}:\n{}", daemon.name(), daemon.log())))),
        None if socket.exists() => Ok(Ok(Ok(()))),
        None => Ok(Err("not there")),
    })?
}

/// The daemons with `NAME=yes`, besides zebra.
fn enabled(daemons: &str) -> Vec<&str> {
    let lines = daemons.lines().filter_map(|line| line.trim().strip_suffix("=yes"));
    lines.filter(|name| !name.starts_with('#') && name.ends_with('d') && *name != "staticd").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_file_says_what_runs() {
        assert_eq!(enabled("zebra=yes\nbgpd=yes\n# ospfd=yes\nbfdd=no\nstaticd=yes\nvtysh_enable=yes\n"), ["bgpd"]);
        assert_eq!(enabled("bgpd=yes\nbfdd=yes"), ["bgpd", "bfdd"]);
    }
}
