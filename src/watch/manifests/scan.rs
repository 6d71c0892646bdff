//! One look over the folder: which manifest files there are, and which directories have to be watched to hear of
//! changes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder as it is.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// What tells the folder itself from another one under the same name: device and inode.
    pub(super) identity: (u64, u64),
    /// The manifest files, by their path as the operator would write it: a stamp, or why there is none.
    pub(super) files: BTreeMap<Arc<Path>, Result<Stamp, String>>,
    /// The directories to watch, by their real path.
    pub(super) dirs: BTreeMap<PathBuf, Dir>,
    /// Subfolders that could not be read. What is in them is unknown, not gone.
    pub(super) unread: BTreeMap<Arc<Path>, String>,
    /// Why some directory could not be watched.
    pub(super) unwatched: Option<String>,
}

/// What changes whenever a file changes or is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the last change, of the content or of anything else.
    changed: (i64, i64),
}

/// A directory to watch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dir {
    /// The paths under which it is part of the folder. Links can make that several.
    pub(super) trees: BTreeSet<PathBuf>,
    /// Names in it that links in the folder lead to, with the manifest files that they are there.
    pub(super) targets: BTreeMap<OsString, BTreeSet<Arc<Path>>>,
}

impl Stamp {
    /// The stamp of a file.
    pub(super) fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Is this the name of a manifest? Hidden files are not, and neither is what editors leave behind (`web.yaml~`,
/// `#web.yaml#`, `.web.yaml.swp`).
pub(super) fn is_manifest(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    !is_hidden(name) && ["yaml", "yml", "json"].into_iter().any(|known| extension == Some(OsStr::new(known)))
}

/// Does the name begin with a dot?
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&b'.')
}

/// Looks over `folder` and its subfolders, following links. `watch` is called for each directory before it is read, so
/// that no change falls between the two.
pub(super) fn scan(folder: &Path, watch: impl FnMut(&Path) -> io::Result<()>) -> io::Result<Scan> {
    let metadata = fs::metadata(folder)?;
    if !metadata.is_dir() {
        return Err(io::Error::from(ErrorKind::NotADirectory));
    }
    let mut walk = Walk { watch, scan: Scan::default(), above: Vec::new() };
    walk.scan.identity = (metadata.dev(), metadata.ino());
    walk.dir(folder)?;
    if folder.is_symlink() {
        walk.target(folder, None);
    }
    Ok(walk.scan)
}

struct Walk<W> {
    watch: W,
    scan: Scan,
    /// The real paths of the directories that the walk is in.
    above: Vec<PathBuf>,
}

impl<W: FnMut(&Path) -> io::Result<()>> Walk<W> {
    fn dir(&mut self, path: &Path) -> io::Result<()> {
        let real = fs::canonicalize(path)?;
        // A link that leads back up: what is there is known already.
        if self.above.contains(&real) {
            return Ok(());
        }
        self.watch(&real).trees.insert(path.to_owned());
        self.above.push(real);
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in entries.inspect_err(|_| drop(self.above.pop()))? {
            if !is_hidden(&entry.file_name()) {
                self.entry(&path.join(entry.file_name()), &entry);
            }
        }
        self.above.pop();
        Ok(())
    }

    fn entry(&mut self, path: &Path, entry: &fs::DirEntry) {
        let is_link = entry.file_type().is_ok_and(|file_type| file_type.is_symlink());
        let is_manifest = is_manifest(&entry.file_name());
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => match self.dir(path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    self.scan.unread.insert(Arc::from(path), format!("cannot be read: {error}"));
                }
            },
            Ok(metadata) if is_manifest && metadata.is_file() => {
                let path: Arc<Path> = Arc::from(path);
                if is_link && let Ok(real) = fs::canonicalize(&path) {
                    self.target(&real, Some(&path));
                }
                self.scan.files.insert(path, Ok(Stamp::of(&metadata)));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound && !is_link => {}
            Err(error) if is_manifest => {
                self.scan.files.insert(Arc::from(path), Err(format!("cannot be read: {error}")));
            }
            Err(_) => {}
        }
    }

    /// Watches the directory that `real` is in, for its sake alone.
    fn target(&mut self, real: &Path, file: Option<&Arc<Path>>) {
        let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else { return };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let Ok(parent) = fs::canonicalize(parent) else { return };
        let files = self.watch(&parent).targets.entry(name.to_owned()).or_default();
        files.extend(file.cloned());
    }

    fn watch(&mut self, real: &Path) -> &mut Dir {
        if !self.scan.dirs.contains_key(real)
            && let Err(error) = (self.watch)(real)
        {
            let limit = "fs.inotify.max_user_watches limits how many can be";
            let hint = if error.kind() == ErrorKind::StorageFull { format!("; {limit}") } else { String::new() };
            let problem = format!("changes are found late: {} cannot be watched: {error}{hint}", real.display());
            self.scan.unwatched.get_or_insert(problem);
        }
        self.scan.dirs.entry(real.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests;
