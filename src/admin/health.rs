//! The health check ports of Services (`spec.healthCheckNodePort`), answered as kube-proxy does (`pkg/proxy/healthcheck`):
//! 200 while this node has ready endpoints of the Service and does its job, else 503, with the numbers in the body and in
//! a header, whatever the path.
//!
//! Anybody on the network may ask, so a listener has a bound on its connections, each of which ends soon, and the deciding
//! loop is asked for readiness once a second at most.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::{Question, ask};
use crate::plan::health::{Health, HealthCheck};

/// How many connections a listener has at once; more wait in its backlog.
const CONNECTIONS: usize = 64;

/// How long a connection may take for its one question and the answer.
const LONGEST: Duration = Duration::from_secs(10);

/// How long an answer of the deciding loop is believed.
const FRESH: Duration = Duration::from_secs(1);

/// After how long a port that could not be had is tried again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Serves what was told last, for as long as somebody may tell more.
pub async fn serve(mut told: watch::Receiver<Health>, questions: mpsc::Sender<Question>) {
    let readiness = Arc::new(Readiness { questions, last: Mutex::default() });
    let mut tasks = JoinSet::new();
    let mut ports: BTreeMap<SocketAddr, Port> = BTreeMap::new();
    loop {
        let health = told.borrow_and_update().clone();
        ports.retain(|address, _| {
            health.addresses.contains(&address.ip()) && health.checks.contains_key(&address.port())
        });
        for ip in &health.addresses {
            for (port, check) in &health.checks {
                let address = SocketAddr::new(*ip, *port);
                let port = ports.entry(address).or_insert_with(|| Port::Missing {
                    at: Instant::now(),
                    pause: FIRST_PAUSE,
                    told: false,
                });
                port.open(address, check, async |listener| {
                    Guard(tasks.spawn(accept(listener, told.clone(), readiness.clone())))
                })
                .await;
            }
        }
        let again = ports.values().filter_map(Port::again).min();
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
            // A listener ends with its port only, by being aborted.
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// A port on an address.
enum Port {
    /// It is served, until this is dropped.
    Served { _listener: Guard },
    /// It cannot be had.
    Missing { at: Instant, pause: Duration, told: bool },
}

impl Port {
    /// Opens the port if it is not and the time has come. That it could not be is told once.
    async fn open(&mut self, address: SocketAddr, check: &HealthCheck, start: impl AsyncFnOnce(TcpListener) -> Guard) {
        let Port::Missing { at, pause, told } = self else { return };
        if *at > Instant::now() {
            return;
        }
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if *told {
                    info!("the health check port of {} is served at {address} now", check.service);
                }
                *self = Port::Served { _listener: start(listener).await };
            }
            Err(error) => {
                if !*told {
                    warn!(
                        "the health check port of {} cannot be served at {address}, and is tried again: {error}",
                        check.service
                    );
                }
                let (at, pause) = (Instant::now() + *pause, (*pause * 2).min(LONGEST_PAUSE));
                *self = Port::Missing { at, pause, told: true };
            }
        }
    }

    /// When it wants to be tried again.
    fn again(&self) -> Option<Instant> {
        match self {
            Port::Served { .. } => None,
            Port::Missing { at, .. } => Some(*at),
        }
    }
}

/// Ends a task, and with it the socket that it holds, when dropped.
struct Guard(AbortHandle);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Is the node ready, as `/readyz` has it?
struct Readiness {
    questions: mpsc::Sender<Question>,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Readiness {
    /// What the deciding loop said not long ago, or says now. One that does not answer is not ready.
    async fn get(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((_, ready)) = last.filter(|(at, _)| at.elapsed() < FRESH) {
            return ready;
        }
        let ready = ask(&self.questions, Question::Status).await.is_some_and(|status| status.ready);
        *last = Some((Instant::now(), ready));
        ready
    }
}

/// Accepts connections for ever. They end with it.
async fn accept(listener: TcpListener, told: watch::Receiver<Health>, readiness: Arc<Readiness>) {
    let Ok(port) = listener.local_addr().map(|address| address.port()) else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let (told, readiness) = (told.clone(), readiness.clone());
                    connections.spawn(timeout(LONGEST, answer(stream, port, told, readiness)));
                }
                // Out of descriptors, for example: those that are open end soon.
                Err(_) => tokio::time::sleep(FRESH).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers one question on `stream`.
async fn answer(stream: TcpStream, port: u16, told: watch::Receiver<Health>, readiness: Arc<Readiness>) {
    let service = service_fn(|_| async {
        let healthy = readiness.get().await;
        let check = told.borrow().checks.get(&port).cloned();
        let response = match check {
            Some(check) => respond(&check, healthy),
            None => StatusCode::NOT_FOUND.into_response(),
        };
        Ok::<_, Infallible>(response)
    });
    // Whoever asked may have gone away, or not speak HTTP; that is no business of ours.
    let _ = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await;
}

/// The body, field by field as kube-proxy has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    service: Name<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Debug, Serialize)]
struct Name<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// What a port says.
fn respond(check: &HealthCheck, healthy: bool) -> Response {
    let (namespace, name) = check.service.as_str().split_once('/').unwrap_or_default();
    let body = Body { service: Name { namespace, name }, local_endpoints: check.local, service_proxy_healthy: healthy };
    let Ok(text) = serde_json::to_string(&body) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let code = if check.local > 0 && healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    let weight = [("x-load-balancing-endpoint-weight", HeaderValue::from(check.local))];
    (code, headers, weight, text).into_response()
}

#[cfg(test)]
mod tests;
