//! Another GoBGP takes the place of the one that was there, behind everybody's back.

use tokio::sync::mpsc::channel;
use vipcast::apply::bgp::watch;
use vipcast::model::bgp::Bgp;
use vipcast::plan::step::Executor;
use vipcast::plan::{Change, Outcome, Step};

use super::daemon::{Flavour, Gobgpd, PATIENCE, each_gobgpd, until};
use super::{desired, done, prefix, read, steps, unstarted};

async fn what_is_spoken_is_asked_anew_when_gobgpd_comes_back(flavour: Flavour) {
    let mut gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    let (sender, mut changes) = channel(64);
    tokio::spawn(watch(gobgpd.endpoint(), speaker.ledger(), sender));
    let mut next_up = async || {
        while tokio::time::timeout(PATIENCE, changes.recv()).await.expect("no change came") != Some(Change::SpeakerUp) {
        }
    };
    next_up().await;
    let before = desired(flavour);
    done(&mut speaker, steps(&before)).await;
    assert_eq!(read(&mut speaker).await, before);

    gobgpd.replace(flavour.other()).await;
    next_up().await;
    // The writer finds out with the first thing that it tries, which does nothing.
    let found = until("it is spoken to", async || {
        match speaker.perform(vec![Step::Withdraw(prefix("10.96.0.0/16"))]).await.remove(0).outcome {
            Outcome::Later(_) => None,
            found => Some(found),
        }
    })
    .await;
    assert!(matches!(found, Outcome::Drifted(_)), "{found:?}");
    assert_eq!(read(&mut speaker).await, unstarted(flavour.other()));
    let after = Bgp { flavour: flavour.other().spoken(), ..before };
    done(&mut speaker, steps(&after)).await;
    assert_eq!(read(&mut speaker).await, after);
}

each_gobgpd!(what_is_spoken_is_asked_anew_when_gobgpd_comes_back);
