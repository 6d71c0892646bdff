use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::route::RouteNextHop;

use super::*;

fn p(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A route of ours as the kernel shows it, changed.
fn route(prefix: &str, source: Option<&str>, link: u32, change: impl FnOnce(&mut RouteMessage)) -> RouteMessage {
    let prefix = p(prefix);
    let mut message = local_routes(prefix.family(), Some(ROUTE_PROTOCOL));
    message.header.destination_prefix_length = prefix.length();
    message.attributes = vec![
        RouteAttribute::Table(255),
        RouteAttribute::Destination(prefix.address().into()),
        RouteAttribute::Oif(link),
    ];
    message.attributes.extend(source.map(|source| RouteAttribute::PrefSource(ip(source).into())));
    change(&mut message);
    message
}

#[test]
fn our_routes_are_those_of_our_protocol_in_the_local_table() {
    let found = |message: RouteMessage| our_route(&message, Some(7));
    let on_link = LocalRoute { source: Some(ip("10.0.1.2")), on_link: true };
    assert_eq!(found(route("10.96.0.0/16", Some("10.0.1.2"), 7, |_| {})), Some((p("10.96.0.0/16"), on_link)));
    assert_eq!(
        found(route("fd00::/112", None, 8, |_| {})),
        Some((p("fd00::/112"), LocalRoute { source: None, on_link: false }))
    );
    let foreign: [fn(&mut RouteMessage); 3] = [
        |message| message.header.protocol = RouteProtocol::Kernel,
        |message| message.header.kind = RouteType::Unicast,
        |message| message.attributes[0] = RouteAttribute::Table(1000),
    ];
    for change in foreign {
        assert_eq!(found(route("10.96.0.0/16", None, 7, change)), None);
    }
}

#[test]
fn a_route_over_several_links_does_not_lead_to_ours() {
    let message = route("10.96.0.0/16", None, 7, |message| {
        message.attributes.pop();
        let hops = [7, 8].map(|link| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = link;
            hop
        });
        message.attributes.push(RouteAttribute::MultiPath(hops.to_vec()));
    });
    assert_eq!(our_route(&message, Some(7)).unwrap().1, LocalRoute { source: None, on_link: false });
}

#[test]
fn without_our_link_no_route_leads_to_it() {
    let message = route("10.96.0.0/16", None, 7, |_| {});
    assert_eq!(our_route(&message, None).unwrap().1, LocalRoute { source: None, on_link: false });
}

fn address(text: &str, link: u32, flags: AddressFlags) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = if ip(text).is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.index = link;
    message.header.flags = AddressHeaderFlags::from_bits_retain(flags.bits() as u8);
    message.attributes = vec![AddressAttribute::Address(ip(text)), AddressAttribute::Flags(flags)];
    message
}

#[test]
fn addresses_that_others_can_reach_and_that_are_usable() {
    let none = AddressFlags::empty();
    let cases = [
        ("10.0.1.2", none, true),
        ("fd01::2", none, true),
        ("fd01::2", AddressFlags::Permanent, true),
        ("127.0.0.1", none, false),
        ("127.5.0.1", none, false),
        ("::1", none, false),
        ("169.254.20.10", none, false),
        ("fe80::1", none, false),
        ("fd01::2", AddressFlags::Tentative, false),
        ("fd01::2", AddressFlags::Tentative | AddressFlags::Optimistic, true),
        ("fd01::2", AddressFlags::Dadfailed, false),
    ];
    for (text, flags, expected) in cases {
        let found = Address::parse(&address(text, 2, flags)).map(|address| address.ip);
        assert_eq!(found, expected.then(|| ip(text)), "{text} {flags:?}");
    }
}

#[test]
fn on_point_to_point_links_ours_is_the_local_one() {
    let mut message = address("10.9.9.9", 2, AddressFlags::empty());
    message.attributes.push(AddressAttribute::Local(ip("10.0.1.2")));
    assert_eq!(Address::parse(&message).unwrap().ip, ip("10.0.1.2"));
}

#[test]
fn default_addresses_follow_the_order_of_the_default_routes() {
    let defaults =
        [route("0.0.0.0/0", None, 3, |_| {}), route("0.0.0.0/0", None, 2, |_| {}), route("::/0", None, 3, |_| {})];
    let addresses: Vec<Address> = [
        address("10.0.2.1", 2, AddressFlags::empty()),
        address("10.0.4.1", 4, AddressFlags::empty()),
        address("10.0.3.1", 3, AddressFlags::empty()),
        // For IPv4 the bit means "secondary".
        address("10.0.3.2", 3, AddressFlags::Secondary),
        address("fd03::bad", 3, AddressFlags::Secondary),
        address("fd03::1", 3, AddressFlags::empty()),
    ]
    .iter()
    .filter_map(Address::parse)
    .collect();
    let expected = ["10.0.3.1", "10.0.3.2", "fd03::1", "10.0.2.1"].map(ip);
    assert_eq!(default_addresses(&defaults, &addresses), expected);
}

#[test]
fn a_link_is_what_its_flags_and_kind_say() {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up | LinkFlags::Noarp;
    message.attributes = vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)])];
    assert_eq!(link(&message), Link::DESIRED);
    message.header.flags = LinkFlags::Up;
    assert_eq!(link(&message), Link { noarp: false, ..Link::DESIRED });
    message.attributes = vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)])];
    assert_eq!(link(&message), Link { dummy: false, up: true, noarp: false });
}
