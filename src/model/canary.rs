//! The canary: a virtual server of our own by which the whole data path is tried again and again.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A canary of one family. Its addresses are internal to the node: nobody else hears of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// The address of its virtual server.
    pub vip: IpAddr,
    /// The address of its destination, behind the probe's link.
    pub destination: IpAddr,
    /// The address of its client, behind the probe's link too.
    pub client: IpAddr,
    /// Must the destination see another address than the client's?
    pub masqueraded: bool,
}
