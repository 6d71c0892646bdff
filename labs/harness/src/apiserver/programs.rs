//! kube-apiserver, etcd and kubectl: built once per version, kept in the cache folder.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};

use super::module;
use crate::{folders, progress};

/// The variable that tells the test binaries where the programs are.
pub(crate) const PROGRAMS: &str = "VIPCAST_KUBERNETES";

/// Where Go is when it is not on `PATH`.
const GO: &str = "/usr/local/go/bin/go";

/// What to do without Go.
const ADVICE: &str = "get it from https://go.dev/dl and put its bin on PATH (or unpack it to /usr/local/go)";

/// How often a build says how far it is.
const PROGRESS: Duration = Duration::from_secs(15);

/// How much of what go said is shown when it fails.
const LINES_SHOWN: usize = 20;

/// The programs of one version of Kubernetes.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The version, such as `v1.36.3`.
    pub version: String,
    /// The folder that holds them.
    pub folder: PathBuf,
}

/// Why there are no programs here: nothing is broken, Go is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl Programs {
    /// The programs of `version`, or of the version that `tests/apiserver/go.mod` names; built if the cache has none,
    /// which takes minutes. Safe to call from several processes at once.
    pub fn provide(version: Option<&str>) -> Result<Result<Self, Unavailable>> {
        let pinned = folders::repository()?.join("tests/apiserver");
        let module = read(&pinned.join("go.mod"))?;
        let pinned_version = module::kubernetes_version(&module)?;
        let version = version.unwrap_or(&pinned_version).to_owned();
        let home = folders::cache()?.join("kubernetes");
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        let lock = File::create(home.join("lock")).context("create the lock of the folder for Kubernetes")?;
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("lock it")?;

        let programs = Self { folder: home.join(&version), version };
        let is_pinned = programs.version == pinned_version;
        // Built from another module than the one of today (another etcd, say), they are built again.
        let is_current = !is_pinned || fs::read_to_string(programs.folder.join("go.mod")).is_ok_and(|of| of == module);
        if programs.is_built() && is_current {
            return Ok(Ok(programs));
        }
        let Some((go, found)) = find_go() else {
            return Ok(Err(Unavailable(format!("Go is not installed; {ADVICE}"))));
        };
        let folder = home.join(format!("{}.module", programs.version));
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let wanted = if is_pinned {
            fs::copy(pinned.join("go.sum"), folder.join("go.sum")).context("copy go.sum")?;
            module
        } else {
            derived(&go, &programs.version)?
        };
        let oldest = module::go_version(&wanted)?;
        if !module::is_new_enough(&found, oldest) {
            let (place, advice) = (go.display(), ADVICE);
            return Ok(Err(Unavailable(format!("{place} is {found}, too old: Go {oldest} or newer; {advice}"))));
        }
        fs::write(folder.join("go.mod"), wanted).context("write go.mod")?;
        build(&go, &folder, &programs, if is_pinned { "readonly" } else { "mod" })?;
        Ok(Ok(programs))
    }

    /// The programs that the harness provided for this test binary, else those of the pinned version if they were built
    /// before. Builds nothing.
    pub fn find() -> Result<Result<Self, Unavailable>> {
        let folder = match std::env::var_os(PROGRAMS) {
            Some(folder) => PathBuf::from(folder),
            None => {
                let module = read(&folders::repository()?.join("tests/apiserver/go.mod"))?;
                folders::cache()?.join("kubernetes").join(module::kubernetes_version(&module)?)
            }
        };
        let version = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let programs = Self { version, folder };
        let missing = || Unavailable(format!("nothing in {}: `make test-api` builds it", programs.folder.display()));
        Ok(if programs.is_built() { Ok(programs) } else { Err(missing()) })
    }

    /// `kube-apiserver`.
    pub fn kube_apiserver(&self) -> PathBuf {
        self.folder.join("kube-apiserver")
    }

    /// `etcd`.
    pub fn etcd(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    /// `kubectl`.
    pub fn kubectl(&self) -> PathBuf {
        self.folder.join("kubectl")
    }

    fn is_built(&self) -> bool {
        [self.kube_apiserver(), self.etcd(), self.kubectl()].iter().all(|file| file.is_file())
    }
}

/// The go command and its version.
fn find_go() -> Option<(PathBuf, String)> {
    ["go", GO].into_iter().find_map(|program| {
        let output = go(Path::new(program)).args(["env", "GOVERSION"]).output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !version.is_empty()).then(|| (PathBuf::from(program), version))
    })
}

/// A go command that does not fetch another Go by itself.
fn go(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("GOTOOLCHAIN", "local").env("GOWORK", "off").stdin(Stdio::null());
    command
}

/// The module for a version that is not the pinned one.
fn derived(program: &Path, version: &str) -> Result<String> {
    progress(&format!("downloading k8s.io/kubernetes {version}"));
    // Outside of any module: in one, its replacements would hold.
    let mut command = go(program);
    command.args(["mod", "download", "-json", &format!("k8s.io/kubernetes@{version}")]);
    let output = command.current_dir(std::env::temp_dir()).output().context("run go mod download")?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let Some(file) = answer["GoMod"].as_str() else {
        let why = answer["Error"].as_str().map(str::to_owned);
        bail!(
            "no k8s.io/kubernetes {version}: {}",
            why.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).into())
        );
    };
    module::derive(version, &read(Path::new(file))?)
}

/// Builds the module's tools. They are put beside their place and moved last, so that what an interrupted build left is
/// no program.
fn build(program: &Path, folder: &Path, programs: &Programs, mode: &str) -> Result<()> {
    let version = &programs.version;
    progress(&format!("building kube-apiserver, etcd and kubectl {version} (minutes, this once)"));
    let fresh = folder.join("bin");
    fs::create_dir_all(&fresh).with_context(|| format!("create {}", fresh.display()))?;
    // A module knows its version, but the program says what the linker was told: GET /version should be true.
    let stamp = format!("-s -w -X k8s.io/component-base/version.gitVersion={version}");
    let mut command = go(program);
    command.env("CGO_ENABLED", "0").current_dir(folder);
    command
        .args(["build", "-v", "-trimpath", &format!("-mod={mode}"), "-ldflags", &stamp, "-o"])
        .arg(&fresh)
        .arg("tool");
    let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("run {}", program.display()))?;
    let output = child.stderr.take().context("read what go says")?;
    // With -v it names what it downloads and each package that it compiles; while it links it says nothing for long.
    let (lines, told) = mpsc::channel();
    thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    let (started, mut last, mut packages) = (Instant::now(), VecDeque::new(), 0);
    let mut due = PROGRESS;
    loop {
        match told.recv_timeout(due.saturating_sub(started.elapsed())) {
            Ok(line) => {
                packages += usize::from(!line.contains(' '));
                last.push_back(line);
                if last.len() > LINES_SHOWN {
                    last.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                progress(&format!("{packages} packages compiled in {} s", started.elapsed().as_secs()));
                due += PROGRESS;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    ensure!(child.wait()?.success(), "building Kubernetes {version} failed:\n{}", Vec::from(last).join("\n"));
    // The package of etcd's program is called `server`.
    fs::rename(fresh.join("server"), fresh.join("etcd")).context("name etcd")?;
    fs::copy(folder.join("go.mod"), fresh.join("go.mod")).context("note what was built")?;
    if programs.folder.exists() {
        fs::remove_dir_all(&programs.folder).with_context(|| format!("remove {}", programs.folder.display()))?;
    }
    fs::rename(&fresh, &programs.folder)
        .with_context(|| format!("move the programs to {}", programs.folder.display()))?;
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}
