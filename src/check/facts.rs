//! What was found on the node. Gathered by [`super::gather()`], judged by [`super::judge()`], made up in tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::bgp::SecretKey;
use crate::model::ipvs::ServerKey;
use crate::model::sysctl::Sysctl;
use crate::watch::kubernetes::inquiry::Inquiry;

/// What was found on the node, and nothing about what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The modules that the configuration needs, by name with underscores.
    pub modules: BTreeMap<String, Module>,
    /// `kernel.modules_disabled`: no module can be loaded any more.
    pub modules_disabled: bool,
    /// `conn_tab_bits` of a loaded `ip_vs`.
    pub connection_table_bits: Option<u32>,
    /// Effective capabilities, one bit each (capabilities(7)).
    pub capabilities: u64,
    /// Is this process in the initial user namespace?
    pub initial_user_namespace: bool,
    /// The programs that the configuration needs, by path or name; why one cannot be run.
    pub programs: BTreeMap<String, Result<(), String>>,
    /// The kernel parameters that the configuration needs; those that the kernel does not have yet are absent.
    pub sysctls: BTreeMap<Sysctl, Parameter>,
    /// Is `/proc/sys` mounted read-only, or not writable for this process?
    pub sysctls_locked: bool,
    /// Connection tracking, if it is loaded.
    pub conntrack: Option<Conntrack>,
    /// Does the kernel speak IPv6?
    pub ipv6: bool,
    /// The addresses of the node.
    pub addresses: BTreeSet<IpAddr>,
    /// The names of the links.
    pub links: BTreeSet<String>,
    /// Local TCP ports that somebody listens on.
    pub listening: BTreeSet<u16>,
    /// The other processes that are seen in this network namespace: a process ID by each name.
    pub processes: BTreeMap<String, u32>,
    /// IPVS virtual servers; those by firewall mark are left out.
    pub virtual_servers: BTreeSet<ServerKey>,
    /// Packet filter chains of the families ip, ip6 and inet; why they were not read.
    pub chains: Result<Vec<Chain>, String>,
    /// How many manifests the source's folder holds; why it cannot be read. 0 where the source is no folder.
    pub manifests: Result<usize, String>,
    /// The API server; `None`: it is not the source, or was not asked.
    pub api: Option<Inquiry>,
    /// The Secrets that are to hold a peer's password and do not, with what is wrong; empty where nobody was asked.
    pub secrets: BTreeMap<SecretKey, String>,
    /// Does somebody else's gobgpd answer at its address? `None`: gobgpd is ours, or there is no BGP.
    pub gobgpd: Option<Result<(), String>>,
}

/// Where a kernel module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// In the running kernel, loaded or built in.
    Present,
    /// In a file; the kernel loads it when it is needed.
    Loadable,
    /// Nowhere.
    Missing,
    /// Not loaded, and the folder that says which modules there are is not there (in a container, say).
    Unknown,
}

/// A kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its value.
    pub value: String,
    /// Can this process write it?
    pub writable: bool,
}

/// Connection tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conntrack {
    /// How many connections it knows.
    pub count: u64,
    /// How many it can know.
    pub max: u64,
    /// After how many seconds it forgets an idle TCP connection.
    pub tcp: Option<u32>,
    /// The same for UDP where packets went both ways.
    pub udp: Option<u32>,
}

/// A packet filter chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// `nft`, or `iptables-legacy` and `ip6tables-legacy`.
    pub tool: String,
    /// The family: `ip`, `ip6` or `inet`.
    pub family: String,
    /// The table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The hook of a base chain of type filter.
    pub hook: Option<String>,
    /// The priority of a base chain.
    pub priority: i64,
    /// Does a base chain drop what no rule decides on?
    pub policy_drop: bool,
    /// A rule that drops or refuses everything that comes to it, in words.
    pub refusal: Option<String>,
}
