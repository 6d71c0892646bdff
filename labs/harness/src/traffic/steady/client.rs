//! The client's thread.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::gettid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Attempt, Held, Plan, Shared};

/// How long a connection that is to be held may take to open: nothing is broken yet.
const OPENING: Duration = Duration::from_secs(10);

/// Runs until told to stop; says on `ready` when the connections to hold are open.
pub(super) fn run(shared: &Arc<Shared>, plan: &Plan, ready: &Sender<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start tokio")?;
    hurry();
    // Dropped with all connections that are still open.
    runtime.block_on(async {
        for (number, source) in plan.sources.iter().cycle().take(plan.open).enumerate() {
            let (stream, by) = timeout(OPENING, connect(*source, plan.target))
                .await
                .context("no answer")
                .and_then(|opened| opened.context("connect"))
                .with_context(|| format!("open connection {} of {}", number + 1, plan.open))?;
            shared.with(|seen| seen.held.push(Held { by, broken: None, waits_since: None }));
            tokio::spawn(hold(shared.clone(), number, stream, plan.pause));
        }
        // Nobody waits any more when the owner is gone.
        let _ = ready.send(());
        attempts(shared, plan).await;
        Ok(())
    })
}

/// Puts this thread before all others, where that is allowed, so that it stands still as little as can be.
fn hurry() {
    let _ = Command::new("chrt").args(["-f", "-p", "1", &gettid().to_string()]).output();
}

/// Begins attempts at the planned times. Those that it stood still over are left out, not made up for.
async fn attempts(shared: &Arc<Shared>, plan: &Plan) {
    let mut under_way = JoinSet::new();
    let mut due = Instant::now();
    for source in plan.sources.iter().cycle() {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        sleep_until(due).await;
        due = (due + plan.every).max(Instant::now());
        let (shared, source, target, patience) = (shared.clone(), *source, plan.target, plan.patience);
        under_way.spawn(async move {
            let at = shared.now();
            let outcome = match timeout(patience, connect(source, target)).await {
                Ok(Ok((_, by))) => Ok(by),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            };
            let attempt = Attempt { at, took: shared.now().saturating_sub(at), outcome };
            shared.with(|seen| seen.attempts.push(attempt));
        });
        // What is kept of those that ended is in `shared`.
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}

/// Connects and reads who answers: the pod, and the address that it saw.
async fn connect(source: IpAddr, target: SocketAddr) -> std::io::Result<(TcpStream, IpAddr)> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Closed by a reset: no port is kept from the next connections, and no node remembers this one for minutes.
    socket.set_zero_linger()?;
    socket.bind((source, 0).into())?;
    let mut stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    let mut line = String::new();
    // Nothing is lost in the reader: a pod says no more than this line before it is spoken to.
    BufReader::new(&mut stream).read_line(&mut line).await?;
    let seen = line.trim_end().split_once(' ').and_then(|(_, seen)| seen.parse::<SocketAddr>().ok());
    let seen = seen.ok_or_else(|| std::io::Error::other(format!("not an answer: {line:?}")))?;
    Ok((stream, seen.ip()))
}

/// Sends lines and waits for each to come back, for ever. TCP's own patience is longer than any run.
async fn hold(shared: Arc<Shared>, number: usize, mut stream: TcpStream, pause: Duration) {
    for round in 0_u64.. {
        let line = format!("{round:015}\n");
        let mut back = [0; 16];
        let sent_at = shared.now();
        shared.with(|seen| seen.held[number].waits_since = Some(sent_at));
        let exchanged = async {
            stream.write_all(line.as_bytes()).await?;
            stream.read_exact(&mut back).await
        };
        let broken = match exchanged.await {
            Ok(_) if back == *line.as_bytes() => None,
            Ok(_) => Some(format!("sent {line:?}, received {:?}", String::from_utf8_lossy(&back))),
            Err(error) => Some(error.to_string()),
        };
        let now = shared.now();
        let ended = broken.is_some();
        shared.with(|seen| {
            seen.held[number].waits_since = None;
            seen.held[number].broken = broken.map(|error| (now, error));
        });
        if ended {
            return;
        }
        sleep(pause).await;
    }
}
