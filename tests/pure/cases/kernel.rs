//! What is found on the node: virtual servers of others, of an earlier run, and in another form than they should be.

use vipcast::model::ipvs::{Protocol, Scheduler, ServerFlags, ServerKey, ServerSettings, VirtualServer};
use vipcast::model::settings::{Announce, Range, Use};
use vipcast::plan::ModelNode;

use crate::cases::{Site, service, site, slice};
use crate::support::build::{DESTINATION, endpoint, ip, prefix, tcp};

const NOTHING: [&str; 0] = [];

fn web() -> [String; 2] {
    [
        service("web", "clusterIPs: [10.20.30.41], ports: [{name: p80, port: 80}]"),
        slice("web-4", "web", "{name: p80, port: 80}", &["addresses: [10.180.0.1]", "addresses: [10.180.0.2]"]),
    ]
}

/// What somebody made by hand.
fn made_by_hand() -> VirtualServer {
    let settings = ServerSettings { scheduler: Scheduler::new("wlc"), ..ServerSettings::default() };
    VirtualServer { settings, destinations: [(endpoint("192.0.2.80", 80), DESTINATION)].into() }
}

/// A node on which `web` is served, with virtual servers on these addresses besides, to begin anew on.
fn beside(addresses: &[&str]) -> ModelNode {
    let mut before = Site::new(&web());
    before.outcome();
    let mut node = before.rig.node;
    node.state.ipvs.extend(addresses.iter().map(|address| (tcp(address, 57), made_by_hand())));
    node
}

/// kube-proxy deletes every virtual server that it does not know, those under `excludeCIDRs` apart. Here nobody has to
/// exclude anything: what lies in no range of ours is not ours.
#[test]
fn case_27_virtual_servers_of_others_stay() {
    let foreign = ["3.3.3.1", "4.4.4.1", "9.9.9.9", "100.101.102.103"];
    let ours = ["10.20.0.57", "172.16.0.57", "50.60.70.57", "1.2.3.57"];
    let node = beside(&[foreign, ours].concat());
    let mut site = Site::on(site(), node, &web());
    let mut gone = site.steps();
    // Until the routes of VIPs are known to be gone, their virtual servers stay and take nothing.
    gone.retain(|step| !step.contains("nftables") && !step.contains("weight 0"));
    gone.sort();
    let mut expected = ours.map(|address| format!("delete virtual server {address}:57 TCP"));
    expected.sort();
    assert_eq!(gone, expected);
    for address in foreign {
        assert_eq!(site.rig.node.state.ipvs.get(&tcp(address, 57)), Some(&made_by_hand()), "{address}");
    }
}

/// Not one of their destinations is touched either, whatever happens.
#[test]
fn case_28_destinations_of_others_stay() {
    let mut site = Site::on(site(), beside(&["3.3.3.1"]), &web());
    let mut steps = site.steps();
    steps.extend(site.put(&[slice("web-4", "web", "{name: p80, port: 80}", &[])]).steps());
    site.rig.now = site.rig.planner.next_resync();
    steps.extend(site.steps());
    assert!(steps.iter().any(|step| step.contains("10.20.30.41")));
    assert!(steps.iter().all(|step| !step.contains("3.3.3.1") && !step.contains("192.0.2.80")), "{steps:#?}");
    assert_eq!(site.rig.node.state.ipvs[&tcp("3.3.3.1", 57)], made_by_hand());
}

/// kube-proxy sets the weight 0 back to 1 at its start; here weights are compared with those wanted, at the start as later.
#[test]
fn case_31_weights_are_right_after_a_restart() {
    let mut before = Site::new(&web());
    before.outcome();
    for (found, name) in [(0, "10.180.0.1"), (7, "10.180.0.2")] {
        let server = before.rig.node.state.ipvs.get_mut(&tcp("10.20.30.41", 80)).unwrap();
        server.destinations.get_mut(&endpoint(name, 80)).unwrap().weight = found;
    }
    let mut after = before.restarted(&web());
    assert_eq!(
        after.steps(),
        [
            "set destination 10.180.0.1:80 weight 1 of 10.20.30.41:80 TCP",
            "set destination 10.180.0.2:80 weight 1 of 10.20.30.41:80 TCP",
        ]
    );
    assert_eq!(after.restarted(&web()).steps(), NOTHING);
}

/// A scheduler, flags or a timeout that differ are set where the virtual server is: its connections stay.
#[test]
fn case_32_settings_change_in_place() {
    let cases = [
        ("10.20.30.41", "10.180.0.1", Protocol::Tcp),
        ("10.20.30.41", "10.180.0.1", Protocol::Udp),
        ("10.20.30.41", "10.180.0.1", Protocol::Sctp),
        ("fd00:172:16::41", "2009:db8::1", Protocol::Tcp),
    ];
    for (vip, pod, protocol) in cases {
        let port = format!("name: p80, port: 80, protocol: {protocol}");
        let objects = [
            service("web", &format!("clusterIPs: ['{vip}'], ports: [{{{port}}}]")),
            slice("web-1", "web", &format!("{{{port}}}"), &[&format!("addresses: ['{pod}']")]),
        ];
        let mut before = Site::new(&objects);
        before.outcome();
        let key = ServerKey { address: ip(vip), protocol, port: 80 };
        let found = [
            ServerSettings { scheduler: Scheduler::new("wlc"), ..ServerSettings::default() },
            ServerSettings { flags: ServerFlags(ServerFlags::PERSISTENT), timeout: 100, ..ServerSettings::default() },
        ];
        for found in found {
            before.rig.node.state.ipvs.get_mut(&key).unwrap().settings = found;
            let mut after = before.restarted(&objects);
            let steps = after.steps();
            assert!(steps.len() == 1 && steps[0].starts_with(&format!("set virtual server {key}")), "{steps:#?}");
            assert_eq!(after.rig.node.state.ipvs[&key].settings, ServerSettings::default());
        }
    }
}

/// The Service of a virtual server may be among what is not understood. What the packet filter does for it stays as long as
/// it stays itself: else its replies would go astray.
#[test]
fn what_the_packet_filter_does_for_a_virtual_server_stays_as_long_as_it() {
    let served = |vip: &str| {
        service("web", &format!("clusterIPs: [{vip}], externalIPs: [50.60.70.81], ports: [{{name: p80, port: 80}}]"))
    };
    let pods = || slice("web-4", "web", "{name: p80, port: 80}", &["addresses: [10.180.0.1]"]);
    let mut before = Site::new(&[served("10.20.30.41"), pods()]);
    let lines = before.outcome();
    assert!(lines.contains(&"50.60.70.81:80 TCP -> 10.180.0.1:80; masquerade".to_owned()), "{lines:#?}");
    let mut after = before.restarted(&[served("nonsense"), pods()]);
    assert_eq!(after.steps(), NOTHING);
    assert_eq!(after.put(&[served("10.20.30.41")]).steps(), NOTHING);
    assert_eq!(after.outcome(), lines);
}

/// The guard goes around the node's own addresses, in pieces of the range.
#[test]
fn a_range_that_holds_the_nodes_subnet_is_at_rest() {
    let mut settings = site();
    settings.allowed.push(Range::new(prefix("100.101.102.0/24"), Use::ExternalIp, Announce::Host));
    let mut before = Site::with(settings, &web());
    before.outcome();
    assert!(before.is_guarded("100.101.102.7") && !before.is_guarded("100.101.102.103"));
    assert_eq!(before.restarted(&web()).steps(), NOTHING);
}

/// A tenant's slip of the pen is told, and keeps nothing of other Services from being removed after a restart.
#[test]
fn a_service_that_is_understood_in_part_holds_up_nobody() {
    let odd = service("odd", "clusterIPs: [10.20.30.42], externalIPs: [127.0.0.1], ports: [{name: p80, port: 80}]");
    let told = [&web()[..], std::slice::from_ref(&odd)].concat();
    let mut before = Site::new(&told);
    before.outcome();
    let one = slice("web-4", "web", "{name: p80, port: 80}", &["addresses: [10.180.0.1]"]);
    let mut after = before.restarted(&[web()[0].clone(), one, odd]);
    let lines = after.outcome();
    assert_eq!(lines[0], "10.20.30.41:80 TCP -> 10.180.0.1:80");
    assert!(
        lines.len() == 2 && lines[1].starts_with("Service shop/odd: spec.externalIPs[0] is 127.0.0.1"),
        "{lines:#?}"
    );
}
