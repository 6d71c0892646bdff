//! `vipcast status`.

use vipcast::cli::status::Answer;
use vipcast::model::bgp::{NextHop, Path, Session, SessionState};
use vipcast::model::settings::Announce;
use vipcast::model::{Prefix, Settings};
use vipcast::plan::Change;

use super::{NOW, check, converse, up};
use crate::support::build::{dual_stack, prefix, range, service_created, settings, slice, web};
use crate::support::rig::Rig;
use vipcast::model::Family;

fn answer(rig: &Rig) -> Answer {
    Answer { agent: true, status: rig.planner.status() }
}

fn nothing(_: &vipcast::model::bgp::PeerName, _: &Prefix) -> bool {
    false
}

#[test]
fn a_good_night() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    converse(&mut rig, nothing);
    let answer = answer(&rig);
    check("status-good.txt", &answer.text(NOW));
    check("status-good.json", &(serde_json::to_string_pretty(&answer).unwrap() + "\n"));
}

/// A gobgpd that is somebody else's too, host routes, a session that is down, one that lacks a family, a Service that lost
/// its VIP, and a route that a policy of somebody else's keeps back.
#[test]
fn a_bad_night() {
    let base = settings(&[range("10.96.0.0/16", Announce::Host), range("fd00:10:96::/112", Announce::Aggregate)]);
    let bgp = base.bgp.clone().map(|mut bgp| {
        bgp.exclusive = false;
        bgp.attributes.communities.insert("65001:100".parse().unwrap());
        bgp.peers[0].peer.families.insert(Family::Ipv6);
        bgp
    });
    let mut rig = Rig::new(Settings { bgp, ..base });
    rig.list(web());
    rig.tell(service_created(5, "late", &["10.96.0.10"], &[("http", 80)]));
    rig.tell(slice("late", "late", &[("http", 80)], &["10.244.7.7"]));
    rig.run();
    let foreign = Path::new(NextHop::Own);
    rig.node.state.bgp.as_mut().unwrap().paths.insert(prefix("203.0.113.0/24"), foreign);
    converse(&mut rig, |_, prefix| *prefix == "10.96.0.10/32".parse().unwrap());
    up(&mut rig, "10.0.1.1", "10.0.1.2", &[Family::Ipv4]);
    let down = Session { reason: Some("hold timer expired".into()), flaps: 3, ..Session::new(SessionState::Active) };
    rig.change(Change::Session("fd01::1".parse().unwrap(), down)).run();
    check("status-bad.txt", &answer(&rig).text(NOW));
}

#[test]
fn no_gobgpd() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    rig.change(Change::SpeakerGone("/run/vipcast/gobgpd.sock: connection refused".into()));
    check("status-no-gobgpd.txt", &answer(&rig).text(NOW));
}
