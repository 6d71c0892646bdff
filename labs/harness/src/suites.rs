//! The test suites: built on this machine, then run where their kernel is; those that need IPVS share one boot.

use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use crate::go::Unavailable;
use crate::{apiserver, folders, gobgp, progress, vm};

/// The suite `api` has one API server for most of its tests, and burdens it.
const API_THREADS: &str = "--test-threads=1";

/// A test suite, named by its purity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Suite {
    /// No root, no network, the real gobgpd of both versions: unit tests and the binary `pure`.
    Pure,
    /// A real kube-apiserver and etcd: the binary `api`.
    Api,
    /// A real kernel: the binary `kernel`.
    Kernel,
    /// Packets through a router: the binary `lab`.
    Lab,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suite::Pure => "pure",
            Suite::Api => "api",
            Suite::Kernel => "kernel",
            Suite::Lab => "lab",
        })
    }
}

/// A built test binary.
struct Binary {
    suite: Suite,
    file: PathBuf,
    /// Where cargo would run it.
    folder: PathBuf,
}

/// Builds the test binaries and runs those of `suites`, each of them even after a failure. Arguments in `extra` go to
/// the binaries (a filter, say); `kubernetes` is the version for the suite `api`, if not the pinned one. The answer is an
/// exit status.
pub fn run(suites: &[Suite], kubernetes: Option<&str>, extra: &[OsString]) -> Result<u8> {
    vm::provide()?;
    let kubernetes = match suites.contains(&Suite::Api) {
        true => Some(apiserver::Programs::provide(kubernetes)?),
        false => None,
    };
    let gobgp = match suites.iter().any(|suite| matches!(suite, Suite::Pure | Suite::Lab)) {
        true => provide_gobgp()?,
        false => Vec::new(),
    };
    let mut binaries = build()?;
    binaries.retain(|binary| suites.contains(&binary.suite));
    let on_kernel = |binary: &Binary| matches!(binary.suite, Suite::Kernel | Suite::Lab);
    let (real, here): (Vec<_>, Vec<_>) = binaries.into_iter().partition(on_kernel);
    let mut failed = false;
    for binary in here {
        heading(&binary);
        let mut command = Command::new(&binary.file);
        command.envs(gobgp.iter().cloned());
        if binary.suite == Suite::Api {
            match &kubernetes {
                Some(Ok(programs)) => command.env(apiserver::KIT.variable, &programs.folder).arg(API_THREADS),
                Some(Err(Unavailable(reason))) => {
                    println!("SKIPPED api: {reason}");
                    continue;
                }
                None => continue,
            };
        }
        let status = command.args(extra).current_dir(&binary.folder).status();
        failed |= !status.with_context(|| format!("run {}", binary.file.display()))?.success();
    }
    if !real.is_empty() {
        failed |= run_on_kernel(&real, extra, gobgp)? != 0;
    }
    Ok(u8::from(failed))
}

/// GoBGP 4, as the variable that tells the test binaries where it is. Without Go there is none: they find out, and say
/// what they skip.
fn provide_gobgp() -> Result<Vec<(OsString, OsString)>> {
    Ok(match gobgp::Programs::provide()? {
        Ok(programs) => vec![(gobgp::KIT.variable.into(), programs.folder.into())],
        Err(Unavailable(reason)) => {
            progress(&format!("no GoBGP 4: {reason}"));
            Vec::new()
        }
    })
}

/// The benchmarks that need no kernel of their own: what they measure runs anywhere, and an emulated machine would only
/// measure itself.
const BENCHES_HERE: [&str; 2] = ["bfd", "routes"];

/// Builds the benchmarks, optimised, and runs them, or the one called `name`, where their kernel is. Arguments in `extra` go
/// to them. The answer is an exit status.
pub fn bench(name: Option<&str>, extra: &[OsString]) -> Result<u8> {
    vm::provide()?;
    let gobgp = provide_gobgp()?;
    progress("building the benchmarks");
    let artifacts = built(&["bench", "--locked", "--package", "vipcast", "--benches", "--no-run"])?;
    let benches = artifacts.into_iter().filter(|artifact| artifact.is("bench"));
    let wanted: Vec<Artifact> = benches.filter(|bench| name.is_none_or(|name| bench.target.name == name)).collect();
    ensure!(!wanted.is_empty(), "there is no such benchmark: {}", name.unwrap_or_default());
    let mut failed = 0;
    for Artifact { target, file, .. } in wanted {
        if BENCHES_HERE.contains(&target.name.as_str()) {
            let status = Command::new(&file).args(extra).envs(gobgp.iter().cloned()).status();
            failed |= u8::from(!status.with_context(|| format!("run {}", file.display()))?.success());
            continue;
        }
        let command = std::iter::once(file.into_os_string()).chain(extra.iter().cloned()).collect();
        failed |= vm::run(vm::Job { command, ..vm::Job::default() })?;
    }
    Ok(failed)
}

/// All in one boot, since a boot and its shutdown cost seconds.
fn run_on_kernel(binaries: &[Binary], extra: &[OsString], environment: Vec<(OsString, OsString)>) -> Result<u8> {
    if !nix::unistd::geteuid().is_root() {
        for binary in binaries {
            println!("SKIPPED {}: it needs root", binary.suite);
        }
        return Ok(0);
    }
    let mut script = String::from("failed=0\n");
    for binary in binaries {
        // Labs are timed by what they wait for; two at once on an emulated machine would wait for each other.
        let threads = if binary.suite == Suite::Lab { 1 } else { 2 };
        let file = binary.file.display();
        script += &format!("echo; echo '== suite {}'\n", binary.suite);
        script +=
            &format!("(cd '{}' && '{file}' --test-threads={threads} \"$@\") || failed=1\n", binary.folder.display());
    }
    script += "exit $failed\n";
    let shell = ["sh", "-c", &script, "suites"].map(OsString::from);
    let command = shell.into_iter().chain(extra.iter().cloned()).collect();
    vm::run(vm::Job { command, environment, ..vm::Job::default() })
}

fn heading(binary: &Binary) {
    let name = binary.file.file_name().unwrap_or_default().to_string_lossy();
    println!("\n== suite {}: {name}", binary.suite);
}

/// What cargo says of each thing that it built.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// A program that cargo built to be run by itself.
struct Artifact {
    target: Target,
    file: PathBuf,
    folder: PathBuf,
}

impl Artifact {
    fn is(&self, kind: &str) -> bool {
        self.target.kind.iter().any(|one| one == kind)
    }
}

fn build() -> Result<Vec<Binary>> {
    progress("building the test suites");
    let artifacts = built(&["test", "--locked", "--workspace", "--no-run"])?;
    let mut binaries: Vec<Binary> = artifacts.into_iter().map(binary).collect();
    binaries.sort_by(|a, b| (a.suite, &a.file).cmp(&(b.suite, &b.file)));
    Ok(binaries)
}

/// The test programs that a cargo command builds.
fn built(arguments: &[&str]) -> Result<Vec<Artifact>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).arg("--message-format=json-render-diagnostics");
    let mut child = cargo.current_dir(folders::repository()?).stdout(Stdio::piped()).spawn().context("run cargo")?;
    let output = child.stdout.take().context("read what cargo says")?;
    let mut artifacts = Vec::new();
    for line in BufReader::new(output).lines() {
        let message: Message = serde_json::from_str(&line?).context("understand what cargo says")?;
        artifacts.extend(artifact(message));
    }
    ensure!(child.wait()?.success(), "cargo {} failed", arguments.join(" "));
    Ok(artifacts)
}

fn artifact(message: Message) -> Option<Artifact> {
    let target = message.target.filter(|_| message.reason == "compiler-artifact")?;
    let file = message.executable.filter(|_| message.profile.is_some_and(|profile| profile.test))?;
    let folder = message.manifest_path?.parent()?.to_path_buf();
    Some(Artifact { target, file, folder })
}

fn binary(artifact: Artifact) -> Binary {
    let is_test = artifact.is("test");
    let suite = match artifact.target.name.as_str() {
        "api" if is_test => Suite::Api,
        "kernel" if is_test => Suite::Kernel,
        "lab" | "rack" if is_test => Suite::Lab,
        _ => Suite::Pure,
    };
    Binary { suite, file: artifact.file, folder: artifact.folder }
}
