//! Notifications: what concerns us wakes us, what does not, does not.

use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver};
use vipcast::apply::monitor;
use vipcast::model::Family;
use vipcast::model::nft::Table;
use vipcast::plan::Change;

use super::*;

/// How long nothing has to come until nothing will. Too short a time on a slow machine could only hide a failure.
const QUIET: Duration = Duration::from_millis(700);

/// What the monitor says.
struct Ear {
    changes: Receiver<Change>,
}

impl Ear {
    fn open() -> Ear {
        let (sender, changes) = mpsc::channel(1);
        tokio::spawn(async move { monitor::watch(sender).await.unwrap() });
        Ear { changes }
    }

    /// Waits until no more changes come; did any?
    async fn heard(&mut self) -> bool {
        let mut any = false;
        while let Ok(change) = tokio::time::timeout(QUIET, self.changes.recv()).await {
            assert_eq!(change, Some(Change::HostMoved));
            any = true;
        }
        any
    }

    /// Waits for a change, and until no more come.
    async fn hears(&mut self, what: &str) {
        let change = tokio::time::timeout(Duration::from_secs(30), self.changes.recv()).await;
        assert_eq!(change, Ok(Some(Change::HostMoved)), "{what}");
        self.heard().await;
    }
}

#[test]
fn what_concerns_us_is_heard() {
    with_kernel(async |node| {
        node.with_uplink();
        let mut ear = Ear::open();
        ear.hears("the start").await;
        let both = ranges(&[V4, V6]);
        let table = Table { masquerade: both.clone(), guard: both, ..Table::default() };
        for step in [
            Step::EnsureLink,
            set_route(V4, "10.0.1.2"),
            set_route(V6, "fd01::2"),
            set_route(V4, "10.0.1.3"),
            Step::ReplaceTable(table),
            Step::SetClassicSnat(Family::Ipv4),
            Step::SetClassicSnat(Family::Ipv6),
        ] {
            node.done([step.clone()]).await;
            ear.hears(&format!("{step:?}")).await;
        }
        for line in [
            "ip link set vipcast0 down",
            "ip link set vipcast0 up",
            "ip route del local 10.96.0.0/16 table local",
            "ip route add local 10.96.3.3/32 dev vipcast0",
            "ip addr add 10.0.1.4/24 dev uplink0",
            "ip addr del 10.0.1.4/24 dev uplink0",
            "ip addr add fd01::4/64 dev uplink0",
            "ip addr del fd01::4/64 dev uplink0",
            "ip route add default via 10.0.1.1",
            "ip route del default",
            "nft add rule inet vipcast input accept",
            "nft flush chain inet vipcast refuse",
            "nft delete element inet vipcast guard4 { 10.96.0.0/16 }",
            "nft delete table inet vipcast",
            "iptables -t nat -F VIPCAST-SNAT",
            "ip6tables -t nat -D POSTROUTING -j VIPCAST-SNAT",
            "ip link set vipcast0 down",
            "ip link set vipcast0 name other0",
            "ip link set other0 name vipcast0",
            "ip link del vipcast0",
        ] {
            sh(line);
            ear.hears(line).await;
        }
    });
}

#[test]
fn what_concerns_others_is_not_heard() {
    with_kernel(async |node| {
        node.with_uplink();
        node.done([Step::EnsureLink, set_route(V4, "10.0.1.2")]).await;
        let mut ear = Ear::open();
        ear.hears("the start").await;
        for line in [
            "ip link add other0 type dummy",
            "ip link set other0 up",
            "ip addr add fe80::77/64 dev other0 nodad",
            "ip route add 10.97.0.0/16 dev uplink0",
            "ip route add local 10.98.0.0/16 dev lo proto static",
            "nft add table inet other",
            "nft add chain inet other input { type filter hook input priority 0; }",
            "nft add rule inet other input ip daddr 10.96.0.1 accept",
            "nft delete table inet other",
            "nft add table ip vipcast",
            "iptables -t nat -A POSTROUTING -p tcp -j MASQUERADE",
            "ip link del other0",
        ] {
            sh(line);
            assert!(!ear.heard().await, "{line}");
        }
    });
}

#[test]
fn notifications_that_are_lost_are_a_change() {
    with_kernel(async |node| {
        node.with_uplink();
        let mut ear = Ear::open();
        ear.hears("the start").await;
        // None of it concerns us, but nobody listens meanwhile: the command keeps this thread busy.
        let folder = tempfile::tempdir().unwrap();
        let batch = folder.path().join("routes");
        let line = |i: u32| format!("route add 10.50.{}.{}/32 dev uplink0\n", i / 250, i % 250);
        std::fs::write(&batch, (0..4000).map(line).collect::<String>()).unwrap();
        sh(&format!("ip -batch {}", batch.display()));
        ear.hears("the loss").await;
    });
}
