//! What an operator sees of a running agent: `explain`, and `status --watch`.

use nix::sys::signal::Signal;

use super::*;

#[test]
fn an_explanation_is_read_from_the_kernel_and_names_what_is_near() -> Result<()> {
    on_node(|node| {
        node.start()?;
        // BGP is not configured: all that is asked for is as it should be.
        let said = node.vipcast(&["explain", "demo/web"])?.ended(0)?.stdout;
        for expected in ["demo/web on lb1: ok", "VIP 10.96.0.10", "scheduler rr, as desired", "weight 1, 0 connections"]
        {
            ensure!(said.contains(expected), "no {expected:?} in {said}");
        }
        let json = node.vipcast(&["explain", "10.96.0.10:80/TCP", "-o", "json"])?.ended(0)?.stdout;
        let answer: serde_json::Value = serde_json::from_str(&json)?;
        ensure!(answer["agent"] == true && answer["remarks"].as_array().is_some_and(Vec::is_empty), "{answer:#}");

        // Somebody else's hand, unseen until the kernel is read for the answer.
        node.sh("ipvsadm -e -t 10.96.0.10:80 -r 10.244.1.2:8080 -m -w 7")?;
        let said = node.vipcast(&["explain", "10.96.0.10"])?.stdout;
        ensure!(said.contains("weight 7"), "{said}");

        let said = node.vipcast(&["explain", "demo/wbe"])?.ended(1)?.stderr;
        ensure!(said.contains("did you mean demo/web?"), "{said}");
        node.kill()?;
        let said = node.vipcast(&["explain", "demo/web"])?.stdout;
        ensure!(said.starts_with("No agent runs with this configuration") && said.contains("VIP 10.96.0.10"), "{said}");
        Ok(())
    })
}

#[test]
fn a_watch_outlives_the_agent_and_ends_well() -> Result<()> {
    on_node(|node| {
        node.start()?;
        let machine = node.machine();
        let config = machine.path("etc/vipcast/config.yaml");
        let command = machine.command(VIPCAST).arg("--config").arg(config).args(["status", "--watch", "200ms"]);
        let watch = machine.spawn_daemon("watch", command)?;
        let wait = |what: &str, count: usize| {
            wait_for(PATIENCE, what, || {
                let seen = watch.log();
                Ok(if seen.matches(what).count() == count { Ok(()) } else { Err(seen) })
            })
        };
        wait("Node lb1: ready", 1)?;
        node.kill()?;
        wait("no agent runs; waiting for one", 1)?;
        node.start()?;
        wait("Node lb1: ready", 2)?;
        watch.signal(Signal::SIGINT)?;
        let ended = watch.wait(PATIENCE)?;
        ensure!(ended.success(), "{ended}");
        Ok(())
    })
}
