//! gobgpd killed, emptied behind the agent's back, and replaced by the other version: its routes come back.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use vipcast_lab::wait_for;

use super::attributes::all_routes_are_heard_as_configured;
use super::{
    LINKS, NODES, Neighbour, ensure_undisturbed, gobgp, programs, sessions, set_gobgpd, status, wait_for_sessions,
};
use crate::rack::{LONG, Rack, wait_until_ready};

pub(super) fn routes_come_back_whatever_happens_to_gobgpd(rack: &Rack) -> Result<()> {
    emptied(rack)?;
    killed(rack)?;
    replaced(rack)
}

/// All paths deleted through gobgpd's API: they are announced again, and no session notices.
fn emptied(rack: &Rack) -> Result<()> {
    let before = sessions(rack)?;
    for (name, agent) in NODES.into_iter().zip(&rack.agents) {
        let node = rack.lab.node(name);
        let said = agent.log().len();
        let emptied = Instant::now();
        for family in ["ipv4", "ipv6"] {
            gobgp(node, &["global", "rib", "del", "all", "-a", family])?;
        }
        for prefix in ["10.96.0.0/16", "fd00:10:96::/112", "192.0.2.50/32", "2001:db8:3::50/128"] {
            let again = format!("announced {prefix}");
            wait_for(LONG, &again, || {
                let log = agent.log().split_off(said);
                Ok(if log.contains(&again) { Ok(()) } else { Err(log) })
            })?;
        }
        println!("{name}: announced again {:.1} s after gobgpd was emptied", emptied.elapsed().as_secs_f32());
        all_routes_are_heard_as_configured(rack)?;
    }
    ensure_undisturbed(rack, &before, &[])
}

fn killed(rack: &Rack) -> Result<()> {
    for name in NODES {
        let node = rack.lab.node(name);
        let (pid, before) = (node.process("gobgpd")?, sessions(rack)?);
        kill(pid, Signal::SIGKILL)?;
        let killed = Instant::now();
        wait_for(LONG, &format!("new sessions of {name}"), || {
            let now = sessions(rack)?;
            let is_new = |neighbour: &Neighbour| {
                let of_both = before.get(neighbour).zip(now.get(neighbour));
                of_both.is_some_and(|(then, now)| now.established && !then.went_on(now))
            };
            let links = LINKS.iter().filter(|link| link.lb == name);
            let missing: Vec<_> = links.filter(|link| !is_new(&(link.tor, link.neighbour.to_owned()))).collect();
            Ok(if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) })
        })?;
        println!("{name}: sessions back {:.1} s after gobgpd was killed", killed.elapsed().as_secs_f32());
        all_routes_are_heard_as_configured(rack)?;
        ensure!(node.process("gobgpd")? != pid, "another gobgpd");
        wait_until_ready(node)?;
    }
    Ok(())
}

/// Each node's gobgpd is replaced by the other node's version, as an upgrade of the image does, and as its way back does.
fn replaced(rack: &Rack) -> Result<()> {
    let flavour = |name: &str| -> Result<String> {
        let said = status(rack.lab.node(name))?["bgp"]["flavour"].clone();
        Ok(said.as_str().with_context(|| format!("no flavour: {said}"))?.to_owned())
    };
    let before = [flavour(NODES[0])?, flavour(NODES[1])?];
    for (name, program) in NODES.iter().rev().zip(programs(&rack.lab)?) {
        set_gobgpd(rack.lab.node(name), &program)?;
        kill(rack.lab.node(name).process("gobgpd")?, Signal::SIGKILL)?;
    }
    let after = [before[1].clone(), before[0].clone()];
    wait_for(LONG, "the versions have changed places", || {
        let now = [flavour(NODES[0])?, flavour(NODES[1])?];
        Ok(if now == after { Ok(()) } else { Err(now) })
    })?;
    wait_for_sessions(rack, &[])?;
    all_routes_are_heard_as_configured(rack)?;
    NODES.iter().try_for_each(|name| wait_until_ready(rack.lab.node(name)))
}
