//! The import policy: reject what comes from any neighbour.
//!
//! It is a policy in the global import assignment that matches all neighbours. A default action of reject would look
//! simpler, and drop our own paths as well, without an error: local paths go through the import policies too, and only
//! a condition on the neighbour spares them.

use tonic::transport::Channel;

use super::proto::gobgp_api_client::GobgpApiClient;
use super::proto::{self, match_set};
use super::{answer, each};
use crate::apply::bgp::api::Failure;

/// The name of our policy and of its one statement.
const POLICY: &str = "vipcast-reject-imports";

/// The name of our set of neighbours.
const NEIGHBORS: &str = "vipcast-all-neighbors";

/// All neighbours. `0.0.0.0/0` matches no IPv6 address.
const ALL: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// GoBGP's name for the assignment that serves all neighbours.
const GLOBAL: &str = "global";

type Client = GobgpApiClient<Channel>;

/// Does the first policy in the global import assignment reject all that comes from neighbours? By whom it was put
/// there does not matter.
pub(super) async fn is_in_force(client: &mut Client) -> Result<bool, Failure> {
    let assigned = assignment(client).await?;
    let Some(set) = assigned.first().and_then(rejected) else {
        return Ok(false);
    };
    Ok(missing(&neighbors(client, set).await?).is_empty())
}

/// Puts our policy first in the global import assignment, whatever state an earlier attempt or somebody else left.
pub(super) async fn put_in_force(client: &mut Client) -> Result<(), Failure> {
    let list = missing(&neighbors(client, NEIGHBORS).await?);
    if !list.is_empty() {
        let set = proto::DefinedSet {
            defined_type: proto::DefinedType::Neighbor.into(),
            name: NEIGHBORS.to_owned(),
            list: list.into_iter().map(str::to_owned).collect(),
        };
        answer(client.add_defined_set(proto::AddDefinedSetRequest { defined_set: Some(set) })).await?;
    }

    let mut found = None;
    let request = proto::ListPolicyRequest { name: POLICY.to_owned() };
    each(client.list_policy(request), |answer| found = answer.policy).await?;
    let ours = policy();
    if found.as_ref().and_then(rejected) != Some(NEIGHBORS) {
        if found.is_some() {
            let request = proto::DeletePolicyRequest { policy: Some(ours.clone()), all: true };
            answer(client.delete_policy(request)).await?;
        }
        answer(client.add_policy(proto::AddPolicyRequest { policy: Some(ours.clone()) })).await?;
    }

    let others = assignment(client).await?.into_iter().filter(|policy| policy.name != POLICY);
    let assignment = proto::PolicyAssignment {
        name: GLOBAL.to_owned(),
        direction: proto::PolicyDirection::Import.into(),
        policies: std::iter::once(ours).chain(others).collect(),
        default_action: proto::RouteAction::None.into(),
    };
    let request = proto::SetPolicyAssignmentRequest { assignment: Some(assignment) };
    answer(client.set_policy_assignment(request)).await
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

/// The name of the set of neighbours that a policy begins to reject all paths of; `None` if it begins otherwise.
fn rejected(policy: &proto::Policy) -> Option<&str> {
    let first = policy.statements.first()?;
    let conditions = first.conditions.as_ref()?;
    let set = conditions.neighbor_set.as_ref()?;
    // No condition on RPKI is sent as 0 and read back as -1.
    let no_other = proto::Conditions {
        neighbor_set: conditions.neighbor_set.clone(),
        rpki_result: conditions.rpki_result.min(0),
        ..proto::Conditions::default()
    };
    let rejects = first.actions.as_ref()?.route_action() == proto::RouteAction::Reject;
    (rejects && *conditions == no_other && set.r#type() == match_set::Type::Any).then_some(set.name.as_str())
}

/// What a set lacks of all neighbours.
fn missing(list: &[String]) -> Vec<&'static str> {
    ALL.into_iter().filter(|all| !list.iter().any(|one| one == all)).collect()
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

/// The prefixes in the set of neighbours `name`.
async fn neighbors(client: &mut Client, name: &str) -> Result<Vec<String>, Failure> {
    let request =
        proto::ListDefinedSetRequest { defined_type: proto::DefinedType::Neighbor.into(), name: name.to_owned() };
    let mut found = Vec::new();
    each(client.list_defined_set(request), |answer| found = answer.defined_set.unwrap_or_default().list).await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unconditional_reject_of_neighbours_counts() {
        fn changed(change: impl FnOnce(&mut proto::Statement)) -> proto::Policy {
            let mut policy = policy();
            change(&mut policy.statements[0]);
            policy
        }
        fn conditions(statement: &mut proto::Statement) -> &mut proto::Conditions {
            statement.conditions.get_or_insert_default()
        }
        let set = || Some(proto::MatchSet { r#type: match_set::Type::Any.into(), name: "x".to_owned() });

        assert_eq!(rejected(&policy()), Some(NEIGHBORS));
        assert_eq!(rejected(&changed(|s| conditions(s).rpki_result = -1)), Some(NEIGHBORS));
        let others = [
            proto::Policy::default(),
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
            assert_eq!(rejected(&other), None, "{other:?}");
        }
    }

    #[test]
    fn both_families_have_to_be_covered() {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(missing(&list(&[])), ["0.0.0.0/0", "::/0"]);
        assert_eq!(missing(&list(&["0.0.0.0/0", "10.0.0.0/8"])), ["::/0"]);
        assert!(missing(&list(&["::/0", "0.0.0.0/0"])).is_empty());
    }
}
