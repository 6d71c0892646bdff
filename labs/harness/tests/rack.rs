//! The harness holds what it promises: the lab `rack`, on a real kernel, with the load balancing made by hand.
//!
//! Run it with `vipcast-lab vm -- <this binary>`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vipcast_lab::lab::{Daemon, Lab, Node, Options};
use vipcast_lab::traffic::{self, Churn, LongLived, Port};
use vipcast_lab::{Netns, Unavailable, gobgp, vm, wait_for};

const RACK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rack/rack.clab.yml");
const RANGES: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether this kernel will do; says so if it will not.
fn skipped(test: &str) -> bool {
    let probed = vm::probe();
    if let Err(why) = &probed {
        assert!(std::env::var_os("VIPCAST_IN_VM").is_none(), "the virtual machine cannot run labs: {why}");
        // Past the test harness, which shows no output of tests that pass.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
    }
    probed.is_err()
}

/// What vipcast does, by hand: local routes, IPVS, masquerade, gobgpd.
fn serve_by_hand(node: &Node, number: u8) -> Result<Daemon> {
    let (node4, node6) = (format!("10.0.{number}.2"), format!("fd00:{number}::2"));
    for (key, value) in
        [("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1"), ("net.ipv4.vs.conntrack", "1")]
    {
        node.netns().set_sysctl(key, value)?;
    }
    node.netns().netlink(async |netlink| netlink.add_dummy("vipcast0").await)?;
    let script = format!(
        "set -e
        ip route add local {0} dev vipcast0 src {node4}
        ip -6 route add local {1} dev vipcast0 src {node6}
        ipvsadm -R <<RULES
-A -t 10.96.0.10:80 -s rr
-a -t 10.96.0.10:80 -r 10.244.1.2:8080 -m
-a -t 10.96.0.10:80 -r 10.244.2.2:8080 -m
-A -t [fd00:10:96::10]:80 -s rr
-a -t [fd00:10:96::10]:80 -r [fd00:244:1::2]:8080 -m
-a -t [fd00:10:96::10]:80 -r [fd00:244:2::2]:8080 -m
-A -u 10.96.0.53:53 -s rr
-a -u 10.96.0.53:53 -r 10.244.1.2:5353 -m
-a -u 10.96.0.53:53 -r 10.244.2.2:5353 -m
RULES
        nft 'table inet hand {{ chain nat {{ type nat hook postrouting priority srcnat;
            ct original ip daddr {0} masquerade; ct original ip6 daddr {1} masquerade; }}; }}'",
        RANGES[0], RANGES[1]
    );
    node.command("bash").arg("-c").arg(script).run()?;

    let config = format!(
        "[global.config]\n  as = 65001\n  router-id = '{node4}'\n  port = -1\n{}{}",
        neighbour(&format!("10.0.{number}.1"), &node4, "ipv4-unicast"),
        neighbour(&format!("fd00:{number}::1"), &node6, "ipv6-unicast")
    );
    let file = node.path("run/gobgpd.conf");
    fs::write(&file, config).context("write gobgpd's configuration")?;
    let socket = format!("unix://{}", node.path("run/gobgpd.sock").display());
    let gobgpd = node.command("gobgpd").args(["--api-hosts", &socket, "-f"]).arg(&file);
    let daemon = node.spawn_daemon("gobgpd", gobgpd)?;
    for (range, family) in RANGES.into_iter().zip(["ipv4", "ipv6"]) {
        let words = ["--target", &socket, "global", "rib", "add", range, "-a", family];
        wait_for(Duration::from_secs(30), "gobgpd's socket", || {
            Ok(node.command("gobgp").args(words).run().map_err(|error| error.to_string()))
        })?;
    }
    Ok(daemon)
}

fn neighbour(address: &str, local: &str, family: &str) -> String {
    format!(
        "[[neighbors]]\n  [neighbors.config]\n    neighbor-address = '{address}'\n    peer-as = 65000\n  \
         [neighbors.transport.config]\n    local-address = '{local}'\n  \
         [neighbors.timers.config]\n    connect-retry = 1\n    hold-time = 9\n    keepalive-interval = 3\n  \
         [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = '{family}'\n"
    )
}

/// The next hops in the ToR's forwarding table.
fn next_hops(lab: &Lab, range: &str) -> Result<BTreeSet<String>> {
    let family = if range.contains(':') { "-6" } else { "-4" };
    let said = lab.node("tor").command("ip").args([family, "-json", "route", "show", range]).run()?.stdout;
    let routes: serde_json::Value = serde_json::from_str(&said)?;
    let mut hops = BTreeSet::new();
    for route in routes.as_array().context("routes are a list")? {
        let ways = route["nexthops"].as_array().cloned().unwrap_or_else(|| vec![route.clone()]);
        hops.extend(ways.iter().filter_map(|way| Some(way["gateway"].as_str()?.to_owned())));
    }
    Ok(hops)
}

fn wait_for_next_hops(lab: &Lab, range: &str, count: usize) -> Result<()> {
    wait_for(Duration::from_secs(60), &format!("{count} next hops for {range}"), || {
        let hops = next_hops(lab, range)?;
        Ok(if hops.len() == count { Ok(()) } else { Err(hops) })
    })
}

/// By the way that a configuration in the node names it.
#[test]
fn load_balancers_have_gobgp_4() -> Result<()> {
    if skipped("load_balancers_have_gobgp_4") {
        return Ok(());
    }
    let programs = match gobgp::Programs::find()? {
        Ok(programs) => programs,
        Err(Unavailable(reason)) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED load_balancers_have_gobgp_4: {reason}");
            return Ok(());
        }
    };
    let lab = Lab::deploy(RACK, Options { without_daemons: true })?;
    let node = lab.node("lb1");
    let gobgpd = node.path("etc/vipcast/../..").join(gobgp::IN_NODE.trim_start_matches('/')).join("gobgpd");
    let said = node.command(gobgpd).arg("--version").run()?.stdout;
    ensure!(said.trim() == programs.version.replacen('v', "gobgpd version ", 1), "{said}");
    ensure!(!lab.node("client").path(gobgp::IN_NODE).exists(), "only LB nodes have it");
    Ok(())
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn carry_traffic(lab: &Lab, speakers: &mut Vec<Daemon>, step: &dyn Fn(&str)) -> Result<()> {
    let servers = lab.start_pods(&[Port::Tcp(8080), Port::Udp(5353)])?;
    ensure!(servers.len() == 16, "4 pods, 2 families, 2 ports: {}", servers.len());
    let client = lab.node("client").netns();
    for pod in ["10.244.1.2", "10.244.2.3", "fd00:244:1::3", "fd00:244:2::2"] {
        let pod: IpAddr = pod.parse()?;
        wait_for(TIMEOUT, "static routes to the pods", || {
            let tally = traffic::tcp(client, (pod, 8080).into(), 1, TIMEOUT)?;
            Ok(if tally.failures.is_empty() { Ok(()) } else { Err(tally.failures) })
        })?;
        let tally = traffic::udp(client, (pod, 5353).into(), 5, TIMEOUT)?;
        ensure!(tally.failures.is_empty() && tally.by_pod().len() == 1, "{tally:?}");
    }
    step("pods answer");

    speakers.push(serve_by_hand(lab.node("lb1"), 1)?);
    speakers.push(serve_by_hand(lab.node("lb2"), 2)?);
    for range in RANGES {
        wait_for_next_hops(lab, range, 2)?;
    }
    step("two next hops");
    let routes = lab.node("tor").vtysh_json("show ip route 10.96.0.0/16")?;
    ensure!(routes["10.96.0.0/16"][0]["protocol"] == "bgp", "{routes}");

    for vip in ["10.96.0.10:80", "[fd00:10:96::10]:80"] {
        let tally = traffic::tcp(client, address(vip), 100, TIMEOUT)?;
        step(&format!("{vip}: {:?} {:?} {:?}", tally.by_pod(), tally.by_source(), tally.failures));
        ensure!(tally.failures.is_empty() && tally.by_pod().len() == 2 && tally.by_source().len() == 2);
    }
    let tally = traffic::udp(client, address("10.96.0.53:53"), 40, TIMEOUT)?;
    ensure!(tally.failures.is_empty() && tally.by_source().len() == 2, "{tally:?}");

    let long = LongLived::start(client, address("10.96.0.10:80"), 20, Duration::from_millis(100), TIMEOUT)?;
    let churn = Churn::start(client, address("10.96.0.10:80"), 2, Duration::from_millis(20), Duration::from_secs(1))?;
    lab.cut("lb1")?;
    for range in RANGES {
        wait_for_next_hops(lab, range, 1)?;
    }
    step("lb1 cut");
    let tally = traffic::tcp(client, address("10.96.0.10:80"), 40, TIMEOUT)?;
    ensure!(tally.failures.is_empty() && tally.by_source().len() == 1, "{tally:?}");
    std::thread::sleep(TIMEOUT);
    let (exchanged, broken, report) = (long.exchanged(), long.stop(), churn.stop());
    step(&format!(
        "{exchanged} lines on 20 connections, {} broken; {} of {} new ones failed",
        broken.len(),
        report.failures.len(),
        report.tried
    ));
    ensure!(!broken.is_empty() && report.answered > 0, "what lb1 carried is lost: {broken:?}");

    lab.mend("lb1")?;
    for range in RANGES {
        wait_for_next_hops(lab, range, 2)?;
    }
    step("lb1 back");
    let evidence = lab.keep_evidence("self-test").context("evidence")?;
    for file in
        ["tor/routes4.txt", "tor/bgp4.txt", "lb1/ipvs.txt", "lb1/gobgp-rib4.txt", "lb2/nft.txt", "lb2/gobgp-rib4.txt"]
    {
        ensure!(fs::read_to_string(evidence.join(file))?.contains("10.96.0."), "{file} has nothing to say");
    }
    step("evidence kept");
    Ok(())
}

#[test]
fn rack_carries_traffic_and_leaves_nothing() -> Result<()> {
    if skipped("rack_carries_traffic_and_leaves_nothing") {
        return Ok(());
    }
    let started = Instant::now();
    let step = |what: &str| println!("{:6.1} s {what}", started.elapsed().as_secs_f32());
    let lab = Lab::deploy(RACK, Options::default())?;
    let (id, folder) = (lab.id().to_owned(), lab.folder().to_owned());
    step("deployed");

    // Outside of the attempt, so that they still run when evidence is taken.
    let mut speakers = Vec::new();
    lab.attempt(|lab| carry_traffic(lab, &mut speakers, &step))?;
    drop(lab);
    step("gone");
    ensure!(!folder.exists(), "{} is left", folder.display());
    for entry in fs::read_dir("/run/netns")? {
        let name = entry?.file_name();
        ensure!(!name.to_string_lossy().contains(&id), "{name:?} is left");
    }
    Ok(())
}

#[test]
fn a_namespace_ends_with_its_value() -> Result<()> {
    if skipped("a_namespace_ends_with_its_value") {
        return Ok(());
    }
    let netns = Netns::new()?;
    let (name, path) = (netns.name().to_owned(), netns.path());
    let mut child = netns.command("sleep").arg("1000").spawn()?;
    ensure!(netns.processes()?.len() == 1, "the process is inside");
    netns.netlink(async |netlink| netlink.add_dummy("dummy0").await)?;
    netns.set_sysctl("net.ipv4.vs.conntrack", "1")?;
    ensure!(netns.sysctl("net.ipv4.vs.conntrack")? == "1");
    ensure!(netns.run(|| fs::read_to_string("/proc/thread-self/net/dev"))??.contains("dummy0"));
    drop(netns);
    ensure!(!child.wait()?.success(), "the process was ended");
    ensure!(!Path::new(&path).exists(), "{name} is left");
    Ok(())
}
