//! Something between the agent and the API server: a TCP connection that can be cut, held up and refused, and an HTTP
//! server that passes on what the API server says, one word altered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures::TryStreamExt;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// They pass.
    Open,
    /// What the server says is held up.
    Held,
    /// They are closed, and new ones are, too.
    Cut,
}

/// A TCP proxy.
pub(crate) struct Wire {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    connections: Arc<Mutex<JoinSet<()>>>,
    _runtime: Runtime,
}

impl Wire {
    /// A wire to `server`.
    pub(crate) fn to(server: SocketAddr) -> Wire {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Open);
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let accepted = connections.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *modes.borrow() != Mode::Cut {
                    accepted.lock().unwrap().spawn(connect(client, server, modes.clone()));
                }
            }
        });
        Wire { address, mode, connections, _runtime: runtime }
    }

    /// The server's URL, by way of this wire.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Cuts all connections and refuses new ones.
    pub(crate) fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
        self.connections.lock().unwrap().abort_all();
    }

    /// Holds up what the server says.
    pub(crate) fn hold(&self) {
        self.mode.send_replace(Mode::Held);
    }

    /// Lets everything pass again, what was held up first.
    pub(crate) fn open(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

async fn connect(client: TcpStream, server: SocketAddr, modes: watch::Receiver<Mode>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((mut asks, hears), (answers, mut gets)) = (client.into_split(), server.into_split());
    // Either end's end is the end of both.
    tokio::select! {
        _ = copy(&mut asks, &mut gets) => {}
        () = pass_on(answers, hears, modes) => {}
    }
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut modes: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let passes = modes.wait_for(|&mode| mode == Mode::Open).await.is_ok();
        if !passes || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// An HTTP server that asks the API server with what the client shows, and puts one word for another of the same length
/// in the answers.
pub(crate) struct Forger {
    address: SocketAddr,
    word: watch::Sender<Option<(String, String)>>,
    _runtime: Runtime,
}

impl Forger {
    /// A forger before the server of this kubeconfig (its credential is not used). Forges nothing yet.
    pub(crate) fn before(ca: &std::path::Path, server: &str) -> Forger {
        let runtime = runtime();
        let (word, words) = watch::channel(None);
        let mut config = kube::Config::new(server.parse().unwrap());
        config.root_cert_file = Some(ca.to_owned());
        let address = runtime.block_on(async {
            let client = kube::Client::try_from(config).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let handler = move |request: Request| answer(client.clone(), request, words.clone());
            tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
            address
        });
        Forger { address, word, _runtime: runtime }
    }

    /// Where it listens; what it says is not encrypted.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts `to` for `from`, from the next answer on.
    pub(crate) fn forge(&self, from: &str, to: &str) {
        assert_eq!(from.len(), to.len(), "the length of an answer is told before it");
        self.word.send_replace(Some((from.to_owned(), to.to_owned())));
    }

    /// Tells the truth again.
    pub(crate) fn be_honest(&self) {
        self.word.send_replace(None);
    }
}

async fn answer(client: kube::Client, request: Request, words: watch::Receiver<Option<(String, String)>>) -> Response {
    let (mut head, body) = request.into_parts();
    // The client knows where the server is.
    head.uri = head.uri.path_and_query().unwrap().as_str().parse().unwrap();
    head.headers.remove("host");
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    let answer = client.send(Request::from_parts(head, kube::client::Body::from(body))).await;
    let Ok(answer) = answer else { return Response::builder().status(502).body(Body::empty()).unwrap() };
    let (head, body) = answer.into_parts();
    let data = body.into_data_stream().map_ok(move |data| match &*words.borrow() {
        Some((from, to)) => replace(&data, from.as_bytes(), to.as_bytes()),
        None => data.to_vec(),
    });
    Response::from_parts(head, Body::from_stream(data))
}

fn replace(data: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    for start in 0..data.len().saturating_sub(from.len() - 1) {
        if data[start..].starts_with(from) {
            data[start..start + to.len()].copy_from_slice(to);
        }
    }
    data
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
