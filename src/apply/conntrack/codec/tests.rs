use proptest::prelude::*;

use super::*;
use crate::apply::netlink::Messages;

fn server(address: &str, port: u16) -> ServerKey {
    ServerKey { address: address.parse().unwrap(), protocol: Protocol::Udp, port }
}

fn pod(address: &str, port: u16) -> DestinationKey {
    DestinationKey { address: address.parse().unwrap(), port }
}

fn end(text: &str) -> (IpAddr, u16) {
    let end: std::net::SocketAddr = text.parse().unwrap();
    (end.ip(), end.port())
}

/// The kind and the bytes of the only message of `batch`.
fn message(mut batch: Batch) -> (u16, Vec<u8>) {
    let messages: Vec<_> = Messages::new(batch.seal(1)).map(|message| message.unwrap()).collect();
    let [message] = messages[..] else { panic!("{} messages", messages.len()) };
    (message.kind, message.payload.to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Put together by hand from `nfnetlink_conntrack.h`, as a little-endian machine writes them.
#[test]
#[cfg(target_endian = "little")]
fn requests_are_these_bytes() {
    let dns4 = server("10.96.0.10", 53);
    let dns6 = server("fd00::a", 53);
    let protocol = "05000100 11000000";
    let cases = [
        // One virtual server: protocol, port and IPv4 address are the kernel's to compare.
        (
            list(Family::Ipv4, &[(dns4, pod("10.1.0.1", 53))].into()),
            0x0101,
            format!(
                "02000000 24000180 0c000180 08000200 0a60000a 14000280 {protocol} 06000300 00350000 \
                 0c001980 08000100 2a000000"
            ),
        ),
        // IPv6 addresses are not.
        (
            list(Family::Ipv6, &[(dns6, pod("fd01::1", 53))].into()),
            0x0101,
            format!("0a000000 1c000180 04000180 14000280 {protocol} 06000300 00350000 0c001980 08000100 28000000"),
        ),
        // Of several, only the protocol is common to all.
        (
            list(Family::Ipv4, &[(dns4, pod("10.1.0.1", 53)), (server("10.96.0.11", 53), pod("10.1.0.1", 53))].into()),
            0x0101,
            format!("02000000 14000180 04000180 0c000280 {protocol} 0c001980 08000100 08000000"),
        ),
    ];
    for (batch, kind, expected) in cases {
        assert_eq!(message(batch), (kind, bytes(&expected)));
    }
    let mut batch = Batch::default();
    let original = Tuple { source: end("192.0.2.1:40000"), destination: end("10.96.0.10:53") };
    let reply = Tuple { source: end("10.1.0.1:53"), destination: end("10.0.1.2:1024") };
    delete(&mut batch, Family::Ipv4, &Entry { id: [1, 2, 3, 4], original, reply });
    let expected = format!(
        "02000000 34000180 14000180 08000100 c0000201 08000200 0a60000a \
         1c000280 {protocol} 06000200 9c400000 06000300 00350000 08000c00 01020304"
    );
    let (kind, found) = message(batch);
    assert_eq!((kind, hex(&found)), (0x0102, expected.replace(' ', "")));
}

fn bytes(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn write_tuple(w: &mut Writer, kind: u16, protocol: u8, tuple: &Tuple) {
    w.nest(kind, |w| {
        w.nest(tuple::ADDRESSES, |w| {
            write(w, tuple.source.0, addresses::SOURCE_4, addresses::SOURCE_6);
            write(w, tuple.destination.0, addresses::DESTINATION_4, addresses::DESTINATION_6);
        });
        w.nest(tuple::TRANSPORT, |w| {
            w.u8(transport::PROTOCOL, protocol);
            w.be16(transport::SOURCE_PORT, tuple.source.1);
            w.be16(transport::DESTINATION_PORT, tuple.destination.1);
        });
    });
}

/// An entry as the kernel tells of it.
fn told(protocol: u8, zone: Option<u16>, entry: &Entry) -> Writer {
    let mut w = Writer::default();
    write_tuple(&mut w, entry::ORIGINAL, protocol, &entry.original);
    write_tuple(&mut w, entry::REPLY, protocol, &entry.reply);
    w.bytes(entry::ID, &entry.id);
    zone.into_iter().for_each(|zone| w.be16(entry::ZONE, zone));
    w
}

#[test]
fn only_udp_flows_outside_of_zones_are_entries() {
    for [client, vip, pod, node] in [
        ["192.0.2.1:40000", "10.96.0.10:53", "10.1.0.1:5353", "10.0.1.2:1024"],
        ["[fd99::1]:40000", "[fd00::a]:53", "[fd01::1]:5353", "[fd02::2]:1024"],
    ] {
        let original = Tuple { source: end(client), destination: end(vip) };
        let reply = Tuple { source: end(pod), destination: end(node) };
        let entry = Entry { id: [9, 8, 7, 6], original, reply };
        let parsed = |protocol, zone| parse(&Attributes::new(told(protocol, zone, &entry).as_bytes()));
        assert_eq!(parsed(17, None), Some(entry));
        assert_eq!(parsed(6, None), None);
        assert_eq!(parsed(17, Some(7)), None);
        let (address, port) = end(vip);
        let (pod, pod_port) = end(pod);
        let server = ServerKey { address, protocol: Protocol::Udp, port };
        assert_eq!(entry.flow(), (server, DestinationKey { address: pod, port: pod_port }));
    }
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = parse(&Attributes::new(&bytes));
        for kind in [entry::ORIGINAL, entry::REPLY] {
            let mut w = Writer::default();
            w.bytes(entry::ID, &[0; 4]);
            w.bytes(kind, &bytes);
            prop_assert_eq!(parse(&Attributes::new(w.as_bytes())), None);
        }
    }
}
