//! What is missing at the start: nothing is announced, `/readyz` says why, and it recovers by itself.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use vipcast_lab::lab::Node;
use vipcast_lab::traffic;
use vipcast_lab::wait_for;

use crate::rack::{LONG, PATIENCE, RANGES, Rack, VIPCAST, WEB, address, ask};

/// Waits until `/readyz` says no, with this among the reasons.
fn wait_for_reason(node: &Node, reason: &str) -> Result<()> {
    wait_for(LONG, &format!("not ready: {reason}"), || {
        Ok(match ask(node, "/readyz") {
            Ok((503, reasons)) if reasons.contains(reason) => Ok(()),
            other => Err(format!("{other:?}")),
        })
    })
}

fn ensure_silent(rack: &Rack) -> Result<()> {
    // Long enough for a session and a route, if there were any.
    std::thread::sleep(Duration::from_secs(5));
    for range in RANGES {
        let hops = rack.next_hops(range)?;
        ensure!(hops.is_empty(), "{range} is announced: {hops:?}");
    }
    Ok(())
}

#[test]
fn without_gobgpd_nothing_is_announced_until_it_comes() -> Result<()> {
    let Some(mut rack) = Rack::bare()? else { return Ok(()) };
    let node = rack.lab.node("lb1");
    let socket = node.path("run/other.sock");
    let elsewhere = format!("  gobgpd: {{address: \"unix:{}\"}}\n  asn: 65001\n", socket.display());
    rack.configure("lb1", "  asn: 65001\n", &elsewhere)?;
    rack.agents.push(node.start_agent(VIPCAST)?);
    rack.attempt(|rack| {
        let node = rack.lab.node("lb1");
        wait_for_reason(node, "gobgpd cannot be reached")?;
        ensure_silent(rack)?;
        let said = node.command("ipvsadm").arg("-Sn").run()?.stdout;
        ensure!(said.contains("10.96.0.10:80"), "the data plane is there already: {said}");
        let api = format!("unix://{}", socket.display());
        let _gobgpd =
            node.spawn_daemon("gobgpd", node.command("gobgpd").args(["--api-hosts", &api, "--pprof-disable"]))?;
        rack.wait_for_next_hops(1)
    })
}

#[test]
fn without_manifests_nothing_is_announced_until_they_come() -> Result<()> {
    let Some(mut rack) = Rack::bare()? else { return Ok(()) };
    let (folder, away) = (rack.lab.shared("cluster"), rack.lab.shared("away"));
    fs::rename(&folder, &away)?;
    rack.agents.push(rack.lab.node("lb1").start_agent(VIPCAST)?);
    rack.attempt(|rack| {
        let node = rack.lab.node("lb1");
        wait_for_reason(node, "the first list is not complete")?;
        ensure_silent(rack)?;

        // Back, but with nothing in it that can be read.
        fs::create_dir(&folder)?;
        rack.lab.write_shared("cluster/web.yaml", "kind: Service\n  spec: [\n")?;
        wait_for_reason(node, "web.yaml")?;
        ensure_silent(rack)?;
        let local = node.command("ip").args(["route", "show", "table", "local", "10.96.0.0/16"]).run()?.stdout;
        ensure!(local.trim().is_empty(), "local before the first list: {local}");

        rack.lab.write_shared("cluster/web.yaml", &fs::read_to_string(away.join("web.yaml"))?)?;
        rack.wait_for_next_hops(1)?;
        let tally = traffic::tcp(rack.client(), address(WEB[0]), 20, PATIENCE)?;
        ensure!(tally.failures.is_empty() && tally.by_pod().len() == 4, "{tally:?}");

        // A file that breaks later keeps its last good content in force.
        rack.lab.write_shared("cluster/web.yaml", "kind: Service\n  spec: [\n")?;
        wait_for(LONG, "the broken file in the status", || {
            let status = ask(node, "/status")?.1;
            Ok(if status.contains("web.yaml") { Ok(()) } else { Err(status) })
        })?;
        ensure!(ask(node, "/readyz")?.0 == 200, "a broken file does not end readiness");
        let tally = traffic::tcp(rack.client(), address(WEB[0]), 20, PATIENCE)?;
        ensure!(tally.failures.is_empty() && tally.by_pod().len() == 4, "{tally:?}");
        Ok(())
    })
}
