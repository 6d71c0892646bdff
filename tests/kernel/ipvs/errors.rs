//! What the kernel refuses, and what becomes of it.

use super::*;

/// The outcome of one step.
fn outcome(ipvs: &mut Ipvs, step: Step) -> Outcome {
    perform(ipvs, vec![step]).remove(0)
}

fn drifted(reason: &str) -> Outcome {
    Outcome::Drifted(reason.to_owned())
}

/// The reason of a refusal.
fn refusal(outcome: Outcome) -> String {
    match outcome {
        Outcome::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_there_already_or_not_there_is_drift() {
    in_namespace(|| {
        let ipvs = &mut Ipvs::connect().unwrap();
        let no_server = drifted("no such virtual server");
        assert_eq!(outcome(ipvs, Step::SetServer(web(), settings("rr"))), no_server);
        assert_eq!(outcome(ipvs, Step::AddDestination(web(), nth_pod(1), weight(1))), no_server);
        assert_eq!(outcome(ipvs, Step::SetDestination(web(), nth_pod(1), weight(1))), no_server);

        done(ipvs, vec![Step::AddServer(web(), settings("rr"))]);
        let there = drifted("the virtual server is there already");
        assert_eq!(outcome(ipvs, Step::AddServer(web(), settings("wrr"))), there);
        assert_eq!(read(ipvs, web()).map(|server| server.settings), Some(settings("rr")));
        let no_destination = drifted("no such destination");
        assert_eq!(outcome(ipvs, Step::SetDestination(web(), nth_pod(1), weight(1))), no_destination);

        done(ipvs, vec![Step::AddDestination(web(), nth_pod(1), weight(1))]);
        let there = drifted("the destination is there already");
        assert_eq!(outcome(ipvs, Step::AddDestination(web(), nth_pod(1), weight(2))), there);
        let found = read(ipvs, web()).unwrap();
        assert_eq!(found.destinations, BTreeMap::from([(nth_pod(1), weight(1))]));
    });
}

#[test]
fn deleting_what_is_not_there_is_done() {
    in_namespace(|| {
        let ipvs = &mut Ipvs::connect().unwrap();
        done(ipvs, vec![Step::DeleteServer(web()), Step::DeleteDestination(web(), nth_pod(1))]);
        done(ipvs, vec![Step::AddServer(web(), settings("rr")), Step::DeleteDestination(web(), nth_pod(1))]);
        assert_eq!(read(ipvs, web()).unwrap().destinations, BTreeMap::new());
    });
}

#[test]
fn a_scheduler_that_the_kernel_does_not_have_is_refused_and_the_old_one_stays() {
    in_namespace(|| {
        let ipvs = &mut Ipvs::connect().unwrap();
        let reason = "scheduler nonesuch: the kernel has no module ip_vs_nonesuch";
        assert_eq!(refusal(outcome(ipvs, Step::AddServer(web(), settings("nonesuch")))), reason);
        assert_eq!(read(ipvs, web()), None);
        done(ipvs, vec![Step::AddServer(web(), settings("wrr"))]);
        assert_eq!(refusal(outcome(ipvs, Step::SetServer(web(), settings("nonesuch")))), reason);
        assert_eq!(read(ipvs, web()).map(|server| server.settings), Some(settings("wrr")));

        let long = refusal(outcome(ipvs, Step::SetServer(web(), settings("a-name-that-is-long"))));
        assert_eq!(long, "scheduler \"a-name-that-is-long\": a name is 1 to 15 bytes, none of them NUL");
    });
}

#[test]
fn destinations_that_are_not_unicast_are_refused() {
    in_namespace(|| {
        let ipvs = &mut Ipvs::connect().unwrap();
        let web6 = server("fd96::1", Protocol::Tcp, 80);
        done(ipvs, vec![Step::AddServer(web(), settings("rr")), Step::AddServer(web6, settings("rr"))]);
        for (key, address) in
            [(web(), "224.0.0.1"), (web(), "255.255.255.255"), (web(), "0.0.0.0"), (web6, "ff02::1"), (web6, "fe80::1")]
        {
            let reason = refusal(outcome(ipvs, Step::AddDestination(key, pod(address, 80), weight(1))));
            assert!(reason.contains("only unicast") && reason.contains(address), "{reason}");
            assert_eq!(read(ipvs, key).unwrap().destinations, BTreeMap::new(), "{address}");
        }
    });
}

/// The kernel takes the weight for a signed number.
#[test]
fn a_weight_that_is_too_large_is_refused() {
    in_namespace(|| {
        let ipvs = &mut Ipvs::connect().unwrap();
        let largest = i32::MAX.unsigned_abs();
        done(
            ipvs,
            vec![Step::AddServer(web(), settings("rr")), Step::AddDestination(web(), nth_pod(1), weight(largest))],
        );
        let reason = refusal(outcome(ipvs, Step::AddDestination(web(), nth_pod(2), weight(largest + 1))));
        assert_eq!(reason, "destination 10.1.0.2:8080: weight 2147483648 is more than 2147483647");
        assert_eq!(read(ipvs, web()).unwrap().destinations, BTreeMap::from([(nth_pod(1), weight(largest))]));
    });
}

#[test]
fn a_destination_of_the_other_family_is_refused_unless_it_is_tunnelled() {
    in_namespace(|| {
        let ipvs = &mut Ipvs::connect().unwrap();
        done(ipvs, vec![Step::AddServer(web(), settings("rr"))]);
        let name = pod("fd01::1", 80);
        refusal(outcome(ipvs, Step::AddDestination(web(), name, weight(1))));
        let tunnel = Destination { weight: 1, forwarding: Forwarding::Tunnel };
        done(ipvs, vec![Step::AddDestination(web(), name, tunnel)]);
        assert_eq!(read(ipvs, web()).unwrap().destinations, BTreeMap::from([(name, tunnel)]));
    });
}

#[test]
fn steps_of_other_targets_are_refused() {
    in_namespace(|| {
        let ipvs = &mut Ipvs::connect().unwrap();
        for step in [Step::EnsureLink, Step::ReadHost, Step::ReadSpeaker] {
            let reason = refusal(outcome(ipvs, step));
            assert!(reason.contains("virtual servers"), "{reason}");
        }
    });
}

/// CAP_NET_ADMIN is asked for with every request, so a thread that drops it from then on is refused.
#[test]
fn without_the_capability_everything_is_refused_in_words() {
    in_namespace(|| {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let ipvs = &mut Ipvs::connect().unwrap();
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        set_capabilities(None, sets).unwrap();
        for step in [Step::AddServer(web(), settings("rr")), Step::ListServers, Step::ReadServer(web())] {
            let reason = refusal(outcome(ipvs, step));
            assert!(reason.contains("CAP_NET_ADMIN"), "{reason}");
        }
    });
}
