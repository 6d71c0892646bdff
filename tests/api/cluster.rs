//! The control plane of a test: with the roles of `deploy/base`, a Node, and a namespace for Services.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures::{StreamExt, TryStreamExt};
use hyper::{Method, Request};
use serde_json::{Value, json};
use vipcast_lab::apiserver::{ApiServer, ControlPlane, Credential, Programs, ServerOptions, Unavailable};

use crate::agent::{Agent, RANGES};

/// Services of the test's namespace.
pub(crate) const SERVICES: &str = "/api/v1/namespaces/shop/services";
/// EndpointSlices of the test's namespace.
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";
/// ServiceCIDRs.
pub(crate) const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";

/// How many requests are under way at once where there are many.
const AT_ONCE: usize = 16;

/// A request of the administrator's.
pub(crate) struct Call {
    method: Method,
    path: String,
    body: Value,
}

impl Call {
    pub(crate) fn post(path: &str, body: Value) -> Call {
        Call { method: Method::POST, path: path.to_owned(), body }
    }

    /// A JSON merge patch (RFC 7386).
    pub(crate) fn patch(path: String, body: Value) -> Call {
        Call { method: Method::PATCH, path, body }
    }

    /// The object gets this label.
    pub(crate) fn label(&mut self, name: &str, value: &str) {
        self.body["metadata"]["labels"][name] = value.into();
    }

    /// The Service asks for an external IP, which no range allows.
    pub(crate) fn asking_for(mut self, external_ip: &str) -> Call {
        self.body["spec"]["externalIPs"] = json!([external_ip]);
        self
    }

    pub(crate) fn delete(path: String) -> Call {
        Call { method: Method::DELETE, path, body: Value::Null }
    }
}

/// The Service `shop/NAME` with TCP port 80 at `vip`.
pub(crate) fn service(name: &str, vip: &str) -> Call {
    let spec = json!({ "clusterIP": vip, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] });
    Call::post(SERVICES, json!({ "metadata": { "name": name }, "spec": spec }))
}

/// The endpoints of an EndpointSlice, as JSON.
pub(crate) fn endpoints(addresses: &[&str]) -> Value {
    addresses.iter().map(|address| json!({ "addresses": [address], "conditions": { "ready": true } })).collect()
}

/// The only EndpointSlice of the Service `shop/NAME`: port 8080 at `addresses`.
pub(crate) fn slice(name: &str, addresses: &[&str]) -> Call {
    let metadata = json!({ "name": name, "labels": { "kubernetes.io/service-name": name } });
    let ports = json!([{ "name": "http", "port": 8080, "protocol": "TCP" }]);
    let endpoints = endpoints(addresses);
    Call::post(SLICES, json!({ "metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": ports }))
}

/// The Node of the agents, an LB node.
pub(crate) fn lb_node() -> Call {
    let addresses = json!([{ "type": "InternalIP", "address": "10.0.1.2" }]);
    let metadata = json!({ "name": "lb1", "labels": { "role": "lb" } });
    Call::post("/api/v1/nodes", json!({ "metadata": metadata, "status": { "addresses": addresses } }))
}

/// The file in the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A control plane that is set up.
pub(crate) struct Control {
    // Before the control plane, whose etcd it needs to leave.
    pub(crate) server: ApiServer,
    pub(crate) plane: ControlPlane,
    /// The agent's kubeconfig and the file of its token.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) token_file: PathBuf,
}

/// A test's turn at a control plane.
pub(crate) struct Cluster {
    control: Arc<Control>,
    is_shared: bool,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl std::ops::Deref for Cluster {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

/// The programs; without, says so once, past the test harness, which shows no output of tests that pass.
pub(crate) fn programs() -> Option<&'static Programs> {
    static PROGRAMS: OnceLock<Option<Programs>> = OnceLock::new();
    let find = || match Programs::find().unwrap() {
        Ok(programs) => Some(programs),
        Err(Unavailable(reason)) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED api: {reason}");
            None
        }
    };
    PROGRAMS.get_or_init(find).as_ref()
}

impl Cluster {
    /// The control plane that tests share, for the time of one test. `None`: there are no programs, and the test is
    /// skipped.
    pub(crate) fn shared() -> Option<Cluster> {
        static TURN: Mutex<()> = Mutex::new(());
        // Ends with this process: statics are not dropped, and the harness knows.
        static SHARED: OnceLock<Arc<Control>> = OnceLock::new();
        let programs = programs()?;
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let control = SHARED.get_or_init(|| Arc::new(Control::new(programs, ServerOptions::default()))).clone();
        // What a test that failed left.
        control.clear();
        Some(Cluster { control, is_shared: true, _turn: Some(turn) })
    }

    /// A control plane of the test's own.
    pub(crate) fn own(options: ServerOptions) -> Option<Cluster> {
        let control = Arc::new(Control::new(programs()?, options));
        Some(Cluster { control, is_shared: false, _turn: None })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.is_shared && !std::thread::panicking() {
            self.control.clear();
        }
    }
}

impl Control {
    fn new(programs: &Programs, options: ServerOptions) -> Control {
        let plane = ControlPlane::start(programs, None).unwrap();
        let server = plane.serve(options).unwrap();
        let base = |name: &str| repository(&format!("deploy/base/{name}")).display().to_string();
        let (namespace, rbac) = (base("namespace.yaml"), base("rbac.yaml"));
        server.kubectl(&["apply", "-f", &namespace, "-f", &rbac], "").unwrap();
        let token_file = plane.folder().join("token");
        fs::write(&token_file, server.token("vipcast", "vipcast", None).unwrap()).unwrap();
        let kubeconfig = server.kubeconfig(&server.url(), &Credential::TokenFile(token_file.clone())).unwrap();
        let control = Control { server, plane, kubeconfig, token_file };
        control.call(lb_node());
        control.call(Call::post("/api/v1/namespaces", json!({ "metadata": { "name": "shop" } })));
        control
    }

    /// An agent with the ranges of the control plane, that is ready.
    pub(crate) fn agent(&self) -> Agent {
        let agent = Agent::start(&self.kubeconfig, Some(RANGES));
        agent.until_ready();
        agent
    }

    /// Makes a request, which has to succeed.
    pub(crate) fn call(&self, call: Call) -> Value {
        self.calls([call]).remove(0)
    }

    /// Makes many requests, some of them at once. The answers come in their order.
    pub(crate) fn calls(&self, calls: impl IntoIterator<Item = Call>) -> Vec<Value> {
        call_all(&self.server, calls)
    }

    /// Makes requests that may fail.
    pub(crate) fn try_calls(&self, calls: impl IntoIterator<Item = Call>) -> anyhow::Result<Vec<Value>> {
        try_call_all(&self.server, calls)
    }

    /// Deletes all Services and EndpointSlices of the namespace.
    pub(crate) fn clear(&self) {
        self.calls([SLICES, SERVICES].map(|path| Call::delete(path.to_owned())));
    }

    /// How the API server answers whoever lists Services with this token.
    pub(crate) fn status_for(&self, token: &str) -> u16 {
        let kubeconfig = self.server.kubeconfig(&self.server.url(), &Credential::Token(token.to_owned())).unwrap();
        let answer = self.server.block_on_as(&kubeconfig, async |client| {
            let request = Request::get("/api/v1/services?limit=1").body(Vec::new())?;
            Ok(match client.request_text(request).await {
                Ok(_) => 200,
                Err(kube::Error::Api(status)) => status.code,
                Err(error) => return Err(error.into()),
            })
        });
        answer.unwrap()
    }

    /// The verbs and resources that the agent asked for, with the codes of the answers and the paths.
    pub(crate) fn asked_by_agent(&self) -> Vec<vipcast_lab::apiserver::Request> {
        let is_ours = |user: &str| user == "system:serviceaccount:vipcast:vipcast";
        self.server.audit().unwrap().into_iter().filter(|request| is_ours(&request.user)).collect()
    }
}

/// Makes requests to `server` as the administrator, all of which have to succeed.
pub(crate) fn call_all(server: &ApiServer, calls: impl IntoIterator<Item = Call>) -> Vec<Value> {
    try_call_all(server, calls).unwrap()
}

fn try_call_all(server: &ApiServer, calls: impl IntoIterator<Item = Call>) -> anyhow::Result<Vec<Value>> {
    let calls: Vec<Call> = calls.into_iter().collect();
    server.block_on(async |client| {
        let one = |call: Call| {
            let client = client.clone();
            async move {
                let what = format!("{} {}", call.method, call.path);
                let is_patch = call.method == Method::PATCH;
                let content = if is_patch { "application/merge-patch+json" } else { "application/json" };
                let body = if call.body.is_null() { Vec::new() } else { serde_json::to_vec(&call.body)? };
                let request = Request::builder().method(call.method).uri(call.path);
                let request = request.header("content-type", content).body(body)?;
                client.request::<Value>(request).await.map_err(|error| anyhow::anyhow!("{what}: {error}"))
            }
        };
        futures::stream::iter(calls).map(one).buffered(AT_ONCE).try_collect().await
    })
}
