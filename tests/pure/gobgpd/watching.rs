//! The sensor.

use tokio::sync::mpsc::{Receiver, channel};
use vipcast::apply::bgp::{Endpoint, Ledger, Speaker, watch};
use vipcast::model::bgp::{NextHop, PeerName, SessionState};
use vipcast::plan::{Change, Step};

use super::daemon::{Flavour, Gobgpd, PATIENCE};
use super::{absent, done, identity, path, plain, prefix, read};

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

/// The next state of the session with `peer`.
async fn state(changes: &mut Receiver<Change>, peer: &PeerName) -> SessionState {
    loop {
        let change = tokio::time::timeout(PATIENCE, changes.recv()).await.expect("no change came").unwrap();
        match change {
            Change::Session(name, session) if name == *peer => return session.state,
            _ => {}
        }
    }
}

#[tokio::test]
async fn gobgpd_goes_down_and_comes_up() {
    let mut gobgpd = Gobgpd::start(Flavour::V3).await;
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

#[tokio::test]
async fn a_gobgpd_that_hangs_is_down_until_it_goes_on() {
    let gobgpd = Gobgpd::start(Flavour::V3).await;
    let mut changes = sense(&gobgpd, Ledger::default());
    assert_eq!(next(&mut changes).await, Change::SpeakerUp);
    gobgpd.freeze(true).await;
    let Change::SpeakerDown(why) = next(&mut changes).await else { panic!() };
    assert!(why.contains("no answer"), "{why}");
    gobgpd.freeze(false).await;
    assert_eq!(next(&mut changes).await, Change::SpeakerUp);
}

#[tokio::test]
async fn sessions_are_told_on_coming_up_and_as_they_change() {
    let gobgpd = Gobgpd::start(Flavour::V3).await;
    let [first, second] = ["127.0.0.2", "127.0.0.3"].map(|text| text.parse::<PeerName>().unwrap());
    let mut speaker = gobgpd.speaker();
    let mut early = sense(&gobgpd, speaker.ledger());
    assert_eq!(next(&mut early).await, Change::SpeakerUp);

    // The watch began before BGP did.
    done(&mut speaker, [Step::StartBgp(identity()), Step::AddPeer(first.clone(), absent())]).await;
    assert_eq!(state(&mut early, &first).await, SessionState::Idle);
    assert_eq!(state(&mut early, &first).await, SessionState::Active);

    // One that begins now is told what is there.
    let mut late = sense(&gobgpd, speaker.ledger());
    assert_eq!(state(&mut late, &first).await, SessionState::Active);

    done(&mut speaker, [Step::AddPeer(second.clone(), absent())]).await;
    gobgpd.gobgp("neighbor 127.0.0.3 disable").await;
    loop {
        let change = tokio::time::timeout(PATIENCE, late.recv()).await.expect("no change came").unwrap();
        if let Change::Session(address, session) = change
            && session.reason.is_some()
        {
            assert_eq!((address, session.state), (second, SessionState::Idle));
            assert_eq!(session.reason.as_deref(), Some("shut down in gobgpd by an operator"));
            break;
        }
    }
}

/// A gobgpd with a path, a speaker that read it, and a sensor.
async fn settled() -> (Gobgpd, Speaker, Receiver<Change>) {
    let gobgpd = Gobgpd::start(Flavour::V3).await;
    let mut speaker = gobgpd.speaker();
    done(&mut speaker, [Step::StartBgp(identity()), Step::Announce(prefix("10.96.0.0/16"), plain())]).await;
    read(&mut speaker).await;
    let mut changes = sense(&gobgpd, speaker.ledger());
    assert_eq!(next(&mut changes).await, Change::SpeakerUp);
    (gobgpd, speaker, changes)
}

#[tokio::test]
async fn what_others_do_to_paths_is_noticed() {
    let (gobgpd, mut speaker, mut changes) = settled().await;
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

#[tokio::test]
async fn what_others_do_to_peers_is_noticed() {
    let (gobgpd, _speaker, mut changes) = settled().await;
    gobgpd.gobgp("neighbor add 127.0.0.5 as 65005").await;
    assert_eq!(next(&mut changes).await, Change::SpeakerMoved);
    gobgpd.gobgp("neighbor del 127.0.0.5").await;
    assert_eq!(next(&mut changes).await, Change::SpeakerMoved);
}

#[tokio::test]
async fn our_own_doing_is_no_news() {
    let (gobgpd, mut speaker, mut changes) = settled().await;
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
