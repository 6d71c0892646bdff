//! What an operator sees, kept as files in `golden`: `VIPCAST_REGENERATE=1 cargo test --test pure golden` writes them anew.
//! Everything in them comes from the real planner on the model of a node; what it does not decide (the sessions) is told to
//! it as sensors would.

mod explain;
mod status;

use std::fs;
use std::path::Path;
use std::time::Duration;

use vipcast::cli::explain::Answer;
use vipcast::model::Family;
use vipcast::model::bgp::{PeerName, Session, SessionState};
use vipcast::plan::rehearse::ask;
use vipcast::plan::{Change, Report};

use crate::support::build::ip;
use crate::support::rig::Rig;

/// When all sessions came up: 2026-11-21T20:00:00Z.
const UP: i64 = 1_795_291_200;

/// When an operator looks: 3 hours and 25 minutes later.
const NOW: i64 = UP + 3 * 3600 + 25 * 60;

/// `text` is what the file `name` holds.
fn check(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pure/golden").join(name);
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

#[test]
fn the_readme_shows_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for name in ["status-good.txt", "explain-port.txt", "explain-no-endpoints.txt"] {
        let text = fs::read_to_string(root.join("tests/pure/golden").join(name)).unwrap();
        assert!(readme.contains(&format!("```\n{text}```")), "the README should show {name}");
    }
}

/// The session of `peer` is this one now.
fn session(rig: &mut Rig, peer: &str, session: Session) {
    let peer: PeerName = peer.parse().unwrap();
    rig.node.sessions.insert(peer.clone(), session.clone());
    rig.node.send_paths(None);
    rig.change(Change::Session(peer, session));
}

/// The session of `peer` is up, with these families, at this end of it.
fn up(rig: &mut Rig, peer: &str, local: &str, families: &[Family]) {
    let up = Session {
        since: Some(UP),
        local_address: Some(ip(local)),
        families: families.iter().copied().collect(),
        ..Session::new(SessionState::Established)
    };
    session(rig, peer, up);
}

/// Both sessions are up, and all was sent.
fn converse(rig: &mut Rig) {
    up(rig, "10.0.1.1", "10.0.1.2", &[Family::Ipv4]);
    up(rig, "fd01::1", "fd01::2", &[Family::Ipv6]);
    rig.run();
}

/// A minute in which a policy of somebody else's keeps the routes of `family` back.
fn keep_back(rig: &mut Rig, family: Family) {
    let end = rig.now + Duration::from_secs(60);
    while rig.now < end {
        let plan = rig.planner.plan(rig.now);
        for step in plan.steps {
            for sent in rig.node.state.bgp.iter_mut().flat_map(|bgp| bgp.sent.values_mut()) {
                sent.retain(|prefix, _| prefix.family() != family);
            }
            let outcome = rig.node.perform_one(&step);
            rig.change(Change::Report(Report { step, outcome }));
        }
        rig.now = rig.now + Duration::from_millis(100);
    }
}

/// What `vipcast explain OF` prints.
fn explained(rig: &mut Rig, of: &str) -> Answer {
    let explanation = ask(&mut rig.planner, &mut rig.node, of.parse().unwrap(), rig.now).unwrap();
    Answer { agent: true, explanation }
}
