//! Passwords of peers in Secrets: followed as they change, each asked for by its name, with the rights of `deploy/base`.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, timeout};
use vipcast::config;
use vipcast::model::Secret;
use vipcast::model::bgp::SecretKey;
use vipcast::plan::Change;
use vipcast::watch::Source;
use vipcast_lab::apiserver::ServerOptions;

use crate::cluster::{Call, Cluster};

const SECRETS: &str = "/api/v1/namespaces/vipcast/secrets";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn key(namespace: &str, name: &str) -> SecretKey {
    SecretKey { namespace: namespace.into(), name: name.into(), key: "password".into() }
}

fn secret(name: &str, password: &str) -> Value {
    json!({ "metadata": { "name": name }, "stringData": { "password": password } })
}

/// A source that runs, what it is asked for, and what it tells of Secrets.
struct Told {
    runtime: Runtime,
    wanted: watch::Sender<BTreeSet<SecretKey>>,
    changes: mpsc::Receiver<Change>,
    _folder: tempfile::TempDir,
}

impl Told {
    fn by(cluster: &Cluster) -> Told {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vipcast.yaml");
        let (run, kubeconfig) = (folder.path().display(), cluster.kubeconfig.display());
        let text = format!("node: lb1\nruntimeDir: {run}\nsource: {{kubernetes: {{kubeconfig: {kubeconfig}}}}}\n");
        fs::write(&file, text).unwrap();
        let config = config::load(&file, &|_| None).unwrap();
        let runtime = Runtime::new().unwrap();
        let (sender, changes) = mpsc::channel(64);
        let (wanted, asked) = watch::channel(BTreeSet::new());
        let source = Source::new(&config, false);
        runtime.spawn(source.watch(config.settings, asked, sender));
        Told { runtime, wanted, changes, _folder: folder }
    }

    fn want<const N: usize>(&self, keys: [SecretKey; N]) {
        self.wanted.send_replace(keys.into());
    }

    /// What is told next of a Secret.
    fn next(&mut self) -> (Arc<str>, Result<String, String>) {
        let changes = &mut self.changes;
        let next = async {
            loop {
                if let Change::Secret(key, value) = changes.recv().await.unwrap() {
                    return (key.name, value.map(|value| Secret::reveal(&value).to_owned()));
                }
            }
        };
        self.runtime.block_on(async { timeout(PATIENCE, next).await }).expect("nothing is told")
    }
}

#[test]
fn a_secret_is_followed_by_its_name_alone() {
    let Some(cluster) = Cluster::own(ServerOptions::default()) else { return };
    let mut told = Told::by(&cluster);
    let name: Arc<str> = "tor1".into();
    told.want([key("vipcast", "tor1")]);
    assert_eq!(told.next(), (name.clone(), Err("does not exist".to_owned())));
    // Another one is nobody's business.
    cluster.call(Call::post(SECRETS, secret("other", "nobody's")));
    cluster.call(Call::post(SECRETS, secret("tor1", "hunter2")));
    assert_eq!(told.next(), (name.clone(), Ok("hunter2".to_owned())));
    let patch = |password: &str| Call::patch(format!("{SECRETS}/tor1"), json!({"stringData": {"password": password}}));
    cluster.call(patch("hunter3\n"));
    assert_eq!(told.next(), (name.clone(), Ok("hunter3".to_owned())));
    cluster.call(patch(""));
    assert_eq!(told.next(), (name.clone(), Err("is empty".to_owned())));
    cluster.call(Call::patch(format!("{SECRETS}/tor1"), json!({"data": {"password": null, "a": "eA=="}})));
    assert_eq!(told.next(), (name.clone(), Err("has not this key".to_owned())));
    cluster.call(Call::delete(format!("{SECRETS}/tor1")));
    assert_eq!(told.next(), (name, Err("does not exist".to_owned())));
    // Asked for besides, and not allowed by the Role.
    told.want([key("shop", "tor2")]);
    let (name, value) = told.next();
    let why = value.unwrap_err();
    assert!(&*name == "tor2" && why.starts_with("cannot be read: 403: "), "{name}: {why}");
    assert!(why.contains("the RBAC rules of deploy/ allow it"), "{why}");
    drop(told);
    cluster.call(Call::delete(format!("{SECRETS}/other")));
    let asked: Vec<_> =
        cluster.asked_by_agent().into_iter().filter(|request| request.uri.contains("secrets")).collect();
    assert!(!asked.is_empty());
    for request in asked {
        assert!(request.uri.contains("fieldSelector=metadata.name%3Dtor"), "{}", request.uri);
    }
}
