//! The go command.

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::module;
use crate::progress;

/// Where Go is when it is not on `PATH`.
const ELSEWHERE: &str = "/usr/local/go/bin/go";

/// How often a build says how far it is.
const PROGRESS: Duration = Duration::from_secs(15);

/// How much of what go said is shown when it fails.
const LINES_SHOWN: usize = 20;

/// Go on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Go {
    program: PathBuf,
    /// As it tells it: `go1.26.8`.
    version: String,
}

impl fmt::Display for Go {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.program.display(), self.version)
    }
}

impl Go {
    /// The one on `PATH`, else the one where its authors' instructions put it.
    pub(super) fn find() -> Option<Self> {
        ["go", ELSEWHERE].into_iter().find_map(|program| {
            let mut go = Self { program: program.into(), version: String::new() };
            let output = go.command().args(["env", "GOVERSION"]).output().ok()?;
            go.version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            (output.status.success() && !go.version.is_empty()).then_some(go)
        })
    }

    /// Is it of this version (`1.26.0`) or newer?
    pub(super) fn is_new_enough(&self, wanted: &str) -> bool {
        module::is_new_enough(&self.version, wanted)
    }

    /// A go command that does not fetch another Go by itself.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("GOTOOLCHAIN", "local").env("GOWORK", "off").stdin(Stdio::null());
        command
    }

    /// Builds all tools of the module in `folder` into `target`, and says now and then how far it is.
    pub(super) fn build_tools(&self, folder: &Path, mode: &str, linker: &str, target: &Path) -> Result<()> {
        let mut command = self.command();
        command.env("CGO_ENABLED", "0").current_dir(folder);
        command
            .args(["build", "-v", "-trimpath", &format!("-mod={mode}"), "-ldflags", linker, "-o"])
            .arg(target)
            .arg("tool");
        let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("run {command:?}"))?;
        let output = child.stderr.take().context("read what go says")?;
        // With -v it names what it downloads and each package that it compiles; while it links it says nothing for long.
        let (lines, told) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
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
        ensure!(child.wait()?.success(), "go build failed:\n{}", Vec::from(last).join("\n"));
        Ok(())
    }
}
