//! How connections end: with their endpoints, their Services, their Deployments; and how they stay with an endpoint.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use vipcast_lab::traffic::{self, Churn, LongLived, UdpFlow};
use vipcast_lab::wait_for;

use crate::objects::{Condition, L1A, L2A, Pod, Service, W1A, W1B, W2A, W2B, ready};
use crate::rack::{LONG, PATIENCE, Rack, VIPCAST, address, wait_until_ready};
use crate::vips::wait_for_tally;

/// Connections that are open while something ends.
const OPEN: usize = 12;
/// The pause between two lines on each of them.
const LINES: Duration = Duration::from_millis(200);
/// Clients that make new connections, each as fast as it is answered.
const CLIENTS: usize = 8;

#[test]
fn connections_end_when_they_are_over_and_new_ones_never_fail() -> Result<()> {
    let Some(mut rack) = Rack::services()? else { return Ok(()) };
    rack.start_agents()?;
    rack.attempt(|rack| {
        let drained = a_drained_endpoint_keeps_its_connections(rack)?;
        a_client_stays_with_its_pod(rack)?;
        a_udp_flow_moves_at_once(rack)?;
        a_deleted_service_keeps_its_connections_and_refuses_others(rack)?;
        a_restart_in_the_middle_goes_on(rack, &drained)?;
        a_drain_ends_with_its_time(rack, drained)?;
        a_rolling_update_fails_no_connection(rack)
    })
}

/// Waits until a destination has this weight in the virtual server on both LB nodes; none: it is not there.
fn wait_for_weight(rack: &Rack, server: &str, destination: &str, weight: Option<u32>) -> Result<()> {
    ["lb1", "lb2"].iter().try_for_each(|node| {
        wait_for(LONG, &format!("{destination} of {server} on {node} with weight {weight:?}"), || {
            let table = rack.lab.node(node).command("ipvsadm").arg("-Sn").run()?.stdout;
            let line = table.lines().find(|line| {
                line.starts_with("-a ")
                    && line.contains(&format!(" {server} "))
                    && line.contains(&format!(" {destination} "))
            });
            let found = line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
            Ok(if found == weight { Ok(()) } else { Err(table.clone()) })
        })
    })
}

/// All connections go on: each has exchanged a few lines more.
fn ensure_alive(connections: &LongLived) -> Result<()> {
    let exchanged = connections.exchanged();
    wait_for(PATIENCE, "open connections go on", || {
        let broken = connections.broken();
        ensure!(broken.is_empty(), "{broken:?}");
        let now = connections.exchanged();
        Ok(if now > exchanged + 2 * OPEN { Ok(()) } else { Err(now) })
    })
}

/// Its pods serve no other Service here: IPVS tells replies by the client's address and port and the pod's, so a client that
/// uses one port towards two VIPs with a pod in common loses the older connection.
fn steady() -> Service {
    Service::new("steady", json!({"clusterIPs": ["10.96.0.70"]}))
}

/// While a slice lists the endpoint there is no deadline, so the connections outlast the steps that follow.
fn a_drained_endpoint_keeps_its_connections(rack: &Rack) -> Result<LongLived> {
    let target = address("10.96.0.70:80");
    steady().put(&rack.lab, &ready(&[L1A, L2A]))?;
    wait_for_tally(
        "two pods",
        || traffic::tcp(rack.client(), target, 16, PATIENCE),
        |tally| tally.failures.is_empty() && tally.by_pod().len() == 2,
    )?;
    let open = LongLived::start(rack.client(), target, OPEN, LINES, PATIENCE)?;
    ensure!(open.connections().iter().any(|answer| answer.pod == "l1a"), "{:?}", open.connections());
    steady().put(&rack.lab, &[(L1A, Condition::Terminating), (L2A, Condition::Ready)])?;
    wait_for_weight(rack, "10.96.0.70:80", "10.244.3.2:8080", Some(0))?;
    let tally = traffic::tcp(rack.client(), target, 32, PATIENCE)?;
    ensure!(tally.failures.is_empty() && tally.by_pod().keys().eq(["l2a"]), "{tally:?}");
    ensure_alive(&open)?;
    Ok(open)
}

fn a_client_stays_with_its_pod(rack: &Rack) -> Result<()> {
    let spec = json!({"clusterIPs": ["10.96.0.71", "fd00:10:96::71"], "sessionAffinity": "ClientIP"});
    let sticky = Service::new("sticky", spec);
    sticky.put(&rack.lab, &ready(&[W1A, W1B, W2A, W2B]))?;
    for target in ["10.96.0.71:80", "[fd00:10:96::71]:80"] {
        for client in ["client", "far"] {
            let netns = rack.lab.node(client).netns();
            wait_for_tally(
                target,
                || traffic::tcp(netns, address(target), 8, PATIENCE),
                |tally| tally.failures.is_empty(),
            )?;
            let tally = traffic::tcp(netns, address(target), 40, PATIENCE)?;
            ensure!(tally.failures.is_empty() && tally.by_pod().len() == 1, "{client}: {tally:?}");
            ensure!(tally.by_source().len() == 2, "not by both LB nodes: {:?}", tally.by_source());
        }
    }
    // Its pod goes: the client gets another one, the same from both nodes.
    let pods = [W1A, W1B, W2A, W2B];
    let target = address("10.96.0.71:80");
    let before = traffic::tcp(rack.client(), target, 1, PATIENCE)?.by_pod();
    let left: Vec<Pod> = pods.into_iter().filter(|pod| !before.contains_key(pod.0)).collect();
    sticky.put(&rack.lab, &ready(&left))?;
    wait_for_tally(
        "another pod",
        || traffic::tcp(rack.client(), target, 40, PATIENCE),
        |tally| {
            let pods = tally.by_pod();
            tally.failures.is_empty() && pods.len() == 1 && !pods.keys().eq(before.keys())
        },
    )?;
    sticky.delete(&rack.lab)
}

fn a_udp_flow_moves_at_once(rack: &Rack) -> Result<()> {
    let service = Service::new("names", json!({"clusterIPs": ["10.96.0.72", "fd00:10:96::72"]}));
    for target in ["10.96.0.72:53", "[fd00:10:96::72]:53"] {
        // Two flows, so that one of them is likely to pass by each LB node.
        let open = || UdpFlow::open(rack.client(), address(target), Duration::from_secs(1));
        let flows = (0..4).map(|_| open()).collect::<Result<Vec<_>>>()?;
        // It asks before there is a Service, and goes on asking with the same port.
        ensure!(flows.iter().all(|flow| flow.ask().is_err()), "{target} answers before there is a Service");
        service.put(&rack.lab, &ready(&[W1A, W2A]))?;
        for flow in &flows {
            let first = wait_for(LONG, "an answer", || Ok(flow.ask().map_err(|error| format!("{error:#}"))))?;
            let again = flow.ask()?;
            ensure!(first.pod == again.pod, "a flow without a reason to move: {first:?}, {again:?}");
        }
        let left = if flows[0].ask()?.pod == "w1a" { W2A } else { W1A };
        service.put(&rack.lab, &ready(&[left]))?;
        for flow in &flows {
            // It asks all the time, so nothing idle runs out here.
            wait_for(PATIENCE, &format!("{} answers", left.0), || {
                let answer = flow.ask().map_err(|error| format!("{error:#}"));
                Ok(answer.and_then(|answer| if answer.pod == left.0 { Ok(()) } else { Err(answer.pod) }))
            })?;
        }
        service.delete(&rack.lab)?;
        wait_for(LONG, "no answer", || {
            let tally = traffic::udp(rack.client(), address(target), 16, Duration::from_secs(1))?;
            Ok(if tally.answers.is_empty() { Ok(()) } else { Err(tally) })
        })?;
    }
    Ok(())
}

fn a_deleted_service_keeps_its_connections_and_refuses_others(rack: &Rack) -> Result<()> {
    for target in ["10.96.0.73:80", "[fd00:10:96::73]:80"] {
        let target = address(target);
        let service = Service::new("brief", json!({"clusterIPs": ["10.96.0.73", "fd00:10:96::73"]}));
        service.put(&rack.lab, &ready(&[W1A, W2A]))?;
        wait_for_tally(
            "two pods",
            || traffic::tcp(rack.client(), target, 16, PATIENCE),
            |tally| tally.failures.is_empty() && tally.by_pod().len() == 2,
        )?;
        let open = LongLived::start(rack.client(), target, OPEN, LINES, PATIENCE)?;
        service.delete(&rack.lab)?;
        wait_for_tally(
            "refusals",
            || traffic::tcp(rack.client(), target, 16, PATIENCE),
            |tally| tally.answers.is_empty(),
        )?;
        let started = Instant::now();
        let tally = traffic::tcp(rack.client(), target, 50, PATIENCE)?;
        println!("50 connections refused in {:.2} s", started.elapsed().as_secs_f32());
        let refused = tally.failures.iter().filter(|failure| failure.contains("refused")).count();
        ensure!(refused == 50, "{tally:?}");
        ensure_alive(&open)?;
    }
    Ok(())
}

/// What drains goes on draining: the successor has no other book than the kernel and the cluster.
fn a_restart_in_the_middle_goes_on(rack: &mut Rack, drained: &LongLived) -> Result<()> {
    for (index, name) in ["lb1", "lb2"].into_iter().enumerate() {
        rack.agents[index].kill()?;
        rack.agents[index] = rack.lab.node(name).start_agent(VIPCAST)?;
        wait_until_ready(rack.lab.node(name))?;
    }
    wait_for_weight(rack, "10.96.0.70:80", "10.244.3.2:8080", Some(0))?;
    ensure_alive(drained)
}

/// Once no slice lists the endpoint any more, `dataplane.drain` is what its connections have left; the others stay.
fn a_drain_ends_with_its_time(rack: &Rack, drained: LongLived) -> Result<()> {
    steady().put(&rack.lab, &ready(&[L2A]))?;
    wait_for_weight(rack, "10.96.0.70:80", "10.244.3.2:8080", None)?;
    let on = |pod: &str| drained.connections().iter().filter(|answer| answer.pod == pod).count();
    let expected = on("l1a");
    wait_for(LONG, "connections of the endpoint that is gone end", || {
        let broken = drained.broken().len();
        Ok(if broken == expected { Ok(()) } else { Err(broken) })
    })?;
    let broken = drained.stop();
    let others = broken.iter().find(|failure| failure.connection.as_ref().is_none_or(|answer| answer.pod != "l1a"));
    ensure!(others.is_none(), "a connection to another pod broke: {others:?}");
    Ok(())
}

/// As a Deployment does it: a new pod is ready, an old one is told to go, and is gone; the next. A pod's port closes as soon
/// as both LB nodes have heard of it.
fn a_rolling_update_fails_no_connection(rack: &mut Rack) -> Result<()> {
    let target = address("10.96.0.74:80");
    let service = Service::new("rolling", json!({"clusterIPs": ["10.96.0.74"]}));
    let mut current = vec![W1A, W1B, W2A];
    service.put(&rack.lab, &ready(&current))?;
    wait_for_tally(
        "three pods",
        || traffic::tcp(rack.client(), target, 18, PATIENCE),
        |tally| tally.failures.is_empty() && tally.by_pod().len() == 3,
    )?;
    let started = Instant::now();
    let load = Churn::start(rack.client(), target, CLIENTS, Duration::ZERO, PATIENCE)?;
    for (old, new) in [(W1A, W2B), (W1B, L1A), (W2A, W1A)] {
        if new == W1A {
            rack.pods.extend(rack.lab.start_pod("w1a", &crate::rack::PORTS)?);
        }
        current.push(new);
        service.put(&rack.lab, &ready(&current))?;
        let destination = |pod: Pod| format!("{}:8080", pod.2[0]);
        wait_for_weight(rack, "10.96.0.74:80", &destination(new), Some(1))?;
        let with = |condition| -> Vec<_> {
            current.iter().map(|pod| (*pod, if *pod == old { condition } else { Condition::Ready })).collect()
        };
        service.put(&rack.lab, &with(Condition::Terminating))?;
        wait_for_weight(rack, "10.96.0.74:80", &destination(old), Some(0))?;
        // Whoever was on the way to it has arrived by then.
        std::thread::sleep(Duration::from_secs(1));
        rack.pods.retain(|server| server.pod() != old.0);
        current.retain(|pod| *pod != old);
        service.put(&rack.lab, &ready(&current))?;
    }
    let report = load.stop();
    let rate = report.answered as f32 / started.elapsed().as_secs_f32();
    println!("{} connections during a rolling update, {rate:.0} per second", report.answered);
    let first = report.failures.first();
    ensure!(report.failures.is_empty(), "{} of {} failed: {first:?}", report.failures.len(), report.tried);
    ensure!(report.answered > 1000, "hardly a load: {}", report.answered);
    let tally = traffic::tcp(rack.client(), target, 18, PATIENCE)?;
    let pods = tally.by_pod();
    ensure!(tally.failures.is_empty() && pods.keys().eq(["l1a", "w1a", "w2b"]), "{tally:?}");
    Ok(())
}
