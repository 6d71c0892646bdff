//! A sensor: how many connections the endpoints have, and how full conntrack is, from `/proc`.
//!
//! IPVS's list is read line by line, since it is as long as there are destinations, and only those with connections are
//! kept.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;

use crate::model::Family;
use crate::model::ipvs::{DestinationKey, Protocol};
use crate::model::load::{Busy, Conntrack, Load};
use crate::plan::Change;

/// The pause between two readings. What fills up within less is over before anybody could do something.
const PERIOD: Duration = Duration::from_secs(60);

/// Reads again and again, for as long as somebody listens. A list that cannot be read is told once.
pub async fn watch(changes: mpsc::Sender<Change>) {
    let mut told = false;
    loop {
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(load)) => {
                told = false;
                if changes.send(Change::Load(load)).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) if !told => {
                warn!("/proc/net/ip_vs cannot be read, so the use of SNAT ports is not known: {error}");
                told = true;
            }
            _ => {}
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Reads once. A kernel without IPVS has no connections.
fn read() -> io::Result<Load> {
    let busiest = match File::open("/proc/net/ip_vs") {
        Ok(file) => busiest(BufReader::new(file))?,
        Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(error),
    };
    Ok(Load { busiest, conntrack: conntrack() })
}

/// The busiest endpoint of each family in a list such as `/proc/net/ip_vs` (`ip_vs_info_seq_show` in
/// `net/netfilter/ipvs/ip_vs_ctl.c`). Of those that are equally busy, the first.
fn busiest(mut list: impl BufRead) -> io::Result<BTreeMap<Family, Busy>> {
    let mut counts: BTreeMap<(Protocol, DestinationKey), u64> = BTreeMap::new();
    let mut protocol = None;
    let mut line = String::new();
    while list.read_line(&mut line)? > 0 {
        match line.strip_prefix("  -> ") {
            None => protocol = self::protocol(&line),
            Some(rest) => {
                if let (Some(protocol), Some((destination, connections))) = (protocol, destination(rest)) {
                    *counts.entry((protocol, destination)).or_default() += connections;
                }
            }
        }
        line.clear();
    }
    let mut busiest: BTreeMap<Family, Busy> = BTreeMap::new();
    for ((protocol, destination), connections) in counts {
        let found = Busy { protocol, destination, connections };
        let most = busiest.entry(Family::of(destination.address)).or_insert(found);
        if found.connections > most.connections {
            *most = found;
        }
    }
    Ok(busiest)
}

/// The protocol of a virtual server's line; none of one by firewall mark, and of the headings.
fn protocol(line: &str) -> Option<Protocol> {
    match line.split_whitespace().next()? {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// A destination that is reached by NAT and has connections: `0A010203:1F90 Masq 1 12 3`, with an IPv6 address in brackets.
fn destination(rest: &str) -> Option<(DestinationKey, u64)> {
    let mut words = rest.split_whitespace();
    let place = words.next()?;
    if words.next()? != "Masq" {
        return None;
    }
    let mut number = words.skip(1).map(|word| word.parse::<u64>().ok());
    let connections = number.next()?? + number.next()??;
    if connections == 0 {
        return None;
    }
    let (address, port) = place.rsplit_once(':')?;
    let address = match address.strip_prefix('[') {
        Some(ipv6) => IpAddr::V6(ipv6.strip_suffix(']')?.parse().ok()?),
        None => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?)),
    };
    Some((DestinationKey { address, port: u16::from_str_radix(port, 16).ok()? }, connections))
}

fn conntrack() -> Option<Conntrack> {
    let number = |name: &str| {
        fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_{name}")).ok()?.trim().parse().ok()
    };
    let statistics = fs::read_to_string("/proc/net/stat/nf_conntrack").ok();
    Some(Conntrack {
        count: number("count")?,
        max: number("max")?,
        insert_failed: statistics.as_deref().and_then(insert_failed),
    })
}

/// The sum over all processors in a table such as `/proc/net/stat/nf_conntrack`: names, then a line of hexadecimal numbers
/// for each processor.
fn insert_failed(table: &str) -> Option<u64> {
    let mut lines = table.lines();
    let column = lines.next()?.split_whitespace().position(|name| name == "insert_failed")?;
    lines.map(|line| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  \
                        -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";

    fn found(list: &str) -> Vec<String> {
        let busiest = busiest(format!("{HEAD}{list}").as_bytes()).unwrap();
        busiest.values().map(|busy| format!("{} {} {}", busy.destination, busy.protocol, busy.connections)).collect()
    }

    #[test]
    fn the_busiest_endpoint_of_each_family_is_found() {
        for (list, expected) in [
            ("", vec![]),
            ("TCP  0A600001:0050 rr \n  -> 0A010203:1F90      Masq    1      0          0         \n", vec![]),
            (
                "TCP  0A600001:0050 rr \n  -> 0A010203:1F90      Masq    1      3          4         \n  \
                 -> 0A010204:1F90      Masq    0      9          0         \n",
                vec!["10.1.2.4:8080 TCP 9"],
            ),
            // What leads to one endpoint from several VIPs shares its ports; UDP has ports of its own.
            (
                "TCP  0A600001:0050 mh (mh-fallback,mh-port)\n  -> 0A010203:1F90      Masq    1      3          4\n  \
                 -> 0A010204:1F90      Masq    1      8          0\nTCP  C0000201:0050 rr persistent 10800\n  \
                 -> 0A010203:1F90      Masq    1      2          0\nUDP  0A600001:0050 rr\n  \
                 -> 0A010203:1F90      Masq    1      1          0\n",
                vec!["10.1.2.3:8080 TCP 9"],
            ),
            (
                "UDP  [fd00:0010:0096:0000:0000:0000:0000:0001]:0035 rr \n  \
                 -> [fd00:0000:0000:0000:0000:0000:0000:0005]:14E9      Masq    1      0          7         \n\
                 TCP  0A600001:0050 rr \n  -> 0A010203:1F90      Masq    1      1          0         \n",
                vec!["10.1.2.3:8080 TCP 1", "[fd00::5]:5353 UDP 7"],
            ),
            // No NAT, no SNAT; a firewall mark is nobody's of ours.
            ("TCP  0A600001:0050 rr \n  -> 0A010203:1F90      Local   1      5          0         \n", vec![]),
            ("FWM  00000001 rr \n  -> 0A010203:0000      Masq    1      5          0         \n", vec![]),
            // Equally busy.
            (
                "TCP  0A600001:0050 rr \n  -> 0A010204:1F90      Masq    1      5          0         \n  \
                 -> 0A010203:1F90      Masq    1      5          0         \n",
                vec!["10.1.2.3:8080 TCP 5"],
            ),
        ] {
            assert_eq!(found(list), expected, "{list}");
        }
    }

    #[test]
    fn failed_inserts_are_summed_over_processors() {
        let head =
            "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop\n";
        let row = |failed: &str| format!("00000003  00000000 00000000 00000000 0 0 0 0 0 {failed} 00000000 00000000\n");
        assert_eq!(insert_failed(&format!("{head}{}{}", row("0000000a"), row("00000010"))), Some(26));
        assert_eq!(insert_failed(head), Some(0));
        assert_eq!(insert_failed("entries found\n1 2\n"), None, "a kernel that does not tell");
        assert_eq!(insert_failed(""), None);
    }
}
