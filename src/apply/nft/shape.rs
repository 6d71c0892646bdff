//! What the table `inet vipcast` is made of: for each part its sets, its chains and its rules, both as they are written
//! and as they are listed. Pure data.

use crate::model::Family;

/// The table's family and name, as `nft` takes them.
pub(super) const TABLE: &str = "inet vipcast";

/// A part of the table: two sets with its ranges, `<name>4` and `<name>6`, and chains that look at them. A part without
/// ranges is left out.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) chains: &'static [Chain],
}

impl Part {
    /// The name of the set with the ranges of `family`.
    pub(super) fn set(&self, family: Family) -> String {
        let suffix = match family {
            Family::Ipv4 => '4',
            Family::Ipv6 => '6',
        };
        format!("{}{suffix}", self.name)
    }
}

/// A chain.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// Where the kernel calls it; `None`: only rules do.
    pub(super) hook: Option<Hook>,
    pub(super) rules: &'static [Rule],
}

/// Where the kernel calls a chain; the policy is always `accept`.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) kind: &'static str,
    pub(super) hook: &'static str,
    pub(super) priority: i64,
}

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// As it is written.
    pub(super) text: &'static str,
    /// Its expressions as `nft -j -n` lists them, in JSON; `listing::canonical` brings other spellings to this one.
    pub(super) listed: &'static str,
}

/// The type of a set with addresses of `family`.
pub(super) fn set_type(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4_addr",
        Family::Ipv6 => "ipv6_addr",
    }
}

/// Replies come back through this node because the client's address is replaced by the node's. IPVS leaves a
/// connection's original destination in conntrack, so that is where the VIP is; a packet that still has a VIP as its
/// destination was routed directly and keeps its source.
pub(super) const MASQUERADE: Part = Part {
    name: "masquerade",
    chains: &[Chain {
        name: "postrouting",
        hook: Some(Hook { kind: "nat", hook: "postrouting", priority: 100 }),
        rules: &[
            // Fully random: two CPUs that pick the same port for two connections at once lose one of them.
            Rule {
                text: "ct original ip daddr @masquerade4 ip daddr != @masquerade4 masquerade fully-random",
                listed: r#"[
                    {"match": {"op": "==", "left": {"ct": {"key": "ip daddr", "dir": "original"}}, "right": "@masquerade4"}},
                    {"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "@masquerade4"}},
                    {"masquerade": {"flags": "fully-random"}}
                ]"#,
            },
            Rule {
                text: "ct original ip6 daddr @masquerade6 ip6 daddr != @masquerade6 masquerade fully-random",
                listed: r#"[
                    {"match": {"op": "==", "left": {"ct": {"key": "ip6 daddr", "dir": "original"}}, "right": "@masquerade6"}},
                    {"match": {"op": "!=", "left": {"payload": {"protocol": "ip6", "field": "daddr"}}, "right": "@masquerade6"}},
                    {"masquerade": {"flags": "fully-random"}}
                ]"#,
            },
        ],
    }],
};

/// IPVS takes its packets from the input hook at priority 99 (`ip_vs_ops` in net/netfilter/ipvs/ip_vs_core.c), so only
/// what it did not take gets to 101: packets to VIPs without such a port, which would else reach the node's own sockets.
pub(super) const GUARD: Part = Part {
    name: "guard",
    chains: &[
        Chain {
            name: "input",
            hook: Some(Hook { kind: "filter", hook: "input", priority: 101 }),
            rules: &[
                // Replies to a local socket that uses a VIP as its source.
                Rule {
                    text: "ct direction reply accept",
                    listed: r#"[
                        {"match": {"op": "==", "left": {"ct": {"key": "direction"}}, "right": 1}},
                        {"accept": null}
                    ]"#,
                },
                Rule {
                    text: "ip daddr @guard4 goto refuse",
                    listed: r#"[
                        {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "@guard4"}},
                        {"goto": {"target": "refuse"}}
                    ]"#,
                },
                Rule {
                    text: "ip6 daddr @guard6 goto refuse",
                    listed: r#"[
                        {"match": {"op": "==", "left": {"payload": {"protocol": "ip6", "field": "daddr"}}, "right": "@guard6"}},
                        {"goto": {"target": "refuse"}}
                    ]"#,
                },
            ],
        },
        Chain {
            name: "refuse",
            hook: None,
            rules: &[
                // ICMP and ICMPv6: echo requests, "fragmentation needed", neighbour discovery. None of it reaches a
                // port of the node, and refusing it breaks path MTU discovery and IPv6.
                Rule {
                    text: "meta l4proto { 1, 58 } accept",
                    listed: r#"[
                        {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": [1, 58]}}},
                        {"accept": null}
                    ]"#,
                },
                Rule {
                    text: "meta l4proto 6 reject with tcp reset",
                    listed: r#"[
                        {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": 6}},
                        {"reject": {"type": "tcp reset"}}
                    ]"#,
                },
                Rule {
                    text: "reject with icmpx port-unreachable",
                    listed: r#"[{"reject": {"type": "icmpx", "expr": 1}}]"#,
                },
            ],
        },
    ],
};
