//! A node's `exec` lines. The ones that every lab has are done over netlink and in /proc; the rest goes to a shell.

use std::net::IpAddr;

use anyhow::Result;

use crate::netns::{Netns, Route};

/// What an `exec` line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Address { link: String, address: IpAddr, length: u8 },
    Up(String),
    Mtu(String, u32),
    Dummy(String),
    Route(Route),
    Sysctl(Vec<(String, String)>),
    Shell(String),
}

impl Step {
    /// Reads a line. What is not understood to the last word is for the shell.
    pub(crate) fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        let plain = line.chars().all(|c| c.is_ascii_alphanumeric() || " \t.:/_-=".contains(c));
        let step = match words.as_slice() {
            _ if !plain => None,
            ["ip", "-4" | "-6", rest @ ..] | ["ip", rest @ ..] => ip(rest),
            ["sysctl", "-w" | "-qw", settings @ ..] if !settings.is_empty() => sysctl(settings),
            _ => None,
        };
        step.unwrap_or_else(|| Self::Shell(line.to_owned()))
    }

    /// Does it.
    pub(crate) fn perform(&self, netns: &Netns) -> Result<()> {
        match self {
            Self::Address { link, address, length } => {
                netns.netlink(async |netlink| netlink.add_address(link, *address, *length).await)
            }
            Self::Up(link) => netns.netlink(async |netlink| netlink.up(link).await),
            Self::Mtu(link, mtu) => netns.netlink(async |netlink| netlink.set_mtu(link, *mtu).await),
            Self::Dummy(link) => netns.netlink(async |netlink| netlink.add_dummy(link).await),
            Self::Route(route) => netns.netlink(async |netlink| netlink.add_route(route).await),
            Self::Sysctl(settings) => settings.iter().try_for_each(|(key, value)| netns.set_sysctl(key, value)),
            Self::Shell(line) => netns.command("sh").arg("-c").arg(line).run().map(drop),
        }
    }
}

fn ip(words: &[&str]) -> Option<Step> {
    match words {
        ["addr" | "address" | "a", "add", prefix, "dev", link]
        | ["addr" | "address" | "a", "add", prefix, "dev", link, "nodad"] => {
            let (address, length) = self::prefix(prefix)?;
            Some(Step::Address { link: (*link).to_owned(), address, length })
        }
        ["link", "set", "dev", link, "up"] | ["link", "set", link, "up"] => Some(Step::Up((*link).to_owned())),
        ["link", "set", "dev", link, "mtu", mtu] | ["link", "set", link, "mtu", mtu] => {
            Some(Step::Mtu((*link).to_owned(), mtu.parse().ok()?))
        }
        // A dummy link from us is up at once; a line that sets it up does no harm.
        ["link", "add", "name", link, "type", "dummy"]
        | ["link", "add", "dev", link, "type", "dummy"]
        | ["link", "add", link, "type", "dummy"] => Some(Step::Dummy((*link).to_owned())),
        ["route" | "r", "add" | "replace", destination, way @ ..] => route(destination, way),
        _ => None,
    }
}

fn route(destination: &str, way: &[&str]) -> Option<Step> {
    let (gateway, link) = match way {
        ["via", gateway] => (Some(gateway), None),
        ["via", gateway, "dev", link] => (Some(gateway), Some(link)),
        ["dev", link] => (None, Some(link)),
        _ => return None,
    };
    let gateway: Option<IpAddr> = gateway.map(|gateway| gateway.parse()).transpose().ok()?;
    let (destination, length) = match (destination, gateway) {
        ("default", Some(IpAddr::V4(_))) => prefix("0.0.0.0/0")?,
        ("default", Some(IpAddr::V6(_))) => prefix("::/0")?,
        (destination, _) => prefix(destination)?,
    };
    if gateway.is_some_and(|gateway| gateway.is_ipv4() != destination.is_ipv4()) {
        return None;
    }
    Some(Step::Route(Route { destination, length, gateway, link: link.map(|link| (*link).to_owned()) }))
}

fn sysctl(settings: &[&str]) -> Option<Step> {
    let pairs = settings.iter().map(|setting| {
        let (key, value) = setting.split_once('=')?;
        Some((key.to_owned(), value.to_owned()))
    });
    pairs.collect::<Option<Vec<_>>>().map(Step::Sysctl)
}

fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    match text.split_once('/') {
        Some((address, length)) => {
            let address: IpAddr = address.parse().ok()?;
            let length: u8 = length.parse().ok()?;
            (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
        }
        None => {
            let address: IpAddr = text.parse().ok()?;
            Some((address, if address.is_ipv4() { 32 } else { 128 }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn route(destination: &str, length: u8, gateway: Option<&str>, link: Option<&str>) -> Step {
        let (destination, gateway) = (address(destination), gateway.map(address));
        Step::Route(Route { destination, length, gateway, link: link.map(str::to_owned) })
    }

    #[test]
    fn common_lines_need_no_process() {
        let eth1 = || "eth1".to_owned();
        for (line, step) in [
            (
                "ip addr add 10.0.1.2/24 dev eth1",
                Step::Address { link: eth1(), address: address("10.0.1.2"), length: 24 },
            ),
            (
                "ip addr add 10.244.1.2 dev eth1",
                Step::Address { link: eth1(), address: address("10.244.1.2"), length: 32 },
            ),
            (
                "ip -6 addr add fd00:1::2/64 dev eth1 nodad",
                Step::Address { link: eth1(), address: address("fd00:1::2"), length: 64 },
            ),
            ("ip link set eth1 up", Step::Up(eth1())),
            ("ip link set dev eth1 mtu 1300", Step::Mtu(eth1(), 1300)),
            ("ip link add dummy0 type dummy", Step::Dummy("dummy0".to_owned())),
            ("ip route add default via 10.0.1.1", route("0.0.0.0", 0, Some("10.0.1.1"), None)),
            ("ip -6 route add default via fd00:1::1", route("::", 0, Some("fd00:1::1"), None)),
            ("ip route replace 10.244.0.0/16 dev eth1", route("10.244.0.0", 16, None, Some("eth1"))),
            (
                "ip -6 route add fd00:244::/32 via fe80::1 dev eth1",
                route("fd00:244::", 32, Some("fe80::1"), Some("eth1")),
            ),
            (
                "sysctl -w net.ipv4.ip_forward=1 net.ipv4.fib_multipath_hash_policy=1",
                Step::Sysctl(vec![
                    ("net.ipv4.ip_forward".to_owned(), "1".to_owned()),
                    ("net.ipv4.fib_multipath_hash_policy".to_owned(), "1".to_owned()),
                ]),
            ),
        ] {
            assert_eq!(Step::parse(line), step, "{line}");
        }
    }

    #[test]
    fn everything_else_is_for_the_shell() {
        for line in [
            "ip addr add 10.0.1.2/33 dev eth1",
            "ip addr add 10.0.1.2/24 dev eth1 scope link",
            "ip route add default via fd00:1::1 table 7",
            "ip route add 10.0.0.0/8 via fd00:1::1",
            "ip route add blackhole 10.96.0.0/16",
            "ip link add name br0 type bridge",
            "ip link set eth1 down",
            "sysctl -w net.ipv4.ping_group_range='0 1'",
            "sysctl -p",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
            "ip link set eth1 up && true",
            "",
        ] {
            assert_eq!(Step::parse(line), Step::Shell(line.to_owned()), "{line}");
        }
    }
}
