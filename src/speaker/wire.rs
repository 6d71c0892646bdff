//! What agent and speaker say to each other over `runtimeDir/speaker.sock`: one JSON object a line.
//!
//! Both begin with `hello`, which says the versions of the protocol that they speak, so that an agent and a speaker of
//! neighbouring versions of vipcast work together: fields and messages that one side does not know are passed over, and
//! only a change that cannot be passed over makes another version of the protocol.

use std::collections::BTreeMap;
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::model::bfd::BfdStatus;
use crate::model::bgp::PeerName;
use crate::model::lease::LeaseStatus;
use crate::model::orders::Orders;

/// The first and the last version of the protocol that is spoken here.
pub const SPEAKS: (u32, u32) = (1, 1);

/// The longest line: far beyond what the orders of a node with thousands of ranges and sessions come to.
const LONGEST: u64 = 4 << 20;

/// How a side introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The first and the last version of the protocol that it speaks.
    pub speaks: (u32, u32),
    /// The version of vipcast, for people.
    #[serde(default)]
    pub version: String,
    /// Does it hold the lease? Commands do not.
    #[serde(default)]
    pub agent: bool,
}

impl Hello {
    /// That of this program; of the one that holds the lease if `agent`.
    pub fn new(agent: bool) -> Hello {
        Hello { speaks: SPEAKS, version: env!("CARGO_PKG_VERSION").to_owned(), agent }
    }

    /// Why nobody here understands the other side, if so.
    ///
    /// # Errors
    /// When there is no version of the protocol that both speak.
    pub fn meets(&self, own: &Hello) -> Result<(), String> {
        let ((first, last), (own_first, own_last)) = (self.speaks, own.speaks);
        if first <= own_last && own_first <= last {
            return Ok(());
        }
        Err(format!(
            "it is vipcast {}, which speaks the versions {first} to {last} of the protocol; here {own_first} to {own_last} \
             are spoken",
            self.version
        ))
    }
}

/// A line to the speaker: one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ToSpeaker {
    /// The first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<Hello>,
    /// What to hold to from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders: Option<Orders>,
    /// The agent turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
    /// Please do this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

/// That the agent turns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Renewal {
    /// Why it cannot vouch for the data plane; none if it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objection: Option<String>,
}

/// What commands ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// How do things stand?
    Report,
    /// Another gobgpd in the place of the one that runs, whose peers keep its routes meanwhile (graceful restart).
    RestartGobgpd,
    /// The same whatever becomes of the sessions.
    ResetGobgpd,
    /// Any other one, of a version to come: it is refused.
    #[serde(other)]
    Unknown,
}

/// A line from the speaker: one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FromSpeaker {
    /// The first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<Hello>,
    /// How the lease stands, at first and whenever its state changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseStatus>,
    /// A renewal was heard.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub renewed: bool,
    /// How BFD sessions stand, at first all of them, then those that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BTreeMap<PeerName, BfdStatus>>,
    /// The BGP sessions that the speaker holds down because of BFD, and why: at first, and whenever others are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<BTreeMap<PeerName, String>>,
    /// The end of what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// What of the last line was not understood or is not possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The end of what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    /// Why it was not done; none if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The line is longer than any that makes sense.
    #[error("a line of more than {LONGEST} bytes")]
    Long,
}

/// The next line without its end; `None` at the end of the connection, where half a line counts for nothing.
///
/// # Errors
/// When the connection fails, or the line is too long.
pub async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<String>, WireError> {
    let mut line = Vec::new();
    reader.take(LONGEST).read_until(b'\n', &mut line).await?;
    if line.pop() == Some(b'\n') {
        return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
    }
    if line.len() as u64 + 1 >= LONGEST { Err(WireError::Long) } else { Ok(None) }
}

/// What a line says.
///
/// # Errors
/// When it is no JSON object, or a message in it is not understood, with the place and the reason.
pub fn parse<T: DeserializeOwned>(line: &str) -> Result<T, String> {
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(line)).map_err(|error| error.to_string())
}

/// Writes one line.
///
/// # Errors
/// When the connection fails.
pub async fn write_line(writer: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writer.write_all(&line).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests;
