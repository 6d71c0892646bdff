//! Which notifications concern us. Pure; whatever cannot be understood does.

use std::net::IpAddr;

use crate::apply::addr::{LOCAL_TABLE, is_node_address};
use crate::apply::netlink::{Attributes, Message, Messages};
use crate::apply::nft::probe::{ATTRIBUTE_TABLE, FAMILY_INET, SUBSYSTEM};
use crate::apply::nft::{CLASSIC, TABLE_NAME};
use crate::model::addr::{LINK, PROBE_LINK, PROBER_LINK, ROUTE_PROTOCOL};

/// `RTM_NEWLINK` and so on (include/uapi/linux/rtnetlink.h).
const NEW_LINK: u16 = 16;
const DELETED_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DELETED_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DELETED_ROUTE: u16 = 25;

/// `NFT_MSG_NEWGEN`: ends every transaction, and its first attribute is a number, not a table.
const NEW_GENERATION: u16 = 15;

/// `RT_TABLE_MAIN`.
const MAIN_TABLE: u8 = 254;

/// What has to be remembered to tell what concerns us.
#[derive(Debug)]
pub(super) struct Concerns {
    /// The number of our link.
    link: Option<u32>,
}

impl Concerns {
    /// With our link's number, if it exists.
    pub(super) fn new(link: Option<u32>) -> Concerns {
        Concerns { link }
    }

    /// Does a datagram of rtnetlink concern us?
    pub(super) fn route(&mut self, datagram: &[u8]) -> bool {
        // All messages are looked at: those about links change what the next ones mean.
        Messages::new(datagram).fold(false, |any, message| {
            let concerned = match message {
                Ok(message) => self.message(&message),
                Err(_) => true,
            };
            any | concerned
        })
    }

    fn message(&mut self, message: &Message<'_>) -> bool {
        let concerned = match message.kind {
            NEW_LINK | DELETED_LINK => self.link(message),
            NEW_ADDRESS | DELETED_ADDRESS => self.address(message.payload),
            NEW_ROUTE | DELETED_ROUTE => self.leads(message.payload),
            _ => Some(false),
        };
        concerned.unwrap_or(true)
    }

    /// `struct ifinfomsg`: family, padding, type, index, flags, change mask; 16 bytes.
    fn link(&mut self, message: &Message<'_>) -> Option<bool> {
        /// `IFLA_IFNAME`.
        const NAME: u16 = 3;
        let index = u32::from_ne_bytes(*message.payload.get(4..)?.first_chunk()?);
        let attributes = Attributes::new(message.payload.get(16..)?);
        let name = attributes.get(NAME).and_then(|name| name.string());
        let of_probe = name == Some(PROBE_LINK) || name == Some(PROBER_LINK);
        let named = name == Some(LINK);
        let known = self.link == Some(index);
        if message.kind == NEW_LINK && named {
            self.link = Some(index);
        } else if known {
            // Deleted, or renamed.
            self.link = None;
        }
        Some(named || known || of_probe)
    }

    /// `struct ifaddrmsg`: family, prefix length, flags, scope, link; 8 bytes.
    fn address(&self, payload: &[u8]) -> Option<bool> {
        /// `IFA_ADDRESS` and, where it differs, `IFA_LOCAL`.
        const ADDRESS: u16 = 1;
        const LOCAL: u16 = 2;
        let link = u32::from_ne_bytes(*payload.get(4..)?.first_chunk()?);
        let attributes = Attributes::new(payload.get(8..)?);
        let address = ip(attributes.get(LOCAL).or_else(|| attributes.get(ADDRESS))?.value)?;
        Some(self.link != Some(link) && is_node_address(address))
    }

    /// `struct rtmsg`: family, destination length, source length, TOS, table, protocol, scope, type, flags; 12 bytes.
    fn leads(&self, payload: &[u8]) -> Option<bool> {
        /// `RTA_OIF`.
        const LINK: u16 = 4;
        let [_, length, _, _, table, protocol, ..] = *payload else { return None };
        let link = Attributes::new(payload.get(12..)?).get(LINK).and_then(|link| link.u32());
        let over_ours = table == LOCAL_TABLE && link.is_some() && link == self.link;
        let default = table == MAIN_TABLE && length == 0;
        Some(protocol == ROUTE_PROTOCOL || over_ours || default)
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Does a datagram of nftables concern us? Other programs keep changing tables of their own.
pub(super) fn nftables(datagram: &[u8]) -> bool {
    Messages::new(datagram).any(|message| match message {
        Ok(message) => nftables_message(&message).unwrap_or(true),
        Err(_) => true,
    })
}

/// `struct nfgenmsg`: family, version, resource; 4 bytes.
fn nftables_message(message: &Message<'_>) -> Option<bool> {
    if message.kind >> 8 != SUBSYSTEM || message.kind & 0xff == NEW_GENERATION {
        return Some(false);
    }
    let family = *message.payload.first()?;
    let table = message.attributes().get(ATTRIBUTE_TABLE)?.string()?;
    let (classic_table, chain) = CLASSIC;
    // A jump to our chain names it deep inside of a rule.
    let names_chain = || message.payload.windows(chain.len()).any(|bytes| bytes == chain.as_bytes());
    Some((family == FAMILY_INET && table == TABLE_NAME) || (table == classic_table && names_chain()))
}

#[cfg(test)]
mod tests;
