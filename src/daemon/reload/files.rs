//! Whether files may have changed, by what the kernel says of their folders (inotify(7)).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long it has to be quiet before files are read: an editor writes, renames and deletes in one go.
const QUIET: Duration = Duration::from_millis(200);

/// How long somebody who writes to a file is waited for.
const WRITER_PATIENCE: Duration = Duration::from_secs(10);

/// How many bytes of notifications are read at once.
const BUFFER: usize = 4096;

/// How many links in a row are followed, as the kernel does (`MAXSYMLINKS` in `include/linux/namei.h`).
const MOST_LINKS: usize = 40;

/// What decides about the content of some files: names in folders, each of a file or of a link on the way to it. A mounted
/// ConfigMap changes by a link that its files lead through.
pub(super) type Places = BTreeMap<PathBuf, BTreeSet<OsString>>;

/// The places of `files`.
pub(super) fn places(files: &BTreeSet<PathBuf>) -> Places {
    let mut places = Places::new();
    for file in files {
        let mut path = file.clone();
        for _ in 0..MOST_LINKS {
            let link = path.ancestors().collect::<Vec<_>>().into_iter().rev().find_map(|part| {
                let target = std::fs::read_link(part).ok()?;
                Some((part.to_owned(), target))
            });
            let (part, next) = match link {
                Some((part, target)) => {
                    let rest = path.strip_prefix(&part).unwrap_or(Path::new(""));
                    let target = part.parent().unwrap_or(Path::new("/")).join(target);
                    let next = if rest.as_os_str().is_empty() { target } else { target.join(rest) };
                    (part, Some(next))
                }
                None => (path.clone(), None),
            };
            if let (Some(folder), Some(name)) = (part.parent(), part.file_name()) {
                places.entry(folder.to_owned()).or_default().insert(name.to_owned());
            }
            match next {
                Some(next) => path = next,
                None => break,
            }
        }
    }
    places
}

/// The kernel's notifications of some places.
pub(super) struct Files {
    stream: EventStream<Vec<u8>>,
    watched: BTreeMap<WatchDescriptor, BTreeSet<OsString>>,
}

impl Files {
    pub(super) fn new() -> io::Result<Files> {
        let stream = Inotify::init()?.into_event_stream(vec![0; BUFFER])?;
        Ok(Files { stream, watched: BTreeMap::new() })
    }

    /// Watches just these places. A folder that cannot be watched is left out.
    pub(super) fn watch(&mut self, places: &Places) {
        let entries = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE;
        let contents = WatchMask::MODIFY | WatchMask::CLOSE_WRITE | WatchMask::ATTRIB;
        let mut watches = self.stream.watches();
        let mut watched: BTreeMap<_, BTreeSet<OsString>> = BTreeMap::new();
        for (folder, names) in places {
            if let Ok(descriptor) = watches.add(folder, entries | contents | WatchMask::ONLYDIR) {
                watched.entry(descriptor).or_default().extend(names.iter().cloned());
            }
        }
        for (descriptor, _) in std::mem::replace(&mut self.watched, watched) {
            if !self.watched.contains_key(&descriptor) {
                // It fails where the kernel has dropped the watch by itself, with the folder.
                let _ = watches.remove(descriptor);
            }
        }
    }

    /// Waits until something changed, whoever writes is done, and it has been quiet for a moment.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        let mut writing = BTreeSet::new();
        while !self.next(&mut writing).await? {}
        let patience = Instant::now() + WRITER_PATIENCE;
        loop {
            let until = if writing.is_empty() { (Instant::now() + QUIET).min(patience) } else { patience };
            match timeout_at(until, self.next(&mut writing)).await {
                Ok(next) => _ = next?,
                Err(_) => return Ok(()),
            }
        }
    }

    /// Waits for the next notification. Is it about one of the places?
    async fn next(&mut self, writing: &mut BTreeSet<(WatchDescriptor, OsString)>) -> io::Result<bool> {
        let event = self.stream.next().await.ok_or(ErrorKind::UnexpectedEof)??;
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            return Ok(true);
        }
        let Some(names) = self.watched.get(&event.wd) else { return Ok(false) };
        let Some(name) = event.name else { return Ok(true) };
        if !names.contains(&name) {
            return Ok(false);
        }
        if event.mask.contains(EventMask::MODIFY) {
            writing.insert((event.wd, name));
        } else if !event.mask.contains(EventMask::ATTRIB) {
            writing.remove(&(event.wd, name));
        }
        Ok(true)
    }
}

/// Waits for the next change; without notifications, for the time when files are looked at all the same.
pub(super) async fn changed(files: Option<&mut Files>, at_the_latest: Instant) {
    let told = async {
        match files {
            Some(files) => {
                if files.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            None => std::future::pending::<()>().await,
        }
    };
    tokio::select! {
        () = told => {}
        () = sleep_until(at_the_latest) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    #[test]
    fn links_on_the_way_count() {
        let (_folder, root) = folder();
        std::fs::create_dir(root.join("..1")).unwrap();
        std::fs::write(root.join("..1/vipcast.yaml"), "").unwrap();
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/vipcast.yaml", root.join("vipcast.yaml")).unwrap();
        let names = |names: &[&str]| names.iter().map(OsString::from).collect::<BTreeSet<_>>();
        let found = places(&[root.join("vipcast.yaml"), root.join("missing")].into());
        let expected = Places::from([
            (root.clone(), names(&["..data", "missing", "vipcast.yaml"])),
            (root.join("..1"), names(&["vipcast.yaml"])),
        ]);
        assert_eq!(found, expected);
        symlink("round", root.join("round")).unwrap();
        assert_eq!(places(&[root.join("round")].into()), Places::from([(root, names(&["round"]))]));
    }

    #[tokio::test]
    async fn whatever_changes_a_file_is_noticed_and_nothing_else() {
        let (_folder, root) = folder();
        let file = root.join("vipcast.yaml");
        std::fs::write(&file, "one").unwrap();
        let mut files = Files::new().unwrap();
        files.watch(&places(&[file.clone()].into()));
        let changes: [&dyn Fn(); 4] = [
            &|| std::fs::write(&file, "two").unwrap(),
            &|| {
                std::fs::write(root.join("new"), "three").unwrap();
                std::fs::rename(root.join("new"), &file).unwrap();
            },
            &|| std::fs::remove_file(&file).unwrap(),
            &|| symlink("other", &file).unwrap(),
        ];
        for change in changes {
            change();
            files.changed().await.unwrap();
        }
        std::fs::write(root.join("other"), "four").unwrap();
        let mut writing = BTreeSet::new();
        assert!(!files.next(&mut writing).await.unwrap(), "a link's target is not watched before it is told of");
    }
}
