//! The programs that labs need, and the Debian packages that have them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use super::kernel::run;
use crate::progress;

/// A program and the package that has it.
type Tool = (&'static str, &'static str);

/// What runs inside a lab.
const LAB: [Tool; 12] = [
    ("gobgpd", "gobgpd"),
    ("gobgp", "gobgpd"),
    ("vtysh", "frr"),
    ("/usr/lib/frr/bgpd", "frr"),
    ("bird", "bird2"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("ipvsadm", "ipvsadm"),
    ("ip", "iproute2"),
    ("sysctl", "procps"),
    ("conntrack", "conntrack"),
    ("ping", "iputils-ping"),
];

/// What brings up the virtual machine.
const MACHINE: [Tool; 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("dpkg-deb", "dpkg"),
];

/// What makes the keys of a control plane.
const OPENSSL: [Tool; 1] = [("openssl", "openssl")];

/// Installs openssl, unless it is there.
pub(super) fn provide_openssl() -> Result<()> {
    provide(&OPENSSL)
}

/// Installs what is missing of the lab's programs.
pub(super) fn provide_lab() -> Result<()> {
    provide(&LAB)
}

/// Installs what is missing to bring up a virtual machine.
pub(super) fn provide_machine() -> Result<()> {
    provide(&MACHINE)
}

/// A program's place on `PATH` or in the folders that only root has on it.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn provide(tools: &[Tool]) -> Result<()> {
    let mut packages: Vec<&str> =
        tools.iter().filter(|(program, _)| find(program).is_none()).map(|&(_, package)| package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if !Uid::effective().is_root() || find("apt-get").is_none() {
        bail!("programs are missing here; on Debian this installs them: {by_hand}");
    }
    progress(&format!("installing {}", packages.join(" ")));
    let install = || run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(&packages));
    install()
        .or_else(|_| {
            run(apt_get().arg("update"))?;
            install()
        })
        .with_context(|| format!("{by_hand} failed"))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"]);
    // In a container, run level 1 keeps the packages' own services (FRR, gobgpd) from starting.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command
}

/// The busybox to put into the RAM disk, where no shared library is.
pub(super) fn static_busybox() -> Result<PathBuf> {
    let busybox = find("busybox").context("no busybox on this machine")?;
    let text = std::fs::read(&busybox).with_context(|| format!("read {}", busybox.display()))?;
    if text.windows(LOADER.len()).any(|window| window == LOADER) {
        bail!("{} is dynamically linked: install busybox-static", Path::new(&busybox).display());
    }
    Ok(busybox)
}

/// Every dynamically linked program names its loader.
const LOADER: &[u8] = b"/lib64/ld-linux";
