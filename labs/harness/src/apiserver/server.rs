//! kube-apiserver.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::keeper::Kept;
use super::{Credential, Shared, locked};
use crate::wait_until;

/// How an API server is started.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The address to listen on; `0.0.0.0` and `::` are possible.
    pub bind: IpAddr,
    /// The port to listen on; `None`: one that is free.
    pub port: Option<u16>,
    /// The address in the endpoints of the Service `default/kubernetes`, which has none without it. Loopback addresses
    /// are not possible.
    pub advertise: Option<IpAddr>,
    /// The Services' ranges; they become the ServiceCIDR object `kubernetes` when an etcd is new.
    pub service_ranges: String,
    /// More flags. Of a flag that takes one value the last one counts, so these win.
    pub flags: Vec<String>,
    /// How long it may take to become ready: about 6 s on two cores, ten times that on an emulated machine.
    pub patience: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            bind: IpAddr::from([127, 0, 0, 1]),
            port: None,
            advertise: None,
            service_ranges: "10.96.0.0/16,fd00:10:96::/112".to_owned(),
            flags: Vec::new(),
            patience: Duration::from_secs(180),
        }
    }
}

/// A kube-apiserver. Dropped, it is killed.
#[derive(Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    options: ServerOptions,
    name: String,
    etcd: String,
    port: u16,
    process: Mutex<Option<Kept>>,
}

impl ApiServer {
    pub(super) fn new(shared: Arc<Shared>, etcd: String, options: ServerOptions) -> Result<Self> {
        let name = format!("apiserver{}", shared.servers.fetch_add(1, Ordering::Relaxed));
        let port = options.port.map_or_else(|| shared.free_port(options.bind), Ok)?;
        let server = Self { shared, options, name, etcd, port, process: Mutex::new(None) };
        server.start()?;
        Ok(server)
    }

    /// Starts it, at the same address as before, and waits until it is ready: its own roles and addresses are there.
    pub fn start(&self) -> Result<()> {
        let mut command = Command::new(self.shared.programs.kube_apiserver());
        command.args(self.arguments());
        let process = self.shared.spawn(&self.name, command)?;
        wait_until(self.options.patience, "kube-apiserver", || {
            let daemon = process.daemon();
            ensure!(daemon.ended()?.is_none(), "it ended: {}", end_of(&daemon.log()));
            self.is_ready()
        })?;
        *locked(&self.process) = Some(process);
        Ok(())
    }

    /// Lets it shut down (SIGTERM): it ends its watches and leaves.
    pub fn stop(&self) -> Result<()> {
        match locked(&self.process).take() {
            Some(process) => process.daemon().terminate(self.options.patience).map(drop),
            None => Ok(()),
        }
    }

    /// Kills it (SIGKILL).
    pub fn kill(&self) -> Result<()> {
        match locked(&self.process).take() {
            Some(process) => process.daemon().kill().map(drop),
            None => Ok(()),
        }
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        locked(&self.process).as_ref().map(|process| process.daemon().pid())
    }

    /// The file that its lives log to.
    pub fn log_file(&self) -> PathBuf {
        self.shared.folder.join(format!("{}.log", self.name))
    }

    /// Where to reach it.
    pub fn address(&self) -> SocketAddr {
        let host = match self.options.bind {
            any if !any.is_unspecified() => any,
            _ => self.options.advertise.unwrap_or(IpAddr::from([127, 0, 0, 1])),
        };
        SocketAddr::new(host, self.port)
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// The certificate authority to trust: it signed the serving certificate, made by the first API server of the control
    /// plane for `kubernetes.default.svc`, its own addresses and the first address of the Services' range.
    pub fn ca_file(&self) -> PathBuf {
        self.shared.folder.join("certificates/apiserver.crt")
    }

    /// The file of its audit log.
    pub fn audit_file(&self) -> PathBuf {
        self.shared.folder.join(format!("{}.audit", self.name))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn is_ready(&self) -> Result<bool> {
        let kubeconfig = self.kubeconfig(&self.url(), &Credential::Admin)?;
        self.shared.with_client(&kubeconfig, async |client| {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(client.request_text(request).await.context("GET /readyz")? == "ok")
        })
    }

    fn arguments(&self) -> Vec<OsString> {
        let folder = &self.shared.folder;
        let flag = |name: &str, value: &Path| {
            let mut flag = OsString::from(format!("--{name}="));
            flag.push(value);
            flag
        };
        let mut arguments: Vec<OsString> = vec![
            format!("--etcd-servers={}", self.etcd).into(),
            format!("--bind-address={}", self.options.bind).into(),
            format!("--secure-port={}", self.port).into(),
            format!("--service-cluster-ip-range={}", self.options.service_ranges).into(),
            "--anonymous-auth=false".into(),
            "--authorization-mode=Node,RBAC".into(),
            // As every installer sets it; what a pod may really do is for admission to say.
            "--allow-privileged=true".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            flag("service-account-key-file", &folder.join("accounts.pub")),
            flag("service-account-signing-key-file", &folder.join("accounts.key")),
            flag("token-auth-file", &folder.join("tokens.csv")),
            flag("cert-dir", &folder.join("certificates")),
            flag("audit-policy-file", &folder.join("audit.yaml")),
            flag("audit-log-path", &self.audit_file()),
        ];
        arguments.extend(match self.options.advertise {
            Some(address) => vec![format!("--advertise-address={address}").into()],
            // It insists on an address; without a reconciler it makes no endpoint of it.
            None => vec!["--advertise-address=127.0.0.1".into(), "--endpoint-reconciler-type=none".into()],
        });
        arguments.extend(self.options.flags.iter().map(OsString::from));
        arguments
    }
}

/// The last lines of a log.
fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
