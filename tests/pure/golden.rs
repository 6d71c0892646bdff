//! What an operator sees, kept as files in `golden`: `VIPCAST_REGENERATE=1 cargo test --test pure golden` writes them anew.
//! Everything in them comes from the real planner on the model of a node; somebody else's part (the sessions, what gobgpd
//! sent) is told to it as sensors would.

mod explain;
mod status;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as File;

use vipcast::cli::explain::Answer;
use vipcast::model::bgp::{NextHop, Path, PeerName, Session, SessionState};
use vipcast::model::{Family, Prefix};
use vipcast::plan::Change;
use vipcast::plan::rehearse::ask;

use crate::support::build::ip;
use crate::support::rig::Rig;

/// When all sessions came up: 2026-11-21T20:00:00Z.
const UP: i64 = 1_795_291_200;

/// When an operator looks: 3 hours and 25 minutes later.
const NOW: i64 = UP + 3 * 3600 + 25 * 60;

/// `text` is what the file `name` holds.
fn check(name: &str, text: &str) {
    let file = File::new(env!("CARGO_MANIFEST_DIR")).join("tests/pure/golden").join(name);
    if std::env::var_os("VIPCAST_REGENERATE").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == text,
        "{name} is not what is said now; if that is meant, run this with VIPCAST_REGENERATE=1\n{written}\n--- now:\n{text}"
    );
    if name.ends_with(".txt") {
        let wide = text.lines().find(|line| line.chars().count() > 100);
        assert_eq!(wide, None, "wider than a terminal");
    }
}

/// The session of `peer` is up, with these families, at this end of it.
fn up(rig: &mut Rig, peer: &str, local: &str, families: &[Family]) {
    let session = Session {
        since: Some(UP),
        local_address: Some(ip(local)),
        families: families.iter().copied().collect(),
        ..Session::new(SessionState::Established)
    };
    rig.change(Change::Session(peer.parse().unwrap(), session));
}

/// Both sessions are up, and gobgpd has sent each what it holds and may send, but for what `keeps` keeps back.
fn converse(rig: &mut Rig, keeps: impl Fn(&PeerName, &Prefix) -> bool) {
    up(rig, "10.0.1.1", "10.0.1.2", &[Family::Ipv4]);
    up(rig, "fd01::1", "fd01::2", &[Family::Ipv6]);
    send(rig, "10.0.1.1", "10.0.1.2", &keeps);
    send(rig, "fd01::1", "fd01::2", &keeps);
    rig.change(Change::SpeakerMoved).run();
}

/// gobgpd sends `peer` what it holds of the peer's family, as to another AS.
fn send(rig: &mut Rig, peer: &str, local: &str, keeps: &impl Fn(&PeerName, &Prefix) -> bool) {
    let name: PeerName = peer.parse().unwrap();
    let bgp = rig.node.state.bgp.as_mut().unwrap();
    let goes = |prefix: &Prefix| prefix.family() == Family::of(ip(peer)) && !keeps(&name, prefix);
    let sent = bgp.paths.iter().filter(|(prefix, _)| goes(prefix)).map(|(prefix, path)| {
        let mut as_path = path.as_path.clone();
        as_path.insert(0, 65001);
        (*prefix, Path { next_hop: NextHop::Address(ip(local)), as_path, local_pref: None, ..path.clone() })
    });
    let sent: BTreeMap<Prefix, Path> = sent.collect();
    bgp.sent.insert(name, sent);
}

/// What `vipcast explain OF` prints.
fn explained(rig: &mut Rig, of: &str) -> Answer {
    let explanation = ask(&mut rig.planner, &mut rig.node, of.parse().unwrap(), rig.now).unwrap();
    Answer { agent: true, explanation }
}
