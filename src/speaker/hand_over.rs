//! A speaker that takes its own place, as after an upgrade of the program: no session notices.
//!
//! The process stays the same one and runs the program anew, so gobgpd keeps its parent, and whoever looks after the speaker
//! sees nothing end. BFD's other sides are asked to wait for it.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tracing::{error, info};

use super::sessions::Sessions;

/// How long the other sides of BFD sessions have to wait: a program starts in less than a second, on a machine that is not
/// overloaded.
const SILENCE: Duration = Duration::from_secs(10);

/// What the kernel appends to the path of a program that was replaced (`d_path` in fs/d_path.c).
const REPLACED: &str = " (deleted)";

/// Runs the program anew in this process; returns only where that is not possible, and all goes on as before.
pub(super) async fn hand_over(sessions: &Sessions) {
    info!("told to start anew: asking the other sides of BFD sessions to wait");
    if let Err(problem) = sessions.prepare_hand_over(SILENCE).await {
        error!("not started anew: {problem}");
        return;
    }
    let program = program();
    info!(program = %program.display(), "starting anew");
    let failure = Command::new(&program).args(env::args_os().skip(1)).exec();
    error!("not started anew: {}: {failure}", program.display());
    sessions.stay().await;
}

/// The program that lies where this one was started from.
fn program() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    let Ok(found) = std::fs::read_link(&own) else { return own };
    let found = found.to_string_lossy();
    let path = Path::new(found.strip_suffix(REPLACED).unwrap_or(&found));
    if path.exists() { path.to_owned() } else { own }
}
