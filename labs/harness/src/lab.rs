//! A deployed topology: one network namespace per node, one veth pair per link, the nodes' daemons inside.

mod bird;
mod cable;
mod daemon;
mod evidence;
mod files;
mod frr;
mod node;
mod routes;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};

pub use self::daemon::Daemon;
pub use self::node::{Node, Pod};
pub use self::routes::{Heard, Hop, Session};
use crate::clab::{Endpoint, Role, Topology};
use crate::exec::Step;
use crate::netns::{self, Netns};
use crate::{gobgp, progress, traffic};

/// Where labs keep their nodes' files while they run.
const FOLDER: &str = "/run/vipcast-lab";

/// How to deploy.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Leave the routers' daemons out, for labs that only need the network.
    pub without_daemons: bool,
}

/// A running lab. Dropped, it ends every process in its namespaces, and nothing of it is left; if that happens while a
/// test panics, evidence is kept first. A test that returns errors runs its body in [`attempt`](Lab::attempt).
#[derive(Debug)]
pub struct Lab {
    id: String,
    nodes: BTreeMap<String, Node>,
    links: Vec<(Endpoint, Endpoint)>,
    folder: PathBuf,
}

impl Lab {
    /// Deploys a topology file. Several labs, also of the same file, can run side by side.
    pub fn deploy(file: impl AsRef<Path>, options: Options) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (file, started) = (file.as_ref(), Instant::now());
        let topology = Topology::read(file)?;
        sweep()?;

        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{}.{count}", topology.name, std::process::id());
        let folder = Path::new(FOLDER).join(&id);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        // From here on a failure takes down, by Drop, what is there already.
        let mut lab = Self { id, nodes: BTreeMap::new(), links: topology.links()?, folder };
        lab.build(file, &topology, &options).with_context(|| format!("deploy {}", file.display()))?;
        progress(&format!("lab {} up in {:.1} s", lab.id, started.elapsed().as_secs_f32()));
        Ok(lab)
    }

    fn build(&mut self, file: &Path, topology: &Topology, options: &Options) -> Result<()> {
        let source = file.parent().context("a topology file is in a folder")?;
        let gobgp = gobgp::Programs::find()?.ok();
        for (name, spec) in topology.nodes() {
            let files = self.folder.join(name);
            files::provide(source, spec, &files, &self.folder.join("shared"))
                .with_context(|| format!("files of {name}"))?;
            if let Some(programs) = gobgp.as_ref().filter(|_| spec.role().is_ok_and(|role| role == Role::Lb)) {
                files::link(&files, gobgp::IN_NODE, &programs.folder)?;
            }
            let netns = Netns::named(&format!("{}{}-{name}", netns::PREFIX, self.id))?;
            prepare(&netns)?;
            self.nodes.insert(name.to_owned(), Node::new(name, spec, netns, files)?);
        }
        for (a, b) in &self.links {
            let (here, there) = (self.find(&a.node)?.netns(), self.find(&b.node)?.netns());
            here.netlink(async |netlink| netlink.add_veth(&a.interface, &b.interface, there).await)?;
            there.netlink(async |netlink| netlink.up(&b.interface).await)?;
        }
        for (name, spec) in topology.nodes() {
            let netns = self.find(name)?.netns();
            for line in &spec.exec {
                Step::parse(line).perform(netns).with_context(|| format!("{name}: {line}"))?;
            }
        }
        if !options.without_daemons {
            for node in self.nodes.values_mut().filter(|node| node.role() == Role::Tor) {
                node.start_router()?;
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<&Node> {
        let known = || self.nodes.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.nodes.get(name).with_context(|| format!("no node {name} in lab {}, only {}", self.id, known()))
    }

    /// A node by name.
    ///
    /// # Panics
    ///
    /// If there is no such node: tests name nodes that they know.
    pub fn node(&self, name: &str) -> &Node {
        match self.find(name) {
            Ok(node) => node,
            Err(error) => panic!("{error}"),
        }
    }

    /// Kills a router's daemons, without a word to its neighbours.
    pub fn kill_router(&mut self, name: &str) -> Result<()> {
        self.find_mut(name)?.kill_daemons()
    }

    /// Starts a router's daemons again, with the configuration that is in its files.
    pub fn start_router(&mut self, name: &str) -> Result<()> {
        self.find_mut(name)?.start_router()
    }

    fn find_mut(&mut self, name: &str) -> Result<&mut Node> {
        self.find(name)?;
        self.nodes.get_mut(name).with_context(|| format!("no node {name}"))
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The lab's name, process and count, as in its namespaces' names.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where this lab keeps its nodes' files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The lab's copy of a folder that nodes bind, by its path in the topology's folder: what is changed in it is
    /// changed for all of them.
    pub fn shared(&self, folder: impl AsRef<Path>) -> PathBuf {
        self.folder.join("shared").join(folder)
    }

    /// Writes a file in a shared folder (`cluster/web.yaml`) in one step, as a careful editor does.
    pub fn write_shared(&self, file: impl AsRef<Path>, text: &str) -> Result<()> {
        files::write(&self.shared(file), text)
    }

    /// Removes a file from a shared folder.
    pub fn remove_shared(&self, file: impl AsRef<Path>) -> Result<()> {
        let path = self.shared(file);
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
    }

    /// Does some work, a test perhaps, and keeps evidence if it fails. (A panic keeps evidence by itself.)
    pub fn attempt<R>(&self, work: impl FnOnce(&Self) -> Result<R>) -> Result<R> {
        let done = work(self);
        if done.is_err() {
            self.keep_evidence("error");
        }
        done
    }

    /// Starts a server for every pod of every worker (their label `vipcast.pods`), on all of the pod's addresses.
    pub fn start_pods(&self, ports: &[traffic::Port]) -> Result<Vec<traffic::Server>> {
        self.start_servers(ports, |_| true)
    }

    /// The same for one pod, which may have been stopped (by dropping its servers).
    pub fn start_pod(&self, name: &str, ports: &[traffic::Port]) -> Result<Vec<traffic::Server>> {
        self.start_servers(ports, |pod| pod.name == name)
    }

    fn start_servers(&self, ports: &[traffic::Port], wanted: impl Fn(&Pod) -> bool) -> Result<Vec<traffic::Server>> {
        let mut servers = Vec::new();
        for node in self.nodes.values() {
            for pod in node.pods().iter().filter(|pod| wanted(pod)) {
                for address in &pod.addresses {
                    for port in ports {
                        servers.push(traffic::Server::start(node.netns(), &pod.name, *address, *port)?);
                    }
                }
            }
        }
        Ok(servers)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_evidence("panic");
        }
        self.nodes.clear();
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("vipcast-lab: removing {}: {error}", self.folder.display());
        }
    }
}

/// What a namespace needs before its links come.
fn prepare(netns: &Netns) -> Result<()> {
    for (key, value) in [
        // Without it a link's first second goes by before its IPv6 address may be used.
        ("accept_dad", "0"),
        ("dad_transmits", "0"),
        // A link that goes down and up again comes back with its addresses, as IPv4's do.
        ("keep_addr_on_down", "1"),
        ("accept_ra", "0"),
    ] {
        netns.set_sysctl(&format!("net.ipv6.conf.all.{key}"), value)?;
        netns.set_sysctl(&format!("net.ipv6.conf.default.{key}"), value)?;
    }
    Ok(())
}

/// Removes what labs left whose process was killed.
fn sweep() -> Result<()> {
    netns::sweep()?;
    let Ok(folders) = fs::read_dir(FOLDER) else { return Ok(()) };
    for entry in folders {
        let entry = entry?;
        if entry.file_name().to_str().and_then(netns::owner).is_some_and(|pid| !netns::process_exists(pid)) {
            // Another process may be sweeping too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
