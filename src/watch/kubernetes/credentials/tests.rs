use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::Kubernetes;

/// Environment variables, and the address that follows from them.
type Case = (&'static [(&'static str, &'static str)], Option<&'static str>);

/// An environment with these variables.
fn env<'e>(variables: &'e [(&'e str, &'e str)]) -> impl Fn(&str) -> Option<String> + Sync + 'e {
    move |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

#[test]
fn the_kubelet_tells_the_address() {
    let cases: [Case; 5] = [
        (&[], None),
        (&[("KUBERNETES_SERVICE_HOST", "")], None),
        (&[("KUBERNETES_SERVICE_HOST", "10.96.0.1")], Some("https://10.96.0.1:443/")),
        (&[("KUBERNETES_SERVICE_HOST", "api"), ("KUBERNETES_SERVICE_PORT", "6443")], Some("https://api:6443/")),
        (&[("KUBERNETES_SERVICE_HOST", "fd00::1"), ("KUBERNETES_SERVICE_PORT", "443")], Some("https://[fd00::1]:443/")),
    ];
    for (variables, expected) in cases {
        assert_eq!(in_cluster_address(&env(variables)).map(|address| address.to_string()).as_deref(), expected);
    }
}

fn kubeconfig(folder: &TempDir, name: &str, cluster: Value) -> PathBuf {
    let contexts = ["a", "b"].map(|name| json!({"name": name, "context": {"cluster": name, "user": name}}));
    let other = json!({"server": "https://b:6443"});
    let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "a", "contexts": contexts,
        "clusters": [{"name": "a", "cluster": cluster}, {"name": "b", "cluster": other}],
        "users": [{"name": "a", "user": {"tokenFile": "/token-of-a"}}]});
    let file = folder.path().join(name);
    fs::write(&file, text.to_string()).unwrap();
    file
}

#[tokio::test]
async fn a_pod_uses_its_service_account() {
    let folder = tempfile::tempdir().unwrap();
    let pod = [("KUBERNETES_SERVICE_HOST", "10.96.0.1"), ("KUBERNETES_SERVICE_PORT", "443")];
    let source = Kubernetes::default();
    let missing = load(&source, folder.path(), &env(&pod)).await.unwrap_err();
    assert!(missing.starts_with(&format!("service account: {}/token: ", folder.path().display())), "{missing}");

    fs::write(folder.path().join("token"), "secret").unwrap();
    fs::write(folder.path().join("ca.crt"), "").unwrap();
    let config = load(&source, folder.path(), &env(&pod)).await.unwrap();
    assert_eq!(config.cluster_url.to_string(), "https://10.96.0.1:443/");
    assert_eq!(config.auth_info.token_file, Some(folder.path().join("token").display().to_string()));
    assert_eq!(config.root_cert_file, Some(folder.path().join("ca.crt")));

    // A pod that lacks the variables, but is told where the API server is.
    let source = Kubernetes { servers: vec!["https://10.0.0.1:6443".to_owned()], ..source };
    let config = load(&source, folder.path(), &env(&[])).await.unwrap();
    assert_eq!(config.cluster_url.to_string(), "https://10.0.0.1:6443/");
}

#[tokio::test]
async fn a_kubeconfig_that_is_named_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = kubeconfig(&folder, "config", json!({"server": "https://a:6443"}));
    let pod = [("KUBERNETES_SERVICE_HOST", "10.96.0.1")];
    for (context, expected) in [(None, "https://a:6443/"), (Some("b"), "https://b:6443/")] {
        let source =
            Kubernetes { kubeconfig: Some(file.clone()), context: context.map(str::to_owned), servers: vec![] };
        let config = load(&source, folder.path(), &env(&pod)).await.unwrap();
        assert_eq!(config.cluster_url.to_string(), expected);
        assert_eq!(config.auth_info.token_file.is_some(), context.is_none());
        assert_eq!(config.proxy_url, None, "the environment's proxy is not for the API server");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_kubeconfig_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let proxied =
        kubeconfig(&folder, "proxied", json!({"server": "https://a:6443", "proxy-url": "http://10.0.0.9:3128"}));
    let cases = [
        (&missing, None, "failed to read kubeconfig from"),
        (&proxied, Some("c"), "failed to load current context: c"),
        (&proxied, None, "proxy-url: found http://10.0.0.9:3128; allowed: none, it is reached directly"),
    ];
    for (file, context, expected) in cases {
        let source =
            Kubernetes { kubeconfig: Some(file.clone()), context: context.map(str::to_owned), servers: vec![] };
        let error = load(&source, folder.path(), &env(&[])).await.unwrap_err();
        assert!(error.starts_with(&format!("kubeconfig {}: {expected}", file.display())), "{error}");
    }
}

/// A parser's error quotes the lines around the place where it stopped, and credentials stand there.
#[tokio::test]
async fn a_kubeconfig_is_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let user = |user: &str| format!("apiVersion: v1\nusers:\n- name: a\n  user:\n{user}");
    let cases = [
        (user("    token: s3cr3t\n    tokenFile: [s3cr3t]\n"), "line 6, column 16: it is not a kubeconfig in YAML"),
        (user("    token: \"s3cr3t\n"), "line "),
        ("- s3cr3t\n".to_owned(), "line "),
    ];
    for (text, expected) in cases {
        fs::write(&file, &text).unwrap();
        let source = Kubernetes { kubeconfig: Some(file.clone()), ..Kubernetes::default() };
        let error = load(&source, folder.path(), &env(&[])).await.unwrap_err();
        assert!(error.starts_with(&format!("kubeconfig {}: {expected}", file.display())), "{error}");
        assert!(!error.contains("s3cr3t"), "{error}");
    }
    let proxied = json!({"server": "https://a:6443", "proxy-url": "http://a:s3cr3t@10.0.0.9:3128"});
    let source = Kubernetes { kubeconfig: Some(kubeconfig(&folder, "proxied", proxied)), ..Kubernetes::default() };
    let error = load(&source, folder.path(), &env(&[])).await.unwrap_err();
    assert!(error.contains("proxy-url: found 10.0.0.9:3128;"), "{error}");
    let named = json!({"server": "https://a:s3cr3t@10.0.0.9:6443"});
    let source = Kubernetes { kubeconfig: Some(kubeconfig(&folder, "named", named)), ..Kubernetes::default() };
    let error = load(&source, folder.path(), &env(&[])).await.unwrap_err();
    assert!(error.contains("server: found a user before 10.0.0.9:6443;"), "{error}");
}
