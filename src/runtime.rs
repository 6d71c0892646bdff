//! The folder where the agent and the speaker meet: sockets, locks, logs. One per agent.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// How often, and with what pause, something is tried again that others hold up for an instant only.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Makes sure that the folder exists, and answers with its absolute path without symbolic links. A folder that is
/// missing is made for its owner alone; one that is there keeps its mode.
pub fn prepare(folder: &Path) -> io::Result<PathBuf> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(named)?;
    folder.canonicalize().map_err(named)
}

/// Puts `contents` in the place of `file`: whoever reads finds the former or the new text whole, whatever dies meanwhile. Only
/// [`replace_durably`] holds against a machine that loses power.
///
/// # Errors
/// When the folder is full or cannot be written.
pub(crate) fn replace(file: &Path, contents: &[u8]) -> io::Result<()> {
    put(file, contents, false)
}

/// The same, on disk before it takes the former text's place: the machine may stop at any moment.
///
/// # Errors
/// As [`replace`].
pub(crate) fn replace_durably(file: &Path, contents: &[u8]) -> io::Result<()> {
    put(file, contents, true)
}

fn put(file: &Path, contents: &[u8], durably: bool) -> io::Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".new");
    let mut new = File::create(&draft)?;
    new.write_all(contents)?;
    if durably {
        new.sync_all()?;
    }
    std::fs::rename(draft, file)
}

/// An exclusive lock: held by one process at a time, and released by its death whatever kills it.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("another {name} runs already, as {holder}: it holds {}", path.display())]
    Held {
        /// What the lock is for.
        name: String,
        /// The process.
        holder: Holder,
        /// The lock's file.
        path: PathBuf,
    },
    /// Its file cannot be used.
    #[error("{}: {error}", path.display())]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The process that holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its process ID, as it knows it itself; `None` if it did not tell.
    pub pid: Option<u32>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("a process that did not tell its ID"),
        }
    }
}

impl Lock {
    /// Takes the lock `name` of a runtime folder, which is made if it is missing.
    pub fn take(folder: &Path, name: &str) -> Result<Lock, LockError> {
        let path = path(folder, name);
        let failed = |error| LockError::Io { path: path.clone(), error };
        prepare(folder).map_err(failed)?;
        let options = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).to_owned();
        let mut file = options.open(&path).map_err(failed)?;
        // Who asks for the holder holds it for an instant.
        for _ in 0..ATTEMPTS {
            match file.try_lock() {
                Ok(()) => {
                    let told = file.set_len(0).and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
                    return told.map(|()| Lock { file }).map_err(failed);
                }
                Err(TryLockError::WouldBlock) => sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        let holder = read_holder(&mut file);
        Err(LockError::Held { name: name.to_owned(), holder, path })
    }

    /// Who holds the lock `name` of a runtime folder; `None` if nobody does.
    pub fn holder(folder: &Path, name: &str) -> Option<Holder> {
        let mut file = File::open(path(folder, name)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read_holder(&mut file)),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }
}

impl Drop for Lock {
    /// The file stays, since another process may be about to lock it, but names nobody any more.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

/// Has the process `pid` the file of the lock `name` open? A process of that ID which has not is another one.
pub(crate) fn has_open(folder: &Path, name: &str, pid: u32) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    let lock = identity(&path(folder, name));
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    lock.is_some() && open.flatten().any(|entry| identity(&entry.path()) == lock)
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.lock"))
}

/// What the holder wrote, for which it gets a moment.
fn read_holder(file: &mut File) -> Holder {
    for _ in 0..ATTEMPTS {
        let mut text = String::new();
        let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
        if let (Ok(_), Ok(pid)) = (read, text.trim().parse()) {
            return Holder { pid: Some(pid) };
        }
        sleep(PAUSE);
    }
    Holder { pid: None }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_missing_folder_is_made_for_its_owner_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("run/vipcast");
        let prepared = prepare(&folder).unwrap();
        assert_eq!(prepared, temporary.path().canonicalize().unwrap().join("run/vipcast"));
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);

        std::fs::write(temporary.path().join("file"), "").unwrap();
        let error = prepare(&temporary.path().join("file")).unwrap_err();
        assert!(error.to_string().contains("/file: "), "{error}");
    }

    #[test]
    fn a_lock_has_one_holder_who_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("runtime");
        assert_eq!(Lock::holder(&folder, "agent"), None);
        let lock = Lock::take(&folder, "agent").unwrap();
        let own = std::process::id();
        assert_eq!(Lock::holder(&folder, "agent"), Some(Holder { pid: Some(own) }));
        assert!(has_open(&folder, "agent", own));

        let error = Lock::take(&folder, "agent").unwrap_err().to_string();
        let expected =
            format!("another agent runs already, as process {own}: it holds {}/agent.lock", folder.display());
        assert_eq!(error, expected);
        let other = Lock::take(&folder, "speaker").unwrap();

        drop(lock);
        assert_eq!(Lock::holder(&folder, "agent"), None);
        assert!(!has_open(&folder, "agent", own));
        Lock::take(&folder, "agent").unwrap();
        drop(other);
    }
}
