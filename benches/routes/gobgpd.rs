//! The gobgpd that announces, and the one that listens as a ToR would.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use vipcast_lab::Unavailable;
use vipcast_lab::gobgp::Programs;

/// The address that the agent's gobgpd connects from.
pub(crate) const OWN: &str = "127.0.0.21";

/// The address of its peer.
pub(crate) const TOR: &str = "127.0.0.22";

/// The port that the peer listens on.
pub(crate) const PORT: u16 = 11_790;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often the peer is looked at.
const PERIOD: Duration = Duration::from_millis(10);

/// A version of GoBGP.
pub(crate) struct Program {
    version: String,
    gobgpd: PathBuf,
    gobgp: PathBuf,
}

impl Program {
    /// Debian's, and the one that the harness built; or why it is not here.
    pub(crate) fn all() -> [Result<Program, String>; 2] {
        let debian = Program { version: "3".into(), gobgpd: "/usr/bin/gobgpd".into(), gobgp: "/usr/bin/gobgp".into() };
        let debian = if debian.gobgpd.exists() { Ok(debian) } else { Err("no package gobgpd".to_owned()) };
        let built = match Programs::find().unwrap() {
            Ok(built) => Ok(Program { version: built.version.clone(), gobgpd: built.gobgpd(), gobgp: built.gobgp() }),
            Err(Unavailable(reason)) => Err(reason),
        };
        [debian, built]
    }

    /// What it is called in a table.
    pub(crate) fn name(&self) -> String {
        format!("GoBGP {}", self.version)
    }
}

/// A gobgpd that is killed when it is dropped.
pub(crate) struct Gobgpd {
    folder: TempDir,
    gobgp: PathBuf,
    _child: Child,
}

impl Gobgpd {
    /// One without a configuration.
    pub(crate) async fn start(program: &Program) -> Gobgpd {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let child = Command::new(&program.gobgpd)
            .arg(format!("--api-hosts=unix://{}", socket.display()))
            .args(["--pprof-disable", "--log-level=error"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let gobgpd = Gobgpd { folder, gobgp: program.gobgp.clone(), _child: child };
        until("gobgpd listens", async || tokio::net::UnixStream::connect(gobgpd.socket()).await.is_ok()).await;
        gobgpd
    }

    /// The peer.
    pub(crate) async fn start_tor(program: &Program) -> Gobgpd {
        let tor = Gobgpd::start(program).await;
        tor.ask(&format!("global as 65000 router-id 192.0.2.254 listen-port {PORT} listen-addresses {TOR}")).await;
        tor.ask(&format!("neighbor add {OWN} as 65001")).await;
        tor
    }

    /// Where its API is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    /// Waits for the session.
    pub(crate) async fn until_established(&self) {
        until("the session is up", async || self.neighbor().await["state"]["session_state"] == 6).await;
    }

    /// Waits until it holds so many routes.
    pub(crate) async fn until_holds(&self, count: u32) {
        until("the peer holds the routes", async || {
            self.ask("global rib summary").await.contains(&format!("Destination: {count},"))
        })
        .await;
    }

    /// How many UPDATE messages it received.
    pub(crate) async fn updates(&self) -> u64 {
        // protobuf's JSON has 64-bit numbers as text.
        let count = &self.neighbor().await["state"]["messages"]["received"]["update"];
        count.as_str().and_then(|text| text.parse().ok()).or(count.as_u64()).unwrap_or_default()
    }

    async fn neighbor(&self) -> serde_json::Value {
        serde_json::from_str(&self.ask(&format!("neighbor {OWN} -j")).await).unwrap_or_default()
    }

    async fn ask(&self, words: &str) -> String {
        let target = format!("--target=unix://{}", self.socket().display());
        let output = Command::new(&self.gobgp).arg(target).args(words.split(' ')).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
