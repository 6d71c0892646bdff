//! Calls over gRPC, and what their failures mean. The same for every version of GoBGP's API.
//!
//! GoBGP's own errors nearly all carry the code Unknown, so they are told apart by their text.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tonic::{Code, Response, Status, Streaming};

use super::api::Failure;
use crate::model::bgp::PeerName;

/// How long gobgpd may take to answer, or to go on with an answer that it began. It answers within milliseconds; a
/// list of 100,000 paths begins after a second.
const DEADLINE: Duration = Duration::from_secs(10);

/// The largest answer that is accepted: what gobgpd itself limits its messages to.
pub(super) const LARGEST_ANSWER: usize = 256 << 20;

/// The answer to one call.
pub(super) async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Failure> {
    within(call).await.map(Response::into_inner)
}

/// The one to a call whose answer says nothing.
pub(super) async fn done<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<(), Failure> {
    answer(call).await.map(drop)
}

/// Hands every message of the answer to `take`.
pub(super) async fn each<T>(
    call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    mut take: impl FnMut(T),
) -> Result<(), Failure> {
    let mut messages = answer(call).await?;
    while let Some(message) = within(messages.message()).await? {
        take(message);
    }
    Ok(())
}

/// What `work` comes to, if it does so in time.
async fn within<T>(work: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(result) => result.map_err(failure),
        Err(_) => Err(Failure::Unreachable(format!("no answer within {} s", DEADLINE.as_secs()))),
    }
}

/// What a status means. One without a cause came from gobgpd, one with a cause from the connection.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
pub(super) fn failure(status: Status) -> Failure {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    if cause.is_some() || matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded) {
        let mut absent = false;
        while let Some(error) = cause {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            absent |= matches!(kind, Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound));
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        return if absent { Failure::Absent(text) } else { Failure::Unreachable(text) };
    }
    if status.code() == Code::Unimplemented {
        return Failure::Unspoken(text);
    }
    if text == "server stopped" {
        return Failure::Unreachable(
            "its BGP was stopped, and GoBGP 4 does nothing then until it is restarted".to_owned(),
        );
    }
    let moved = ["bgp server hasn't started yet", "can't overwrite the existing peer"];
    if moved.iter().any(|known| text.starts_with(known)) { Failure::Moved(text) } else { Failure::Refused(text) }
}

/// `found`, which gobgpd says is the address of the peer `name`, if a call may name a peer so: GoBGP 3.10 takes an empty one
/// for all peers (`addrToPeers` in `pkg/server/server.go`), and GoBGP 4.8 ends at one that is none.
pub(super) fn one_address(name: &PeerName, found: String) -> Result<String, Failure> {
    let address = found.split('%').next().and_then(|address| address.parse::<IpAddr>().ok());
    match address.filter(|address| !address.is_unspecified()) {
        Some(_) => Ok(found),
        None => Err(Failure::Moved(format!("the address of its peer {name} is {found:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_peer_names_not_all_of_them() {
        let name = PeerName::Interface("eth1".into());
        for good in ["fe80::1%eth1", "fe80::1", "192.0.2.1"] {
            assert_eq!(one_address(&name, good.to_owned()), Ok(good.to_owned()));
        }
        for bad in ["", "%eth1", "invalid IP", "<nil>", "::", "0.0.0.0"] {
            let moved = format!("the address of its peer eth1 is {bad:?}");
            assert_eq!(one_address(&name, bad.to_owned()), Err(Failure::Moved(moved)));
        }
    }

    #[test]
    fn a_status_is_told_by_its_code_where_it_has_one_and_else_by_its_text() {
        let unknown = |text: &str| failure(Status::unknown(text));
        assert_eq!(
            failure(Status::unimplemented("unknown service x")),
            Failure::Unspoken("unknown service x".to_owned())
        );
        assert_eq!(failure(Status::unavailable("gone")), Failure::Unreachable("gone".to_owned()));
        assert!(matches!(unknown("server stopped"), Failure::Unreachable(_)));
        for moved in ["bgp server hasn't started yet", "can't overwrite the existing peer: 192.0.2.1"] {
            assert_eq!(unknown(moved), Failure::Moved(moved.to_owned()));
        }
        assert_eq!(unknown("nexthop not found"), Failure::Refused("nexthop not found".to_owned()));
    }
}
