//! The label that makes a node an LB node, and what an agent leaves behind that is told to end.

use nix::sys::signal::Signal;

use super::*;

/// A Node with these labels and this IPv4 address.
fn label(node: &Node, labels: &str, address: &str) -> Result<()> {
    let text = format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: lb1, labels: {{{labels}}}}},
          status: {{addresses: [{{type: InternalIP, address: {address}}}, {{type: InternalIP, address: 'fd00:1::2'}}]}}}}"
    );
    // In one step, as a careful editor does.
    let file = node.machine().path("etc/vipcast/cluster/node.yaml");
    let written = file.with_extension("new");
    fs::write(&written, text)?;
    Ok(fs::rename(written, file)?)
}

/// Serves where role=lb is, and announces to peers that never answer.
fn labelled(node: &Node) -> Result<()> {
    node.configure("nodeIPs: [10.0.1.2, \"fd00:1::2\"]\n", "nodeSelector: {role: lb}\n")?;
    node.configure("resync: 1h", &format!("resync: 1h{BGP}"))?;
    label(node, "role: lb", "10.0.1.2")
}

/// Waits until the agent is not ready, for just this reason.
fn wait_until_standing_by(node: &Node) -> Result<()> {
    let reason = "this node has not the label role=lb: standing by\n";
    wait_for(PATIENCE, "an agent that stands by", || {
        // One that has just been started does not listen yet.
        let found = node.ask("/readyz").map_err(|error| error.to_string());
        Ok(if found == Ok((503, reason.to_owned())) { Ok(()) } else { Err(found) })
    })
}

/// Waits until nothing of ours is left in the kernel.
fn wait_until_bare(node: &Node) -> Result<()> {
    wait_for(PATIENCE, "nothing left", || {
        let left = node.sh("ipvsadm -Sn; nft list tables; ip -o link show type dummy | grep vipcast0 || true
            ip route show table all proto 118; ip -6 route show table all proto 118")?;
        Ok(if left.is_empty() { Ok(()) } else { Err(left) })
    })
}

#[test]
fn a_node_stands_by_without_its_label_and_serves_again_with_it() -> Result<()> {
    on_node(|node| {
        labelled(node)?;
        node.start()?;
        let whole = node.ours()?;

        let start = node.log().len();
        label(node, "role: worker", "10.0.1.2")?;
        wait_until_standing_by(node)?;
        wait_until_bare(node)?;
        let steps = node.steps(start);
        let at =
            |words: &str| -> Vec<usize> { (0..steps.len()).filter(|index| steps[*index].starts_with(words)).collect() };
        ensure!(at("withdraw ").len() == 2, "{steps:#?}");
        for (before, after) in [
            ("withdraw ", "delete virtual server"),
            ("delete virtual server", "delete local route"),
            ("delete local route", "delete nftables"),
            ("delete nftables", "delete link"),
        ] {
            let (earlier, later) = (at(before), at(after));
            ensure!(!earlier.is_empty() && !later.is_empty(), "{before:?} and {after:?}: {steps:#?}");
            ensure!(earlier.last() < later.first(), "{before:?} before {after:?}: {steps:#?}");
        }
        let status = node.vipcast(&["status"])?.ended(3)?.stdout;
        ensure!(status.starts_with("Node lb1: NOT READY, standing by\n"), "{status}");
        ensure!(node.ask("/metrics")?.1.contains("vipcast_role{role=\"standing by\"} 1\n"));

        // What others do in the range meanwhile is their business.
        node.sh("ipvsadm -A -t 10.96.0.10:80 -s wlc")?;
        node.kill()?;
        let start = node.log().len();
        node.launch()?;
        wait_until_standing_by(node)?;
        std::thread::sleep(Duration::from_secs(2));
        ensure!(node.steps(start).is_empty(), "{:#?}", node.steps(start));
        ensure!(node.sh("ipvsadm -Sn")?.contains("10.96.0.10:80 -s wlc"));

        label(node, "role: lb", "10.0.1.2")?;
        node.wait_until_ready()?;
        node.wait_for_ours(&whole, "the label came back")?;

        // The address of the Node changes: the source of what the node itself sends to VIPs follows.
        node.sh("ip addr add 10.0.1.3/24 dev uplink0")?;
        label(node, "role: lb", "10.0.1.3")?;
        node.wait_for_ours(&whole.replace("src 10.0.1.2", "src 10.0.1.3"), "the Node has another address")?;
        node.wait_until_ready()?;
        let (_, status) = node.ask("/status")?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        ensure!(status["bgp"]["routerId"] == "10.0.1.2", "{status:#}");
        Ok(())
    })
}

#[test]
fn an_agent_that_ends_on_a_node_without_the_label_leaves_nothing() -> Result<()> {
    on_node(|node| {
        labelled(node)?;
        node.start()?;
        label(node, "role: worker", "10.0.1.2")?;
        // The signal comes while routes are being withdrawn, or before the agent knows why.
        wait_for(PATIENCE, "a role", || {
            let (_, reasons) = node.ask("/readyz")?;
            Ok(if reasons.contains("standing by") { Ok(()) } else { Err(reasons) })
        })?;
        let agent = node.agent.take().context("no agent runs")?;
        let ended = agent.terminate(PATIENCE)?;
        ensure!(ended.success(), "{ended}");
        wait_until_bare(node)?;
        ensure!(cleanup::programs(node)?.is_empty(), "{:?}", cleanup::programs(node)?);
        Ok(())
    })
}

#[test]
fn an_agent_that_keeps_everything_is_followed_by_one_that_writes_nothing() -> Result<()> {
    on_node(|node| {
        labelled(node)?;
        node.configure("resync: 1h", "resync: 1h\nshutdown: keep")?;
        node.start()?;
        let before = node.ours()?;
        let agent = node.agent.take().context("no agent runs")?;
        let ended = agent.terminate(PATIENCE)?;
        ensure!(ended.success(), "{ended}");
        ensure!(node.ours()? == before, "{}\n{before}", node.ours()?);
        let start = node.log().len();
        node.start()?;
        ensure!(node.writes()? == 0.0, "{:#?}", node.steps(start));
        ensure!(node.ours()? == before);
        Ok(())
    })
}

#[test]
fn a_second_signal_ends_the_agent_at_once() -> Result<()> {
    on_node(|node| {
        node.configure("resync: 1h", &format!("resync: 1h{}", BGP.replace("withdrawDelay: 1s", "withdrawDelay: 10m")))?;
        node.start()?;
        let agent = node.agent.take().context("no agent runs")?;
        agent.signal(Signal::SIGTERM)?;
        wait_for(PATIENCE, "a withdrawal", || {
            let log = node.log();
            Ok(if log.contains("withdrew fd00:10:96::/112") { Ok(()) } else { Err(log) })
        })?;
        ensure!(agent.ended()?.is_none(), "peers get ten minutes to hear it");
        agent.signal(Signal::SIGTERM)?;
        let ended = agent.wait(PATIENCE)?;
        ensure!(ended.code() == Some(1), "{ended}");
        ensure!(node.log().contains("second signal"), "{}", node.log());
        Ok(())
    })
}
