//! What outlives a speaker: the last orders and how the lease stood, in `orders.json`. So a speaker that is started while
//! there is no agent goes on.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lease::Past;
use crate::model::orders::Orders;
use crate::runtime;

/// What is kept, as it lies in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    /// The last orders.
    pub(super) orders: Orders,
    /// Since when nobody has renewed the lease, in seconds since 1970; `None`: it is held.
    #[serde(default)]
    pub(super) silent_since: Option<i64>,
    /// Why the lease lapsed; `None`: it did not.
    #[serde(default)]
    pub(super) lapse: Option<String>,
}

impl Kept {
    /// What the lease goes on with.
    pub(super) fn past(&self) -> Past {
        match (&self.lapse, self.silent_since) {
            (Some(reason), _) => Past::Lapsed(reason.clone()),
            (None, Some(since)) => {
                let silent = Timestamp::now().as_second().saturating_sub(since);
                Past::Silent(Duration::from_secs(silent.try_into().unwrap_or_default()))
            }
            (None, None) => Past::Held,
        }
    }
}

/// The file.
pub(super) struct Store {
    path: PathBuf,
    written: Option<Kept>,
}

impl Store {
    /// That of the runtime folder `folder`.
    pub(super) fn new(folder: &Path) -> Store {
        Store { path: folder.join("orders.json"), written: None }
    }

    /// What it holds; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read or understood, as where another version of vipcast wrote it.
    pub(super) fn load(&mut self) -> io::Result<Option<Kept>> {
        let named = |why: String| io::Error::other(format!("{}: {why}", self.path.display()));
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(error.to_string())),
        };
        let kept: Kept = super::wire::parse(&text).map_err(named)?;
        self.written = Some(kept.clone());
        Ok(Some(kept))
    }

    /// Writes it, if it is other than what lies there: whole or not at all.
    ///
    /// # Errors
    /// When the folder is full or cannot be written.
    pub(super) fn save(&mut self, kept: Kept) -> io::Result<()> {
        if self.written.as_ref() == Some(&kept) {
            return Ok(());
        }
        let write = || runtime::replace(&self.path, &serde_json::to_vec(&kept)?);
        write()
            .map_err(|error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))?;
        self.written = Some(kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(seconds: u64) -> Kept {
        Kept {
            orders: Orders {
                ttl: Duration::from_secs(seconds),
                fail_static: Duration::from_secs(3600),
                owned: None,
                canaries: Vec::new(),
                undecided: false,
                bfd: [].into(),
                graceful_restart: false,
                announced_by: [].into(),
            },
            silent_since: None,
            lapse: None,
        }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::new(folder.path());
        assert_eq!(store.load().unwrap(), None);
        store.save(kept(5)).unwrap();
        store.save(Kept { lapse: Some("gone".to_owned()), ..kept(6) }).unwrap();
        let found = Store::new(folder.path()).load().unwrap().unwrap();
        assert_eq!(found.past(), Past::Lapsed("gone".to_owned()));
        assert_eq!(found.orders, kept(6).orders);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_past_is_measured_from_the_clock() {
        assert_eq!(kept(5).past(), Past::Held);
        let silent = Kept { silent_since: Some(Timestamp::now().as_second() - 1000), ..kept(5) };
        let Past::Silent(silent) = silent.past() else { panic!("{silent:?}") };
        assert!(silent >= Duration::from_secs(1000));
        // A clock that was set back.
        let ahead = Kept { silent_since: Some(i64::MAX), ..kept(5) };
        assert_eq!(ahead.past(), Past::Silent(Duration::ZERO));
    }

    #[test]
    fn a_file_of_others_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("orders.json"), "{\"orders\":{\"ttl\":5}}").unwrap();
        let error = Store::new(folder.path()).load().unwrap_err().to_string();
        assert!(error.contains("/orders.json: orders.ttl: "), "{error}");
    }
}
