//! Following one kind: a list, and from then on what changes, for ever.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;
use tracing::{debug, info};

use super::backoff::Backoff;
use super::failure::{Failure, judge};
use super::gate::Gate;
use super::raw::{Raw, resource};
use super::remembered::Learner;
use super::servers::Servers;
use crate::model::{Event, Kind};
use crate::plan::Change;
use crate::watch::{Closed, tell};

/// How long the API server is asked to keep a watch open. It also bounds, with the 5 s that kube's watcher adds, how
/// long a server can hang while its kernel goes on answering, before that is noticed.
const WATCH: Duration = Duration::from_secs(120);

/// How often it is looked whether a kind that the API server does not have has come.
const ABSENT: Duration = Duration::from_secs(30);

/// How many streamed lists in a row may break off before the server is taken for one that never ends them.
const UNFINISHED: u32 = 2;

/// How many objects a page holds. All of it is in memory at a time, in several forms.
const PAGE: u32 = 100;

/// Services and EndpointSlices that kube-proxy would not serve either. The API server leaves them out, and tells of one
/// that gets such a label later as deleted.
const SERVED: &str = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name";

/// How the first list of a watch is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// As the beginning of the watch (`sendInitialEvents`), object by object.
    Streaming,
    /// By a request of its own, in pages.
    Pages,
}

/// Follows one kind.
pub(super) struct Follower {
    pub(super) kind: Kind,
    /// The name of this node's own Node.
    pub(super) node: String,
    /// Its absence from the API server is an empty list.
    pub(super) dispensable: bool,
    pub(super) servers: Arc<Servers>,
    pub(super) changes: Sender<Change>,
}

/// What is known of the watch from one watcher to the next.
struct Course {
    origin: Arc<str>,
    backoff: Backoff,
    /// What is wrong, as it was told.
    trouble: Option<String>,
    /// When it went wrong.
    since: Timestamp,
    /// A list is under way.
    listing: bool,
    /// How many lists in a row broke off.
    unfinished: u32,
    /// A list was complete.
    listed: bool,
    learner: Learner,
}

impl Follower {
    pub(super) async fn run(self) -> Result<Infallible, Closed> {
        let gate = Arc::new(Gate::new(self.servers.clone()));
        let passing = gate.clone();
        let service = tower::service_fn(move |request| {
            let gate = passing.clone();
            async move { gate.send(request).await }
        });
        let client = Client::new(service, "default");
        let mut course = Course {
            origin: format!("watch of {}", resource(self.kind)).into(),
            backoff: Backoff::default(),
            trouble: None,
            since: Timestamp::UNIX_EPOCH,
            listing: false,
            unfinished: 0,
            listed: false,
            learner: Learner::default(),
        };
        let mut strategy = Strategy::Streaming;
        loop {
            strategy = self.follow(&client, &gate, strategy, &mut course).await?;
        }
    }

    /// One watcher's life: until all has to be listed anew, and not by this watcher. Answers how to list then.
    async fn follow(
        &self,
        client: &Client,
        gate: &Gate,
        strategy: Strategy,
        course: &mut Course,
    ) -> Result<Strategy, Closed> {
        let api = Api::<Raw>::all_with(client.clone(), &self.kind);
        let mut stream = pin!(watcher(api, self.config(strategy)));
        let mut listed_before = false;
        course.listing = false;
        loop {
            let told = tokio::select! {
                told = stream.next() => told,
                () = gate.steady(), if course.trouble.is_some() && !course.listing => {
                    self.well(course).await?;
                    continue;
                }
                () = self.changes.closed() => return Err(Closed),
            };
            let event = match told {
                Some(Ok(event)) => event,
                Some(Err(error)) => match self.fail(&error, strategy, course).await? {
                    Some(strategy) => return Ok(strategy),
                    None => continue,
                },
                // The watcher has no end.
                None => return Ok(Strategy::Streaming),
            };
            match event {
                // A server that did not stream lists may do so now.
                watcher::Event::Init if listed_before && strategy == Strategy::Pages => return Ok(Strategy::Streaming),
                watcher::Event::Init => {
                    listed_before = true;
                    course.unfinished += u32::from(course.listing);
                    if course.unfinished >= UNFINISHED && strategy == Strategy::Streaming {
                        course.unfinished = 0;
                        return Ok(Strategy::Pages);
                    }
                    course.listing = true;
                    self.tell(course, Event::Listing(self.kind)).await?;
                }
                watcher::Event::InitApply(raw) => {
                    let object = raw.reference(self.kind);
                    let reading = raw.read(self.kind, &self.node);
                    for event in reading.is_present().then(|| reading.events(&object)).into_iter().flatten() {
                        self.tell(course, event).await?;
                    }
                }
                watcher::Event::InitDone => {
                    course.listing = false;
                    course.unfinished = 0;
                    course.listed = true;
                    self.tell(course, Event::Listed(self.kind)).await?;
                    self.well(course).await?;
                }
                watcher::Event::Apply(raw) => {
                    let object = raw.reference(self.kind);
                    for event in raw.read(self.kind, &self.node).events(&object) {
                        self.tell(course, event).await?;
                    }
                }
                watcher::Event::Delete(raw) => self.tell(course, Event::Gone(raw.reference(self.kind))).await?,
            }
        }
    }

    fn config(&self, strategy: Strategy) -> watcher::Config {
        let mut config = watcher::Config::default().timeout(u32::try_from(WATCH.as_secs()).unwrap_or(u32::MAX));
        if let Kind::Service | Kind::EndpointSlice = self.kind {
            config = config.labels(SERVED);
        }
        match strategy {
            Strategy::Streaming => config.streaming_lists(),
            Strategy::Pages => config.page_size(PAGE),
        }
    }

    /// Decides what an error means, tells it, and rests. Answers with how to list if this watcher is to end.
    async fn fail(
        &self,
        error: &watcher::Error,
        strategy: Strategy,
        course: &mut Course,
    ) -> Result<Option<Strategy>, Closed> {
        let kind = resource(self.kind);
        match judge(error, strategy) {
            Failure::NoStreaming => {
                debug!(kind, "the API server does not stream lists: reading them in pages");
                return Ok(Some(Strategy::Pages));
            }
            Failure::Cut(why) => {
                debug!(kind, why, "watch cut");
                return Ok(None);
            }
            Failure::Expired => {
                info!(kind, "the watch fell behind: listing anew");
                self.rest(course.backoff.next()).await?;
                return Ok(Some(Strategy::Streaming));
            }
            Failure::Absent if self.dispensable => {
                if !course.listed {
                    info!(
                        kind,
                        "the API server does not have this kind: none of it is needed, since ranges.clusterIPs is given"
                    );
                    course.listed = true;
                    self.tell(course, Event::Listing(self.kind)).await?;
                    self.tell(course, Event::Listed(self.kind)).await?;
                }
                self.rest(ABSENT).await?;
            }
            Failure::Absent => {
                let remedy = match self.kind {
                    Kind::ServiceCidr => "; Kubernetes has it since 1.33: configure ranges.clusterIPs",
                    Kind::Service | Kind::EndpointSlice | Kind::Node => "",
                };
                self.trouble(course, format!("the API server does not have {kind} in version v1{remedy}")).await?;
                self.rest(ABSENT).await?;
            }
            Failure::Lost(why) => {
                self.trouble(course, why).await?;
                self.rest(course.backoff.next()).await?;
                return Ok(Some(Strategy::Streaming));
            }
            Failure::Trouble(why) => {
                self.trouble(course, why).await?;
                self.rest(course.backoff.next()).await?;
            }
        }
        Ok(None)
    }

    async fn tell(&self, course: &mut Course, event: Event) -> Result<(), Closed> {
        if let Some(endpoints) = course.learner.note(&event) {
            self.servers.learn(endpoints);
        }
        tell(&self.changes, event).await
    }

    /// Tells what is wrong, once for the same words. The state stays as it is.
    async fn trouble(&self, course: &mut Course, why: String) -> Result<(), Closed> {
        if course.trouble.as_ref() == Some(&why) {
            return Ok(());
        }
        if course.trouble.is_none() {
            course.since = Timestamp::now();
        }
        let since = course.since.strftime("%Y-%m-%d %H:%M:%S UTC");
        let problem = Some(format!("{why}; trying since {since}, what is known stays in force"));
        course.trouble = Some(why);
        tell(&self.changes, Event::Trouble { origin: course.origin.clone(), problem }).await
    }

    async fn well(&self, course: &mut Course) -> Result<(), Closed> {
        course.backoff = Backoff::default();
        match course.trouble.take() {
            Some(_) => tell(&self.changes, Event::Trouble { origin: course.origin.clone(), problem: None }).await,
            None => Ok(()),
        }
    }

    async fn rest(&self, time: Duration) -> Result<(), Closed> {
        tokio::select! {
            () = sleep(time) => Ok(()),
            () = self.changes.closed() => Err(Closed),
        }
    }
}
