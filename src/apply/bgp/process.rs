//! The process of a gobgpd that is ours alone.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;

use super::Endpoint;
use super::api::Failure;

/// How long gobgpd may take to say goodbye to its peers.
const GOODBYE: Duration = Duration::from_secs(5);

/// How often it is looked whether it is gone.
const LOOK: Duration = Duration::from_millis(20);

/// Ends the gobgpd that listens at `endpoint`, so that whoever looks after it starts another one.
pub(super) async fn end(endpoint: &Endpoint) -> Result<(), Failure> {
    let Some(gobgpd) = listener(endpoint).await else {
        return Err(Failure::Refused(format!(
            "BGP of GoBGP 4 starts anew only with its process, and the one at {endpoint} cannot be seen from here: restart it"
        )));
    };
    kill_process(gobgpd, Signal::TERM)
        .map_err(|error| Failure::Refused(format!("it cannot be ended as process {}: {error}", gobgpd.as_raw_pid())))?;
    let gone = async {
        while listener(endpoint).await == Some(gobgpd) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let late = || Failure::Unreachable(format!("it does not end within {} s", GOODBYE.as_secs()));
    tokio::time::timeout(GOODBYE, gone).await.map_err(|_| late())
}

/// The process that listens on the socket, if there is a socket, and if it can be seen from here.
async fn listener(endpoint: &Endpoint) -> Option<Pid> {
    let stream = UnixStream::connect(endpoint.socket()?).await.ok()?;
    Pid::from_raw(stream.peer_cred().ok()?.pid()?)
}
