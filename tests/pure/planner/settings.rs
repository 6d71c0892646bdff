//! The configuration changes, the annotations of the Node say something else, passwords come from Secrets.

use std::time::Duration;

use vipcast::model::bgp::{Bgp, Community, Peer, PeerName, SecretKey};
use vipcast::model::node::{Node, Overrides, Unread};
use vipcast::model::settings::{Announce, BgpSettings, PeerEntry};
use vipcast::model::{Event, Family, Object, Secret, Settings};
use vipcast::plan::Change;

use crate::support::build::{dual_stack, ip, range, selector, settings, web};
use crate::support::rig::Rig;

fn at_rest(settings: Settings) -> Rig {
    let mut rig = Rig::new(settings);
    rig.list(web()).run();
    rig
}

/// `settings` as `edit` leaves their `bgp`.
fn with_bgp(mut settings: Settings, edit: impl FnOnce(&mut BgpSettings)) -> Settings {
    edit(settings.bgp.as_mut().unwrap());
    settings
}

fn edit(rig: &mut Rig, settings: Settings) -> Vec<String> {
    rig.change(Change::Settings(Box::new(settings))).steps()
}

fn peer(address: &str) -> PeerEntry {
    PeerEntry::new(ip(address), Peer::new(65000, [Family::of(ip(address))]))
}

/// What single edits lead to, and to nothing else.
#[test]
fn an_edit_touches_what_it_changes() {
    let table: [(&str, Settings, &[&str]); 8] = [
        ("nothing", dual_stack(), &[]),
        ("resync", Settings { resync: Duration::from_secs(60), ..dual_stack() }, &[]),
        (
            "another hold time of one peer",
            with_bgp(dual_stack(), |bgp| bgp.peers[0].peer.hold_time = Duration::from_secs(30)),
            &["delete peer 10.0.1.1", "add peer 10.0.1.1 AS 65000"],
        ),
        (
            "a third peer",
            with_bgp(dual_stack(), |bgp| bgp.peers.push(peer("10.0.1.9"))),
            &["add peer 10.0.1.9 AS 65000"],
        ),
        (
            "one peer less",
            with_bgp(dual_stack(), |bgp| drop(bgp.peers.pop())),
            &["withdraw fd00:10:96::/112", "delete peer fd01::1"],
        ),
        (
            "a community",
            with_bgp(dual_stack(), |bgp| bgp.attributes.communities = [Community(7)].into()),
            &["announce 10.96.0.0/16", "announce fd00:10:96::/112"],
        ),
        (
            "one range that is not announced any more",
            settings(&[range("10.96.0.0/16", Announce::Aggregate), range("fd00:10:96::/112", Announce::None)]),
            &["withdraw fd00:10:96::/112"],
        ),
        ("a router ID that gobgpd has", with_bgp(dual_stack(), |bgp| bgp.router_id = Some([10, 0, 1, 2].into())), &[]),
    ];
    for (what, settings, expected) in table {
        assert_eq!(edit(&mut at_rest(dual_stack()), settings), expected, "{what}");
    }
    // Another AS number is another speaker.
    let steps = edit(&mut at_rest(dual_stack()), with_bgp(dual_stack(), |bgp| bgp.asn = 65009));
    assert!(steps.contains(&"start BGP: AS 65009, router ID 10.0.1.2".to_owned()), "{steps:#?}");
}

/// A resync that comes earlier is not waited for as long as the one before.
#[test]
fn a_shorter_period_counts_at_once() {
    let mut rig = at_rest(dual_stack());
    let before = rig.planner.next_resync();
    rig.change(Change::Settings(Box::new(Settings { resync: Duration::from_secs(10), ..dual_stack() })));
    assert_eq!(rig.planner.next_resync(), rig.now + Duration::from_secs(10));
    assert!(rig.planner.next_resync() < before);
}

fn secret() -> SecretKey {
    SecretKey { namespace: "vipcast".into(), name: "tor".into(), key: "password".into() }
}

/// The first peer's password is in a Secret.
fn with_secret() -> Settings {
    with_bgp(dual_stack(), |bgp| bgp.peers[0].secret = Some(secret()))
}

fn tell_secret(rig: &mut Rig, value: Result<&str, &str>) -> Vec<String> {
    let value = value.map(Secret::new).map_err(str::to_owned);
    rig.change(Change::Secret(secret(), value)).steps()
}

fn problem(rig: &Rig, peer: &str) -> Option<String> {
    let peers = rig.planner.status().bgp.unwrap().peers;
    peers.into_iter().find(|found| found.name == peer).unwrap().problem
}

const ROTATED: [&str; 2] = ["delete peer 10.0.1.1", "add peer 10.0.1.1 AS 65000"];

#[test]
fn a_peer_waits_for_its_password_and_follows_it() {
    let mut rig = Rig::new(with_secret());
    let steps = rig.list(web()).steps();
    assert_eq!(rig.planner.wanted_secrets(), &[secret()].into());
    assert!(!rig.planner.is_told());
    let added =
        |steps: &[String]| steps.iter().filter(|step| step.starts_with("add peer")).cloned().collect::<Vec<_>>();
    assert_eq!(added(&steps), ["add peer fd01::1 AS 65000"]);
    let waits = "waits for its password, in the Secret vipcast/tor[password]; nothing is told to gobgpd meanwhile";
    assert_eq!(problem(&rig, "10.0.1.1").as_deref(), Some(waits));
    assert_eq!(tell_secret(&mut rig, Ok("hunter2")), ["add peer 10.0.1.1 AS 65000"]);
    assert!(rig.planner.is_told());
    assert_eq!(problem(&rig, "10.0.1.1"), None);
    assert_eq!(tell_secret(&mut rig, Ok("hunter2")), [] as [&str; 0]);
    assert_eq!(tell_secret(&mut rig, Ok("hunter3")), ROTATED);
    // It stays as it is while nobody knows the password.
    assert_eq!(tell_secret(&mut rig, Err("does not exist")), [] as [&str; 0]);
    let lost = "Secret vipcast/tor[password] does not exist; the peer stays as gobgpd has it";
    assert_eq!(problem(&rig, "10.0.1.1").as_deref(), Some(lost));
    let password = |rig: &Rig| {
        let bgp = rig.node.state.bgp.as_ref().unwrap();
        bgp.peers.get(&ip("10.0.1.1").into()).map(|peer| peer.password.clone())
    };
    assert_eq!(password(&rig), Some(Some(Secret::new("hunter3"))));
    // So it does after a restart, and never comes back without its password when gobgpd has lost it.
    let mut next = Rig::on(with_secret(), rig.node.clone());
    assert_eq!(next.list(web()).steps(), [] as [&str; 0]);
    assert_eq!(tell_secret(&mut next, Err("is empty")), [] as [&str; 0]);
    next.change(Change::SpeakerDown("killed".into()));
    next.node.state.bgp = None;
    next.change(Change::SpeakerUp).run();
    assert_eq!(password(&next), None);
    assert_eq!(tell_secret(&mut next, Ok("hunter3")), ["add peer 10.0.1.1 AS 65000"]);
    // Nobody wants it any more.
    assert_eq!(edit(&mut next, dual_stack()), ROTATED);
    assert!(next.planner.wanted_secrets().is_empty());
    assert_eq!(next.planner.plan(next.now).secrets, None, "told with the plan that followed from the edit");
    // Asked for again, it is read again.
    assert_eq!(edit(&mut next, with_secret()), [] as [&str; 0]);
    assert_eq!(tell_secret(&mut next, Ok("hunter4")), ROTATED);
    assert!(!format!("{:?}", next.planner).contains("hunter"));
}

fn node(bgp: Overrides) -> Event {
    Event::Put(Object::Node(Node { bgp, ..Node::default() }))
}

fn routes(rig: &Rig) -> Vec<String> {
    rig.node.state.bgp.iter().flat_map(|bgp| bgp.paths.keys()).map(ToString::to_string).collect()
}

fn speaker(rig: &Rig) -> (u32, Vec<String>) {
    let bgp = rig.node.state.bgp.clone().unwrap();
    (bgp.global.unwrap().asn, bgp.peers.keys().map(ToString::to_string).collect())
}

#[test]
fn annotations_say_what_is_other_on_this_node() {
    let own = || PeerEntry::new(ip("10.0.1.1"), Peer::new(65100, []));
    let overrides =
        || Overrides { asn: Some(65009), peers: Some(vec![own(), peer("10.0.1.9")]), ..Overrides::default() };
    let mut rig = Rig::new(dual_stack());
    let steps = rig.list(web().into_iter().chain([node(overrides())])).steps();
    let begins = |word: &str| steps.iter().filter(|step| step.starts_with(word)).cloned().collect::<Vec<_>>();
    // The identity is right from the first moment on.
    assert_eq!(begins("start BGP"), ["start BGP: AS 65009, router ID 10.0.1.2"]);
    let peers = ["add peer 10.0.1.1 AS 65100", "add peer 10.0.1.9 AS 65000", "add peer fd01::1 AS 65000"];
    assert_eq!(begins("add peer"), peers);

    // What is not understood stays as it was.
    let unread = Unread { asn: true, router_id: true, peers: true };
    let slip = || node(Overrides { unread, ..Overrides::default() });
    assert_eq!(rig.tell(slip()).steps(), [] as [&str; 0]);
    // An agent that has never understood it deletes nothing.
    let mut next = Rig::on(dual_stack(), rig.node.clone());
    next.list(web().into_iter().chain([slip()])).run();
    assert_eq!(speaker(&next), speaker(&rig));
    next.tell(node(Overrides::default())).run();
    assert_eq!(speaker(&next), (65001, vec!["10.0.1.1".to_owned(), "fd01::1".to_owned()]));

    // A peer that does not go with the rest stays as it is, and is told of.
    let misfit = PeerEntry::new(ip("10.0.1.1"), Peer::new(65100, [Family::Ipv6]));
    let overrides = Overrides { peers: Some(vec![misfit, peer("10.0.1.9")]), ..Overrides::default() };
    assert_eq!(next.tell(node(overrides)).steps(), ["add peer 10.0.1.9 AS 65000"]);
    let problem = problem(&next, "10.0.1.1").unwrap();
    assert!(problem.starts_with("families, with ipv6 over an IPv4 session"), "{problem}");
    assert!(problem.ends_with("; the peer stays as gobgpd has it"), "{problem}");
}

/// The lines of the log of a run.
fn news(rig: &mut Rig) -> Vec<String> {
    rig.run().iter().flat_map(|stage| &stage.news).map(ToString::to_string).collect()
}

/// Edits and repairs of peers and policies have their lines, with the cause.
#[test]
fn the_log_says_why_peers_and_policies_change() {
    const ADDED: &str = "added peer 10.0.1.1 AS 65000";
    const ANEW: &str = "added peer 10.0.1.1 AS 65000: anew, with the keys that it has now";
    let mut rig = Rig::new(dual_stack());
    let first = news(rig.list(web()));
    assert!(first.contains(&format!("{ADDED}: it is one of the peers of this node")), "{first:#?}");
    assert!(
        first.contains(&"set the import policy in gobgpd for 0.0.0.0/0, ::/0: gobgpd had none".into()),
        "{first:#?}"
    );

    let settings = with_bgp(dual_stack(), |bgp| bgp.peers[0].peer.hold_time = Duration::from_secs(30));
    rig.change(Change::Settings(Box::new(settings.clone())));
    assert_eq!(news(&mut rig), ["deleted peer 10.0.1.1: its keys are others now", ANEW]);
    let med = |med, settings| with_bgp(settings, |bgp| bgp.peers[0].export.attributes.med = Some(med));
    rig.change(Change::Settings(Box::new(med(5, settings.clone()))));
    assert_eq!(news(&mut rig), ["set the export policy in gobgpd for 10.0.1.1: gobgpd had none"]);
    rig.change(Change::Settings(Box::new(med(6, settings.clone()))));
    assert_eq!(news(&mut rig), ["set the export policy in gobgpd for 10.0.1.1: it is another one for 10.0.1.1"]);

    let peer: PeerName = ip("10.0.1.1").into();
    type Meddle<'a> = &'a dyn Fn(&mut Bgp);
    let turns: [(Meddle, &[&str]); 5] = [
        (&|bgp| drop(bgp.peers.remove(&peer)), &["added peer 10.0.1.1 AS 65000: it was gone from gobgpd"]),
        (
            &|bgp| bgp.peers.get_mut(&peer).unwrap().hold_time = Duration::from_secs(9),
            &["deleted peer 10.0.1.1: it was changed in gobgpd", ANEW],
        ),
        (
            &|bgp| drop(bgp.peers.insert(ip("10.0.1.7").into(), Peer::new(65000, [Family::Ipv4]))),
            &["deleted peer 10.0.1.7: it is not among the peers of this node"],
        ),
        (&|bgp| bgp.exports = None, &["set the export policy in gobgpd for 10.0.1.1: it was gone from gobgpd"]),
        (
            &|bgp| bgp.rejected = Some(Default::default()),
            &["set the import policy in gobgpd for 0.0.0.0/0, ::/0: it was changed in gobgpd"],
        ),
    ];
    for (meddle, expected) in turns {
        meddle(rig.node.state.bgp.as_mut().unwrap());
        rig.change(Change::SpeakerMoved);
        assert_eq!(news(&mut rig), expected);
    }
    // Each of them was a repair.
    let repairs = rig.planner.status().bgp.unwrap().repairs;
    assert_eq!((repairs["peer"], repairs["policy"]), (3, 2));

    rig.change(Change::Settings(Box::new(with_bgp(settings, |bgp| drop(bgp.peers.remove(0))))));
    let last = news(&mut rig);
    assert!(
        last.contains(&"removed the export policy from gobgpd: it is another one for 10.0.1.1".into()),
        "{last:#?}"
    );
    assert!(last.contains(&"deleted peer 10.0.1.1: it is not among the peers of this node".into()), "{last:#?}");
}

/// The node's only peers are those of its annotations, and an agent starts that does not understand these.
#[test]
fn routes_stay_while_peers_of_annotations_are_not_understood() {
    let elsewhere = || {
        with_bgp(dual_stack(), |bgp| {
            bgp.peers.iter_mut().for_each(|entry| entry.node_selector = selector("rack=other"));
        })
    };
    let peers = || Some(vec![peer("10.0.1.8"), peer("fd01::8")]);
    let ranges = ["10.96.0.0/16", "fd00:10:96::/112"];
    for settings in [elsewhere(), with_bgp(dual_stack(), |bgp| bgp.peers.clear())] {
        let mut rig = Rig::new(settings.clone());
        rig.list(web().into_iter().chain([node(Overrides { peers: peers(), ..Overrides::default() })])).run();
        assert_eq!(routes(&rig), ranges);
        let mut next = Rig::on(settings, rig.node);
        let unread = Unread { peers: true, ..Unread::default() };
        let slip = node(Overrides { unread, ..Overrides::default() });
        assert_eq!(next.list(web().into_iter().chain([slip])).steps(), [] as [&str; 0]);
        assert_eq!(routes(&next), ranges);
        // Understood, they are what is to be.
        let gone = next.tell(node(Overrides { peers: Some(vec![peer("10.0.1.8")]), ..Overrides::default() })).steps();
        assert_eq!(gone, ["withdraw fd00:10:96::/112", "delete peer fd01::8"]);
    }
}

/// A peer of the annotations that an accepted edit of the file makes impossible keeps its session.
#[test]
fn an_edit_of_the_file_ends_no_session_of_the_annotations() {
    let mut rig = Rig::new(dual_stack());
    let inside = PeerEntry::new(ip("10.0.1.8"), Peer::new(65001, []));
    rig.list(web().into_iter().chain([node(Overrides { peers: Some(vec![inside]), ..Overrides::default() })])).run();
    let before = rig.node.state.bgp.clone().unwrap().peers;
    assert!(before.contains_key(&ip("10.0.1.8").into()));
    let steps = edit(&mut rig, with_bgp(dual_stack(), |bgp| bgp.attributes.prepend = Some(1)));
    assert_eq!(steps, ["announce 10.96.0.0/16", "announce fd00:10:96::/112"]);
    assert_eq!(rig.node.state.bgp.as_ref().unwrap().peers, before);
    let problem = problem(&rig, "10.0.1.8").unwrap();
    assert!(problem.starts_with("asn, which is this node's own, while routes have prepends"), "{problem}");
}

/// What an agent that leaves has to do is decided.
#[test]
fn who_leaves_reads_no_more_edits() {
    let mut rig = at_rest(dual_stack());
    rig.change(Change::Leave(vipcast::plan::change::Leave::Withdraw));
    let steps = edit(&mut rig, with_bgp(dual_stack(), |bgp| bgp.peers.push(peer("10.0.1.9"))));
    assert_eq!(steps, ["withdraw 10.96.0.0/16", "withdraw fd00:10:96::/112"]);
}
