//! Requests over rtnetlink, each with a time limit, and what their failures mean.

use std::fmt;
use std::io;
use std::time::Duration;

use futures::StreamExt;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::RouteMessage;
use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rustix::io::Errno;

use crate::plan::Outcome;

/// The kernel answers at once; but an answer that the library cannot parse never arrives.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a dump is tried again that a change interrupted.
const DUMP_ATTEMPTS: usize = 5;

/// `NLM_F_DUMP_INTR`: the tables changed while they were dumped, so entries may be missing
/// (include/uapi/linux/netlink.h).
const DUMP_INTERRUPTED: u16 = 0x10;

/// A connection to rtnetlink.
#[derive(Debug)]
pub(super) struct Rtnl {
    /// For requests that the library composes.
    pub(super) handle: Handle,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {why}")]
pub(super) struct Failure {
    what: String,
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// The kernel answered with an error.
    Errno(Errno),
    /// No proper answer came.
    NoAnswer(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Errno(Errno::PERM) => write!(f, "{}; vipcast needs the capability NET_ADMIN", Errno::PERM),
            Why::Errno(errno) => errno.fmt(f),
            Why::NoAnswer(words) => f.write_str(words),
        }
    }
}

impl Failure {
    /// Did the kernel answer with `errno`?
    pub(super) fn is(&self, errno: Errno) -> bool {
        matches!(self.why, Why::Errno(found) if found == errno)
    }

    /// Did the kernel answer that what the request names does not exist?
    pub(super) fn says_missing(&self) -> bool {
        [Errno::NOENT, Errno::SRCH, Errno::NODEV].into_iter().any(|errno| self.is(errno))
    }

    /// What it means for the step that made the request.
    pub(super) fn outcome(&self) -> Outcome {
        let words = self.to_string();
        match &self.why {
            Why::NoAnswer(_) => Outcome::Later(words),
            Why::Errno(errno) => match *errno {
                Errno::EXIST | Errno::NOENT | Errno::SRCH | Errno::NODEV | Errno::NETDOWN => Outcome::Drifted(words),
                Errno::AGAIN | Errno::BUSY | Errno::INTR | Errno::NOBUFS | Errno::NOMEM => Outcome::Later(words),
                _ => Outcome::Refused(words),
            },
        }
    }
}

/// Waits for the answer to one request.
pub(super) async fn answer(
    what: String,
    request: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> Result<(), Failure> {
    let why = match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => why(error),
        Err(_) => no_answer(),
    };
    Err(Failure { what, why })
}

fn why(error: rtnetlink::Error) -> Why {
    match error {
        rtnetlink::Error::NetlinkError(message) => Why::Errno(Errno::from_raw_os_error(message.raw_code().abs())),
        other => Why::NoAnswer(other.to_string()),
    }
}

fn no_answer() -> Why {
    Why::NoAnswer(format!("no answer from the kernel within {} s", PATIENCE.as_secs()))
}

impl Rtnl {
    /// Connects in the network namespace of the calling thread.
    pub(super) fn connect() -> io::Result<Rtnl> {
        // With strict checking, the kernel filters route dumps by table and protocol.
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        // It ends when the last handle is dropped.
        tokio::spawn(connection);
        Ok(Rtnl { handle })
    }

    /// The link of this name.
    pub(super) async fn link(&self, name: &str) -> Result<Option<LinkMessage>, Failure> {
        self.one_link(self.handle.link().get().match_name(name), || format!("look up the link {name}")).await
    }

    /// The link with this index.
    pub(super) async fn link_by_index(&self, index: u32) -> Result<Option<LinkMessage>, Failure> {
        self.one_link(self.handle.link().get().match_index(index), || format!("look up link number {index}")).await
    }

    async fn one_link(
        &self,
        request: rtnetlink::LinkGetRequest,
        what: impl FnOnce() -> String,
    ) -> Result<Option<LinkMessage>, Failure> {
        let mut answers = std::pin::pin!(request.execute());
        let why = match tokio::time::timeout(PATIENCE, answers.next()).await {
            Ok(Some(Ok(link))) => return Ok(Some(link)),
            Ok(Some(Err(error))) => why(error),
            Ok(None) => Why::NoAnswer("the kernel answered nothing".to_owned()),
            Err(_) => no_answer(),
        };
        let failure = Failure { what: what(), why };
        if failure.is(Errno::NODEV) { Ok(None) } else { Err(failure) }
    }

    /// The routes that match the header of `filter`: its family and, unless zero, its table, protocol and type.
    pub(super) async fn routes(&self, filter: RouteMessage) -> Result<Vec<RouteMessage>, Failure> {
        let family = filter.header.address_family;
        let dumped = self
            .dump("list the routes", RouteNetlinkMessage::GetRoute(filter), |message| match message {
                // Where a family is missing from the kernel, it answers for all others.
                RouteNetlinkMessage::NewRoute(route) if route.header.address_family == family => Some(route),
                _ => None,
            })
            .await;
        match dumped {
            // The table was never used.
            Err(failure) if failure.is(Errno::NOENT) => Ok(Vec::new()),
            other => other,
        }
    }

    /// All addresses.
    pub(super) async fn addresses(&self) -> Result<Vec<AddressMessage>, Failure> {
        self.dump("list the addresses", RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
            match message {
                RouteNetlinkMessage::NewAddress(address) => Some(address),
                _ => None,
            }
        })
        .await
    }

    /// All that `pick` picks of the answer to `request`, which asks for `what`.
    pub(super) async fn dump<T>(
        &self,
        what: &str,
        request: RouteNetlinkMessage,
        pick: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, Failure> {
        let mut last = Why::NoAnswer("it changed all the time while it was read".to_owned());
        for _ in 0..DUMP_ATTEMPTS {
            match tokio::time::timeout(PATIENCE, self.dump_once(&request, &pick)).await {
                Ok(Ok(Some(found))) => return Ok(found),
                Ok(Ok(None)) => {}
                Ok(Err(why)) => {
                    last = why;
                    break;
                }
                Err(_) => {
                    last = no_answer();
                    break;
                }
            }
        }
        Err(Failure { what: what.to_owned(), why: last })
    }

    /// One dump; `None` when it was interrupted.
    async fn dump_once<T>(
        &self,
        request: &RouteNetlinkMessage,
        pick: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Why> {
        let mut message = NetlinkMessage::from(request.clone());
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut answers = self.handle.clone().request(message).map_err(why)?;
        let mut found = Vec::new();
        let mut interrupted = false;
        while let Some(answer) = answers.next().await {
            interrupted |= answer.header.flags & DUMP_INTERRUPTED != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => found.extend(pick(message)),
                NetlinkPayload::Error(error) => return Err(why(rtnetlink::Error::NetlinkError(error))),
                _ => {}
            }
        }
        Ok((!interrupted).then_some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_number_says_what_to_do_next() {
        let outcome = |errno: Errno| Failure { what: "set the route".to_owned(), why: Why::Errno(errno) }.outcome();
        for errno in [Errno::EXIST, Errno::NOENT, Errno::SRCH, Errno::NODEV, Errno::NETDOWN] {
            assert!(matches!(outcome(errno), Outcome::Drifted(_)), "{errno}");
        }
        for errno in [Errno::NOBUFS, Errno::BUSY] {
            assert!(matches!(outcome(errno), Outcome::Later(_)), "{errno}");
        }
        let refused = outcome(Errno::PERM);
        let Outcome::Refused(words) = refused else { panic!("{refused:?}") };
        assert!(words.starts_with("cannot set the route: "), "{words}");
        assert!(words.ends_with("vipcast needs the capability NET_ADMIN"), "{words}");
    }

    #[test]
    fn silence_is_tried_again() {
        let failure = Failure { what: "list the routes".to_owned(), why: no_answer() };
        assert_eq!(
            failure.outcome(),
            Outcome::Later("cannot list the routes: no answer from the kernel within 10 s".to_owned())
        );
    }
}
