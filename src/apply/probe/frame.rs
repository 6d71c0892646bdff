//! The frames of a probe: Ethernet, IP and TCP headers without options or data. Pure.

use std::net::{IpAddr, SocketAddr};

/// A MAC address.
pub(super) type Mac = [u8; 6];

/// Bytes of the headers of Ethernet, IPv6 and TCP without options.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: usize = 20;

/// The EtherTypes (IANA) of both families.
const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// The IP protocol number of TCP.
const PROTOCOL: u8 = 6;

/// The hop limit that Linux uses too.
const HOPS: u8 = 64;

/// Flags of TCP (RFC 9293 section 3.1).
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;

/// A TCP segment without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Whom it says that it is from.
    pub(super) from: SocketAddr,
    /// Where it goes.
    pub(super) to: SocketAddr,
    /// The sequence number.
    pub(super) sequence: u32,
    /// The acknowledgment number.
    pub(super) acknowledged: u32,
    /// Which flags are set.
    pub(super) flags: u8,
}

impl Segment {
    /// The frame that carries it from one MAC address to another. `from` and `to` are of one family.
    pub(super) fn frame(&self, from: Mac, to: Mac) -> Vec<u8> {
        let mut tcp = [0; TCP];
        tcp[..2].copy_from_slice(&self.from.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&self.to.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.acknowledged.to_be_bytes());
        // The length of the header in words of 4 bytes, the flags, and a window of 1024 bytes.
        tcp[12..16].copy_from_slice(&[(TCP as u8 / 4) << 4, self.flags, 4, 0]);
        let (from_ip, to_ip) = (octets(self.from.ip()), octets(self.to.ip()));
        // The checksum covers both addresses, the protocol and the length too (RFC 9293 section 3.1).
        let pseudo = [&from_ip, &to_ip, &[0, PROTOCOL, 0, TCP as u8][..], &tcp[..]].concat();
        tcp[16..18].copy_from_slice(&checksum(&pseudo));
        let (kind, mut ip) = match self.from {
            // Version and length, then: no fragments (RFC 791 section 3.1).
            SocketAddr::V4(_) => (TYPE_IPV4, vec![0x45, 0, 0, (IPV4 + TCP) as u8, 0, 0, 0x40, 0, HOPS, PROTOCOL, 0, 0]),
            SocketAddr::V6(_) => (TYPE_IPV6, vec![0x60, 0, 0, 0, 0, TCP as u8, PROTOCOL, HOPS]),
        };
        ip.extend(from_ip.iter().chain(&to_ip));
        if kind == TYPE_IPV4 {
            let sum = checksum(&ip);
            ip[10..12].copy_from_slice(&sum);
        }
        [&to[..], &from[..], &kind[..], &ip, &tcp].concat()
    }

    /// The segment in a frame; none if there is something else in it. Checksums are not looked at: within one machine they
    /// need not be there.
    pub(super) fn parse(frame: &[u8]) -> Option<Segment> {
        let packet = frame.get(ETHERNET..)?;
        let (from, to, tcp) = match <[u8; 2]>::try_from(frame.get(12..ETHERNET)?).ok()? {
            TYPE_IPV4 if packet.get(9) == Some(&PROTOCOL) => {
                let header = usize::from(packet[0] & 0xf) * 4;
                (ipv4(packet.get(12..16)?)?, ipv4(packet.get(16..20)?)?, packet.get(header..)?)
            }
            TYPE_IPV6 if packet.get(6) == Some(&PROTOCOL) => {
                (ipv6(packet.get(8..24)?)?, ipv6(packet.get(24..40)?)?, packet.get(IPV6..)?)
            }
            _ => return None,
        };
        let half = |at: usize| Some(u16::from_be_bytes(*tcp.get(at..)?.first_chunk()?));
        let word = |at: usize| Some(u32::from_be_bytes(*tcp.get(at..)?.first_chunk()?));
        Some(Segment {
            from: SocketAddr::new(from, half(0)?),
            to: SocketAddr::new(to, half(2)?),
            sequence: word(4)?,
            acknowledged: word(8)?,
            flags: *tcp.get(13)?,
        })
    }

    /// Are of SYN, RST and ACK just these set?
    pub(super) fn is(&self, flags: u8) -> bool {
        self.flags & (SYN | RST | ACK) == flags
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn ipv4(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from)
}

fn ipv6(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Mac = [2, 0, 0, 0, 0, 1];
    const TO: Mac = [2, 0, 0, 0, 0, 2];

    fn segment(from: &str, to: &str) -> Segment {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        Segment { from, to, sequence: 0x0102_0304, acknowledged: 0x0506_0708, flags: SYN | ACK }
    }

    #[test]
    fn what_is_sent_can_be_read() {
        for (from, to, length) in [("169.254.77.3:40000", "169.254.77.1:9", 54), ("[fd76::3]:40000", "[fd76::1]:9", 74)]
        {
            let segment = segment(from, to);
            let frame = segment.frame(FROM, TO);
            assert_eq!((frame.len(), &frame[..6], &frame[6..12]), (length, &TO[..], &FROM[..]));
            assert_eq!(Segment::parse(&frame), Some(segment));
            assert!(segment.is(SYN | ACK) && !segment.is(SYN));
            // Whatever is cut off, nothing is made up.
            for end in 0..length - 7 {
                assert_eq!(Segment::parse(&frame[..end]), None, "{end}");
            }
        }
    }

    #[test]
    fn receivers_find_the_checksums_right() {
        let frame = segment("169.254.77.3:40000", "169.254.77.1:9").frame(FROM, TO);
        let (ip, tcp) = frame[ETHERNET..].split_at(IPV4);
        assert_eq!(checksum(ip), [0, 0]);
        assert_eq!(checksum(&[&ip[12..], &[0, PROTOCOL, 0, 20], tcp].concat()), [0, 0]);
        let frame = segment("[fd76::3]:40000", "[fd76::1]:9").frame(FROM, TO);
        let (ip, tcp) = frame[ETHERNET..].split_at(IPV6);
        assert_eq!(checksum(&[&ip[8..], &[0, PROTOCOL, 0, 20], tcp].concat()), [0, 0]);
    }

    #[test]
    fn other_packets_are_no_segments() {
        let mut udp = segment("169.254.77.3:40000", "169.254.77.1:9").frame(FROM, TO);
        udp[ETHERNET + 9] = 17;
        assert_eq!(Segment::parse(&udp), None);
        let mut arp = udp;
        arp[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(Segment::parse(&arp), None);
    }
}
