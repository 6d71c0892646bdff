//! Faults that the real API server does not produce when asked to: a fake one, of a few lines, plays them.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::follow::Follower;
use super::servers::{Address, Servers};
use super::*;
use crate::model::Event;

/// Longer than anything here takes.
const TOO_LONG: Duration = Duration::from_secs(60);

/// What the fake answers to a request.
enum Reply {
    /// A document.
    Document(u16, Value),
    /// Lines of a watch, which then stays open.
    Watch(Vec<String>),
    /// Lines of a watch, which then ends.
    Cut(Vec<String>),
    /// The beginning of a document, whose rest never comes.
    Stalled(u16),
    /// Nothing, for ever.
    Silence,
}

/// A server that answers as told, and keeps a record of the requests: path and parameters, and what was posted.
struct Fake {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fake {
    /// `reply` gets the request's target, and how many came before.
    async fn start(reply: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (record, reply) = (asked.clone(), Arc::new(reply));
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (record, reply) = (record.clone(), reply.clone());
                connections.spawn(async move { serve(stream, &record, &*reply).await });
            }
        });
        Fake { url, asked, server }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    stream: TcpStream,
    record: &Mutex<Vec<String>>,
    reply: &(dyn Fn(&str, usize) -> Reply + Send + Sync),
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await?;
        let target = format!("{}{}", head.split(' ').nth(1).unwrap_or_default(), String::from_utf8_lossy(&body));
        let before = {
            let mut record = record.lock().unwrap();
            record.push(target.clone());
            record.len() - 1
        };
        let (lines, stays) = match reply(&target, before) {
            Reply::Silence => return std::future::pending().await,
            Reply::Stalled(status) => {
                stream.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 9\r\n\r\n{{").as_bytes()).await?;
                return std::future::pending().await;
            }
            Reply::Document(status, value) => {
                let body = value.to_string();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await?;
                continue;
            }
            Reply::Watch(lines) => (lines, true),
            Reply::Cut(lines) => (lines, false),
        };
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        for line in lines {
            stream.write_all(format!("{:x}\r\n{line}\n\r\n", line.len() + 1).as_bytes()).await?;
        }
        if stays {
            return std::future::pending().await;
        }
        stream.write_all(b"0\r\n\r\n").await?;
    }
}

fn service(name: &str, version: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
           "metadata": {"name": name, "namespace": "shop", "resourceVersion": version.to_string()},
           "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}})
}

fn line(what: &str, object: &Value) -> String {
    json!({"type": what, "object": object}).to_string()
}

/// The end of a streamed list.
fn end(version: u32) -> String {
    let metadata =
        json!({"resourceVersion": version.to_string(), "annotations": {"k8s.io/initial-events-end": "true"}});
    line("BOOKMARK", &json!({"kind": "Service", "apiVersion": "v1", "metadata": metadata}))
}

fn list(items: &[Value], more: Option<&str>) -> Value {
    json!({"kind": "ServiceList", "apiVersion": "v1", "items": items,
           "metadata": {"resourceVersion": "100", "continue": more}})
}

fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "X"})
}

fn is_list(target: &str) -> bool {
    !target.contains("watch=true")
}

fn is_stream(target: &str) -> bool {
    target.contains("sendInitialEvents=true")
}

/// The way to servers at these URLs, with credentials that say nothing.
fn servers(folder: &TempDir, urls: &[&str]) -> Servers {
    let kubeconfig = folder.path().join("kubeconfig");
    let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": urls[0]}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": ""}}], "users": []});
    std::fs::write(&kubeconfig, text.to_string()).unwrap();
    let servers = urls.iter().map(|url| (*url).to_owned()).collect();
    let source = config::Kubernetes { kubeconfig: Some(kubeconfig), context: None, servers };
    Servers::new(source, Path::new("/none"), folder.path(), true)
}

/// A follower of one kind, and what it tells.
struct Stage {
    events: Receiver<Change>,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stage {
    fn new(kind: Kind, dispensable: bool, urls: &[&str]) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let servers = servers(&folder, urls);
        Stage::with(folder, servers, kind, dispensable)
    }

    fn with(folder: TempDir, servers: Servers, kind: Kind, dispensable: bool) -> Stage {
        let (changes, events) = mpsc::channel(64);
        let follower = Follower { kind, node: "lb1".to_owned(), dispensable, servers: Arc::new(servers), changes };
        let task = tokio::spawn(async move { _ = follower.run().await });
        Stage { events, task, _folder: folder }
    }

    /// The next event in few words. What depends on the time is left out.
    async fn next(&mut self) -> String {
        let change = timeout(TOO_LONG, self.events.recv()).await.expect("an event").unwrap();
        let Change::Source(event) = change else { panic!("{change:?}") };
        match event {
            Event::Listing(_) => "listing".to_owned(),
            Event::Listed(_) => "listed".to_owned(),
            Event::Put(Object::Service(key, _)) => format!("put {key}"),
            Event::Gone(object) => format!("gone {object}"),
            Event::Bad(object, problem) => format!("bad {object}: {problem}"),
            Event::Trouble { problem: Some(problem), .. } => {
                format!("trouble {}", problem.split("; trying since").next().unwrap_or_default())
            }
            Event::Trouble { problem: None, .. } => "well".to_owned(),
            Event::Put(Object::Node(_)) => "put this node".to_owned(),
            Event::Put(Object::OtherNode(name, found)) => format!("put Node {name} {:?}", found.addresses),
            Event::Put(other) => panic!("{other:?}"),
        }
    }

    async fn expect(&mut self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.next().await, *expected);
        }
    }

    async fn quiet(&mut self) {
        sleep(Duration::from_millis(300)).await;
        assert!(self.events.is_empty(), "{:?}", self.events.recv().await);
    }
}

#[tokio::test]
async fn a_streamed_list_and_what_changes_later() {
    let fake = Fake::start(|_, _| {
        Reply::Watch(vec![
            line("ADDED", &service("a", 1)),
            line(
                "ADDED",
                &json!({"metadata": {"name": "odd", "namespace": "shop", "resourceVersion": "2"}, "spec": 5}),
            ),
            end(5),
            line("MODIFIED", &service("a", 6)),
            line(
                "ADDED",
                &json!({"metadata": {"name": "odd", "namespace": "shop", "resourceVersion": "7"},
                                  "spec": {"clusterIP": "10.96.0.x"}}),
            ),
            line("DELETED", &service("a", 8)),
        ])
    })
    .await;
    let mut stage = Stage::new(Kind::Service, false, &[&fake.url]);
    stage.expect(&["listing", "put shop/a"]).await;
    let bad = stage.next().await;
    assert!(bad.starts_with("bad Service shop/odd: spec: "), "{bad}");
    stage.expect(&["listed", "put shop/a"]).await;
    let bad = stage.next().await;
    assert!(bad.starts_with("bad Service shop/odd: spec.clusterIP is \"10.96.0.x\""), "{bad}");
    stage.expect(&["gone Service shop/a"]).await;
    let asked = fake.asked();
    assert_eq!(asked.len(), 1);
    for part in ["sendInitialEvents=true", "allowWatchBookmarks=true", "timeoutSeconds=120", "service-proxy-name"] {
        assert!(asked[0].contains(part), "{asked:?}");
    }
}

/// All Nodes are told, of others only what must not be a VIP, and by their names they go.
#[tokio::test]
async fn our_node_and_the_others() {
    let node = |name: &str, address: &str| {
        json!({"metadata": {"name": name, "resourceVersion": "1"},
               "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
    };
    let fake = Fake::start(move |target, _| {
        assert!(!target.contains("fieldSelector"), "{target}");
        Reply::Watch(vec![
            line("ADDED", &node("lb1", "10.0.1.2")),
            line("ADDED", &node("lb2", "10.0.1.3")),
            line("ADDED", &node("lb3", "x")),
            end(5),
            line("DELETED", &node("lb2", "10.0.1.3")),
        ])
    })
    .await;
    let mut stage = Stage::new(Kind::Node, false, &[&fake.url]);
    let bad = "bad Node lb3: status.addresses[0].address is \"x\"; allowed: an IPv4 or IPv6 address";
    stage.expect(&["listing", "put this node", "put Node lb2 {10.0.1.3}", bad, "listed", "gone Node lb2"]).await;
}

#[tokio::test]
async fn where_lists_are_not_streamed_they_are_read_in_pages() {
    let fake = Fake::start(|target, before| match target {
        _ if is_stream(target) && before == 0 => Reply::Document(422, status(422, "sendInitialEvents: Forbidden")),
        _ if is_stream(target) => Reply::Watch(vec![line("ADDED", &service("d", 120)), end(130)]),
        _ if is_list(target) && target.contains("continue=next") => {
            Reply::Document(200, list(&[service("b", 2)], None))
        }
        _ if is_list(target) => Reply::Document(200, list(&[service("a", 1)], Some("next"))),
        // Its history is gone, and when all is listed anew the server has learned to stream.
        _ => Reply::Cut(vec![line("ADDED", &service("c", 101)), line("ERROR", &status(410, "too old"))]),
    })
    .await;
    let mut stage = Stage::new(Kind::Service, false, &[&fake.url]);
    stage.expect(&["listing", "put shop/a", "put shop/b", "listed", "put shop/c"]).await;
    stage.expect(&["listing", "put shop/d", "listed"]).await;
    stage.quiet().await;
}

/// A watch that cannot go on where it was: kube's watcher alone would ask for the same for ever.
#[tokio::test]
async fn what_cannot_be_resumed_is_listed_anew() {
    let ahead = json!({"kind": "Status", "apiVersion": "v1", "code": 504, "message": "Too large resource version",
        "reason": "Timeout", "details": {"causes": [{"reason": "ResourceVersionTooLarge", "message": "x"}]}});
    for refusal in [status(410, "too old resource version"), ahead] {
        let code = u16::try_from(refusal["code"].as_u64().unwrap()).unwrap();
        let fake = Fake::start(move |target, before| match before {
            0 => Reply::Cut(vec![line("ADDED", &service("a", 1)), end(5)]),
            _ if is_stream(target) => Reply::Watch(vec![line("ADDED", &service("b", 9)), end(9)]),
            _ => Reply::Document(code, refusal.clone()),
        })
        .await;
        let mut stage = Stage::new(Kind::Service, false, &[&fake.url]);
        stage.expect(&["listing", "put shop/a", "listed", "listing", "put shop/b", "listed"]).await;
        stage.quiet().await;
    }
}

/// What was garbled on its way may have been an object of the list, or a change.
#[tokio::test]
async fn a_garbled_line_is_not_passed_over() {
    let fake = Fake::start(|_, before| match before {
        0 => Reply::Watch(vec![line("ADDED", &service("a", 1)), "{\"type\":\"ADDED\",]".to_owned(), end(5)]),
        1 => Reply::Watch(vec![line("ADDED", &service("a", 1)), end(5), "garbage".to_owned()]),
        _ => Reply::Watch(vec![line("ADDED", &service("b", 9)), end(9)]),
    })
    .await;
    let mut stage = Stage::new(Kind::Service, false, &[&fake.url]);
    stage.expect(&["listing", "put shop/a"]).await;
    assert!(stage.next().await.starts_with("trouble "));
    stage.expect(&["listing", "put shop/a", "listed", "well"]).await;
    assert!(stage.next().await.starts_with("trouble "));
    stage.expect(&["listing", "put shop/b", "listed", "well"]).await;
}

#[tokio::test]
async fn a_refusal_is_told_once_and_taken_back() {
    let fake = Fake::start(|_, before| match before {
        0..3 => {
            Reply::Document(403, status(403, "services is forbidden: User \"x\" cannot watch resource \"services\""))
        }
        3 => Reply::Document(401, status(401, "Unauthorized")),
        _ => Reply::Watch(vec![end(5)]),
    })
    .await;
    let mut stage = Stage::new(Kind::Service, false, &[&fake.url]);
    let forbidden = "trouble 403: services is forbidden: User \"x\" cannot watch resource \"services\"; the RBAC rules of \
                     deploy/ allow it";
    let credentials = "trouble 401: it does not accept our credentials (Unauthorized)";
    stage.expect(&[forbidden, credentials, "listing", "listed", "well"]).await;
    stage.quiet().await;
}

#[tokio::test]
async fn a_lost_watch_that_comes_back_is_well_again_without_a_word() {
    let fake = Fake::start(|target, before| match before {
        0 => Reply::Cut(vec![end(5)]),
        1 => Reply::Document(500, status(500, "no leader")),
        _ if is_stream(target) => Reply::Document(400, status(400, "not again")),
        _ => Reply::Watch(Vec::new()),
    })
    .await;
    let mut stage = Stage::new(Kind::Service, false, &[&fake.url]);
    stage.expect(&["listing", "listed", "trouble 500: no leader", "well"]).await;
    stage.quiet().await;
}

/// A list that was cut has not told of all there is.
#[tokio::test]
async fn a_list_that_does_not_end_is_not_complete() {
    let fake = Fake::start(|target, before| match target {
        _ if is_stream(target) => Reply::Cut(vec![line("ADDED", &service("a", 1))]),
        _ if is_list(target) && before < 5 => Reply::Document(500, status(500, "busy")),
        _ if is_list(target) => Reply::Document(200, list(&[service("a", 1)], None)),
        _ => Reply::Watch(Vec::new()),
    })
    .await;
    let mut stage = Stage::new(Kind::Service, false, &[&fake.url]);
    // Twice the stream ends too soon, then all is read in pages.
    stage.expect(&["listing", "put shop/a", "listing", "put shop/a", "listing"]).await;
    // A failed list is begun again, with another attempt at streaming.
    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| last != "listed") {
        heard.push(stage.next().await);
    }
    assert_eq!(heard[0], "trouble 500: busy");
    assert!(heard.ends_with(&["listing", "put shop/a", "listed"].map(str::to_owned)), "{heard:?}");
    stage.expect(&["well"]).await;
}

/// While a list is under way, a watch that was granted before says nothing.
#[tokio::test]
async fn a_list_in_trouble_is_not_well() {
    let fake = Fake::start(|target, _| match target {
        _ if is_stream(target) => Reply::Document(400, status(400, "no")),
        _ => Reply::Document(500, status(500, "busy")),
    })
    .await;
    let mut stage = Stage::new(Kind::Service, false, &[&fake.url]);
    stage.expect(&["listing", "trouble 500: busy", "listing"]).await;
    sleep(Duration::from_secs(3)).await;
    while let Ok(Change::Source(event)) = stage.events.try_recv() {
        assert!(!matches!(event, Event::Trouble { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn watches_that_end_at_once_are_trouble() {
    let fake = Fake::start(|_, _| Reply::Cut(vec![end(5)])).await;
    let mut stage = Stage::new(Kind::Service, false, &[&fake.url]);
    stage.expect(&["listing", "listed"]).await;
    let fickle = "trouble the API server, or something before it, ends each watch as soon as it began";
    stage.expect(&[fickle]).await;
    assert!(fake.asked().len() < 10, "{:?}", fake.asked());
}

#[tokio::test]
async fn a_kind_that_the_server_does_not_have() {
    let fake =
        Fake::start(|_, _| Reply::Document(404, status(404, "the server could not find the requested resource"))).await;
    let mut stage = Stage::new(Kind::ServiceCidr, true, &[&fake.url]);
    stage.expect(&["listing", "listed"]).await;
    let mut stage = Stage::new(Kind::ServiceCidr, false, &[&fake.url]);
    let absent = "trouble the API server does not have servicecidrs.networking.k8s.io in version v1; Kubernetes has it \
                  since 1.33: configure ranges.clusterIPs";
    stage.expect(&[absent]).await;
    stage.quiet().await;
}

/// An address that nobody listens at.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn servers_are_tried_in_turn() {
    let (first, second) = (nobody().await, nobody().await);
    let mut stage = Stage::new(Kind::Service, false, &[&first, &second]);
    stage.expect(&[&format!("trouble {first}: connection refused; {second}: connection refused")]).await;

    let gone = json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "nodes \"lb1\" not found"});
    let fake = Fake::start(move |_, before| match before {
        0 => Reply::Document(404, gone.clone()),
        _ => Reply::Document(404, json!("no such page")),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let access = Access { servers: Arc::new(servers(&folder, &[&first, &fake.url])) };
    let reader = NodeReader::new(&access, "lb1");
    assert_eq!(reader.read().await, Ok(None));
    // Whatever says this, it is not the API server.
    assert_eq!(reader.read().await, Err("404: \"no such page\"".to_owned()));
    assert_eq!(access.server(), Some(fake.url.clone()));
    assert_eq!(access.servers.current(), Some(Address::Given(fake.url.clone())));
}

#[tokio::test]
async fn a_server_that_cannot_serve_is_left_for_the_next() {
    for code in [429, 500, 502, 503, 504] {
        let unable = Fake::start(move |_, _| Reply::Document(code, status(code, "not now"))).await;
        let able = Fake::start(|_, _| Reply::Watch(vec![end(5)])).await;
        let mut stage = Stage::new(Kind::Service, false, &[&unable.url, &able.url]);
        let trouble = format!("trouble {code}: not now");
        stage.expect(&[&trouble, "listing", "listed", "well"]).await;
    }
}

/// A list, or a refusal, that stops in the middle while the connection stays open.
#[tokio::test]
async fn an_answer_that_stalls_is_given_up() {
    for code in [200, 403] {
        let stalls = Fake::start(move |target, _| match target {
            _ if is_stream(target) && code == 200 => Reply::Document(400, status(400, "no")),
            _ => Reply::Stalled(code),
        })
        .await;
        let able = Fake::start(|target, _| match target {
            _ if is_stream(target) => Reply::Watch(vec![line("ADDED", &service("a", 1)), end(5)]),
            _ if is_list(target) => Reply::Document(200, list(&[service("a", 1)], None)),
            _ => Reply::Watch(Vec::new()),
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let mut servers = servers(&folder, &[&stalls.url, &able.url]);
        servers.patience = Duration::from_secs(1);
        let mut stage = Stage::with(folder, servers, Kind::Service, false);
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last| last != "listed") {
            heard.push(stage.next().await);
        }
        assert!(heard.ends_with(&["put shop/a", "listed"].map(str::to_owned)), "{heard:?}");
        assert!(!able.asked().is_empty());
    }
}

#[tokio::test]
async fn the_node_is_read_once() {
    let node =
        json!({"metadata": {"name": "lb1"}, "status": {"addresses": [{"type": "InternalIP", "address": "10.0.1.2"}]}});
    let fake = Fake::start(move |target, before| match before {
        0 if target == "/api/v1/nodes/lb1" => Reply::Document(200, node.clone()),
        1 => Reply::Document(200, json!({"metadata": {"name": "lb1"}, "status": 1})),
        2 => Reply::Document(403, status(403, "forbidden")),
        _ => Reply::Silence,
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let reader = NodeReader::new(&Access { servers: Arc::new(servers(&folder, &[&fake.url])) }, "lb1");
    assert_eq!(reader.read().await.unwrap().unwrap().addresses, ["10.0.1.2".parse::<std::net::IpAddr>().unwrap()]);
    assert!(reader.read().await.unwrap_err().starts_with("Node lb1: status: "));
    assert_eq!(reader.read().await.unwrap_err(), "403: forbidden; the RBAC rules of deploy/ allow it");
    assert_eq!(reader.read().await.unwrap_err(), "the API server does not answer within 5 s");
}

/// An address whose kernel takes no further connection, and does not say so.
async fn deaf() -> (String, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (format!("http://{address}"), listener, waiting)
}

#[tokio::test]
async fn the_node_is_read_at_the_next_server() {
    let (silent, _listener, _waiting) = deaf().await;
    let fake = Fake::start(|_, _| Reply::Document(200, json!({"metadata": {"name": "lb1"}}))).await;
    let folder = tempfile::tempdir().unwrap();
    let access = Access { servers: Arc::new(servers(&folder, &[&silent, &fake.url])) };
    let read = NodeReader::new(&access, "lb1").read().await;
    assert!(matches!(read, Ok(Some(_))), "{read:?}");
}

#[tokio::test]
async fn what_is_denied_is_found() {
    let fake = Fake::start(|target, _| match target {
        _ if target.contains("selfsubjectaccessreviews") => {
            let denied = target.contains("\"events\"") || target.contains("\"services\"");
            Reply::Document(201, json!({"status": {"allowed": !denied}}))
        }
        _ => Reply::Document(200, list(&[], None)),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let inquiry = Access { servers: Arc::new(servers(&folder, &[&fake.url])) }.inquire("vipcast").await;
    let rights = inquiry.answer.unwrap();
    assert_eq!(rights.denied, ["list services", "watch services"]);
    assert!(rights.denied_events);
    let create = |asked: &String| asked.contains("\"create\"") && asked.contains("\"events.k8s.io\"");
    assert!(fake.asked().iter().any(create), "{:?}", fake.asked());
}

#[tokio::test]
async fn it_ends_when_nobody_listens() {
    let url = nobody().await;
    let folder = tempfile::tempdir().unwrap();
    let access = Access { servers: Arc::new(servers(&folder, &[&url])) };
    let (changes, events) = mpsc::channel(64);
    let (_wanted, secrets) = tokio::sync::watch::channel(Default::default());
    let source = tokio::spawn(watch(access, "lb1".to_owned(), false, secrets, changes));
    drop(events);
    timeout(TOO_LONG, source).await.unwrap().unwrap();
}
