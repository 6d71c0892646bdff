//! How the ToRs' BFD sessions stand.

use anyhow::{Context, Result};
use vipcast_lab::{Node, wait_for};

use super::stage::LONG;

/// Where BIRD has its configuration, on ToRs that run it.
const BIRD: &str = "etc/bird/bird.conf";

/// Waits until a router has so many sessions that are up.
pub(super) fn wait_until_up(node: &Node, count: usize) -> Result<()> {
    wait_for(LONG, &format!("{count} BFD sessions of {} to be up", node.name()), || {
        let up = sessions(node)?;
        Ok(if up == count { Ok(()) } else { Err(format!("{up} are")) })
    })
}

/// How many sessions of a router are up.
fn sessions(node: &Node) -> Result<usize> {
    if node.path(BIRD).is_file() {
        let said = node.birdc("show bfd sessions")?;
        return Ok(said.lines().filter(|line| line.split_whitespace().nth(2) == Some("Up")).count());
    }
    let said = node.vtysh_json("show bfd peers")?;
    let peers = said.as_array().context("BFD's peers are a list")?;
    Ok(peers.iter().filter(|peer| peer["status"] == "up").count())
}
