//! Policies, their assignment, and sets of neighbours: what the import and the export policy are made of.

use std::collections::{BTreeMap, BTreeSet};

use super::client::Calls;
use super::proto;
use crate::apply::bgp::api::Failure;
use crate::apply::bgp::calls::{done, each};

pub(super) use super::proto::PolicyDirection as Direction;

/// GoBGP's name for the assignment that serves all neighbours.
const GLOBAL: &str = "global";

/// The policies of the global assignment, in their order.
pub(super) async fn assigned(calls: &mut Calls, direction: Direction) -> Result<Vec<proto::Policy>, Failure> {
    let request = proto::ListPolicyAssignmentRequest { name: GLOBAL.to_owned(), direction: direction.into() };
    let mut found = Vec::new();
    each(calls.list_policy_assignment(request), |answer| found = answer.assignment.unwrap_or_default().policies)
        .await?;
    Ok(found)
}

/// Makes the policies of these names those of the global assignment, at once. Its default action stays.
pub(super) async fn assign(calls: &mut Calls, direction: Direction, names: Vec<String>) -> Result<(), Failure> {
    let policies = names.into_iter().map(|name| proto::Policy { name, ..Default::default() }).collect();
    let assignment = proto::PolicyAssignment {
        name: GLOBAL.to_owned(),
        direction: direction.into(),
        policies,
        ..Default::default()
    };
    done(calls.set_policy_assignment(proto::SetPolicyAssignmentRequest { assignment: Some(assignment) })).await
}

/// All policies, by name.
pub(super) async fn policies(calls: &mut Calls) -> Result<BTreeMap<String, proto::Policy>, Failure> {
    let mut found = BTreeMap::new();
    each(calls.list_policy(proto::ListPolicyRequest::default()), |answer| {
        found.extend(answer.policy.map(|policy| (policy.name.clone(), policy)));
    })
    .await?;
    Ok(found)
}

/// Adds a policy; there is none of its name, nor a statement of the name of one of its.
pub(super) async fn add(calls: &mut Calls, policy: proto::Policy) -> Result<(), Failure> {
    done(calls.add_policy(proto::AddPolicyRequest { policy: Some(policy) })).await
}

/// Deletes a policy that is not assigned, and such of its statements as no other policy has.
pub(super) async fn delete(calls: &mut Calls, name: &str) -> Result<(), Failure> {
    let policy = proto::Policy { name: name.to_owned(), ..Default::default() };
    done(calls.delete_policy(proto::DeletePolicyRequest { policy: Some(policy), all: true })).await
}

/// The names of all statements: those in policies, and those that `gobgp policy del` leaves behind.
pub(super) async fn statements(calls: &mut Calls) -> Result<BTreeSet<String>, Failure> {
    let mut found = BTreeSet::new();
    each(calls.list_statement(proto::ListStatementRequest::default()), |answer| {
        found.extend(answer.statement.map(|statement| statement.name));
    })
    .await?;
    Ok(found)
}

/// Deletes a statement that no policy has.
pub(super) async fn delete_statement(calls: &mut Calls, name: &str) -> Result<(), Failure> {
    let statement = proto::Statement { name: name.to_owned(), ..Default::default() };
    done(calls.delete_statement(proto::DeleteStatementRequest { statement: Some(statement), all: true })).await
}

/// All sets of neighbours, by name.
pub(super) async fn sets(calls: &mut Calls) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let request =
        proto::ListDefinedSetRequest { defined_type: proto::DefinedType::Neighbor.into(), name: String::new() };
    let mut found = BTreeMap::new();
    each(calls.list_defined_set(request), |answer| {
        found.extend(answer.defined_set.map(|set| (set.name, set.list)));
    })
    .await?;
    Ok(found)
}

/// Adds these to a set of neighbours, which need not be there yet.
pub(super) async fn add_to_set(calls: &mut Calls, name: &str, list: Vec<String>) -> Result<(), Failure> {
    done(calls.add_defined_set(proto::AddDefinedSetRequest { defined_set: Some(set(name, list)) })).await
}

/// Takes these out of a set of neighbours.
pub(super) async fn remove_from_set(calls: &mut Calls, name: &str, list: Vec<String>) -> Result<(), Failure> {
    let request = proto::DeleteDefinedSetRequest { defined_set: Some(set(name, list)), all: false };
    done(calls.delete_defined_set(request)).await
}

/// Deletes a set of neighbours that no policy uses.
pub(super) async fn delete_set(calls: &mut Calls, name: &str) -> Result<(), Failure> {
    let request = proto::DeleteDefinedSetRequest { defined_set: Some(set(name, Vec::new())), all: true };
    done(calls.delete_defined_set(request)).await
}

/// The condition that a neighbour is in this set.
pub(super) fn in_set(name: &str) -> proto::MatchSet {
    proto::MatchSet { r#type: proto::match_set::Type::Any.into(), name: name.to_owned() }
}

/// A statement as it was written. GoBGP 3.10 reads back a condition on RPKI that was not given as -1.
pub(super) fn as_written(mut statement: proto::Statement) -> proto::Statement {
    if let Some(conditions) = &mut statement.conditions {
        conditions.rpki_result = conditions.rpki_result.max(0);
    }
    statement
}

fn set(name: &str, list: Vec<String>) -> proto::DefinedSet {
    proto::DefinedSet { defined_type: proto::DefinedType::Neighbor.into(), name: name.to_owned(), list }
}
