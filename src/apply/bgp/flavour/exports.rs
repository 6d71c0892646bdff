//! The export policy: what is changed in paths on their way to one peer.
//!
//! It is a policy in the global export assignment with a statement for each peer and family, which lets the path go on to
//! whatever else is assigned. It is never changed: another one takes its place in the assignment, in one step, and has a
//! number of its own in its name and in those of its statements and sets, since GoBGP adds to what has the same name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::client::Calls;
use super::policy::{self, Direction, as_written, in_set};
use super::{path, proto};
use crate::apply::bgp::api::Failure;
use crate::model::bgp::{Attributes, Export};
use crate::model::{Family, Prefix};

/// What the names of our policies and of all their parts begin with; a number follows.
const OURS: &str = "vipcast-exports-";

/// What we want of gobgpd towards each peer.
pub(super) type Exports = BTreeMap<IpAddr, Export>;

/// Everything of ours that gobgpd has.
struct Found {
    assigned: Vec<proto::Policy>,
    policies: BTreeSet<String>,
    statements: BTreeSet<String>,
    sets: BTreeMap<String, Vec<String>>,
}

/// What is in force: nothing if our policy is not the first one in the global export assignment, or not as it was made, or
/// if something of another one is left; `None` if nothing of ours is there.
pub(super) async fn exports(calls: &mut Calls) -> Result<Option<Exports>, Failure> {
    Ok(find(calls).await?.in_force())
}

/// Puts a policy for `wanted` in force, where it is not. Says for whom something may have changed; what was in force
/// before stays there, to be removed by [`remove_others`].
pub(super) async fn put_in_force(calls: &mut Calls, wanted: &Exports) -> Result<BTreeSet<IpAddr>, Failure> {
    let found = find(calls).await?;
    let before = found.in_force();
    // What is there and not in force has to go all the same.
    let is_there = before.as_ref() == Some(wanted) && !wanted.is_empty();
    if is_there || (before.is_none() && wanted.is_empty()) {
        return Ok(BTreeSet::new());
    }
    // Where it is not known what the peers had, anything may have changed for anybody who is named anywhere.
    let old = match before {
        Some(before) if !before.is_empty() => before,
        _ => found.named().map(|address| (address, Export::default())).collect(),
    };
    let changed = old.keys().chain(wanted.keys()).copied();
    let changed = changed.filter(|peer| old.get(peer) != wanted.get(peer)).collect();

    let others = found.assigned.iter().map(|policy| policy.name.clone()).filter(|name| number(name).is_none());
    let mut assigned: Vec<String> = others.collect();
    if !wanted.is_empty() {
        let number = found.numbers().max().unwrap_or_default() + 1;
        for peer in wanted.keys() {
            policy::add_to_set(calls, &set_name(number, *peer), vec![Prefix::host(*peer).to_string()]).await?;
        }
        policy::add(calls, write(number, wanted)).await?;
        assigned.insert(0, policy_name(number));
    }
    policy::assign(calls, Direction::Export, assigned).await?;
    Ok(changed)
}

/// Removes everything of ours but the policy that is assigned.
pub(super) async fn remove_others(calls: &mut Calls) -> Result<(), Failure> {
    let found = find(calls).await?;
    let current = found.current();
    let is_left = |name: &&String| number(name).is_some_and(|number| Some(number) != current);
    for name in found.policies.iter().filter(is_left) {
        policy::delete(calls, name).await?;
    }
    for name in policy::statements(calls).await?.iter().filter(is_left) {
        policy::delete_statement(calls, name).await?;
    }
    for name in found.sets.keys().filter(is_left) {
        policy::delete_set(calls, name).await?;
    }
    Ok(())
}

async fn find(calls: &mut Calls) -> Result<Found, Failure> {
    Ok(Found {
        assigned: policy::assigned(calls, Direction::Export).await?,
        policies: policy::policies(calls).await?.into_keys().collect(),
        statements: policy::statements(calls).await?,
        sets: policy::sets(calls).await?,
    })
}

impl Found {
    fn in_force(&self) -> Option<Exports> {
        let numbers: BTreeSet<u32> = self.numbers().collect();
        let numbers: Vec<u32> = numbers.into_iter().collect();
        match numbers.as_slice() {
            [] => None,
            [one] => Some(self.assigned.first().and_then(|policy| read(*one, policy, &self.sets)).unwrap_or_default()),
            _ => Some(Exports::new()),
        }
    }

    /// The number of our policy that is assigned, if one is.
    fn current(&self) -> Option<u32> {
        self.assigned.iter().find_map(|policy| number(&policy.name))
    }

    /// The numbers of everything of ours.
    fn numbers(&self) -> impl Iterator<Item = u32> {
        let assigned = self.assigned.iter().map(|policy| &policy.name);
        let names = assigned.chain(&self.policies).chain(&self.statements).chain(self.sets.keys());
        names.filter_map(|name| number(name))
    }

    /// All peers that sets of ours name.
    fn named(&self) -> impl Iterator<Item = IpAddr> {
        let lists = self.sets.iter().filter(|(name, _)| number(name).is_some()).map(|(_, list)| list);
        lists.flatten().filter_map(|text| text.parse::<Prefix>().ok()).map(|prefix| prefix.address())
    }
}

fn policy_name(number: u32) -> String {
    format!("{OURS}{number}")
}

fn set_name(number: u32, peer: IpAddr) -> String {
    format!("{OURS}{number}-{peer}")
}

/// The number in a name of ours.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix(OURS)?.split('-').next()?.parse().ok()
}

/// Our policy of this number.
fn write(number: u32, exports: &Exports) -> proto::Policy {
    let each = exports.iter().flat_map(|(peer, export)| Family::ALL.map(|family| (*peer, export, family)));
    let statements = each.filter_map(|(peer, export, family)| statement(number, peer, export, family)).collect();
    proto::Policy { name: policy_name(number), statements }
}

/// What is changed in the paths of a family on the way to a peer.
fn statement(number: u32, peer: IpAddr, export: &Export, family: Family) -> Option<proto::Statement> {
    let Export { attributes, next_hops } = export;
    let next_hop = next_hops.get(&family);
    if attributes.is_empty() && next_hop.is_none() {
        return None;
    }
    let communities = attributes.communities.iter().map(|one| format!("{}:{}", one.0 >> 16, one.0 & 0xffff)).collect();
    let large_communities = attributes.large_communities.iter().map(ToString::to_string).collect();
    let set = set_name(number, peer);
    Some(proto::Statement {
        name: format!("{set}-{family}"),
        conditions: Some(proto::Conditions {
            neighbor_set: Some(in_set(&set)),
            afi_safi_in: vec![path::family(family)],
            ..Default::default()
        }),
        actions: Some(proto::Actions {
            community: add(communities),
            large_community: add(large_communities),
            med: attributes
                .med
                .map(|med| proto::MedAction { r#type: proto::med_action::Type::Replace.into(), value: med.into() }),
            local_pref: attributes.local_pref.map(|value| proto::LocalPrefAction { value }),
            // Our own AS number is in front by then, be it gobgpd's or the peer's local one.
            as_prepend: attributes.prepend.filter(|repeat| *repeat > 0).map(|repeat| proto::AsPrependAction {
                asn: 0,
                repeat: repeat.into(),
                use_left_most: true,
            }),
            nexthop: next_hop
                .map(|address| proto::NexthopAction { address: address.to_string(), ..Default::default() }),
            ..Default::default()
        }),
    })
}

fn add(communities: Vec<String>) -> Option<proto::CommunityAction> {
    let r#type = proto::community_action::Type::Add.into();
    (!communities.is_empty()).then_some(proto::CommunityAction { r#type, communities })
}

/// What our policy of this number changes; `None` if it is not that, or not as it was made.
fn read(number: u32, policy: &proto::Policy, sets: &BTreeMap<String, Vec<String>>) -> Option<Exports> {
    let mut exports = Exports::new();
    for statement in &policy.statements {
        let set = &statement.conditions.as_ref()?.neighbor_set.as_ref()?.name;
        let [one] = sets.get(set)?.as_slice() else { return None };
        let peer = one.parse::<Prefix>().ok()?;
        let family = path::known_family(statement.conditions.as_ref()?.afi_safi_in.first()?)?;
        let actions = statement.actions.as_ref()?;
        let export = exports.entry(Some(peer.address()).filter(|address| Prefix::host(*address) == peer)?).or_default();
        export.attributes = attributes(actions)?;
        if let Some(next_hop) = &actions.nexthop {
            export.next_hops.insert(family, next_hop.address.parse().ok()?);
        }
    }
    let found: Vec<_> = policy.statements.iter().cloned().map(as_written).collect();
    let found = proto::Policy { name: policy.name.clone(), statements: found };
    let made = write(number, &exports);
    let its_sets = exports.keys().all(|peer| sets.contains_key(&set_name(number, *peer)));
    (found == made && its_sets).then_some(exports)
}

fn attributes(actions: &proto::Actions) -> Option<Attributes> {
    fn all<T: std::str::FromStr + Ord>(action: Option<&proto::CommunityAction>) -> Option<BTreeSet<T>> {
        action.iter().flat_map(|action| &action.communities).map(|text| text.parse().ok()).collect()
    }
    Some(Attributes {
        communities: all(actions.community.as_ref())?,
        large_communities: all(actions.large_community.as_ref())?,
        med: actions.med.as_ref().map(|med| u32::try_from(med.value)).transpose().ok()?,
        local_pref: actions.local_pref.as_ref().map(|local_pref| local_pref.value),
        prepend: actions.as_prepend.as_ref().map(|prepend| u8::try_from(prepend.repeat)).transpose().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bgp::{Community, LargeCommunity};

    fn exports() -> Exports {
        let everything = Export {
            attributes: Attributes {
                communities: [Community(65001 << 16 | 100), Community(0xffff_0000)].into(),
                large_communities: [LargeCommunity(65001, 1, 2)].into(),
                med: Some(0),
                local_pref: Some(200),
                prepend: Some(2),
            },
            next_hops: [(Family::Ipv6, "2001:db8::9".parse().unwrap())].into(),
        };
        let hop = Export { next_hops: [(Family::Ipv4, "192.0.2.9".parse().unwrap())].into(), ..Export::default() };
        [("192.0.2.1".parse().unwrap(), everything), ("2001:db8::1".parse().unwrap(), hop)].into()
    }

    fn sets(number: u32, exports: &Exports) -> BTreeMap<String, Vec<String>> {
        exports.keys().map(|peer| (set_name(number, *peer), vec![Prefix::host(*peer).to_string()])).collect()
    }

    fn found(number: u32, policy: proto::Policy) -> Found {
        let names = policy.statements.iter().map(|statement| statement.name.clone()).collect();
        Found {
            policies: [policy.name.clone()].into(),
            statements: names,
            assigned: vec![policy],
            sets: sets(number, &exports()),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let policy = write(7, &exports());
        let names: Vec<_> = policy.statements.iter().map(|statement| statement.name.as_str()).collect();
        let first = "vipcast-exports-7-192.0.2.1";
        assert_eq!(names, [&format!("{first}-IPv4"), &format!("{first}-IPv6"), "vipcast-exports-7-2001:db8::1-IPv4"]);
        assert_eq!(read(7, &policy, &sets(7, &exports())), Some(exports()));
        assert_eq!(found(7, policy).in_force(), Some(exports()));
    }

    #[test]
    fn what_is_not_as_it_was_made_is_not_in_force() {
        fn actions(policy: &mut proto::Policy) -> &mut proto::Actions {
            policy.statements[0].actions.get_or_insert_default()
        }
        fn conditions(policy: &mut proto::Policy) -> &mut proto::Conditions {
            policy.statements[0].conditions.get_or_insert_default()
        }
        let damages: [fn(&mut proto::Policy); 10] = [
            |policy| policy.name = "vipcast-exports-8".to_owned(),
            |policy| drop(policy.statements.remove(0)),
            |policy| policy.statements.swap(0, 1),
            |policy| actions(policy).route_action = proto::RouteAction::Reject.into(),
            |policy| actions(policy).med = None,
            |policy| actions(policy).ext_community = add(vec!["rt:1:1".to_owned()]),
            |policy| actions(policy).origin_action = Some(proto::OriginAction { origin: 2 }),
            |policy| conditions(policy).route_type = 3,
            |policy| conditions(policy).afi_safi_in.push(path::family(Family::Ipv6)),
            |policy| conditions(policy).neighbor_set = None,
        ];
        for (number, damage) in damages.iter().enumerate() {
            let mut policy = write(7, &exports());
            damage(&mut policy);
            assert_eq!(found(7, policy).in_force(), Some(Exports::new()), "damage {number}");
        }
        // The condition that GoBGP 3.10 reads back without having been given it.
        let mut policy = write(7, &exports());
        conditions(&mut policy).rpki_result = -1;
        assert_eq!(found(7, policy).in_force(), Some(exports()));
    }

    #[test]
    fn sets_and_leftovers_count_too() {
        let mut other_set = found(7, write(7, &exports()));
        other_set.sets.insert(set_name(7, "192.0.2.1".parse().unwrap()), vec!["192.0.2.0/24".to_owned()]);
        assert_eq!(other_set.in_force(), Some(Exports::new()));
        let mut behind = found(7, write(7, &exports()));
        behind.assigned.insert(0, proto::Policy { name: "theirs".to_owned(), ..Default::default() });
        assert_eq!(behind.in_force(), Some(Exports::new()));
        assert_eq!(behind.current(), Some(7));
        let mut left = found(7, write(7, &exports()));
        left.statements.insert("vipcast-exports-6-192.0.2.1-IPv4".to_owned());
        assert_eq!(left.in_force(), Some(Exports::new()));
        let nothing = Found {
            assigned: vec![proto::Policy { name: "theirs".to_owned(), ..Default::default() }],
            policies: ["theirs".to_owned()].into(),
            statements: BTreeSet::new(),
            sets: BTreeMap::new(),
        };
        assert_eq!(nothing.in_force(), None);
    }
}
