//! The initial RAM disk: busybox, the few modules that reach the host's files, two scripts and the job.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::kernel::Kernel;

/// What the first script needs before it can see the host's files and talk back; everything else is loaded later, from
/// the cache folder, by modprobe.
const BOOT_MODULES: [&str; 5] = ["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"];

/// Finds the first stage; the kernel starts it as `/init`.
const INIT: &str = include_str!("init.sh");
/// Runs on the overlay root: mounts, modules, job, exit status.
const STAGE2: &str = include_str!("stage2.sh");

/// Builds the archive for one run. It takes milliseconds, so nothing of it is cached.
pub(super) fn build(kernel: &Kernel, busybox: &Path, settings: &str, job: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Cpio::default();
    for folder in ["bin", "dev", "proc", "sys", "lower", "upper", "new", "modules"] {
        archive.folder(folder);
    }
    archive.file("bin/busybox", 0o755, &read(busybox)?);
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("stage2", 0o755, STAGE2.as_bytes());
    archive.file("settings", 0o644, settings.as_bytes());
    archive.file("job", 0o755, job);

    let files = load_order(&read_text(&kernel.modules.join("modules.dep"))?, &BOOT_MODULES);
    for (place, file) in files.iter().enumerate() {
        let name = Path::new(file).file_name().context("a module without a name")?.to_string_lossy();
        archive.file(&format!("modules/{place:02}-{name}"), 0o644, &read(&kernel.modules.join(file))?);
    }
    Ok(archive.finish())
}

/// The files to insert, dependencies first, from the text of `modules.dep`. A module that the kernel has built in is in
/// no line of that file and needs nothing.
fn load_order(modules_dep: &str, wanted: &[&str]) -> Vec<String> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for name in wanted {
        let line = modules_dep.lines().find_map(|line| {
            let (file, dependencies) = line.split_once(':')?;
            (module_name(file) == *name).then_some((file, dependencies))
        });
        let Some((file, dependencies)) = line else { continue };
        // modules.dep lists a module's dependencies with the innermost last.
        for file in dependencies.split_whitespace().rev().chain([file]) {
            if seen.insert(file) {
                order.push(file.to_owned());
            }
        }
    }
    order
}

/// `kernel/net/9p/9pnet-virtio.ko.xz` is `9pnet_virtio`: modprobe treats the two dashes alike.
fn module_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// A writer of the kernel's `newc` format, which is simpler than finding a host program that speaks it.
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

impl Cpio {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | mode, content);
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.inode += 1;
        let (inode, size, name_size) = (self.inode, content.len(), name.len() + 1);
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let header = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}",
            0, 1
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need() {
        let dep = "kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko\n\
                   kernel/net/9p/9pnet.ko:\n\
                   kernel/net/9p/9pnet_virtio.ko: kernel/drivers/virtio/virtio.ko kernel/net/9p/9pnet.ko\n";
        assert_eq!(
            load_order(dep, &["9pnet_virtio", "9p", "built_in"]),
            [
                "kernel/net/9p/9pnet.ko",
                "kernel/drivers/virtio/virtio.ko",
                "kernel/net/9p/9pnet_virtio.ko",
                "kernel/fs/netfs/netfs.ko",
                "kernel/fs/9p/9p.ko"
            ]
        );
    }

    #[test]
    fn archive_members_are_aligned_and_closed() {
        let mut archive = Cpio::default();
        archive.file("a", 0o644, b"hello");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[112..117], b"hello");
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
    }
}
