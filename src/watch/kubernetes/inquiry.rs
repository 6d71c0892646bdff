//! One look at the API server, for `vipcast check`: does it answer, and are we allowed what we ask for?

use std::env;
use std::time::Duration;

use hyper::{Request, Uri};
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::raw::{Raw, place, resource};
use super::{Access, credentials, words};
use crate::model::Kind;

/// How long all questions together may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    /// The addresses that are tried first, as configured or as they came with the credentials.
    pub given: Vec<Uri>,
    /// They are the address that the kubelet gives to every container: the ClusterIP of `default/kubernetes`.
    pub in_cluster: bool,
    /// How many endpoints a former agent remembered.
    pub remembered: usize,
    /// Something answered.
    pub reached: bool,
    /// What the API server lets us do, or why that is not known.
    pub answer: Result<Rights, String>,
}

/// What the API server lets us do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// The URL of the server that answered.
    pub server: String,
    /// What we are not allowed: verbs with their resource.
    pub denied: Vec<String>,
    /// We are not allowed to create Events (`events.k8s.io`).
    pub denied_events: bool,
    /// We are not allowed to list, create and update Leases in the fleet's namespace.
    pub denied_leases: bool,
    /// Kinds that it does not have.
    pub absent: Vec<Kind>,
}

impl Access {
    /// Asks the API server, and changes nothing.
    /// `namespace` is where the Leases of a fleet are.
    pub async fn inquire(&self, namespace: &str) -> Inquiry {
        let answer = timeout(PATIENCE, self.rights(namespace)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        let (given, remembered, is_configured) = self.servers.known();
        let in_cluster = credentials::in_cluster_address(&|name| env::var(name).ok());
        Inquiry {
            in_cluster: !is_configured && in_cluster.is_some_and(|address| given.contains(&address)),
            given,
            remembered,
            reached: self.server().is_some(),
            answer,
        }
    }

    async fn rights(&self, namespace: &str) -> Result<Rights, String> {
        let client = self.client();
        let mut rights = Rights::default();
        for kind in Kind::ALL {
            let verbs: &[&str] = if kind == Kind::Node { &["get", "list", "watch"] } else { &["list", "watch"] };
            for verb in verbs {
                if !may(&client, verb, place(kind), None).await? {
                    rights.denied.push(format!("{verb} {}", resource(kind)));
                }
            }
        }
        rights.denied_events = !may(&client, "create", ("events.k8s.io", "events"), None).await?;
        for verb in ["list", "create", "update"] {
            rights.denied_leases |= !may(&client, verb, ("coordination.k8s.io", "leases"), Some(namespace)).await?;
        }
        // The only kind that not every server has.
        let api = Api::<Raw>::all_with(client, &Kind::ServiceCidr);
        if let Err(kube::Error::Api(status)) = api.list(&ListParams::default().limit(1)).await
            && status.code == 404
        {
            rights.absent.push(Kind::ServiceCidr);
        }
        rights.server = self.server().unwrap_or_default();
        Ok(rights)
    }
}

/// Are we allowed `verb` on objects of this group and plural, in this namespace or in all? Everybody who has credentials may
/// ask this.
async fn may(
    client: &Client,
    verb: &str,
    (group, plural): (&str, &str),
    namespace: Option<&str>,
) -> Result<bool, String> {
    let attributes =
        json!({"verb": verb, "group": group, "resource": plural, "namespace": namespace.unwrap_or_default()});
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                        "spec": {"resourceAttributes": attributes}});
    let request = Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header("content-type", "application/json")
        .body(review.to_string().into_bytes())
        .map_err(|error| error.to_string())?;
    let answer: Value = client.request(request).await.map_err(|error| words::request(&error))?;
    Ok(answer.pointer("/status/allowed").and_then(Value::as_bool).unwrap_or_default())
}
