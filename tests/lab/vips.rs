//! VIPs of every kind: how they are announced, who answers on them, and what may not be one.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vipcast_lab::traffic::{self, Tally, lacks_sctp};
use vipcast_lab::{Netns, wait_for};

use crate::objects::{Condition, Service, W1A, W2A, port, ready};
use crate::rack::{LONG, PATIENCE, Rack, address, ask};

/// A way to ask a VIP many times.
pub(crate) type Ask = fn(&Netns, SocketAddr, usize, Duration) -> Result<Tally>;

/// What the Service `demo/every` serves: how to ask for it, at which port of a VIP, at which of a node.
pub(crate) const PROTOCOLS: [(Ask, u16, u16); 3] =
    [(traffic::tcp, 80, 30080), (traffic::udp, 53, 30053), (traffic::sctp, 2905, 30905)];

/// The VIPs of `demo/every`, each with the prefix that the ToR has a route for.
const EVERY: [(&str, &str); 7] = [
    ("10.96.0.20", "10.96.0.0/16"),
    ("fd00:10:96::20", "fd00:10:96::/112"),
    ("192.0.2.20", "192.0.2.20"),
    ("2001:db8:2::20", "2001:db8:2::20"),
    ("203.0.113.20", "203.0.113.0/24"),
    ("2001:db8:3::20", "2001:db8:3::/64"),
    ("198.51.100.20", "198.51.100.20"),
];

/// The LB nodes' addresses, as pods see them.
pub(crate) const LB: [[&str; 2]; 2] = [["10.0.1.2", "fd00:1::2"], ["10.0.2.2", "fd00:2::2"]];

/// How long it may take to find that nothing comes.
const SHORT: Duration = Duration::from_secs(1);

/// The protocols that this kernel has.
pub(crate) fn protocols() -> Result<&'static [(Ask, u16, u16)]> {
    match lacks_sctp() {
        None => Ok(&PROTOCOLS),
        Some(why) => {
            writeln!(std::io::stderr(), "SKIPPED lab with SCTP: {why}")?;
            Ok(&PROTOCOLS[..2])
        }
    }
}

pub(crate) fn ips(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn sources(tally: &Tally) -> BTreeSet<IpAddr> {
    tally.by_source().into_keys().collect()
}

/// Asks again and again until all is as `good` wants it.
pub(crate) fn wait_for_tally(
    what: &str,
    mut ask: impl FnMut() -> Result<Tally>,
    good: impl Fn(&Tally) -> bool,
) -> Result<Tally> {
    wait_for(LONG, what, || {
        let tally = ask()?;
        Ok(if good(&tally) { Ok(tally) } else { Err(tally) })
    })
}

/// Waits until both LB nodes say this of a Service.
fn wait_for_problem(rack: &Rack, nodes: &[&str], service: &str, problem: &str) -> Result<()> {
    nodes.iter().try_for_each(|node| {
        wait_for(LONG, &format!("{node} says {problem:?} of {service}"), || {
            let status: Value = serde_json::from_str(&ask(rack.lab.node(node), "/status")?.1)?;
            let problems = status["services"]["problems"].as_array().context("a list of problems")?;
            let told = problems.iter().any(|found| {
                found["subject"].as_str().is_some_and(|subject| subject.contains(service))
                    && found["problem"].as_str().is_some_and(|text| text.contains(problem))
            });
            Ok(if told { Ok(()) } else { Err(problems.clone()) })
        })
    })
}

#[test]
fn vips_of_every_kind_are_served_and_what_may_not_be_one_is_refused() -> Result<()> {
    let Some(mut rack) = Rack::services()? else { return Ok(()) };
    rack.start_agents()?;
    rack.attempt(|rack| {
        every_vip_answers_by_every_protocol(rack)?;
        host_routes_come_and_go_with_endpoints(rack)?;
        services_share_a_vip_by_port(rack)?;
        the_older_service_keeps_what_two_claim(rack)?;
        what_is_in_use_is_no_vip(rack)?;
        source_ranges_let_their_clients_through_and_no_others(rack)
    })
}

fn every_vip_answers_by_every_protocol(rack: &Rack) -> Result<()> {
    for (vip, prefix) in EVERY {
        rack.wait_for_hops(prefix, 2)?;
        let vip: IpAddr = vip.parse()?;
        let family = usize::from(vip.is_ipv6());
        for (ask, port, _) in protocols()? {
            let tally = ask(rack.client(), SocketAddr::new(vip, *port), 24, PATIENCE)?;
            ensure!(tally.failures.is_empty() && tally.by_pod().len() == 2, "{vip} port {port}: {tally:?}");
            ensure!(sources(&tally) == ips(&LB.map(|node| node[family])), "{vip} port {port}: {:?}", tally.by_source());
        }
    }
    ensure!(rack.next_hops("203.0.113.20")?.is_empty(), "an aggregate needs no route for each VIP");
    for node in LB.as_flattened() {
        let place: IpAddr = node.parse()?;
        for (ask, _, port) in protocols()? {
            let tally = ask(rack.client(), SocketAddr::new(place, *port), 8, PATIENCE)?;
            ensure!(tally.failures.is_empty() && tally.by_pod().len() == 2, "{node} port {port}: {tally:?}");
            ensure!(sources(&tally) == ips(&[node]), "{node} port {port}: {:?}", tally.by_source());
        }
    }
    Ok(())
}

fn host_routes_come_and_go_with_endpoints(rack: &Rack) -> Result<()> {
    let service =
        Service::new("solo", json!({"clusterIPs": ["10.96.0.30"], "externalIPs": ["192.0.2.30", "2001:db8:2::30"]}))
            .ingress(&["198.51.100.30"]);
    let vips = ["192.0.2.30", "2001:db8:2::30", "198.51.100.30"];
    for condition in [Condition::Ready, Condition::Unready, Condition::Terminating] {
        service.put(&rack.lab, &[(W1A, condition)])?;
        let hops = if matches!(condition, Condition::Unready) { 0 } else { 2 };
        for vip in vips {
            rack.wait_for_hops(vip, hops)?;
            let target = SocketAddr::new(vip.parse()?, 80);
            let tally = traffic::tcp(rack.client(), target, 16, PATIENCE)?;
            let served = tally.failures.is_empty() && tally.by_source().len() == 2;
            ensure!(if hops == 2 { served } else { tally.answers.is_empty() }, "{vip}, {condition:?}: {tally:?}");
        }
    }
    service.delete(&rack.lab)?;
    vips.iter().try_for_each(|vip| rack.wait_for_hops(vip, 0).map(drop))
}

fn services_share_a_vip_by_port(rack: &Rack) -> Result<()> {
    let vip = "192.0.2.40";
    let first =
        Service::new("first", json!({"clusterIPs": ["10.96.0.40"], "externalIPs": [vip], "ports": [port("http", 80)]}));
    let second = Service::new(
        "second",
        json!({"clusterIPs": ["10.96.0.41"], "externalIPs": [vip], "ports": [port("http", 81)]}),
    );
    first.put(&rack.lab, &ready(&[W1A]))?;
    second.put(&rack.lab, &ready(&[W2A]))?;
    rack.wait_for_hops(vip, 2)?;
    for (target, pod) in [("192.0.2.40:80", "w1a"), ("192.0.2.40:81", "w2a")] {
        wait_for_tally(
            target,
            || traffic::tcp(rack.client(), address(target), 16, PATIENCE),
            |tally| tally.failures.is_empty() && tally.by_pod().keys().eq([pod]),
        )?;
    }
    first.delete(&rack.lab)?;
    wait_for_tally(
        "refusals",
        || traffic::tcp(rack.client(), address("192.0.2.40:80"), 16, PATIENCE),
        |tally| tally.failures.iter().filter(|failure| failure.contains("refused")).count() == 16,
    )?;
    ensure!(rack.next_hops(vip)?.len() == 2, "the other Service needs the route");
    let tally = traffic::tcp(rack.client(), address("192.0.2.40:81"), 16, PATIENCE)?;
    ensure!(tally.failures.is_empty(), "{tally:?}");
    second.delete(&rack.lab)?;
    rack.wait_for_hops(vip, 0).map(drop)
}

fn the_older_service_keeps_what_two_claim(rack: &Rack) -> Result<()> {
    // Of two that are as old as each other, the first by name has it.
    let with = |name, cluster_ip| {
        let spec = json!({"clusterIPs": [cluster_ip], "externalIPs": ["192.0.2.41"], "ports": [port("http", 80)]});
        Service::new(name, spec)
    };
    let (mine, yours) = (with("mine", "10.96.0.42"), with("yours", "10.96.0.43"));
    yours.put(&rack.lab, &ready(&[W2A]))?;
    rack.wait_for_hops("192.0.2.41", 2)?;
    mine.put(&rack.lab, &ready(&[W1A]))?;
    wait_for_problem(rack, &["lb1", "lb2"], "demo/yours", "claimed by the older Service demo/mine too")?;
    wait_for_tally(
        "mine",
        || traffic::tcp(rack.client(), address("192.0.2.41:80"), 16, PATIENCE),
        |tally| tally.failures.is_empty() && tally.by_pod().keys().eq(["w1a"]),
    )?;
    mine.delete(&rack.lab)?;
    wait_for_tally(
        "yours",
        || traffic::tcp(rack.client(), address("192.0.2.41:80"), 16, PATIENCE),
        |tally| tally.failures.is_empty() && tally.by_pod().keys().eq(["w2a"]),
    )?;
    yours.delete(&rack.lab)
}

fn what_is_in_use_is_no_vip(rack: &Rack) -> Result<()> {
    // lb1, its peer, a free address beside them, and one that no range has.
    let vips = ["10.0.1.2", "10.0.1.1", "10.0.1.50", "198.18.0.1"];
    let thief = Service::new("thief", json!({"clusterIPs": ["10.96.0.44"], "externalIPs": vips}));
    thief.put(&rack.lab, &ready(&[W1A]))?;
    let nodes = ["lb1", "lb2"];
    wait_for_problem(rack, &nodes, "demo/thief", "external IP 10.0.1.2 is not allowed: it is an address of")?;
    wait_for_problem(rack, &["lb1"], "demo/thief", "external IP 10.0.1.1 is not allowed: it is a BGP peer's")?;
    wait_for_problem(rack, &nodes, "demo/thief", "198.18.0.1 is not allowed: no range of ranges.externalIPs holds it")?;
    rack.wait_for_hops("10.0.1.50", 2)?;
    let tally = traffic::tcp(rack.client(), address("10.0.1.50:80"), 16, PATIENCE)?;
    ensure!(tally.failures.is_empty() && tally.by_source().len() == 2, "{tally:?}");
    for vip in ["10.0.1.2", "198.18.0.1"] {
        ensure!(rack.next_hops(vip)?.is_empty(), "{vip} is hijacked: {}", rack.routes(vip)?);
    }
    let tally = traffic::tcp(rack.client(), address("10.0.1.2:80"), 8, PATIENCE)?;
    let refused = tally.failures.iter().all(|failure| failure.contains("refused"));
    ensure!(tally.answers.is_empty() && refused, "port 80 of lb1 is nobody's: {tally:?}");
    for node in nodes {
        let status: Value = serde_json::from_str(&ask(rack.lab.node(node), "/status")?.1)?;
        let peers = status["bgp"]["peers"].as_array().context("a list of peers")?;
        ensure!(peers.iter().all(|peer| peer["state"] == "Established"), "{node}: {peers:?}");
    }
    thief.delete(&rack.lab)?;
    rack.wait_for_hops("10.0.1.50", 0).map(drop)
}

/// Clients of `loadBalancerSourceRanges` are answered at the load-balancer IP, others get nothing there, and the ClusterIP is
/// for everybody; other ranges take effect at once.
fn source_ranges_let_their_clients_through_and_no_others(rack: &Rack) -> Result<()> {
    let clients = [("client", ["10.0.9.0/24", "fd00:9::/64"]), ("far", ["10.0.8.0/24", "fd00:8::/64"])];
    for (allowed, ranges) in clients {
        let spec = json!({
            "clusterIPs": ["10.96.0.50", "fd00:10:96::50"],
            "loadBalancerSourceRanges": ranges,
        });
        let vips = ["203.0.113.50", "2001:db8:3::50"];
        Service::new("guarded", spec).ingress(&vips).put(&rack.lab, &ready(&[W1A, W2A]))?;
        let denied = if allowed == "client" { "far" } else { "client" };
        let (allowed, denied) = (rack.lab.node(allowed).netns(), rack.lab.node(denied).netns());
        for vip in vips {
            let target = |port| SocketAddr::new(vip.parse().unwrap(), port);
            wait_for_tally(
                "allowed",
                || traffic::tcp(allowed, target(80), 16, PATIENCE),
                |tally| tally.failures.is_empty() && tally.by_source().len() == 2,
            )?;
            wait_for_tally("denied", || traffic::tcp(denied, target(80), 8, SHORT), |tally| tally.answers.is_empty())?;
            let tally = traffic::udp(allowed, target(53), 8, PATIENCE)?;
            ensure!(tally.failures.is_empty(), "{tally:?}");
            let tally = traffic::udp(denied, target(53), 8, SHORT)?;
            ensure!(tally.answers.is_empty(), "{tally:?}");
        }
        for target in ["10.96.0.50:80", "[fd00:10:96::50]:80"] {
            let tally = traffic::tcp(denied, address(target), 8, PATIENCE)?;
            ensure!(tally.failures.is_empty(), "{tally:?}");
        }
    }
    Ok(())
}
