//! Two gobgpd with a session between them: `lb`, which vipcast drives, and `tor`, which announces a route of its own.

use std::net::IpAddr;
use std::time::Duration;

use vipcast::apply::bgp::Speaker;
use vipcast::model::bgp::{Global, NextHop, Path, Peer};
use vipcast::model::{Family, Secret};
use vipcast::plan::Step;

use super::daemon::{Gobgpd, free_port, until};
use super::{done, identity, path, plain, prefix, read};

const PASSWORD: &str = "correct horse battery staple";

/// `lb` connects from `own` to `tor` at `address`, and this is what each announces.
struct Session {
    own: &'static str,
    address: &'static str,
    families: &'static [Family],
    announced: &'static [(&'static str, &'static str)],
    theirs: &'static str,
}

/// Makes the session, waits until it is up, and checks what travelled over it.
async fn peer(session: Session) {
    let (own, address): (IpAddr, IpAddr) = (session.own.parse().unwrap(), session.address.parse().unwrap());
    let (lb, tor) = (Gobgpd::start().await, Gobgpd::start().await);
    let port = free_port();
    let families = session.families.iter().copied().collect();
    let peer = Peer {
        asn: 65000,
        port,
        local_address: Some(own),
        hold_time: Duration::from_secs(9),
        keepalive: Duration::from_secs(3),
        password: Some(Secret::new(PASSWORD)),
        multihop: Some(2),
        families,
    };
    let theirs = prefix(session.theirs);

    let mut far: Speaker = tor.speaker();
    let global = Global { asn: 65000, router_id: "192.0.2.254".parse().unwrap(), listen_port: Some(port) };
    // It cannot connect to `lb`, which does not listen.
    let back = Peer { asn: 65001, local_address: Some(address), port: free_port(), ..peer.clone() };
    done(&mut far, [Step::StartBgp(global), Step::Announce(theirs, plain()), Step::AddPeer(own, back)]).await;

    let mut near = lb.speaker();
    let paths: Vec<_> =
        session.announced.iter().map(|(p, _)| (prefix(p), path(NextHop::Own, &["65001:100"]))).collect();
    done(&mut near, [Step::StartBgp(identity()), Step::RejectImports, Step::AddPeer(address, peer.clone())]).await;
    done(&mut near, paths.iter().map(|(prefix, path)| Step::Announce(*prefix, path.clone()))).await;

    // The far side has our paths, with the session's address as next hop.
    for (announced, next_hop) in session.announced {
        let family = if prefix(announced).family() == Family::Ipv4 { "ipv4" } else { "ipv6" };
        let line = until(&format!("{announced} arrives"), async || {
            let rib = tor.gobgp(&format!("global rib -a {family}")).await;
            rib.lines().find(|line| line.contains(announced)).map(str::to_owned)
        })
        .await;
        for expected in [*next_hop, "65001:100", " 65001 "] {
            assert!(line.contains(expected), "{line}");
        }
        let out = lb.gobgp(&format!("neighbor {address} adj-out -a {family}")).await;
        assert!(out.contains(announced), "{out}");
    }

    // Theirs arrived here, and went no further.
    let family = if theirs.family() == Family::Ipv4 { "ipv4" } else { "ipv6" };
    until("their route arrives", async || {
        lb.gobgp(&format!("neighbor {address} adj-in -a {family}")).await.contains(session.theirs).then_some(())
    })
    .await;
    let rib = lb.gobgp(&format!("global rib -a {family}")).await;
    assert!(!rib.contains(session.theirs), "{rib}");

    // All reads back as desired while the session is up, and after it was.
    let found = read(&mut near).await;
    assert_eq!(found.peers.get(&address), Some(&peer));
    assert!(found.import_rejected);
    assert_eq!(found.paths.into_iter().collect::<Vec<(_, Path)>>(), paths);
    done(&mut far, [Step::StopBgp]).await;
    until("the session ends", async || (!lb.gobgp("neighbor").await.contains("Establ")).then_some(())).await;
    assert_eq!(read(&mut near).await.peers.get(&address), Some(&peer));

    for gobgpd in [lb, tor] {
        assert!(!gobgpd.logged().contains(PASSWORD), "{}", gobgpd.logged());
    }
}

#[tokio::test]
async fn over_ipv4_with_a_password_and_a_port() {
    peer(Session {
        own: "127.0.0.11",
        address: "127.0.0.12",
        families: &[Family::Ipv4],
        announced: &[("10.96.0.0/16", "127.0.0.11"), ("203.0.113.7/32", "127.0.0.11")],
        theirs: "198.51.100.0/24",
    })
    .await;
}

#[tokio::test]
async fn over_ipv6_with_a_password_and_a_port() {
    // There is one IPv6 address on loopback, so it serves both ends.
    peer(Session {
        own: "::1",
        address: "::1",
        families: &[Family::Ipv6],
        announced: &[("fd00:10:96::/112", "::1")],
        theirs: "2001:db8:1::/48",
    })
    .await;
}
