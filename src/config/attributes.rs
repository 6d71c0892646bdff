//! The attributes of routes, wherever they stand: for all routes, for those of a range, towards a peer.

use super::item::{Item, Mistake, Table};
use super::value;
use crate::model::bgp::Attributes;

/// The most prepends. Longer paths help nobody, and some routers drop routes with very long ones.
const MOST_PREPENDS: u64 = 16;

/// The keys.
pub(super) const KEYS: [&str; 5] = ["communities", "largeCommunities", "med", "localPref", "prepend"];

/// Reads the keys from `table`, each of which may be missing.
pub(super) fn read(table: &Table) -> Result<Attributes, Mistake> {
    let number = |what: &'static str| move |item: &Item| item.number(0..=u64::from(u32::MAX), what);
    Ok(Attributes {
        communities: table.read("communities", value::communities)?.unwrap_or_default(),
        large_communities: table.read("largeCommunities", value::large_communities)?.unwrap_or_default(),
        med: table.read("med", number("a MED"))?,
        local_pref: table.read("localPref", number("a local preference"))?,
        prepend: table
            .read("prepend", |item| item.number(0..=MOST_PREPENDS, "how often the AS number is repeated,"))?,
    })
}

/// The keys in which two say something else.
pub(super) fn differing(one: &Attributes, other: &Attributes) -> Option<&'static str> {
    let differs = [
        one.communities != other.communities,
        one.large_communities != other.large_communities,
        one.med != other.med,
        one.local_pref != other.local_pref,
        one.prepend != other.prepend,
    ];
    KEYS.into_iter().zip(differs).find(|(_, differs)| *differs).map(|(key, _)| key)
}
