//! Logs that do not grow for ever: the runtime folder is usually in memory.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tracing::warn;

/// A log that is larger becomes the old log.
const LIMIT: u64 = 1 << 20;

/// The longest last line that is told.
const LINE: u64 = 400;

/// What gobgpd says.
pub(super) fn of_gobgpd(folder: &Path) -> PathBuf {
    folder.join("gobgpd.log")
}

/// What a speaker says that the agent started.
pub(super) fn of_speaker(folder: &Path) -> PathBuf {
    folder.join("speaker.log")
}

/// A log from here on.
pub(super) struct Log {
    file: File,
    begin: u64,
}

impl Log {
    /// Opens the log to append to it.
    pub(super) fn open(path: &Path) -> io::Result<Log> {
        let file = File::options().read(true).append(true).create(true).open(path)?;
        let begin = file.metadata()?.len();
        Ok(Log { file, begin })
    }

    /// For a process to write to.
    pub(super) fn writer(&self) -> io::Result<Stdio> {
        self.file.try_clone().map(Stdio::from)
    }

    /// The last line that was written since it was opened, or the end of it.
    pub(super) fn last_line(&mut self) -> Option<String> {
        let length = self.file.metadata().ok()?.len();
        // A log that was emptied since is wholly new.
        let begin = if length < self.begin { 0 } else { self.begin };
        self.file.seek(SeekFrom::Start(begin.max(length.saturating_sub(LINE)))).ok()?;
        let mut bytes = Vec::new();
        self.file.by_ref().take(LINE).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        text.lines().rfind(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
    }
}

/// Looks after the logs in `folder`, each `period`.
pub(super) async fn keep_small(folder: &Path, period: Duration) -> Infallible {
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        for log in [of_gobgpd(folder), of_speaker(folder)] {
            match shorten(&log, LIMIT) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => warn!("{}: {error}", log.display()),
                _ => {}
            }
        }
    }
}

/// Moves what is in the log to the old log if it is longer than `limit`. The file stays the same one, since a process
/// has it open; what is written between copying and emptying is lost.
fn shorten(log: &Path, limit: u64) -> io::Result<()> {
    if log.metadata()?.len() <= limit {
        return Ok(());
    }
    let mut old = log.as_os_str().to_owned();
    old.push(".old");
    std::fs::copy(log, old)?;
    File::options().write(true).open(log)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_long_log_becomes_the_old_one_and_its_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::open(&path).unwrap();
        log.file.write_all(b"12345").unwrap();
        shorten(&path, 5).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "12345");

        log.file.write_all(b"6").unwrap();
        shorten(&path, 5).unwrap();
        log.file.write_all(b"7").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "7");
        assert_eq!(std::fs::read_to_string(folder.path().join("log.old")).unwrap(), "123456");
        assert_eq!(shorten(&folder.path().join("none"), 5).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn last_words_are_those_since_the_log_was_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "before\n").unwrap();
        let mut log = Log::open(&path).unwrap();
        assert_eq!(log.last_line(), None);
        log.file.write_all(b"one\ntwo\n\n").unwrap();
        assert_eq!(log.last_line().as_deref(), Some("two"));
        log.file.write_all(format!("begin {} end", "x".repeat(1000)).as_bytes()).unwrap();
        let line = log.last_line().unwrap();
        assert!(line.len() == 400 && line.ends_with("x end"), "{line}");
        log.file.set_len(0).unwrap();
        log.file.write_all(b"new\n").unwrap();
        assert_eq!(log.last_line().as_deref(), Some("new"));
    }
}
