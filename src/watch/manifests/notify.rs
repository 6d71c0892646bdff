//! What the kernel says of changes in the folder (inotify(7)), turned into files to read again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::Instant;

use super::scan::{Dir, is_hidden, is_manifest};

/// How long a file that was written to is left alone until its writer closes it. What is read before is half of what
/// the writer meant; but some writers never close.
const WRITER_PATIENCE: Duration = Duration::from_secs(30);

/// How many bytes of notifications are read at once (one is some 30 to 50), and how many times in a row: together more
/// than the kernel queues (`fs.inotify.max_queued_events` is 16384).
const BUFFER: usize = 16 * 1024;
const MOST_READS: usize = 64;

/// What has to be read again.
#[derive(Debug, Default)]
pub(super) struct Dirt {
    /// Files that changed.
    pub(super) files: BTreeSet<Arc<Path>>,
    /// Files that somebody is writing, with the time when that ends at the latest.
    pub(super) writing: BTreeMap<Arc<Path>, Instant>,
    /// The folder has to be looked over.
    pub(super) rescan: bool,
    /// Notifications were lost: any file may have changed.
    pub(super) overflow: bool,
    /// The folder itself was deleted, moved or unmounted.
    pub(super) folder_lost: bool,
}

impl Dirt {
    /// Is there anything that can be read now?
    pub(super) fn is_due(&self) -> bool {
        self.rescan || self.files.iter().any(|file| !self.writing.contains_key(file))
    }

    /// Takes the files that can be read now.
    pub(super) fn take_files(&mut self) -> BTreeSet<Arc<Path>> {
        let (later, now) =
            std::mem::take(&mut self.files).into_iter().partition(|file| self.writing.contains_key(file));
        self.files = later;
        now
    }

    /// Waits no longer for writers that took too long.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.writing.retain(|_, until| *until > now);
    }

    /// Notes what an event in `dir` means. `folder` is the folder as the operator wrote it.
    fn note(&mut self, folder: &Path, dir: &Dir, name: Option<&OsStr>, mask: EventMask, now: Instant) {
        let gone = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT | EventMask::IGNORED;
        if mask.intersects(gone) {
            self.rescan = true;
            self.folder_lost |= dir.trees.contains(folder);
            return;
        }
        let Some(name) = name else {
            self.rescan = true;
            return;
        };
        let targets = dir.targets.get(name);
        let mut files: BTreeSet<Arc<Path>> = targets.into_iter().flatten().cloned().collect();
        if is_manifest(name) && !mask.contains(EventMask::ISDIR) {
            files.extend(dir.trees.iter().map(|tree| Arc::from(tree.join(name))));
        }
        if files.is_empty() {
            // Something else than a manifest matters when it is a folder or a link. Hidden names never are, but for
            // the `..data` of a mounted ConfigMap. Where only a target is watched, other names mean nothing.
            let entries = EventMask::CREATE | EventMask::DELETE | EventMask::MOVED_FROM | EventMask::MOVED_TO;
            let matters = mask.intersects(entries | EventMask::ISDIR);
            let shown = !is_hidden(name) || name.as_encoded_bytes().starts_with(b"..");
            self.rescan |= targets.is_some() || (!dir.trees.is_empty() && matters && shown);
        }
        for file in files {
            if mask.contains(EventMask::MODIFY) {
                self.writing.entry(file.clone()).or_insert(now + WRITER_PATIENCE);
            } else if !mask.contains(EventMask::ATTRIB) {
                self.writing.remove(&file);
            }
            self.files.insert(file);
        }
    }
}

/// The kernel's notifications.
pub(super) struct Notifier {
    stream: EventStream<Vec<u8>>,
    /// The same queue, to ask it whether it is empty: `stream` learns only later what is in there.
    queue: OwnedFd,
    dirs: BTreeMap<WatchDescriptor, Dir>,
}

impl Notifier {
    /// Begins to listen. Nothing is watched yet.
    pub(super) fn new() -> io::Result<Notifier> {
        let inotify = Inotify::init()?;
        let queue = inotify.as_fd().try_clone_to_owned()?;
        Ok(Notifier { stream: inotify.into_event_stream(vec![0; BUFFER])?, queue, dirs: BTreeMap::new() })
    }

    /// What adds watches; those that are there already stay as they are.
    pub(super) fn watcher(&self) -> Watcher {
        Watcher { watches: self.stream.watches(), added: BTreeMap::new() }
    }

    /// Watches just what `watcher` added, which are the directories `dirs`.
    pub(super) fn replace(&mut self, watcher: Watcher, mut dirs: BTreeMap<PathBuf, Dir>) {
        let mut old = std::mem::take(&mut self.dirs);
        for (descriptor, path) in watcher.added {
            old.remove(&descriptor);
            if let Some(dir) = dirs.remove(&path) {
                let known: &mut Dir = self.dirs.entry(descriptor).or_default();
                known.trees.extend(dir.trees);
                known.targets.extend(dir.targets);
            }
        }
        for descriptor in old.into_keys() {
            // It fails where the kernel has dropped the watch by itself, with the directory.
            let _ = self.stream.watches().remove(descriptor);
        }
    }

    /// Waits for notifications and notes what they mean.
    pub(super) async fn changed(&mut self, folder: &Path, dirt: &mut Dirt) -> io::Result<()> {
        let mut next = self.stream.next().await;
        loop {
            let event = next.ok_or(ErrorKind::UnexpectedEof)??;
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                dirt.rescan = true;
                dirt.overflow = true;
            } else if let Some(dir) = self.dirs.get(&event.wd) {
                dirt.note(folder, dir, event.name.as_deref(), event.mask, Instant::now());
            }
            match self.stream.next().now_or_never() {
                Some(more) => next = more,
                None => return Ok(()),
            }
        }
    }

    /// Notes what all notifications mean that were given until now. A flood of new ones does not keep it for ever.
    pub(super) async fn drain(&mut self, folder: &Path, dirt: &mut Dirt) -> io::Result<()> {
        for _ in 0..MOST_READS {
            if poll(&mut [PollFd::new(&self.queue, PollFlags::IN)], Some(&Timespec::default()))? == 0 {
                break;
            }
            self.changed(folder, dirt).await?;
        }
        Ok(())
    }
}

/// Adds watches, from whatever thread looks over the folder.
pub(super) struct Watcher {
    watches: Watches,
    added: BTreeMap<WatchDescriptor, PathBuf>,
}

impl Watcher {
    /// Watches the directory at the real path `dir`.
    pub(super) fn watch(&mut self, dir: &Path) -> io::Result<()> {
        let entries = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE;
        let files = WatchMask::MODIFY | WatchMask::CLOSE_WRITE | WatchMask::ATTRIB;
        let itself = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR;
        self.added.insert(self.watches.add(dir, entries | files | itself)?, dir.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
