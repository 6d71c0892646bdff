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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    use crate::plan::Status;

    /// The answer to a request, and the command that the loop was given.
    async fn ask_socket(folder: &Path, method: &str, path: &str) -> (String, Option<Command>) {
        let listener = bind(folder).unwrap();
        let (sender, mut questions) = mpsc::channel(1);
        let looping = async {
            let mut given = None;
            while let Some(question) = questions.recv().await {
                match question {
                    Question::Command(command, taken) => {
                        given = Some(command);
                        taken.send(()).unwrap();
                    }
                    Question::Status(answer) => {
                        answer.send(Status { node: "lb1".into(), ..Status::default() }).unwrap()
                    }
                    Question::Explain(asked, _) => panic!("{asked}"),
                    Question::Vouch(_) => panic!("nobody vouches over this socket"),
                }
            }
            given
        };
        let asking = async {
            let mut stream = UnixStream::connect(socket(folder)).await.unwrap();
            let request = format!("{method} {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answered = async {
            tokio::select! {
                answer = asking => answer,
                ended = serve(listener, sender) => panic!("{ended:?}"),
            }
        };
        tokio::join!(answered, looping)
    }

    #[tokio::test]
    async fn commands_are_taken_in_and_what_is_no_command_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (method, path, code, command) in [
            ("POST", "/drain", 200, Some(Command::Drain { force: false })),
            ("POST", "/drain?force=true", 200, Some(Command::Drain { force: true })),
            ("POST", "/drain?force=yes", 400, None),
            ("POST", "/undrain", 200, Some(Command::Undrain)),
            ("POST", "/confirm", 200, Some(Command::Confirm)),
            ("GET", "/drain", 405, None),
            ("GET", "/status", 200, None),
            ("GET", "/metrics", 404, None),
        ] {
            let (answer, given) = ask_socket(folder.path(), method, path).await;
            assert_eq!(answer.split(' ').nth(1).unwrap(), code.to_string(), "{method} {path}: {answer}");
            assert_eq!(given, command, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_takes_the_place_of_a_dead_one() {
        let folder = tempfile::tempdir().unwrap();
        let dead = bind(folder.path()).unwrap();
        drop(dead);
        assert!(UnixStream::connect(socket(folder.path())).await.is_err());
        let _listener = bind(folder.path()).unwrap();
        UnixStream::connect(socket(folder.path())).await.unwrap();
        let mode = socket(folder.path()).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["agent.sock"]);
    }
}
