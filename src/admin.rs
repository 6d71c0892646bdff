//! The HTTP listeners: health, metrics, status. Read-only; each answer is asked of the deciding loop, so that an answer
//! proves that it turns.
//!
//! The status names Services and addresses, and so do the reasons of `/readyz`: they are for this node alone. What may come
//! from elsewhere (the kubelet's probes, a scraper) has a listener of its own, without them; of names, the metrics have
//! only the peers' addresses.

pub mod control;
pub mod health;
pub mod metrics;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_v6only;
use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, oneshot};

use self::metrics::Metrics;
use crate::plan::change::Command;
use crate::plan::explain::Unknown;
use crate::plan::{Asked, Explanation, Status};

/// A question to the deciding loop, and where the answer goes.
#[derive(Debug)]
pub enum Question {
    /// How do things stand?
    Status(oneshot::Sender<Status>),
    /// Does the planner vouch for what is announced?
    Vouch(oneshot::Sender<Result<(), String>>),
    /// This is to be done. That it was taken in is the answer.
    Command(Command, oneshot::Sender<()>),
    /// What is behind a VIP or a Service?
    Explain(Asked, oneshot::Sender<Result<Explanation, Unknown>>),
}

/// How long the loop may take for an answer before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many connections may wait to be accepted, as `TcpListener::bind` has it.
const BACKLOG: u32 = 1024;

/// What the handlers share.
#[derive(Clone)]
struct Desk {
    face: Face,
    questions: mpsc::Sender<Question>,
    metrics: Arc<Metrics>,
}

impl Desk {
    async fn status(&self) -> Option<Status> {
        ask(&self.questions, Question::Status).await
    }
}

/// Asks the deciding loop; none if it does not answer in time.
pub(crate) async fn ask<T>(
    questions: &mpsc::Sender<Question>,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    let asked = async {
        questions.send(question(sender)).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// Everything, for this node alone.
    Whole,
    /// Health and metrics, for others.
    Outer,
}

/// Binds a listener, so that a taken address stops the start. IPv6's "any" stands for all addresses of both families,
/// whatever the kernel's default is, and for those of IPv4 where the kernel has no IPv6.
///
/// # Errors
/// As bind(2) and listen(2) have them.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    if address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return TcpListener::bind(address).await;
    }
    match TcpSocket::new_v6() {
        Ok(socket) => {
            set_ipv6_v6only(&socket, false)?;
            // As `TcpListener::bind` does, so that a restart need not wait for the former agent's connections.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        }
        Err(error) if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        Err(error) => Err(error),
    }
}

/// Serves for ever on `listener`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    face: Face,
    questions: mpsc::Sender<Question>,
    metrics: Arc<Metrics>,
) -> std::io::Result<()> {
    let common =
        Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(render_metrics));
    let router = match face {
        Face::Whole => common.route("/status", get(status)).route("/explain", get(explain)),
        Face::Outer => common,
    };
    axum::serve(listener, router.with_state(Desk { face, questions, metrics })).await
}

fn stuck() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the deciding loop does not answer\n").into_response()
}

/// 200 while the loop turns.
async fn livez(State(desk): State<Desk>) -> Response {
    match desk.status().await {
        Some(_) => "ok\n".into_response(),
        None => stuck(),
    }
}

/// 200 while the node does its job; else 503 and, on the node itself, the reasons, one a line: they name addresses.
async fn readyz(State(desk): State<Desk>) -> Response {
    match desk.status().await {
        Some(status) if status.ready => "ok\n".into_response(),
        Some(status) => {
            let why = match desk.face {
                Face::Whole => status.reasons.join("\n"),
                Face::Outer => "not ready; `vipcast status` on the node says why".to_owned(),
            };
            (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response()
        }
        None => stuck(),
    }
}

async fn render_metrics(State(desk): State<Desk>) -> Response {
    let Some(status) = desk.status().await else { return stuck() };
    match desk.metrics.render(&status) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn status(State(desk): State<Desk>) -> Response {
    let Some(status) = desk.status().await else { return stuck() };
    json(&status)
}

/// The chain behind what `of` names: 400 where that is no name, 404 where nothing is known by it.
async fn explain(State(desk): State<Desk>, RawQuery(query): RawQuery) -> Response {
    let of = form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes())
        .find_map(|(key, value)| (key == "of").then(|| value.into_owned()));
    let asked = match of.unwrap_or_default().parse::<Asked>() {
        Ok(asked) => asked,
        Err(mistake) => return (StatusCode::BAD_REQUEST, mistake + "\n").into_response(),
    };
    match ask(&desk.questions, |answer| Question::Explain(asked, answer)).await {
        Some(Ok(explanation)) => json(&explanation),
        Some(Err(unknown)) => (StatusCode::NOT_FOUND, format!("{unknown}\n")).into_response(),
        None => stuck(),
    }
}

fn json(answer: &impl Serialize) -> Response {
    match serde_json::to_string(answer) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::plan::explain::Verdict;

    /// The answer to a GET, asked of a loop that answers with `status`.
    async fn answer(face: Face, path: &str, status: Option<Status>) -> String {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mut questions) = mpsc::channel::<Question>(1);
        if status.is_none() {
            questions.close();
        }
        let answering = async move {
            while let Some(question) = questions.recv().await {
                match question {
                    Question::Status(answer) => answer.send(status.clone().unwrap_or_default()).unwrap(),
                    Question::Command(command, _) => panic!("{command:?} over a listener that only shows"),
                    Question::Explain(asked, answer) => answer.send(explanation(&asked)).unwrap(),
                    Question::Vouch(_) => panic!("no page vouches"),
                }
            }
        };
        let asking = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        tokio::select! {
            answer = asking => answer,
            ended = serve(listener, face, sender, Arc::new(Metrics::default())) => panic!("{ended:?}"),
            () = async { answering.await; std::future::pending().await } => unreachable!(),
        }
    }

    /// Just `shop/cart` is known.
    fn explanation(asked: &Asked) -> Result<Explanation, Unknown> {
        let (asked, node) = (asked.to_string(), "lb1".to_owned());
        if asked != "shop/cart" {
            return Err(Unknown::new("there is no such Service"));
        }
        Ok(Explanation { node, asked, verdict: Verdict::Ok, remarks: Vec::new(), links: Vec::new() })
    }

    #[tokio::test]
    async fn an_explanation_is_for_this_node_alone_and_says_what_it_does_not_know() {
        for (face, path, code, body) in [
            (Face::Whole, "/explain?of=shop/cart", 200, "\"asked\":\"shop/cart\""),
            (Face::Whole, "/explain?of=shop%2Fcart", 200, "\"asked\":\"shop/cart\""),
            (Face::Whole, "/explain?of=shop/card", 404, "there is no such Service"),
            (Face::Whole, "/explain?of=cart", 400, "neither a VIP"),
            (Face::Whole, "/explain", 400, "neither a VIP"),
            (Face::Outer, "/explain?of=shop/cart", 404, ""),
        ] {
            let answer = answer(face, path, Some(Status::default())).await;
            assert_eq!(answer.split(' ').nth(1).unwrap(), code.to_string(), "{face:?} {path}");
            assert!(answer.contains(body), "{path}: {answer}");
        }
    }

    #[tokio::test]
    async fn others_see_health_and_metrics_and_no_status() {
        let ready = || Some(Status { ready: true, ..Status::default() });
        for (face, path, status, code) in [
            (Face::Whole, "/livez", ready(), 200),
            (Face::Whole, "/status", ready(), 200),
            (Face::Outer, "/livez", ready(), 200),
            (Face::Outer, "/readyz", ready(), 200),
            (Face::Outer, "/readyz", Some(Status::default()), 503),
            (Face::Outer, "/livez", Some(Status::default()), 200),
            (Face::Outer, "/livez", None, 503),
            (Face::Outer, "/metrics", ready(), 200),
            (Face::Outer, "/status", ready(), 404),
        ] {
            let answer = answer(face, path, status).await;
            assert_eq!(answer.split(' ').nth(1).unwrap(), code.to_string(), "{face:?} {path}");
        }
    }

    #[tokio::test]
    async fn why_a_node_is_not_ready_is_told_on_the_node_alone() {
        let status = || Some(Status { reasons: vec!["peer 10.0.1.1 is away".to_owned()], ..Status::default() });
        assert!(answer(Face::Whole, "/readyz", status()).await.contains("10.0.1.1"));
        assert!(!answer(Face::Outer, "/readyz", status()).await.contains("10.0.1.1"));
    }

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() {
        let listener = bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        // A kernel without IPv6 has no such address.
        if listener.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
    }
}
