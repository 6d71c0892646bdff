//! With real sockets on loopback.

use std::net::{IpAddr, Ipv4Addr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::model::ServiceKey;
use crate::plan::Status;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server that is told things, of a node that is ready or not.
struct Server {
    tell: watch::Sender<Health>,
    _tasks: JoinSet<()>,
}

impl Server {
    fn start(ready: bool) -> Server {
        let (tell, told) = watch::channel(Health::default());
        let (ask, mut questions) = mpsc::channel::<Question>(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(told, ask));
        tasks.spawn(async move {
            while let Some(question) = questions.recv().await {
                if let Question::Status(answer) = question {
                    answer.send(Status { ready, ..Status::default() }).unwrap();
                }
            }
        });
        Server { tell, _tasks: tasks }
    }

    fn tell(&self, checks: &[(u16, &str, usize)]) {
        let check = |(port, service, local): &(u16, &str, usize)| {
            let (namespace, name) = service.split_once('/').unwrap();
            (*port, HealthCheck { service: ServiceKey::new(namespace, name), local: *local })
        };
        let checks = checks.iter().map(check).collect();
        self.tell.send_replace(Health { addresses: [LOOPBACK].into(), checks });
    }
}

/// Ports that nobody has.
fn free_ports<const N: usize>() -> [u16; N] {
    let sockets = [(); N].map(|()| std::net::TcpListener::bind((LOOPBACK, 0)).unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

/// The answer to a GET; `None` if the connection is refused.
async fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((LOOPBACK, port)).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    Some(answer)
}

/// The answer once the port is open.
async fn wait(port: u16, path: &str) -> String {
    for _ in 0..1000 {
        if let Some(answer) = get(port, path).await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("port {port} is not served");
}

/// Returns once the port is closed.
async fn wait_closed(port: u16) {
    for _ in 0..1000 {
        if TcpStream::connect((LOOPBACK, port)).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("port {port} is still served");
}

#[tokio::test]
async fn ports_answer_as_kube_proxy_does() {
    for (ready, local, code) in [(true, 3, 200), (true, 0, 503), (false, 3, 503), (false, 0, 503)] {
        let server = Server::start(ready);
        let [port] = free_ports();
        server.tell(&[(port, "shop/web", local)]);
        for path in ["/", "/healthz"] {
            let answer = wait(port, path).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let head = head.to_lowercase();
            assert!(head.starts_with(&format!("http/1.1 {code} ")), "{head}");
            for line in [
                "content-type: application/json".to_owned(),
                "x-content-type-options: nosniff".to_owned(),
                format!("x-load-balancing-endpoint-weight: {local}"),
            ] {
                assert!(head.lines().any(|found| found == line), "no {line} in {head}");
            }
            let expected = format!(
                "{{\"service\":{{\"namespace\":\"shop\",\"name\":\"web\"}},\"localEndpoints\":{local},\
                 \"serviceProxyHealthy\":{ready}}}"
            );
            assert_eq!(body, expected);
        }
    }
}

/// Case 16 of kube-proxy's: a port changes, then goes.
#[tokio::test]
async fn ports_come_change_and_go() {
    let server = Server::start(true);
    let [one, other] = free_ports();
    server.tell(&[(one, "shop/web", 1)]);
    assert!(wait(one, "/").await.contains("\"localEndpoints\":1"));
    server.tell(&[(one, "shop/web", 2)]);
    assert!(wait(one, "/").await.contains("\"localEndpoints\":2"), "told while it is open");
    let mut idle = TcpStream::connect((LOOPBACK, one)).await.unwrap();
    server.tell(&[(other, "shop/web", 2)]);
    wait_closed(one).await;
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0, "connections end with their port");
    wait(other, "/").await;
    server.tell(&[]);
    wait_closed(other).await;
}

#[tokio::test]
async fn a_port_of_somebody_else_is_taken_when_it_is_free() {
    let server = Server::start(true);
    let other = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let taken = other.local_addr().unwrap().port();
    let [free] = free_ports();
    server.tell(&[(taken, "shop/web", 1), (free, "shop/cart", 1)]);
    assert!(wait(free, "/").await.contains("\"cart\""), "one port keeps no other from being served");
    drop(other);
    assert!(wait(taken, "/").await.contains("\"web\""));
}
