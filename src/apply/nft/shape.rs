//! What the table `inet vipcast` is made of: its parts, each with sets, chains and rules, both as they are written and as
//! they are listed. Pure data. All of it is always there; only the rules that `Source` and `Mss` are about vary.

mod admission;
mod clamp;
mod snat;

use serde_json::Value;

pub(super) use self::clamp::{CLAMP, mss};
pub(super) use self::snat::{TRANSLATE, source};
use crate::model::Family;
use crate::model::ipvs::Protocol;
use crate::model::nft::{Mss, Source};

/// The table's family and name, as `nft` takes them.
pub(super) const TABLE: &str = "inet vipcast";

/// The names of the sets, of which there is one per family: `<name>4` and `<name>6`.
pub(super) const MASQUERADE: &str = "masquerade";
pub(super) const PODS: &str = "pods";
pub(super) const KEEP: &str = "keep";
pub(super) const NODE_PORTS: &str = "nodeports";
pub(super) const GUARD: &str = "guard";
pub(super) const FILTERED: &str = "filtered";
pub(super) const ALLOWED: &str = "allowed";
pub(super) const DRAINING: &str = "draining";

/// The counter of packets in mid-stream that no connection took.
pub(super) const STRAY: &str = "stray";

/// The table with this source and this clamp, in an order in which everything comes before what refers to it.
pub(super) fn parts(source: &Source, mss: Option<Mss>) -> Vec<Part> {
    let mut parts = vec![snat::part(source), admission::part()];
    parts.extend(mss.map(clamp::part));
    parts
}

/// A part of the table: sets and counters, and chains that use them.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) sets: &'static [Set],
    pub(super) counters: &'static [&'static str],
    pub(super) chains: Vec<Chain>,
}

/// A set of each family.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// What the elements of a set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Prefixes.
    Ranges,
    /// Address, protocol and port of a virtual server.
    Servers,
    /// The same, and a prefix of clients.
    Clients,
}

impl Set {
    /// The name of the set of `family`.
    pub(super) fn of(&self, family: Family) -> String {
        set(self.name, family)
    }
}

/// The name of the set `name` of `family`.
pub(super) fn set(name: &str, family: Family) -> String {
    format!("{name}{}", Words::of(family).suffix)
}

impl Kind {
    /// The fields of an element of `family`, as `nft` calls their types.
    pub(super) fn fields(self, family: Family) -> Vec<&'static str> {
        let address = Words::of(family).address;
        match self {
            Kind::Ranges => vec![address],
            Kind::Servers => vec![address, "inet_proto", "inet_service"],
            Kind::Clients => vec![address, "inet_proto", "inet_service", address],
        }
    }

    /// Are its elements intervals?
    pub(super) fn interval(self) -> bool {
        self != Kind::Servers
    }
}

/// A chain.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// Where the kernel calls it; `None`: only rules do.
    pub(super) hook: Option<Hook>,
    pub(super) rules: Vec<Rule>,
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
    pub(super) text: String,
    /// Its expressions as `nft -j -n` lists them; `listing::canonical` brings other spellings to this one.
    pub(super) listed: Value,
}

impl Rule {
    /// A rule from its text and its listing, a text in JSON.
    fn new(text: &str, listed: &str) -> Rule {
        // No listing is null: a mistake in one would be a rule that is never as it should be. A test reads them all.
        Rule { text: text.to_owned(), listed: serde_json::from_str(listed).unwrap_or_default() }
    }

    /// The rule for `family`, where `text` and `listed` say `{ip}` for the family's word in rules and `{n}` for the end of
    /// its sets' names.
    fn of(family: Family, text: &str, listed: &str) -> Rule {
        let words = Words::of(family);
        let fill = |template: &str| template.replace("{ip}", words.rules).replace("{n}", words.suffix);
        Rule::new(&fill(text), &fill(listed))
    }

    /// The rules for both families.
    fn of_each(text: &str, listed: &str) -> Vec<Rule> {
        Family::ALL.map(|family| Rule::of(family, text, listed)).into()
    }

    /// The rules for both families and all protocols, whose number is `{protocol}`. `nft` knows what the ports of a
    /// connection are only where a rule says which protocol it is about.
    fn of_each_protocol(text: &str, listed: &str) -> Vec<Rule> {
        let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(|protocol| protocol.number().to_string());
        let of =
            |number: &String| Rule::of_each(&text.replace("{protocol}", number), &listed.replace("{protocol}", number));
        protocols.iter().flat_map(of).collect()
    }
}

/// How `nft` says a family.
#[derive(Debug)]
struct Words {
    /// In rules.
    rules: &'static str,
    /// As the type of an address.
    address: &'static str,
    /// As the value of `meta nfproto` (`NFPROTO_IPV4` and `NFPROTO_IPV6` in include/uapi/linux/netfilter.h).
    number: u8,
    /// In the names of our sets.
    suffix: &'static str,
}

impl Words {
    fn of(family: Family) -> Words {
        match family {
            Family::Ipv4 => Words { rules: "ip", address: "ipv4_addr", number: 2, suffix: "4" },
            Family::Ipv6 => Words { rules: "ip6", address: "ipv6_addr", number: 10, suffix: "6" },
        }
    }
}
