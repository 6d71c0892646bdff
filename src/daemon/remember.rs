//! What an agent has to know of its predecessor's leaving: kept in the runtime folder, so that a node that was drained
//! stays drained when its agent is started anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tracing::warn;

use crate::plan::away::Saved;
use crate::runtime;

fn file(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("drain.json")
}

/// What the former agent left; nothing where there is no file. One that cannot be understood is told of, and counts as none.
pub(super) fn read(runtime_dir: &Path) -> Saved {
    let path = file(runtime_dir);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Saved::default(),
        Err(error) => {
            warn!("{}: {error}; this node counts as not drained by command", path.display());
            return Saved::default();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        warn!("{}: {error}; this node counts as not drained by command", path.display());
        Saved::default()
    })
}

/// Writes down what changes, for ever.
pub(super) async fn keep(runtime_dir: PathBuf, mut saved: watch::Receiver<Saved>) {
    while saved.changed().await.is_ok() {
        let now = *saved.borrow_and_update();
        if let Err(error) = write(&runtime_dir, now) {
            warn!("{}: {error}; the next agent will not know that this node is drained", file(&runtime_dir).display());
        }
    }
}

fn write(runtime_dir: &Path, saved: Saved) -> io::Result<()> {
    runtime::replace_durably(&file(runtime_dir), &serde_json::to_vec(&saved)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::away::Commanded;

    #[test]
    fn what_was_written_is_read_and_what_is_broken_counts_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), Saved::default());
        for commanded in [None, Some(Commanded::Asking), Some(Commanded::Forced)] {
            let saved = Saved { commanded, away: commanded.is_some(), counted_on: true };
            write(folder.path(), saved).unwrap();
            assert_eq!(read(folder.path()), saved);
        }
        // A key of a newer version.
        fs::write(file(folder.path()), r#"{"away": true, "since": 7}"#).unwrap();
        assert_eq!(read(folder.path()), Saved { away: true, ..Saved::default() });
        fs::write(file(folder.path()), "{").unwrap();
        assert_eq!(read(folder.path()), Saved::default());
    }
}
