//! The configuration file, validated into types. No strings past here: whoever holds a [`Config`] need not check again.
//!
//! [`load`] reads the file as a tree of values that know their places (`yaml`), walks it key by key (`item` has the ways
//! to read a value), and stops at the first mistake with one message: file, line, column, key, what was found and what
//! is allowed. `deploy/vipcast.yaml` shows every key with its default.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{Selector, Settings};
use crate::plan::change::Leave;

use item::{Item, Mistake, Table};

mod admin;
mod attributes;
mod bfd;
mod bgp;
mod dataplane;
mod drain;
mod item;
mod kubernetes;
mod labels;
mod lease;
mod node;
mod password;
mod proof;
mod ranges;
mod reload;
mod snat;
mod value;
mod yaml;

pub(crate) use bgp::{annotated_asn, annotated_peers};
pub use kubernetes::Kubernetes;
pub(crate) use password::one_line;

#[cfg(test)]
mod tests;

/// The namespace that `deploy/` makes.
const NAMESPACE: &str = "vipcast";

/// What the operator asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file that says so, absolute.
    pub file: PathBuf,
    /// What decisions depend on.
    pub settings: Settings,
    /// The folder of sockets and state; one per agent.
    pub runtime_dir: PathBuf,
    /// Where the cluster's objects come from.
    pub source: Source,
    /// The namespace of the fleet's Leases: the pod's own, else that of the manifests in `deploy/`.
    pub namespace: String,
    /// Where gobgpd is; `None` exactly if `settings.bgp` is.
    pub gobgpd: Option<Gobgpd>,
    /// What to do on SIGTERM while the node is an LB node.
    pub shutdown: Leave,
    /// Where the read-only HTTP interface listens.
    pub admin: SocketAddr,
    /// Where health and metrics, but not the status, are served besides, for probes and scrapers that come from
    /// elsewhere.
    pub metrics: Option<SocketAddr>,
    /// `conn_tab_bits` of the module `ip_vs`, with which `vipcast prepare` loads it; `None`: the kernel's default.
    pub conn_tab_bits: Option<u8>,
}

impl Config {
    /// Is something announced, so that a speaker has to hold it?
    pub fn has_speaker(&self) -> bool {
        self.gobgpd.is_some() || !self.settings.bfd.peers.is_empty()
    }
}

/// Where the cluster's objects come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The API server.
    Kubernetes(Kubernetes),
    /// A folder of YAML files.
    Manifests(PathBuf),
}

impl Source {
    /// Which nodes are LB nodes if `nodeSelector` is not given: in a cluster those that the DaemonSet runs on too; whoever
    /// writes manifests writes them for this node.
    fn default_node_selector(&self) -> Selector {
        match self {
            Source::Kubernetes(_) => Selector::new([("role".to_owned(), "lb".to_owned())].into()),
            Source::Manifests(_) => Selector::default(),
        }
    }

    /// What `shutdown` is if it is not given: in a cluster a pod of an LB node ends to be followed by another one.
    fn default_shutdown(&self) -> Leave {
        match self {
            Source::Kubernetes(_) => Leave::Keep,
            Source::Manifests(_) => Leave::Withdraw,
        }
    }
}

/// Where gobgpd is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gobgpd {
    /// The speaker runs this program as its child.
    Spawn(PathBuf),
    /// Somebody else runs it, with its gRPC interface here: `unix:/PATH` or `http://HOST:PORT`.
    Address(String),
}

/// Why there is no configuration. The text is one line that names everything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {reason}", file.display())]
    Unreadable {
        /// The file, as it was asked for.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// What the file says is not a configuration.
    #[error("{}:{line}:{column}: {problem}", file.display())]
    Mistaken {
        /// The file, as it was asked for.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The key path, what was found and what is allowed.
        problem: String,
    },
}

/// Reads and validates the file at `path`, and the password files that it names. `env` looks up environment variables:
/// `NODE_NAME`, `POD_NAMESPACE`, and those named by `passwordEnv`.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    load_with_files(path, env).0
}

/// The same, with the files that it was read from, as far as that went: whoever follows changes has to look at these.
pub fn load_with_files(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> (Result<Config, ConfigError>, BTreeSet<PathBuf>) {
    let files = RefCell::new(BTreeSet::new());
    let unreadable = |error: std::io::Error| ConfigError::Unreadable { file: path.into(), reason: error.to_string() };
    let load = || {
        let file = std::path::absolute(path).map_err(unreadable)?;
        files.borrow_mut().insert(file.clone());
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let context = Context { folder: file.parent().unwrap_or(Path::new("/")).to_owned(), env, files: &files };
        let config = yaml::parse(&text).and_then(|tree| read(&Item::root(&tree), file, &context));
        config.map_err(|mistake| ConfigError::Mistaken {
            file: path.into(),
            line: mistake.at.line,
            column: mistake.at.column,
            problem: mistake.text,
        })
    };
    let config = load();
    (config, files.into_inner())
}

/// What values depend on beside the file's text.
struct Context<'e> {
    /// The file's folder, which relative paths start from.
    folder: PathBuf,
    /// The environment.
    env: &'e dyn Fn(&str) -> Option<String>,
    /// The files that were read.
    files: &'e RefCell<BTreeSet<PathBuf>>,
}

impl Context<'_> {
    /// A path, absolute.
    fn path(&self, item: &Item, allowed: &str) -> Result<PathBuf, Mistake> {
        item.parse(allowed, |text| (!text.is_empty() && !text.contains('\0')).then(|| self.folder.join(text)))
    }
}

/// The whole file.
fn read(root: &Item, file: PathBuf, context: &Context) -> Result<Config, Mistake> {
    let top = root.table(&[
        "node",
        "nodeIPs",
        "nodeSelector",
        "runtimeDir",
        "source",
        "ranges",
        "dataplane",
        "bgp",
        "bfd",
        "lease",
        "proof",
        "brake",
        "drain",
        "shutdown",
        "withdrawDelay",
        "resync",
        "admin",
    ])?;
    let node = node::name(&top, context)?;
    let (node_ips, mut taken) = node::addresses(&top)?;
    let node_selector = top.read("nodeSelector", labels::selector)?;
    let runtime_dir = top.read("runtimeDir", |item| runtime_dir(item, context))?;
    let source = source(&top, context)?;
    let ranges = top.read("ranges", ranges::read)?.unwrap_or_default();
    let section = top.read("bgp", |item| bgp::read(item, context, &node_ips))?;
    if let (Source::Manifests(_), Some(secret)) = (&source, section.iter().find_map(|section| section.secret.as_ref()))
    {
        let allowed = "passwordFile or passwordEnv where the source is manifests";
        return Err(secret.conflict("while the source is manifests, which holds no Secrets", allowed));
    }
    let bfd = top.read("bfd", bfd::read)?.unwrap_or_default();
    taken.extend(section.iter().flat_map(|section| section.taken.iter().cloned()).chain(bfd.taken));
    ranges.check_taken(&taken)?;
    if let Some(section) = &section {
        ranges.check_announceable(&section.settings)?;
    }
    let dataplane = dataplane::read(top.get("dataplane"), &ranges, section.as_ref().map(|section| &section.settings))?;
    let drain = drain::read(top.get("drain"), &source, section.as_ref().map(|section| &section.settings))?;
    let shutdown = top.read("shutdown", |item| {
        item.choice(&[("withdraw", Leave::Withdraw), ("keep", Leave::Keep), ("drain", Leave::Drain)])
    })?;
    let withdraw_delay = top.read("withdrawDelay", |item| {
        value::duration(item, Duration::ZERO..=Duration::from_secs(600), "a time such as 2s, from 0s to 10m")
    })?;
    let resync = top.read("resync", |item| {
        let range = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
        value::duration(item, range, "a time such as 5m, from 1s to 24h")
    })?;
    let admin = admin::read(top.get("admin"))?;
    let (cluster_ips, allowed) = ranges.settings();
    let in_use = cluster_ips.iter().flatten().chain(&allowed).map(|range| range.prefix);
    let proof = proof::read(top.get("proof"), in_use)?;
    let (bgp, gobgpd) = section.map(|section| (section.settings, section.gobgpd)).unzip();
    let settings = Settings {
        node,
        node_selector: node_selector.unwrap_or_else(|| source.default_node_selector()),
        node_ips,
        cluster_ips,
        allowed,
        dataplane: dataplane.settings,
        bgp,
        bfd: bfd.settings,
        lease: lease::read(top.get("lease"))?,
        proof,
        brake: proof::brake(top.get("brake"))?,
        drain,
        withdraw_delay: withdraw_delay.unwrap_or(Duration::from_secs(2)),
        resync: resync.unwrap_or(Duration::from_secs(300)),
    };
    Ok(Config {
        file,
        settings,
        runtime_dir: runtime_dir.unwrap_or_else(|| PathBuf::from("/run/vipcast")),
        namespace: password::own_namespace(context).map_or_else(|| NAMESPACE.to_owned(), |own| own.to_string()),
        gobgpd,
        shutdown: shutdown.unwrap_or_else(|| source.default_shutdown()),
        source,
        admin: admin.listen,
        metrics: admin.metrics,
        conn_tab_bits: dataplane.conn_tab_bits,
    })
}

/// `source`: exactly one.
fn source(top: &Table, context: &Context) -> Result<Source, Mistake> {
    const SOURCE: &str = "where the cluster's objects come from: {kubernetes: {}} or {manifests: FOLDER}";
    const ALLOWED: &str = "either kubernetes: {} or manifests: FOLDER";
    let item = top.require("source", SOURCE)?;
    let table = item.table(&["kubernetes", "manifests"])?;
    match (table.get("kubernetes"), table.get("manifests")) {
        (Some(kubernetes), None) => kubernetes::read(kubernetes, context).map(Source::Kubernetes),
        (None, Some(manifests)) => {
            let allowed = "a folder of Service, EndpointSlice, Node and ServiceCIDR YAML";
            context.path(manifests, allowed).map(Source::Manifests)
        }
        (None, None) => Err(item.refuse(ALLOWED)),
        (Some(_), Some(_)) => Err(item.conflict("with both kubernetes and manifests", ALLOWED)),
    }
}

/// `runtimeDir`.
fn runtime_dir(item: &Item, context: &Context) -> Result<PathBuf, Mistake> {
    // sockaddr_un (unix(7)) has 108 bytes for a path with its NUL; the rest is for the sockets' names.
    const LONGEST: usize = 80;
    let allowed = "a folder for sockets and state, with a path of at most 80 bytes";
    let path = context.path(item, allowed)?;
    if path.as_os_str().len() <= LONGEST { Ok(path) } else { Err(item.refuse(allowed)) }
}
