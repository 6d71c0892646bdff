//! What a peer has to be sent of a path: what BGP and our export policy make of it on its way, and how that differs from
//! what gobgpd says that it sends (its Adj-RIB-Out, RFC 4271 section 3.2).

use std::fmt;

use crate::model::Prefix;
use crate::model::bgp::{Export, NextHop, Path, Peer, Session};

/// LOCAL_PREF of a path that names none (`DEFAULT_LOCAL_PREF` in GoBGP's `internal/pkg/table/path.go`).
const LOCAL_PREF: u32 = 100;

/// What of `path`, which is for `prefix`, goes over `session` to `peer`, `asn` being gobgpd's own; `None`: nothing does, since
/// one side does not carry its family.
///
/// As GoBGP has it (`UpdatePathAttrs` in `internal/pkg/table/path.go`): towards another AS the own number is put in front
/// and LOCAL_PREF left out; next hop self becomes this end's address; MED and communities of local paths stay. The export
/// policy comes after that. GoBGP keeps no local path back for a well-known community: no-export and no-advertise are for
/// the peer to heed.
pub fn expected(
    prefix: Prefix,
    path: &Path,
    asn: u32,
    peer: &Peer,
    export: Option<&Export>,
    session: &Session,
) -> Option<Path> {
    let family = prefix.family();
    if !peer.families.contains(&family) || !session.families.contains(&family) {
        return None;
    }
    let local = peer.local_asn.unwrap_or(asn);
    let is_inner = peer.asn == local;
    let nothing = Export::default();
    let Export { attributes, next_hops } = export.unwrap_or(&nothing);
    let fronts = usize::from(!is_inner) + usize::from(attributes.prepend.unwrap_or_default());
    let own = session.local_address.map_or(NextHop::Own, NextHop::Address);
    let next_hop = if path.next_hop == NextHop::Own { own } else { path.next_hop };
    let local_pref = attributes.local_pref.or(path.local_pref).unwrap_or(LOCAL_PREF);
    Some(Path {
        next_hop: next_hops.get(&family).map_or(next_hop, |address| NextHop::Address(*address)),
        as_path: std::iter::repeat_n(local, fronts).chain(path.as_path.iter().copied()).collect(),
        communities: path.communities.union(&attributes.communities).copied().collect(),
        large_communities: path.large_communities.union(&attributes.large_communities).copied().collect(),
        med: attributes.med.or(path.med),
        local_pref: is_inner.then_some(local_pref),
    })
}

/// How what a peer is sent differs from what it has to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It is not sent.
    Missing(Path),
    /// It is sent and must not be.
    Surplus(Path),
    /// It is sent otherwise.
    Other {
        /// As it has to be.
        wanted: Path,
        /// As it is.
        found: Path,
    },
}

/// Compares. A next hop of one's own whose address is not known may be any.
pub fn difference(wanted: Option<Path>, found: Option<&Path>) -> Option<Difference> {
    match (wanted, found) {
        (None, None) => None,
        (Some(wanted), None) => Some(Difference::Missing(wanted)),
        (None, Some(found)) => Some(Difference::Surplus(found.clone())),
        (Some(mut wanted), Some(found)) => {
            if wanted.next_hop == NextHop::Own {
                wanted.next_hop = found.next_hop;
            }
            (wanted != *found).then(|| Difference::Other { wanted, found: found.clone() })
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wanted, found) = match self {
            Difference::Missing(_) => return f.write_str("not sent"),
            Difference::Surplus(_) => return f.write_str("sent, and should not be"),
            Difference::Other { wanted, found } => (wanted, found),
        };
        let word = |name, wanted: String, found: String| {
            (wanted != found).then(|| {
                let told = |text: String| if text.is_empty() { "none".to_owned() } else { text };
                format!("{name} {} instead of {}", told(found), told(wanted))
            })
        };
        let hop = |path: &Path| match path.next_hop {
            NextHop::Own => "self".to_owned(),
            NextHop::Address(address) => address.to_string(),
        };
        let asns = |path: &Path| list(&path.as_path);
        let number = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        let differences = [
            word("next hop", hop(wanted), hop(found)),
            word("AS path", asns(wanted), asns(found)),
            word("communities", list(&wanted.communities), list(&found.communities)),
            word("large communities", list(&wanted.large_communities), list(&found.large_communities)),
            word("MED", number(wanted.med), number(found.med)),
            word("local preference", number(wanted.local_pref), number(found.local_pref)),
        ];
        let words: Vec<String> = differences.into_iter().flatten().collect();
        write!(f, "sent with {}", words.join(", "))
    }
}

fn list<'a, T: ToString + 'a>(values: impl IntoIterator<Item = &'a T>) -> String {
    values.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
