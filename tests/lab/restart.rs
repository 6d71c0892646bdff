//! Another gobgpd in the place of the one that runs, while packets go through it all.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use vipcast_lab::traffic::{Churn, LongLived};
use vipcast_lab::{Node, wait_for, wait_until};

use crate::rack::{CONFIG, LONG, PATIENCE, RANGES, Rack, VIPCAST, WEB, address, metric, wait_until_ready};

/// Open connections meanwhile.
const OPEN: usize = 20;

/// What FRR is told so that it keeps the routes of an lb1 that restarts, as `vipcast switch-config` prints it for such nodes.
const HELPER: &str = "router bgp 65000
 no neighbor 10.0.1.2 graceful-restart-disable
 no neighbor fd00:1::2 graceful-restart-disable
";

/// What `vipcast restart-gobgpd` comes to: its success, and what it says.
fn restart(node: &Node) -> Result<(bool, String)> {
    let output = node.command(VIPCAST).arg("restart-gobgpd").arg("--config").arg(node.path(CONFIG)).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn gobgpd_is_restarted_without_a_packet_lost_if_peers_keep_its_routes_and_not_at_all_if_they_do_not() -> Result<()> {
    let Some(mut rack) = Rack::bare()? else { return Ok(()) };
    rack.configure("lb1", "asn: 65001\n", "asn: 65001\n  gracefulRestart: 30s\n")?;
    rack.start_agents()?;
    rack.attempt(|rack| {
        let node = rack.lab.node("lb1");
        wait_until_ready(node)?;
        let first = node.process("gobgpd")?;
        let (is_done, said) = restart(node)?;
        ensure!(!is_done, "the ToR was told not to keep routes: {said}");
        for what in ["10.0.1.1", "fd00:1::1", "no graceful restart on that side", "--force"] {
            ensure!(said.contains(what), "no {what} in {said}");
        }
        ensure!(
            node.process("gobgpd")? == first && metric(node, "vipcast_bgp_session_flaps_total")? == 0.0,
            "nothing happened"
        );

        let tor = rack.lab.node("tor");
        let helper = tor.path("helper.conf");
        fs::write(&helper, HELPER)?;
        tor.vtysh_file(&helper)?;
        for neighbour in ["10.0.1.2", "fd00:1::2"] {
            tor.vtysh(&format!("clear bgp {neighbour}"))?;
        }
        wait_for(LONG, "sessions that are made anew", || {
            let flaps = metric(node, "vipcast_bgp_session_flaps_total")?;
            Ok(if flaps == 2.0 { Ok(()) } else { Err(flaps) })
        })?;
        rack.wait_for_next_hops(2)?;
        wait_until_ready(node)?;

        let monitored = tor.path("routes.log");
        let monitor = tor.command("ip").args(["-o", "monitor", "route"]).stdout(Stdio::from(File::create(&monitored)?));
        let mut monitor = monitor.spawn()?;
        let open = LongLived::start(rack.client(), address(WEB[0]), OPEN, Duration::from_millis(200), PATIENCE)?;
        let load = Churn::start(rack.client(), address(WEB[0]), 2, Duration::from_millis(50), PATIENCE)?;
        let (is_done, said) = restart(node)?;
        ensure!(is_done, "{said}");
        ensure!(node.process("gobgpd")? != first, "it is another one");
        wait_until(LONG, "sessions with the new gobgpd", || {
            Ok(tor.sessions()?.values().all(|session| session.established))
        })?;
        wait_until_ready(node)?;
        // Until the ToR has forgotten what the next gobgpd did not send again.
        let stale = || Ok(tor.vtysh("show bgp ipv4 unicast")? + &tor.vtysh("show bgp ipv6 unicast")?);
        let is_stale = |line: &str| line.starts_with('S') && !line.starts_with("Status");
        wait_for(LONG, "no stale path", || {
            stale().map(|said| if said.lines().any(is_stale) { Err(said) } else { Ok(()) })
        })?;

        let (broken, report) = (open.stop(), load.stop());
        monitor.kill()?;
        monitor.wait()?;
        ensure!(broken.is_empty() && report.failures.is_empty(), "{broken:?} {report:?}");
        ensure!(report.answered > 20, "{report:?}");
        let moves = fs::read_to_string(&monitored)?;
        let is_lost = |line: &&str| {
            RANGES.iter().any(|range| line.contains(range))
                && (line.contains("Deleted") || line.matches("via ").count() < 2)
        };
        ensure!(!moves.lines().any(|line| is_lost(&line)), "{moves}");
        rack.wait_for_next_hops(2)
    })
}
