//! A gobgpd of a test's own.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use vipcast::apply::bgp::{Endpoint, Speaker};
use vipcast_lab::Unavailable;
use vipcast_lab::gobgp::Programs;

/// How long anything may take before a test gives up. Generous: machines may be emulated, and busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Which GoBGP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// 3.10, of the Debian package.
    V3,
    /// 4, built by `make test-pure` from the Go module `tests/gobgp`.
    V4,
}

impl Flavour {
    /// Its gobgpd and its gobgp; `None` where they were not built. Says so once, past the test harness, which shows no
    /// output of tests that pass.
    fn programs(self) -> Option<(PathBuf, PathBuf)> {
        static V4: OnceLock<Option<Programs>> = OnceLock::new();
        let find = || match Programs::find().unwrap() {
            Ok(programs) => Some(programs),
            Err(Unavailable(reason)) => {
                let _ = writeln!(std::io::stderr(), "SKIPPED pure: the tests with GoBGP 4: {reason}");
                None
            }
        };
        match self {
            Flavour::V3 => Some(("/usr/bin/gobgpd".into(), "/usr/bin/gobgp".into())),
            Flavour::V4 => V4.get_or_init(find).as_ref().map(|programs| (programs.gobgpd(), programs.gobgp())),
        }
    }

    /// The version of the API that it speaks.
    pub(crate) fn spoken(self) -> vipcast::model::bgp::Flavour {
        match self {
            Flavour::V3 => vipcast::model::bgp::Flavour::V3,
            Flavour::V4 => vipcast::model::bgp::Flavour::V4,
        }
    }

    /// The other one, or the same again where the other one was not built.
    pub(crate) fn other(self) -> Flavour {
        match self {
            Flavour::V3 if Flavour::V4.is_here() => Flavour::V4,
            Flavour::V3 | Flavour::V4 => Flavour::V3,
        }
    }

    /// Can it be started here? Where it cannot, the test is skipped, which is said.
    pub(crate) fn is_here(self) -> bool {
        self.programs().is_some()
    }

    /// The path of its gobgpd, which [is here](Flavour::is_here).
    pub(crate) fn gobgpd(self) -> PathBuf {
        self.programs().unwrap().0
    }

    /// The path of its command line.
    fn gobgp(self) -> PathBuf {
        self.programs().unwrap().1
    }
}

/// Makes tests of functions that take a [`Flavour`]: `each_gobgpd!(FUNCTION, …)` makes `FUNCTION::v3` and
/// `FUNCTION::v4`.
macro_rules! each_gobgpd {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            use $crate::gobgpd::daemon::Flavour;

            #[tokio::test]
            async fn v3() {
                super::$test(Flavour::V3).await;
            }

            #[tokio::test]
            async fn v4() {
                if Flavour::V4.is_here() {
                    super::$test(Flavour::V4).await;
                }
            }
        }
    )+};
}
pub(crate) use each_gobgpd;

/// A running gobgpd without a configuration, reached over a unix socket; killed when it is dropped.
pub(crate) struct Gobgpd {
    flavour: Flavour,
    folder: TempDir,
    child: Option<Child>,
}

impl Gobgpd {
    pub(crate) async fn start(flavour: Flavour) -> Gobgpd {
        let mut gobgpd = Gobgpd { flavour, folder: tempfile::tempdir().unwrap(), child: None };
        gobgpd.restart().await;
        gobgpd
    }

    /// Kills it, if it runs, and starts another GoBGP in its place.
    pub(crate) async fn replace(&mut self, flavour: Flavour) {
        self.flavour = flavour;
        self.restart().await;
    }

    /// Kills it, if it runs, and starts it again.
    pub(crate) async fn restart(&mut self) {
        self.kill().await;
        let log = std::fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let program = self.flavour.gobgpd();
        // As the speaker starts it.
        let child = Command::new(&program)
            .arg(format!("--api-hosts=unix://{}", self.socket().display()))
            .args(["--pprof-disable", "--log-level=info"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{} (Debian package gobgpd): {error}", program.display()));
        self.child = Some(child);
        let socket = self.socket();
        until("gobgpd listens", async || tokio::net::UnixStream::connect(&socket).await.ok()).await;
    }

    /// Kills it at once.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended cannot be killed.
            let _ = child.kill().await;
        }
        let _ = std::fs::remove_file(self.socket());
    }

    /// Did its process end by itself?
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Stops it from running, or lets it run again.
    pub(crate) async fn freeze(&self, freeze: bool) {
        let pid = self.child.as_ref().and_then(Child::id).unwrap();
        let process = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(process, if freeze { Signal::STOP } else { Signal::CONT }).unwrap();
        // Each thread stops when it comes to it.
        let stopped = |thread: std::fs::DirEntry| {
            let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("State:") && line.contains("(stopped)"))
        };
        until("all its threads obey", async || {
            let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
            threads.all(|thread| stopped(thread) == freeze).then_some(())
        })
        .await;
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::unix(&self.socket()).unwrap()
    }

    pub(crate) fn speaker(&self) -> Speaker {
        Speaker::new(self.endpoint())
    }

    /// What it logged.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    /// The output of `gobgp WORDS`, which has to succeed.
    pub(crate) async fn gobgp(&self, words: &str) -> String {
        let output = Command::new(self.flavour.gobgp())
            .arg(format!("--target=unix://{}", self.socket().display()))
            .args(words.split_whitespace())
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "gobgp {words}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn socket(&self) -> PathBuf {
        self.path().join("gobgpd.sock")
    }

    fn log(&self) -> PathBuf {
        self.path().join("gobgpd.log")
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A TCP port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

/// Tries until there is something; gives up after [`PATIENCE`].
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}
