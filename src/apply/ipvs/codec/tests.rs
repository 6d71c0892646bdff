use proptest::prelude::*;

use super::*;
use crate::apply::netlink::Messages;

const FAMILY_NUMBER: u16 = 0x1c;

fn server_key(address: &str, protocol: Protocol, port: u16) -> ServerKey {
    ServerKey { address: address.parse().unwrap(), protocol, port }
}

fn settings(scheduler: &str, flags: u32, timeout: u32) -> ServerSettings {
    ServerSettings { scheduler: Scheduler::new(scheduler), flags: ServerFlags(flags), timeout }
}

fn destination_key(address: &str, port: u16) -> DestinationKey {
    DestinationKey { address: address.parse().unwrap(), port }
}

fn request_of(step: Step) -> Batch {
    let mut batch = Batch::default();
    push(&mut batch, FAMILY_NUMBER, &step).unwrap();
    batch
}

/// The payload of the only message of `batch`.
fn payload(mut batch: Batch) -> Vec<u8> {
    let messages: Vec<_> = Messages::new(batch.seal(1)).map(|message| message.unwrap()).collect();
    let [message] = messages[..] else { panic!("{} messages", messages.len()) };
    assert_eq!(message.kind, FAMILY_NUMBER);
    message.payload.to_vec()
}

/// What `parse` makes of the only message of `batch`.
fn parsed<T>(batch: Batch, parse: impl Fn(&Attributes<'_>) -> T) -> T {
    parse(&Attributes::new(&payload(batch)[4..]))
}

/// What a virtual server says that is not of our own making.
fn foreign(body: impl FnOnce(&mut Writer)) -> Writer {
    let mut w = Writer::default();
    w.nest(about::SERVICE, body);
    w
}

// The two virtual servers and the two destinations of the table below, byte by byte as a little-endian machine writes
// them: each attribute has its length and kind first. Put together by hand from `include/uapi/linux/ip_vs.h`.
const KEY4: &str = "06000100 02000000 06000200 06000000 14000300 0a000001 00000000 00000000 00000000 06000400 00500000";
const KEY6: &str = "06000100 0a000000 06000200 84000000 14000300 fd000000 00000000 00000000 0000000a 06000400 00350000";
const POD4: &str = "06000b00 02000000 14000100 0a010203 00000000 00000000 00000000 06000200 1f900000";
const POD6: &str = "06000b00 0a000000 14000100 fd010000 00000000 00000000 00000007 06000200 20fb0000";

#[test]
#[cfg(target_endian = "little")]
fn requests_are_these_bytes() {
    let key4 = server_key("10.0.0.1", Protocol::Tcp, 80);
    let key6 = server_key("fd00::a", Protocol::Sctp, 53);
    let pod4 = destination_key("10.1.2.3", 8080);
    let pod6 = destination_key("fd01::7", 8443);
    let nat = Destination { weight: 100, forwarding: Forwarding::Masquerade };
    let tunnel = Destination { weight: 0, forwarding: Forwarding::Tunnel };
    let rr = "07000600 72720000 0c000700 00000000 ffffffff 08000800 00000000 08000900 ffffffff";
    let mh = "07000600 6d680000 0c000700 19000000 ffffffff 08000800 302a0000 08000900 80000000";
    let nat_value = "08000300 00000000 08000400 64000000 08000500 00000000 08000600 00000000";
    let tunnel_value = "08000300 02000000 08000400 00000000 08000500 00000000 08000600 00000000";
    let cases = [
        (request_of(Step::AddServer(key4, settings("rr", 0, 0))), format!("01010000 54000180 {KEY4} {rr}")),
        (request_of(Step::SetServer(key6, settings("mh", 0x19, 10_800))), format!("02010000 54000180 {KEY6} {mh}")),
        (request_of(Step::DeleteServer(key4)), format!("03010000 30000180 {KEY4}")),
        (
            request_of(Step::AddDestination(key4, pod4, nat)),
            format!("05010000 30000180 {KEY4} 48000280 {POD4} {nat_value}"),
        ),
        (
            request_of(Step::SetDestination(key6, pod6, tunnel)),
            format!("06010000 30000180 {KEY6} 48000280 {POD6} {tunnel_value}"),
        ),
        (request_of(Step::DeleteDestination(key6, pod6)), format!("07010000 30000180 {KEY6} 28000280 {POD6}")),
        (list_servers(FAMILY_NUMBER), "04010000".to_owned()),
        (get_server(FAMILY_NUMBER, &key6), format!("04010000 30000180 {KEY6}")),
        (list_destinations(FAMILY_NUMBER, &key4), format!("08010000 30000180 {KEY4}")),
    ];
    for (batch, expected) in cases {
        let found: String = payload(batch).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected.replace(' ', ""));
    }
}

/// The same request as another implementation of netlink wrote it.
#[test]
#[cfg(target_endian = "little")]
fn a_request_of_another_implementation_reads_as_what_it_asks_for() {
    let hex = "54000180060001000200000006000200060000001400030\
               00a00000100000000000000000000000006000400005000000700060072720000\
               0c00070002000000ffffffff080008000000000008000900ffffffff";
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
    let found = parse_server(&Attributes::new(&bytes)).unwrap();
    assert_eq!(found, Some((server_key("10.0.0.1", Protocol::Tcp, 80), settings("rr", 0, 0))));
}

#[test]
fn steps_that_are_no_requests_say_why() {
    let key = server_key("10.0.0.1", Protocol::Tcp, 80);
    for name in ["", "sixteen-letters-", "r\0r"] {
        for step in [Step::AddServer(key, settings(name, 0, 0)), Step::SetServer(key, settings(name, 0, 0))] {
            let mut batch = Batch::default();
            assert_eq!(push(&mut batch, 1, &step), Err(Unfit::SchedulerName(Scheduler::new(name))));
            assert!(batch.is_empty());
        }
    }
    assert!(push(&mut Batch::default(), 1, &Step::AddServer(key, settings("fifteen-letters", 0, 0))).is_ok());
    assert_eq!(push(&mut Batch::default(), 1, &Step::EnsureLink), Err(Unfit::NotOurs(Target::Addr)));
    assert_eq!(
        Unfit::SchedulerName(Scheduler::new("sixteen-letters-")).to_string(),
        "scheduler \"sixteen-letters-\": a name is 1 to 15 bytes, none of them NUL"
    );
}

#[test]
fn virtual_servers_that_no_key_names_are_left_out() {
    let by_mark = foreign(|w| {
        w.u16(service::FAMILY, IPV4);
        w.u32(service::FIREWALL_MARK, 7);
    });
    let other_protocol = foreign(|w| {
        w.u16(service::FAMILY, IPV4);
        w.u16(service::PROTOCOL, 50);
    });
    for w in [by_mark, other_protocol] {
        assert_eq!(parse_server(&Attributes::new(w.as_bytes())), Ok(None));
    }
}

#[test]
fn an_object_that_lacks_something_is_an_error_that_names_it() {
    let whole = |without: u16| {
        foreign(|w| {
            for (kind, value) in [
                (service::FAMILY, &IPV6.to_ne_bytes()[..]),
                (service::PROTOCOL, &6u16.to_ne_bytes()),
                (service::ADDRESS, &[1; 16]),
                (service::PORT, &[0, 80]),
                (service::SCHEDULER, b"rr\0"),
                (service::FLAGS, &[0; 8]),
                (service::TIMEOUT, &[0; 4]),
            ] {
                if kind != without {
                    w.bytes(kind, value);
                }
            }
        })
    };
    assert!(parse_server(&Attributes::new(whole(0).as_bytes())).is_ok());
    let cases = [
        (service::FAMILY, "address family"),
        (service::PROTOCOL, "protocol"),
        (service::ADDRESS, "address"),
        (service::PORT, "port"),
        (service::SCHEDULER, "scheduler"),
        (service::FLAGS, "flags"),
        (service::TIMEOUT, "timeout"),
    ];
    for (without, attribute) in cases {
        let expected = Malformed { object: "virtual server", attribute };
        assert_eq!(parse_server(&Attributes::new(whole(without).as_bytes())), Err(expected));
    }
    let error = parse_destination(&Attributes::new(&[])).unwrap_err();
    assert_eq!(error.to_string(), "the kernel's destination has no usable attributes");
}

prop_compose! {
    fn any_server_key()(
        address in any::<IpAddr>(),
        protocol in prop::sample::select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]),
        port in any::<u16>(),
    ) -> ServerKey {
        ServerKey { address, protocol, port }
    }
}

prop_compose! {
    fn any_settings()(name in "[a-z_]{1,15}", flags in any::<u32>(), timeout in any::<u32>()) -> ServerSettings {
        settings(&name, flags & !ServerFlags::KERNEL_OWNED, timeout)
    }
}

prop_compose! {
    fn any_destination()(
        address in any::<IpAddr>(),
        port in any::<u16>(),
        weight in any::<u32>(),
        number in 0u32..=4,
    ) -> (DestinationKey, Destination) {
        (DestinationKey { address, port }, Destination { weight, forwarding: forwarding(number).unwrap() })
    }
}

proptest! {
    #[test]
    fn a_virtual_server_reads_back_as_written(key in any_server_key(), settings in any_settings()) {
        for step in [Step::AddServer(key, settings.clone()), Step::SetServer(key, settings.clone())] {
            prop_assert_eq!(parsed(request_of(step), parse_server), Ok(Some((key, settings.clone()))));
        }
    }

    #[test]
    fn a_destination_reads_back_as_written(server in any_server_key(), (key, value) in any_destination()) {
        for step in [Step::AddDestination(server, key, value), Step::SetDestination(server, key, value)] {
            prop_assert_eq!(parsed(request_of(step), parse_destination), Ok((key, value)));
        }
    }

    #[test]
    fn connections_are_the_active_and_the_inactive_ones(active in any::<u32>(), inactive in any::<u32>()) {
        let mut w = Writer::default();
        w.nest(about::DESTINATION, |w| {
            w.u32(destination::ACTIVE, active);
            w.u32(destination::INACTIVE, inactive);
        });
        let count = parse_connections(&Attributes::new(w.as_bytes()));
        prop_assert_eq!(count, Ok(u64::from(active) + u64::from(inactive)));
        let missing = Malformed { object: "destination", attribute: "count of connections" };
        let server = server_key("10.0.0.1", Protocol::Tcp, 80);
        let request = request_of(Step::DeleteDestination(server, destination_key("10.1.2.3", 8080)));
        prop_assert_eq!(parsed(request, parse_connections), Err(missing));
    }

    #[test]
    fn flags_that_the_kernel_owns_are_neither_sent_nor_seen(key in any_server_key(), flags in any::<u32>()) {
        let step = Step::AddServer(key, settings("rr", flags, 0));
        let sent = parsed(request_of(step), |message| {
            let flags = message.get(about::SERVICE).unwrap().nested().get(service::FLAGS).unwrap().value;
            u32::from_ne_bytes(*flags.first_chunk().unwrap())
        });
        prop_assert_eq!(sent, flags & !ServerFlags::KERNEL_OWNED);
        let found = foreign(|w| {
            w.u16(service::FAMILY, IPV4);
            w.u16(service::PROTOCOL, 6);
            w.bytes(service::ADDRESS, &[1, 2, 3, 4]);
            w.be16(service::PORT, 80);
            w.string(service::SCHEDULER, "rr");
            w.bytes(service::FLAGS, &[flags.to_ne_bytes(), [0xff; 4]].concat());
            w.u32(service::TIMEOUT, 0);
        });
        let (_, settings) = parse_server(&Attributes::new(found.as_bytes())).unwrap().unwrap();
        prop_assert_eq!(settings.flags.0, flags & !ServerFlags::KERNEL_OWNED);
    }

    #[test]
    fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        for kind in [about::SERVICE, about::DESTINATION] {
            let mut w = Writer::default();
            w.bytes(kind, &bytes);
            let message = Attributes::new(w.as_bytes());
            let _ = (parse_server(&message), parse_destination(&message), parse_connections(&message));
        }
    }
}

/// The wide counters where there are some, else the narrow ones.
#[test]
fn connections_and_packets_that_came() {
    let stats = |wide: Option<(u64, u64)>, narrow: Option<(u32, u32)>| {
        let w = foreign(|w| {
            if let Some((total, packets)) = narrow {
                w.nest(service::STATS, |w| {
                    w.u32(statistics::CONNECTIONS, total);
                    w.u32(statistics::PACKETS_IN, packets);
                });
            }
            if let Some((total, packets)) = wide {
                w.nest(service::STATS64, |w| {
                    w.bytes(statistics::CONNECTIONS, &total.to_ne_bytes());
                    w.bytes(statistics::PACKETS_IN, &packets.to_ne_bytes());
                });
            }
        });
        parse_traffic(&Attributes::new(w.as_bytes()))
    };
    assert_eq!(stats(Some((1 << 33, 1 << 34)), Some((7, 8))), (1 << 33, 1 << 34));
    assert_eq!(stats(None, Some((7, 8))), (7, 8));
    assert_eq!(stats(None, None), (0, 0));
    assert_eq!(parse_traffic(&Attributes::new(&[])), (0, 0));
}

#[test]
fn of_a_destination_only_active_connections_are_open() {
    let counted = |active: Option<u32>| {
        let mut w = Writer::default();
        w.nest(about::DESTINATION, |w| {
            active.into_iter().for_each(|count| w.u32(destination::ACTIVE, count));
            w.u32(destination::INACTIVE, 9);
        });
        parse_active(&Attributes::new(w.as_bytes()))
    };
    assert_eq!(counted(Some(5)), Ok(5));
    assert_eq!(counted(None), Err(Malformed { object: "destination", attribute: "count of connections" }));
}
