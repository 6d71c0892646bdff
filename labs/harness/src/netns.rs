//! A network namespace that lasts as long as its value.

mod command;
mod netlink;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use self::command::{Finished, NsCommand};
pub use self::netlink::{Netlink, Route};

/// Where `ip netns` looks for namespaces.
const FOLDER: &str = "/run/netns";

/// What all of ours begin with.
pub(crate) const PREFIX: &str = "vipcast-";

/// A named network namespace, `lo` up, that `ip netns exec NAME …` can enter. Dropped, it ends the processes that still
/// live in it and disappears.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// A fresh namespace with a name of its own.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::named(&format!("{PREFIX}test-{}.{count}-ns", std::process::id()))
    }

    /// A fresh namespace with this name.
    pub fn named(name: &str) -> Result<Self> {
        fs::create_dir_all(FOLDER).with_context(|| format!("create {FOLDER}"))?;
        let path = Path::new(FOLDER).join(name);
        File::create_new(&path).with_context(|| format!("create {}", path.display()))?;
        let created = thread::scope(|scope| {
            scope
                .spawn(|| -> Result<()> {
                    unshare(CloneFlags::CLONE_NEWNET).context("create a network namespace (are we root?)")?;
                    // The mount keeps the namespace alive when this thread ends.
                    let (none, thread) = (None::<&str>, "/proc/thread-self/ns/net");
                    mount(Some(thread), &path, none, MsFlags::MS_BIND, none).context("name a network namespace")
                })
                .join()
        });
        let netns = match created {
            Ok(Ok(())) => Self { name: name.to_owned(), file: File::open(&path).context("open the namespace")? },
            failed => {
                let _ = fs::remove_file(&path);
                failed.unwrap_or_else(|_| bail!("the thread for {name} panicked"))?;
                bail!("no namespace {name}");
            }
        };
        netns.netlink(async |link| link.up("lo").await)?;
        Ok(netns)
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file: what `setns` takes.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// The open namespace, for netlink messages that name one.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Runs a closure on a thread inside the namespace; sockets that it opens belong to the namespace for good.
    ///
    /// Files of the namespace are in `/proc/thread-self/net`: `/proc/net` is that of the process.
    pub fn run<R: Send>(&self, closure: impl FnOnce() -> R + Send) -> Result<R> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", self.name))?;
                Ok(closure())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a closure like [`run`](Self::run), on a thread that goes on by itself.
    pub fn spawn<R: Send + 'static>(
        &self,
        closure: impl FnOnce() -> R + Send + 'static,
    ) -> Result<thread::JoinHandle<Result<R>>> {
        let file = self.file.try_clone().context("share the namespace with a thread")?;
        let name = self.name.clone();
        Ok(thread::spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {name}"))?;
            // Only the threads that are in it, not a file of ours, keep the namespace.
            drop(file);
            Ok(closure())
        }))
    }

    /// A command that will run inside the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> NsCommand<'_> {
        NsCommand::new(self, program)
    }

    /// Sets `net.ipv4.ip_forward` and the like, in this namespace.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = sysctl_path(key);
        self.run(|| fs::write(&path, value))
            .and_then(|written| written.with_context(|| format!("set {key} to {value}")))
    }

    /// Reads a sysctl of this namespace.
    pub fn sysctl(&self, key: &str) -> Result<String> {
        let path = sysctl_path(key);
        let text = self.run(|| fs::read_to_string(&path))?.with_context(|| format!("read {key}"))?;
        Ok(text.trim_end().to_owned())
    }

    /// The processes that live in it (this one's threads excepted).
    pub fn processes(&self) -> Result<Vec<Pid>> {
        processes_in(&self.file)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = dismantle(&self.path(), &self.file) {
            eprintln!("vipcast-lab: removing {}: {error:#}", self.name);
        }
    }
}

/// Ends what runs in the namespace and removes its name; the kernel removes the rest with the last user.
fn dismantle(path: &Path, file: &File) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = processes_in(file)?;
        for pid in &left {
            // One that ended meanwhile is what we want.
            let _ = kill(*pid, Signal::SIGKILL);
        }
        if left.is_empty() || Instant::now() > deadline {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    match umount2(path, MntFlags::MNT_DETACH) {
        // EINVAL: its owner was killed between creating the name and giving it a namespace.
        Ok(()) | Err(Errno::EINVAL) => fs::remove_file(path).context("remove its name"),
        Err(errno) => Err(errno).context("unmount"),
    }
}

fn processes_in(file: &File) -> Result<Vec<Pid>> {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let ours = identity(file.metadata().context("look at the namespace")?);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("list processes")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let pid = Pid::from_raw(pid);
        // A zombie has no namespace, so it does not count.
        let theirs = fs::metadata(format!("/proc/{pid}/ns/net"));
        if pid != Pid::this() && theirs.is_ok_and(|theirs| identity(theirs) == ours) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Removes namespaces whose owner was killed before it could: their names hold its process id.
pub(crate) fn sweep() -> Result<()> {
    let Ok(names) = fs::read_dir(FOLDER) else { return Ok(()) };
    for entry in names {
        let entry = entry?;
        if entry.file_name().to_str().and_then(owner).is_some_and(|pid| !process_exists(pid)) {
            // Another process may be sweeping too; what it took is gone.
            let Ok(file) = File::open(entry.path()) else { continue };
            let _ = dismantle(&entry.path(), &file);
        }
    }
    Ok(())
}

/// The process that made `vipcast-rack-1234.0-lb1`, or the folder `rack-1234.0`.
pub(crate) fn owner(name: &str) -> Option<u32> {
    name.split('-').find_map(|part| {
        let (pid, count) = part.split_once('.')?;
        count.parse::<u32>().ok()?;
        pid.parse().ok()
    })
}

pub(crate) fn process_exists(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// `net.ipv4.conf.eth0/1.rp_filter` has the dots and slashes exchanged, as `sysctl` has it.
fn sysctl_path(key: &str) -> PathBuf {
    let path = key.chars().map(|c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    });
    Path::new("/proc/sys").join(path.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_owner() {
        assert_eq!(owner("vipcast-rack-1234.0-lb1"), Some(1234));
        assert_eq!(owner("two-tiers-77.12"), Some(77));
        assert_eq!(owner("vipcast-rack-lb1"), None);
        assert_eq!(owner("cni-1.x-2"), None);
    }

    #[test]
    fn sysctl_keys_become_paths() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), Path::new("/proc/sys/net/ipv4/ip_forward"));
        assert_eq!(
            sysctl_path("net.ipv4.conf.eth0/1.rp_filter"),
            Path::new("/proc/sys/net/ipv4/conf/eth0.1/rp_filter")
        );
    }
}
