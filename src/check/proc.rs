//! Texts of `/proc` (proc(5)), parsed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::ipvs::{Protocol, ServerKey};

/// The effective capabilities in `/proc/self/status`.
pub(super) fn capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// The node's own IPv4 addresses in `/proc/net/fib_trie`: an address that stands alone, above a line that says that it
/// is local as a host. (Local ranges, such as ours, have a shorter length there.)
pub(super) fn ipv4_addresses(trie: &str) -> BTreeSet<IpAddr> {
    let lines: Vec<&str> = trie.lines().map(str::trim).collect();
    let own = lines.windows(2).filter(|pair| pair[1] == "/32 host LOCAL");
    own.filter_map(|pair| pair[0].strip_prefix("|-- ")?.parse().ok()).collect()
}

/// The node's own IPv6 addresses in `/proc/net/if_inet6`: 32 hexadecimal digits at the begin of each line.
pub(super) fn ipv6_addresses(list: &str) -> BTreeSet<IpAddr> {
    let digits = list.lines().filter_map(|line| line.split_whitespace().next());
    let number = digits.filter_map(|digits| u128::from_str_radix(digits, 16).ok());
    number.map(|number| IpAddr::V6(Ipv6Addr::from(number))).collect()
}

/// The local ports in `/proc/net/tcp` or `tcp6` that are listened on: state 0A (`TCP_LISTEN`).
pub(super) fn listening(sockets: &str) -> BTreeSet<u16> {
    let port = |line: &str| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        let state = words.nth(1)?;
        let (_, port) = local.rsplit_once(':')?;
        if state == "0A" { u16::from_str_radix(port, 16).ok() } else { None }
    };
    sockets.lines().skip(1).filter_map(port).collect()
}

/// The virtual servers in `/proc/net/ip_vs` (`ip_vs_info_seq_show` in `net/netfilter/ipvs/ip_vs_ctl.c`): lines such as
/// `TCP  0A600001:0050 rr` and `UDP  [fd00:0010:0096:0000:0000:0000:0000:0001]:0035 rr`.
pub(super) fn virtual_servers(list: &str) -> BTreeSet<ServerKey> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let protocol = match words.next()? {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            _ => return None,
        };
        let (address, port) = words.next()?.rsplit_once(':')?;
        let address = match address.strip_prefix('[') {
            Some(ipv6) => IpAddr::V6(ipv6.strip_suffix(']')?.parse().ok()?),
            None => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?)),
        };
        Some(ServerKey { address, protocol, port: u16::from_str_radix(port, 16).ok()? })
    };
    list.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status() {
        assert_eq!(capabilities("Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000001000\n"), 1 << 12);
        assert_eq!(capabilities(""), 0);
    }

    #[test]
    fn addresses() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.1.2.0\n        /24 link UNICAST\nLocal:\n  \
                    |-- 10.1.2.3\n     /32 host LOCAL\n  |-- 10.1.2.255\n     /32 link BROADCAST\n  |-- 10.96.0.0\n     \
                    /16 host LOCAL\n";
        assert_eq!(ipv4_addresses(trie), ["10.1.2.3".parse().unwrap()].into());
        let list = "fd000000000000000000000000000005 01 40 00 80       lo\n";
        assert_eq!(ipv6_addresses(list), ["fd00::5".parse().unwrap()].into());
    }

    #[test]
    fn ports() {
        let tcp = "  sl  local_address rem_address   st tx_queue\n   \
                   0: 0302010A:00B3 00000000:0000 0A 00000000:00000000\n   \
                   1: 0302010A:00B4 00000000:0000 01 00000000:00000000\n";
        assert_eq!(listening(tcp), [179].into());
        let tcp6 = "  sl  local_address                         remote_address                        st\n   \
                    0: 000000FD000000000000000005000000:06FE 00000000000000000000000000000000:0000 0A 0\n";
        assert_eq!(listening(tcp6), [1790].into());
    }

    #[test]
    fn servers() {
        let list = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  \
                    -> RemoteAddress:Port Forward Weight ActiveConn InActConn\nTCP  0A600001:0050 rr \n  \
                    -> 0A010203:1F90      Masq    1      0          0         \n\
                    UDP  [fd00:0010:0096:0000:0000:0000:0000:0001]:0035 rr \nFWM  00000001 rr\n";
        let found: Vec<String> = virtual_servers(list).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.96.0.1:80 TCP", "[fd00:10:96::1]:53 UDP"]);
    }
}
