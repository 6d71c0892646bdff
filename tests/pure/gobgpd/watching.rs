//! The sensor.

use std::time::Duration;

use tokio::sync::mpsc::{Receiver, channel};
use vipcast::apply::bgp::{Endpoint, Ledger, Speaker, watch};
use vipcast::model::bgp::{Attributes, Export, Global, NextHop, Peer, PeerName, Session, SessionState, Ttl};
use vipcast::model::{Family, Secret};
use vipcast::plan::{Change, Step};

use super::daemon::{Flavour, Gobgpd, PATIENCE, each_gobgpd, free_port};
use super::{absent, done, everybody, identity, path, plain, prefix, read};

/// What a sensor says of `gobgpd`.
fn sense(gobgpd: &Gobgpd, ledger: Ledger) -> Receiver<Change> {
    let (sender, receiver) = channel(64);
    tokio::spawn(watch(gobgpd.endpoint(), ledger, sender));
    receiver
}

/// The next change, sessions left out.
async fn next(changes: &mut Receiver<Change>) -> Change {
    loop {
        let change = tokio::time::timeout(PATIENCE, changes.recv()).await.expect("no change came").unwrap();
        if !matches!(change, Change::Session(..)) {
            return change;
        }
    }
}

/// The next that is told of the session with `peer`, if it comes to `state`.
async fn session(changes: &mut Receiver<Change>, peer: &PeerName, state: SessionState) -> Session {
    loop {
        let change = tokio::time::timeout(PATIENCE, changes.recv()).await.expect("no change came").unwrap();
        match change {
            Change::Session(name, session) if name == *peer && session.state == state => return session,
            _ => {}
        }
    }
}

async fn gobgpd_goes_down_and_comes_up(flavour: Flavour) {
    let mut gobgpd = Gobgpd::start(flavour).await;
    let mut changes = sense(&gobgpd, Ledger::default());
    assert_eq!(next(&mut changes).await, Change::SpeakerUp);

    // However quick the restart.
    gobgpd.restart().await;
    assert!(is_loss(&next(&mut changes).await));
    let mut change = next(&mut changes).await;
    while is_loss(&change) {
        change = next(&mut changes).await;
    }
    assert_eq!(change, Change::SpeakerUp);

    gobgpd.kill().await;
    // Its end is noticed by the connection first; that nobody listens any more, by the next attempt.
    let mut change = next(&mut changes).await;
    while matches!(change, Change::SpeakerDown(_)) {
        change = next(&mut changes).await;
    }
    let Change::SpeakerGone(why) = change else { panic!("{change:?}") };
    assert!(why.starts_with(&format!("gobgpd at {}", gobgpd.endpoint())), "{why}");
}

fn is_loss(change: &Change) -> bool {
    matches!(change, Change::SpeakerDown(_) | Change::SpeakerGone(_))
}

/// A socket that was never there, a dead one, and a port that nobody has.
#[tokio::test]
async fn where_nobody_listens_gobgpd_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.sock");
    let dead = folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoints = [Endpoint::unix(&missing), Endpoint::unix(&dead), format!("http://{port}").parse()];
    for endpoint in endpoints {
        let endpoint = endpoint.unwrap();
        let (sender, mut changes) = tokio::sync::mpsc::channel(16);
        let sensor = tokio::spawn(watch(endpoint.clone(), Ledger::default(), sender));
        let change = next(&mut changes).await;
        assert!(matches!(change, Change::SpeakerGone(_)), "{endpoint}: {change:?}");
        sensor.abort();
    }
}

async fn a_gobgpd_that_hangs_is_down_until_it_goes_on(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut changes = sense(&gobgpd, Ledger::default());
    assert_eq!(next(&mut changes).await, Change::SpeakerUp);
    gobgpd.freeze(true).await;
    let Change::SpeakerDown(why) = next(&mut changes).await else { panic!() };
    assert!(why.contains("no answer"), "{why}");
    gobgpd.freeze(false).await;
    assert_eq!(next(&mut changes).await, Change::SpeakerUp);
}

async fn sessions_are_told_on_coming_up_and_as_they_change(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let [first, second] = ["127.0.0.2", "127.0.0.3"].map(|text| text.parse::<PeerName>().unwrap());
    let mut speaker = gobgpd.speaker();
    let mut early = sense(&gobgpd, speaker.ledger());
    assert_eq!(next(&mut early).await, Change::SpeakerUp);

    // The watch began before BGP did.
    done(&mut speaker, [Step::StartBgp(identity()), Step::AddPeer(first.clone(), absent())]).await;
    session(&mut early, &first, SessionState::Active).await;

    // One that begins now is told what is there.
    let mut late = sense(&gobgpd, speaker.ledger());
    session(&mut late, &first, SessionState::Active).await;

    done(&mut speaker, [Step::AddPeer(second.clone(), absent())]).await;
    gobgpd.gobgp("neighbor 127.0.0.3 disable").await;
    loop {
        let change = tokio::time::timeout(PATIENCE, late.recv()).await.expect("no change came").unwrap();
        if let Change::Session(address, session) = change
            && session.reason.is_some()
            // What was tried when it was shut down may still be told of, with the reason for the end.
            && session.state != SessionState::Active
        {
            assert_eq!((address, session.state), (second, SessionState::Idle));
            assert_eq!(session.reason.as_deref(), Some("shut down in gobgpd"));
            break;
        }
    }
}

/// A gobgpd with a path, a speaker that read it, and a sensor.
async fn settled(flavour: Flavour) -> (Gobgpd, Speaker, Receiver<Change>) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    done(&mut speaker, [Step::StartBgp(identity()), Step::Announce(prefix("10.96.0.0/16"), plain())]).await;
    read(&mut speaker).await;
    let mut changes = sense(&gobgpd, speaker.ledger());
    assert_eq!(next(&mut changes).await, Change::SpeakerUp);
    (gobgpd, speaker, changes)
}

async fn what_others_do_to_paths_is_noticed(flavour: Flavour) {
    let (gobgpd, mut speaker, mut changes) = settled(flavour).await;
    for doing in [
        "global rib del 10.96.0.0/16",
        "global rib add 10.96.0.0/16",
        "global rib add 10.97.0.0/16",
        "global rib add fd00::/64 -a ipv6",
    ] {
        gobgpd.gobgp(doing).await;
        assert_eq!(next(&mut changes).await, Change::SpeakerMoved, "{doing}");
        read(&mut speaker).await;
    }
}

async fn what_others_do_to_peers_is_noticed(flavour: Flavour) {
    let (gobgpd, _speaker, mut changes) = settled(flavour).await;
    gobgpd.gobgp("neighbor add 127.0.0.5 as 65005").await;
    assert_eq!(next(&mut changes).await, Change::SpeakerMoved);
    gobgpd.gobgp("neighbor del 127.0.0.5").await;
    assert_eq!(next(&mut changes).await, Change::SpeakerMoved);
}

async fn what_others_do_to_policies_is_noticed(flavour: Flavour) {
    let (gobgpd, mut speaker, mut changes) = settled(flavour).await;
    let attributes = Attributes { med: Some(7), ..Attributes::default() };
    let export = Export { attributes, ..Export::default() };
    let ours = [Step::RejectImports(everybody()), Step::SetExports([("127.0.0.5".parse().unwrap(), export)].into())];
    for doing in ["global policy import del", "global policy export del"] {
        done(&mut speaker, ours.clone()).await;
        assert_eq!(next(&mut changes).await, Change::SpeakerMoved, "what was done shows in the next look");
        gobgpd.gobgp(doing).await;
        assert_eq!(next(&mut changes).await, Change::SpeakerMoved, "{doing}");
    }
}

async fn a_session_is_told_with_all_that_is_known_of_it(flavour: Flavour) {
    let (gobgpd, far) = (Gobgpd::start(flavour).await, Gobgpd::start(flavour.other()).await);
    let (own, address, port) = ("127.0.0.31".parse().unwrap(), "127.0.0.32".parse().unwrap(), free_port());
    let name = PeerName::Address(address);
    let peer = Peer {
        port,
        local_address: Some(own),
        ttl: Ttl::Multihop(2),
        password: Some(Secret::new("correct horse")),
        ..Peer::new(65000, Family::ALL)
    };
    let mut speaker = gobgpd.speaker();
    let mut changes = sense(&gobgpd, speaker.ledger());
    let mut far_speaker = far.speaker();
    // It carries one family, and cannot connect by itself.
    let back = Peer {
        asn: 65001,
        port: free_port(),
        local_address: Some(address),
        families: [Family::Ipv4].into(),
        ..peer.clone()
    };
    let global = Global { asn: 65000, router_id: "192.0.2.254".parse().unwrap(), listen_port: Some(port) };
    done(&mut far_speaker, [Step::StartBgp(global), Step::AddPeer(own.into(), back.clone())]).await;
    done(&mut speaker, [Step::StartBgp(identity()), Step::AddPeer(name.clone(), peer)]).await;

    let mut up = session(&mut changes, &name, SessionState::Established).await;
    while up.since.is_none() {
        up = session(&mut changes, &name, SessionState::Established).await;
    }
    let mut expected = Session {
        since: up.since,
        local_address: Some(own),
        families: [Family::Ipv4].into(),
        ..Session::new(SessionState::Established)
    };
    assert_eq!(up, expected);
    // The other side has not said that it keeps the routes of a gobgpd that restarts.
    assert_eq!(speaker.forgetful_peers().await, Ok(vec![name.clone()]));

    let reason = Some("the peer ended it with a NOTIFICATION".to_owned());
    done(&mut far_speaker, [Step::DeletePeer(own.into())]).await;
    let down = session(&mut changes, &name, SessionState::Idle).await;
    assert_eq!(down, Session { reason: reason.clone(), flaps: 1, ..Session::new(SessionState::Idle) });

    // It comes back, with its past.
    let back = Peer { graceful_restart: Some(Duration::from_secs(30)), ..back };
    done(&mut far_speaker, [Step::AddPeer(own.into(), back)]).await;
    let mut again = session(&mut changes, &name, SessionState::Established).await;
    while again.since.is_none() {
        again = session(&mut changes, &name, SessionState::Established).await;
    }
    (expected.since, expected.flaps, expected.reason) = (again.since, 1, reason);
    assert_eq!(again, expected);
    assert_eq!(speaker.forgetful_peers().await, Ok(vec![]));

    // A connection that breaks without a word.
    drop(far);
    let down = session(&mut changes, &name, SessionState::Idle).await;
    assert_eq!((down.reason.as_deref(), down.flaps), (Some("the connection was lost"), 2));
    assert!(read(&mut speaker).await.sent.is_empty(), "what gobgpd would send to a peer without a session is not sent");
}

async fn our_own_doing_is_no_news(flavour: Flavour) {
    let (gobgpd, mut speaker, mut changes) = settled(flavour).await;
    let range = prefix("10.97.0.0/16");
    done(&mut speaker, [Step::Announce(range, plain())]).await;
    done(&mut speaker, [Step::Announce(range, path(NextHop::Own, &["65001:1"]))]).await;
    done(&mut speaker, [Step::Announce(prefix("fd00::/64"), plain())]).await;
    done(&mut speaker, [Step::Withdraw(range), Step::Withdraw(prefix("10.96.0.0/16"))]).await;
    // The first news is what somebody else does after all that: events come in order.
    assert!(changes.try_recv().is_err());
    gobgpd.gobgp("global rib add 10.98.0.0/16").await;
    assert_eq!(next(&mut changes).await, Change::SpeakerMoved);
    assert!(changes.try_recv().is_err());
}

each_gobgpd!(
    gobgpd_goes_down_and_comes_up,
    a_gobgpd_that_hangs_is_down_until_it_goes_on,
    sessions_are_told_on_coming_up_and_as_they_change,
    what_others_do_to_paths_is_noticed,
    what_others_do_to_peers_is_noticed,
    what_others_do_to_policies_is_noticed,
    a_session_is_told_with_all_that_is_known_of_it,
    our_own_doing_is_no_news,
);
