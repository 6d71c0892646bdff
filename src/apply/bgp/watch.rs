//! The sensor: is gobgpd there, what do its sessions do, and did somebody else change it?

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::debug;

use super::api::{Api, Event, Failure};
use super::{Endpoint, Ledger, connect};
use crate::model::bgp::{Global, PeerName};
use crate::plan::Change;

/// The first pause before another attempt to reach gobgpd; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often gobgpd is asked for what it tells of by no event: whether it still answers, who it is, who its peers are.
const PROBE: Duration = Duration::from_secs(5);

/// Tells through `changes` what happens in the gobgpd at `endpoint`, until nobody listens any more: that it came up, went
/// down or is gone (with each end of the connection, so that a quick restart is seen as two of them), the state of each
/// session on coming up and whenever it changes, and that something was changed which `ledger`, the [`Ledger`] of the one
/// [`Speaker`](super::Speaker), does not account for.
pub async fn watch(endpoint: Endpoint, ledger: Ledger, changes: Sender<Change>) {
    let mut last = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let mut sensor = Sensor { ledger: &ledger, changes: &changes, up: false };
        let failure = match sensor.follow(connect(&endpoint)).await {
            ControlFlow::Break(()) => return,
            ControlFlow::Continue(failure) => failure,
        };
        let why = format!("gobgpd at {endpoint}: {failure}");
        let is_absent = matches!(failure, Failure::Absent(_));
        if sensor.up {
            pause = FIRST_PAUSE;
        }
        debug!(why, retry = ?pause, "not connected to gobgpd");
        // Said again only if there is something new to it.
        if sensor.up || last.as_ref() != Some(&why) {
            let change = if is_absent { Change::SpeakerGone } else { Change::SpeakerDown };
            if changes.send(change(why.clone())).await.is_err() {
                return;
            }
            last = Some(why);
        }
        tokio::select! {
            () = changes.closed() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One connection.
struct Sensor<'a> {
    ledger: &'a Ledger,
    changes: &'a Sender<Change>,
    up: bool,
}

/// `Break`: nobody listens.
type Flow<T> = ControlFlow<(), T>;

impl Sensor<'_> {
    /// Follows one connection to its end and says why it ended.
    async fn follow(&mut self, mut api: Box<dyn Api>) -> Flow<Failure> {
        let connected = async {
            let events = api.watch().await?;
            Ok((events, probe(&mut *api).await?))
        };
        let (mut events, mut seen) = match connected.await {
            Ok(connected) => connected,
            Err(failure) => return ControlFlow::Continue(failure),
        };
        self.send(Change::SpeakerUp).await?;
        self.up = true;

        let mut ticks = tokio::time::interval_at(Instant::now() + PROBE, PROBE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(Event::Session(peer, session))) => self.send(Change::Session(peer, session)).await?,
                    Some(Ok(Event::Path(prefix, path))) => {
                        if self.ledger.is_news(prefix, path.as_ref()) {
                            self.send(Change::SpeakerMoved).await?;
                        }
                    }
                    Some(Err(failure)) => return ControlFlow::Continue(failure),
                    None => return ControlFlow::Continue(Failure::Unreachable("it closed the connection".to_owned())),
                },
                _ = ticks.tick() => match probe(&mut *api).await {
                    Ok(found) if found == seen => {}
                    Ok(found) => {
                        seen = found;
                        self.send(Change::SpeakerMoved).await?;
                    }
                    Err(failure) => return ControlFlow::Continue(failure),
                },
                () = self.changes.closed() => return ControlFlow::Break(()),
            }
        }
    }

    async fn send(&self, change: Change) -> Flow<()> {
        match self.changes.send(change).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// What no event tells of.
async fn probe(api: &mut dyn Api) -> Result<(Option<Global>, BTreeSet<PeerName>), Failure> {
    let global = api.identity().await?;
    let peers = api.peers().await?;
    Ok((global, peers.ours.into_keys().chain(peers.foreign).collect()))
}
