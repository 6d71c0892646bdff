//! The main job: a ToR spreads the ranges over LB nodes, and IPVS carries them to the pods.

use std::net::TcpListener;

use anyhow::{Result, ensure};
use vipcast_lab::traffic::{self, Tally};
use vipcast_lab::wait_for;

use crate::rack::{PATIENCE, RANGES, Rack, VIPCAST, WEB, address, ask, wait_until_ready};

/// All pods answered, by way of both LB nodes, and nothing failed.
fn ensure_spread(tally: &Tally, pods: usize) -> Result<()> {
    ensure!(tally.failures.is_empty(), "failures: {:?}", tally.failures);
    ensure!(tally.by_pod().len() == pods, "not {pods} pods: {:?}", tally.by_pod());
    ensure!(tally.by_source().len() == 2, "not both LB nodes: {:?}", tally.by_source());
    Ok(())
}

#[test]
fn both_nodes_and_all_pods_get_traffic_over_both_families() -> Result<()> {
    let Some(rack) = Rack::up()? else { return Ok(()) };
    rack.attempt(|rack| {
        for vip in WEB {
            ensure_spread(&traffic::tcp(rack.client(), address(vip), 100, PATIENCE)?, 4)?;
        }
        for vip in ["10.96.0.53:53", "[fd00:10:96::53]:53"] {
            ensure_spread(&traffic::udp(rack.client(), address(vip), 60, PATIENCE)?, 2)?;
        }
        what_nobody_serves_is_refused_at_once(rack)?;
        host_ports_stay_hidden(rack)?;
        the_node_itself_and_hairpins_work(rack)?;
        operators_see_it(rack)?;
        // Last, since a Service that goes drains, which a plan shows.
        a_new_service_and_a_scaled_one_appear(rack)
    })
}

/// A port that no Service has and a VIP that nobody has: refused, never a timeout, fifty in a row.
fn what_nobody_serves_is_refused_at_once(rack: &Rack) -> Result<()> {
    for vip in ["10.96.0.10:81", "10.96.99.99:80", "[fd00:10:96::10]:81", "[fd00:10:96::9999]:80"] {
        let tally = traffic::tcp(rack.client(), address(vip), 50, PATIENCE)?;
        ensure!(tally.answers.is_empty(), "{vip} answered");
        let other = tally.failures.iter().find(|failure| !failure.contains("refused"));
        ensure!(other.is_none(), "{vip}: {other:?}");
    }
    Ok(())
}

fn host_ports_stay_hidden(rack: &Rack) -> Result<()> {
    for node in ["lb1", "lb2"] {
        let listeners = rack
            .lab
            .node(node)
            .run(|| -> Result<_> { Ok([TcpListener::bind("0.0.0.0:22")?, TcpListener::bind("[::]:2222")?]) })??;
        let own = if node == "lb1" { "10.0.1.2:22" } else { "10.0.2.2:22" };
        let reached = rack.client().run(|| std::net::TcpStream::connect_timeout(&address(own), PATIENCE))?;
        ensure!(reached.is_ok(), "{own} stays open: {reached:?}");
        for vip in ["10.96.0.10:22", "10.96.99.99:22", "[fd00:10:96::10]:2222"] {
            for _ in 0..8 {
                let refused = rack.client().run(|| std::net::TcpStream::connect_timeout(&address(vip), PATIENCE))?;
                let error = refused.err().map(|error| error.kind());
                ensure!(error == Some(std::io::ErrorKind::ConnectionRefused), "{vip}: {error:?}");
            }
        }
        drop(listeners);
    }
    Ok(())
}

fn the_node_itself_and_hairpins_work(rack: &Rack) -> Result<()> {
    for vip in WEB {
        let own = traffic::tcp(rack.lab.node("lb1").netns(), address(vip), 8, PATIENCE)?;
        ensure!(own.failures.is_empty() && own.by_pod().len() == 4, "{own:?}");
        // A worker that calls the VIP is answered by each of its own pods too.
        let hairpin = traffic::tcp(rack.lab.node("w1").netns(), address(vip), 40, PATIENCE)?;
        ensure!(hairpin.failures.is_empty() && hairpin.by_pod().len() == 4, "{hairpin:?}");
    }
    Ok(())
}

const NEW_SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: late, namespace: demo}
spec:
  clusterIP: 10.96.0.77
  clusterIPs: [10.96.0.77]
  ports: [{name: http, port: 8000, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: late-1, namespace: demo, labels: {kubernetes.io/service-name: late}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
";

fn a_new_service_and_a_scaled_one_appear(rack: &Rack) -> Result<()> {
    let pods = ["10.244.1.2", "10.244.1.3", "10.244.2.2"];
    for count in [1, 3] {
        let endpoints: String = pods[..count]
            .iter()
            .map(|pod| format!("  - {{addresses: [{pod}], conditions: {{ready: true}}}}\n"))
            .collect();
        rack.lab.write_shared("cluster/late.yaml", &format!("{NEW_SERVICE}{endpoints}"))?;
        wait_for(PATIENCE * 3, &format!("{count} pods behind the new Service"), || {
            let tally = traffic::tcp(rack.client(), address("10.96.0.77:8000"), 24, PATIENCE)?;
            Ok(if tally.by_pod().len() == count && tally.failures.is_empty() { Ok(()) } else { Err(tally) })
        })?;
    }
    rack.lab.remove_shared("cluster/late.yaml")?;
    wait_for(PATIENCE * 3, "the Service is gone", || {
        let tally = traffic::tcp(rack.client(), address("10.96.0.77:8000"), 4, PATIENCE)?;
        Ok(if tally.answers.is_empty() { Ok(()) } else { Err(tally) })
    })
}

fn operators_see_it(rack: &Rack) -> Result<()> {
    let node = rack.lab.node("lb1");
    wait_until_ready(node)?;
    ensure!(ask(node, "/livez")?.0 == 200);
    let status: serde_json::Value = serde_json::from_str(&ask(node, "/status")?.1)?;
    ensure!(status["bgp"]["peers"][0]["state"] == "Established", "{status:#}");
    let config = node.path("etc/vipcast/config.yaml");
    let said = node.command(VIPCAST).arg("--config").arg(&config).arg("status").run()?.stdout;
    ensure!(said.contains("Node lb1: ready") && said.contains(RANGES[0]), "{said}");
    let plan = node.command(VIPCAST).arg("--config").arg(&config).args(["plan", "--exit-code"]).output()?;
    let said = String::from_utf8_lossy(&plan.stdout).into_owned();
    ensure!(plan.status.code() == Some(0) && said.contains("Nothing to do"), "plan beside an agent: {said}");
    Ok(())
}

#[test]
fn the_classic_rule_masquerades_too() -> Result<()> {
    let Some(mut rack) = Rack::bare()? else { return Ok(()) };
    for node in ["lb1", "lb2"] {
        rack.configure(node, "ranges:", "dataplane: {snatRule: ipvs-match, scheduler: mh}\nranges:")?;
    }
    rack.start_agents()?;
    rack.attempt(|rack| {
        for vip in WEB {
            ensure_spread(&traffic::tcp(rack.client(), address(vip), 100, PATIENCE)?, 4)?;
        }
        let rules = rack.lab.node("lb1").command("iptables-save").args(["-t", "nat"]).run()?.stdout;
        ensure!(rules.contains("--vmethod MASQ") || rules.contains("--vmethod masq"), "{rules}");
        Ok(())
    })
}
