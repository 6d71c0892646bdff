//! Following the Secrets that peers' passwords come from: just these, each by a watch of its own that asks for its name.
//! What they hold is told to the planner, and to nobody else.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::future::try_join_all;
use k8s_openapi::ByteString;
use kube::api::ListParams;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch::Receiver;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::backoff::Backoff;
use super::failure::{Failure, judge};
use super::follow::Strategy;
use super::gate::Gate;
use super::raw::metadata;
use super::servers::Servers;
use super::{Access, ONE_READING, words};
use crate::config::one_line;
use crate::model::Secret;
use crate::model::bgp::SecretKey;
use crate::plan::Change;
use crate::watch::Closed;

/// How long the API server is asked to keep a watch open, in seconds: as for the watches of other objects.
const WATCH: u32 = 120;

/// A Secret as the API server sent it. Whatever came is taken, and an error could never quote what it holds.
#[derive(Clone)]
struct RawSecret {
    meta: ObjectMeta,
    data: BTreeMap<String, Value>,
}

impl fmt::Debug for RawSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawSecret").field("name", &self.meta.name).finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for RawSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawSecret, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let meta = metadata(&value);
        let data = match value.get_mut("data").map(Value::take) {
            Some(Value::Object(data)) => data.into_iter().collect(),
            _ => BTreeMap::new(),
        };
        Ok(RawSecret { meta, data })
    }
}

impl Resource for RawSecret {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        "Secret".into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        "".into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        "secrets".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

impl RawSecret {
    /// The password under `key`, or what is wrong with it, in words that do not show it.
    fn password(&self, key: &str) -> Result<Secret, String> {
        let value = self.data.get(key).ok_or("has not this key")?;
        // What is wrong with it is not said in serde's words, which could quote it.
        let bytes: ByteString = serde_json::from_value(value.clone()).map_err(|_| "holds what is not base64")?;
        one_line(std::str::from_utf8(&bytes.0).map_err(|_| "holds what is not text")?)
    }
}

/// Tells what the `wanted` Secrets hold, and from then on what changes, until nobody listens any more.
pub(super) async fn follow(
    servers: Arc<Servers>,
    mut wanted: Receiver<BTreeSet<SecretKey>>,
    changes: Sender<Change>,
) -> Result<Infallible, Closed> {
    // Of which something was told: while they cannot be read, that stays in force.
    let told: Mutex<BTreeSet<Name>> = Mutex::default();
    loop {
        let mut named: BTreeMap<_, BTreeSet<SecretKey>> = BTreeMap::new();
        for key in wanted.borrow_and_update().iter() {
            named.entry((key.namespace.clone(), key.name.clone())).or_default().insert(key.clone());
        }
        told.lock().unwrap_or_else(PoisonError::into_inner).retain(|name| named.contains_key(name));
        let follow = named.into_values().map(|keys| Follower::new(keys, &servers, &told, &changes).run());
        tokio::select! {
            ended = try_join_all(follow), if !wanted.borrow().is_empty() => { ended?; }
            changed = wanted.changed() => if changed.is_err() {
                changes.closed().await;
                return Err(Closed);
            },
            () = changes.closed() => return Err(Closed),
        }
    }
}

/// The namespace and the name of a Secret.
type Name = (Arc<str>, Arc<str>);

/// Follows one Secret.
struct Follower<'a> {
    name: Name,
    /// The keys that somebody wants, one at least.
    keys: BTreeSet<SecretKey>,
    servers: &'a Arc<Servers>,
    told: &'a Mutex<BTreeSet<Name>>,
    changes: &'a Sender<Change>,
}

impl<'a> Follower<'a> {
    fn new(
        keys: BTreeSet<SecretKey>,
        servers: &'a Arc<Servers>,
        told: &'a Mutex<BTreeSet<Name>>,
        changes: &'a Sender<Change>,
    ) -> Follower<'a> {
        let name = keys.first().map(|key| (key.namespace.clone(), key.name.clone()));
        Follower { name: name.unwrap_or_default(), keys, servers, told, changes }
    }

    async fn run(self) -> Result<Infallible, Closed> {
        let gate = Arc::new(Gate::new(self.servers.clone()));
        let service = tower::service_fn(move |request| {
            let gate = gate.clone();
            async move { gate.send(request).await }
        });
        let api = Api::<RawSecret>::namespaced(Client::new(service, "default"), &self.name.0);
        let (mut backoff, mut trouble) = (Backoff::default(), None);
        loop {
            let config = watcher::Config::default().timeout(WATCH).fields(&format!("metadata.name={}", self.name.1));
            let mut stream = pin!(watcher(api.clone(), config));
            let mut found = false;
            while let Some(event) = stream.next().await {
                match event {
                    Ok(watcher::Event::Init) => found = false,
                    Ok(watcher::Event::InitApply(secret) | watcher::Event::Apply(secret)) => {
                        found = true;
                        self.tell(|key| secret.password(key)).await?;
                    }
                    Ok(watcher::Event::InitDone) => {
                        (backoff, trouble) = (Backoff::default(), None);
                        if !found {
                            self.tell(|_| Err("does not exist".to_owned())).await?;
                        }
                    }
                    Ok(watcher::Event::Delete(_)) => self.tell(|_| Err("does not exist".to_owned())).await?,
                    Err(error) => {
                        let why = match judge(&error, Strategy::Pages) {
                            Failure::Cut(_) => continue,
                            Failure::Expired | Failure::NoStreaming => break,
                            Failure::Absent => "404: not found".to_owned(),
                            Failure::Lost(why) | Failure::Trouble(why) => why,
                        };
                        if trouble.as_ref() != Some(&why) {
                            self.trouble(&why).await?;
                        }
                        trouble = Some(why);
                        sleep(backoff.next()).await;
                        break;
                    }
                }
            }
        }
    }

    /// Tells of each key what `value` has for it.
    async fn tell(&self, value: impl Fn(&str) -> Result<Secret, String>) -> Result<(), Closed> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name.clone());
        for key in &self.keys {
            self.changes.send(Change::Secret(key.clone(), value(&key.key))).await.map_err(|_| Closed)?;
        }
        Ok(())
    }

    /// It cannot be read. What was told of it stays in force.
    async fn trouble(&self, why: &str) -> Result<(), Closed> {
        let (namespace, name) = &self.name;
        warn!(secret = %format_args!("{namespace}/{name}"), why, "Secret cannot be read; what is known of it stays in force");
        let is_told = self.told.lock().unwrap_or_else(PoisonError::into_inner).contains(&self.name);
        for key in self.keys.iter().filter(|_| !is_told) {
            let change = Change::Secret(key.clone(), Err(format!("cannot be read: {why}")));
            self.changes.send(change).await.map_err(|_| Closed)?;
        }
        Ok(())
    }
}

impl Access {
    /// The password in a Secret as it is now, or what is wrong with it.
    pub(crate) async fn password(&self, key: &SecretKey) -> Result<Secret, String> {
        let api = Api::<RawSecret>::namespaced(self.client(), &key.namespace);
        let list = ListParams::default().fields(&format!("metadata.name={}", key.name));
        let found = timeout(ONE_READING, api.list(&list)).await;
        let found = found.map_err(|_| "cannot be read: the API server does not answer".to_owned())?;
        let found = found.map_err(|error| format!("cannot be read: {}", words::request(&error)))?;
        found.items.first().ok_or("does not exist")?.password(&key.key)
    }
}

/// Tells of all `wanted` Secrets that there are none in this source.
pub(in crate::watch) async fn refuse(mut wanted: Receiver<BTreeSet<SecretKey>>, changes: Sender<Change>) {
    loop {
        let keys = wanted.borrow_and_update().clone();
        for key in keys {
            let reason = "cannot be had: the source is manifests, which holds no Secrets".to_owned();
            if changes.send(Change::Secret(key, Err(reason))).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() {
                return changes.closed().await;
            },
            () = changes.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(data: Value) -> RawSecret {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "tor", "namespace": "n"}, "data": data}))
            .unwrap()
    }

    /// As the API server sends it.
    fn coded(bytes: &[u8]) -> Value {
        serde_json::to_value(ByteString(bytes.to_owned())).unwrap()
    }

    #[test]
    fn a_password_is_there_or_it_is_said_why_not() {
        let coded = |text: &str| coded(text.as_bytes());
        let cases = [
            (coded("hunter2"), Ok("hunter2")),
            (coded("hunter2\n"), Ok("hunter2")),
            (coded(&"x".repeat(80)), Ok(&*"x".repeat(80))),
            (coded(&"x".repeat(81)), Err("holds 81 bytes, where TCP MD5 takes 80 at most")),
            (coded(""), Err("is empty")),
            (coded("\n"), Err("is empty")),
            (coded("hunter2\nhunter3\n"), Err("holds more than one line")),
            (self::coded(&[0xff, 0xfe]), Err("holds what is not text")),
            (Value::from("hunter2!"), Err("holds what is not base64")),
            (Value::from(5), Err("holds what is not base64")),
        ];
        for (value, expected) in cases {
            let found = secret(serde_json::json!({"password": value})).password("password");
            assert_eq!(found.as_ref().map(Secret::reveal).map_err(String::as_str), expected, "{value}");
        }
        for data in [serde_json::json!({"other": "eA=="}), Value::Null, Value::from("hunter2")] {
            assert_eq!(secret(data).password("password"), Err("has not this key".to_owned()));
        }
    }

    #[test]
    fn nothing_shows_what_it_holds() {
        let value = coded(b"hunter2");
        let held = secret(serde_json::json!({"password": value}));
        let shown = format!("{held:?} {:?}", held.password("password"));
        assert!(!shown.contains("hunter2") && !shown.contains(value.as_str().unwrap()), "{shown}");
    }
}
