//! Asks the kernel about nftables without starting a program: whether a table or a chain exists, what a counter has counted, and
//! whether anything changed (`struct nfgenmsg` in include/uapi/linux/netfilter/nfnetlink.h, the rest in
//! include/uapi/linux/netfilter/nf_tables.h).

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::apply::netlink::{Attributes, Messages, Writer};

/// `NFNL_SUBSYS_NFTABLES`: the high byte of the kinds of all nftables messages.
pub(in crate::apply) const SUBSYSTEM: u16 = 10;

/// `NFPROTO_INET`.
pub(in crate::apply) const FAMILY_INET: u8 = 1;
/// `NFPROTO_IPV4`.
pub(in crate::apply) const FAMILY_IPV4: u8 = 2;
/// `NFPROTO_IPV6`.
pub(in crate::apply) const FAMILY_IPV6: u8 = 10;

/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE` and, in messages about rules, sets and elements, the table's name too.
pub(in crate::apply) const ATTRIBUTE_TABLE: u16 = 1;
/// `NFTA_CHAIN_NAME`.
const ATTRIBUTE_CHAIN_NAME: u16 = 3;

/// `NFT_MSG_GETTABLE`.
const GET_TABLE: u16 = 1;
/// `NFT_MSG_GETCHAIN`.
const GET_CHAIN: u16 = 4;

/// `NFT_MSG_GETOBJ`.
const GET_OBJECT: u16 = 19;
/// `NFTA_OBJ_NAME`.
const ATTRIBUTE_OBJECT_NAME: u16 = 2;
/// `NFTA_OBJ_TYPE`: a number in network byte order.
const ATTRIBUTE_OBJECT_TYPE: u16 = 3;
/// `NFTA_OBJ_DATA`.
const ATTRIBUTE_OBJECT_DATA: u16 = 4;
/// `NFT_OBJECT_COUNTER`.
const COUNTER: u32 = 1;
/// `NFTA_COUNTER_PACKETS`: a number in network byte order.
const ATTRIBUTE_PACKETS: u16 = 2;

/// `NFT_MSG_GETGEN`.
const GET_GENERATION: u16 = 16;
/// `NFTA_GEN_ID`: a number in network byte order.
const ATTRIBUTE_GENERATION: u16 = 1;

/// `NLMSG_ERROR`.
const KIND_ERROR: u16 = 2;
/// `NLM_F_REQUEST`.
const FLAG_REQUEST: u16 = 1;
/// Bytes of `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 20;

/// Does the table exist?
///
/// # Errors
/// In words, when the kernel cannot be asked.
pub(super) fn table_exists(family: u8, table: &str) -> Result<bool, String> {
    let request = request(GET_TABLE, family, |w| w.string(ATTRIBUTE_TABLE, table));
    ask(&request, |_| ()).map(|found| found.is_some())
}

/// Does the chain exist?
///
/// # Errors
/// In words, when the kernel cannot be asked.
pub(super) fn chain_exists(family: u8, table: &str, chain: &str) -> Result<bool, String> {
    let request = request(GET_CHAIN, family, |w| {
        w.string(ATTRIBUTE_TABLE, table);
        w.string(ATTRIBUTE_CHAIN_NAME, chain);
    });
    ask(&request, |_| ()).map(|found| found.is_some())
}

/// The generation of all rules of the network namespace, which counts up with each transaction; none in a kernel
/// without nftables.
///
/// # Errors
/// In words, when the kernel cannot be asked.
pub(super) fn generation() -> Result<Option<u32>, String> {
    let number = |attributes: Attributes<'_>| {
        let value = attributes.get(ATTRIBUTE_GENERATION)?.value;
        value.try_into().ok().map(u32::from_be_bytes)
    };
    ask(&request(GET_GENERATION, 0, |_| {}), number).map(Option::flatten)
}

/// How many packets the counter of the table has counted since it was made; none where there is no such counter.
///
/// # Errors
/// In words, when the kernel cannot be asked.
pub(super) fn counted(family: u8, table: &str, counter: &str) -> Result<Option<u64>, String> {
    let request = request(GET_OBJECT, family, |w| {
        w.string(ATTRIBUTE_TABLE, table);
        w.string(ATTRIBUTE_OBJECT_NAME, counter);
        w.bytes(ATTRIBUTE_OBJECT_TYPE, &COUNTER.to_be_bytes());
    });
    let packets = |attributes: Attributes<'_>| {
        let data = attributes.get(ATTRIBUTE_OBJECT_DATA)?.nested();
        data.get(ATTRIBUTE_PACKETS)?.value.try_into().ok().map(u64::from_be_bytes)
    };
    ask(&request, packets).map(Option::flatten)
}

fn request(command: u16, family: u8, attributes: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    attributes(&mut writer);
    // Two names of ours: far from the limit.
    let length = (HEADERS + writer.as_bytes().len()) as u32;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&(SUBSYSTEM << 8 | command).to_ne_bytes());
    message.extend_from_slice(&FLAG_REQUEST.to_ne_bytes());
    // Sequence number and port: one request per socket needs none.
    message.extend_from_slice(&[0; 8]);
    // Family, version 0, resource 0.
    message.extend_from_slice(&[family, 0, 0, 0]);
    message.extend_from_slice(writer.as_bytes());
    message
}

/// Sends a request for one object and looks at the answer; `None` where there is no such object.
fn ask<T>(request: &[u8], look: impl FnOnce(Attributes<'_>) -> T) -> Result<Option<T>, String> {
    match exchange(request, look) {
        Ok(found) => Ok(Some(found)),
        // A kernel without nftables has no tables: EINVAL is the answer of `nfnetlink_rcv_msg` for a subsystem that it
        // does not have, EPROTONOSUPPORT that of `socket`.
        Err(Errno::NOENT | Errno::INVAL | Errno::PROTONOSUPPORT) => Ok(None),
        Err(Errno::PERM) => {
            Err("cannot look for our packet filter rules: vipcast needs the capability NET_ADMIN".to_owned())
        }
        Err(errno) => Err(format!("cannot look for our packet filter rules: {errno}")),
    }
}

fn exchange<T>(request: &[u8], look: impl FnOnce(Attributes<'_>) -> T) -> Result<T, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(NETFILTER),
    )?;
    rustix::net::sendto(&socket, request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    // The kernel answers within the call that sends, so an empty queue is an error.
    let mut answer = [0; 8192];
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    match Messages::new(&answer[..length]).next() {
        Some(Ok(message)) if message.kind == KIND_ERROR => message.status().and(Err(Errno::PROTO)),
        Some(Ok(message)) => Ok(look(message.attributes())),
        Some(Err(_)) | None => Err(Errno::PROTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_in_bytes() {
        let expected: Vec<u8> = [
            &48u32.to_ne_bytes()[..],
            &0x0a04u16.to_ne_bytes(),
            &1u16.to_ne_bytes(),
            &[0; 8],
            &[2, 0, 0, 0],
            &8u16.to_ne_bytes(),
            &1u16.to_ne_bytes(),
            b"nat\0",
            &17u16.to_ne_bytes(),
            &3u16.to_ne_bytes(),
            b"VIPCAST-SNAT\0\0\0\0",
        ]
        .concat();
        let found = request(GET_CHAIN, FAMILY_IPV4, |w| {
            w.string(ATTRIBUTE_TABLE, "nat");
            w.string(ATTRIBUTE_CHAIN_NAME, "VIPCAST-SNAT");
        });
        assert_eq!(found, expected);
    }
}
