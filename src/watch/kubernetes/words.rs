//! Errors in words for the operator.

use std::error::Error;
use std::io;

use hyper_util::client::legacy;
use kube::core::Status;

use super::discreet;

/// The innermost errors that say something, in one line. Those about credentials quote nothing.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    if let Some(words) = discreet::words(error) {
        return words;
    }
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        // Many an error repeats what its cause says.
        said.retain(|outer| !outer.contains(&text));
        said.push(text);
        next = error.source();
    }
    said.join(": ")
}

/// Why a request got no answer.
pub(super) fn transport(error: &kube::Error) -> String {
    let kube::Error::Service(error) = error else { return chain(error) };
    let mut next: Option<&(dyn Error + 'static)> = Some(&**error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            match error.kind() {
                io::ErrorKind::TimedOut => return "does not answer (connecting timed out)".to_owned(),
                io::ErrorKind::ConnectionRefused => return "connection refused".to_owned(),
                _ => {}
            }
        }
        next = error.source();
    }
    let text = chain(&**error);
    text.strip_prefix("client error (Connect): ").map(str::to_owned).unwrap_or(text)
}

/// Was there no connection, so that nothing was sent?
pub(super) fn is_connect(error: &kube::Error) -> bool {
    let kube::Error::Service(error) = error else { return false };
    error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
}

/// What the API server refused.
pub(super) fn refusal(status: &Status) -> String {
    let message = if status.message.is_empty() { &status.reason } else { &status.message };
    match status.code {
        401 => format!("401: it does not accept our credentials ({message})"),
        403 => format!("403: {message}; the RBAC rules of deploy/ allow it"),
        code => format!("{code}: {message}"),
    }
}

/// Why a request failed.
pub(crate) fn request(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => refusal(status),
        error => transport(error),
    }
}
