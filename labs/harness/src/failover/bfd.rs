//! The ToRs' side of BFD.

use std::fs::{self, File};
use std::io::Write;

use anyhow::{Context, Result};
use vipcast_lab::{Node, wait_for};

use super::stage::LONG;

/// Where FRR and BIRD have their configurations.
const FRR: &str = "etc/frr/frr.conf";
const BIRD: &str = "etc/bird/bird.conf";

/// What the lab's `bird.conf` says.
const SLOW: &str = "interval 300 ms;";

/// Adds BFD with all BGP neighbours to FRR's configuration, for its next start and at once.
pub(super) fn configure_frr(node: &Node, interval: u32) -> Result<()> {
    let file = node.path(FRR);
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let more = frr(&text, interval);
    let added = File::options().append(true).open(&file).and_then(|mut file| file.write_all(more.as_bytes()));
    added.with_context(|| format!("write {}", file.display()))?;
    let alone = node.path("etc/frr/bfd.conf");
    fs::write(&alone, more).with_context(|| format!("write {}", alone.display()))?;
    node.vtysh_file(&alone)
}

/// What makes BFD of a configuration without it.
fn frr(text: &str, interval: u32) -> String {
    let process = text.lines().find(|line| line.starts_with("router bgp ")).unwrap_or_default();
    let neighbours = text.lines().filter(|line| line.starts_with(" neighbor 10.") && line.contains("peer-group"));
    let sessions: String = neighbours
        .filter_map(|line| line.split(' ').nth(2))
        .map(|address| format!(" neighbor {address} bfd\n neighbor {address} bfd profile lab\n"))
        .collect();
    format!(
        "bfd\n profile lab\n  detect-multiplier 3\n  receive-interval {interval}\n  transmit-interval {interval}\n exit\nexit\n\
         {process}\n{sessions}exit\n"
    )
}

/// Gives BIRD's BFD another interval.
pub(super) fn configure_bird(node: &Node, interval: u32) -> Result<()> {
    let file = node.path(BIRD);
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    node.configure_bird(&text.replace(SLOW, &format!("interval {interval} ms;")))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_neighbour_gets_a_session() {
        let text = "router bgp 65011\n neighbor vipcast4 peer-group\n neighbor 10.1.1.2 peer-group vipcast4\n \
                    neighbor 10.1.1.2 graceful-restart-disable\n neighbor 10.1.2.2 peer-group vipcast4\nexit\n";
        let made = frr(text, 50);
        assert_eq!(made.matches(" bfd profile lab\n").count(), 2, "{made}");
        assert!(made.contains("router bgp 65011\n neighbor 10.1.1.2 bfd\n"), "{made}");
    }
}
