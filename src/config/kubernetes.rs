//! `source.kubernetes`: how the API server is reached.

use std::net::IpAddr;
use std::path::PathBuf;

use hyper::Uri;

use super::Context;
use super::item::{Item, Mistake};

/// How the API server is reached. All of it may be left out: then the pod's service account is used, or, outside a pod,
/// the kubeconfig that `kubectl` would use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kubernetes {
    /// This kubeconfig, and neither the pod's service account nor another kubeconfig.
    pub kubeconfig: Option<PathBuf>,
    /// This context of the kubeconfig, instead of its current one.
    pub context: Option<String>,
    /// The URLs of the API servers, in the order in which they are tried, instead of the address that comes with the
    /// credentials.
    pub servers: Vec<String>,
}

/// Reads the section.
pub(super) fn read(item: &Item, context: &Context) -> Result<Kubernetes, Mistake> {
    let table = item.table(&["kubeconfig", "context", "server"])?;
    Ok(Kubernetes {
        kubeconfig: table.read("kubeconfig", |item| context.path(item, "the path of a kubeconfig"))?,
        context: table.read("context", |item| {
            item.parse("the name of a context of the kubeconfig", |text| {
                let text = text.trim();
                (!text.is_empty()).then(|| text.to_owned())
            })
        })?,
        servers: table.read("server", servers)?.unwrap_or_default(),
    })
}

/// One URL, or several.
fn servers(item: &Item) -> Result<Vec<String>, Mistake> {
    const LIST: &str = "a URL, or a list of URLs, such as [https://10.0.0.1:6443, https://10.0.0.2:6443]";
    if !item.is_list() {
        return server(item).map(|server| vec![server]);
    }
    let mut servers = Vec::new();
    for item in item.filled_list(LIST)? {
        let server = server(&item)?;
        if servers.contains(&server) {
            return Err(item.conflict("for the second time", "each server once"));
        }
        servers.push(server);
    }
    Ok(servers)
}

/// Credentials are sent to it, so it must prove who it is, unless it is on this very node (`kubectl proxy`).
fn server(item: &Item) -> Result<String, Mistake> {
    if item.parse("", |text| Some(text.contains('@'))).unwrap_or(false) {
        // It may hold a password, which must not be shown.
        return Err(item.mistake("found a URL with a user in it; allowed: https://HOST:PORT"));
    }
    item.parse("https://HOST:PORT, or http:// for an address of this node's loopback", |text| {
        let url: Uri = text.parse().ok()?;
        let authority = url.authority()?;
        let host = authority.host();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let secure = match url.scheme_str()? {
            "https" => true,
            "http" => host == "localhost" || address.is_ok_and(|address| address.is_loopback()),
            _ => false,
        };
        let plain = url.query().is_none() && !host.is_empty() && authority.port_u16() != Some(0);
        (secure && plain).then(|| text.trim_end_matches('/').to_owned())
    })
}
