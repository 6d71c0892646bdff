//! Which client pods see: by traffic policy, with SNAT pools; and how large a segment clients and pods agree on.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vipcast_lab::traffic;
use vipcast_lab::wait_for;

use crate::objects::{L1A, L2A, Service, W1A, W2A, port, ready};
use crate::rack::{LONG, PATIENCE, Rack, VIPCAST, address};
use crate::vips::{LB, ips, protocols, wait_for_tally};

/// The client's addresses.
const CLIENT: [&str; 2] = ["10.0.9.2", "fd00:9::2"];
/// The VIPs of the Service `near` that have routes of their own.
const NEAR: [&str; 3] = ["192.0.2.61", "2001:db8:2::61", "198.51.100.61"];
/// Its ClusterIPs.
const WITHIN: [&str; 2] = ["10.96.0.61", "fd00:10:96::61"];
/// Its health check port.
const HEALTH: u16 = 30999;
/// As much as a download has, and an upload too.
const LARGE: usize = 512 << 10;

/// A Service whose traffic stays on the node that it came to.
fn near() -> Service {
    let mut ports = [port("http", 80), port("dns", 53), port("sigtran", 2905)];
    for (port, number) in ports.iter_mut().zip([30081, 30054, 30906]) {
        port["nodePort"] = json!(number);
    }
    let spec = json!({
        "clusterIPs": WITHIN,
        "externalIPs": NEAR[..2],
        "externalTrafficPolicy": "Local",
        "internalTrafficPolicy": "Local",
        "healthCheckNodePort": HEALTH,
        "ports": ports,
    });
    Service::new("near", spec).ingress(&NEAR[2..])
}

#[test]
fn pods_see_the_client_that_the_policy_says_and_large_transfers_finish() -> Result<()> {
    let Some(mut rack) = Rack::services()? else { return Ok(()) };
    rack.start_agents()?;
    rack.attempt(|rack| {
        local_traffic_keeps_the_clients_address(rack)?;
        a_pod_that_calls_itself_is_answered(rack)?;
        health_check_ports_tell_of_local_endpoints(rack, [1, 1])?;
        a_node_without_local_endpoints_announces_nothing(rack)?;
        health_check_ports_tell_of_local_endpoints(rack, [1, 0])?;
        large_transfers_finish_behind_a_narrow_link(rack)?;
        a_pool_replaces_the_clients_address(rack)?;
        without_the_clamp_the_narrow_link_is_a_trap(rack)
    })
}

fn local_traffic_keeps_the_clients_address(rack: &Rack) -> Result<()> {
    near().put(&rack.lab, &ready(&[L1A, L2A, W1A]))?;
    for vip in NEAR {
        rack.wait_for_hops(vip, 2)?;
    }
    for vip in NEAR.iter().chain(&WITHIN) {
        let vip: IpAddr = vip.parse()?;
        for (ask, port, _) in protocols()? {
            let target = SocketAddr::new(vip, *port);
            let tally = wait_for_tally(
                &target.to_string(),
                || ask(rack.client(), target, 24, PATIENCE),
                |tally| tally.failures.is_empty() && tally.by_pod().keys().eq(["l1a", "l2a"]),
            )?;
            let client = ips(&[CLIENT[usize::from(vip.is_ipv6())]]);
            ensure!(tally.by_source().into_keys().eq(client), "{target}: {:?}", tally.by_source());
        }
    }
    let ports = [(30081, "10.0.1.2", "l1a"), (30081, "fd00:2::2", "l2a")];
    for (port, node, pod) in ports {
        let node: IpAddr = node.parse()?;
        let tally = traffic::tcp(rack.client(), SocketAddr::new(node, port), 8, PATIENCE)?;
        ensure!(tally.failures.is_empty() && tally.by_pod().keys().eq([pod]), "{node}: {tally:?}");
        let client = ips(&[CLIENT[usize::from(node.is_ipv6())]]);
        ensure!(tally.by_source().into_keys().eq(client), "{node}: {:?}", tally.by_source());
    }
    Ok(())
}

/// Its own address must not come back to it as the client's: it would answer itself, past the VIP.
fn a_pod_that_calls_itself_is_answered(rack: &Rack) -> Result<()> {
    for vip in NEAR.iter().chain(&WITHIN) {
        let target = SocketAddr::new(vip.parse()?, 80);
        let tally = traffic::tcp(rack.lab.node("p1").netns(), target, 8, PATIENCE)?;
        ensure!(tally.failures.is_empty() && tally.by_pod().keys().eq(["l1a"]), "{vip}: {tally:?}");
        ensure!(tally.by_source().into_keys().all(|seen| !ips(&L1A.2).contains(&seen)), "{:?}", tally.by_source());
    }
    Ok(())
}

/// As kube-proxy answers: 200 and how many there are, or 503. A pod counts by its addresses, of which it has two.
fn health_check_ports_tell_of_local_endpoints(rack: &Rack, counts: [usize; 2]) -> Result<()> {
    for (node, count) in LB.into_iter().zip(counts) {
        for place in node {
            let target = SocketAddr::new(place.parse()?, HEALTH);
            let code = if count > 0 { 200 } else { 503 };
            wait_for(LONG, &format!("{code} from {target}"), || {
                let (found, body) = rack.client().run(|| get(target))??;
                let body: Value = serde_json::from_str(&body).with_context(|| format!("{found}: {body:?}"))?;
                let is_it = body["service"] == json!({"namespace": "demo", "name": "near"});
                let good = found == code && body["localEndpoints"] == 2 * count && is_it;
                Ok(if good { Ok(()) } else { Err((found, body)) })
            })?;
        }
    }
    Ok(())
}

fn get(target: SocketAddr) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
    let code = head.split(' ').nth(1).context("a status line")?.parse()?;
    Ok((code, body.to_owned()))
}

fn a_node_without_local_endpoints_announces_nothing(rack: &Rack) -> Result<()> {
    near().put(&rack.lab, &ready(&[L1A, W1A]))?;
    for vip in NEAR {
        let hops = rack.wait_for_hops(vip, 1)?;
        let lb1 = if vip.contains(':') { "fd00:1::2" } else { "10.0.1.2" };
        ensure!(hops.contains(lb1), "{vip} by way of {hops:?}");
        for (ask, port, _) in protocols()? {
            let tally = ask(rack.client(), SocketAddr::new(vip.parse()?, *port), 16, PATIENCE)?;
            ensure!(tally.failures.is_empty() && tally.by_pod().keys().eq(["l1a"]), "{vip}: {tally:?}");
        }
        // Once nothing drains there any more, the other node is a client like any other: its way leads over the ToR to lb1, and
        // does not come back.
        let (other, target) = (rack.lab.node("lb2").netns(), SocketAddr::new(vip.parse()?, 80));
        wait_for_tally(
            &format!("lb2 reaches {vip}"),
            || traffic::tcp(other, target, 8, PATIENCE),
            |tally| tally.failures.is_empty() && tally.by_pod().keys().eq(["l1a"]),
        )?;
    }
    // What comes to it all the same, by the range's route or by its own address, is refused at once.
    for target in ["10.96.0.61:80", "[fd00:10:96::61]:80", "10.0.2.2:30081"] {
        wait_for_tally(
            target,
            || traffic::tcp(rack.client(), address(target), 32, PATIENCE),
            |tally| {
                let refused = tally.failures.iter().all(|failure| failure.contains("refused"));
                refused && !tally.failures.is_empty() && tally.by_pod().keys().all(|pod| pod == "l1a")
            },
        )?;
    }
    Ok(())
}

fn large_transfers_finish_behind_a_narrow_link(rack: &Rack) -> Result<()> {
    let (far, before) = (rack.lab.node("far").netns(), too_large(rack)?);
    for target in ["10.96.0.20:80", "[fd00:10:96::20]:80"] {
        let tally = traffic::transfers(far, address(target), 12, LARGE, PATIENCE)?;
        ensure!(tally.failures.is_empty() && tally.by_source().len() == 2, "{target}: {tally:?}");
    }
    ensure!(too_large(rack)? == before, "packets that are too large for the link came to it");
    Ok(())
}

/// How many packets the routers at the narrow link refused for their size, in both families.
fn too_large(rack: &Rack) -> Result<u64> {
    let of_node = |node: &str| -> Result<u64> {
        let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
        let (snmp, snmp6) = rack.lab.node(node).run(|| anyhow::Ok((read("snmp")?, read("snmp6")?)))??;
        let mut rows = snmp.lines().filter(|line| line.starts_with("Ip: ")).map(str::split_whitespace);
        let (mut names, mut values) = rows.next().zip(rows.next()).context("two rows about IP")?;
        let place = names.position(|name| name == "FragFails").context("a column FragFails")?;
        let ipv4 = values.nth(place).context("its value")?;
        let ipv6 = snmp6.lines().find_map(|line| line.strip_prefix("Icmp6OutPktTooBigs")).context("its line")?;
        Ok(ipv4.parse::<u64>()? + ipv6.trim().parse::<u64>()?)
    };
    Ok(of_node("tor")? + of_node("hop")?)
}

/// Changes what follows a key on its line of an agent's configuration.
fn set(rack: &Rack, node: &str, key: &str, value: &str) -> Result<()> {
    let file = rack.lab.node(node).path("etc/vipcast/config.yaml");
    let text = fs::read_to_string(&file)?;
    let line = text.lines().find(|line| line.trim_start().starts_with(key)).with_context(|| format!("no {key}"))?;
    Ok(fs::write(&file, text.replace(line, &format!("  {key} {value}")))?)
}

/// Every node has addresses of its own for it, which are announced one by one, so that replies find back to it. One
/// configuration has the pools of both, so what it says of the switch is for both.
fn a_pool_replaces_the_clients_address(rack: &mut Rack) -> Result<()> {
    const POOL: &str = "snat: {pool: [\
        {addresses: 198.18.1.2-198.18.1.3, nodeSelector: {kubernetes.io/hostname: lb1}}, \
        {addresses: 198.18.2.2-198.18.2.3, nodeSelector: {kubernetes.io/hostname: lb2}}, \
        {addresses: \"2001:db8:5:1::2-2001:db8:5:1::3\", nodeSelector: {kubernetes.io/hostname: lb1}}, \
        {addresses: \"2001:db8:5:2::2-2001:db8:5:2::3\", nodeSelector: {kubernetes.io/hostname: lb2}}]}";
    for node in ["lb1", "lb2"] {
        set(rack, node, "mss:", &format!("1240\n  {POOL}"))?;
    }
    // The switch first: it asks nobody again for what it did not let in.
    let (lb1, tor) = (rack.lab.node("lb1"), rack.lab.node("tor"));
    let neighbors = LB.as_flattened().iter().flat_map(|node| ["--neighbor", *node]);
    let command = lb1.command(VIPCAST).arg("--config").arg(lb1.path("etc/vipcast/config.yaml"));
    let printed = command.args(["switch-config", "--vendor", "frr"]).args(neighbors).run()?.stdout;
    // What else it says is in force; FRR wants to hear some of it once only.
    let is_list = |line: &&str| ["ip prefix-list", "ipv6 prefix-list"].iter().any(|words| line.starts_with(words));
    let lists: Vec<&str> = printed.lines().filter(is_list).collect();
    let file = tor.path("with-pools.conf");
    fs::write(&file, lists.join("\n") + "\n")?;
    tor.vtysh_file(&file)?;
    rack.restart_agents()?;
    Service::new("open", json!({"clusterIPs": ["10.96.0.62", "fd00:10:96::62"], "externalIPs": ["192.0.2.62"]}))
        .put(&rack.lab, &ready(&[W1A, W2A, L1A, L2A]))?;
    let pool4 = ips(&["198.18.1.2", "198.18.1.3", "198.18.2.2", "198.18.2.3"]);
    let pool6 = ips(&["2001:db8:5:1::2", "2001:db8:5:1::3", "2001:db8:5:2::2", "2001:db8:5:2::3"]);
    for address in pool4.iter().chain(&pool6) {
        rack.wait_for_hops(&address.to_string(), 1)?;
    }
    for (vip, pool) in [("10.96.0.62", &pool4), ("fd00:10:96::62", &pool6), ("192.0.2.62", &pool4)] {
        for (ask, port, _) in protocols()? {
            let target = SocketAddr::new(vip.parse()?, *port);
            let tally = wait_for_tally(
                &target.to_string(),
                || ask(rack.client(), target, 64, PATIENCE),
                |tally| tally.failures.is_empty() && tally.by_pod().len() == 4,
            )?;
            let seen: BTreeSet<IpAddr> = tally.by_source().into_keys().collect();
            // The kernel chooses by the client's address and the last four bytes of the pod's, so few pairs see all of it.
            ensure!(seen.is_subset(pool) && seen.len() >= 2, "{target}: {:?}", tally.by_source());
        }
    }
    // A pool changes nothing where the client's address stays.
    let tally = traffic::tcp(rack.client(), SocketAddr::new(NEAR[0].parse()?, 80), 16, PATIENCE)?;
    ensure!(tally.by_source().into_keys().eq(ips(&CLIENT[..1])), "{tally:?}");
    Ok(())
}

/// That the lab has the trap: without the clamp packets come to the link that do not fit, and each of them is reported to a
/// VIP, by way of whichever LB node. How many transfers hang is chance, since pods remember what one of them was told for all
/// that come from one address of an LB node.
fn without_the_clamp_the_narrow_link_is_a_trap(rack: &mut Rack) -> Result<()> {
    for node in ["lb1", "lb2"] {
        set(rack, node, "mss:", "off")?;
    }
    rack.restart_agents()?;
    let (far, before) = (rack.lab.node("far").netns(), too_large(rack)?);
    let tally = traffic::transfers(far, address("10.96.0.20:80"), 8, LARGE, Duration::from_secs(4))?;
    let told = too_large(rack)? - before;
    println!("without the clamp {told} packets are too large, and {} of 8 large transfers hang", tally.failures.len());
    ensure!(told > 0, "the narrow link does no harm, so the clamp proves nothing: {tally:?}");
    Ok(())
}
