//! Commands to the running agent, over a unix socket in the runtime folder that only its owner may use.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::{Question, ask, json, stuck};
use crate::plan::change::Command;

/// The socket's path.
pub fn socket(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("agent.sock")
}

/// Listens in `runtime_dir`, in place of a socket that a former agent left.
///
/// # Errors
/// As bind(2), chmod(2) and rename(2) have them.
pub fn bind(runtime_dir: &Path) -> io::Result<UnixListener> {
    // Nobody can use it before it is the owner's alone.
    let unseen = runtime_dir.join("agent.sock.new");
    match fs::remove_file(&unseen) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unseen)?;
    fs::set_permissions(&unseen, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unseen, socket(runtime_dir))?;
    Ok(listener)
}

/// Serves for ever on `listener`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) -> io::Result<()> {
    let router = Router::new()
        .route("/drain", post(drain))
        .route("/undrain", post(async |State(desk)| command(desk, Command::Undrain).await))
        .route("/confirm", post(async |State(desk)| command(desk, Command::Confirm).await))
        .route("/status", get(status));
    axum::serve(listener, router.with_state(questions)).await
}

/// `force=true` in the query: whatever becomes of the other LB nodes.
async fn drain(State(desk): State<mpsc::Sender<Question>>, RawQuery(query): RawQuery) -> Response {
    let force = match query.as_deref() {
        None | Some("" | "force=false") => false,
        Some("force=true") => true,
        Some(other) => {
            return (StatusCode::BAD_REQUEST, format!("found {other}; allowed: force=true, force=false\n"))
                .into_response();
        }
    };
    command(desk, Command::Drain { force }).await
}

/// The command is taken in; the status says what comes of it.
async fn command(desk: mpsc::Sender<Question>, command: Command) -> Response {
    match ask(&desk, |taken| Question::Command(command, taken)).await {
        Some(()) => "ok\n".into_response(),
        None => stuck(),
    }
}

async fn status(State(desk): State<mpsc::Sender<Question>>) -> Response {
    match ask(&desk, Question::Status).await {
        Some(status) => json(&status),
        None => stuck(),
    }
}
