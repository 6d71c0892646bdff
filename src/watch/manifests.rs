//! A folder of manifests as a source: Services, EndpointSlices, Nodes and ServiceCIDRs as `kubectl get -o yaml` prints
//! them, in `*.yaml`, `*.yml` and `*.json` files, alone, several in a file, or in Lists; subfolders and links included,
//! hidden names not. Objects of other kinds are ignored.
//!
//! The folder is the truth, and it is watched. What happens when the truth cannot be read follows from one rule, that
//! nothing is removed unless it is known to be gone:
//!
//! - A file that does not parse, is empty, or cannot be opened keeps what it held before, until it is well again or
//!   deleted. An object in a readable file that is not understood hurts only itself. Where it cannot even be said which
//!   object is wrong, the file's other objects count, and none that it held before goes.
//! - The first list is complete when the folder can be read and at least one of its manifests can. An empty folder is
//!   taken for one that is not filled yet (a volume not mounted, a checkout not done); who means "no Services" writes an
//!   empty List. Broken files beside a good one are named and hold up nothing.
//! - A folder that goes away, or is replaced by another one, changes nothing until a manifest in it can be read again.
//! - A folder that empties while it is watched is believed: those files were deleted.
//!
//! Files are read when they were quiet for a moment, and not while somebody writes them (opened, written, not closed).
//! Only files that changed are read again, and only objects that changed are told. An object may move from file to
//! file; of two files that hold it the first one by name counts.

mod document;
mod file;
mod ledger;
mod notify;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::info;

use self::document::Content;
use self::file::{Found, open};
use self::ledger::{Changes, Ledger};
use self::notify::{Dirt, Notifier};
use self::scan::Stamp;
use super::{Closed, tell};
use crate::model::Event;
use crate::plan::Change;

/// A burst of changes is over when nothing happened for `quiet`, and is read after `longest` in any case.
#[derive(Debug, Clone, Copy)]
struct Patience {
    quiet: Duration,
    longest: Duration,
}

/// Editors, `cp -r` and `kubectl get … > file` are done within this.
const BURST: Patience = Patience { quiet: Duration::from_millis(50), longest: Duration::from_millis(500) };
/// A folder that came back is likely being filled; reading half of it would remove the other half.
const REFILL: Patience = Patience { quiet: Duration::from_millis(500), longest: Duration::from_secs(10) };

/// How often the folder is looked over without a notification: they do not tell what another machine writes to a network
/// file system, or that a link far outside the folder was changed.
const LOOK: Duration = Duration::from_secs(30);
/// The same while the folder is not there, or not everything in it could be read or watched.
const LOOK_SOON: Duration = Duration::from_secs(1);

/// How many times in a row files are read again because something changed meanwhile. Reading again makes sure that what
/// is told was in the folder at one time, so that an object that moves between files is seen in one of them.
const ROUNDS: usize = 5;

/// Tells what the manifests in `folder` hold, and from then on what changes, as [`watch`](super) promises. `node` is
/// the name of this node's own Node. Returns when nobody listens any more.
pub async fn watch(folder: PathBuf, node: String, changes: Sender<Change>) {
    let Err(Closed) = Source::new(Arc::from(folder), Arc::from(node), changes).run().await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first list is not complete.
    Unlisted,
    /// The folder is read and watched.
    Live,
    /// The folder went away, or another one took its place.
    Lost,
}

struct Source {
    folder: Arc<Path>,
    node: Arc<str>,
    changes: Sender<Change>,
    /// `None`: there is none yet, or it failed.
    notifier: Option<Notifier>,
    dirt: Dirt,
    ledger: Ledger,
    /// Files that were read, as they were then.
    stamps: BTreeMap<Arc<Path>, Stamp>,
    /// Kinds that are not read, as they were logged.
    others: BTreeMap<Arc<Path>, BTreeSet<String>>,
    /// Subfolders that could not be read.
    unread: BTreeSet<Arc<Path>>,
    /// Why not everything is watched.
    unwatched: Option<String>,
    /// The folder that was read last.
    identity: Option<(u64, u64)>,
    phase: Phase,
    /// What was read and waits to be told.
    staged: Changes,
    /// What waits to be sent.
    events: Vec<Event>,
}

impl Source {
    fn new(folder: Arc<Path>, node: Arc<str>, changes: Sender<Change>) -> Source {
        Source {
            folder,
            node,
            changes,
            notifier: None,
            dirt: Dirt { rescan: true, ..Dirt::default() },
            ledger: Ledger::default(),
            stamps: BTreeMap::new(),
            others: BTreeMap::new(),
            unread: BTreeSet::new(),
            unwatched: None,
            identity: None,
            phase: Phase::Unlisted,
            staged: Changes::new(),
            events: Vec::new(),
        }
    }

    async fn run(mut self) -> Result<Infallible, Closed> {
        loop {
            self.pass().await;
            for event in mem::take(&mut self.events) {
                tell(&self.changes, event).await?;
            }
            self.wait().await?;
        }
    }

    /// Reads what changed, and decides what there is to tell.
    async fn pass(&mut self) {
        // As long as the folder is not believed, it is judged as a whole.
        self.dirt.rescan |= self.phase != Phase::Live;
        for _ in 0..ROUNDS {
            if mem::take(&mut self.dirt.rescan) {
                if let Err(problem) = self.look().await {
                    self.lose();
                    return self.note(&self.folder.clone(), Some(problem));
                }
                match self.phase {
                    Phase::Live => {}
                    Phase::Unlisted => self.settle(BURST).await,
                    Phase::Lost => self.settle(REFILL).await,
                }
            }
            self.read().await;
            self.drain().await;
            if !self.dirt.is_due() {
                break;
            }
        }
        self.conclude();
    }

    /// Looks over the folder. Files that changed become dirt; what is gone or cannot be read is staged.
    async fn look(&mut self) -> Result<(), String> {
        let listening = match self.notifier.take() {
            Some(notifier) => Ok(notifier),
            None => Notifier::new().map_err(|error| format!("changes are found late: inotify: {error}")),
        };
        let mut watcher = listening.as_ref().map(Notifier::watcher).ok();
        let folder = self.folder.clone();
        let (scan, watcher) = blocking(move || {
            let scan = scan::scan(&folder, |dir| watcher.as_mut().map_or(Ok(()), |watcher| watcher.watch(dir)));
            (scan, watcher)
        })
        .await;
        // Where the folder is not there, nothing is left to listen to: what is watched is another folder by now.
        let scan = scan.map_err(|error| format!("cannot be read: {error}"))?;
        match (listening, watcher) {
            (Ok(mut notifier), Some(watcher)) => {
                notifier.replace(watcher, scan.dirs);
                self.notifier = Some(notifier);
                self.unwatched = scan.unwatched;
            }
            (Ok(_), None) => {}
            (Err(problem), _) => self.unwatched = Some(problem),
        }
        if mem::take(&mut self.dirt.folder_lost) || self.identity.is_some_and(|known| known != scan.identity) {
            self.lose();
        }
        self.identity = Some(scan.identity);
        if mem::take(&mut self.dirt.overflow) {
            self.stamps.clear();
        }
        self.stage(scan.files, &scan.unread);
        for well in self.unread.iter().filter(|dir| !scan.unread.contains_key(*dir)).cloned().collect::<Vec<_>>() {
            self.note(&well, None);
        }
        self.unread = scan.unread.keys().cloned().collect();
        for (dir, problem) in scan.unread {
            self.note(&dir, Some(problem));
        }
        Ok(())
    }

    /// Compares the files that there are with those that are known.
    fn stage(&mut self, files: BTreeMap<Arc<Path>, Result<Stamp, String>>, unread: &BTreeMap<Arc<Path>, String>) {
        let is_out_of_sight = |path: &Path| unread.keys().any(|dir| path.starts_with(dir));
        let is_gone = |path: &Arc<Path>| !files.contains_key(path) && !is_out_of_sight(path);
        self.staged.retain(|path, _| !is_gone(path));
        self.staged.extend(self.ledger.files().filter(|path| is_gone(path)).map(|path| (path.clone(), None)));
        self.stamps.retain(|path, _| !is_gone(path));
        for (path, stamp) in files {
            match stamp {
                Ok(stamp) if self.stamps.get(&path) == Some(&stamp) => {}
                Ok(_) => {
                    self.dirt.files.insert(path);
                }
                Err(problem) => {
                    self.stamps.remove(&path);
                    self.staged.insert(path, Some(Content::unreadable(problem)));
                }
            }
        }
    }

    /// Reads the files that changed and stages what they hold.
    async fn read(&mut self) {
        let files = self.dirt.take_files();
        if files.is_empty() {
            return;
        }
        let node = self.node.clone();
        let found = blocking(move || files.into_iter().map(|path| (open(&path, &node), path)).collect::<Vec<_>>());
        for (found, path) in found.await {
            self.stamps.remove(&path);
            let content = match found {
                Found::File { content, stamp, is_link } => {
                    self.stamps.extend(stamp.map(|stamp| (path.clone(), stamp)));
                    // It may lead elsewhere than before, and that has to be watched.
                    self.dirt.rescan |= is_link;
                    Some(content)
                }
                Found::Nothing => None,
                Found::SomethingElse => {
                    self.dirt.rescan = true;
                    None
                }
            };
            self.staged.insert(path, content);
        }
    }

    /// Decides what to tell of what was staged.
    fn conclude(&mut self) {
        let waiting = self.phase != Phase::Live;
        let is_known = |path: &Arc<Path>| self.staged.contains_key(path) || self.ledger.is_readable(path);
        if waiting && !self.dirt.writing.keys().all(is_known) {
            // Somebody writes a file that was never read. The list is not complete without it.
            return;
        }
        let mut staged = mem::take(&mut self.staged);
        let problem = if waiting { self.nothing_to_go_by(&staged) } else { None };
        if problem.is_some() {
            staged.retain(|_, content| content.is_some());
        }
        self.log_others(&staged);
        self.note(&self.folder.clone(), problem.clone().or_else(|| self.unwatched.clone()));
        let events = self.ledger.update(staged);
        match self.phase {
            Phase::Live | Phase::Lost => self.events.extend(events),
            // Objects are told by the list.
            Phase::Unlisted => {
                self.events.extend(events.into_iter().filter(|event| matches!(event, Event::Trouble { .. })));
                if problem.is_none() {
                    self.events.extend(self.ledger.list());
                }
            }
        }
        if waiting && problem.is_none() {
            self.phase = Phase::Live;
            let (files, objects) = (self.ledger.files().count(), self.ledger.object_count());
            info!(folder = %self.folder.display(), files, objects, "manifests read");
        }
    }

    /// Why the folder is not to be believed yet, with what is staged: no manifest in it can be read.
    fn nothing_to_go_by(&self, staged: &Changes) -> Option<String> {
        let kept =
            self.ledger.files().filter(|path| !staged.contains_key(*path)).map(|path| self.ledger.is_readable(path));
        let read = staged.values().flatten().map(|content| content.readable);
        let readable: Vec<bool> = kept.chain(read).collect();
        match readable.as_slice() {
            [] => Some("holds no manifest (*.yaml, *.yml, *.json)".to_owned()),
            files if files.iter().any(|readable| *readable) => None,
            files => Some(format!("holds no manifest that can be read; {} cannot", files.len())),
        }
    }

    /// The folder is not what it was. Nothing is gone because of that, and all is read again when it is back.
    fn lose(&mut self) {
        if self.phase == Phase::Live {
            self.phase = Phase::Lost;
        }
        self.stamps.clear();
        self.staged.clear();
        self.dirt.files.clear();
        self.dirt.writing.clear();
    }

    /// Waits until something changed and the burst is over, or until it is time to look without having been told.
    async fn wait(&mut self) -> Result<(), Closed> {
        let all_in_sight = self.phase == Phase::Live && self.unwatched.is_none() && self.unread.is_empty();
        let look = Instant::now() + if all_in_sight { LOOK } else { LOOK_SOON };
        while !self.dirt.is_due() {
            let until = self.dirt.writing.values().copied().chain([look]).min().unwrap_or(look);
            tokio::select! {
                () = changed(&mut self.notifier, &self.folder, &mut self.dirt) => {}
                () = sleep_until(until) => {}
                () = self.changes.closed() => return Err(Closed),
            }
            self.dirt.give_up(Instant::now());
            self.dirt.rescan |= Instant::now() >= look;
        }
        self.settle(BURST).await;
        Ok(())
    }

    /// Waits until a burst of changes is over.
    async fn settle(&mut self, patience: Patience) {
        let end = Instant::now() + patience.longest;
        loop {
            let quiet = (Instant::now() + patience.quiet).min(end);
            let next = changed(&mut self.notifier, &self.folder, &mut self.dirt);
            if timeout_at(quiet, next).await.is_err() || Instant::now() >= end {
                return;
            }
        }
    }

    /// Notes the changes that were notified already.
    async fn drain(&mut self) {
        if let Some(notifier) = &mut self.notifier
            && notifier.drain(&self.folder, &mut self.dirt).await.is_err()
        {
            self.notifier = None;
            self.dirt.rescan = true;
        }
    }

    fn note(&mut self, path: &Arc<Path>, problem: Option<String>) {
        self.events.extend(self.ledger.note(path, problem));
    }

    /// Logs kinds that are not read, once for each file.
    fn log_others(&mut self, staged: &Changes) {
        for (path, content) in staged {
            match content {
                None => {
                    self.others.remove(path);
                }
                Some(content) => {
                    for kind in &content.others {
                        if self.others.entry(path.clone()).or_default().insert(kind.clone()) {
                            info!(file = %path.display(), kind, "objects of this kind are not read");
                        }
                    }
                }
            }
        }
    }
}

/// Waits for notifications. Where there is no notifier, there are none.
async fn changed(notifier: &mut Option<Notifier>, folder: &Path, dirt: &mut Dirt) {
    let Some(listening) = notifier else { return std::future::pending().await };
    if listening.changed(folder, dirt).await.is_err() {
        *notifier = None;
        dirt.rescan = true;
    }
}

/// Does something that may wait for a disk, or take long, away from the tasks that must not.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down, and this task with it.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests;
