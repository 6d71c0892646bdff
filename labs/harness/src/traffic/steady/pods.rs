//! Pods for the steady client: what [`Server`](crate::traffic::Server) does, for many connections in one thread.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::Netns;

/// Pods that tell who they are and whom they see, and then echo. Dropped, they are gone.
#[derive(Debug)]
pub struct SteadyPods {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl SteadyPods {
    /// Starts them in a namespace that has their addresses.
    pub fn start(netns: &Netns, pods: Vec<(String, SocketAddr)>) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = netns.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start tokio")?;
            runtime.block_on(async {
                for (name, address) in pods {
                    let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
                    tokio::spawn(accept(name, listener));
                }
                let _ = ready.send(());
                // An error means that the owner is gone.
                let _ = stopped.await;
                Ok(())
            })
        })?;
        let mut pods = Self { stop: Some(stop), thread: Some(thread) };
        match is_ready.recv() {
            Ok(()) => Ok(pods),
            Err(_) => Err(pods.end().err().unwrap_or_else(|| anyhow!("the pods ended"))),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.stop = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| anyhow!("they panicked")).and_then(|ended| ended?).context("the pods")
    }
}

impl Drop for SteadyPods {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

async fn accept(name: String, listener: TcpListener) {
    while let Ok((stream, peer)) = listener.accept().await {
        // A client that goes away is what ends a connection.
        tokio::spawn(echo(format!("{name} {peer}\n"), stream));
    }
}

async fn echo(greeting: String, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(greeting.as_bytes()).await?;
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}
