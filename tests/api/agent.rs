//! The agent on a model of a node: what `vipcast run` is, with another kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use vipcast::admin::Question;
use vipcast::admin::metrics::Metrics;
use vipcast::apply::events;
use vipcast::config;
use vipcast::daemon::{Wheel, start_executor};
use vipcast::model::Time;
use vipcast::model::node::Host;
use vipcast::plan::step::Executor;
use vipcast::plan::{ModelNode, Planner, Report, Status, Step};
use vipcast::watch::Source;

/// How long anything may take. Far more than it takes: only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The ranges of the control plane's Services.
pub(crate) const RANGES: &str = "[10.96.0.0/16, fd00:10:96::/112]";

/// Virtual servers (`10.96.0.10:80 TCP`), each with its destinations.
pub(crate) type Served = BTreeMap<String, Vec<String>>;

/// An agent and its node.
pub(crate) struct Agent {
    node: Arc<Mutex<ModelNode>>,
    writes: Arc<Mutex<Vec<String>>>,
    questions: mpsc::Sender<Question>,
    runtime: Option<Runtime>,
    _folder: TempDir,
}

/// The model node as the kernel's executor.
struct Kernel {
    node: Arc<Mutex<ModelNode>>,
    writes: Arc<Mutex<Vec<String>>>,
}

impl Executor for Kernel {
    async fn perform(&mut self, steps: Vec<Step>) -> Vec<Report> {
        let mut node = self.node.lock().unwrap();
        let mut writes = self.writes.lock().unwrap();
        writes.extend(steps.iter().filter(|step| !step.is_read()).map(Step::to_string));
        steps.into_iter().map(|step| Report { outcome: node.perform_one(&step), step }).collect()
    }
}

impl Agent {
    /// An agent that reads the API server of this kubeconfig, on a node that has nothing yet. `ranges`: those that are
    /// configured; without, they are the ServiceCIDR objects'.
    pub(crate) fn start(kubeconfig: &Path, ranges: Option<&str>) -> Agent {
        let addresses = ["10.0.1.2", "fd01::2"].map(|address| address.parse().unwrap());
        let host = Host { addresses: addresses.into(), default_addresses: addresses.to_vec(), ..Host::default() };
        Agent::on(ModelNode { host, ..ModelNode::default() }, kubeconfig, ranges)
    }

    /// The same on this node.
    pub(crate) fn on(node: ModelNode, kubeconfig: &Path, ranges: Option<&str>) -> Agent {
        let folder = tempfile::tempdir().unwrap();
        let ranges = ranges.map(|ranges| format!("ranges: {{clusterIPs: {ranges}}}\n")).unwrap_or_default();
        let file = folder.path().join("vipcast.yaml");
        let (run, kubeconfig) = (folder.path().join("run"), kubeconfig.display());
        let text = format!(
            "node: lb1\nnodeIPs: [10.0.1.2, fd01::2]\nruntimeDir: {}\nproof: {{canaries: off}}\n\
             source: {{kubernetes: {{kubeconfig: {kubeconfig}}}}}\n{ranges}",
            run.display()
        );
        fs::create_dir(&run).unwrap();
        fs::write(&file, text).unwrap();
        let config = config::load(&file, &|_| None).unwrap();

        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (node, writes) = (Arc::new(Mutex::new(node)), Arc::new(Mutex::new(Vec::new())));
        let (changes, receiver) = mpsc::channel(1024);
        let (questions, asked) = mpsc::channel(16);
        let kernel = Kernel { node: node.clone(), writes: writes.clone() };
        let kernel = start_executor("kernel", async move || kernel, changes.clone()).unwrap();
        let (settings, source) = (config.settings.clone(), Source::new(&config, false));
        let (notices, told) = mpsc::unbounded_channel();
        if let Source::Kubernetes(access) = &source {
            let _inside = runtime.enter();
            runtime.spawn(events::tell(access.client(), settings.node.clone(), told));
        }
        let (tell_secrets, wanted_secrets) = watch::channel(BTreeSet::new());
        let mut wheel = Wheel {
            changes: receiver,
            questions: asked,
            kernel,
            // No gobgpd: nobody serves its queue.
            speaker: mpsc::channel(1).0,
            notices: Some(notices),
            health: None,
            secrets: Some(tell_secrets),
            probing: None,
            orders: None,
            saved: None,
            standing: None,
            metrics: Arc::new(Metrics::default()),
            origin: Instant::now(),
        };
        runtime.spawn(source.watch(settings.clone(), wanted_secrets, changes));
        runtime.spawn(async move { wheel.turn(&mut Planner::new(settings, Time::ZERO)).await });
        Agent { node, writes, questions, runtime: Some(runtime), _folder: folder }
    }

    /// Ends it as `kill -9` would; its node stays.
    pub(crate) fn kill(mut self) -> ModelNode {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(10));
        self.node.lock().unwrap().clone()
    }

    /// The kernel's virtual servers and their destinations.
    pub(crate) fn served(&self) -> Served {
        let node = self.node.lock().unwrap();
        let destinations = |server: &vipcast::model::ipvs::VirtualServer| {
            server.destinations.keys().map(|key| SocketAddr::new(key.address, key.port).to_string()).collect()
        };
        node.state.ipvs.iter().map(|(key, server)| (key.to_string(), destinations(server))).collect()
    }

    /// The prefixes that the kernel has local routes for.
    pub(crate) fn routes(&self) -> Vec<String> {
        self.node.lock().unwrap().state.addr.routes.keys().map(ToString::to_string).collect()
    }

    /// How many steps have been written to the kernel.
    pub(crate) fn writes(&self) -> usize {
        self.writes.lock().unwrap().len()
    }

    /// The steps that were written after the first `count`.
    pub(crate) fn writes_since(&self, count: usize) -> Vec<String> {
        self.writes.lock().unwrap()[count..].to_vec()
    }

    /// Keeps the kernel busy: no step ends until this is dropped.
    pub(crate) fn occupy_kernel(&self) -> MutexGuard<'_, ModelNode> {
        self.node.lock().unwrap()
    }

    /// What `vipcast status` would show.
    pub(crate) fn status(&self) -> Status {
        let (answer, status) = oneshot::channel();
        self.questions.blocking_send(Question::Status(answer)).unwrap();
        status.blocking_recv().unwrap()
    }

    /// Waits until it is so.
    pub(crate) fn until(&self, what: &str, is: impl Fn(&Agent) -> bool) {
        let started = Instant::now();
        while !is(self) {
            if started.elapsed() > PATIENCE {
                let Status { reasons, source, services, failures, .. } = self.status();
                let served = self.served();
                panic!("never {what}: {reasons:?} {source:?} {services:?} {failures:?}\nserved: {served:#?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the lists are complete and everything that follows from them is done.
    pub(crate) fn until_ready(&self) {
        self.until("ready", |agent| agent.status().ready);
    }

    /// Waits until the kernel serves exactly these virtual servers with these destinations.
    pub(crate) fn until_serves(&self, servers: &[(&str, &[&str])]) {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let wanted: Served =
            servers.iter().map(|(server, destinations)| (format!("{server} TCP"), owned(destinations))).collect();
        self.until(&format!("{wanted:?}"), |agent| agent.served() == wanted);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // A runtime that is dropped would wait for what blocks.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
