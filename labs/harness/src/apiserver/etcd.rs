//! etcd: its lives, and what only its own API can do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Client;
use kube::config::Config;
use serde_json::{Value, json};

use super::{ControlPlane, locked};
use crate::wait_until;

/// How long etcd may take to start; it takes half a second on a real machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl ControlPlane {
    /// Its address, for clients.
    pub fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port)
    }

    /// Starts etcd, over the data of its former life if it had one, and waits until it serves.
    pub fn start_etcd(&self) -> Result<()> {
        let mut command = std::process::Command::new(self.shared.programs.etcd());
        let url = self.etcd_url();
        // It never talks to a peer, but wants to listen for one. Without fsync, since what it holds dies with the machine.
        command.arg("--data-dir").arg(self.shared.folder.join("etcd"));
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", "http://127.0.0.1:0", "--unsafe-no-fsync", "--log-level", "warn"]);
        let etcd = self.shared.spawn("etcd", command)?;
        wait_until(PATIENCE, "etcd", || {
            ensure!(etcd.daemon().ended()?.is_none(), "it ended: {}", etcd.daemon().log());
            self.etcd_call("maintenance/status", json!({})).map(|_| true)
        })?;
        *locked(&self.etcd) = Some(etcd);
        Ok(())
    }

    /// Kills etcd; what it holds stays on disk.
    pub fn stop_etcd(&self) {
        *locked(&self.etcd) = None;
    }

    /// Removes all history before now: watches that stand at an older resource version get `410 Gone`, unless an API
    /// server still remembers (its watch cache does, until it is restarted). Answers with the revision.
    pub fn compact(&self) -> Result<i64> {
        let status = self.etcd_call("maintenance/status", json!({}))?;
        let revision = status["header"]["revision"].as_str().context("etcd tells no revision")?.to_owned();
        self.etcd_call("kv/compaction", json!({ "revision": revision, "physical": true }))?;
        revision.parse().with_context(|| format!("etcd's revision {revision:?}"))
    }

    /// Writes `value` at `key` (`/registry/services/specs/shop/web`), past all API servers and what they would refuse.
    /// They read JSON as well as their own encoding.
    pub fn write_raw(&self, key: &str, value: &[u8]) -> Result<()> {
        let request = json!({ "key": base64(key.as_bytes()), "value": base64(value) });
        self.etcd_call("kv/put", request).map(drop)
    }

    /// A call of etcd's JSON gateway (<https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/>).
    fn etcd_call(&self, method: &str, request: Value) -> Result<Value> {
        let url = self.etcd_url();
        self.shared.block_on(async || {
            let client = Client::try_from(Config::new(url.parse()?))?;
            let body = serde_json::to_vec(&request)?;
            Ok(client.request(http::Request::post(format!("/v3/{method}")).body(body)?).await?)
        })
    }
}

/// Base64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().chain(&[0, 0]).take(3).fold(0, |bits, &byte| bits << 8 | usize::from(byte));
        for position in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * position) & 63]);
            text.push(if position <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_of_the_rfc() {
        for (text, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(super::base64(text.as_bytes()), encoded);
        }
    }
}
