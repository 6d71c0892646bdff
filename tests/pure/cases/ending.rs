//! Connections that end well. kube-proxy lets TCP connections of a removed endpoint go on for ever, and looks once a minute;
//! UDP and SCTP are cut, and so is all that a deleted Service had. Here TCP and SCTP drain alike, for a limited time once no
//! EndpointSlice lists the endpoint, and a deleted Service drains too.

use std::time::Duration;

use vipcast::model::Kind;
use vipcast::model::ipvs::{Protocol, ServerKey};

use crate::cases::{Site, service, site, slice};
use crate::support::build::{endpoint, ip};

const NOTHING: [&str; 0] = [];

/// Two endpoints behind a port of this protocol. Connections may go on for longer than these tests look.
fn two(protocol: Protocol) -> Site {
    let mut settings = site();
    settings.dataplane.drain = Duration::from_secs(3600);
    let spec = format!("clusterIPs: [10.20.30.41], ports: [{{name: p80, port: 80, protocol: {protocol}}}]");
    let mut site = Site::with(settings, &[service("web", &spec), endpoints(protocol, &["10.180.0.1", "10.180.0.2"])]);
    site.outcome();
    site
}

fn endpoints(protocol: Protocol, addresses: &[&str]) -> String {
    let endpoints: Vec<String> = addresses.iter().map(|address| format!("addresses: [{address}]")).collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    slice("web-4", "web", &format!("{{name: p80, port: 80, protocol: {protocol}}}"), &endpoints)
}

/// The second endpoint has so many connections.
fn connections(site: &mut Site, protocol: Protocol, count: u64) {
    let key = ServerKey { address: ip("10.20.30.41"), protocol, port: 80 };
    site.rig.node.connections.entry(key).or_default().set(endpoint("10.180.0.2", 80), count);
}

/// What the node holds after the next resync, and until the one after that.
fn later(site: &mut Site) -> Vec<String> {
    site.rig.now = site.rig.planner.next_resync();
    site.outcome()
}

/// Without connections it is deleted, as there.
#[test]
fn case_29_a_virtual_server_that_nobody_wants_drains() {
    let mut site = two(Protocol::Tcp);
    connections(&mut site, Protocol::Tcp, 2);
    site.delete(Kind::Service, "web").rig.run();
    assert_eq!(site.servers(), ["10.20.30.41:80 TCP -> 10.180.0.2:80*0; refuses new connections"]);
    connections(&mut site, Protocol::Tcp, 0);
    assert_eq!(later(&mut site), NOTHING);

    let mut site = two(Protocol::Tcp);
    assert_eq!(site.delete(Kind::Service, "web").steps()[0], "delete virtual server 10.20.30.41:80 TCP");
    assert_eq!(site.outcome(), NOTHING);
}

#[test]
fn case_36_an_endpoint_that_goes_drains() {
    for protocol in [Protocol::Tcp, Protocol::Sctp] {
        let both = format!("10.20.30.41:80 {protocol} -> 10.180.0.1:80 10.180.0.2:80");
        let one = format!("10.20.30.41:80 {protocol} -> 10.180.0.1:80");
        // Without connections it is deleted; one that is not there is none of anybody's business.
        let mut site = two(protocol);
        assert_eq!(site.put(&[endpoints(protocol, &["10.180.0.1"])]).outcome(), std::slice::from_ref(&one));
        assert_eq!(site.put(&[endpoints(protocol, &["10.180.0.1"])]).steps(), NOTHING);
        // With connections it stays, and takes no more.
        let mut site = two(protocol);
        connections(&mut site, protocol, 1);
        site.put(&[endpoints(protocol, &["10.180.0.1"])]).rig.run();
        assert_eq!(site.servers(), [format!("{one} 10.180.0.2:80*0")]);
        // One that comes back gets its weight back. kube-proxy deletes it first, and with it its connections.
        let steps = site.put(&[endpoints(protocol, &["10.180.0.1", "10.180.0.2"])]).steps();
        assert_eq!(steps, [format!("set destination 10.180.0.2:80 weight 1 of 10.20.30.41:80 {protocol}")]);
        assert_eq!(site.outcome(), [both]);
        // When they are over, it goes.
        site.put(&[endpoints(protocol, &["10.180.0.1"])]).rig.run();
        connections(&mut site, protocol, 0);
        assert_eq!(later(&mut site), [one]);
    }
    // UDP knows no end of a connection.
    let mut site = two(Protocol::Udp);
    connections(&mut site, Protocol::Udp, 7);
    assert_eq!(
        site.put(&[endpoints(Protocol::Udp, &["10.180.0.1"])]).outcome(),
        ["10.20.30.41:80 UDP -> 10.180.0.1:80"]
    );
}
