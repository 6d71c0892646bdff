//! Forgetting UDP flows: exactly those that are meant, whatever stands beside them.

use std::collections::BTreeSet;
use std::process::Command;

use vipcast::apply::conntrack::Conntrack;
use vipcast::model::ipvs::{DestinationKey, Protocol, ServerKey};
use vipcast::plan::{Outcome, Step};

use crate::in_namespace;

fn conntrack(arguments: &str) -> String {
    let output = Command::new("conntrack").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "conntrack {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A flow: its number, its protocol, and where it is sent to and answered from.
type Flow = (u16, &'static str, (&'static str, u16), (&'static str, u16));

/// Makes `flow`, which the kernel then tracks. Its client's port is its number.
fn track((number, protocol, (vip, port), (pod, pod_port)): Flow) {
    let (client, node) = if vip.contains(':') { ("fd99::1", "fd02::2") } else { ("192.0.2.1", "10.0.1.2") };
    let state = if protocol == "tcp" { "--state ESTABLISHED" } else { "" };
    conntrack(&format!(
        "-I -p {protocol} -t 600 {state} --orig-src {client} --orig-dst {vip} --reply-src {pod} \
         --reply-dst {node} --orig-port-src {number} --orig-port-dst {port} --reply-port-src {pod_port} \
         --reply-port-dst {number}"
    ));
}

/// The numbers of all flows that are tracked.
fn tracked() -> BTreeSet<u16> {
    let lists = ["ipv4", "ipv6"].map(|family| conntrack(&format!("-L -f {family}"))).concat();
    let number = |line: &str| line.split_once("sport=")?.1.split(' ').next()?.parse().ok();
    lists.lines().filter_map(number).collect()
}

fn forget(vip: &str, port: u16, pod: &str, pod_port: u16) -> Step {
    let server = ServerKey { address: vip.parse().unwrap(), protocol: Protocol::Udp, port };
    Step::Forget(server, DestinationKey { address: pod.parse().unwrap(), port: pod_port })
}

const FLOWS: [Flow; 14] = [
    (1, "udp", ("10.96.0.53", 53), ("10.244.1.2", 5353)),
    (2, "udp", ("10.96.0.53", 53), ("10.244.1.2", 5353)),
    // Another pod, port, virtual server or protocol; one that nobody translated.
    (3, "udp", ("10.96.0.53", 53), ("10.244.1.3", 5353)),
    (4, "udp", ("10.96.0.53", 53), ("10.244.1.2", 5354)),
    (5, "udp", ("10.96.0.53", 54), ("10.244.1.2", 5353)),
    (6, "udp", ("10.96.0.54", 53), ("10.244.1.2", 5353)),
    (7, "tcp", ("10.96.0.53", 53), ("10.244.1.2", 5353)),
    (8, "udp", ("10.96.0.53", 53), ("10.96.0.53", 53)),
    (9, "udp", ("10.244.1.2", 5353), ("10.244.1.2", 5353)),
    (11, "udp", ("fd96::53", 53), ("fd01::2", 5353)),
    (12, "udp", ("fd96::53", 53), ("fd01::3", 5353)),
    (13, "udp", ("fd96::54", 53), ("fd01::2", 5353)),
    (14, "udp", ("fd96::53", 53), ("fd96::53", 53)),
    (15, "tcp", ("fd96::53", 53), ("fd01::2", 5353)),
];

#[test]
fn only_the_flows_that_are_meant_are_forgotten() {
    let cases: [(&[Step], &[u16]); 6] = [
        (&[forget("10.96.0.53", 53, "10.244.1.2", 5353)], &[1, 2]),
        (&[forget("10.96.0.53", 53, "10.96.0.53", 53)], &[8]),
        (&[forget("fd96::53", 53, "fd01::2", 5353)], &[11]),
        (&[forget("fd96::53", 53, "fd96::53", 53)], &[14]),
        (
            &[
                forget("10.96.0.54", 53, "10.244.1.2", 5353),
                forget("10.96.0.53", 53, "10.244.1.3", 5353),
                forget("fd96::54", 53, "fd01::2", 5353),
            ],
            &[3, 6, 13],
        ),
        (&[forget("10.96.0.53", 53, "10.244.9.9", 5353), forget("fd96::99", 53, "fd01::2", 5353)], &[]),
    ];
    for (steps, expected) in cases {
        in_namespace(|| {
            FLOWS.into_iter().for_each(track);
            let all = tracked();
            assert_eq!(all.len(), FLOWS.len());
            assert_eq!(Conntrack::default().perform(steps), vec![Outcome::Done; steps.len()]);
            assert_eq!(all.difference(&tracked()).copied().collect::<Vec<_>>(), expected, "{steps:?}");
        });
    }
}

#[test]
fn what_is_no_udp_flow_is_refused_and_touches_nothing() {
    in_namespace(|| {
        FLOWS.into_iter().for_each(track);
        let Step::Forget(server, answers) = forget("10.96.0.53", 53, "10.244.1.2", 5353) else { panic!() };
        let tcp = ServerKey { protocol: Protocol::Tcp, ..server };
        for step in [Step::Forget(tcp, answers), Step::DeleteServer(server)] {
            let outcomes = Conntrack::default().perform(&[step]);
            assert!(matches!(&outcomes[..], [Outcome::Refused(_)]), "{outcomes:?}");
        }
        assert_eq!(tracked().len(), FLOWS.len());
    });
}
