//! The proof of the data plane, with the real agent: what is announced, what is repaired and what is withdrawn by it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, sendto, socket};

use super::*;

/// A node whose agent proves what it announces.
fn on_proving_node(test: impl FnOnce(&mut Node) -> Result<()>) -> Result<()> {
    on_node(|node| {
        node.configure("proof: {canaries: off}", "proof: {canaries: on}")?;
        node.configure("resync: 1h", &format!("resync: 1h{BGP}"))?;
        test(node)
    })
}

/// What the agent says of the proof: `proved`, say, for each family.
fn states(node: &Node) -> Result<Vec<String>> {
    let (_, body) = node.ask("/status")?;
    let status: serde_json::Value = serde_json::from_str(&body)?;
    let proof = status["proof"].as_array().cloned().unwrap_or_default();
    Ok(proof.iter().filter_map(|proof| proof["state"].as_str().map(str::to_owned)).collect())
}

fn wait_for_log(node: &Node, from: usize, what: &str) -> Result<()> {
    wait_for(PATIENCE, what, || {
        let log = node.log();
        Ok(if log[from..].contains(what) { Ok(()) } else { Err(log[from..].to_owned()) })
    })
}

#[test]
fn an_ipvs_table_that_was_flushed_is_back_long_before_the_resync() -> Result<()> {
    on_proving_node(|node| {
        node.start()?;
        ensure!(states(node)? == ["proved", "proved"], "{:?}", states(node)?);
        let log = node.log();
        let place = |what: &str| log.find(what).with_context(|| format!("no {what:?} in the log"));
        ensure!(place("the data plane is proved")? < place("announced 10.96.0.0/16")?, "{log}");
        let whole = node.ours()?;
        ensure!(whole.contains("169.254.77.1:9") && whole.contains("[fd76:6970:6361:7374::1]:9"), "{whole}");
        for damage in ["ipvsadm -C", "ip link del vipcast1", "ip link set vipcast2 down", "ip route flush proto 118"] {
            let from = node.log().len();
            node.sh(damage)?;
            node.wait_for_ours(&whole, damage)?;
            wait_for(PATIENCE, &format!("a proof after {damage}"), || {
                let link = node.sh("ip -o link show vipcast1; ip -4 route get 169.254.77.2").unwrap_or_default();
                let is_well = link.contains("dev vipcast1") && states(node)? == ["proved", "proved"];
                Ok(if is_well { Ok(()) } else { Err(link) })
            })?;
            let log = node.log();
            ensure!(!log[from..].contains("withdrew"), "after {damage}: {}", &log[from..]);
        }
        // The next agent finds all as it should be.
        let start = node.restart()?;
        ensure!(node.steps(start).is_empty(), "{:#?}", node.steps(start));

        node.kill()?;
        node.vipcast(&["cleanup"])?.ended(0)?;
        let left = node
            .sh("ip -o link; ip route show table all proto 118; ip -6 route show table all proto 118; ipvsadm -Sn")?;
        ensure!(!left.contains("vipcast") && !left.contains("169.254.77"), "{left}");
        Ok(())
    })
}

#[test]
fn a_route_does_not_outlive_its_data_plane() -> Result<()> {
    on_proving_node(|node| {
        node.start()?;
        // A firewall of somebody else's, which nobody tells vipcast of.
        node.sh("nft 'table inet other { chain forward { type filter hook forward priority 0; ip saddr 169.254.77.2 drop; }; }'")?;
        wait_for_log(node, 0, "withdrew 10.96.0.0/16")?;
        let log = node.log();
        ensure!(log.contains("the reply did not come back to the client within 1000 ms (3 probes in a row)"), "{log}");
        ensure!(!log.contains("withdrew fd00:10:96::/112"), "{log}");
        let (code, reasons) = node.ask("/readyz")?;
        ensure!(code == 503 && reasons.contains("the canary 169.254.77.1:9 TCP"), "{code} {reasons}");
        let from = log.len();
        node.sh("nft delete table inet other")?;
        wait_for_log(node, from, "announced 10.96.0.0/16")?;
        node.wait_until_ready()
    })
}

#[test]
fn packets_in_mid_stream_are_reset_at_once_and_counted() -> Result<()> {
    on_node(|node| {
        node.start()?;
        node.sh("ip addr add 10.77.0.1/24 dev uplink0")?;
        for flags in [ACK | PSH, ACK, ACK | FIN] {
            node.machine().run(|| send(flags))??;
        }
        // The first packet of a connection, or the last word of one, is none in mid-stream.
        for flags in [SYN, RST, ACK | RST] {
            node.machine().run(|| send(flags))??;
        }
        wait_for(PATIENCE, "three packets that were counted", || {
            let (_, body) = node.ask("/metrics")?;
            let count = body.lines().find(|line| line.starts_with("vipcast_stray_packets_total"));
            Ok(if count == Some("vipcast_stray_packets_total 3") { Ok(()) } else { Err(format!("{count:?}")) })
        })
    })
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Sends a TCP segment with these flags to a port of a VIP, of a connection that nobody here knows.
fn send(flags: u8) -> Result<()> {
    let (from, to) = (Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 96, 0, 10));
    let port = 40000 + u16::from(flags);
    let mut head =
        [&port.to_be_bytes()[..], &80u16.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 4, 0, 0, 0, 0, 0]]
            .concat();
    let pseudo = [&from.octets()[..], &to.octets(), &[0, 6, 0, 20], &head].concat();
    let sum: u32 = pseudo.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (0..2).fold(sum, |sum, _| (sum & 0xffff) + (sum >> 16));
    head[16..18].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Tcp)?;
    bind(raw.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0)))?;
    sendto(raw.as_raw_fd(), &head, &SockaddrIn::from(SocketAddrV4::new(to, 0)), MsgFlags::empty())?;
    Ok(())
}
