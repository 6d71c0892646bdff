use super::outcome;
use super::*;
use crate::model::ipvs::{Destination, DestinationKey, Forwarding, Protocol, Scheduler, ServerFlags};

/// What becomes of a step when the kernel answers with an error.
#[test]
fn errors_of_the_kernel_become_outcomes() {
    let key = ServerKey { address: [10, 0, 0, 1].into(), protocol: Protocol::Tcp, port: 80 };
    let settings = ServerSettings { scheduler: Scheduler::new("wlc"), flags: ServerFlags::default(), timeout: 0 };
    let name = DestinationKey { address: [224, 0, 0, 1].into(), port: 8080 };
    let value = Destination { weight: 1 << 31, forwarding: Forwarding::Masquerade };
    let add = Step::AddServer(key, settings.clone());
    let set = Step::SetServer(key, settings);
    let delete = Step::DeleteServer(key);
    let add_destination = Step::AddDestination(key, name, value);
    let set_destination = Step::SetDestination(key, name, value);
    let delete_destination = Step::DeleteDestination(key, name);

    let drifted = |reason: &str| Outcome::Drifted(reason.into());
    let refused = |reason: &str| Outcome::Refused(reason.into());
    let no_module = refused("scheduler wlc: the kernel has no module ip_vs_wlc");
    let not_unicast = refused(
        "destination 224.0.0.1:8080: the kernel takes only unicast addresses, no link-local ones, and lo must be up",
    );
    let weight = refused("destination 224.0.0.1:8080: weight 2147483648 is more than 2147483647");
    let cases = [
        (&add, Errno::EXIST, drifted("the virtual server is there already")),
        (&add, Errno::NOENT, no_module.clone()),
        (&add, Errno::AFNOSUPPORT, refused("the kernel's IPVS has no IPv6")),
        (&add, Errno::INVAL, refused("the kernel answered: Invalid argument (os error 22)")),
        (&add, Errno::NOMEM, Outcome::Later("the kernel answered: Cannot allocate memory (os error 12)".into())),
        (&set, Errno::SRCH, drifted("no such virtual server")),
        (&set, Errno::NOENT, no_module),
        (&delete, Errno::SRCH, Outcome::Done),
        (&delete, Errno::NOENT, Outcome::Done),
        (&add_destination, Errno::EXIST, drifted("the destination is there already")),
        (&add_destination, Errno::SRCH, drifted("no such virtual server")),
        (&add_destination, Errno::INVAL, not_unicast.clone()),
        (&add_destination, Errno::RANGE, weight.clone()),
        (&set_destination, Errno::NOENT, drifted("no such destination")),
        (&set_destination, Errno::SRCH, drifted("no such virtual server")),
        (&set_destination, Errno::INVAL, not_unicast),
        (&set_destination, Errno::RANGE, weight),
        (&delete_destination, Errno::NOENT, Outcome::Done),
        (&delete_destination, Errno::SRCH, Outcome::Done),
    ];
    for (step, errno, expected) in cases {
        assert_eq!(outcome::of(step, Verdict::Failed(errno)), expected, "{step:?}: {errno}");
    }
    let steps = [add, set, delete, add_destination, set_destination, delete_destination];
    for step in steps {
        assert_eq!(outcome::of(&step, Verdict::Done), Outcome::Done);
        assert_eq!(outcome::of(&step, Verdict::Unknown), drifted("the kernel's answer was lost"));
        for errno in [Errno::NOMEM, Errno::NOBUFS, Errno::INTR] {
            assert!(matches!(outcome::of(&step, Verdict::Failed(errno)), Outcome::Later(_)), "{step:?}: {errno}");
        }
        let refused = outcome::of(&step, Verdict::Failed(Errno::PERM));
        assert!(matches!(&refused, Outcome::Refused(reason) if reason.contains("CAP_NET_ADMIN")), "{refused:?}");
    }
}

#[test]
fn a_reading_that_fails_is_tried_again_unless_that_is_pointless() {
    let lost = IpvsError::Netlink(NetlinkError::Lost);
    let unloaded = IpvsError::Netlink(NetlinkError::Refused(Errno::NOENT));
    let forbidden = IpvsError::Netlink(NetlinkError::Refused(Errno::PERM));
    let malformed = IpvsError::Malformed(Malformed { object: "destination", attribute: "port" });
    assert_eq!(outcome::unreadable(&lost), Outcome::Later("the kernel's answer was lost".into()));
    assert_eq!(outcome::unreadable(&unloaded), Outcome::Later("module ip_vs was unloaded".into()));
    assert!(matches!(outcome::unreadable(&forbidden), Outcome::Refused(_)));
    assert_eq!(outcome::unreadable(&malformed), Outcome::Refused("the kernel's destination has no usable port".into()));
    assert_eq!(
        outcome::unreadable(&IpvsError::Absent),
        Outcome::Refused("the kernel has no IPVS: load module ip_vs".into())
    );
}
