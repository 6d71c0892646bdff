//! Who may talk to the API server: kubeconfigs, tokens, clients, kubectl.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::json;

use super::{ADMIN_TOKEN, ApiServer, Shared};

/// What a client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The administrator's token: everything is allowed.
    Admin,
    /// A bearer token.
    Token(String),
    /// A file that holds a bearer token, read again now and then.
    TokenFile(PathBuf),
}

impl ApiServer {
    /// Writes a kubeconfig for a server at `url` (this one, or something between) and answers where it is.
    ///
    /// At another address than its own, the server has to prove that it is `kubernetes.default.svc`, which is in its
    /// certificate, too; and so has any but the first server of a control plane, which shares the certificate of that.
    pub fn kubeconfig(&self, url: &str, credential: &Credential) -> Result<PathBuf> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let user = match credential {
            Credential::Admin => json!({ "token": ADMIN_TOKEN }),
            Credential::Token(token) => json!({ "token": token }),
            Credential::TokenFile(file) => json!({ "tokenFile": file }),
        };
        let mut cluster = json!({ "server": url, "certificate-authority": self.ca_file() });
        if url != self.url() || self.name() != "apiserver0" {
            cluster["tls-server-name"] = "kubernetes.default.svc".into();
        }
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{ "name": "lab", "cluster": cluster }],
            "users": [{ "name": "lab", "user": user }],
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "lab" } }],
        });
        let name = match credential {
            Credential::Admin if url == self.url() => format!("{}-admin.kubeconfig", self.name()),
            _ => format!("{}.kubeconfig", COUNT.fetch_add(1, Ordering::Relaxed)),
        };
        let file = self.shared().folder.join(name);
        // JSON is YAML. Renamed into place, since others may be reading it.
        let fresh = file.with_extension("new");
        fs::write(&fresh, config.to_string()).with_context(|| format!("write {}", fresh.display()))?;
        fs::rename(&fresh, &file).with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }

    /// The administrator's kubeconfig.
    pub fn admin_kubeconfig(&self) -> Result<PathBuf> {
        self.kubeconfig(&self.url(), &Credential::Admin)
    }

    /// A client that shows `credential`. It belongs to the tokio runtime that it is made in, which has to be in the control
    /// plane's network namespace.
    pub async fn client(&self, credential: &Credential) -> Result<Client> {
        client(&self.kubeconfig(&self.url(), credential)?).await
    }

    /// A token for a ServiceAccount, from the TokenRequest API. Bound to an object (the kind, name and UID of a Secret or
    /// Pod of the same namespace), it is invalid as soon as that is deleted.
    pub fn token(&self, namespace: &str, account: &str, bound: Option<(&str, &str, &str)>) -> Result<String> {
        let bound_object_ref = bound.map(|(kind, name, uid)| BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(kind.to_owned()),
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
        });
        let spec = TokenRequestSpec { bound_object_ref, ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = self.block_on(async |client| {
            let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
            Ok(accounts.create_token_request(account, &PostParams::default(), &request).await?)
        });
        let answer = answer.with_context(|| format!("a token for {namespace}/{account}"))?;
        Ok(answer.status.context("the API server gave no token")?.token)
    }

    /// Runs a future as the administrator, on a thread and a runtime of its own inside the control plane's namespace.
    pub fn block_on<T: Send>(&self, job: impl AsyncFnOnce(Client) -> Result<T> + Send) -> Result<T> {
        self.shared().with_client(&self.admin_kubeconfig()?, job)
    }

    /// The same as whoever this kubeconfig is for.
    pub fn block_on_as<T: Send>(
        &self,
        kubeconfig: &Path,
        job: impl AsyncFnOnce(Client) -> Result<T> + Send,
    ) -> Result<T> {
        self.shared().with_client(kubeconfig, job)
    }

    /// Runs kubectl as the administrator, with `input` to read. The answer is its standard output; a failure is an error
    /// with what it said.
    pub fn kubectl(&self, arguments: &[impl AsRef<OsStr> + Sync], input: &str) -> Result<String> {
        let mut command = Command::new(self.shared().programs.kubectl());
        command.arg("--kubeconfig").arg(self.admin_kubeconfig()?).args(arguments);
        // Its caches would go to the home folder otherwise.
        command.env("KUBECACHEDIR", self.shared().folder.join("kubectl")).stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = self.shared().inside(|| command.spawn().context("run kubectl"))?;
        if let Some(mut pipe) = child.stdin.take() {
            // One that reads nothing may be gone already.
            let _ = std::io::Write::write_all(&mut pipe, input.as_bytes());
        }
        let output = child.wait_with_output().context("wait for kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {}\n{said}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Shared {
    /// Runs a future on a thread of its own inside the namespace.
    pub(super) fn block_on<T: Send>(&self, job: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
        self.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(job())
        })
    }

    pub(super) fn with_client<T: Send>(
        &self,
        kubeconfig: &Path,
        job: impl AsyncFnOnce(Client) -> Result<T> + Send,
    ) -> Result<T> {
        self.block_on(async || job(client(kubeconfig).await?).await)
    }
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(Client::try_from(config)?)
}
