//! The probe's link, and the probe itself through everything that it is to prove.

use vipcast::apply::probe::Prober;
use vipcast::model::addr::ProbeLink;
use vipcast::model::canary::{Canary, Fault, PORT};
use vipcast::model::ipvs::{Destination, DestinationKey, Forwarding, ServerSettings};
use vipcast::model::nft::Table;

use super::*;

const CANARIES: [&str; 2] = ["169.254.77.0/29", "fd76:6970:6361:7374::/125"];

fn canary(range: &str) -> Canary {
    Canary::of(prefix(range), true).unwrap()
}

fn beyond(range: &str) -> Prefix {
    canary(range).beyond().unwrap()
}

/// All that a canary is made of, apart from the link.
fn canary_steps() -> Vec<Step> {
    let canaries = CANARIES.map(canary);
    let vips: BTreeSet<Prefix> = canaries.iter().map(|canary| Prefix::host(canary.vip)).collect();
    let table = Table { masquerade: vips.clone(), guard: vips, ..Table::default() };
    let mut steps = vec![Step::ReplaceTable(table), Step::EnsureLink];
    for (canary, source) in canaries.iter().zip(["10.0.1.2", "fd01::2"]) {
        let name = DestinationKey { address: canary.destination, port: PORT };
        let destination = Destination { weight: 1, forwarding: Forwarding::Masquerade };
        steps.push(Step::AddServer(canary.server(), ServerSettings::default()));
        steps.push(Step::AddDestination(canary.server(), name, destination));
        steps.push(Step::SetRoute(Prefix::host(canary.vip), from(source)));
    }
    steps
}

#[test]
fn the_probes_link_is_made_read_back_changed_and_deleted() {
    with_kernel(async |node| {
        node.with_uplink();
        for routes in [vec![beyond(CANARIES[0]), beyond(CANARIES[1])], vec![beyond(CANARIES[1])], vec![]] {
            let routes: BTreeSet<Prefix> = routes.into_iter().collect();
            for _ in 0..2 {
                node.done([Step::EnsureProbe(routes.clone())]).await;
                assert_eq!(node.addr().await.probe, Some(ProbeLink::desired(routes.clone())));
            }
        }
        let routes: BTreeSet<Prefix> = CANARIES.map(beyond).into();
        for damage in ["ip link set vipcast1 down", "ip link set vipcast2 down", "ip link set vipcast2 arp on"] {
            node.done([Step::EnsureProbe(routes.clone())]).await;
            sh(damage);
            assert!(node.addr().await.probe.is_some_and(|link| link.paired && !link.ready), "{damage}");
        }
        node.done([Step::EnsureProbe(routes.clone())]).await;
        assert_eq!(node.addr().await.probe, Some(ProbeLink::desired(routes)));
        for _ in 0..2 {
            node.done([Step::DeleteProbe]).await;
            assert_eq!(node.addr().await, Addr::default());
        }
    });
}

#[test]
fn a_link_of_that_name_that_is_somebody_elses_stays() {
    with_kernel(async |node| {
        for theirs in ["ip link add vipcast1 type dummy", "ip link add vipcast1 type veth peer name other"] {
            sh(theirs);
            for step in [Step::EnsureProbe([beyond(CANARIES[0])].into()), Step::DeleteProbe] {
                let words = node.refused(step).await;
                assert!(words.contains("not ours: rename or delete it"), "{words}");
            }
            sh("ip link del vipcast1");
        }
    });
}

#[test]
fn a_probe_finds_each_part_that_is_missing() {
    with_kernel(async |node| {
        node.with_uplink();
        sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.vs.conntrack=1");
        let mut probers = CANARIES.map(|range| Prober::new(&canary(range)));
        for prober in &mut probers {
            assert_eq!(prober.probe().await, Err(Fault::Unable("there is no link vipcast1".to_owned())));
        }
        node.done([Step::EnsureProbe(CANARIES.map(beyond).into())]).await;
        node.done(canary_steps()).await;
        for prober in &mut probers {
            for _ in 0..3 {
                assert_eq!(prober.probe().await, Ok(()));
            }
        }
        let silence = "the reply did not come back to the client within 1000 ms";
        for (damage, expected) in [
            (&["ipvsadm -C"][..], "no virtual server took the SYN, so it was refused"),
            (
                &["nft flush chain inet vipcast postrouting"],
                "the SYN came out of the virtual server with its client's address, without source NAT",
            ),
            (&["sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0"], silence),
            (
                &[
                    "nft add table inet other",
                    "nft add chain inet other forward { type filter hook forward priority 0; policy drop; }",
                ],
                silence,
            ),
        ] {
            damage.iter().for_each(|line| drop(sh(line)));
            for prober in &mut probers {
                assert_eq!(prober.probe().await, Err(Fault::Broken(expected.to_owned())), "{damage:?}");
            }
            sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
            sh("nft flush ruleset");
            sh("ipvsadm -C");
            node.done(canary_steps()).await;
            for prober in &mut probers {
                assert_eq!(prober.probe().await, Ok(()), "after {damage:?}");
            }
        }
        // A probe leaves a connection behind that is soon forgotten, where the reply came back.
        let connections = sh("ipvsadm -Lnc");
        assert!(connections.contains(" CLOSE "), "{connections}");
        assert!(!connections.contains("ESTABLISHED"), "{connections}");
    });
}
