//! A speaker that takes its own place, as after an upgrade of the program: no session notices.
//!
//! The process stays the same one and runs the program anew, so gobgpd keeps its parent, and whoever looks after the speaker
//! sees nothing end. BFD's other sides are asked to wait for it.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::timeout;
use tracing::{error, info};

use super::sessions::Sessions;

/// How long the other sides of BFD sessions have to wait: a program starts in less than a second, on a machine that is not
/// overloaded.
const SILENCE: Duration = Duration::from_secs(10);

/// How long the program may take to say that it could start.
const REHEARSAL: Duration = Duration::from_secs(10);

/// The option of `vipcast speaker` that asks for that.
const CHECK: &str = "--check";

/// What the kernel appends to the path of a program that was replaced (`d_path` in fs/d_path.c).
const REPLACED: &str = " (deleted)";

/// Runs the program anew in this process; returns only where that is not possible, and all goes on as before.
pub(super) async fn hand_over(sessions: &Sessions) {
    let program = program();
    if let Err(problem) = rehearse(&program).await {
        error!("not started anew: {}: {problem}", program.display());
        return;
    }
    info!("told to start anew: asking the other sides of BFD sessions to wait");
    if let Err(problem) = sessions.prepare_hand_over(SILENCE).await {
        error!("not started anew: {problem}");
        return;
    }
    info!(program = %program.display(), "starting anew");
    let failure = Command::new(&program).args(env::args_os().skip(1)).exec();
    error!("not started anew: {}: {failure}", program.display());
    sessions.stay().await;
}

/// Could the program start, with the configuration as it is now? One that could not would leave the sessions to nobody.
async fn rehearse(program: &Path) -> Result<(), String> {
    let mut trial = tokio::process::Command::new(program);
    trial.args(env::args_os().skip(1)).arg(CHECK).stdin(Stdio::null()).kill_on_drop(true);
    let ended = timeout(REHEARSAL, trial.output()).await.map_err(|_| format!("{CHECK} does not end"))?;
    let ended = ended.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&ended.stderr);
    // An older program does not know the option.
    if ended.status.success() || said.contains(&format!("'{CHECK}'")) {
        return Ok(());
    }
    let said = said.trim().trim_start_matches("vipcast: ");
    Err(if said.is_empty() { ended.status.to_string() } else { said.to_owned() })
}

/// The program that lies where this one was started from.
fn program() -> PathBuf {
    let own = PathBuf::from("/proc/self/exe");
    let Ok(found) = std::fs::read_link(&own) else { return own };
    let found = found.to_string_lossy();
    let path = Path::new(found.strip_suffix(REPLACED).unwrap_or(&found));
    if path.exists() { path.to_owned() } else { own }
}
