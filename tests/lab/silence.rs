//! What dies without a word, in the lab `failover`: BFD tells of a node that falls silent, and the speaker of a data plane that
//! is gone while no agent runs. What it costs is measured by `vipcast-lab bench failover`.

use std::fs;

use anyhow::{Context, Result, ensure};
use vipcast_lab::traffic;
use vipcast_lab::wait_for;

use crate::rack::{CONFIG, LONG, PATIENCE, Rack, VIPCAST, address, wait_until_ready};

const RANGE: &str = "10.96.0.0/16";
const VIP: &str = "10.96.0.10:80";

/// A hold time that is longer than the test, so that only BFD can tell; slower than racks have it, for emulated machines.
const TIMERS: (&str, &str) = ("holdTime: 9s, keepalive: 3s}", "holdTime: 900s, keepalive: 300s, bfd: on}");
const BFD: &str = "bfd: {interval: 400ms, multiplier: 5}\n";

/// All that comes and goes is dropped, and the links keep their carriers.
const SILENCE: &str = "table netdev dead {
 chain heard { type filter hook ingress devices = { eth1, eth2, eth3 } priority -500; policy drop; }
 chain said { type filter hook egress devices = { eth1, eth2, eth3 } priority -500; policy drop; }
}";

/// Gives two nodes and tor1 BFD, and starts them.
fn start(rack: &mut Rack) -> Result<()> {
    for name in ["lb1", "lb2"] {
        let node = rack.lab.node(name);
        let text = fs::read_to_string(node.path(CONFIG))?;
        ensure!(text.contains(TIMERS.0), "{text}");
        node.write(CONFIG, &format!("{}{BFD}", text.replace(TIMERS.0, TIMERS.1)))?;
    }
    let lb = rack.lab.node("lb1");
    let command = lb.command(VIPCAST).arg("--config").arg(lb.path(CONFIG)).args(["switch-config", "--vendor", "frr"]);
    let printed =
        command.args(["--peer", "10.1.1.1", "--neighbor", "10.1.1.2", "--neighbor", "10.1.2.2"]).run()?.stdout;
    let file = rack.lab.node("tor1").path("etc/frr/frr.conf");
    let text = fs::read_to_string(&file)?;
    let (own, _) = text.split_once("! ---- From here on").context("the lab's own part")?;
    fs::write(&file, format!("{own}{printed}"))?;
    rack.lab.kill_router("tor1")?;
    rack.lab.start_router("tor1")?;
    for name in ["lb1", "lb2"] {
        rack.agents.push(rack.lab.node(name).start_agent(VIPCAST)?);
    }
    wait_for_hops(rack, 2)?;
    ["lb1", "lb2"].iter().try_for_each(|name| wait_until_ready(rack.lab.node(name)))?;
    wait_for(LONG, "BFD with both", || {
        let said = rack.lab.node("tor1").vtysh_json("show bfd peers")?;
        let up = said.as_array().into_iter().flatten().filter(|peer| peer["status"] == "up").count();
        Ok(if up == 2 { Ok(()) } else { Err(said) })
    })
}

fn wait_for_hops(rack: &Rack, count: usize) -> Result<()> {
    wait_for(LONG, &format!("{count} next hops"), || {
        let hops = rack.lab.node("tor1").forwarding(RANGE)?;
        Ok(if hops.len() == count { Ok(()) } else { Err(hops) })
    })
}

#[test]
fn no_route_outlives_a_node_that_falls_silent_or_a_data_plane_that_is_gone() -> Result<()> {
    let Some(rack) = Rack::failover()? else { return Ok(()) };
    rack.attempt(|rack| {
        start(rack)?;
        rack.lab.node("lb1").command("nft").arg(SILENCE).run()?;
        wait_for_hops(rack, 1)?;
        let tally = traffic::tcp(rack.client(), address(VIP), 24, PATIENCE)?;
        ensure!(tally.failures.is_empty() && tally.by_source().len() == 1, "{tally:?}");

        // Without an agent everything stays, for as long as the speaker's own probe goes through.
        rack.agents[1].kill()?;
        let tally = traffic::tcp(rack.client(), address(VIP), 24, PATIENCE)?;
        ensure!(tally.failures.is_empty(), "{tally:?}");
        ensure!(rack.lab.node("tor1").forwarding(RANGE)?.len() == 1, "the route stays");
        rack.lab.node("lb2").command("ipvsadm").arg("-C").run()?;
        wait_for_hops(rack, 0)
    })
}
