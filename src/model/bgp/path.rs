//! Paths and their attributes.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The next hop of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// The local address of the session that the path is sent over.
    Own,
    /// This address.
    Address(IpAddr),
}

/// What is announced for a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The next hop.
    pub next_hop: NextHop,
    /// The AS numbers in AS_PATH before gobgpd puts its own in front of them (RFC 4271 section 5.1.2).
    pub as_path: Vec<u32>,
    /// Standard communities (RFC 1997).
    pub communities: BTreeSet<Community>,
    /// Large communities (RFC 8092).
    pub large_communities: BTreeSet<LargeCommunity>,
    /// MULTI_EXIT_DISC (RFC 4271 section 5.1.4).
    pub med: Option<u32>,
    /// LOCAL_PREF (RFC 4271 section 5.1.5), which only peers of the own AS are sent.
    pub local_pref: Option<u32>,
}

impl Path {
    /// A path without attributes but its next hop.
    pub fn new(next_hop: NextHop) -> Path {
        Path {
            next_hop,
            as_path: Vec::new(),
            communities: BTreeSet::new(),
            large_communities: BTreeSet::new(),
            med: None,
            local_pref: None,
        }
    }
}

/// The attributes that are asked for somewhere: on all routes, on those of a range, towards a peer, by a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Standard communities, added to those asked for elsewhere.
    pub communities: BTreeSet<Community>,
    /// Large communities, added to those asked for elsewhere.
    pub large_communities: BTreeSet<LargeCommunity>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// How often the own AS number is put in front of AS_PATH, beyond the one time that every route to another AS has it.
    pub prepend: Option<u8>,
}

impl Attributes {
    /// Is nothing asked for?
    pub fn is_empty(&self) -> bool {
        *self == Attributes::default()
    }

    /// These, refined by `other`: communities of both, and of everything else what `other` says, if it does.
    pub fn refined(&self, other: &Attributes) -> Attributes {
        Attributes {
            communities: self.communities.union(&other.communities).copied().collect(),
            large_communities: self.large_communities.union(&other.large_communities).copied().collect(),
            med: other.med.or(self.med),
            local_pref: other.local_pref.or(self.local_pref),
            prepend: other.prepend.or(self.prepend),
        }
    }
}

/// A standard community (RFC 1997): two halves of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

/// Well-known communities by their names in the registry of IANA.
const WELL_KNOWN: [(&str, u32); 6] = [
    ("graceful-shutdown", 0xffff_0000),   // RFC 8326
    ("blackhole", 0xffff_029a),           // RFC 7999
    ("no-export", 0xffff_ff01),           // RFC 1997
    ("no-advertise", 0xffff_ff02),        // RFC 1997
    ("no-export-subconfed", 0xffff_ff03), // RFC 1997
    ("no-peer", 0xffff_ff04),             // RFC 3765
];

impl Community {
    /// GRACEFUL_SHUTDOWN (RFC 8326): whoever hears it prefers every other path.
    pub const GRACEFUL_SHUTDOWN: Community = Community(0xffff_0000);

    /// The name of a well-known one.
    pub fn name(self) -> Option<&'static str> {
        WELL_KNOWN.iter().find(|(_, number)| *number == self.0).map(|(name, _)| *name)
    }
}

impl FromStr for Community {
    type Err = String;

    fn from_str(text: &str) -> Result<Community, String> {
        if let Some((_, number)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
            return Ok(Community(*number));
        }
        let halves = text.split_once(':').and_then(|(high, low)| Some((high.parse().ok()?, low.parse().ok()?)));
        let (high, low): (u16, u16) = halves.ok_or_else(|| {
            let names: Vec<&str> = WELL_KNOWN.iter().map(|(name, _)| *name).collect();
            format!("not a community such as 65001:100 (two numbers up to 65535), or one of {}", names.join(", "))
        })?;
        Ok(Community(u32::from(high) << 16 | u32::from(low)))
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

/// A large community (RFC 8092 section 3): an AS number, and two numbers of its choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity(pub u32, pub u32, pub u32);

impl FromStr for LargeCommunity {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<LargeCommunity, &'static str> {
        let mut numbers = text.split(':').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        match (next(), next(), next(), numbers.next()) {
            (Some(global), Some(first), Some(second), None) => Ok(LargeCommunity(global, first, second)),
            _ => Err("not a large community such as 65001:1:100 (three numbers up to 4294967295)"),
        }
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_read_as_they_are_written() {
        for text in ["65001:100", "0:0", "no-export", "graceful-shutdown", "blackhole", "no-peer"] {
            assert_eq!(text.parse::<Community>().map(|found| found.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("65535:65281".parse(), "no-export".parse::<Community>());
        for text in ["", "1", "65536:1", "1:65536", "1:2:3", "no-exports", "-1:1"] {
            assert!(text.parse::<Community>().is_err(), "{text:?}");
        }
        for text in ["65001:1:100", "4294967295:0:4294967295"] {
            assert_eq!(text.parse::<LargeCommunity>().map(|found| found.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "1:2", "1:2:3:4", "4294967296:1:1", "a:b:c"] {
            assert!(text.parse::<LargeCommunity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_more_specific_wins_and_communities_add_up() {
        let wide =
            Attributes { communities: [Community(1)].into(), med: Some(1), prepend: Some(2), ..Attributes::default() };
        let narrow = Attributes { communities: [Community(2)].into(), med: Some(9), ..Attributes::default() };
        let merged = wide.refined(&narrow);
        assert_eq!(merged.communities, [Community(1), Community(2)].into());
        assert_eq!((merged.med, merged.prepend, merged.local_pref), (Some(9), Some(2), None));
    }
}
