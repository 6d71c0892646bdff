//! `dataplane`: how traffic is forwarded.

use std::time::Duration;

use super::item::{Item, Mistake};
use super::ranges::Ranges;
use super::{snat, value};
use crate::model::Prefix;
use crate::model::ipvs::Timeouts;
use crate::model::nft::Mss;
use crate::model::settings::{self, BgpSettings, NodePorts};

/// The ports that the API server gives to NodePorts by default (`--service-node-port-range`).
const NODE_PORTS: (u16, u16) = (30000, 32767);

/// The longest that IPVS may remember an idle connection, in seconds: a week.
const LONGEST_TIMEOUT: u64 = 7 * 24 * 3600;

/// The section.
#[derive(Default)]
pub(super) struct Dataplane {
    /// What decisions depend on.
    pub(super) settings: settings::Dataplane,
    /// The size of the connection table, for `vipcast prepare`.
    pub(super) conn_tab_bits: Option<u8>,
}

/// Reads the section, which may be missing. `ranges` and `bgp` hold addresses that are no client's.
pub(super) fn read(item: Option<&Item>, ranges: &Ranges, bgp: Option<&BgpSettings>) -> Result<Dataplane, Mistake> {
    let Some(item) = item else { return Ok(Dataplane::default()) };
    let table = item.table(&[
        "scheduler",
        "topologyHints",
        "nodePorts",
        "snat",
        "snatRule",
        "snatPorts",
        "mss",
        "drain",
        "timeouts",
        "connTabBits",
    ])?;
    let default = settings::Dataplane::default();
    let source = snat::read(&table)?;
    source.check(ranges, bgp)?;
    let drain = table.read("drain", |item| {
        value::duration(item, Duration::ZERO..=Duration::from_secs(3600), "a time such as 30s, from 0s to 1h")
    })?;
    let settings = settings::Dataplane {
        scheduler: table.read("scheduler", value::scheduler)?.unwrap_or(default.scheduler),
        topology_hints: table
            .read("topologyHints", |item| item.choice(&[("on", true), ("off", false)]))?
            .unwrap_or(default.topology_hints),
        node_ports: table.read("nodePorts", node_ports)?.flatten(),
        snat: source.snat,
        snat_ports: source.ports,
        snat_pool: source.pool(),
        mss: table.read("mss", mss)?.flatten(),
        drain: drain.unwrap_or(default.drain),
        timeouts: table.read("timeouts", timeouts)?.unwrap_or(default.timeouts),
    };
    // The widest that any kernel takes (`ip_vs_conn_init` in `net/netfilter/ipvs/ip_vs_conn.c`); what the running one
    // does is for `vipcast prepare` and `check` to say.
    let conn_tab_bits = table.read("connTabBits", |item| item.number(8..=27, "a number of bits"))?;
    Ok(Dataplane { settings, conn_tab_bits })
}

/// `nodePorts`: `off`, or on which of the node's addresses, and which ports.
fn node_ports(item: &Item) -> Result<Option<NodePorts>, Mistake> {
    if !item.is_table() {
        return item.parse("off, or {addresses: [PREFIX], ports: 30000-32767}", |text| (text == "off").then_some(None));
    }
    const ADDRESSES: &str = "a list of prefixes that this node's addresses are looked for in, such as [10.0.1.0/24]";
    let table = item.table(&["addresses", "ports"])?;
    let mut addresses: Vec<Prefix> = Vec::new();
    for item in table.require("addresses", ADDRESSES)?.filled_list(ADDRESSES)? {
        let prefix = value::prefix(&item, "a prefix such as 10.0.1.0/24 or 0.0.0.0/0")?;
        if let Some((special, name)) = value::special(|special| special.covers(prefix)) {
            let trouble = format!("which lies in {special} ({name})");
            return Err(item.conflict(trouble, "prefixes of addresses that others can reach"));
        }
        if addresses.contains(&prefix) {
            return Err(item.conflict("for the second time", "each prefix once"));
        }
        addresses.push(prefix);
    }
    let ports = table.read("ports", |item| value::ports(item, 1))?.unwrap_or(NODE_PORTS);
    Ok(Some(NodePorts { addresses, ports }))
}

/// `mss`. RFC 1122 section 4.2.2.6: 536 is what every host takes; 9000 is a jumbo frame's worth.
fn mss(item: &Item) -> Result<Option<Mss>, Mistake> {
    item.parse("off, auto, or a size in bytes from 536 to 9000", |text| match text {
        "off" => Some(None),
        "auto" => Some(Some(Mss::Auto)),
        _ => item.number(536..=9000, "").ok().map(|size| Some(Mss::Size(size))),
    })
}

/// `timeouts`. A timeout of 0 would leave the kernel's as it is (`ip_vs_set_timeout` in `net/netfilter/ipvs/ip_vs_ctl.c`).
fn timeouts(item: &Item) -> Result<Timeouts, Mistake> {
    let table = item.table(&["tcp", "tcpFin", "udp"])?;
    let read = |key: &str, default: u32| {
        let seconds =
            table.read(key, |item| value::seconds(item, 1, LONGEST_TIMEOUT))?.map(|timeout| timeout.as_secs());
        Ok(seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(default))
    };
    let default = Timeouts::default();
    Ok(Timeouts {
        tcp: read("tcp", default.tcp)?,
        tcp_fin: read("tcpFin", default.tcp_fin)?,
        udp: read("udp", default.udp)?,
    })
}
