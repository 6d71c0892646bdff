use proptest::prelude::*;

use super::*;
use crate::apply::netlink::Writer;

/// A notification of this kind: `struct nlmsghdr`, a header of its own, attributes.
fn notification(kind: u16, header: &[u8], attributes: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    attributes(&mut writer);
    let length = (16 + header.len() + writer.as_bytes().len()) as u32;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&[0; 10]);
    message.extend_from_slice(header);
    message.extend_from_slice(writer.as_bytes());
    message
}

fn link(kind: u16, index: u32, name: &str) -> Vec<u8> {
    let header = [&[0; 4][..], &index.to_ne_bytes(), &[0; 8]].concat();
    notification(kind, &header, |w| w.string(3, name))
}

fn address(index: u32, address: &str) -> Vec<u8> {
    let bytes = match address.parse::<IpAddr>().unwrap() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let header = [&[0; 4][..], &index.to_ne_bytes()].concat();
    notification(DELETED_ADDRESS, &header, |w| w.bytes(1, &bytes))
}

fn route(length: u8, table: u8, protocol: u8, link: u32) -> Vec<u8> {
    notification(NEW_ROUTE, &[2, length, 0, 0, table, protocol, 0, 2, 0, 0, 0, 0], |w| w.u32(4, link))
}

fn rule(family: u8, table: &str, more: impl FnOnce(&mut Writer)) -> Vec<u8> {
    notification(0x0a06, &[family, 0, 0, 0], |w| {
        w.string(1, table);
        more(w);
    })
}

#[test]
fn links() {
    let mut concerns = Concerns::new(None);
    assert!(!concerns.route(&link(NEW_LINK, 7, "eth0")));
    assert!(concerns.route(&link(NEW_LINK, 8, "vipcast0")));
    assert_eq!(concerns.link, Some(8));
    assert!(concerns.route(&link(DELETED_LINK, 8, "vipcast0")));
    assert_eq!(concerns.link, None);
    assert!(!concerns.route(&link(NEW_LINK, 8, "reused")));
}

#[test]
fn a_renamed_link_is_no_longer_ours() {
    let mut concerns = Concerns::new(Some(8));
    assert!(concerns.route(&link(NEW_LINK, 8, "other")));
    assert!(!concerns.route(&link(NEW_LINK, 8, "other")));
}

#[test]
fn addresses() {
    let cases = [
        (address(2, "10.0.1.2"), true),
        (address(2, "fd01::2"), true),
        (address(8, "10.0.1.2"), false),
        // Every pod brings a link with such an address.
        (address(2, "fe80::1"), false),
        (address(2, "127.0.0.1"), false),
    ];
    for (datagram, expected) in cases {
        assert_eq!(Concerns::new(Some(8)).route(&datagram), expected, "{datagram:?}");
    }
}

#[test]
fn routes() {
    let cases = [
        (route(16, 255, 118, 8), true),
        (route(16, 255, 118, 2), true),
        (route(32, 255, 2, 8), true),
        (route(32, 255, 2, 2), false),
        (route(24, 254, 186, 2), false),
        (route(0, 254, 9, 2), true),
        (route(0, 100, 9, 2), false),
    ];
    for (datagram, expected) in cases {
        assert_eq!(Concerns::new(Some(8)).route(&datagram), expected, "{datagram:?}");
    }
    // A route without a link, while we have none.
    let unreachable = notification(NEW_ROUTE, &[2, 32, 0, 0, 255, 2, 0, 7, 0, 0, 0, 0], |_| {});
    assert!(!Concerns::new(None).route(&unreachable));
}

#[test]
fn all_messages_of_a_datagram_are_looked_at() {
    let mut concerns = Concerns::new(None);
    let datagram = [link(NEW_LINK, 7, "eth0"), link(NEW_LINK, 8, "vipcast0"), link(NEW_LINK, 9, "eth1")].concat();
    assert!(concerns.route(&datagram));
    assert_eq!(concerns.link, Some(8));
}

#[test]
fn packet_filter_rules() {
    let jump = |w: &mut Writer| w.nest(4, |w| w.string(2, "VIPCAST-SNAT"));
    let cases = [
        (rule(1, "vipcast", |_| {}), true),
        (rule(2, "vipcast", |_| {}), false),
        (rule(1, "kube-proxy", |_| {}), false),
        (rule(2, "nat", |_| {}), false),
        (rule(2, "nat", jump), true),
        (rule(10, "nat", jump), true),
        (rule(2, "filter", jump), false),
        (notification(0x0a0f, &[0; 4], |w| w.u32(1, 42)), false),
        ([rule(1, "kube-proxy", |_| {}), rule(1, "vipcast", |_| {})].concat(), true),
    ];
    for (datagram, expected) in cases {
        assert_eq!(nftables(&datagram), expected, "{datagram:?}");
    }
}

#[test]
fn what_is_cut_short_concerns_us() {
    let cut = |mut datagram: Vec<u8>| {
        datagram.truncate(datagram.len() - 4);
        datagram
    };
    assert!(Concerns::new(Some(8)).route(&cut(link(NEW_LINK, 7, "eth0"))));
    assert!(nftables(&cut(rule(1, "kube-proxy", |_| {}))));
    assert!(Concerns::new(Some(8)).route(&notification(NEW_ROUTE, &[2, 0], |_| {})));
    assert!(nftables(&notification(0x0a06, &[1, 0, 0, 0], |_| {})));
}

proptest! {
    #[test]
    fn nothing_panics(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
        Concerns::new(Some(8)).route(&datagram);
        nftables(&datagram);
    }
}
