//! The executor and the sensor of `apply::bgp` with the real gobgpd. What gobgpd holds is looked at with `gobgp`, its
//! own command line, wherever what vipcast reads is itself in question.

pub(crate) mod daemon;
mod exporting;
mod flavours;
mod peering;
mod reload;
mod sharing;
mod travelling;
mod upgrading;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vipcast::apply::bgp::{Endpoint, Speaker};
use vipcast::model::bgp::{Attributes, Bgp, Community, Export, Global, NextHop, Path, Peer, PeerName, Ttl};
use vipcast::model::{Family, Prefix, Secret};
use vipcast::plan::step::Executor;
use vipcast::plan::{Observation, Outcome, Step};

use self::daemon::{Flavour, Gobgpd, each_gobgpd, until};

/// An identity that listens nowhere.
pub(crate) fn identity() -> Global {
    Global { asn: 65001, router_id: "192.0.2.1".parse().unwrap(), listen_port: None }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn path(next_hop: NextHop, communities: &[&str]) -> Path {
    let communities = communities.iter().map(|text| text.parse::<Community>().unwrap()).collect();
    Path { communities, ..Path::new(next_hop) }
}

fn plain() -> Path {
    path(NextHop::Own, &[])
}

/// What the import policy of a gobgpd that is ours alone rejects.
fn everybody() -> BTreeSet<Prefix> {
    Family::ALL.map(Prefix::all).into()
}

/// A peer that nobody answers for.
pub(crate) fn absent() -> Peer {
    Peer { port: 1, ..Peer::new(65000, [Family::Ipv4]) }
}

/// Performs steps that all have to be done.
pub(crate) async fn done(speaker: &mut Speaker, steps: impl IntoIterator<Item = Step>) {
    for report in speaker.perform(Vec::from_iter(steps)).await {
        assert_eq!(report.outcome, Outcome::Done, "{:?}", report.step);
    }
}

/// Performs one step.
async fn outcome(speaker: &mut Speaker, step: Step) -> Outcome {
    speaker.perform(vec![step]).await.remove(0).outcome
}

/// Reads everything.
async fn read(speaker: &mut Speaker) -> Bgp {
    match outcome(speaker, Step::ReadSpeaker).await {
        Outcome::Read(Observation::Speaker(found)) => *found,
        other => panic!("not read: {other:?}"),
    }
}

/// What is read of a gobgpd that was not started.
fn unstarted(flavour: Flavour) -> Bgp {
    Bgp { flavour: flavour.spoken(), ..Bgp::default() }
}

/// What the steps of [`steps`] make of a fresh gobgpd.
fn desired(flavour: Flavour) -> Bgp {
    let everything = Peer {
        port: 1790,
        local_address: Some("127.0.0.1".parse().unwrap()),
        hold_time: Duration::from_secs(90),
        keepalive: Duration::from_secs(30),
        password: Some(Secret::new("correct horse battery staple")),
        ttl: Ttl::Multihop(3),
        graceful_restart: Some(Duration::from_secs(30)),
        ..Peer::new(65001, Family::ALL)
    };
    let near = Peer {
        local_asn: Some(65010),
        connect_retry: Duration::from_secs(7),
        ttl: Ttl::Security(1),
        families: [Family::Ipv4].into(),
        ..absent()
    };
    let attributes = Attributes {
        communities: ["65001:7".parse().unwrap(), "graceful-shutdown".parse().unwrap()].into(),
        large_communities: ["65001:1:7".parse().unwrap()].into(),
        med: Some(0),
        local_pref: Some(50),
        prepend: Some(2),
    };
    let next_hops = [(Family::Ipv4, "192.0.2.9".parse().unwrap())].into();
    let six = Peer { families: [Family::Ipv6].into(), ..absent() };
    let address = |text: &str| NextHop::Address(text.parse().unwrap());
    let everything_else = Path {
        as_path: vec![65001, 65001],
        large_communities: ["65001:1:100".parse().unwrap(), "4294967295:0:1".parse().unwrap()].into(),
        med: Some(0),
        local_pref: Some(u32::MAX),
        ..path(NextHop::Own, &["no-export", "0:0"])
    };
    Bgp {
        flavour: flavour.spoken(),
        global: Some(identity()),
        rejected: Some(everybody()),
        exports: Some(BTreeMap::from([
            ("127.0.0.3".parse().unwrap(), Export { attributes, next_hops: BTreeMap::new() }),
            ("::1".parse().unwrap(), Export { next_hops, ..Export::default() }),
        ])),
        peers: [
            ("127.0.0.2".parse().unwrap(), everything),
            ("127.0.0.3".parse().unwrap(), absent()),
            ("127.0.0.4".parse().unwrap(), near),
            ("::1".parse().unwrap(), six),
        ]
        .into(),
        paths: BTreeMap::from([
            (prefix("10.96.0.0/16"), plain()),
            (prefix("203.0.113.7/32"), path(address("192.0.2.9"), &["65001:100", "65535:0"])),
            (prefix("198.51.100.0/24"), path(address("2001:db8::9"), &[])),
            (prefix("fd00:10:96::/112"), path(NextHop::Own, &["65001:100"])),
            (prefix("2001:db8:1::1/128"), path(address("2001:db8::9"), &[])),
            (prefix("192.0.2.77/32"), everything_else.clone()),
            (prefix("2001:db8:1::77/128"), everything_else),
        ]),
        ..Bgp::default()
    }
}

/// The steps that make a fresh gobgpd `desired`.
fn steps(desired: &Bgp) -> Vec<Step> {
    let mut steps = vec![Step::StartBgp(desired.global.unwrap()), Step::RejectImports(everybody())];
    steps.extend(desired.exports.clone().map(Step::SetExports));
    steps.extend(desired.paths.iter().map(|(prefix, path)| Step::Announce(*prefix, path.clone())));
    steps.extend(desired.peers.iter().map(|(address, peer)| Step::AddPeer(address.clone(), peer.clone())));
    steps
}

async fn what_is_done_reads_back_as_it_was_desired(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    assert_eq!(read(&mut speaker).await, unstarted(flavour));

    let mut desired = desired(flavour);
    done(&mut speaker, steps(&desired)).await;
    assert_eq!(read(&mut speaker).await, desired);

    // Another writer, as after a restart of the agent, finds the same.
    let mut speaker = gobgpd.speaker();
    assert_eq!(read(&mut speaker).await, desired);

    let gone = [prefix("203.0.113.7/32"), prefix("fd00:10:96::/112")];
    done(&mut speaker, gone.map(Step::Withdraw)).await;
    done(&mut speaker, [Step::DeletePeer("127.0.0.3".parse().unwrap())]).await;
    desired.paths.retain(|prefix, _| !gone.contains(prefix));
    desired.peers.remove(&"127.0.0.3".parse::<PeerName>().unwrap());
    assert_eq!(read(&mut speaker).await, desired);
}

async fn what_is_done_twice_is_done_once(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    let desired = desired(flavour);
    done(&mut speaker, steps(&desired)).await;
    let again = steps(&desired).into_iter().filter(|step| !matches!(step, Step::AddPeer(..)));
    done(&mut speaker, again).await;
    assert_eq!(read(&mut speaker).await, desired);

    let withdraw = Step::Withdraw(prefix("10.96.0.0/16"));
    done(&mut speaker, [withdraw.clone(), withdraw, Step::DeletePeer("127.0.0.9".parse().unwrap())]).await;
    let (address, peer) = desired.peers.first_key_value().unwrap();
    assert!(matches!(outcome(&mut speaker, Step::AddPeer(address.clone(), peer.clone())).await, Outcome::Drifted(_)));
}

async fn an_announcement_replaces_the_one_before_it_and_the_last_of_a_batch_counts(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    let range = prefix("10.96.0.0/16");
    let (first, second) = (path(NextHop::Own, &["65001:1"]), path(NextHop::Own, &["65001:2"]));
    done(&mut speaker, [Step::StartBgp(identity()), Step::Announce(range, first)]).await;
    done(&mut speaker, [Step::Announce(range, second.clone())]).await;
    assert_eq!(read(&mut speaker).await.paths, BTreeMap::from([(range, second.clone())]));

    done(&mut speaker, [Step::Withdraw(range), Step::Announce(range, second.clone())]).await;
    assert_eq!(read(&mut speaker).await.paths, BTreeMap::from([(range, second.clone())]));
    done(&mut speaker, [Step::Announce(range, second), Step::Withdraw(range)]).await;
    assert_eq!(read(&mut speaker).await.paths, BTreeMap::new());
}

async fn many_paths_travel_in_one_batch(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    done(&mut speaker, [Step::StartBgp(identity())]).await;
    let paths: BTreeMap<_, _> = (0..1203_u32)
        .map(|n| (prefix(&format!("203.0.{}.{}/32", n >> 8, n & 255)), path(NextHop::Own, &["65001:1"])))
        .collect();
    done(&mut speaker, paths.iter().map(|(prefix, path)| Step::Announce(*prefix, path.clone()))).await;
    assert_eq!(read(&mut speaker).await.paths, paths);
    done(&mut speaker, paths.keys().map(|prefix| Step::Withdraw(*prefix))).await;
    assert_eq!(read(&mut speaker).await.paths, BTreeMap::new());
}

async fn a_running_gobgpd_is_not_started_again(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    done(&mut gobgpd.speaker(), [Step::StartBgp(identity())]).await;
    gobgpd.gobgp("global rib add 10.96.0.0/16").await;
    let mut speaker = gobgpd.speaker();
    done(&mut speaker, [Step::StartBgp(identity())]).await;
    assert_eq!(read(&mut speaker).await.paths.len(), 1, "StartBgp on a running gobgpd empties its table");

    let other = Global { asn: 65009, ..identity() };
    let Outcome::Drifted(why) = outcome(&mut speaker, Step::StartBgp(other)).await else { panic!() };
    assert_eq!(why, "gobgpd: it runs already, as AS 65001 with router ID 192.0.2.1, without a listener");
    assert_eq!(read(&mut speaker).await.paths.len(), 1);
}

async fn a_gobgpd_can_be_stopped_and_started_with_another_identity(flavour: Flavour) {
    let mut gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    let desired = desired(flavour);
    done(&mut speaker, steps(&desired)).await;
    done(&mut speaker, [Step::StopBgp]).await;
    if flavour == Flavour::V4 {
        // Its process was ended, and the speaker starts another one.
        until("its process ends", async || gobgpd.has_ended().then_some(())).await;
        gobgpd.restart().await;
    }
    done(&mut speaker, [Step::StopBgp]).await;
    assert_eq!(read(&mut speaker).await, unstarted(flavour));

    let other = Bgp { global: Some(Global { asn: 65009, ..identity() }), ..desired };
    done(&mut speaker, steps(&other)).await;
    assert_eq!(read(&mut speaker).await, other);
}

async fn steps_on_a_gobgpd_that_was_not_started_find_it_drifted(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    let range = prefix("10.96.0.0/16");
    for step in [
        Step::Announce(range, plain()),
        Step::Withdraw(range),
        Step::AddPeer("127.0.0.2".parse().unwrap(), absent()),
        Step::DeletePeer("127.0.0.2".parse().unwrap()),
    ] {
        let found = outcome(&mut speaker, step.clone()).await;
        assert!(matches!(found, Outcome::Drifted(_)), "{step:?}: {found:?}");
    }
}

async fn what_belongs_to_others_stays(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    done(&mut speaker, [Step::StartBgp(identity())]).await;
    gobgpd.gobgp("neighbor add 127.0.0.5 as 65005").await;
    gobgpd.gobgp("global rib add 192.0.2.0/24 nexthop 192.0.2.66 origin egp").await;
    gobgpd.gobgp("policy prefix add theirs 192.0.2.0/24").await;
    gobgpd.gobgp("policy statement theirs add condition prefix theirs").await;
    gobgpd.gobgp("policy statement theirs add action accept").await;
    gobgpd.gobgp("policy add theirs theirs").await;
    gobgpd.gobgp("global policy import add theirs default accept").await;
    assert_eq!(read(&mut speaker).await.rejected, None);

    let range = prefix("10.96.0.0/16");
    let theirs: PeerName = "127.0.0.5".parse().unwrap();
    let reject = Step::RejectImports(everybody());
    done(&mut speaker, [reject.clone(), reject, Step::Announce(range, plain())]).await;
    let found = read(&mut speaker).await;
    assert_eq!(found.rejected, Some(everybody()));
    assert_eq!(found.foreign_peers, BTreeSet::from([theirs.clone()]));
    assert!(found.peers.is_empty());
    assert_eq!(found.paths.get(&range), Some(&plain()));
    // Its origin is none that we send, so it is not mistaken for a path of ours.
    let unspecified = NextHop::Address("0.0.0.0".parse().unwrap());
    assert_eq!(found.paths.get(&prefix("192.0.2.0/24")), Some(&path(unspecified, &[])));

    assert!(matches!(outcome(&mut speaker, Step::DeletePeer(theirs.clone())).await, Outcome::Drifted(_)));
    assert!(matches!(outcome(&mut speaker, Step::AddPeer(theirs.clone(), absent())).await, Outcome::Drifted(_)));
    done(&mut speaker, [Step::Withdraw(range)]).await;
    assert_eq!(read(&mut speaker).await.foreign_peers, BTreeSet::from([theirs.clone()]));
    assert!(gobgpd.gobgp("global rib").await.contains("192.0.2.66"));
    let policies = gobgpd.gobgp("global policy").await;
    let (ours, theirs) = (policies.find("vipcast-reject-imports").unwrap(), policies.find("theirs").unwrap());
    assert!(ours < theirs, "{policies}");
}

async fn the_import_policy_is_mended_whatever_became_of_it(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    done(&mut speaker, [Step::StartBgp(identity()), Step::RejectImports(everybody())]).await;
    for damage in [
        "global policy import del",
        "policy statement vipcast-reject-imports add condition route-type local",
        "policy statement vipcast-reject-imports del action reject",
    ] {
        gobgpd.gobgp(damage).await;
        assert_eq!(read(&mut speaker).await.rejected, Some(BTreeSet::new()), "{damage}");
        done(&mut speaker, [Step::RejectImports(everybody())]).await;
        assert_eq!(read(&mut speaker).await.rejected, Some(everybody()), "{damage}");
    }
}

async fn a_path_that_gobgpd_drops_is_not_done(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    done(&mut speaker, [Step::StartBgp(identity())]).await;
    gobgpd.gobgp("global policy import add default reject").await;
    let Outcome::Refused(why) = outcome(&mut speaker, Step::Announce(prefix("10.96.0.0/16"), plain())).await else {
        panic!()
    };
    assert!(why.contains("10.96.0.0/16") && why.contains("import policies"), "{why}");
}

#[tokio::test]
async fn a_gobgpd_that_is_not_there_is_tried_later() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::unix(&folder.path().join("none.sock")).unwrap();
    let reports = Speaker::new(endpoint.clone())
        .perform(vec![Step::ReadSpeaker, Step::Announce(prefix("10.96.0.0/16"), plain()), Step::StopBgp])
        .await;
    assert_eq!(reports.len(), 3);
    for report in reports {
        let Outcome::Later(why) = report.outcome else { panic!("{report:?}") };
        assert!(why.contains(&endpoint.to_string()) && why.contains("No such file"), "{why}");
    }
}

async fn a_gobgpd_that_hangs_is_tried_later_and_costs_a_batch_one_deadline(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    done(&mut speaker, [Step::StartBgp(identity())]).await;
    gobgpd.freeze(true).await;
    let steps =
        vec![Step::Announce(prefix("10.96.0.0/16"), plain()), Step::RejectImports(everybody()), Step::ReadSpeaker];
    let reports = speaker.perform([steps.clone(), steps].concat()).await;
    assert!(reports.iter().all(|report| matches!(report.outcome, Outcome::Later(_))), "{reports:?}");
    gobgpd.freeze(false).await;
    done(&mut speaker, [Step::Announce(prefix("10.96.0.0/16"), plain())]).await;
    assert_eq!(read(&mut speaker).await.paths.len(), 1);
}

each_gobgpd!(
    what_is_done_reads_back_as_it_was_desired,
    what_is_done_twice_is_done_once,
    an_announcement_replaces_the_one_before_it_and_the_last_of_a_batch_counts,
    many_paths_travel_in_one_batch,
    a_running_gobgpd_is_not_started_again,
    a_gobgpd_can_be_stopped_and_started_with_another_identity,
    steps_on_a_gobgpd_that_was_not_started_find_it_drifted,
    what_belongs_to_others_stays,
    the_import_policy_is_mended_whatever_became_of_it,
    a_path_that_gobgpd_drops_is_not_done,
    a_gobgpd_that_hangs_is_tried_later_and_costs_a_batch_one_deadline,
);
