//! The configuration file as it changes: an edit touches just what it changes, and one that is wrong changes nothing.

mod files;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc::Sender;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{info, warn};

use self::files::{Files, Places};
use crate::config::{self, Config, ConfigError};
use crate::plan::Change;
use crate::plan::change::Loaded;

/// How often the files are read even if nobody says that they changed: notifications can fail, as on a network's file
/// system.
const PERIOD: Duration = Duration::from_secs(30);

/// How often the places of files may move while they are read before that is taken for rest.
const MOST_MOVES: usize = 3;

/// What is in force, and what was told of it.
struct Reloader {
    config: Config,
    told: Loaded,
    changes: Sender<Change>,
}

/// Follows the file of `config`, with which the agent was started, and the password files that it names; looks at them at
/// once when `hangup` (SIGHUP) comes. Returns when nobody listens any more.
pub(super) async fn follow(config: Config, mut hangup: Signal, changes: Sender<Change>) {
    let loaded = Loaded { file: config.file.display().to_string(), at: Timestamp::now().as_second(), problem: None };
    if changes.send(Change::Loaded(loaded.clone())).await.is_err() {
        return;
    }
    let mut reloader = Reloader { config, told: loaded, changes };
    let mut notifier = match Files::new() {
        Ok(files) => Some(files),
        Err(error) => {
            warn!("no notifications of changed files: {error}; the configuration is read every {} s", PERIOD.as_secs());
            None
        }
    };
    let mut places = Places::new();
    loop {
        for _ in 0..MOST_MOVES {
            let Some(files) = reloader.look().await else { return };
            let now = files::places(&files);
            if now == places {
                break;
            }
            // What changed before they were watched nobody has told.
            notifier.iter_mut().for_each(|notifier| notifier.watch(&now));
            places = now;
        }
        tokio::select! {
            () = files::changed(notifier.as_mut(), Instant::now() + PERIOD) => {}
            Some(()) = hangup.recv() => info!("SIGHUP: looking at the configuration"),
            () = reloader.changes.closed() => return,
        }
    }
}

impl Reloader {
    /// Reads the files, tells what is other than before, and answers which files they are; `None` once nobody listens.
    async fn look(&mut self) -> Option<BTreeSet<PathBuf>> {
        let file = self.config.file.clone();
        let read = move || config::load_with_files(&file, &|name| std::env::var(name).ok());
        let (config, files) = spawn_blocking(read).await.ok()?;
        for change in self.take(config, Timestamp::now().as_second()) {
            self.changes.send(change).await.ok()?;
        }
        Some(files)
    }

    /// What follows from what the file says at `now`, in seconds since 1970.
    fn take(&mut self, read: Result<Config, ConfigError>, now: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut told = self.told.clone();
        match read {
            Ok(edited) => {
                let (merged, waiting) = self.config.reloaded(edited);
                let wait = format!("waits for a restart of the agent: {}", waiting.join(", "));
                told.problem = Some(wait).filter(|_| !waiting.is_empty());
                if merged != self.config || self.told.problem.is_some() && told.problem != self.told.problem {
                    told.at = now;
                    info!(file = told.file, "configuration loaded");
                }
                if merged.settings != self.config.settings {
                    changes.push(Change::Settings(Box::new(merged.settings.clone())));
                }
                self.config = merged;
            }
            Err(error) => told.problem = Some(format!("{error}; what was loaded before stays in force")),
        }
        if let Some(problem) = told.problem.as_ref().filter(|_| told.problem != self.told.problem) {
            warn!("configuration: {problem}");
        }
        if told != self.told {
            changes.push(Change::Loaded(told.clone()));
            self.told = told;
        }
        changes
    }
}

#[cfg(test)]
mod tests;
