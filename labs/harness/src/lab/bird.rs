//! BIRD in a node: one daemon in the foreground, with its control socket in the node's folder.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};

use super::Node;
use super::frr::START_TIMEOUT;
use crate::netns::NsCommand;
use crate::wait_for;

/// Where a node has its configuration.
const CONFIG: &str = "etc/bird/bird.conf";

impl Node {
    /// Does this node run BIRD, and not FRR?
    pub(super) fn has_bird(&self) -> bool {
        self.path(CONFIG).is_file()
    }

    /// Starts BIRD with `etc/bird/bird.conf`.
    pub(super) fn start_bird(&mut self) -> Result<()> {
        let command = self.command("bird").arg("-f").arg("-c").arg(self.path(CONFIG)).arg("-s").arg(self.bird_socket());
        let bird = self.spawn_daemon("bird", command)?;
        wait_for(START_TIMEOUT, "BIRD's socket", || match bird.ended()? {
            Some(status) => Ok(Ok(Err(anyhow!("bird ended with {status}:\n{}", bird.log())))),
            None if self.bird_socket().exists() => Ok(Ok(Ok(()))),
            None => Ok(Err("not there")),
        })??;
        self.keep(bird);
        Ok(())
    }

    /// Asks the node's BIRD, as in `birdc COMMAND`.
    pub fn birdc(&self, command: &str) -> Result<String> {
        Ok(self.bird_shell().args(command.split(' ')).run()?.stdout)
    }

    /// What the node's BIRD says of the routes for exactly this prefix, in all tables.
    pub(super) fn bird_routes(&self, prefix: &str) -> Result<String> {
        let said = self.bird_shell().args(["show", "route", prefix, "table", "all", "all"]).output()?;
        let answer = String::from_utf8_lossy(&said.stdout).into_owned();
        // Which it takes for a failure.
        if !said.status.success() && !answer.contains("Network not found") {
            bail!("BIRD does not tell its routes for {prefix}: {answer}");
        }
        Ok(answer)
    }

    /// Gives the node's BIRD another configuration, which takes the place of the one that it has.
    pub fn configure_bird(&self, text: &str) -> Result<()> {
        let file = self.path(CONFIG);
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        let said = self.birdc("configure")?;
        // birdc ends well whatever the answer.
        if !said.contains("Reconfigur") {
            bail!("BIRD refuses its configuration: {said}");
        }
        Ok(())
    }

    fn bird_shell(&self) -> NsCommand<'_> {
        self.command("birdc").arg("-s").arg(self.bird_socket())
    }

    fn bird_socket(&self) -> PathBuf {
        self.path("run/bird.ctl")
    }
}
