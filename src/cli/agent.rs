//! Questions to the running agent, over its admin listener, and commands, over its socket.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// How long the agent may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the agent at `agent` answers to a GET of `path`. What it says where it does not know (404) is the error.
pub(super) async fn get<T: DeserializeOwned>(agent: SocketAddr, path: &str) -> anyhow::Result<T> {
    let asked = async {
        let stream = TcpStream::connect(agent).await.context("cannot connect")?;
        request(stream, Method::GET, path, &agent.to_string()).await
    };
    understood(&in_time(asked).await?)
}

/// The same at a unix socket.
pub(super) async fn get_at<T: DeserializeOwned>(socket: &Path, path: &str) -> anyhow::Result<T> {
    understood(&in_time(at(socket, Method::GET, path)).await?)
}

/// Has the agent at a unix socket do what a POST of `path` asks for.
pub(super) async fn post(socket: &Path, path: &str) -> anyhow::Result<()> {
    in_time(at(socket, Method::POST, path)).await.map(drop)
}

fn understood<T: DeserializeOwned>(body: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(body).context("answered in a way that this version does not understand")
}

/// The body of an answer that says that all is well.
async fn in_time(asked: impl Future<Output = anyhow::Result<(StatusCode, Vec<u8>)>>) -> anyhow::Result<Vec<u8>> {
    let (code, body) = tokio::time::timeout(PATIENCE, asked).await.context("no answer in time")??;
    let text = || String::from_utf8_lossy(&body).trim().to_owned();
    match code {
        StatusCode::NOT_FOUND => anyhow::bail!(text()),
        code if code.is_success() => Ok(body),
        code => anyhow::bail!("answered {code}: {}", text()),
    }
}

async fn at(socket: &Path, method: Method, path: &str) -> anyhow::Result<(StatusCode, Vec<u8>)> {
    let stream = UnixStream::connect(socket).await.context("cannot connect")?;
    request(stream, method, path, "agent").await
}

async fn request(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    method: Method,
    path: &str,
    host: &str,
) -> anyhow::Result<(StatusCode, Vec<u8>)> {
    let (mut sender, connection) = http1::handshake::<_, Empty<&[u8]>>(TokioIo::new(stream)).await?;
    let request = Request::builder().method(method).uri(path).header(HOST, host).body(Empty::new())?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let code = answer.status();
        Ok((code, answer.into_body().collect().await?.to_bytes().to_vec()))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection ends after the answer, or instead of it.
        ended = connection => {
            ended.context("the connection broke")?;
            answer.await
        }
    }
}
