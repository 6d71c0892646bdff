//! Our packet filter rules as a value: the nftables table `inet vipcast`, and the classic SNAT rule of iptables.

use std::collections::BTreeSet;

use super::prefix::{Family, Prefix};

/// All packet filter state that is ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nft {
    /// The table `inet vipcast`; `None` where there is none.
    pub table: Option<Table>,
    /// Families in which our iptables chain holds exactly the classic rule and is jumped to
    /// (`-m ipvs --vdir ORIGINAL --vmethod MASQ -j MASQUERADE`).
    pub classic: BTreeSet<Family>,
    /// Families in which something of our iptables chain is there, but not as it should be.
    pub classic_broken: BTreeSet<Family>,
}

/// The table `inet vipcast`: each part covers a set of ranges and is replaced as a whole. Within a part no range holds
/// another: `nft` refuses overlapping ones, and with them the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Masquerade for connections whose original destination lies in these ranges (postrouting).
    pub masquerade: BTreeSet<Prefix>,
    /// The guard: what IPVS did not take of these ranges is refused (input, after IPVS).
    pub guard: BTreeSet<Prefix>,
    /// Whatever else was found in the table; never desired.
    pub stray: BTreeSet<String>,
}
