//! What the speaker is told to hold to: the lease, and BFD sessions that watch BGP peers or announce by themselves.

use std::time::Duration;

use vipcast::model::Settings;
use vipcast::model::bfd::{BfdState, BfdStatus, Distance, Session, Timers};
use vipcast::model::bgp::{Peer, PeerName, SHUT_DOWN, SessionState, Ttl};
use vipcast::model::fleet::Stance;
use vipcast::model::lease::{LeaseState, LeaseStatus};
use vipcast::model::orders::Orders;
use vipcast::model::settings::{Announce, Bfd, BfdEntry, Drain, PeerBfd, PeerEntry};
use vipcast::plan::change::{Command, Leave};
use vipcast::plan::{Change, Outcome, Report, Step};

use crate::support::build::{dual_stack, ip, node, range, selector, settings, web};
use crate::support::rig::Rig;

const FAST: Timers = Timers { interval: Duration::from_millis(50), multiplier: 3 };

fn entry(name: &str) -> BfdEntry {
    BfdEntry {
        name: name.parse().unwrap(),
        node_selector: Default::default(),
        timers: FAST,
        local_address: None,
        distance: Distance::SingleHop,
    }
}

/// Static routes on the switch and no BGP.
fn without_bgp() -> Settings {
    let bfd = Bfd { peers: vec![entry("10.0.1.1")], ..Bfd::default() };
    Settings { bgp: None, bfd, ..settings(&[range("10.96.0.0/16", Announce::Aggregate)]) }
}

/// The session with the switch is up.
fn up(rig: &mut Rig) {
    let told = BfdStatus {
        state: BfdState::Up,
        remote: BfdState::Up,
        reason: None,
        since: 0,
        interval: FAST.interval,
        detection: Some(Duration::from_millis(150)),
        flaps: 1,
        damped: None,
        problem: None,
    };
    rig.change(Change::Bfd("10.0.1.1".parse().unwrap(), told));
}

fn orders(rig: &Rig) -> &Orders {
    rig.planner.given_orders().unwrap()
}

fn session<'a>(rig: &'a Rig, peer: &str) -> Option<&'a Session> {
    orders(rig).bfd.get(&peer.parse::<PeerName>().unwrap())
}

/// Is the session with the switch to be up?
fn stands(rig: &Rig) -> bool {
    session(rig, "10.0.1.1").unwrap().enabled
}

#[test]
fn a_bgp_peer_is_watched_as_far_away_as_it_may_be() {
    let mut settings = dual_stack();
    let bgp = settings.bgp.as_mut().unwrap();
    let watched = |name: &str, peer: Peer| PeerEntry {
        bfd: Some(PeerBfd { interval: Some(FAST.interval), multiplier: Some(FAST.multiplier), multihop: None }),
        ..PeerEntry::new(ip(name), peer)
    };
    let peer = |asn, ttl| Peer { ttl, ..Peer::new(asn, vipcast::model::Family::ALL) };
    bgp.peers = vec![
        watched("10.0.1.1", Peer { local_address: Some(ip("10.0.1.2")), ..peer(65000, Ttl::Default) }),
        watched("10.0.1.3", peer(65000, Ttl::Multihop(2))),
        watched("10.0.1.4", peer(65000, Ttl::Security(1))),
        watched("10.0.1.5", peer(65000, Ttl::Security(3))),
        PeerEntry::new(ip("10.0.1.6"), peer(65000, Ttl::Default)),
        PeerEntry { node_selector: selector("rack=b"), ..watched("10.0.1.7", peer(65000, Ttl::Default)) },
    ];
    let mut rig = Rig::new(settings);
    rig.list(web().into_iter().chain([node("rack=a")])).run();
    let distances = ["10.0.1.1", "10.0.1.3", "10.0.1.4", "10.0.1.5"].map(|peer| session(&rig, peer).unwrap().distance);
    let expected = [Distance::SingleHop, Distance::Multihop(1), Distance::SingleHop, Distance::Multihop(253)];
    assert_eq!(distances, expected);
    let first = session(&rig, "10.0.1.1").unwrap();
    assert_eq!(
        *first,
        Session { timers: FAST, local_address: Some(ip("10.0.1.2")), distance: Distance::SingleHop, enabled: true }
    );
    assert_eq!(orders(&rig).bfd.len(), 4);
    assert!(orders(&rig).announced_by.is_empty());
    // Nothing proves the data plane while the agent is upgraded.
    assert_eq!((orders(&rig).owned.as_ref(), orders(&rig).ttl), (None, Duration::from_secs(120)));

    // At rest nothing is said again; without the label nothing is watched, once gobgpd has no peer any more.
    assert!(rig.planner.plan(rig.now).orders.is_none());
    rig.change(Change::Leave(Leave::Remove)).run();
    assert!(orders(&rig).bfd.is_empty());
}

#[test]
fn in_a_gobgpd_of_others_only_our_ranges_are_ours() {
    let mut settings = dual_stack();
    settings.bgp.as_mut().unwrap().exclusive = false;
    let mut rig = Rig::new(settings);
    rig.list(web()).run();
    let owned: Vec<String> = orders(&rig).owned.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(owned, ["10.96.0.0/16", "fd00:10:96::/112"]);
}

#[test]
fn a_session_that_announces_comes_up_with_the_proof_and_goes_down_before_what_it_promises() {
    let mut rig = Rig::new(without_bgp());
    rig.run();
    // Nothing is said before it is decided.
    assert!(rig.planner.given_orders().is_none());
    rig.list(web()).run();
    assert!(stands(&rig));
    assert_eq!(orders(&rig).announced_by, ["10.0.1.1".parse().unwrap()].into());

    // The node's address is gone: nothing can be promised.
    rig.node.host.addresses.remove(&ip("10.0.1.2"));
    rig.change(Change::HostMoved).run();
    assert!(!stands(&rig));
    rig.node.host.addresses.insert(ip("10.0.1.2"));
    rig.change(Change::HostMoved).run();
    assert!(stands(&rig));

    // A removal waits until the other side had time to notice.
    rig.change(Change::Leave(Leave::Remove));
    let stages = rig.run();
    let removals: Vec<_> = stages.iter().filter(|stage| !stage.steps.is_empty()).collect();
    assert!(!removals.is_empty() && removals.iter().all(|stage| stage.after >= Duration::from_secs(2)), "{stages:#?}");
    assert!(!stands(&rig));
    assert!(rig.node.state.addr.routes.is_empty() && rig.node.state.ipvs.is_empty());
}

#[test]
fn an_agent_that_leaves_withdraws_what_a_session_announces_and_then_ends() {
    let mut rig = Rig::new(without_bgp());
    rig.list(web()).run();
    rig.change(Change::Leave(Leave::Withdraw));
    let plan = rig.planner.plan(rig.now);
    assert!(!plan.finished && !plan.orders.unwrap().bfd.values().any(|session| session.enabled));
    assert!(!rig.planner.plan(rig.now + Duration::from_millis(1999)).finished);
    assert!(rig.planner.plan(rig.now + Duration::from_secs(2)).finished);
    assert!(!rig.node.state.ipvs.is_empty());

    let mut rig = Rig::new(without_bgp());
    rig.list(web()).run();
    rig.change(Change::Leave(Leave::Keep));
    let plan = rig.planner.plan(rig.now);
    assert!(plan.finished && plan.orders.is_none());
}

#[test]
fn a_restarted_agent_says_nothing_else_than_the_one_before() {
    for settings in [without_bgp(), dual_stack()] {
        let mut rig = Rig::new(settings.clone());
        rig.list(web()).run();
        let before = orders(&rig).clone();
        let mut again = Rig::on(settings, rig.node.clone());
        again.run();
        assert!(again.planner.given_orders().is_none());
        again.list(web()).run();
        assert_eq!(orders(&again), &before);
    }
}

#[test]
fn entries_of_other_nodes_are_no_business_of_this_one() {
    let of = |labels: &str| BfdEntry { node_selector: selector(labels), ..entry("10.0.1.1") };
    let bfd = Bfd { peers: vec![of("rack=b"), entry("eth1"), of("rack=a")], ..Bfd::default() };
    let mut rig = Rig::new(Settings { bfd, ..without_bgp() });
    let mut names = |with: &str| {
        rig.list(web().into_iter().chain([node(with)])).run();
        orders(&rig).bfd.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names("rack=a"), ["10.0.1.1", "eth1"]);
    assert_eq!(names("rack=c"), ["eth1"]);
}

#[test]
fn the_agent_vouches_for_what_it_knows_and_sees_to() {
    let mut rig = Rig::new(dual_stack());
    assert!(rig.planner.vouch(rig.now).unwrap_err().contains("the first list of all objects is not complete"));
    rig.list(web()).run();
    assert_eq!(rig.planner.vouch(rig.now), Ok(()));
    // What is broken is withdrawn, and then there is nothing to vouch for; as long as it is out, it is not vouched for.
    rig.node.host.addresses.remove(&ip("10.0.1.2"));
    rig.change(Change::HostMoved);
    let plan = rig.planner.plan(rig.now);
    for step in plan.steps {
        let outcome = rig.node.perform_one(&step);
        rig.change(Change::Report(Report { step, outcome }));
    }
    let withdrawal = rig.planner.plan(rig.now).steps;
    let objection = rig.planner.vouch(rig.now).unwrap_err();
    assert_eq!(objection, "range 10.96.0.0/16: no IPv4 address of this node is present");
    for step in withdrawal {
        let outcome = rig.node.perform_one(&step);
        rig.change(Change::Report(Report { step, outcome }));
    }
    rig.run();
    assert_eq!(rig.planner.vouch(rig.now), Ok(()));
}

/// Another agent on the node of `rig`, which has announced; the host is not read yet.
fn successor(rig: &Rig, settings: Settings) -> Rig {
    let mut next = Rig::on(settings, rig.node.clone());
    next.list(web());
    next
}

/// One pass, performed but for steps that `is_left` says.
fn turn(rig: &mut Rig, is_left: impl Fn(&Step) -> bool) {
    for step in rig.planner.plan(rig.now).steps {
        if !is_left(&step) {
            let outcome = rig.node.perform_one(&step);
            rig.change(Change::Report(Report { step, outcome }));
        }
    }
}

#[test]
fn nobody_vouches_for_a_session_of_an_earlier_agent_before_all_is_read() {
    let mut rig = Rig::new(without_bgp());
    rig.list(web()).run();
    assert_eq!(rig.planner.vouch(rig.now), Ok(()));
    let mut next = successor(&rig, without_bgp());
    next.node.state.addr.routes.clear();
    for _ in 0..10 {
        turn(&mut next, |step| matches!(step, Step::SetRoute(..)));
        assert!(next.planner.vouch(next.now).is_err(), "the session is up, and nothing proves what it promises");
    }
    assert!(next.planner.given_orders().is_none());
    let mut next = successor(&rig, without_bgp());
    next.run();
    assert_eq!((next.planner.vouch(next.now), stands(&next)), (Ok(()), true));
}

/// A cluster can get a range that this node cannot serve, for all nodes at once.
#[test]
fn a_range_that_never_worked_takes_no_session_down() {
    let both = |first: &str| {
        let ranges = [range("10.96.0.0/16", Announce::Aggregate), range(first, Announce::Aggregate)];
        Settings { cluster_ips: Some(ranges.into()), ..without_bgp() }
    };
    for other in ["fd00:10:96::/112", "10.200.0.0/24"] {
        let mut rig = Rig::new(without_bgp());
        rig.node.host.addresses.retain(|address| address.is_ipv4());
        rig.list(web()).run();
        assert!(stands(&rig));
        rig.change(Change::Settings(Box::new(both(other))));
        for _ in 0..20 {
            for step in rig.planner.plan(rig.now).steps {
                let outcome = match &step {
                    Step::SetRoute(prefix, _) if prefix.to_string() == other => Outcome::Refused("File exists".into()),
                    _ => rig.node.perform_one(&step),
                };
                rig.change(Change::Report(Report { step, outcome }));
            }
            rig.now = rig.now + Duration::from_secs(1);
        }
        assert!(stands(&rig), "{other}");
        assert_eq!(rig.planner.vouch(rig.now), Ok(()), "{other}");
        assert!(!rig.planner.status().ready, "{other} is named");
        // What it came up for still takes it down.
        rig.node.host.addresses.remove(&ip("10.0.1.2"));
        rig.change(Change::HostMoved).run();
        assert!(!stands(&rig));
    }
}

#[test]
fn bgp_peers_are_watched_while_it_is_open_whether_static_routes_may_be_up() {
    let mut settings = dual_stack();
    settings.bfd.peers = vec![entry("10.0.1.9")];
    settings.bgp.as_mut().unwrap().peers[0].bfd = Some(PeerBfd { interval: None, multiplier: None, multihop: None });
    let mut rig = Rig::new(settings.clone());
    rig.list(web()).run();
    let peer = |text: &str| text.parse::<PeerName>().unwrap();
    let before = orders(&rig).clone();
    assert!(!before.undecided && before.bfd[&peer("10.0.1.9")].enabled && before.bfd.len() == 2);

    let mut next = successor(&rig, settings);
    next.node.state.addr.routes.remove(&"10.96.0.0/16".parse().unwrap());
    for _ in 0..10 {
        turn(&mut next, |step| matches!(step, Step::SetRoute(..)));
    }
    let told = orders(&next).clone();
    assert!(told.undecided && told.bfd.len() == 2, "{told:#?}");
    // The speaker leaves the one that announces as it was.
    assert_eq!(told.clone().after(Some(&before)), before);
    let alone = told.after(None);
    assert_eq!(alone.bfd.values().map(|session| session.enabled).filter(|enabled| *enabled).count(), 1, "{alone:#?}");
}

#[test]
fn a_node_whose_sessions_are_down_is_not_counted_as_one_that_serves() {
    let drain = Drain { fleet: Some("vipcast".into()), ..Drain::default() };
    let mut rig = Rig::new(Settings { drain, ..without_bgp() });
    let standing = |rig: &mut Rig| {
        let stages = std::iter::from_fn(|| {
            let plan = rig.planner.plan(rig.now);
            let idle = plan.steps.is_empty() && plan.standing.is_none() && plan.orders.is_none();
            for step in plan.steps {
                let outcome = rig.node.perform_one(&step);
                rig.change(Change::Report(Report { step, outcome }));
            }
            (!idle).then_some(plan.standing)
        });
        stages.flatten().last().map(|standing| standing.unwrap().stance)
    };
    rig.list(web());
    assert_eq!(standing(&mut rig), None, "no switch has heard of it yet");
    up(&mut rig);
    assert_eq!(standing(&mut rig), Some(Stance::Present));
    rig.node.host.addresses.remove(&ip("10.0.1.2"));
    rig.change(Change::HostMoved);
    assert_eq!(standing(&mut rig), Some(Stance::Absent));
}

/// A range that never works would keep the node's slot in the fleet for ever.
#[test]
fn a_node_is_back_without_a_range_that_never_stood() {
    let mut rig = Rig::new(without_bgp());
    rig.list(web()).run();
    up(&mut rig);
    let ranges = [range("10.96.0.0/16", Announce::Aggregate), range("10.200.0.0/24", Announce::Aggregate)];
    let both = Settings { cluster_ips: Some(ranges.into()), ..without_bgp() };
    let refuse = |step: &Step| matches!(step, Step::SetRoute(prefix, _) if prefix.to_string() == "10.200.0.0/24");
    let drain = Change::Command(Command::Drain { force: true });
    for (change, phase, up) in [
        (Change::Settings(Box::new(both)), "here", true),
        (drain, "away", false),
        (Change::Command(Command::Undrain), "here", true),
    ] {
        rig.change(change);
        for _ in 0..100 {
            for step in rig.planner.plan(rig.now).steps {
                let refused = refuse(&step).then(|| Outcome::Refused("File exists".into()));
                let outcome = refused.unwrap_or_else(|| rig.node.perform_one(&step));
                rig.change(Change::Report(Report { step, outcome }));
            }
            rig.now = rig.now + Duration::from_secs(1);
        }
        assert_eq!((rig.planner.status().drain.phase.as_str(), stands(&rig)), (phase, up));
    }
}

#[test]
fn the_status_says_how_lease_and_sessions_stand() {
    let mut rig = Rig::new(without_bgp());
    rig.list(web()).run();
    let status = rig.planner.status();
    assert_eq!((status.lease, status.bfd[0].state.as_str()), (None, "unknown"));
    up(&mut rig);
    let lease = LeaseStatus {
        state: LeaseState::Static,
        since: 0,
        until: Some(60),
        reason: Some("no agent".into()),
        problem: None,
    };
    rig.change(Change::Lease(Ok(lease)));
    let status = rig.planner.status();
    let bfd = &status.bfd[0];
    assert_eq!(
        (bfd.kind.as_str(), bfd.state.as_str(), bfd.detection_ms, bfd.is_up()),
        ("static", "Up", Some(150), true)
    );
    let lease = status.lease.unwrap();
    assert_eq!((lease.state.as_str(), lease.until.as_deref()), ("static", Some("1970-01-01T00:01:00Z")));
    // A speaker that is gone tells of no session.
    rig.change(Change::Lease(Err("gone".into())));
    let status = rig.planner.status();
    assert_eq!((status.lease.unwrap().state.as_str(), status.bfd[0].state.as_str()), ("lost", "unknown"));
    let news: Vec<String> = rig.planner.plan(rig.now).news.iter().map(ToString::to_string).collect();
    assert_eq!(
        news,
        [
            "BFD session with 10.0.1.1 is Up",
            "the announcement lease is static: no agent",
            "nobody holds the announcement lease: gone"
        ]
    );
}

/// gobgpd knows that it was told to leave the peer alone, not by whom.
#[test]
fn a_session_that_the_speaker_holds_down_is_told_as_that() {
    let mut rig = Rig::new(dual_stack());
    let peer: PeerName = "10.0.1.1".parse().unwrap();
    let session = vipcast::model::bgp::Session::new;
    let shut = vipcast::model::bgp::Session { reason: Some(SHUT_DOWN.to_owned()), ..session(SessionState::Idle) };
    let mut reason = |held: &[(PeerName, String)]| {
        rig.change(Change::Session(peer.clone(), session(SessionState::Established)));
        rig.change(Change::HeldDown(held.iter().cloned().collect()));
        rig.planner.plan(rig.now);
        rig.change(Change::Session(peer.clone(), shut.clone()));
        let news: Vec<String> = rig.planner.plan(rig.now).news.iter().map(ToString::to_string).collect();
        let status = rig.planner.status().bgp.unwrap().peers[0].reason.clone().unwrap();
        assert_eq!(news, [format!("BGP session with 10.0.1.1 is Idle: {status}")]);
        status
    };
    assert_eq!(reason(&[]), SHUT_DOWN);
    let held = (peer.clone(), "BFD is down: control detection time expired".to_owned());
    assert_eq!(reason(&[held]), "held down by the speaker: BFD is down: control detection time expired");
    // Told later than the session, it is known all the same.
    assert_eq!(reason(&[]), SHUT_DOWN);
    rig.change(Change::HeldDown([(peer, "BFD is down".to_owned())].into()));
    let told = rig.planner.status().bgp.unwrap().peers[0].reason.clone();
    assert_eq!(told.as_deref(), Some("held down by the speaker: BFD is down"));
}
