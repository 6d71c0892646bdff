//! The agent's link to the speaker: hands on orders, renews the announcement lease, and hears how lease and BFD sessions
//! stand.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::model::orders::Orders;
use crate::model::settings::Lease;
use crate::plan::Change;
use crate::speaker::wire::{FromSpeaker, Hello, Renewal, ToSpeaker, parse, read_line, write_line};

/// The pause between attempts to reach the speaker.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the speaker may take for its first line, and for its answer to a renewal.
const MANNERS: Duration = Duration::from_secs(5);

/// How long the speaker may be away before that is told: one that starts, or takes its own place, is back by then.
const GRACE: Duration = Duration::from_secs(3);

/// How often a lease is renewed within its time: two renewals may come late.
const RENEWALS: u32 = 3;

/// Keeps the link to the speaker that listens at `socket`, until nobody listens to `changes` any more. `orders` has what the
/// speaker is to hold to, once that is known. Before each renewal `vouch` is asked whether the data plane is proved; the lease
/// is not renewed if it does not answer.
pub async fn keep(
    socket: PathBuf,
    mut orders: watch::Receiver<Option<Orders>>,
    vouch: impl AsyncFn() -> Option<Result<(), String>>,
    changes: mpsc::Sender<Change>,
) {
    let mut told = None;
    let mut away = Instant::now();
    loop {
        let link = Link { orders: &mut orders, vouch: &vouch, changes: &changes, told: &mut told, away: &mut away };
        let why = tokio::select! {
            ended = link.hold(&socket) => match ended {
                Ok(()) => "it closed the connection".to_owned(),
                Err(why) => why,
            },
            () = changes.closed() => return,
        };
        let why = format!("the speaker at {}: {why}", socket.display());
        // Said again only if there is something new to it.
        if away.elapsed() >= GRACE && told.as_ref() != Some(&why) {
            if changes.send(Change::Lease(Err(why.clone()))).await.is_err() {
                return;
            }
            told = Some(why);
        }
        tokio::select! {
            () = changes.closed() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

struct Link<'a, V> {
    orders: &'a mut watch::Receiver<Option<Orders>>,
    vouch: &'a V,
    changes: &'a mpsc::Sender<Change>,
    /// The problem that was told last, until there is none.
    told: &'a mut Option<String>,
    /// When the speaker was there the last time, or when this began.
    away: &'a mut Instant,
}

impl<V: AsyncFn() -> Option<Result<(), String>>> Link<'_, V> {
    /// Holds one connection to its end, and says why it ended if the speaker did not just close it.
    async fn hold(mut self, socket: &Path) -> Result<(), String> {
        let stream = UnixStream::connect(socket).await.map_err(|error| format!("cannot connect: {error}"))?;
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let lost = |error: std::io::Error| format!("the connection broke: {error}");
        let own = Hello::new(true);
        write_line(&mut writer, &ToSpeaker { hello: Some(own.clone()), ..ToSpeaker::default() }).await.map_err(lost)?;
        let first = tokio::time::timeout(MANNERS, read_line(&mut reader)).await.map_err(|_| "no answer in time")?;
        let first = first.map_err(|error| error.to_string())?.ok_or("it closed the connection")?;
        let hello = parse::<FromSpeaker>(&first)?.hello.ok_or("its first line is no hello")?;
        hello.meets(&own)?;
        info!(version = hello.version, "connected to the speaker");
        *self.told = None;

        // Reading is not cut off in the middle of a line.
        let (hand, mut heard) = mpsc::channel(16);
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = read_line(&mut reader).await {
                if hand.send(line).await.is_err() {
                    return;
                }
            }
        });
        let _reading = AbortOnDrop(reading.abort_handle());
        self.orders.mark_changed();
        let ended = self.converse(&mut writer, &mut heard).await;
        *self.away = ended.as_ref().err().map_or_else(Instant::now, |lost| lost.since);
        ended.map_err(|lost| lost.why)
    }

    /// Renews, hands on orders and hears until the connection ends.
    async fn converse(&mut self, writer: &mut OwnedWriteHalf, heard: &mut mpsc::Receiver<String>) -> Result<(), Lost> {
        let lost = |error: std::io::Error| format!("the connection broke: {error}");
        let mut due = Instant::now();
        // When the first renewal was sent that is not answered yet.
        let mut unanswered: Option<Instant> = None;
        loop {
            let ttl = self.orders.borrow().as_ref().map_or(Lease::TTL, |orders| orders.ttl);
            let hung = async {
                match unanswered {
                    Some(since) => tokio::time::sleep_until(since + MANNERS).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What was said counts before the time that has passed.
                biased;
                line = heard.recv() => match line {
                    Some(line) => {
                        unanswered = None;
                        self.hear(&line).await?;
                    }
                    None => return Ok(()),
                },
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let orders = self.orders.borrow_and_update().clone();
                    if orders.is_some() {
                        write_line(writer, &ToSpeaker { orders, ..ToSpeaker::default() }).await.map_err(lost)?;
                        // They may ask for renewals more often than the former ones.
                        due = Instant::now();
                    }
                }
                () = hung => {
                    let why = format!("it has not answered for {} s: it hangs", MANNERS.as_secs());
                    return Err(Lost { why, since: unanswered.unwrap_or_else(Instant::now) });
                }
                () = tokio::time::sleep_until(due) => {
                    let pause = ttl / RENEWALS;
                    due = Instant::now() + pause;
                    if let Ok(Some(verdict)) = tokio::time::timeout(pause, (self.vouch)()).await {
                        let renewal = Some(Renewal { objection: verdict.err() });
                        write_line(writer, &ToSpeaker { renewal, ..ToSpeaker::default() }).await.map_err(lost)?;
                        unanswered.get_or_insert_with(Instant::now);
                    }
                }
            }
        }
    }

    /// Tells the loop what the speaker says.
    async fn hear(&self, line: &str) -> Result<(), String> {
        let gone = |_| "the agent ends".to_owned();
        let FromSpeaker { lease, bfd, held, problem, .. } = match parse(line) {
            Ok(message) => message,
            Err(problem) => {
                warn!("the speaker says what is not understood: {problem}");
                return Ok(());
            }
        };
        if let Some(problem) = problem {
            warn!("the speaker: {problem}");
        }
        if let Some(lease) = lease {
            self.changes.send(Change::Lease(Ok(lease))).await.map_err(gone)?;
        }
        if let Some(held) = held {
            self.changes.send(Change::HeldDown(held)).await.map_err(gone)?;
        }
        for (peer, status) in bfd.unwrap_or_default() {
            self.changes.send(Change::Bfd(peer, status)).await.map_err(gone)?;
        }
        Ok(())
    }
}

/// Why the speaker cannot be talked to any more, and since when.
struct Lost {
    why: String,
    since: Instant,
}

impl From<String> for Lost {
    fn from(why: String) -> Lost {
        Lost { why, since: Instant::now() }
    }
}

/// A task that ends with whoever holds this.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
