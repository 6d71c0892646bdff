//! The table `inet vipcast` and the classic SNAT rule.

mod packets;
mod random;
mod rig;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use vipcast::model::Family;
use vipcast::model::ipvs::{
    Destination, DestinationKey, Forwarding, Protocol, Scheduler, ServerFlags, ServerKey, ServerSettings,
};
use vipcast::model::nft::{Elements, Mss, Nft, Source, Table};

use super::*;

fn table(masquerade: &[&str], guard: &[&str]) -> Table {
    Table { masquerade: ranges(masquerade), guard: ranges(guard), ..Table::default() }
}

impl Node {
    async fn nft(&mut self) -> Nft {
        self.read().await.nft.unwrap()
    }

    async fn table(&mut self) -> Table {
        self.nft().await.table.unwrap()
    }
}

#[test]
fn tables_are_read_back_and_deleted() {
    with_kernel(async |node| {
        assert_eq!(node.nft().await, Nft::default());
        let tables = [
            table(&[V4, V6], &[V4, V6, "192.0.2.7/32"]),
            table(&[], &[V6]),
            table(&[V4], &[]),
            table(&[], &[]),
            table(&["0.0.0.0/0"], &["::/0"]),
            table(&["10.0.0.0/24", "10.0.1.0/24", "255.255.255.254/31"], &["::/1", "8000::/1"]),
        ];
        for table in tables {
            node.done([Step::ReplaceTable(table.clone())]).await;
            assert_eq!(node.table().await, table);
        }
        for _ in 0..2 {
            node.done([Step::DeleteTable]).await;
            assert_eq!(node.nft().await, Nft::default());
        }
    });
}

#[test]
fn ranges_that_overlap_are_refused_and_the_table_stays() {
    with_kernel(async |node| {
        let good = table(&[V4], &[V4]);
        node.done([Step::ReplaceTable(good.clone())]).await;
        let words = node.refused(Step::ReplaceTable(table(&[V4, "10.96.1.0/24"], &[V4]))).await;
        assert!(words.starts_with("nft: ") && words.contains("conflicting intervals"), "{words}");
        assert_eq!(node.table().await, good);
    });
}

#[test]
fn whatever_somebody_changes_in_our_table_is_seen_and_repaired() {
    with_kernel(async |node| {
        let desired = table(&[V4, V6], &[V4, V6]);
        let changes = [
            "nft add rule inet vipcast input tcp dport 22 accept",
            "nft insert rule inet vipcast refuse accept",
            "nft flush chain inet vipcast refuse",
            "nft flush chain inet vipcast postrouting",
            "nft add element inet vipcast guard4 { 192.0.2.0/24 }",
            "nft delete element inet vipcast masquerade6 { fd00:10:96::/112 }",
            "nft add chain inet vipcast output { type filter hook output priority 0; policy drop; }",
            "nft add set inet vipcast more { type ipv4_addr; }",
            "nft add chain inet vipcast input { policy drop; }",
            "nft add element inet vipcast keep4 { 10.96.0.1 . tcp . 80 }",
            "nft add element inet vipcast allowed6 { fd00:10:96::1 . tcp . 80 . ::/0 }",
            "nft insert rule inet vipcast translate accept",
            "nft delete chain inet vipcast admission",
            "nft add table inet vipcast { flags dormant; }",
            "nft delete table inet vipcast",
        ];
        for change in changes {
            node.done([Step::ReplaceTable(desired.clone())]).await;
            assert_eq!(node.nft().await.table, Some(desired.clone()), "before {change}");
            sh(change);
            assert_ne!(node.nft().await.table, Some(desired.clone()), "{change}");
        }
        node.done([Step::ReplaceTable(desired.clone())]).await;
        assert_eq!(node.table().await, desired);
    });
}

#[test]
fn the_guard_refuses_ports_of_the_node_and_nothing_else() {
    with_kernel(async |node| {
        node.with_uplink();
        node.done([Step::EnsureLink, set_route(V4, "10.0.1.2"), set_route(V6, "fd01::2")]).await;
        // As sshd would: on all addresses, so on the VIPs too.
        let server = TcpListener::bind("[::]:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let connect = |address: &str| {
            TcpStream::connect_timeout(&SocketAddr::new(address.parse().unwrap(), port), Duration::from_secs(10))
        };
        for vip in ["10.96.0.1", "fd00:10:96::1"] {
            connect(vip).unwrap();
        }
        node.done([Step::ReplaceTable(table(&[], &[V4, V6]))]).await;
        for (vip, own) in [("10.96.0.1", "10.0.1.2"), ("fd00:10:96::1", "fd01::2")] {
            assert_eq!(connect(vip).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{vip}");
            connect(own).unwrap();
            sh(&format!("ping -c 1 -W 10 {vip}"));

            let udp = UdpSocket::bind((own, 0)).unwrap();
            udp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            udp.connect((vip, 9)).unwrap();
            udp.send(b"?").unwrap();
            assert_eq!(udp.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{vip}");

            // A connection from a VIP: its replies are addressed to the VIP.
            let socket = match own.parse().unwrap() {
                IpAddr::V4(_) => tokio::net::TcpSocket::new_v4().unwrap(),
                IpAddr::V6(_) => tokio::net::TcpSocket::new_v6().unwrap(),
            };
            // IPv6 wants an address on a link, IPv4 is content with the local route.
            if own.contains(':') {
                rustix::net::sockopt::set_ipv6_freebind(&socket, true).unwrap();
            }
            socket.bind(SocketAddr::new(vip.parse().unwrap(), 0)).unwrap();
            let reached = socket.connect(SocketAddr::new(own.parse().unwrap(), port));
            tokio::time::timeout(Duration::from_secs(10), reached).await.unwrap().unwrap();

            // What IPVS takes never gets to the guard.
            let server = ServerKey { address: vip.parse().unwrap(), protocol: Protocol::Tcp, port };
            let settings =
                ServerSettings { scheduler: Scheduler::new("rr"), flags: ServerFlags::default(), timeout: 0 };
            let destination = DestinationKey { address: own.parse().unwrap(), port };
            let weighted = Destination { weight: 1, forwarding: Forwarding::Masquerade };
            node.done([Step::AddServer(server, settings), Step::AddDestination(server, destination, weighted)]).await;
            connect(vip).unwrap();
        }
    });
}

#[test]
fn the_classic_rule_is_written_read_and_deleted() {
    with_kernel(async |node| {
        for family in Family::ALL {
            node.done([Step::DeleteClassicSnat(family)]).await;
            for _ in 0..2 {
                node.done([Step::SetClassicSnat(family)]).await;
                let found = node.nft().await;
                assert!(found.classic.contains(&family) && found.classic_broken.is_empty(), "{found:?}");
            }
        }
        for (family, iptables) in [(Family::Ipv4, "iptables"), (Family::Ipv6, "ip6tables")] {
            for damage in [
                "-F VIPCAST-SNAT",
                "-D POSTROUTING -j VIPCAST-SNAT",
                "-A POSTROUTING -j VIPCAST-SNAT",
                "-I VIPCAST-SNAT -j RETURN",
            ] {
                sh(&format!("{iptables} -t nat {damage}"));
                let found = node.nft().await;
                assert!(
                    found.classic_broken.contains(&family) && !found.classic.contains(&family),
                    "{damage}: {found:?}"
                );
                node.done([Step::SetClassicSnat(family)]).await;
                assert_eq!(node.nft().await.classic, Family::ALL.into(), "{damage}");
            }
        }
        for family in Family::ALL {
            for _ in 0..2 {
                node.done([Step::DeleteClassicSnat(family)]).await;
            }
            assert!(!node.nft().await.classic.contains(&family));
        }
        assert_eq!(node.nft().await, Nft::default());
        assert!(!sh("nft list ruleset").contains("VIPCAST-SNAT"));
    });
}

#[test]
fn rules_of_iptables_legacy_are_no_hindrance() {
    with_kernel(async |node| {
        sh("iptables-legacy -t nat -A POSTROUTING -p tcp -j ACCEPT");
        let before = sh("iptables-legacy-save -t nat");
        assert_eq!(node.nft().await, Nft::default());
        node.done([Step::SetClassicSnat(Family::Ipv4)]).await;
        assert_eq!(node.nft().await.classic, [Family::Ipv4].into());
        node.done([Step::DeleteClassicSnat(Family::Ipv4)]).await;
        assert_eq!(node.nft().await, Nft::default());
        let rules =
            |saved: String| saved.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(rules(sh("iptables-legacy-save -t nat")), rules(before));
    });
}
