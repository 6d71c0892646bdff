//! Questions to the running agent, over its admin listener.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

/// How long the agent may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the agent at `agent` answers to a GET of `path`. What it says where it does not know (404) is the error.
pub(super) async fn get<T: DeserializeOwned>(agent: SocketAddr, path: &str) -> anyhow::Result<T> {
    let (code, body) = tokio::time::timeout(PATIENCE, request(agent, path)).await.context("no answer in time")??;
    let text = || String::from_utf8_lossy(&body).trim().to_owned();
    match code {
        StatusCode::NOT_FOUND => anyhow::bail!(text()),
        code if code.is_success() => {
            serde_json::from_slice(&body).context("answered in a way that this version does not understand")
        }
        code => anyhow::bail!("answered {code}: {}", text()),
    }
}

async fn request(agent: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, Vec<u8>)> {
    let stream = TcpStream::connect(agent).await.context("cannot connect")?;
    let (mut sender, connection) = http1::handshake::<_, Empty<&[u8]>>(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(HOST, agent.to_string()).body(Empty::new())?;
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
