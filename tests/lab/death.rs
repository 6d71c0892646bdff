//! What dies, and what that costs: an LB node, the agent, gobgpd; and an agent that leaves in order.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use vipcast_lab::traffic::{self, Churn, LongLived};
use vipcast_lab::wait_for;

use crate::rack::{LONG, PATIENCE, RANGES, Rack, VIPCAST, WEB, address, ask, metric, wait_until_ready};

/// Open connections that a death must not break.
const OPEN: usize = 50;
/// Steps that write, over all targets and outcomes.
const STEPS: &str = "vipcast_steps_total";

fn churn(rack: &Rack) -> Result<Churn> {
    Churn::start(rack.client(), address(WEB[0]), 2, Duration::from_millis(50), PATIENCE)
}

#[test]
fn a_node_that_is_cut_off_leaves_the_tor_and_new_connections_succeed() -> Result<()> {
    let Some(rack) = Rack::up()? else { return Ok(()) };
    rack.attempt(|rack| {
        rack.lab.cut("lb1")?;
        rack.wait_for_next_hops(1)?;
        for vip in WEB {
            let tally = traffic::tcp(rack.client(), address(vip), 60, PATIENCE)?;
            ensure!(tally.failures.is_empty() && tally.by_source().len() == 1, "{tally:?}");
            ensure!(tally.by_pod().len() == 4, "{tally:?}");
        }
        rack.lab.mend("lb1")?;
        rack.wait_for_next_hops(2)
    })
}

#[test]
fn an_agent_that_leaves_takes_its_route_first_and_no_connection_fails() -> Result<()> {
    let Some(rack) = Rack::up()? else { return Ok(()) };
    rack.attempt(|rack| {
        let node = rack.lab.node("lb1");
        let before = node.command("ipvsadm").arg("-Sn").run()?.stdout;
        let load = churn(rack)?;
        rack.agents[0].signal(Signal::SIGTERM)?;
        rack.wait_for_next_hops(1)?;
        let status = rack.agents[0].wait(LONG)?;
        ensure!(status.success(), "{status}");
        let report = load.stop();
        ensure!(report.failures.is_empty() && report.answered > 20, "{report:?}");
        let after = node.command("ipvsadm").arg("-Sn").run()?.stdout;
        ensure!(after == before && after.contains("10.96.0.10:80"), "the data plane stays: {after}");
        let log = rack.agents[0].log();
        ensure!(log.contains("withdrew 10.96.0.0/16"), "{log}");

        // Whoever comes back announces again, and finds nothing else to do.
        rack.agents[0] = node.start_agent(VIPCAST)?;
        rack.wait_for_next_hops(2)
    })
}

#[test]
fn a_killed_agent_breaks_nothing_and_its_successor_changes_nothing() -> Result<()> {
    let Some(rack) = Rack::up()? else { return Ok(()) };
    rack.attempt(|rack| {
        for node in ["lb1", "lb2"] {
            wait_until_ready(rack.lab.node(node))?;
        }
        let open = LongLived::start(rack.client(), address(WEB[0]), OPEN, Duration::from_millis(200), PATIENCE)?;
        let load = churn(rack)?;
        for (index, name) in ["lb1", "lb2"].into_iter().enumerate() {
            let node = rack.lab.node(name);
            let said_before = rack.agents[index].log().len();
            rack.agents[index].kill()?;
            std::thread::sleep(Duration::from_secs(2));
            rack.agents[index] = node.start_agent(VIPCAST)?;
            wait_until_ready(node)?;
            ensure!(metric(node, STEPS)? == 0.0, "{name} wrote: {}", ask(node, "/metrics")?.1);
            let log = rack.agents[index].log().split_off(said_before);
            ensure!(log.contains("starting"), "the log goes on: {log}");
            ensure!(!log.contains("writing to the kernel") && !log.contains("announced"), "{log}");
            for range in RANGES {
                ensure!(rack.next_hops(range)?.len() == 2, "the ToR lost a next hop for {range}");
            }
        }
        let exchanged = open.exchanged();
        wait_for(PATIENCE, "the open connections go on", || {
            Ok(if open.exchanged() > exchanged + OPEN { Ok(()) } else { Err(open.exchanged()) })
        })?;
        let (broken, report) = (open.stop(), load.stop());
        ensure!(broken.is_empty(), "{} of {OPEN} connections broke: {:?}", broken.len(), broken.first());
        ensure!(report.failures.is_empty() && report.answered > 20, "{report:?}");
        Ok(())
    })
}

#[test]
fn gobgpd_that_is_killed_comes_back_with_all_routes() -> Result<()> {
    let Some(rack) = Rack::up()? else { return Ok(()) };
    rack.attempt(|rack| {
        let node = rack.lab.node("lb1");
        let servers = metric(node, "vipcast_virtual_servers")?;
        let pid = node.process("gobgpd")?;
        kill(pid, Signal::SIGKILL)?;
        let killed = Instant::now();
        rack.wait_for_next_hops(1)?;
        rack.wait_for_next_hops(2)?;
        println!("routes back {:.1} s after gobgpd was killed", killed.elapsed().as_secs_f32());
        wait_until_ready(node)?;
        ensure!(node.process("gobgpd")? != pid, "another gobgpd");
        ensure!(metric(node, "vipcast_virtual_servers")? == servers);
        Ok(())
    })
}
