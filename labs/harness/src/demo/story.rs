//! What happens in the demo, and what it prints.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vipcast_lab::lab::{Daemon, Lab, Options};
use vipcast_lab::traffic::{self, Port, Tally};
use vipcast_lab::wait_for;

/// How long anything may take, on an emulated machine.
const LONG: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 200;
const RANGES: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];
const WEB: &str = "10.96.0.10:80";

const DRAWING: &str = r"
                       client  10.0.9.2
                          |
        +-----------------+-----------------+
        |          ToR  (FRR, AS 65000)     |   routes 10.96.0.0/16 and fd00:10:96::/112
        +---+--------+--------+--------+----+   to both LB nodes: ECMP, layer-4 hash
            |        |        |        |
        +---+--+ +---+--+ +---+--+ +---+--+
        | lb1  | | lb2  | |  w1  | |  w2  |     lb1, lb2: vipcast, IPVS, gobgpd (AS 65001)
        +------+ +------+ +------+ +------+     w1, w2: two pods each
       10.0.1.2  10.0.2.2 w1a w1b  w2a w2b
";

/// Deploys the lab, plays, and takes it down.
pub(super) fn tell(topology: &Path, vipcast: &Path) -> Result<()> {
    chapter(1, "A rack");
    println!("{DRAWING}");
    let lab = Lab::deploy(topology, Options::default())?;
    let _pods = lab.start_pods(&[Port::Tcp(8080), Port::Udp(5353)])?;
    // Outside of the attempt, so that the agents still run when evidence is taken.
    let mut agents = Vec::new();
    lab.attempt(|lab| play(lab, vipcast, &mut agents))?;
    drop(agents);
    drop(lab);
    println!("\nThat is it. The lab is gone; nothing is left behind.");
    Ok(())
}

fn play(lab: &Lab, vipcast: &Path, agents: &mut Vec<Daemon>) -> Result<()> {
    chapter(2, "Two Services, as manifests");
    println!("  demo/web  10.96.0.10, fd00:10:96::10   TCP 80 -> four pods");
    println!("  demo/dns  10.96.0.53, fd00:10:96::53   UDP and TCP 53 -> two pods");

    chapter(3, "vipcast starts on lb1 and lb2");
    println!("  It programs IPVS, reads the kernel back, and only then announces the ranges.");
    for name in ["lb1", "lb2"] {
        agents.push(lab.node(name).start_agent(vipcast)?);
    }
    let took = wait_for_next_hops(lab, 2)?;
    println!("  The ToR has both next hops after {took:.1} s:\n");
    show_routes(lab)?;

    chapter(4, "The client opens 200 connections to the VIP of demo/web");
    let tally = count(lab, WEB)?;
    ensure!(tally.by_source().len() == 2 && tally.by_pod().len() == 4, "not spread over all: {tally:?}");
    let refused = traffic::tcp(lab.node("client").netns(), "10.96.0.10:22".parse()?, 1, PATIENCE)?;
    println!("  A port that no Service has: {}", refused.failures.join("; "));

    chapter(5, "lb1 is cut off");
    lab.cut("lb1")?;
    let took = wait_for_next_hops(lab, 1)?;
    println!("  The ToR dropped its next hop after {took:.1} s:\n");
    show_routes(lab)?;
    let tally = count(lab, WEB)?;
    ensure!(tally.by_source().len() == 1, "lb1 is cut off: {tally:?}");

    chapter(6, "lb1 comes back, a new Service appears, and demo/dns is scaled");
    lab.mend("lb1")?;
    wait_for_next_hops(lab, 2)?;
    lab.write_shared("cluster/shop.yaml", SHOP)?;
    lab.write_shared("cluster/dns-more.yaml", DNS_SCALED)?;
    let took = wait_for_pods(lab, "10.96.0.80:8000", 3)?;
    println!("  demo/shop answers from 3 pods {took:.1} s after its manifest was written:\n");
    count(lab, "10.96.0.80:8000")?;
    let dns = traffic::udp(lab.node("client").netns(), "10.96.0.53:53".parse()?, 100, PATIENCE)?;
    ensure!(dns.failures.is_empty(), "{:?}", dns.failures);
    println!("  100 UDP requests to demo/dns, which has four pods now:\n");
    bars("pod", &dns.by_pod(), 100);

    chapter(7, "What the operator sees on lb1");
    let node = lab.node("lb1");
    let said = node.command(vipcast).args(["status", "--config"]).arg(node.path("etc/vipcast/config.yaml")).run()?;
    indent(&said.stdout);
    Ok(())
}

fn chapter(number: usize, title: &str) {
    println!("\n--- {number}. {title}");
}

fn indent(text: &str) {
    for line in text.lines() {
        println!("  {line}");
    }
}

/// Waits until the ToR has this many next hops for both ranges, and answers how many seconds that took.
fn wait_for_next_hops(lab: &Lab, wanted: usize) -> Result<f32> {
    let started = Instant::now();
    for range in RANGES {
        wait_for(LONG, &format!("{wanted} next hops for {range}"), || {
            let found = routes(lab, range)?;
            // One next hop stands in the route's own line, several have a line each.
            let hops = found.matches("via ").count();
            Ok(if hops == wanted { Ok(()) } else { Err(found) })
        })?;
    }
    Ok(started.elapsed().as_secs_f32())
}

fn routes(lab: &Lab, range: &str) -> Result<String> {
    let family = if range.contains(':') { "-6" } else { "-4" };
    Ok(lab.node("tor").command("ip").args([family, "route", "show", range]).run()?.stdout)
}

fn show_routes(lab: &Lab) -> Result<()> {
    for range in RANGES {
        indent(&routes(lab, range)?);
    }
    println!();
    Ok(())
}

/// Opens connections and shows who carried and who answered them.
fn count(lab: &Lab, vip: &str) -> Result<Tally> {
    let vip: SocketAddr = vip.parse().context("a VIP")?;
    let tally = traffic::tcp(lab.node("client").netns(), vip, CONNECTIONS, PATIENCE)?;
    ensure!(tally.failures.is_empty(), "connections failed: {:?}", tally.failures);
    let nodes = BTreeMap::from([("10.0.1.2", "lb1"), ("10.0.2.2", "lb2")]);
    let by_node = tally.by_source().into_iter().map(|(address, count)| {
        let address = address.to_string();
        (nodes.get(address.as_str()).map_or(address.clone(), |name| (*name).to_owned()), count)
    });
    bars("LB node", &by_node.collect(), CONNECTIONS);
    bars("pod", &tally.by_pod(), CONNECTIONS);
    Ok(tally)
}

/// One bar a line: forty characters are all requests.
fn bars(what: &str, counts: &BTreeMap<String, usize>, all: usize) {
    println!("  {what}");
    for (name, count) in counts {
        println!("    {name:<4} {count:>4}  {}", "#".repeat((count * 40).div_ceil(all)));
    }
    println!();
}

/// Waits until this many pods answer behind a VIP, and answers how many seconds that took.
fn wait_for_pods(lab: &Lab, vip: &str, wanted: usize) -> Result<f32> {
    let started = Instant::now();
    let vip: SocketAddr = vip.parse().context("a VIP")?;
    wait_for(LONG, &format!("{wanted} pods behind {vip}"), || {
        let tally = traffic::tcp(lab.node("client").netns(), vip, 24, PATIENCE)?;
        // Each LB node reads the manifest by itself: the last one counts.
        let everywhere = tally.failures.is_empty() && tally.by_source().len() == 2;
        Ok(if tally.by_pod().len() == wanted && everywhere { Ok(()) } else { Err(tally) })
    })?;
    Ok(started.elapsed().as_secs_f32())
}

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: demo}
spec:
  clusterIP: 10.96.0.80
  clusterIPs: [10.96.0.80]
  ports: [{name: http, port: 8000, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, namespace: demo, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
  - {addresses: [10.244.1.2], conditions: {ready: true}}
  - {addresses: [10.244.2.2], conditions: {ready: true}}
  - {addresses: [10.244.2.3], conditions: {ready: true}}
";

const DNS_SCALED: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: dns-more, namespace: demo, labels: {kubernetes.io/service-name: dns}}
addressType: IPv4
ports: [{name: dns, port: 5353, protocol: UDP}]
endpoints:
  - {addresses: [10.244.1.3], conditions: {ready: true}}
  - {addresses: [10.244.2.3], conditions: {ready: true}}
";
