//! The import policy: reject what comes from certain neighbours.
//!
//! It is a policy in the global import assignment that matches a set of neighbours. A default action of reject would
//! look simpler, and drop our own paths as well, without an error: local paths go through the import policies too, and
//! only a condition on the neighbour spares them.

use std::collections::BTreeSet;

use tonic::transport::Channel;

use super::proto::gobgp_api_client::GobgpApiClient;
use super::proto::{self, match_set};
use super::{answer, each};
use crate::apply::bgp::api::Failure;
use crate::model::Prefix;

/// The name of our policy and of its one statement.
const POLICY: &str = "vipcast-reject-imports";

/// The name of our set of neighbours.
const NEIGHBORS: &str = "vipcast-neighbors";

/// GoBGP's name for the assignment that serves all neighbours.
const GLOBAL: &str = "global";

type Client = GobgpApiClient<Channel>;

/// The neighbours whose routes our policy rejects: none if it is not the first one in the global import assignment, or
/// not as it was made; `None` if nothing of it is there.
pub(super) async fn rejected(client: &mut Client) -> Result<Option<BTreeSet<Prefix>>, Failure> {
    let list = neighbors(client).await?;
    let assigned = assignment(client).await?;
    if assigned.first().is_some_and(is_ours) {
        return Ok(Some(list.iter().flatten().filter_map(|text| text.parse().ok()).collect()));
    }
    let is_there = list.is_some() || named_ours(client).await?.is_some() || assigned.iter().any(has_our_name);
    Ok(is_there.then(BTreeSet::new))
}

/// Puts our policy first in the global import assignment, whatever state an earlier attempt or somebody else left, and
/// `wanted` into our set of neighbours. The set is never empty in between, since it would match all paths then.
pub(super) async fn put_in_force(client: &mut Client, wanted: &BTreeSet<Prefix>) -> Result<(), Failure> {
    let (missing, surplus) = differences(wanted, neighbors(client).await?.unwrap_or_default());
    if !missing.is_empty() {
        answer(client.add_defined_set(proto::AddDefinedSetRequest { defined_set: Some(set(missing)) })).await?;
    }

    if !named_ours(client).await?.as_ref().is_some_and(is_ours) {
        delete_policy(client).await?;
        answer(client.add_policy(proto::AddPolicyRequest { policy: Some(policy()) })).await?;
    }

    let others = assignment(client).await?.into_iter().filter(|policy| !has_our_name(policy));
    assign(client, std::iter::once(policy()).chain(others).collect()).await?;

    if !surplus.is_empty() {
        let request = proto::DeleteDefinedSetRequest { defined_set: Some(set(surplus)), all: false };
        answer(client.delete_defined_set(request)).await?;
    }
    Ok(())
}

/// Removes our policy from the global import assignment, then itself and its set of neighbours.
pub(super) async fn remove(client: &mut Client) -> Result<(), Failure> {
    let (ours, others): (Vec<_>, Vec<_>) = assignment(client).await?.into_iter().partition(has_our_name);
    if !ours.is_empty() {
        assign(client, others).await?;
    }
    delete_policy(client).await?;
    if neighbors(client).await?.is_some() {
        let request = proto::DeleteDefinedSetRequest { defined_set: Some(set(Vec::new())), all: true };
        answer(client.delete_defined_set(request)).await?;
    }
    Ok(())
}

/// Our policy.
fn policy() -> proto::Policy {
    let neighbors = proto::MatchSet { r#type: match_set::Type::Any.into(), name: NEIGHBORS.to_owned() };
    let statement = proto::Statement {
        name: POLICY.to_owned(),
        conditions: Some(proto::Conditions { neighbor_set: Some(neighbors), ..proto::Conditions::default() }),
        actions: Some(proto::Actions { route_action: proto::RouteAction::Reject.into() }),
    };
    proto::Policy { name: POLICY.to_owned(), statements: vec![statement] }
}

/// Our set of neighbours with this list.
fn set(list: Vec<String>) -> proto::DefinedSet {
    proto::DefinedSet { defined_type: proto::DefinedType::Neighbor.into(), name: NEIGHBORS.to_owned(), list }
}

fn has_our_name(policy: &proto::Policy) -> bool {
    policy.name == POLICY
}

/// Does this policy have our name, and begin by rejecting all paths of our set of neighbours?
fn is_ours(policy: &proto::Policy) -> bool {
    let Some(first) = policy.statements.first() else { return false };
    let (Some(conditions), Some(actions)) = (&first.conditions, &first.actions) else { return false };
    let Some(set) = &conditions.neighbor_set else { return false };
    // No condition on RPKI is sent as 0 and read back as -1.
    let no_other = proto::Conditions {
        neighbor_set: Some(set.clone()),
        rpki_result: conditions.rpki_result.min(0),
        ..proto::Conditions::default()
    };
    has_our_name(policy)
        && actions.route_action() == proto::RouteAction::Reject
        && *conditions == no_other
        && set.r#type() == match_set::Type::Any
        && set.name == NEIGHBORS
}

/// What a set of neighbours lacks, and what it has besides, for it to be `wanted`.
fn differences(wanted: &BTreeSet<Prefix>, mut list: Vec<String>) -> (Vec<String>, Vec<String>) {
    let there: BTreeSet<Prefix> = list.iter().filter_map(|text| text.parse().ok()).collect();
    let missing = wanted.difference(&there).map(Prefix::to_string).collect();
    list.retain(|text| !text.parse().is_ok_and(|prefix: Prefix| wanted.contains(&prefix)));
    (missing, list)
}

/// The policies of the global import assignment.
async fn assignment(client: &mut Client) -> Result<Vec<proto::Policy>, Failure> {
    let request = proto::ListPolicyAssignmentRequest {
        name: GLOBAL.to_owned(),
        direction: proto::PolicyDirection::Import.into(),
    };
    let mut found = Vec::new();
    each(client.list_policy_assignment(request), |answer| found = answer.assignment.unwrap_or_default().policies)
        .await?;
    Ok(found)
}

/// Makes these the policies of the global import assignment.
async fn assign(client: &mut Client, policies: Vec<proto::Policy>) -> Result<(), Failure> {
    let assignment = proto::PolicyAssignment {
        name: GLOBAL.to_owned(),
        direction: proto::PolicyDirection::Import.into(),
        policies,
        default_action: proto::RouteAction::None.into(),
    };
    let request = proto::SetPolicyAssignmentRequest { assignment: Some(assignment) };
    answer(client.set_policy_assignment(request)).await
}

/// The policy of our name.
async fn named_ours(client: &mut Client) -> Result<Option<proto::Policy>, Failure> {
    let request = proto::ListPolicyRequest { name: POLICY.to_owned() };
    let mut found = None;
    each(client.list_policy(request), |answer| found = answer.policy).await?;
    Ok(found)
}

/// Deletes the policy of our name and its statement, which `gobgp policy del` leaves behind, where they are there.
async fn delete_policy(client: &mut Client) -> Result<(), Failure> {
    if named_ours(client).await?.is_some() {
        answer(client.delete_policy(proto::DeletePolicyRequest { policy: Some(policy()), all: true })).await?;
    }
    let request = proto::ListStatementRequest { name: POLICY.to_owned() };
    let mut found = None;
    each(client.list_statement(request), |answer| found = answer.statement).await?;
    if found.is_some() {
        answer(client.delete_statement(proto::DeleteStatementRequest { statement: found, all: true })).await?;
    }
    Ok(())
}

/// The list of our set of neighbours; `None` if there is no such set.
async fn neighbors(client: &mut Client) -> Result<Option<Vec<String>>, Failure> {
    let request =
        proto::ListDefinedSetRequest { defined_type: proto::DefinedType::Neighbor.into(), name: NEIGHBORS.to_owned() };
    let mut found = None;
    each(client.list_defined_set(request), |answer| found = answer.defined_set.map(|set| set.list)).await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unconditional_reject_of_our_neighbours_counts() {
        fn changed(change: impl FnOnce(&mut proto::Statement)) -> proto::Policy {
            let mut policy = policy();
            change(&mut policy.statements[0]);
            policy
        }
        fn conditions(statement: &mut proto::Statement) -> &mut proto::Conditions {
            statement.conditions.get_or_insert_default()
        }
        let set = || Some(proto::MatchSet { r#type: match_set::Type::Any.into(), name: "x".to_owned() });

        assert!(is_ours(&policy()));
        assert!(is_ours(&changed(|s| conditions(s).rpki_result = -1)));
        let others = [
            proto::Policy::default(),
            proto::Policy { name: "x".to_owned(), ..policy() },
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
