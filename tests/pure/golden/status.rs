//! `vipcast status`.

use vipcast::cli::status::Answer;
use vipcast::model::bgp::{NextHop, Path, Session, SessionState};
use vipcast::model::settings::Announce;
use vipcast::model::{Family, Settings};
use vipcast::plan::Change;

use super::{NOW, check, converse, keep_back, session};
use crate::support::build::{dual_stack, prefix, range, service_created, settings, slice, web};
use crate::support::rig::Rig;

fn answer(rig: &Rig) -> Answer {
    Answer { agent: true, status: rig.planner.status() }
}

#[test]
fn a_good_night() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    converse(&mut rig);
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
    converse(&mut rig);
    let down = Session { reason: Some("hold timer expired".into()), flaps: 3, ..Session::new(SessionState::Active) };
    session(&mut rig, "fd01::1", down);
    rig.change(Change::SpeakerMoved);
    keep_back(&mut rig, Family::Ipv4);
    check("status-bad.txt", &answer(&rig).text(NOW));
}

#[test]
fn no_gobgpd() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    rig.change(Change::SpeakerGone("/run/vipcast/gobgpd.sock: connection refused".into()));
    check("status-no-gobgpd.txt", &answer(&rig).text(NOW));
}
