//! The speaker's socket: who comes, what they say, and what they are told.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::Mode;
use tokio::io::BufReader;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::wire::{FromSpeaker, Hello, ToSpeaker, parse, read_line, write_line};

/// How long a client may take to introduce itself.
const MANNERS: Duration = Duration::from_secs(5);

/// How many lines may wait for a client that does not read. One who lets more wait is let go.
const BACKLOG: usize = 1024;

/// What a client is known by.
pub(super) type ClientId = u64;

/// What the clients do.
#[derive(Debug)]
pub(super) enum Visit {
    /// One came, and is told what is sent here. It is let go when the sender is dropped.
    Came(ClientId, Hello, mpsc::Sender<FromSpeaker>),
    /// One says something.
    Said(ClientId, Box<ToSpeaker>),
    /// One is gone.
    Left(ClientId),
}

/// Listens on the socket at `path`, in place of one that a former speaker left. Only its owner can reach it.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
    Ok(listener)
}

/// Serves for ever: tells `desk` what the clients do.
pub(super) async fn serve(listener: UnixListener, desk: mpsc::Sender<Visit>) {
    let last = Arc::new(AtomicU64::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (id, desk) = (last.fetch_add(1, Ordering::Relaxed), desk.clone());
                tokio::spawn(async move {
                    if let Err(why) = attend(id, stream, &desk).await {
                        debug!(client = id, "let go: {why}");
                    }
                    // Nobody listens any more only when the speaker ends.
                    let _ = desk.send(Visit::Left(id)).await;
                });
            }
            Err(error) => {
                warn!("speaker.sock: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Attends to one client until it leaves.
async fn attend(id: ClientId, stream: UnixStream, desk: &mpsc::Sender<Visit>) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let own = Hello::new(false);
    write_line(&mut writer, &FromSpeaker { hello: Some(own.clone()), ..FromSpeaker::default() }).await?;
    let first = tokio::time::timeout(MANNERS, read_line(&mut reader)).await??;
    let hello = match first.as_deref().map(parse::<ToSpeaker>) {
        None => return Ok(()),
        Some(Ok(ToSpeaker { hello: Some(hello), .. })) => hello.meets(&own).map(|()| hello),
        Some(Ok(_)) => Err("the first line has to be a hello".to_owned()),
        Some(Err(problem)) => Err(problem),
    };
    let hello = match hello {
        Ok(hello) => hello,
        Err(problem) => {
            warn!(client = id, "refused: {problem}");
            write_line(&mut writer, &FromSpeaker { problem: Some(problem), ..FromSpeaker::default() }).await?;
            return Ok(());
        }
    };
    let (tell, told) = mpsc::channel(BACKLOG);
    let complain = tell.downgrade();
    desk.send(Visit::Came(id, hello, tell)).await?;
    let talk = async {
        if write(&mut writer, told).await.is_err() {
            // Who reads no more may have said something before.
            std::future::pending::<()>().await;
        }
    };
    let listen = async {
        while let Some(line) = read_line(&mut reader).await? {
            match parse(&line) {
                Ok(said) => desk.send(Visit::Said(id, Box::new(said))).await?,
                Err(problem) => {
                    warn!(client = id, "not understood: {problem}");
                    if let Some(tell) = complain.upgrade() {
                        // One that does not read its complaints is let go by whoever tells it other things.
                        let _ = tell.try_send(FromSpeaker { problem: Some(problem), ..FromSpeaker::default() });
                    }
                }
            }
        }
        anyhow::Ok(())
    };
    tokio::select! {
        () = talk => Ok(()),
        heard = listen => heard,
    }
}

/// Writes what the client is told, until there is nobody to tell it more.
async fn write(writer: &mut OwnedWriteHalf, mut told: mpsc::Receiver<FromSpeaker>) -> io::Result<()> {
    while let Some(message) = told.recv().await {
        write_line(writer, &message).await?;
    }
    Ok(())
}
