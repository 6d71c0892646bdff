//! The audit log: every request that the server answered, and who asked.

use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::ApiServer;

/// A request, as the server recorded it. Of a watch there are two: one when it begins, one when it ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// `system:serviceaccount:NAMESPACE:NAME`, or another user.
    pub user: String,
    /// `get`, `list`, `watch`, `create` …, as in a role.
    pub verb: String,
    /// The API group; empty for the core.
    pub group: String,
    /// The resource, with its subresource (`services`, `services/status`); empty for what is no resource.
    pub resource: String,
    /// The path with all parameters.
    pub uri: String,
    /// The HTTP status; 0 where there was no answer.
    pub code: u16,
    /// What the client calls itself.
    pub agent: String,
    /// `ResponseComplete`, or, of a watch that began, `ResponseStarted`.
    pub stage: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(default)]
    stage: String,
    #[serde(rename = "requestURI")]
    uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<Reference>,
    response_status: Option<Status>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    api_group: String,
    resource: String,
    subresource: String,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl ApiServer {
    /// All that was asked so far, in the order of the answers.
    pub fn audit(&self) -> Result<Vec<Request>> {
        let file = self.audit_file();
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(read).collect()
    }
}

fn read(line: &str) -> Result<Request> {
    let event: Event = serde_json::from_str(line).with_context(|| format!("understand the audit log: {line}"))?;
    let object = event.object_ref.unwrap_or_default();
    let slash = if object.subresource.is_empty() { "" } else { "/" };
    Ok(Request {
        user: event.user.username,
        verb: event.verb,
        group: object.api_group,
        resource: format!("{}{slash}{}", object.resource, object.subresource),
        uri: event.uri,
        code: event.response_status.map_or(0, |status| status.code),
        agent: event.user_agent,
        stage: event.stage,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_who_asked_for_what() {
        let line = r#"{"kind":"Event","level":"Metadata","auditID":"1","stage":"ResponseComplete",
            "requestURI":"/api/v1/namespaces/kube-system/serviceaccounts/vipcast/token","verb":"create",
            "user":{"username":"admin","groups":["system:masters"]},"sourceIPs":["127.0.0.1"],"userAgent":"kubectl",
            "objectRef":{"resource":"serviceaccounts","namespace":"kube-system","name":"vipcast","apiVersion":"v1",
            "subresource":"token"},"responseStatus":{"metadata":{},"code":201}}"#;
        let request = read(line).expect("a request");
        assert_eq!((request.user.as_str(), request.verb.as_str(), request.code), ("admin", "create", 201));
        assert_eq!((request.group.as_str(), request.resource.as_str()), ("", "serviceaccounts/token"));
        let probe = read(r#"{"requestURI":"/readyz","verb":"get","user":{}}"#).expect("a request of nobody");
        assert_eq!((probe.resource.as_str(), probe.code), ("", 0));
    }
}
