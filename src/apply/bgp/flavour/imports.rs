//! The import policy: reject what comes from certain neighbours.
//!
//! It is a policy in the global import assignment that matches a set of neighbours. A default action of reject would
//! look simpler, and drop our own paths as well, without an error: local paths go through the import policies too, and
//! only a condition on the neighbour spares them.

use std::collections::BTreeSet;

use super::client::Calls;
use super::policy::{self, Direction, as_written, in_set};
use super::proto;
use crate::apply::bgp::api::Failure;
use crate::model::Prefix;

/// The name of our policy and of its one statement.
const POLICY: &str = "vipcast-reject-imports";

/// The name of our set of neighbours.
const NEIGHBORS: &str = "vipcast-neighbors";

/// The neighbours whose routes our policy rejects: none if it is not the first one in the global import assignment, or
/// not as it was made; `None` if nothing of it is there.
pub(super) async fn rejected(calls: &mut Calls) -> Result<Option<BTreeSet<Prefix>>, Failure> {
    let list = policy::sets(calls).await?.remove(NEIGHBORS);
    let assigned = policy::assigned(calls, Direction::Import).await?;
    if assigned.first().is_some_and(is_ours) {
        return Ok(Some(list.iter().flatten().filter_map(|text| text.parse().ok()).collect()));
    }
    let is_there = list.is_some() || policy::policies(calls).await?.contains_key(POLICY);
    Ok(is_there.then(BTreeSet::new))
}

/// Puts our policy first in the global import assignment, whatever state an earlier attempt or somebody else left, and
/// `wanted` into our set of neighbours. The set is never empty in between, since it would match all paths then.
pub(super) async fn put_in_force(calls: &mut Calls, wanted: &BTreeSet<Prefix>) -> Result<(), Failure> {
    let there = policy::sets(calls).await?.remove(NEIGHBORS).unwrap_or_default();
    let (missing, surplus) = differences(wanted, there);
    if !missing.is_empty() {
        policy::add_to_set(calls, NEIGHBORS, missing).await?;
    }
    if !policy::policies(calls).await?.get(POLICY).is_some_and(is_ours) {
        delete(calls).await?;
        policy::add(calls, ours()).await?;
    }
    let assigned = policy::assigned(calls, Direction::Import).await?;
    let others = assigned.into_iter().map(|policy| policy.name).filter(|name| name != POLICY);
    policy::assign(calls, Direction::Import, std::iter::once(POLICY.to_owned()).chain(others).collect()).await?;
    if !surplus.is_empty() {
        policy::remove_from_set(calls, NEIGHBORS, surplus).await?;
    }
    Ok(())
}

/// Removes our policy from the global import assignment, then itself and its set of neighbours.
pub(super) async fn remove(calls: &mut Calls) -> Result<(), Failure> {
    let assigned = policy::assigned(calls, Direction::Import).await?;
    let (ours, others): (Vec<_>, Vec<_>) =
        assigned.into_iter().map(|policy| policy.name).partition(|name| name == POLICY);
    if !ours.is_empty() {
        policy::assign(calls, Direction::Import, others).await?;
    }
    delete(calls).await?;
    if policy::sets(calls).await?.contains_key(NEIGHBORS) {
        policy::delete_set(calls, NEIGHBORS).await?;
    }
    Ok(())
}

/// Deletes the policy of our name and its statement, where they are there.
async fn delete(calls: &mut Calls) -> Result<(), Failure> {
    if policy::policies(calls).await?.contains_key(POLICY) {
        policy::delete(calls, POLICY).await?;
    }
    if policy::statements(calls).await?.contains(POLICY) {
        policy::delete_statement(calls, POLICY).await?;
    }
    Ok(())
}

/// Our policy.
fn ours() -> proto::Policy {
    let statement = proto::Statement {
        name: POLICY.to_owned(),
        conditions: Some(proto::Conditions { neighbor_set: Some(in_set(NEIGHBORS)), ..Default::default() }),
        actions: Some(proto::Actions { route_action: proto::RouteAction::Reject.into(), ..Default::default() }),
    };
    proto::Policy { name: POLICY.to_owned(), statements: vec![statement] }
}

/// Does this policy have our name, and begin by rejecting all paths of our set of neighbours?
fn is_ours(policy: &proto::Policy) -> bool {
    let Some(first) = policy.statements.first() else { return false };
    let Some(actions) = &first.actions else { return false };
    let found = as_written(first.clone());
    policy.name == POLICY
        && found.conditions == ours().statements.remove(0).conditions
        && actions.route_action() == proto::RouteAction::Reject
}

/// What a set of neighbours lacks, and what it has besides, for it to be `wanted`.
fn differences(wanted: &BTreeSet<Prefix>, mut list: Vec<String>) -> (Vec<String>, Vec<String>) {
    let there: BTreeSet<Prefix> = list.iter().filter_map(|text| text.parse().ok()).collect();
    let missing = wanted.difference(&there).map(Prefix::to_string).collect();
    list.retain(|text| !text.parse().is_ok_and(|prefix: Prefix| wanted.contains(&prefix)));
    (missing, list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::match_set;

    #[test]
    fn only_an_unconditional_reject_of_our_neighbours_counts() {
        fn changed(change: impl FnOnce(&mut proto::Statement)) -> proto::Policy {
            let mut policy = ours();
            change(&mut policy.statements[0]);
            policy
        }
        fn conditions(statement: &mut proto::Statement) -> &mut proto::Conditions {
            statement.conditions.get_or_insert_default()
        }
        let set = || Some(in_set("x"));

        assert!(is_ours(&ours()));
        assert!(is_ours(&changed(|s| conditions(s).rpki_result = -1)));
        let others = [
            proto::Policy::default(),
            proto::Policy { name: "x".to_owned(), ..ours() },
            changed(|s| conditions(s).neighbor_set = set()),
            changed(|s| s.conditions = None),
            changed(|s| conditions(s).neighbor_set = None),
            changed(|s| conditions(s).neighbor_set.get_or_insert_default().r#type = match_set::Type::Invert.into()),
            changed(|s| conditions(s).prefix_set = set()),
            changed(|s| conditions(s).community_set = set()),
            changed(|s| conditions(s).as_path_length = Some(proto::conditions::Opaque {})),
            changed(|s| conditions(s).route_type = 3),
            changed(|s| conditions(s).rpki_result = 1),
            changed(|s| conditions(s).next_hop_in_list.push("192.0.2.1".to_owned())),
            changed(|s| s.actions = None),
            changed(|s| s.actions.get_or_insert_default().route_action = proto::RouteAction::Accept.into()),
        ];
        for other in others {
            assert!(!is_ours(&other), "{other:?}");
        }
    }

    #[test]
    fn a_set_is_changed_by_what_differs() {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let wanted = ["0.0.0.0/0", "2001:db8::1/128"].map(|text| text.parse::<Prefix>().unwrap()).into();
        assert_eq!(differences(&wanted, Vec::new()), (list(&["0.0.0.0/0", "2001:db8::1/128"]), Vec::new()));
        let there = list(&["0.0.0.0/0", "10.0.0.0/8", "0.0.0.0/0"]);
        assert_eq!(differences(&wanted, there), (list(&["2001:db8::1/128"]), list(&["10.0.0.0/8"])));
        let there = list(&["2001:db8::1/128", "no prefix", "0.0.0.0/0"]);
        assert_eq!(differences(&wanted, there), (Vec::new(), list(&["no prefix"])));
    }
}
