//! A node that is drained and comes back: what its ToR does, and what that costs whom.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vipcast_lab::traffic::{Answer, Churn, LongLived};
use vipcast_lab::{Node, wait_for};

use crate::rack::{CONFIG, LONG, PATIENCE, Rack, VIPCAST, WEB, address, ask, metric, wait_until_ready};

/// Open connections while the node leaves.
const OPEN: usize = 50;
/// Those who open new ones all the time.
const CLIENTS: usize = 2;

/// What `vipcast` says on an LB node.
fn vipcast(node: &Node, args: &[&str]) -> Result<String> {
    Ok(node.command(VIPCAST).arg("--config").arg(node.path(CONFIG)).args(args).run()?.stdout)
}

/// The ToR moves packets of open connections as soon as a next hop is shunned, as every switch does that has no state of
/// flows: those of the node that leaves are reset at once, so that clients connect anew, and nobody else notices.
#[test]
fn a_drained_node_leaves_in_order_and_returns_and_just_its_own_connections_move() -> Result<()> {
    let Some(rack) = Rack::up()? else { return Ok(()) };
    rack.attempt(|rack| {
        rack.configure("lb1", "admin:", "drain: {deadline: 5s}\nadmin:")?;
        let node = rack.lab.node("lb1");
        ["lb1", "lb2"].iter().try_for_each(|name| wait_until_ready(rack.lab.node(name)))?;
        let before = node.command("ipvsadm").arg("-Sn").run()?.stdout;
        let open = LongLived::start(rack.client(), address(WEB[0]), OPEN, Duration::from_millis(200), PATIENCE)?;
        let leaver: IpAddr = "10.0.1.2".parse()?;
        let here = open.connections().iter().filter(|answer| answer.seen.ip() == leaver).count();
        ensure!((1..OPEN).contains(&here), "the ToR spreads flows: {here} of {OPEN}");
        let load = Churn::start(rack.client(), address(WEB[0]), CLIENTS, Duration::from_millis(50), PATIENCE)?;

        let said = vipcast(node, &["drain", "--wait"])?;
        rack.wait_for_next_hops(1)?;
        ensure!(said.contains("the routes say that they are about to go"), "{said}");
        ensure!(said.lines().last().is_some_and(|line| line.starts_with("drained: ")), "{said}");
        let open_ones = said.lines().filter_map(|line| line.rsplit_once(", ")?.1.strip_suffix(" open")?.parse().ok());
        ensure!(open_ones.max().unwrap_or(0_usize) >= here, "{here} connections were open: {said}");
        let status = node.command(VIPCAST).arg("--config").arg(node.path(CONFIG)).arg("status").output()?;
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        ensure!(status.contains("this node is drained (vipcast drain)"), "{status}");
        ensure!(node.command("ipvsadm").arg("-Sn").run()?.stdout == before, "the data plane stays");
        let log = rack.agents[0].log();
        let line = |what: &str| log.find(what).with_context(|| format!("no {what} in {log}"));
        ensure!(line("with communities graceful-shutdown")? < line("withdrew 10.96.0.0/16")?, "{log}");
        ensure!(metric(node, "vipcast_bgp_session_flaps_total")? == 0.0, "no session ends");

        let (broken, report) = (open.stop(), load.stop());
        let is_leavers = |answer: &Answer| answer.seen.ip() == leaver;
        ensure!(broken.iter().all(|failure| failure.connection.as_ref().is_some_and(is_leavers)), "{broken:?}");
        // At most what was under way on this node when the ToR turned away from it.
        ensure!(report.failures.len() <= CLIENTS && report.answered > 20, "{report:?}");

        // An agent that is started anew stays drained.
        rack.agents[0].kill()?;
        rack.agents[0] = rack.lab.node("lb1").start_agent(VIPCAST)?;
        let node = rack.lab.node("lb1");
        wait_for(LONG, "an agent that answers", || {
            let answer = ask(node, "/livez").map_err(|error| error.to_string());
            Ok(if matches!(answer, Ok((200, _))) { Ok(()) } else { Err(answer) })
        })?;
        vipcast(node, &["drain", "--wait"])?;
        ensure!(rack.next_hops("10.96.0.0/16")?.len() == 1, "it announced in between");

        let said = vipcast(node, &["undrain", "--wait"])?;
        ensure!(said.ends_with("this node announces\n"), "{said}");
        rack.wait_for_next_hops(2)?;
        wait_until_ready(node)?;
        ensure!(node.command("ipvsadm").arg("-Sn").run()?.stdout == before, "nothing had to be programmed");
        Ok(())
    })
}
