//! The configurations that `vipcast switch-config` prints, on routers: FRR and BIRD, with BGP and with static routes.
//! `tests/pure/switches.rs` holds the files that are loaded here against the command.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vipcast_lab::wait_for;
use vipcast_lab::{Node, traffic};

use crate::rack::{LONG, PATIENCE, RANGES, Rack, WEB, address};

/// What an LB node must not be able to draw to itself: with each, the family as gobgp calls it.
const FOREIGN: [(&str, &str); 3] = [("10.50.0.0/24", "ipv4"), ("0.0.0.0/0", "ipv4"), ("fd00:50::/64", "ipv6")];

fn printed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/switches").join(file)
}

/// gobgp, towards the node's gobgpd.
fn gobgp(node: &Node, words: &[&str]) -> Result<String> {
    let target = format!("unix://{}", node.path("run/vipcast/gobgpd.sock").display());
    Ok(node.command("gobgp").args(["--target", &target]).args(words).run()?.stdout)
}

/// Makes lb1's gobgpd announce what it must not, and waits until all of it is on its way to the ToR. The agent would take
/// it back at once, so it is killed first; gobgpd goes on.
fn announce_foreign_routes(rack: &Rack) -> Result<()> {
    rack.agents[0].kill()?;
    let node = rack.lab.node("lb1");
    for (prefix, family) in FOREIGN {
        gobgp(node, &["global", "rib", "add", prefix, "-a", family])?;
        let peer = if family == "ipv4" { "10.0.1.1" } else { "fd00:1::1" };
        wait_for(LONG, &format!("{prefix} sent"), || {
            let sent = gobgp(node, &["neighbor", peer, "adj-out", "-a", family])?;
            Ok(if sent.contains(prefix) { Ok(()) } else { Err(sent) })
        })?;
    }
    Ok(())
}

/// None of it is in the ToR's table, and what belongs there is.
fn ensure_nothing_foreign(rack: &Rack) -> Result<()> {
    for (prefix, _) in FOREIGN {
        // `ip` takes 0.0.0.0/0 for "any prefix".
        let hops = rack.next_hops(if prefix == "0.0.0.0/0" { "default" } else { prefix })?;
        ensure!(hops.is_empty(), "{prefix} by way of {hops:?}");
    }
    for range in RANGES {
        ensure!(rack.next_hops(range)?.len() == 2, "{range}: {:?}", rack.next_hops(range)?);
    }
    Ok(())
}

/// Every pod answers, by way of both LB nodes, in both families.
fn ensure_spread(rack: &Rack) -> Result<()> {
    for vip in WEB {
        let tally = traffic::tcp(rack.client(), address(vip), 60, PATIENCE)?;
        ensure!(tally.failures.is_empty() && tally.by_pod().len() == 4 && tally.by_source().len() == 2, "{tally:?}");
    }
    Ok(())
}

/// Waits until the ToR's routes for both ranges have this origin and both next hops.
fn wait_for_origin(rack: &Rack, origin: &str) -> Result<()> {
    rack.wait_for_next_hops(2)?;
    for range in RANGES {
        wait_for(LONG, &format!("{range} from {origin}"), || {
            let routes = rack.routes(range)?;
            Ok(if routes.contains(origin) { Ok(()) } else { Err(routes) })
        })?;
    }
    rack.wait_for_next_hops(2)
}

/// What FRR says of its neighbour in a family, and how many updates it had from it.
fn neighbour(rack: &Rack, neighbour: &str, family: &str) -> Result<(u64, Value)> {
    let all = rack.lab.node("tor").vtysh_json(&format!("show bgp neighbors {neighbour}"))?;
    let one = &all[neighbour];
    ensure!(one["gracefulRestartInfo"]["localGrMode"] == "Disable", "helps to restart: {one:#}");
    let updates = one["messageStats"]["updatesRecv"].as_u64().with_context(|| format!("{one:#}"))?;
    Ok((updates, one["addressFamilyInfo"][family].clone()))
}

#[test]
fn frr_accepts_the_ranges_alone_and_sends_nothing() -> Result<()> {
    let Some(rack) = Rack::up()? else { return Ok(()) };
    rack.attempt(|rack| {
        const SESSIONS: [(&str, &str); 2] = [("10.0.1.2", "ipv4Unicast"), ("fd00:1::2", "ipv6Unicast")];
        let mut before = Vec::new();
        for (name, family) in SESSIONS {
            let (updates, state) = neighbour(rack, name, family)?;
            ensure!(state["prefixAllowedMax"] == 10, "no maximum-prefix: {state:#}");
            ensure!(state["acceptedPrefixCounter"] == 1 && state["sentPrefixCounter"] == 0, "{state:#}");
            before.push(updates);
        }
        announce_foreign_routes(rack)?;
        for ((name, family), before) in SESSIONS.into_iter().zip(before) {
            wait_for(LONG, &format!("{name}'s updates"), || {
                let (updates, _) = neighbour(rack, name, family)?;
                Ok(if updates > before { Ok(()) } else { Err(updates) })
            })?;
            let (_, state) = neighbour(rack, name, family)?;
            ensure!(state["acceptedPrefixCounter"] == 1, "{state:#}");
        }
        ensure_nothing_foreign(rack)?;

        // Static routes are preferred to BGP's, so both can be there.
        let tor = rack.lab.node("tor");
        tor.vtysh_file(&printed("frr-static.conf"))?;
        wait_for_origin(rack, "static")?;
        ensure_spread(rack)?;
        // SONiC's part for FRR is FRR's own, and FRR understands it.
        for file in ["sonic.conf", "sonic-static.conf"] {
            tor.command("vtysh").arg("-C").arg("-f").arg(printed(file)).run()?;
        }
        Ok(())
    })
}

#[test]
fn bird_spreads_over_both_nodes_with_bgp_and_with_static_routes() -> Result<()> {
    let Some(rack) = Rack::up_with_bird()? else { return Ok(()) };
    rack.attempt(|rack| {
        wait_for_origin(rack, "bird")?;
        ensure_spread(rack)?;
        let tor = rack.lab.node("tor");
        let protocols = tor.birdc("show protocols all")?;
        ensure!(protocols.matches("Import limit:   10").count() == 4, "no limit on each session: {protocols}");
        let before = refused(&protocols)?;
        announce_foreign_routes(rack)?;
        wait_for(LONG, "BIRD refused three routes", || {
            let now = refused(&tor.birdc("show protocols all")?)?;
            Ok(if now == before + FOREIGN.len() { Ok(()) } else { Err(now) })
        })?;
        ensure_nothing_foreign(rack)?;
        for peer in ["10.0.1.1", "fd00:1::1"] {
            let heard = gobgp(rack.lab.node("lb1"), &["-j", "neighbor", peer])?;
            let state: Value = serde_json::from_str(&heard)?;
            let count = &state["afi_safis"][0]["state"]["received"];
            ensure!(count.is_null() || count == 0, "BIRD told {peer}'s neighbour something: {state:#}");
        }

        tor.configure_bird(&std::fs::read_to_string(printed("bird-static.conf"))?)?;
        wait_for(LONG, "static routes only", || {
            let routes = tor.birdc("show route")?;
            let ours = !routes.contains("[vipcast4_lb") && !routes.contains("[vipcast6_lb");
            Ok(if ours && RANGES.iter().all(|range| routes.contains(range)) { Ok(()) } else { Err(routes) })
        })?;
        rack.wait_for_next_hops(2)?;
        ensure_spread(rack)
    })
}

/// How many routes BIRD's import filters refused, over all sessions.
fn refused(protocols: &str) -> Result<usize> {
    // "Import updates: RECEIVED REJECTED FILTERED IGNORED ACCEPTED", with --- for what cannot be.
    let lines = protocols.lines().filter_map(|line| line.trim().strip_prefix("Import updates:"));
    let filtered = lines.filter_map(|line| line.split_whitespace().nth(2).filter(|count| *count != "---"));
    filtered.map(|count| count.parse::<usize>().with_context(|| count.to_owned())).sum()
}
