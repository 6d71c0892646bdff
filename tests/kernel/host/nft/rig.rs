//! A client, the node and a pod, each in a network namespace of its own, and a virtual server in front of the pod.

use std::io::{BufRead, BufReader, Error, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

use vipcast_lab::Netns;

use super::*;

/// How long a client waits for what should come, and for what should not.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_secs(2);

pub(super) const PORT: u16 = 80;
pub(super) const POD_PORT: u16 = 8080;

/// What one family has where.
pub(super) struct Addresses {
    pub(super) vip: &'static str,
    /// The node's, towards the client and towards the pod.
    pub(super) node: &'static str,
    pub(super) node_at_pod: &'static str,
    pub(super) client: &'static str,
    pub(super) other_client: &'static str,
    pub(super) pod: &'static str,
}

pub(super) const IPV4: Addresses = Addresses {
    vip: "10.96.0.1",
    node: "192.0.2.1",
    node_at_pod: "10.244.1.1",
    client: "192.0.2.2",
    other_client: "192.0.2.130",
    pod: "10.244.1.2",
};

pub(super) const IPV6: Addresses = Addresses {
    vip: "fd00:10:96::1",
    node: "fd02::1",
    node_at_pod: "fd00:244::1",
    client: "fd02::2",
    other_client: "fd02::82",
    pod: "fd00:244::2",
};

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn key(address: &str, protocol: Protocol) -> ServerKey {
    ServerKey { address: ip(address), protocol, port: PORT }
}

/// The outer namespaces; the node's is that of the thread.
pub(super) struct Rig {
    pub(super) client: Netns,
    pub(super) pod: Netns,
}

/// Runs `test` with traffic from the client to the VIPs going to the pod, and a table with the ranges of both VIPs.
pub(super) fn with_rig(test: impl AsyncFnOnce(&mut Node, &Rig) + Send) {
    with_kernel(async |node| {
        let rig = Rig { client: Netns::new().unwrap(), pod: Netns::new().unwrap() };
        let link = |name: &str, netns: &Netns, ours: [&str; 2], theirs: &[&str], gateways: [&str; 2]| {
            let there = netns.name();
            sh(&format!("ip link add {name} type veth peer name eth0 netns {there}"));
            for address in ours {
                sh(&format!("ip addr add {address} dev {name} nodad"));
            }
            sh(&format!("ip link set {name} up"));
            for address in theirs {
                sh(&format!("ip -n {there} addr add {address} dev eth0 nodad"));
            }
            sh(&format!("ip -n {there} link set eth0 up"));
            for gateway in gateways {
                sh(&format!("ip -n {there} route add default via {gateway}"));
            }
        };
        // Of several, IPv4 takes the first for itself, IPv6 the last.
        let clients = ["192.0.2.2/24", "192.0.2.130/24", "fd02::82/64", "fd02::2/64"];
        link("client0", &rig.client, ["192.0.2.1/24", "fd02::1/64"], &clients, [IPV4.node, IPV6.node]);
        let pods = ["10.244.1.2/24", "fd00:244::2/64"];
        link("pod0", &rig.pod, ["10.244.1.1/24", "fd00:244::1/64"], &pods, [IPV4.node_at_pod, IPV6.node_at_pod]);
        for name in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/vs/conntrack"] {
            node.done([Step::SetSysctl(vipcast::model::sysctl::Sysctl(name.into()), "1".into())]).await;
        }
        node.done([Step::EnsureLink, set_route(V4, IPV4.node), set_route(V6, IPV6.node)]).await;
        for family in [IPV4, IPV6] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                serve(node, key(family.vip, protocol), family.pod).await;
            }
            rig.serve(ip(family.pod));
        }
        test(node, &rig).await;
    });
}

/// Creates a virtual server with the pod as its destination.
pub(super) async fn serve(node: &mut Node, key: ServerKey, pod: &str) {
    let settings = ServerSettings { scheduler: Scheduler::new("rr"), flags: ServerFlags::default(), timeout: 0 };
    let destination = DestinationKey { address: ip(pod), port: POD_PORT };
    let weighted = Destination { weight: 1, forwarding: Forwarding::Masquerade };
    node.done([Step::AddServer(key, settings), Step::AddDestination(key, destination, weighted)]).await;
}

impl Rig {
    /// The pod says whom it sees: TCP, a line at once, then an echo; UDP, a datagram for each. The threads end with the
    /// test's process.
    fn serve(&self, address: IpAddr) {
        let address = SocketAddr::new(address, POD_PORT);
        let (tcp, udp) =
            self.pod.run(|| (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap())).unwrap();
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                thread::spawn(move || -> Result<(), Error> {
                    writeln!(&stream, "{}", stream.peer_addr()?)?;
                    let mut byte = [0];
                    loop {
                        (&stream).read_exact(&mut byte)?;
                        (&stream).write_all(&byte)?;
                    }
                });
            }
        });
        thread::spawn(move || {
            while let Ok((_, from)) = udp.recv_from(&mut [0; 8]) {
                let _ = udp.send_to(from.to_string().as_bytes(), from);
            }
        });
    }

    /// A connection of the client's to port [`PORT`] of `vip`.
    pub(super) fn connect(&self, vip: &str) -> Result<Connection, Error> {
        connect(&self.client, SocketAddr::new(ip(if vip.contains(':') { "::" } else { "0.0.0.0" }), 0), vip, LONG)
    }

    /// A connection from this address, which is given up soon if there is no answer.
    pub(super) fn connect_from(&self, source: SocketAddr, vip: &str) -> Result<Connection, Error> {
        connect(&self.client, source, vip, SHORT)
    }

    /// A UDP socket of the client's that is connected to port [`PORT`] of `vip`.
    pub(super) fn udp(&self, vip: &str) -> UdpSocket {
        let any = SocketAddr::new(ip(if vip.contains(':') { "::" } else { "0.0.0.0" }), 0);
        let socket = self.client.run(|| UdpSocket::bind(any).unwrap()).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket.connect((ip(vip), PORT)).unwrap();
        socket
    }
}

/// A connection to the pod.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// Whom the pod sees.
    pub(super) seen: SocketAddr,
}

impl Connection {
    /// Sends a byte and waits for it to come back.
    pub(super) fn exchange(&self) -> Result<(), Error> {
        (&self.stream).write_all(b"?")?;
        (&self.stream).read_exact(&mut [0])
    }
}

/// Connects from `source` in a namespace.
pub(super) fn connect(netns: &Netns, source: SocketAddr, vip: &str, patience: Duration) -> Result<Connection, Error> {
    let target = SocketAddr::new(ip(vip), PORT);
    let stream = netns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let socket = match source {
                SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
                SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            socket.bind(source)?;
            tokio::time::timeout(patience, socket.connect(target)).await.map_err(Error::other)??.into_std()
        })
    });
    let stream = stream.unwrap()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(patience))?;
    let mut line = String::new();
    BufReader::with_capacity(1, &stream).read_line(&mut line)?;
    Ok(Connection { stream, seen: line.trim_end().parse().map_err(Error::other)? })
}

/// What a UDP client sends once and gets back: whom the pod sees.
pub(super) fn ask(socket: &UdpSocket) -> Result<SocketAddr, Error> {
    let mut answer = [0; 64];
    socket.send(b"?")?;
    let length = socket.recv(&mut answer)?;
    String::from_utf8_lossy(&answer[..length]).parse().map_err(Error::other)
}
