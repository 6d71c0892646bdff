//! Routes as two ToRs hear them, FRR and BIRD, from GoBGP 3 on `lb1` and GoBGP 4 on `lb2`: the lab `peers`.

mod attributes;
mod kinds;
mod md5;
mod reload;
mod repair;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vipcast_lab::lab::{Heard, Session};
use vipcast_lab::traffic::{self, Tally};
use vipcast_lab::{Lab, Node, gobgp as fourth, wait_for};

use crate::rack::{LONG, PATIENCE, Rack, VIPCAST, address, ask, wait_until_ready};

/// The LB nodes. The first runs GoBGP 3, the second GoBGP 4 where there is one.
const NODES: [&str; 2] = ["lb1", "lb2"];

/// Where the LB nodes of this lab have gobgpd: a link to either version, as an image has one or the other.
const GOBGPD: &str = "/opt/gobgpd";

/// A session of the lab's configurations, from both sides.
#[derive(Debug)]
struct Link {
    lb: &'static str,
    /// The peer in the LB node's words.
    peer: &'static str,
    tor: &'static str,
    /// The LB node in the ToR's words.
    neighbour: &'static str,
    /// The next hop that the ToR is told, or what it begins with.
    next_hop: &'static str,
    ipv4: bool,
    ipv6: bool,
}

const fn link(
    [lb, peer]: [&'static str; 2],
    [tor, neighbour]: [&'static str; 2],
    next_hop: &'static str,
    [ipv4, ipv6]: [bool; 2],
) -> Link {
    Link { lb, peer, tor, neighbour, next_hop, ipv4, ipv6 }
}

/// The families of a session.
const IPV4: [bool; 2] = [true, false];
const IPV6: [bool; 2] = [false, true];
const BOTH: [bool; 2] = [true, true];

/// The sessions: over IPv4 with GTSM, over IPv6 with RFC 8950, unnumbered, over IPv4 with MD5, over IPv6.
const LINKS: [Link; 10] = [
    link(["lb1", "10.0.1.1"], ["tor1", "10.0.1.2"], "10.0.1.2", IPV4),
    link(["lb1", "fd00:1::1"], ["tor1", "fd00:1::2"], "fd00:1::2", BOTH),
    link(["lb1", "eth2"], ["tor1", "eth3"], "fe80::", BOTH),
    link(["lb1", "10.0.3.1"], ["tor2", "lb1_ipv4"], "10.0.3.2", IPV4),
    link(["lb1", "fd00:3::1"], ["tor2", "lb1_ipv6"], "fd00:3::2", IPV6),
    link(["lb2", "10.0.2.1"], ["tor1", "10.0.2.2"], "10.0.2.2", IPV4),
    link(["lb2", "fd00:2::1"], ["tor1", "fd00:2::2"], "fd00:2::2", BOTH),
    link(["lb2", "eth2"], ["tor1", "eth5"], "fe80::", BOTH),
    link(["lb2", "10.0.4.1"], ["tor2", "lb2_ipv4"], "10.0.4.2", IPV4),
    link(["lb2", "fd00:4::1"], ["tor2", "lb2_ipv6"], "fd00:4::2", IPV6),
];

/// The sessions with MD5, as the ToR calls them.
const WITH_MD5: [&str; 2] = ["lb1_ipv4", "lb2_ipv4"];

impl Link {
    /// Does it carry this prefix?
    fn carries(&self, prefix: &str) -> bool {
        if prefix.contains(':') { self.ipv6 } else { self.ipv4 }
    }
}

/// A ToR with the name that it has for a neighbour.
type Neighbour = (&'static str, String);

/// The test of what the peers' lab shows, with both agents running and all sessions established.
fn with_peers(test: impl FnOnce(&mut Rack) -> Result<()>) -> Result<()> {
    let Some(rack) = Rack::peers()? else { return Ok(()) };
    rack.attempt(|rack| {
        for (name, program) in NODES.into_iter().zip(programs(&rack.lab)?) {
            set_gobgpd(rack.lab.node(name), &program)?;
            rack.configure(name, "bgp:\n", "bgp:\n  gobgpd: {spawn: ../../opt/gobgpd}\n")?;
            rack.agents.push(rack.lab.node(name).start_agent(VIPCAST)?);
        }
        wait_for_sessions(rack, &[])?;
        NODES.iter().try_for_each(|name| wait_until_ready(rack.lab.node(name)))?;
        test(rack)
    })
}

#[test]
fn sessions_of_every_kind_carry_packets_and_outlive_edits_passwords_and_repairs() -> Result<()> {
    with_peers(|rack| {
        attributes::all_routes_are_heard_as_configured(rack)?;
        kinds::each_kind_of_session_carries_packets(rack)?;
        reload::edits_change_what_they_say_and_disturb_nothing_else(rack)?;
        md5::passwords_are_proved_right_wrong_missing_and_rotated(rack)?;
        repair::routes_come_back_whatever_happens_to_gobgpd(rack)
    })
}

/// gobgpd 3, and gobgpd 4 where it was built; else the former twice, which is said.
fn programs(lab: &Lab) -> Result<[PathBuf; 2]> {
    let third = PathBuf::from("/usr/bin/gobgpd");
    let fourth = match fourth::Programs::find()? {
        Ok(_) => lab.node(NODES[1]).path(fourth::IN_NODE).join("gobgpd"),
        Err(why) => {
            writeln!(std::io::stderr(), "SKIPPED lab peers with GoBGP 4: {why:?}")?;
            third.clone()
        }
    };
    Ok([third, fourth])
}

/// Makes this the gobgpd that the node runs from the next start on.
fn set_gobgpd(node: &Node, program: &Path) -> Result<()> {
    let place = node.path(GOBGPD);
    fs::create_dir_all(place.parent().context("a folder")?)?;
    match fs::remove_file(&place) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(symlink(program, place)?),
    }
}

/// The gobgp that speaks to the node's gobgpd: each speaks only to a gobgpd of its own version.
fn gobgp(node: &Node, words: &[&str]) -> Result<String> {
    let socket = node.path("run/vipcast/gobgpd.sock");
    let target = format!("unix://{}", socket.display());
    let third = fs::read_link(node.path(GOBGPD))?.starts_with("/usr/bin");
    let program = if third { PathBuf::from("gobgp") } else { node.path(fourth::IN_NODE).join("gobgp") };
    Ok(node.command(program).args(["--target", &target]).args(words).run()?.stdout)
}

/// All sessions that the ToRs know.
fn sessions(rack: &Rack) -> Result<BTreeMap<Neighbour, Session>> {
    let mut all = BTreeMap::new();
    for tor in ["tor1", "tor2"] {
        all.extend(rack.lab.node(tor).sessions()?.into_iter().map(|(name, session)| ((tor, name), session)));
    }
    Ok(all)
}

/// Waits until all sessions of the lab's configurations, and these more of tor2, are established.
fn wait_for_sessions(rack: &Rack, more: &[&str]) -> Result<()> {
    wait_for(LONG, "all sessions", || {
        let now = sessions(rack)?;
        let wanted = LINKS.iter().map(|link| (link.tor, link.neighbour)).chain(more.iter().map(|name| ("tor2", *name)));
        let established = |(tor, name): (_, &str)| now.get(&(tor, name.to_owned())).is_some_and(|s| s.established);
        let missing: Vec<_> = wanted.filter(|neighbour| !established(*neighbour)).collect();
        Ok(if missing.is_empty() { Ok(()) } else { Err(missing) })
    })
}

/// All sessions that were established before are the same ones, but for these of tor2.
fn ensure_undisturbed(rack: &Rack, before: &BTreeMap<Neighbour, Session>, except: &[&str]) -> Result<()> {
    let now = sessions(rack)?;
    for (neighbour, then) in before.iter().filter(|((_, name), then)| then.established && !except.contains(&&**name)) {
        let session = now.get(neighbour).with_context(|| format!("no session {neighbour:?}"))?;
        ensure!(then.went_on(session), "the session {neighbour:?} was lost: {then:?}, then {session:?}");
    }
    Ok(())
}

/// What a ToR is to hear of a route over one of the sessions, but for the next hop, which follows from that.
type Expected<'a> = &'a dyn Fn(&Link) -> Option<Heard>;

/// Waits until both ToRs hear exactly this of a prefix.
fn wait_for_heard(rack: &Rack, prefix: &str, expected: Expected) -> Result<()> {
    let wanted: BTreeMap<Neighbour, Heard> = LINKS
        .iter()
        .filter(|link| link.carries(prefix))
        .filter_map(|link| {
            let heard = Heard { next_hop: link.next_hop.to_owned(), ..expected(link)? };
            Some(((link.tor, link.neighbour.to_owned()), heard))
        })
        .collect();
    wait_for(LONG, &format!("{prefix} as {wanted:#?}"), || {
        let now = heard(rack, prefix)?;
        Ok(if now == wanted { Ok(()) } else { Err(now) })
    })
}

/// What both ToRs hear of a prefix over the sessions of the lab's configurations, as far as all of them can tell.
fn heard(rack: &Rack, prefix: &str) -> Result<BTreeMap<Neighbour, Heard>> {
    let mut all = BTreeMap::new();
    for tor in ["tor1", "tor2"] {
        for (name, heard) in rack.lab.node(tor).heard(prefix)? {
            if LINKS.iter().any(|link| link.tor == tor && link.neighbour == name) {
                all.insert((tor, name), across_ases(heard));
            }
        }
    }
    Ok(all)
}

/// A link-local next hop is as good as another, and a local preference that comes from another AS is the ToR's own.
fn across_ases(heard: Heard) -> Heard {
    let next_hop = if heard.next_hop.starts_with("fe80::") { "fe80::".to_owned() } else { heard.next_hop };
    Heard { next_hop, local_pref: None, ..heard }
}

/// What the configuration and the Service make of a route, before what is done for single peers.
#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    communities: &'static [&'static str],
    large_communities: &'static [&'static str],
    med: Option<u32>,
    prepend: usize,
}

impl Attributes {
    /// What arrives over a session, with what the lab's configurations do for its peer.
    fn over(self, link: &Link) -> Heard {
        let (communities, prepend, med) = match (link.tor, link.ipv4, link.ipv6) {
            ("tor1", true, false) => (&["no-export"][..], 0, None),
            ("tor1", ..) => (&[][..], 0, None),
            (_, true, _) => (&[][..], 2, None),
            _ => (&[][..], 2, Some(50)),
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
        Heard {
            as_path: vec![65001; 1 + self.prepend + prepend],
            communities: words(&[self.communities, communities].concat()),
            large_communities: words(self.large_communities),
            med: med.or(self.med),
            ..Heard::default()
        }
    }
}

/// Every pod answers, by way of both LB nodes.
fn ensure_served(rack: &Rack, client: &str, targets: &[&str]) -> Result<()> {
    for target in targets {
        let tally = tally(rack, client, target)?;
        let spread = tally.by_pod().len() == 2 && tally.by_source().len() == 2;
        ensure!(tally.failures.is_empty() && spread, "{client} to {target}: {tally:?}");
    }
    Ok(())
}

fn tally(rack: &Rack, client: &str, target: &str) -> Result<Tally> {
    traffic::tcp(rack.lab.node(client).netns(), address(target), 40, PATIENCE)
}

/// The agent's status.
fn status(node: &Node) -> Result<Value> {
    Ok(serde_json::from_str(&ask(node, "/status")?.1)?)
}

/// What the agent says of a peer.
fn peer_status(node: &Node, peer: &str) -> Result<Value> {
    let status = status(node)?;
    let peers = status["bgp"]["peers"].as_array().context("a list of peers")?;
    peers.iter().find(|found| found["name"] == peer).cloned().with_context(|| format!("no peer {peer}: {peers:?}"))
}
