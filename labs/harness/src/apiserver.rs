//! A real control plane for tests: etcd and kube-apiserver, with real authentication and RBAC, on loopback or in a
//! network namespace.
//!
//! ```no_run
//! # use vipcast_lab::apiserver::*;
//! # fn main() -> anyhow::Result<()> {
//! let Ok(programs) = Programs::find()? else { return Ok(()) };
//! let plane = ControlPlane::start(&programs, None)?;
//! let server = plane.serve(ServerOptions::default())?;
//! server.block_on(async |client| { /* as the administrator */ Ok(()) })?;
//! server.kill()?; // its state is in etcd
//! server.start()?;
//! # Ok(()) }
//! ```
//!
//! Nobody is anonymous and nothing is always allowed. The administrator has a static token and is in `system:masters`;
//! everybody else is a ServiceAccount with a token of the TokenRequest API and what RBAC grants it. All requests are in
//! the server's audit log ([`ApiServer::audit`]).

mod access;
mod audit;
mod etcd;
mod keeper;
mod module;
mod programs;
mod server;

use std::fs;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

pub use self::access::Credential;
pub use self::audit::Request;
use self::keeper::{Keeper, Kept};
pub(crate) use self::programs::KIT;
pub use self::programs::Programs;
pub use self::server::{ApiServer, ServerOptions};
pub use crate::go::Unavailable;
use crate::netns::{owner, process_exists};

/// What the names of our folders begin with.
const PREFIX: &str = "vipcast-api-";

/// The administrator's token.
const ADMIN_TOKEN: &str = "administrator";

/// What is recorded of each request: who, what, which object, and how it ended; of a watch also when it began.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitManagedFields: true\nrules:\n\
                            - level: Metadata\n  omitStages: [RequestReceived]\n";

/// An etcd with what all API servers on it share: keys, tokens, the serving certificate. Dropped, it stops etcd and
/// removes its folder; stop (drop) its API servers before.
#[derive(Debug)]
pub struct ControlPlane {
    shared: Arc<Shared>,
    etcd_port: u16,
    etcd: Mutex<Option<Kept>>,
}

/// What API servers need of their control plane.
#[derive(Debug)]
struct Shared {
    programs: Programs,
    folder: PathBuf,
    /// The file of the network namespace that everything runs in; `None`: the one of this process.
    netns: Option<PathBuf>,
    keeper: Keeper,
    servers: AtomicU32,
}

impl ControlPlane {
    /// Starts etcd, in the network namespace with this file ([`Netns::path`](crate::Netns::path)) if there is one.
    pub fn start(programs: &Programs, netns: Option<&Path>) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        crate::vm::provide_openssl()?;
        sweep();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("{PREFIX}{}.{count}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
        let keeper = Keeper::start(&folder)?;
        let netns = netns.map(Path::to_owned);
        let shared = Shared { programs: programs.clone(), folder, netns, keeper, servers: AtomicU32::new(0) };
        shared.write_secrets()?;
        let etcd_port = shared.free_port(IpAddr::from([127, 0, 0, 1]))?;
        let plane = Self { shared: Arc::new(shared), etcd_port, etcd: Mutex::new(None) };
        plane.start_etcd()?;
        Ok(plane)
    }

    /// Starts an API server on this etcd; there can be several.
    pub fn serve(&self, options: ServerOptions) -> Result<ApiServer> {
        ApiServer::new(self.shared.clone(), self.etcd_url(), options)
    }

    /// The programs that it was made of.
    pub fn programs(&self) -> &Programs {
        &self.shared.programs
    }

    /// Its folder: logs, keys, kubeconfigs, and whatever a test puts there. It goes with the control plane.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }
}

impl Shared {
    /// Keys for the tokens of ServiceAccounts, the administrator's token, the audit policy.
    fn write_secrets(&self) -> Result<()> {
        let (private, public) = (self.folder.join("accounts.key"), self.folder.join("accounts.pub"));
        openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"], &private)?;
        openssl(&["pkey", "-pubout", "-in", &private.to_string_lossy(), "-out"], &public)?;
        let token = format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n");
        fs::write(self.folder.join("tokens.csv"), token).context("write the administrator's token")?;
        fs::write(self.folder.join("audit.yaml"), AUDIT_POLICY).context("write the audit policy")
    }

    /// Runs a closure on a thread inside the namespace, if there is one.
    fn inside<R: Send>(&self, closure: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                if let Some(path) = &self.netns {
                    let file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
                    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", path.display()))?;
                }
                closure()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A port that nobody listens on at the moment.
    fn free_port(&self, address: IpAddr) -> Result<u16> {
        self.inside(|| {
            let listener = TcpListener::bind((address, 0)).with_context(|| format!("listen on {address}"))?;
            Ok(listener.local_addr()?.port())
        })
    }

    /// Starts a daemon; its outputs are appended to `NAME.log`.
    fn spawn(&self, name: &str, command: Command) -> Result<Kept> {
        let log = self.folder.join(format!("{name}.log"));
        self.inside(|| self.keeper.spawn(name, command, log))
    }
}

fn openssl(arguments: &[&str], file: &Path) -> Result<()> {
    let output = Command::new("openssl").args(arguments).arg(file).output().context("run openssl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl {}: {said}", arguments.join(" "));
    Ok(())
}

/// Removes folders whose owner was killed, and its keeper with it.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && owner(&name).is_some_and(|pid| !process_exists(pid)) {
            // Another process may be sweeping too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The answer in a lock whose last holder may have panicked: what is in there is whole at all times.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
