//! Attributes as peers see them: `lb`, which vipcast drives, and two switches of the other GoBGP, one in another AS and one
//! in the same.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use vipcast::apply::bgp::Speaker;
use vipcast::model::bgp::{Attributes, Export, Global, NextHop, Path, Peer, PeerName, Ttl};
use vipcast::model::{Family, Prefix, Secret};
use vipcast::plan::{Observation, Outcome, Step};

use super::daemon::{Flavour, Gobgpd, each_gobgpd, free_port, until};
use super::{done, identity, outcome, path, plain, prefix, read};

/// The other end of a session.
struct Switch {
    gobgpd: Gobgpd,
    name: PeerName,
    peer: Peer,
}

impl Switch {
    /// One at `address` that waits for `own` to connect, as `peer` says, but for the port.
    async fn start(flavour: Flavour, own: &str, address: &str, peer: Peer) -> Switch {
        let (gobgpd, port) = (Gobgpd::start(flavour).await, free_port());
        let (own, address): (IpAddr, IpAddr) = (own.parse().unwrap(), address.parse().unwrap());
        let global = Global { asn: peer.asn, router_id: "192.0.2.254".parse().unwrap(), listen_port: Some(port) };
        let back = Peer {
            asn: peer.local_asn.unwrap_or(identity().asn),
            local_asn: None,
            local_address: Some(address),
            port: free_port(),
            ..peer.clone()
        };
        done(&mut gobgpd.speaker(), [Step::StartBgp(global), Step::AddPeer(own.into(), back)]).await;
        Switch { gobgpd, name: address.into(), peer: Peer { port, local_address: Some(own), ..peer } }
    }

    fn add(&self) -> Step {
        Step::AddPeer(self.name.clone(), self.peer.clone())
    }

    /// Its line about a route, once that has all of these and none of those in it.
    async fn sees(&self, prefix: Prefix, with: &[&str], without: &[&str]) {
        let family = if prefix.family() == Family::Ipv4 { "ipv4" } else { "ipv6" };
        let text = prefix.to_string();
        let mut last = String::new();
        let look = async || {
            last = self.gobgpd.gobgp(&format!("global rib -a {family}")).await;
            let line = last.lines().find(|line| line.contains(&text))?;
            let fits = with.iter().all(|part| line.contains(part)) && !without.iter().any(|part| line.contains(part));
            fits.then_some(())
        };
        until(&format!("{prefix} is seen with {with:?} and without {without:?}"), look).await;
    }
}

/// What `speaker` was to send to a peer for one prefix.
async fn sent(speaker: &mut Speaker, to: &PeerName, of: Prefix) -> Option<Path> {
    match outcome(speaker, Step::ReadSent(to.clone(), [of].into())).await {
        Outcome::Read(Observation::Sent(found)) => {
            let mut found = found.unwrap_or_default();
            let path = found.remove(&of);
            assert!(found.is_empty(), "more than was asked for: {found:?}");
            path
        }
        other => panic!("not read: {other:?}"),
    }
}

fn near() -> Peer {
    Peer { ttl: Ttl::Multihop(2), ..Peer::new(65000, Family::ALL) }
}

fn hop(text: &str) -> NextHop {
    NextHop::Address(text.parse().unwrap())
}

async fn every_attribute_arrives_as_it_was_asked_for(flavour: Flavour) {
    let lb = Gobgpd::start(flavour).await;
    let (own, far) = ("127.0.0.41", flavour.other());
    let other_as = Switch::start(far, own, "127.0.0.42", near()).await;
    let same_as = Switch::start(far, own, "127.0.0.43", Peer { asn: 65001, ..near() }).await;
    let mut speaker = lb.speaker();
    let marked = Path {
        large_communities: ["65001:1:100".parse().unwrap()].into(),
        med: Some(50),
        local_pref: Some(200),
        ..path(hop("192.0.2.1"), &["65001:100"])
    };
    let longer = Path { as_path: vec![65001, 65001], ..path(hop("192.0.2.1"), &[]) };
    let (first, second) = (prefix("203.0.113.7/32"), prefix("203.0.113.8/32"));
    let announced = BTreeMap::from([(first, marked.clone()), (second, longer.clone())]);
    done(&mut speaker, [Step::StartBgp(identity()), other_as.add(), same_as.add()]).await;
    done(&mut speaker, announced.iter().map(|(prefix, path)| Step::Announce(*prefix, path.clone()))).await;

    let everywhere = ["Communities: 65001:100", "65001:1:100", "Med: 50", "192.0.2.1 "];
    other_as.sees(first, &everywhere, &["LocalPref"]).await;
    other_as.sees(first, &[" 65001 "], &["65001 65001"]).await;
    same_as.sees(first, &everywhere, &[" 65001 "]).await;
    same_as.sees(first, &["LocalPref: 200"], &[]).await;
    other_as.sees(second, &["65001 65001 65001"], &["Communities"]).await;

    // What gobgpd says it sends is what they saw.
    let found = read(&mut speaker).await;
    assert_eq!(found.paths, announced);
    let to_other = Path { as_path: vec![65001], local_pref: None, ..marked.clone() };
    assert_eq!(found.sent[&other_as.name][&first], to_other);
    assert_eq!(found.sent[&other_as.name][&second], Path { as_path: vec![65001; 3], ..longer });
    assert_eq!(found.sent[&same_as.name][&first], marked);
    assert_eq!(sent(&mut speaker, &other_as.name, first).await, Some(to_other));
    assert_eq!(sent(&mut speaker, &other_as.name, prefix("203.0.113.9/32")).await, None);
    assert_eq!(sent(&mut speaker, &"127.0.0.49".parse().unwrap(), first).await, None);

    done(&mut speaker, [Step::Withdraw(first)]).await;
    assert_eq!(sent(&mut speaker, &other_as.name, first).await, None);
    until("the route goes", async || {
        (!other_as.gobgpd.gobgp("global rib").await.contains("203.0.113.7")).then_some(())
    })
    .await;
}

async fn a_peer_is_sent_what_is_changed_for_it_alone_and_at_once(flavour: Flavour) {
    let lb = Gobgpd::start(flavour).await;
    let (own, far) = ("127.0.0.51", flavour.other());
    let (first, second) = (
        Switch::start(far, own, "127.0.0.52", near()).await,
        // Its AS number for this node is another one: what is prepended is that.
        Switch::start(far, own, "127.0.0.53", Peer { local_asn: Some(65077), ..near() }).await,
    );
    let mut speaker = lb.speaker();
    let route = prefix("203.0.113.7/32");
    let announced = Path { med: Some(5), ..path(hop("192.0.2.1"), &["65001:1"]) };
    done(&mut speaker, [Step::StartBgp(identity()), first.add(), second.add()]).await;
    done(&mut speaker, [Step::Announce(route, announced)]).await;
    first.sees(route, &["Med: 5}", "65001:1"], &["65001:2"]).await;
    second.sees(route, &["Med: 5}", " 65077 "], &["65077 65077", " 65001 "]).await;

    let to_first = Export {
        attributes: Attributes {
            communities: ["65001:2".parse().unwrap(), "graceful-shutdown".parse().unwrap()].into(),
            large_communities: ["65001:0:2".parse().unwrap()].into(),
            med: Some(7),
            ..Attributes::default()
        },
        next_hops: [(Family::Ipv4, "192.0.2.2".parse().unwrap())].into(),
    };
    let prepend =
        Export { attributes: Attributes { prepend: Some(2), ..Attributes::default() }, next_hops: BTreeMap::new() };
    let address = |switch: &Switch| switch.name.address().unwrap();
    let exports = BTreeMap::from([(address(&first), to_first.clone()), (address(&second), prepend)]);
    done(&mut speaker, [Step::SetExports(exports)]).await;
    first.sees(route, &["65001:1", "65001:2", "65001:0:2", "Med: 7}", "192.0.2.2 "], &["65001 65001"]).await;
    second.sees(route, &["65077 65077 65077", "Med: 5}", "192.0.2.1 "], &["65001:2"]).await;
    let expected = Path {
        as_path: vec![65001],
        large_communities: ["65001:0:2".parse().unwrap()].into(),
        med: Some(7),
        ..path(hop("192.0.2.2"), &["65001:1", "65001:2", "graceful-shutdown"])
    };
    assert_eq!(sent(&mut speaker, &first.name, route).await, Some(expected));

    // A session's uptime proves that it was not touched.
    let before = lb.gobgp("neighbor").await;
    assert_eq!(before.matches("Establ").count(), 2, "{before}");
    done(&mut speaker, [Step::SetExports([(address(&first), to_first)].into())]).await;
    second.sees(route, &[" 65077 "], &["65077 65077"]).await;
    done(&mut speaker, [Step::SetExports(BTreeMap::new())]).await;
    first.sees(route, &["Med: 5}", "192.0.2.1 "], &["65001:2", "65001:0:2"]).await;
    assert_eq!(lb.gobgp("neighbor").await.matches("Establ").count(), 2);
}

/// The switch loses what it was sent, behind everybody's back, and asks for nothing.
async fn what_a_peer_lost_is_sent_again(flavour: Flavour) {
    let lb = Gobgpd::start(flavour).await;
    let switch = Switch::start(flavour.other(), "127.0.0.61", "127.0.0.62", near()).await;
    let mut speaker = lb.speaker();
    let route = prefix("203.0.113.7/32");
    done(&mut speaker, [Step::StartBgp(identity()), switch.add()]).await;
    // Nothing to send to whom there is no session with; it comes with the session.
    done(&mut speaker, [Step::Resend(switch.name.clone())]).await;
    done(&mut speaker, [Step::Announce(route, path(hop("192.0.2.1"), &["65001:1"]))]).await;
    switch.sees(route, &["65001:1"], &[]).await;
    let updates = async || {
        let text = lb.gobgp(&format!("neighbor {}", switch.name)).await;
        let line = text.lines().find(|line| line.trim_start().starts_with("Updates:")).unwrap_or_default().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap()
    };
    let before = updates().await;
    done(&mut speaker, [Step::Resend(switch.name.clone())]).await;
    until("it was sent once more", async || (updates().await > before).then_some(())).await;
    assert!(matches!(outcome(&mut speaker, Step::Resend("127.0.0.69".parse().unwrap())).await, Outcome::Done));
}

/// RFC 8950: next hop self over an IPv6 session, for a prefix of either family.
async fn ipv4_routes_travel_over_an_ipv6_session(flavour: Flavour) {
    let lb = Gobgpd::start(flavour).await;
    // There is one IPv6 address on loopback, so it serves both ends.
    let switch = Switch::start(flavour.other(), "::1", "::1", near()).await;
    let mut speaker = lb.speaker();
    let routes = [prefix("203.0.113.7/32"), prefix("2001:db8:1::7/128")];
    done(&mut speaker, [Step::StartBgp(identity()), switch.add()]).await;
    done(&mut speaker, routes.map(|route| Step::Announce(route, plain()))).await;
    switch.sees(routes[1], &["::1 "], &[]).await;
    for route in routes {
        let expected = Path { as_path: vec![65001], ..Path::new(hop("::1")) };
        assert_eq!(sent(&mut speaker, &switch.name, route).await, Some(expected));
    }
    until("the IPv4 route arrives", async || {
        let table = switch.gobgpd.gobgp("neighbor ::1 adj-in -a ipv4").await;
        table.lines().any(|line| line.contains("203.0.113.7/32") && line.contains(" ::1 ")).then_some(())
    })
    .await;
}

async fn ttl_security_and_a_password_go_together(flavour: Flavour) {
    let lb = Gobgpd::start(flavour).await;
    let peer = Peer {
        ttl: Ttl::Security(1),
        password: Some(Secret::new("correct horse")),
        connect_retry: Duration::from_secs(7),
        ..near()
    };
    let switch = Switch::start(flavour.other(), "127.0.0.71", "127.0.0.72", peer).await;
    let mut speaker = lb.speaker();
    let route = prefix("203.0.113.7/32");
    done(&mut speaker, [Step::StartBgp(identity()), switch.add()]).await;
    done(&mut speaker, [Step::Announce(route, path(hop("192.0.2.1"), &[]))]).await;
    switch.sees(route, &[" 65001 "], &[]).await;
    assert_eq!(read(&mut speaker).await.peers.get(&switch.name), Some(&switch.peer));

    // With another password, or with none, there is no session.
    for password in [Some(Secret::new("wrong")), None] {
        let wrong = Peer { password, ..switch.peer.clone() };
        done(&mut speaker, [Step::DeletePeer(switch.name.clone()), Step::AddPeer(switch.name.clone(), wrong)]).await;
        until("the route goes", async || {
            (!switch.gobgpd.gobgp("global rib").await.contains("203.0.113.7")).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!lb.gobgp("neighbor").await.contains("Establ"));
    }
}

each_gobgpd!(
    every_attribute_arrives_as_it_was_asked_for,
    a_peer_is_sent_what_is_changed_for_it_alone_and_at_once,
    what_a_peer_lost_is_sent_again,
    ipv4_routes_travel_over_an_ipv6_session,
    ttl_security_and_a_password_go_together,
);
