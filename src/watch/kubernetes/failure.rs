//! What an error of a watch means.

use kube::core::Status;
use kube::runtime::watcher::Error;

use super::follow::Strategy;
use super::words;

/// What an error of a watch means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server does not stream lists.
    NoStreaming,
    /// A watch ended without ceremony; it is resumed where it was, and if that fails there is another error.
    Cut(String),
    /// What happened since the last event is not known any more (410, or a server that knows less than we do).
    Expired,
    /// The server does not have the kind.
    Absent,
    /// Something was not received as it was sent, for this reason: all has to be listed anew.
    Lost(String),
    /// It does not work, for this reason, and is tried again.
    Trouble(String),
}

/// Judges an error of a watcher that lists by `strategy`.
pub(super) fn judge(error: &Error, strategy: Strategy) -> Failure {
    match error {
        Error::InitialListFailed(error) => asked(error, strategy),
        Error::WatchStartFailed(error) => asked(error, strategy),
        Error::WatchError(status) => refused(status, strategy),
        Error::WatchFailed(kube::Error::ReadEvents(error)) => Failure::Cut(words::chain(error)),
        Error::WatchFailed(kube::Error::Api(status)) => refused(status, strategy),
        Error::WatchFailed(error) => Failure::Lost(words::chain(error)),
        Error::NoResourceVersion => Failure::Lost("an object came without resource version".to_owned()),
    }
}

/// A request failed.
fn asked(error: &kube::Error, strategy: Strategy) -> Failure {
    match error {
        kube::Error::Api(status) => refused(status, strategy),
        error => Failure::Trouble(words::transport(error)),
    }
}

/// The server says no.
fn refused(status: &Status, strategy: Strategy) -> Failure {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let ahead = causes.into_iter().any(|cause| cause.reason == "ResourceVersionTooLarge");
    match status.code {
        // Servers that do not stream lists refuse the parameters (Kubernetes before 1.27, or without the feature gate
        // WatchList).
        400 | 422 if strategy == Strategy::Streaming => Failure::NoStreaming,
        404 => Failure::Absent,
        410 => Failure::Expired,
        _ if ahead => Failure::Expired,
        _ => Failure::Trouble(words::refusal(status)),
    }
}
