//! The sensor: is gobgpd there, what do its sessions do, and did somebody else change it?

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::debug;

use super::api::{Api, Event, Failure, Listed};
use super::dial::dial;
use super::herald::Herald;
use super::tally::Tally;
use super::{Endpoint, Ledger};
use crate::model::Prefix;
use crate::model::bgp::{Export, Flavour, Global, Peer, PeerName};
use crate::plan::Change;

/// The first pause before another attempt to reach gobgpd; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often gobgpd is asked for what it tells of by no event: whether it still answers, who it is, its peers and policies.
const PROBE: Duration = Duration::from_secs(5);

/// Tells through `changes` what happens in the gobgpd at `endpoint`, until nobody listens any more: that it came up, went
/// down or is gone (with each end of the connection, so that a quick restart is seen as two of them), each session on
/// coming up and whenever something about it changes, and that something was changed which `ledger`, the [`Ledger`] of the one
/// [`Speaker`](super::Speaker), does not account for.
pub async fn watch(endpoint: Endpoint, ledger: Ledger, changes: Sender<Change>) {
    let mut last = None;
    let mut pause = FIRST_PAUSE;
    let (mut tally, mut herald) = (Tally::default(), Herald::default());
    loop {
        let mut sensor =
            Sensor { ledger: &ledger, changes: &changes, tally: &mut tally, herald: &mut herald, up: false };
        let failure = match sensor.follow(&endpoint).await {
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
    tally: &'a mut Tally,
    herald: &'a mut Herald,
    up: bool,
}

/// `Break`: nobody listens.
type Flow<T> = ControlFlow<(), T>;

impl Sensor<'_> {
    /// Follows one connection to its end and says why it ended.
    async fn follow(&mut self, endpoint: &Endpoint) -> Flow<Failure> {
        let connected = async {
            let mut api = dial(endpoint).await?;
            let events = api.watch().await?;
            let seen = probe(&mut *api).await?;
            Ok((api, events, seen))
        };
        let (mut api, mut events, (mut seen, listed)) = match connected.await {
            Ok(connected) => connected,
            Err(failure) => return ControlFlow::Continue(failure),
        };
        self.send(Change::SpeakerUp).await?;
        self.up = true;
        // Whoever listens has forgotten the sessions while gobgpd was away.
        self.herald.call(&seen.ours, &listed);
        for (peer, session) in self.tally.begin(&listed) {
            self.send(Change::Session(peer, session)).await?;
        }

        let mut ticks = tokio::time::interval_at(Instant::now() + PROBE, PROBE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(Event::Session(peer, state))) => match api.peers().await {
                        Ok(peers) => {
                            self.herald.call(&peers.ours, &peers.sessions);
                            if let Some(session) = self.tally.hear(&peer, state, peers.sessions.get(&peer)) {
                                self.send(Change::Session(peer, session)).await?;
                            }
                        }
                        Err(failure) => return ControlFlow::Continue(failure),
                    },
                    Some(Ok(Event::Path(prefix, path))) => {
                        if self.ledger.is_news(prefix, path.as_ref()) {
                            self.send(Change::SpeakerMoved).await?;
                        }
                    }
                    Some(Err(failure)) => return ControlFlow::Continue(failure),
                    None => return ControlFlow::Continue(Failure::Unreachable("it closed the connection".to_owned())),
                },
                _ = ticks.tick() => match probe(&mut *api).await {
                    Ok((found, listed)) => {
                        self.look(&found, &listed).await?;
                        if found != seen {
                            seen = found;
                            self.send(Change::SpeakerMoved).await?;
                        }
                    }
                    Err(failure) => return ControlFlow::Continue(failure),
                },
                () = self.changes.closed() => return ControlFlow::Break(()),
            }
        }
    }

    /// Tells what is new in the sessions that are listed.
    async fn look(&mut self, configuration: &Configuration, listed: &BTreeMap<PeerName, Listed>) -> Flow<()> {
        self.herald.call(&configuration.ours, listed);
        for (peer, session) in self.tally.look(listed) {
            self.send(Change::Session(peer, session)).await?;
        }
        ControlFlow::Continue(())
    }

    async fn send(&self, change: Change) -> Flow<()> {
        match self.changes.send(change).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// How gobgpd is configured, which no event tells of.
#[derive(PartialEq, Eq)]
struct Configuration {
    flavour: Flavour,
    global: Option<Global>,
    ours: BTreeMap<PeerName, Peer>,
    foreign: BTreeSet<PeerName>,
    rejected: Option<BTreeSet<Prefix>>,
    exports: Option<BTreeMap<IpAddr, Export>>,
}

/// Asks for what no event tells of.
async fn probe(api: &mut dyn Api) -> Result<(Configuration, BTreeMap<PeerName, Listed>), Failure> {
    let global = api.identity().await?;
    let peers = api.peers().await?;
    let (rejected, exports) =
        if global.is_some() { (api.rejected().await?, api.exports().await?) } else { (None, None) };
    let flavour = api.flavour();
    Ok((Configuration { flavour, global, ours: peers.ours, foreign: peers.foreign, rejected, exports }, peers.sessions))
}
