//! Who we are for the API server, and by which address it is found: the pod's service account, or a kubeconfig.

use std::path::{Path, PathBuf};

use hyper::Uri;
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};

use super::discreet;
use crate::config;

/// How environment variables are looked up.
pub(crate) type Env<'e> = dyn Fn(&str) -> Option<String> + Sync + 'e;

/// Where the kubelet puts a pod's service account: `token`, which changes as it nears its end, and `ca.crt`.
pub(crate) const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The address of the API server that the kubelet gives to every container: the ClusterIP of `default/kubernetes`.
pub(crate) fn in_cluster_address(env: &Env<'_>) -> Option<Uri> {
    let host = env("KUBERNETES_SERVICE_HOST").filter(|host| !host.is_empty())?;
    let port = env("KUBERNETES_SERVICE_PORT").filter(|port| !port.is_empty()).unwrap_or_else(|| "443".to_owned());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("https://{host}:{port}").parse().ok()
}

/// Reads the credentials, and with them how to reach the API server. `account` is the folder of the pod's service
/// account. May run a program that the kubeconfig names, so it may take its time.
pub(super) async fn load(source: &config::Kubernetes, account: &Path, env: &Env<'_>) -> Result<Config, String> {
    if source.kubeconfig.is_none() && source.context.is_none() {
        let address = in_cluster_address(env);
        // With the addresses configured, the variables are not needed: a static pod may lack them.
        let configured = || source.servers.first().and_then(|server| server.parse().ok());
        if let Some(address) = address.or_else(|| account.join("token").exists().then(configured).flatten()) {
            return service_account(address, account);
        }
    }
    let (kubeconfig, name) = match &source.kubeconfig {
        Some(file) => (Kubeconfig::read_from(file), file.display().to_string()),
        None => (Kubeconfig::read(), usual_kubeconfig(env)),
    };
    let failed = |error: kube::config::KubeconfigError| {
        let where_from = if source.kubeconfig.is_none() && source.context.is_none() {
            "not in a pod (KUBERNETES_SERVICE_HOST is not set), and "
        } else {
            ""
        };
        format!("{where_from}kubeconfig {name}: {}", discreet::kubeconfig(&error))
    };
    let options = KubeConfigOptions { context: source.context.clone(), ..KubeConfigOptions::default() };
    let kubeconfig = kubeconfig.map_err(failed)?;
    let proxy = proxy(&kubeconfig, source.context.as_ref());
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)?;
    if let Some(proxy) = proxy {
        // A name and a password may stand before the host.
        let host = proxy.rsplit('@').next().unwrap_or_default();
        return Err(format!("kubeconfig {name}: proxy-url: found {host}; allowed: none, it is reached directly"));
    }
    // Addresses are shown, and nobody else would use the name and password that stand in one.
    if let Some((_, host)) = config.cluster_url.authority().and_then(|authority| authority.as_str().rsplit_once('@')) {
        return Err(format!("kubeconfig {name}: server: found a user before {host}; allowed: https://HOST:PORT"));
    }
    // What is left is the environment's proxy, which is for the web.
    config.proxy_url = None;
    Ok(config)
}

/// The proxy that a kubeconfig wants to be used for the cluster of this context, or of its current one.
fn proxy(kubeconfig: &Kubeconfig, context: Option<&String>) -> Option<String> {
    let context = context.or(kubeconfig.current_context.as_ref())?;
    let context = kubeconfig.contexts.iter().find(|named| named.name == *context)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.clone().filter(|proxy| !proxy.is_empty())
}

/// The pod's service account. kube reads token and certificates again, at least once a minute.
fn service_account(address: Uri, account: &Path) -> Result<Config, String> {
    let file = |name: &str| account.join(name);
    for name in ["token", "ca.crt"] {
        std::fs::read(file(name)).map_err(|error| format!("service account: {}: {error}", file(name).display()))?;
    }
    let mut config = Config::new(address);
    config.root_cert_file = Some(file("ca.crt"));
    // Verification goes by the file; this list only stands in for the machine's own certificates, which are not asked.
    config.root_cert = Some(Vec::new());
    config.auth_info = AuthInfo { token_file: Some(file("token").display().to_string()), ..AuthInfo::default() };
    Ok(config)
}

/// The name of the kubeconfig that is used where none is configured, as `kubectl` does.
fn usual_kubeconfig(env: &Env<'_>) -> String {
    let home = || PathBuf::from(env("HOME").unwrap_or_default()).join(".kube/config").display().to_string();
    env("KUBECONFIG").filter(|files| !files.is_empty()).unwrap_or_else(home)
}

#[cfg(test)]
mod tests;
