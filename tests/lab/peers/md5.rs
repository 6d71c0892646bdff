//! TCP MD5 between the LB nodes and tor2: another password, none, and one that is rotated on both sides.

use std::fs;

use anyhow::{Result, ensure};
use vipcast_lab::wait_for;

use super::{LINKS, WITH_MD5, ensure_undisturbed, peer_status, sessions, wait_for_sessions};
use crate::rack::{LONG, Rack};

/// The lab's password, and another one; neither may be seen in a log.
const PASSWORDS: [&str; 2] = ["correct-horse-battery", "staple-of-another-kind"];

/// Where the LB nodes have it, in the folder that they share.
const FILE: &str = "passwords/tor2";

/// Where tor2 has it.
const BIRD: &str = "etc/bird/bird.conf";

pub(super) fn passwords_are_proved_right_wrong_missing_and_rotated(rack: &Rack) -> Result<()> {
    let before = sessions(rack)?;
    let ensure_others_go_on = || ensure_undisturbed(rack, &before, &WITH_MD5);

    // Without its password, tor2 takes no packet of ours; with another one neither.
    for line in ["".to_owned(), line(PASSWORDS[1])] {
        set_on_tor2(rack, &line)?;
        wait_for_loss(rack)?;
        ensure_others_go_on()?;
    }
    // Now ours follows: nothing but these sessions begins anew.
    rack.lab.write_shared(FILE, &format!("{}\n", PASSWORDS[1]))?;
    wait_for_sessions(rack, &[])?;
    ensure_others_go_on()?;

    // The other way round: ours first. What had worked ends, since a password holds for a connection as long as it lives.
    rack.lab.write_shared(FILE, &format!("{}\n", PASSWORDS[0]))?;
    wait_for_loss(rack)?;
    set_on_tor2(rack, &line(PASSWORDS[0]))?;
    wait_for_sessions(rack, &[])?;
    ensure_others_go_on()?;

    // A file that is gone is no request to do without: the sessions go on with the password that they have.
    let rotated = sessions(rack)?;
    rack.lab.remove_shared(FILE)?;
    for (node, agent) in super::NODES.into_iter().zip(&rack.agents) {
        wait_for(LONG, &format!("{node} says that the password is gone"), || {
            let problem = super::status(rack.lab.node(node))?["configuration"]["problem"].clone();
            Ok(if problem.as_str().is_some_and(|text| text.contains("passwordFile")) { Ok(()) } else { Err(problem) })
        })?;
        for password in PASSWORDS {
            ensure!(!agent.log().contains(password), "the log of {node} shows a password");
        }
    }
    ensure_undisturbed(rack, &rotated, &[])?;
    rack.lab.write_shared(FILE, &format!("{}\n", PASSWORDS[0]))?;
    for node in super::NODES {
        wait_for(LONG, &format!("{node} is content"), || {
            let problem = super::status(rack.lab.node(node))?["configuration"]["problem"].clone();
            Ok(if problem.is_null() { Ok(()) } else { Err(problem) })
        })?;
    }
    ensure_undisturbed(rack, &rotated, &[])
}

fn line(password: &str) -> String {
    format!("password \"{password}\";")
}

/// Gives tor2 this line where it has its password.
fn set_on_tor2(rack: &Rack, line: &str) -> Result<()> {
    let tor = rack.lab.node("tor2");
    let text = fs::read_to_string(tor.path(BIRD))?;
    let other = |text: &str| {
        let is_password = |line: &&str| line.trim_start().starts_with("password ") || line.trim() == "# No password.";
        let old = text.lines().find(is_password).map(str::to_owned);
        old.map(|old| text.replace(&old, if line.is_empty() { "# No password." } else { line }))
    };
    let Some(text) = other(&text) else { anyhow::bail!("{BIRD} has no place for a password: {text}") };
    tor.configure_bird(&text)
}

/// Waits until no session with MD5 is established, from both sides, and the LB nodes say so.
fn wait_for_loss(rack: &Rack) -> Result<()> {
    for link in LINKS.iter().filter(|link| WITH_MD5.contains(&link.neighbour)) {
        wait_for(LONG, &format!("{} lost", link.neighbour), || {
            let now = sessions(rack)?;
            let at_tor = now.get(&(link.tor, link.neighbour.to_owned())).is_some_and(|session| session.established);
            let said = peer_status(rack.lab.node(link.lb), link.peer)?;
            Ok(if !at_tor && said["state"] != "Established" { Ok(()) } else { Err(said) })
        })?;
    }
    Ok(())
}
