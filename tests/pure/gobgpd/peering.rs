//! Two gobgpd with a session between them: `lb`, which vipcast drives, and `tor`, which announces a route of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use vipcast::apply::bgp::Speaker;
use vipcast::model::bgp::{Global, NextHop, Peer, Ttl};
use vipcast::model::{Family, Secret};
use vipcast::plan::Step;

use super::daemon::{Flavour, Gobgpd, each_gobgpd, free_port, until};
use super::{done, everybody, identity, path, prefix, read};

const PASSWORD: &str = "correct horse battery staple";

/// `lb` connects from `own` to `tor` at `address`.
struct Session {
    own: &'static str,
    address: &'static str,
    families: &'static [Family],
    /// The prefixes that `lb` announces, with itself as next hop.
    ours: &'static [&'static str],
    /// What `tor` announces.
    theirs: &'static str,
    /// A next hop for what has to arrive: over IPv4 gobgpd refuses those that are loopback addresses.
    next_hop: Option<&'static str>,
}

/// Makes the session between a gobgpd of this flavour and one of the other, waits until it is up, and checks what travelled
/// over it.
async fn peer(flavour: Flavour, session: Session) {
    let (own, address): (IpAddr, IpAddr) = (session.own.parse().unwrap(), session.address.parse().unwrap());
    let (lb, tor) = (Gobgpd::start(flavour).await, Gobgpd::start(flavour.other()).await);
    let port = free_port();
    let peer = Peer {
        port,
        local_address: Some(own),
        password: Some(Secret::new(PASSWORD)),
        ttl: Ttl::Multihop(2),
        ..Peer::new(65000, session.families.iter().copied())
    };
    let explicit = session.next_hop.map_or(NextHop::Own, |address| NextHop::Address(address.parse().unwrap()));
    let theirs = prefix(session.theirs);

    let mut far: Speaker = tor.speaker();
    let global = Global { asn: 65000, router_id: "192.0.2.254".parse().unwrap(), listen_port: Some(port) };
    // It cannot connect to `lb`, which does not listen.
    let back = Peer { asn: 65001, local_address: Some(address), port: free_port(), ..peer.clone() };
    done(
        &mut far,
        [Step::StartBgp(global), Step::Announce(theirs, path(explicit, &[])), Step::AddPeer(own.into(), back)],
    )
    .await;

    let mut near = lb.speaker();
    let mut paths: BTreeMap<_, _> =
        session.ours.iter().map(|p| (prefix(p), path(NextHop::Own, &["65001:100"]))).collect();
    let arriving = if session.next_hop.is_some() { "203.0.113.7/32" } else { session.ours[0] };
    paths.insert(prefix(arriving), path(explicit, &["65001:100"]));
    done(
        &mut near,
        [Step::StartBgp(identity()), Step::RejectImports(everybody()), Step::AddPeer(address.into(), peer.clone())],
    )
    .await;
    done(&mut near, paths.iter().map(|(prefix, path)| Step::Announce(*prefix, path.clone()))).await;

    let family = if theirs.family() == Family::Ipv4 { "ipv4" } else { "ipv6" };
    let line = until("our route arrives", async || {
        let rib = tor.gobgp(&format!("global rib -a {family}")).await;
        rib.lines().find(|line| line.contains(arriving)).map(str::to_owned)
    })
    .await;
    for expected in [session.next_hop.unwrap_or(session.own), "65001:100", " 65001 "] {
        assert!(line.contains(expected), "{line}");
    }
    // The import policy spared our own routes, and they go out with the session's address as next hop.
    let out = lb.gobgp(&format!("neighbor {address} adj-out -a {family}")).await;
    for ours in session.ours {
        let line = out.lines().find(|line| line.contains(ours)).unwrap_or_else(|| panic!("{ours} is not in {out}"));
        assert!(line.contains(session.own), "{line}");
    }

    // Theirs arrived here, and went no further.
    until("their route arrives", async || {
        lb.gobgp(&format!("neighbor {address} adj-in -a {family}")).await.contains(session.theirs).then_some(())
    })
    .await;
    let rib = lb.gobgp(&format!("global rib -a {family}")).await;
    assert!(!rib.contains(session.theirs), "{rib}");

    // All reads back as desired while the session is up, and after it was.
    let found = read(&mut near).await;
    assert_eq!(found.peers.get(&address.into()), Some(&peer));
    assert_eq!(found.rejected, Some(everybody()));
    assert_eq!(found.paths, paths);

    // A peer that changes is deleted and added, and its session comes back.
    let peer = Peer { hold_time: Duration::from_secs(12), ..peer };
    done(&mut near, [Step::DeletePeer(address.into()), Step::AddPeer(address.into(), peer.clone())]).await;
    assert_eq!(read(&mut near).await.peers.get(&address.into()), Some(&peer));
    let rib = format!("global rib -a {family}");
    until("our route goes", async || (!tor.gobgp(&rib).await.contains(arriving)).then_some(())).await;
    until("our route comes back", async || tor.gobgp(&rib).await.contains(arriving).then_some(())).await;

    done(&mut far, [Step::StopBgp]).await;
    until("the session ends", async || (!lb.gobgp("neighbor").await.contains("Establ")).then_some(())).await;
    assert_eq!(read(&mut near).await.peers.get(&address.into()), Some(&peer));

    for gobgpd in [lb, tor] {
        assert!(!gobgpd.logged().contains(PASSWORD), "{}", gobgpd.logged());
    }
}

async fn over_ipv4_with_a_password_and_a_port(flavour: Flavour) {
    peer(
        flavour,
        Session {
            own: "127.0.0.11",
            address: "127.0.0.12",
            families: &[Family::Ipv4],
            ours: &["10.96.0.0/16", "203.0.113.9/32"],
            theirs: "198.51.100.0/24",
            next_hop: Some("192.0.2.1"),
        },
    )
    .await;
}

async fn over_ipv6_with_a_password_and_a_port(flavour: Flavour) {
    // There is one IPv6 address on loopback, so it serves both ends.
    peer(
        flavour,
        Session {
            own: "::1",
            address: "::1",
            families: &[Family::Ipv6],
            ours: &["fd00:10:96::/112"],
            theirs: "2001:db8:1::/48",
            next_hop: None,
        },
    )
    .await;
}

each_gobgpd!(over_ipv4_with_a_password_and_a_port, over_ipv6_with_a_password_and_a_port,);
