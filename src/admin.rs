//! The HTTP listener: health, metrics, status. Read-only; each answer is asked of the deciding loop, so that an answer
//! proves that it turns.

pub mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use self::metrics::Metrics;
use crate::plan::Status;

/// A question to the deciding loop: it answers with how things stand.
pub type Question = oneshot::Sender<Status>;

/// How long the loop may take for an answer before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the handlers share.
#[derive(Clone)]
struct Desk {
    questions: mpsc::Sender<Question>,
    metrics: Arc<Metrics>,
}

impl Desk {
    async fn status(&self) -> Option<Status> {
        let (answer, status) = oneshot::channel();
        let asked = async {
            self.questions.send(answer).await.ok()?;
            status.await.ok()
        };
        tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
    }
}

/// Binds the listener, so that a taken address stops the start.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves for ever on `listener`.
pub async fn serve(
    listener: TcpListener,
    questions: mpsc::Sender<Question>,
    metrics: Arc<Metrics>,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .route("/status", get(status))
        .with_state(Desk { questions, metrics });
    axum::serve(listener, router).await
}

fn stuck() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the deciding loop does not answer\n").into_response()
}

/// 200 while the loop turns.
async fn livez(State(desk): State<Desk>) -> Response {
    match desk.status().await {
        Some(_) => "ok\n".into_response(),
        None => stuck(),
    }
}

/// 200 while the node does its job; else 503 and the reasons, one a line.
async fn readyz(State(desk): State<Desk>) -> Response {
    match desk.status().await {
        Some(status) if status.ready => "ok\n".into_response(),
        Some(status) => (StatusCode::SERVICE_UNAVAILABLE, status.reasons.join("\n") + "\n").into_response(),
        None => stuck(),
    }
}

async fn render_metrics(State(desk): State<Desk>) -> Response {
    let Some(status) = desk.status().await else { return stuck() };
    match desk.metrics.render(&status) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn status(State(desk): State<Desk>) -> Response {
    let Some(status) = desk.status().await else { return stuck() };
    match serde_json::to_string(&status) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
