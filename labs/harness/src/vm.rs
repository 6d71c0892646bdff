//! A virtual machine with a kernel that has IPVS, for machines whose own has not.
//!
//! Its root is this machine's files, read-only with memory laid over them, so whatever is built or installed here is
//! there too, at the same path. It has no network and no disk, and it is emulated: five to thirty times slower, never
//! wrong.

mod host;
mod initrd;
mod job;
mod kernel;
mod packages;
mod qemu;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub use self::kernel::Kernel;
use self::qemu::{End, Qemu};
use crate::progress;

/// How large the virtual machine is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Virtual CPUs.
    pub cpus: u8,
    /// Memory in MiB; half of it can become files.
    pub memory_mib: u32,
}

impl Default for Size {
    fn default() -> Self {
        Self { cpus: 2, memory_mib: 4096 }
    }
}

/// What to run on a kernel that has IPVS.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Variables that it gets besides those of this process.
    pub environment: Vec<(OsString, OsString)>,
    /// Folders of this machine that the job may write to, at the same path; everything else that it writes is lost.
    /// The folder for evidence is always among them.
    pub writable: Vec<PathBuf>,
    /// How long it may take, the boot not counted.
    pub timeout: Option<Duration>,
    /// The machine's size.
    pub size: Size,
    /// Take a virtual machine even where this machine's kernel would do.
    pub force: bool,
}

/// The exit status of a job that did not end in time, as `timeout` has it.
pub const TIMED_OUT: u8 = 124;

/// The status of a job that was killed by a signal, or a nearby convention of shells.
const KILLED: i32 = 128;

/// Runs the job here if this machine can (and we are root), else in a virtual machine, and returns its exit status.
/// An error is a failure of the machine, never of the job.
pub fn run(mut job: Job) -> Result<u8> {
    ensure!(!job.command.is_empty(), "nothing to run");
    packages::provide_lab()?;
    let evidence = crate::folders::evidence()?;
    match host::probe() {
        Ok(()) if !job.force => run_here(&job, &evidence),
        probed => {
            if let Err(why) = probed {
                progress(&format!("this machine's kernel will not do ({why}): starting a virtual machine"));
            }
            job.writable.push(evidence.clone());
            run_in_machine(&job, &evidence)
        }
    }
}

/// Installs what labs and tests need besides cargo, unless it is there.
pub fn provide() -> Result<()> {
    packages::provide_lab()
}

/// Installs openssl, unless it is there.
pub(crate) fn provide_openssl() -> Result<()> {
    packages::provide_openssl()
}

/// Can this machine's own kernel run labs? The error says what it lacks.
pub fn probe() -> Result<(), String> {
    host::probe()
}

/// Downloads and unpacks the virtual machine's kernel, unless the cache has one.
pub fn prepare_kernel() -> Result<Kernel> {
    packages::provide_machine()?;
    Kernel::prepare(&crate::folders::cache()?)
}

fn run_here(job: &Job, evidence: &Path) -> Result<u8> {
    let mut command = Command::new("timeout");
    // Zero means no limit. In the foreground, so that Ctrl-C reaches the job.
    command.args(["--foreground", "-k", "10", &job.timeout.unwrap_or_default().as_secs_f32().to_string()]);
    command.args(&job.command).envs(job.environment.iter().cloned()).env(crate::folders::EVIDENCE, evidence);
    let status = command.status().context("run the command")?;
    let code = status.code().or_else(|| Some(KILLED + std::os::unix::process::ExitStatusExt::signal(&status)?));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

fn run_in_machine(job: &Job, evidence: &Path) -> Result<u8> {
    let kernel = prepare_kernel()?;
    let folder = std::env::current_dir().context("find the current folder")?;
    let writable = job
        .writable
        .iter()
        .map(|path| {
            fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
            path.canonicalize().with_context(|| format!("find {}", path.display()))
        })
        .collect::<Result<Vec<_>>>()?;

    let mut environment = job::environment();
    let own = job.environment.iter().cloned().chain([(crate::folders::EVIDENCE.into(), evidence.into())]);
    for (name, value) in own {
        environment.retain(|(other, _)| *other != name);
        environment.push((name, value));
    }
    environment.push((job::MARKER.into(), "1".into()));
    let mentioned: Vec<&OsStr> = environment
        .iter()
        .map(|(_, value)| value.as_os_str())
        .chain(job.command.iter().map(OsString::as_os_str))
        .chain([folder.as_os_str(), kernel.modules.as_os_str()])
        .chain(writable.iter().map(|path| path.as_os_str()))
        .collect();
    let kept = job::kept_in_tmp(mentioned.into_iter());

    let settings = job::settings(&kernel, &writable, &kept)?;
    let script = job::script(&folder, &environment, &job.command);
    let initrd = initrd::build(&kernel, &packages::static_busybox()?, &settings, &script)?;

    let scratch =
        tempfile::Builder::new().prefix("vipcast-vm-").tempdir().context("create a folder for the machine")?;
    progress(&format!("booting {} (software emulation)", kernel.release));
    let machine = Qemu::start(scratch.path(), &kernel, &initrd, job.size, &writable)?;
    match machine.wait(job.timeout)? {
        End::Exit(status) => Ok(status),
        End::TimedOut => {
            progress("the job did not end in time: virtual machine stopped");
            Ok(TIMED_OUT)
        }
    }
}
