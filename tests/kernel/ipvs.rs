//! Virtual servers.

mod errors;
mod random;

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::Command;

use vipcast::apply::ipvs::{BATCH, Ipvs};
use vipcast::model::ipvs::{
    Connections, Destination, DestinationKey, Forwarding, Protocol, Scheduler, ServerFlags, ServerKey, ServerSettings,
    Timeouts, VirtualServer,
};
use vipcast::plan::step::{Observation, Outcome, Step};

use crate::in_namespace;

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

fn server(address: &str, protocol: Protocol, port: u16) -> ServerKey {
    ServerKey { address: address.parse().unwrap(), protocol, port }
}

fn web() -> ServerKey {
    server("10.96.0.1", Protocol::Tcp, 80)
}

fn settings(scheduler: &str) -> ServerSettings {
    ServerSettings { scheduler: Scheduler::new(scheduler), flags: ServerFlags::default(), timeout: 0 }
}

fn pod(address: &str, port: u16) -> DestinationKey {
    DestinationKey { address: address.parse().unwrap(), port }
}

/// The `number`th of many pods.
fn nth_pod(number: u32) -> DestinationKey {
    DestinationKey { address: IpAddr::from((0x0a01_0000 + number).to_be_bytes()), port: 8080 }
}

fn weight(weight: u32) -> Destination {
    Destination { weight, forwarding: Forwarding::Masquerade }
}

/// Performs steps and returns their outcomes.
fn perform(ipvs: &mut Ipvs, steps: Vec<Step>) -> Vec<Outcome> {
    let reports = ipvs.perform(steps.clone());
    assert_eq!(reports.iter().map(|report| report.step.clone()).collect::<Vec<_>>(), steps);
    reports.into_iter().map(|report| report.outcome).collect()
}

/// Performs steps that must all be done.
fn done(ipvs: &mut Ipvs, steps: Vec<Step>) {
    for report in ipvs.perform(steps) {
        assert_eq!(report.outcome, Outcome::Done, "{:?}", report.step);
    }
}

fn read(ipvs: &mut Ipvs, key: ServerKey) -> Option<VirtualServer> {
    match &perform(ipvs, vec![Step::ReadServer(key)])[..] {
        [Outcome::Read(Observation::Server(server, _))] => server.clone(),
        other => panic!("{other:?}"),
    }
}

fn list(ipvs: &mut Ipvs) -> BTreeMap<ServerKey, ServerSettings> {
    match &perform(ipvs, vec![Step::ListServers])[..] {
        [Outcome::Read(Observation::Servers(servers))] => servers.clone(),
        other => panic!("{other:?}"),
    }
}

/// The steps that make a virtual server.
fn creation(key: ServerKey, server: &VirtualServer) -> Vec<Step> {
    let add = server.destinations.iter().map(|(name, value)| Step::AddDestination(key, *name, *value));
    [Step::AddServer(key, server.settings.clone())].into_iter().chain(add).collect()
}

/// Somebody else's tool.
fn ipvsadm(arguments: &str) {
    let output = Command::new("ipvsadm").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ipvsadm {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_virtual_server_of_each_family_and_protocol_is_made_changed_and_deleted() {
    in_namespace(|| {
        let mut ipvs = Ipvs::connect().unwrap();
        for (vip, pods) in [("10.96.0.1", ["10.1.0.1", "10.1.0.2"]), ("fd96::1", ["fd01::1", "fd01::2"])] {
            for protocol in PROTOCOLS {
                let key = server(vip, protocol, 80);
                let [one, two] = pods.map(|address| pod(address, 8080));
                let mut expected = VirtualServer {
                    settings: settings("rr"),
                    destinations: BTreeMap::from([(one, weight(1)), (two, weight(7))]),
                };
                done(&mut ipvs, creation(key, &expected));
                assert_eq!(read(&mut ipvs, key), Some(expected.clone()));
                assert_eq!(list(&mut ipvs), BTreeMap::from([(key, settings("rr"))]));

                expected.settings = ServerSettings { flags: ServerFlags(0x1), timeout: 300, ..settings("wlc") };
                expected.destinations = BTreeMap::from([(one, weight(0))]);
                done(
                    &mut ipvs,
                    vec![
                        Step::SetServer(key, expected.settings.clone()),
                        Step::SetDestination(key, one, weight(0)),
                        Step::DeleteDestination(key, two),
                    ],
                );
                assert_eq!(read(&mut ipvs, key), Some(expected));

                done(&mut ipvs, vec![Step::DeleteServer(key)]);
                assert_eq!(read(&mut ipvs, key), None);
                assert_eq!(list(&mut ipvs), BTreeMap::new());
            }
        }
    });
}

#[test]
fn every_forwarding_method_reads_back() {
    in_namespace(|| {
        let mut ipvs = Ipvs::connect().unwrap();
        let destinations = [
            (pod("10.1.0.1", 80), Forwarding::Masquerade),
            (pod("10.1.0.2", 80), Forwarding::Tunnel),
            (pod("10.1.0.3", 80), Forwarding::DirectRouting),
            (pod("10.1.0.4", 80), Forwarding::Bypass),
            (pod("127.0.0.1", 80), Forwarding::Local),
        ];
        let destinations = destinations.map(|(name, forwarding)| (name, Destination { weight: 1, forwarding }));
        let expected = VirtualServer { settings: settings("rr"), destinations: BTreeMap::from(destinations) };
        done(&mut ipvs, creation(web(), &expected));
        assert_eq!(read(&mut ipvs, web()), Some(expected));
    });
}

/// The kernel loads the module of each by itself. What of these a kernel has is its builder's choice, `rr` is always
/// among them.
#[test]
fn every_scheduler_that_the_kernel_has_works_and_reads_back() {
    in_namespace(|| {
        let mut ipvs = Ipvs::connect().unwrap();
        let names = ["rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"];
        let mut working = Vec::new();
        for (port, name) in (80..).zip(names) {
            let key = ServerKey { port, ..web() };
            match &perform(&mut ipvs, vec![Step::AddServer(key, settings(name))])[..] {
                [Outcome::Done] => {
                    done(&mut ipvs, vec![Step::AddDestination(key, nth_pod(1), weight(1))]);
                    assert_eq!(read(&mut ipvs, key).map(|server| server.settings), Some(settings(name)));
                    working.push(name);
                }
                [Outcome::Refused(reason)] => {
                    assert_eq!(*reason, format!("scheduler {name}: the kernel has no module ip_vs_{name}"));
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(working.contains(&"rr"), "{working:?}");
    });
}

#[test]
fn mh_is_filled_under_no_scheduler_and_set_at_the_end() {
    in_namespace(|| {
        let mut ipvs = Ipvs::connect().unwrap();
        let flags = ServerFlags(ServerFlags::MH_FALLBACK | ServerFlags::MH_PORT);
        let mh = ServerSettings { flags, ..settings("mh") };
        let none = ServerSettings { flags, ..settings("none") };
        let destinations: BTreeMap<_, _> = (0..20).map(|number| (nth_pod(number), weight(number))).collect();
        let unscheduled = VirtualServer { settings: none, destinations: destinations.clone() };
        done(&mut ipvs, creation(web(), &unscheduled));
        assert_eq!(read(&mut ipvs, web()), Some(unscheduled));
        done(&mut ipvs, vec![Step::SetServer(web(), mh.clone())]);
        assert_eq!(read(&mut ipvs, web()), Some(VirtualServer { settings: mh, destinations }));
    });
}

#[test]
fn a_step_among_many_that_fails_hurts_only_itself() {
    in_namespace(|| {
        let mut ipvs = Ipvs::connect().unwrap();
        let multicast = pod("224.0.0.1", 8080);
        let mut steps = vec![Step::AddServer(web(), settings("rr"))];
        let mut expected = vec![Outcome::Done];
        for number in 0..300 {
            steps.push(Step::AddDestination(web(), nth_pod(number), weight(1)));
            expected.push(Outcome::Done);
            if number % 50 == 0 {
                steps.push(Step::AddDestination(web(), multicast, weight(1)));
                expected.push(Outcome::Refused(String::new()));
                steps.push(Step::AddDestination(web(), nth_pod(number), weight(2)));
                expected.push(Outcome::Drifted(String::new()));
            }
        }
        let outcomes = perform(&mut ipvs, steps);
        assert!(outcomes.len() > 2 * BATCH);
        let kinds = |outcomes: &[Outcome]| outcomes.iter().map(std::mem::discriminant).collect::<Vec<_>>();
        assert_eq!(kinds(&outcomes), kinds(&expected));
        let destinations = (0..300).map(|number| (nth_pod(number), weight(1))).collect();
        assert_eq!(read(&mut ipvs, web()), Some(VirtualServer { settings: settings("rr"), destinations }));
    });
}

#[test]
fn a_thousand_destinations_of_one_virtual_server_read_back() {
    in_namespace(|| {
        let mut ipvs = Ipvs::connect().unwrap();
        let destinations = (0..1000).map(|number| (nth_pod(number), weight(number))).collect();
        let expected = VirtualServer { settings: settings("wrr"), destinations };
        done(&mut ipvs, creation(web(), &expected));
        assert_eq!(read(&mut ipvs, web()), Some(expected));
    });
}

#[test]
fn a_list_of_two_thousand_virtual_servers_is_complete() {
    in_namespace(|| {
        let mut ipvs = Ipvs::connect().unwrap();
        let mut expected = BTreeMap::new();
        for number in 0..1000 {
            let [high, low] = u16::to_be_bytes(number);
            for address in [IpAddr::from([10, 96, high, low]), IpAddr::from([0xfd96, 0, 0, 0, 0, 0, 0, number])] {
                expected.insert(ServerKey { address, ..web() }, settings("rr"));
            }
        }
        done(&mut ipvs, expected.iter().map(|(key, settings)| Step::AddServer(*key, settings.clone())).collect());
        assert_eq!(list(&mut ipvs), expected);
    });
}

#[test]
fn a_reading_step_sees_the_changes_before_it_and_none_after_it() {
    in_namespace(|| {
        let mut ipvs = Ipvs::connect().unwrap();
        let outcomes = perform(
            &mut ipvs,
            vec![
                Step::ListServers,
                Step::AddServer(web(), settings("rr")),
                Step::ReadServer(web()),
                Step::AddDestination(web(), nth_pod(1), weight(1)),
                Step::ReadServer(web()),
                Step::DeleteServer(web()),
                Step::ReadServer(web()),
            ],
        );
        let reading = |destinations: &[(DestinationKey, Destination)]| {
            let destinations = destinations.iter().copied().collect();
            Outcome::Read(Observation::Server(
                Some(VirtualServer { settings: settings("rr"), destinations }),
                Connections::default(),
            ))
        };
        assert_eq!(
            outcomes,
            [
                Outcome::Read(Observation::Servers(BTreeMap::new())),
                Outcome::Done,
                reading(&[]),
                Outcome::Done,
                reading(&[(nth_pod(1), weight(1))]),
                Outcome::Done,
                Outcome::Read(Observation::Server(None, Connections::default())),
            ]
        );
    });
}

#[test]
fn what_another_tool_made_reads_as_it_is() {
    in_namespace(|| {
        ipvsadm("-A -t 10.96.0.9:443 -s mh -b mh-fallback,mh-port -p 120");
        ipvsadm("-a -t 10.96.0.9:443 -r 10.1.0.1:8443 -m -w 3");
        ipvsadm("-a -t 10.96.0.9:443 -r 10.1.0.2:443 -i -w 4");
        ipvsadm("-A -u [fd96::9]:53 -s rr");
        let mut ipvs = Ipvs::connect().unwrap();
        let key = server("10.96.0.9", Protocol::Tcp, 443);
        let expected = VirtualServer {
            settings: ServerSettings { flags: ServerFlags(0x19), timeout: 120, ..settings("mh") },
            destinations: BTreeMap::from([
                (pod("10.1.0.1", 8443), weight(3)),
                (pod("10.1.0.2", 443), Destination { weight: 4, forwarding: Forwarding::Tunnel }),
            ]),
        };
        assert_eq!(read(&mut ipvs, key), Some(expected.clone()));
        let servers = [(key, expected.settings), (server("fd96::9", Protocol::Udp, 53), settings("rr"))];
        assert_eq!(list(&mut ipvs), BTreeMap::from(servers));
    });
}

#[test]
fn virtual_servers_by_firewall_mark_are_passed_over_and_stay() {
    in_namespace(|| {
        ipvsadm("-A -f 7 -s rr");
        ipvsadm("-a -f 7 -r 10.1.0.1:0 -m");
        let mut ipvs = Ipvs::connect().unwrap();
        done(&mut ipvs, vec![Step::AddServer(web(), settings("rr"))]);
        assert_eq!(list(&mut ipvs), BTreeMap::from([(web(), settings("rr"))]));
        done(&mut ipvs, vec![Step::DeleteServer(web())]);
        let table = std::fs::read_to_string("/proc/thread-self/net/ip_vs").unwrap();
        assert!(table.contains("FWM  00000007 rr"), "{table}");
    });
}

/// The kernel lists the destinations of a virtual server that is not there as none, without an error.
#[test]
fn without_virtual_servers_the_list_is_empty_and_nothing_is_found() {
    in_namespace(|| {
        let mut ipvs = Ipvs::connect_if_loaded().unwrap();
        assert_eq!(list(&mut ipvs), BTreeMap::new());
        assert_eq!(read(&mut ipvs, web()), None);
        assert_eq!(read(&mut ipvs, server("fd96::1", Protocol::Sctp, 1)), None);
    });
}

/// They hold for the network namespace.
#[test]
fn timeouts_read_back_as_set() {
    in_namespace(|| {
        let mut ipvs = Ipvs::connect().unwrap();
        let kernel = Timeouts { tcp: 900, tcp_fin: 120, udp: 300 };
        assert_eq!(ipvs.timeouts().unwrap(), kernel);
        let wanted = Timeouts { tcp: 7500, tcp_fin: 30, udp: 1 };
        done(&mut ipvs, vec![Step::SetTimeouts(wanted)]);
        assert_eq!(ipvs.timeouts().unwrap(), wanted);
    });
}

#[test]
fn connections_are_counted_by_destination() {
    in_namespace(|| {
        let mut ipvs = Ipvs::connect().unwrap();
        let [busy, idle] = [nth_pod(1), nth_pod(2)];
        for address in [web().address, busy.address, idle.address] {
            let output = Command::new("ip").args(["addr", "add", &address.to_string(), "dev", "lo"]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        let destinations = [(busy, weight(1)), (idle, weight(0))].into();
        done(&mut ipvs, creation(web(), &VirtualServer { settings: settings("rr"), destinations }));
        let listener = TcpListener::bind((busy.address, busy.port)).unwrap();
        let clients = [(); 2].map(|()| TcpStream::connect((web().address, web().port)).unwrap());
        let (_, connections) = ipvs.get(&web()).unwrap().unwrap();
        assert_eq!(connections, [(busy, 2)].into_iter().collect());
        drop((clients, listener));
        assert_eq!(ipvs.get(&ServerKey { port: 81, ..web() }).unwrap(), None);
    });
}
