//! A Debian kernel in the cache folder: downloaded once, unpacked, never installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::progress;

/// The metapackage whose dependency names the current kernel. The plain flavour: the cloud flavour has no 9p.
const METAPACKAGE: &str = "linux-image-amd64";

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What `uname -r` says in it.
    pub release: String,
    /// The kernel itself.
    pub image: PathBuf,
    /// Its `lib/modules/<release>`.
    pub modules: PathBuf,
}

impl Kernel {
    /// The cached kernel, or a freshly downloaded one. Safe to call from several processes at once.
    ///
    /// A cached kernel is used as it is, without asking the archive for a newer one: delete the folder to renew it.
    pub fn prepare(cache: &Path) -> Result<Self> {
        fs::create_dir_all(cache).with_context(|| format!("create {}", cache.display()))?;
        let lock = File::create(cache.join("lock")).context("create the lock of the cache folder")?;
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("lock the cache")?;

        let home = cache.join("kernel");
        if let Some(kernel) = Self::find(&home)? {
            return Ok(kernel);
        }
        // Unpacked beside its place and renamed last, so that an interrupted download is no kernel.
        let fresh = cache.join("kernel.new");
        remove_folder(&fresh)?;
        remove_folder(&home)?;
        fs::create_dir_all(&fresh).with_context(|| format!("create {}", fresh.display()))?;
        download(&fresh)?;
        fs::rename(&fresh, &home).context("put the kernel in its place")?;
        Self::find(&home)?.with_context(|| format!("no kernel in {}", home.display()))
    }

    fn find(home: &Path) -> Result<Option<Self>> {
        let Ok(releases) = fs::read_dir(home.join("lib/modules")) else { return Ok(None) };
        for release in releases {
            let release = release?.file_name().to_string_lossy().into_owned();
            let kernel = Self {
                image: home.join(format!("boot/vmlinuz-{release}")),
                modules: home.join("lib/modules").join(&release),
                release,
            };
            if kernel.image.is_file() && kernel.modules.join("modules.dep").is_file() {
                return Ok(Some(kernel));
            }
        }
        Ok(None)
    }
}

fn download(folder: &Path) -> Result<()> {
    let package = match current_package()? {
        Some(package) => package,
        None => {
            progress("no kernel package is known here: apt-get update");
            run(Command::new("apt-get").args(["-qq", "-o", "Acquire::Retries=3", "update"]))?;
            current_package()?.with_context(|| format!("this machine's package archive has no {METAPACKAGE}"))?
        }
    };
    progress(&format!("downloading {package} (70 MB)"));
    run(Command::new("apt-get")
        .current_dir(folder)
        // Unsandboxed on purpose: apt's own user cannot write to somebody's cache folder.
        .args(["-qq", "-o", "Acquire::Retries=3", "-o", "APT::Sandbox::User=root", "download", &package]))?;
    let archive = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get left no package in {}", folder.display()))?;

    progress("unpacking it (400 MB)");
    run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(folder))?;
    fs::remove_file(&archive).context("remove the downloaded package")?;

    for release in fs::read_dir(folder.join("lib/modules")).context("the package has no modules")? {
        run(Command::new("depmod").arg("-b").arg(folder).arg(release?.file_name()))?;
    }
    Ok(())
}

/// `linux-image-6.1.0-56-amd64`, from the metapackage's dependencies.
fn current_package() -> Result<Option<String>> {
    let output = Command::new("apt-cache")
        .args(["depends", METAPACKAGE])
        .output()
        .context("run apt-cache (the virtual machine's kernel comes from a Debian archive)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().find_map(|line| {
        let package = line.trim().strip_prefix("Depends: ")?;
        package.starts_with("linux-image-").then(|| package.to_owned())
    }))
}

fn remove_folder(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
}

/// Runs a helper program and makes what it said part of the error.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => bail!("{shown}: {error}"),
    };
    ensure!(
        output.status.success(),
        "{shown}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
