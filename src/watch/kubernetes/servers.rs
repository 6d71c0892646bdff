//! The API servers: which addresses there are, in which order they are tried, and the connections to them.
//!
//! Requests go to one address as long as it answers, and to the next one when it does not. Watches continue at another
//! API server of the same cluster where they were cut: resource versions are the cluster's, not the server's.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tower::{BoxError, ServiceBuilder};
use tracing::{debug, info, warn};

use super::{credentials, remembered, words};
use crate::config;

/// How long a TCP connection may take to be made; the first retransmission of a SYN comes after one second.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a server may take until a watch begins, and for the whole answer to anything else.
const ANSWER: Duration = Duration::from_secs(20);
/// A connection on which nothing is heard is probed after this time, and then as often.
const PROBE: Duration = Duration::from_secs(10);
/// What was sent (a probe, too) and not acknowledged for this long ends the connection (TCP_USER_TIMEOUT, tcp(7)).
const SILENCE: Duration = Duration::from_secs(20);
/// How long an address other than the first is used before the first is tried again.
const RETURN: Duration = Duration::from_secs(300);
/// What a server answers that is there, but not able to serve: it has no etcd, is overloaded, or is on its way out.
const UNABLE: [StatusCode; 5] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];
/// The name that an API server has in its certificate wherever it listens.
const NAME: &str = "kubernetes.default.svc";

/// Where an API server is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Address {
    /// As configured, or as it came with the credentials. The server's certificate has this name.
    Given(String),
    /// An endpoint of the Service `default/kubernetes`. The certificate has the Service's name: whoever is at the
    /// address has to prove that it is the API server before it gets a token, so a wrong address costs time only.
    Learned(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Given(url) => f.write_str(url),
            Address::Learned(endpoint) => write!(f, "https://{endpoint}"),
        }
    }
}

/// Why no API server answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreachable {
    /// There are no credentials, or they cannot be used.
    #[error("{0}")]
    NoCredentials(String),
    /// Each of the addresses failed.
    #[error("{}", listed(.0))]
    Nobody(Vec<(Address, String)>),
    /// Watches end as soon as they began.
    #[error("the API server, or something before it, ends each watch as soon as it began")]
    Fickle,
}

fn listed(failures: &[(Address, String)]) -> String {
    let each: Vec<String> = failures.iter().map(|(address, why)| format!("{address}: {why}")).collect();
    each.join("; ")
}

/// The API servers.
#[derive(Debug)]
pub(super) struct Servers {
    source: config::Kubernetes,
    /// The folder of the pod's service account.
    account: PathBuf,
    /// Where endpoints are remembered.
    file: PathBuf,
    /// What is learned is written there.
    remembers: bool,
    /// How long a server may take to answer.
    pub(super) patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    config: Option<Config>,
    given: Vec<Address>,
    learned: BTreeSet<SocketAddr>,
    clients: BTreeMap<Address, Client>,
    /// The address that answered last, and since when it is used.
    current: Option<(Address, Instant)>,
}

impl fmt::Debug for State {
    /// Names no credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("given", &self.given).field("learned", &self.learned).finish_non_exhaustive()
    }
}

impl Servers {
    pub(super) fn new(source: config::Kubernetes, account: &Path, runtime_dir: &Path, remembers: bool) -> Servers {
        let file = remembered::file(runtime_dir);
        let state = State { learned: remembered::read(&file), ..State::default() };
        Servers { source, account: account.to_owned(), file, remembers, patience: ANSWER, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which server answered last.
    pub(super) fn current(&self) -> Option<Address> {
        self.state().current.as_ref().map(|(address, _)| address.clone())
    }

    /// The addresses that are tried first, how many endpoints are known, and whether the addresses were configured.
    pub(super) fn known(&self) -> (Vec<Uri>, usize, bool) {
        let state = self.state();
        let given = state.given.iter().filter_map(|given| given.to_string().parse().ok()).collect();
        (given, state.learned.len(), !self.source.servers.is_empty())
    }

    /// Takes note of the endpoints of the API servers' Service, here and on disk.
    pub(super) fn learn(&self, endpoints: &BTreeSet<SocketAddr>) {
        {
            let mut state = self.state();
            if state.learned == *endpoints {
                return;
            }
            state.learned.clone_from(endpoints);
            let is_known = |address: &Address| match address {
                Address::Given(_) => true,
                Address::Learned(endpoint) => endpoints.contains(endpoint),
            };
            state.clients.retain(|address, _| is_known(address));
            state.current = state.current.take().filter(|(address, _)| is_known(address));
        }
        debug!(?endpoints, "the API servers' endpoints are known");
        if self.remembers
            && let Err(error) = remembered::write(&self.file, endpoints)
        {
            warn!("{}: {error}; the API servers' addresses are not remembered", self.file.display());
        }
    }

    /// Sends a request to the first API server that answers.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Unreachable> {
        let (config, addresses) = self.addresses().await?;
        let mut failures = Vec::new();
        for address in addresses {
            let Some(copy) = copy(&request) else { break };
            let answer = match self.client(&config, &address).await {
                Ok(client) => timeout(self.patience, exchange(&client, copy)).await,
                Err(why) => {
                    failures.push((address, why));
                    continue;
                }
            };
            let (why, was_sent) = match answer {
                Ok(Ok(response)) => {
                    self.answered(address, response.status());
                    return Ok(response);
                }
                Ok(Err(error)) => (words::transport(&error), !words::is_connect(&error)),
                Err(_) => (format!("does not answer within {} s", self.patience.as_secs()), true),
            };
            debug!(%address, why, "API server not reached");
            failures.push((address, why));
            // What changes something must not be done twice.
            if was_sent && request.method() != Method::GET {
                break;
            }
        }
        self.forget();
        Err(Unreachable::Nobody(failures))
    }

    /// The addresses to try, in order. Reads the credentials where they are not known.
    async fn addresses(&self) -> Result<(Config, Vec<Address>), Unreachable> {
        let known = self.state().config.clone();
        let config = match known {
            Some(config) => config,
            None => {
                let environment = |name: &str| env::var(name).ok();
                let config = credentials::load(&self.source, &self.account, &environment)
                    .await
                    .map_err(Unreachable::NoCredentials)?;
                self.state().config = Some(config.clone());
                config
            }
        };
        let mut state = self.state();
        state.given = match self.source.servers.as_slice() {
            [] => vec![Address::Given(config.cluster_url.to_string().trim_end_matches('/').to_owned())],
            servers => servers.iter().cloned().map(Address::Given).collect(),
        };
        // Without verification, an endpoint would not have to prove that it is the API server.
        let verified =
            !config.accept_invalid_certs && state.given.iter().all(|given| given.to_string().starts_with("https://"));
        let none = BTreeSet::new();
        let learned = if verified { &state.learned } else { &none };
        let current = state.current.as_ref().filter(|(_, since)| since.elapsed() < RETURN).map(|(address, _)| address);
        let order = order(&state.given, learned, current);
        Ok((config, order))
    }

    /// The client for one address.
    async fn client(&self, config: &Config, address: &Address) -> Result<Client, String> {
        if let Some(client) = self.state().clients.get(address) {
            return Ok(client.clone());
        }
        let (config, of) = (config.clone(), address.clone());
        let client = spawn_blocking(move || connect(config, &of)).await.map_err(|error| error.to_string())??;
        self.state().clients.insert(address.clone(), client.clone());
        Ok(client)
    }

    fn answered(&self, address: Address, status: StatusCode) {
        // Perhaps another one is able to serve.
        let mut state = self.state();
        if UNABLE.contains(&status) {
            let mut all = order(&state.given, &state.learned, None);
            let next = all.iter().position(|other| *other == address).map_or(0, |index| index + 1);
            all.rotate_left(next);
            state.current = all.into_iter().next().map(|next| (next, Instant::now()));
            return;
        }
        let same = state.current.as_ref().filter(|(current, _)| *current == address);
        if same.is_none() && self.remembers {
            info!(%address, "API server answers");
        }
        if same.is_none_or(|(_, since)| since.elapsed() >= RETURN) {
            state.current = Some((address, Instant::now()));
        }
        drop(state);
        if status == StatusCode::UNAUTHORIZED {
            self.forget();
        }
    }

    /// Forgets credentials and connections: what failed may have been mended on disk.
    fn forget(&self) {
        let mut state = self.state();
        state.config = None;
        state.clients.clear();
    }
}

/// The order in which addresses are tried: the one that answered last, then those given, then those learned.
fn order(given: &[Address], learned: &BTreeSet<SocketAddr>, current: Option<&Address>) -> Vec<Address> {
    let learned = learned.iter().copied().map(Address::Learned);
    let all: Vec<Address> = given.iter().cloned().chain(learned).collect();
    let (first, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| Some(address) == current);
    first.into_iter().chain(rest).collect()
}

/// Is it a request whose answer goes on for as long as the watch does?
pub(super) fn is_watch(request: &Request<Body>) -> bool {
    request.uri().query().unwrap_or_default().split('&').any(|pair| pair == "watch=true")
}

/// Asks one server. All of the answer is read here, but for a watch that was granted: a server may stall anywhere in it,
/// and kube waits for the rest for ever.
async fn exchange(client: &Client, request: Request<Body>) -> kube::Result<Response<Body>> {
    let is_watch = is_watch(&request);
    let response = client.send(request).await?;
    if is_watch && response.status().is_success() {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, body.collect_bytes().await?.into()))
}

/// The request once more; `None` if its body can be read only once.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// A client for one address, which connects when it is used. Reads files, and may run the kubeconfig's program.
fn connect(mut config: Config, address: &Address) -> Result<Client, String> {
    let said = |error: kube::Error| words::chain(&error);
    config.cluster_url = address.to_string().parse::<Uri>().map_err(|error| error.to_string())?;
    if let Address::Learned(_) = address {
        config.tls_server_name = Some(NAME.to_owned());
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(PROBE));
    connector.set_keepalive_interval(Some(PROBE));
    connector.set_tcp_user_timeout(Some(SILENCE));
    let connector = config.rustls_https_connector_with_connector(connector).map_err(said)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(said)?)
        .layer(config.extra_headers_layer().map_err(said)?)
        .map_err(BoxError::from)
        .service(legacy::Client::builder(TokioExecutor::new()).build(connector));
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

#[cfg(test)]
mod tests;
