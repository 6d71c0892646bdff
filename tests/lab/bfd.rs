//! BFD with the routers of others, FRR's bfdd and BIRD: the lab `bfd`. The engine alone is tried by `tests/pure/bfd`.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vipcast_lab::lab::{Node, Session};
use vipcast_lab::wait_for;

use crate::rack::{LONG, PATIENCE, RANGES, Rack, VIPCAST, ask, wait_until_ready};

/// The sessions of lb1: with tor1 for BGP, with tor2 for its static routes.
const WITH_FRR: [&str; 3] = ["10.0.1.1", "eth3", "fd00:1::1"];
const WITH_BIRD: [&str; 2] = ["10.0.2.1", "fd00:2::1"];

/// For how long BGP has to stay up: longer than FRR takes to end it.
const CALM: Duration = Duration::from_secs(3);

/// What lb1 says of its sessions, by peer.
fn sessions(lb: &Node) -> Result<BTreeMap<String, Value>> {
    let (_, body) = ask(lb, "/status")?;
    let status: Value = serde_json::from_str(&body)?;
    let sessions = status["bfd"].as_array().context("the status has no bfd")?;
    Ok(sessions.iter().filter_map(|session| Some((session["peer"].as_str()?.to_owned(), session.clone()))).collect())
}

/// Waits until what lb1 says of these sessions is as asked.
fn wait_for_sessions(lb: &Node, peers: &[&str], what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
    wait_for(LONG, &format!("{peers:?} {what}"), || {
        let sessions = sessions(lb)?;
        let so = |peer: &&str| sessions.get(*peer).is_some_and(&is_so);
        Ok(if peers.iter().all(so) { Ok(()) } else { Err(format!("{sessions:?}")) })
    })
}

fn is_up(session: &Value) -> bool {
    session["state"] == "Up" && session["remote"] == "Up"
}

/// How often each session has gone down.
fn flaps(lb: &Node) -> Result<BTreeMap<String, u64>> {
    let sessions = sessions(lb)?;
    Ok(sessions.into_iter().map(|(peer, session)| (peer, session["flaps"].as_u64().unwrap_or_default())).collect())
}

/// Waits until BGP stays up. FRR 8.4 makes a BFD session that was up before BGP was anew, when it learns from BGP what its own
/// address is, and ends BGP over that.
fn wait_until_bgp_stays(frr: &Node) -> Result<()> {
    wait_for(LONG, "BGP that stays up", || {
        let before = frr.sessions()?;
        sleep(CALM);
        let now = frr.sessions()?;
        let stays = |(peer, session): &(&String, &Session)| now.get(*peer).is_some_and(|now| session.went_on(now));
        // It has neighbours as well that are other ToRs' ones.
        let count = before.iter().filter(stays).count();
        Ok(if count == WITH_FRR.len() { Ok(()) } else { Err((before, now)) })
    })
}

/// Waits until a ToR's kernel has routes to lb1 for both ranges, or none.
fn wait_for_routes(tor: &Node, there: bool) -> Result<()> {
    wait_for(LONG, &format!("routes of {}: {there}", tor.name()), || {
        let mut text = String::new();
        for range in RANGES {
            let family = if range.contains(':') { "-6" } else { "-4" };
            let routes = tor.command("ip").args([family, "route", "show", range]).run()?.stdout;
            let is_there = routes.contains("via") || routes.contains("nexthop");
            if is_there != there {
                text += &format!("{range}: {routes:?} ");
            }
        }
        Ok(if text.is_empty() { Ok(()) } else { Err(text) })
    })
}

#[test]
fn bfd_with_frr_and_bird_comes_up_follows_edits_and_is_not_fooled() -> Result<()> {
    let Some(rack) = Rack::bfd()? else { return Ok(()) };
    rack.attempt(|rack| {
        rack.agents.push(rack.lab.node("lb1").start_agent(VIPCAST)?);
        let (lb, frr, bird) = (rack.lab.node("lb1"), rack.lab.node("tor1"), rack.lab.node("tor2"));
        wait_until_ready(lb)?;
        let all = [&WITH_FRR[..], &WITH_BIRD].concat();
        wait_for_sessions(lb, &all, "up", is_up)?;
        wait_for_routes(frr, true)?;
        wait_for_routes(bird, true)?;
        wait_until_bgp_stays(frr)?;
        let before = flaps(lb)?;

        other_timers_are_negotiated(rack, &all)?;
        ensure!(flaps(lb)? == before, "a session flapped: {before:?}, {:?}", flaps(lb)?);

        what_was_forwarded_is_not_taken(lb, bird)?;
        a_session_held_down_by_its_other_side_is_told(lb, frr)?;
        wait_for_sessions(lb, &all, "up", is_up)?;
        wait_for_routes(frr, true)?;

        // Who goes takes what BFD announces with it.
        let agent = rack.agents.pop().context("an agent")?;
        agent.terminate(PATIENCE * 3)?;
        wait_for_routes(bird, false)?;
        wait_for_routes(frr, false)
    })
}

fn other_timers_are_negotiated(rack: &Rack, all: &[&str]) -> Result<()> {
    let lb = rack.lab.node("lb1");
    for (from, to) in [("400ms", "700ms"), ("700ms", "400ms")] {
        rack.configure("lb1", &format!("interval: {from}"), &format!("interval: {to}"))?;
        let millis: u64 = to.trim_end_matches("ms").parse()?;
        wait_for_sessions(lb, all, to, |session| is_up(session) && session["intervalMs"] == millis)?;
    }
    Ok(())
}

/// BIRD's packets arrive as if a router had forwarded them (RFC 5881 section 5).
fn what_was_forwarded_is_not_taken(lb: &Node, bird: &Node) -> Result<()> {
    let rules = "add table ip far; add chain ip far out { type filter hook output priority 0; }; \
                 add rule ip far out udp dport 3784 ip ttl set 254";
    bird.command("nft").arg(rules).run()?;
    wait_for_sessions(lb, &["10.0.2.1"], "down because of the TTL", |session| {
        session["state"] == "Down" && session["problem"].as_str().is_some_and(|problem| problem.contains("TTL 254"))
    })?;
    bird.command("nft").arg("delete table ip far").run()?;
    wait_for_sessions(lb, &["10.0.2.1"], "up", is_up)?;
    wait_for_routes(bird, true)
}

fn a_session_held_down_by_its_other_side_is_told(lb: &Node, frr: &Node) -> Result<()> {
    let profile = |word: &str| {
        let file = frr.path("run/profile.conf");
        fs::write(&file, format!("bfd\n profile vipcast4\n  {word}\n exit\nexit\n"))?;
        frr.vtysh_file(&file)
    };
    profile("shutdown")?;
    wait_for_sessions(lb, &["10.0.1.1"], "down", |session| {
        session["state"] == "Down" && session["reason"] == "neighbor signaled session down"
    })?;
    profile("no shutdown")
}
