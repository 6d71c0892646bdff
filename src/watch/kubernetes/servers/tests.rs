use super::*;

fn given(url: &str) -> Address {
    Address::Given(url.to_owned())
}

fn learned(endpoints: &[&str]) -> BTreeSet<SocketAddr> {
    endpoints.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn what_answered_last_is_asked_first() {
    let addresses = [given("https://a"), given("https://b")];
    let endpoints = learned(&["10.0.0.2:6443", "10.0.0.1:6443"]);
    let last = Address::Learned("10.0.0.2:6443".parse().unwrap());
    let gone = Address::Learned("10.0.0.3:6443".parse().unwrap());
    let texts = |current: Option<&Address>| {
        order(&addresses, &endpoints, current).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let usual = ["https://a", "https://b", "https://10.0.0.1:6443", "https://10.0.0.2:6443"];
    assert_eq!(texts(None), usual);
    assert_eq!(texts(Some(&gone)), usual);
    assert_eq!(texts(Some(&last)), [usual[3], usual[0], usual[1], usual[2]]);
    assert_eq!(texts(Some(&addresses[1])), [usual[1], usual[0], usual[2], usual[3]]);
}

#[test]
fn no_answer_is_told_for_each_address() {
    let failures = vec![
        (given("https://10.96.0.1:443"), "does not answer".to_owned()),
        (Address::Learned("[fd00::1]:6443".parse().unwrap()), "connection refused".to_owned()),
    ];
    let text = "https://10.96.0.1:443: does not answer; https://[fd00::1]:6443: connection refused";
    assert_eq!(Unreachable::Nobody(failures).to_string(), text);
}

/// A pod's service account, as far as connecting goes.
fn account(folder: &Path) {
    std::fs::write(folder.join("token"), "t").unwrap();
    std::fs::write(folder.join("ca.crt"), "-----BEGIN CERTIFICATE-----\n").unwrap();
}

#[tokio::test]
async fn endpoints_are_remembered_and_tried_last() {
    let folder = tempfile::tempdir().unwrap();
    account(folder.path());
    let source = config::Kubernetes { servers: vec!["https://10.0.0.9:6443".to_owned()], ..Default::default() };
    let texts = async |servers: &Servers| {
        let (_, addresses) = servers.addresses().await.unwrap();
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let first = Servers::new(source.clone(), folder.path(), folder.path(), true);
    assert_eq!(texts(&first).await, ["https://10.0.0.9:6443"]);
    first.learn(&learned(&["10.0.0.1:6443"]));
    first.answered(Address::Learned("10.0.0.1:6443".parse().unwrap()), StatusCode::OK);
    assert_eq!(texts(&first).await, ["https://10.0.0.1:6443", "https://10.0.0.9:6443"]);

    // The next agent knows them; one that only looks leaves them as they are.
    let next = Servers::new(source.clone(), folder.path(), folder.path(), false);
    assert_eq!(texts(&next).await, ["https://10.0.0.9:6443", "https://10.0.0.1:6443"]);
    next.learn(&learned(&["10.0.0.2:6443"]));
    assert_eq!(texts(&next).await, ["https://10.0.0.9:6443", "https://10.0.0.2:6443"]);
    assert_eq!(remembered::read(&remembered::file(folder.path())), learned(&["10.0.0.1:6443"]));

    // What is no endpoint any more is not asked first any more.
    first.learn(&learned(&["10.0.0.2:6443"]));
    assert_eq!(texts(&first).await, ["https://10.0.0.9:6443", "https://10.0.0.2:6443"]);
    assert!(!format!("{first:?}").contains("token"), "{first:?}");
}

#[tokio::test]
async fn endpoints_that_need_not_prove_themselves_are_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    account(folder.path());
    remembered::write(&remembered::file(folder.path()), &learned(&["10.0.0.1:6443"])).unwrap();
    let plain = config::Kubernetes { servers: vec!["http://127.0.0.1:8001".to_owned()], ..Default::default() };
    let servers = Servers::new(plain, folder.path(), folder.path(), false);
    assert_eq!(servers.addresses().await.unwrap().1, [given("http://127.0.0.1:8001")]);

    let kubeconfig = folder.path().join("kubeconfig");
    let text = serde_json::json!({"current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": "https://10.0.0.9:6443", "insecure-skip-tls-verify": true}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}], "users": []});
    std::fs::write(&kubeconfig, text.to_string()).unwrap();
    let source = config::Kubernetes { kubeconfig: Some(kubeconfig), ..Default::default() };
    let servers = Servers::new(source, folder.path(), folder.path(), false);
    assert_eq!(servers.addresses().await.unwrap().1, [given("https://10.0.0.9:6443")]);
}

#[tokio::test]
async fn a_server_that_is_unable_is_asked_last() {
    let folder = tempfile::tempdir().unwrap();
    account(folder.path());
    let urls = ["https://a", "https://b"];
    let source = config::Kubernetes { servers: urls.map(str::to_owned).into(), ..Default::default() };
    let servers = Servers::new(source, folder.path(), folder.path(), false);
    for (unable, next) in [("https://a", "https://b"), ("https://b", "https://a")] {
        servers.addresses().await.unwrap();
        servers.answered(given(unable), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(servers.current(), Some(given(next)));
    }
}

/// What a kubeconfig's program prints is a token, or close to one.
#[tokio::test]
async fn what_a_program_printed_is_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    // -----BEGIN PRIVATE KEY s3cr3t
    let key = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWSBzM2NyM3QK";
    let exec = |script: &str| {
        let env = [serde_json::json!({"name": "PASSWORD", "value": "s3cr3t"})];
        serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh",
            "args": ["-c", script, "s3cr3t"], "env": env, "interactiveMode": "Never"}})
    };
    let cases = [
        (exec("echo s3cr3t; echo s3cr3t >&2; exit 3"), "exec program failed (exit status: 3)"),
        (exec("echo 'status: {token: [s3cr3t]}'"), "printed no ExecCredential"),
        (exec("echo '{s3cr3t'"), "printed no ExecCredential"),
        (
            exec(r#"echo '{"status": {"token": "t", "expirationTimestamp": "s3cr3t"}}'"#),
            "the token's time of expiry is not one",
        ),
        (
            serde_json::json!({"client-certificate-data": key, "client-key-data": key}),
            "client certificate or client key: it is not in PEM",
        ),
    ];
    for (user, expected) in cases {
        let kubeconfig = folder.path().join("kubeconfig");
        let text = serde_json::json!({"current-context": "a",
            "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "users": [{"name": "a", "user": user}]});
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        let source = config::Kubernetes { kubeconfig: Some(kubeconfig), ..Default::default() };
        let servers = Servers::new(source, folder.path(), folder.path(), false);
        let error = servers.send(Request::new(Body::empty())).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        for secret in ["s3cr3t", format!("{:?}", b"s3cr3t").trim_matches(['[', ']'])] {
            assert!(!error.contains(secret), "{error}");
        }
    }
}
