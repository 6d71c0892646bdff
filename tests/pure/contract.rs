//! Names that others rely on are listed in the README: metrics, and the fields of what is printed as JSON.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use vipcast::admin::metrics::Metrics;
use vipcast::plan::audit::Repairs;
use vipcast::plan::capacity::{ConntrackStatus, SnatStatus};
use vipcast::plan::rehearse::ask;
use vipcast::plan::status::{
    AstrayStatus, BfdSessionStatus, BgpStatus, BrakeStatus, FailureStatus, ForeignRouteStatus, LeaseStatus, PeerStatus,
    Problem, ProofStatus, RangeStatus, RouteKind, RouteStatus, SysctlStatus, TimeoutsStatus,
};
use vipcast::plan::{Explanation, Status};

use crate::support::build::{dual_stack, web};
use crate::support::rig::Rig;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The paths of all fields of a document, with `[]` for the elements of a list.
fn paths(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let dot = if prefix.is_empty() { "" } else { "." };
                paths(field, &format!("{prefix}{dot}{name}"), found);
            }
        }
        Value::Array(elements) if elements.iter().any(Value::is_object) => {
            elements.iter().for_each(|element| paths(element, &format!("{prefix}[]"), found));
        }
        _ => {
            found.insert(prefix.to_owned());
        }
    }
}

/// A status that has something of everything.
fn status() -> Status {
    let text = String::new;
    let problem = || Problem { subject: text(), problem: text() };
    let mut status = Status::default();
    status.source.bad_objects.push(problem());
    status.source.troubles.push(problem());
    status.services.problems.push(problem());
    status.ranges.push(RangeStatus { prefix: text(), announce: text(), routes: 0, problem: None });
    status.sysctls.push(SysctlStatus { name: text(), found: None, now: None, wanted: text() });
    status.failures.push(FailureStatus { what: text(), reason: text(), count: 0 });
    status.proof.push(ProofStatus::default());
    status.brake = Some(BrakeStatus::default());
    status.ipvs.timeouts = Some(TimeoutsStatus { tcp: 0, tcp_fin: 0, udp: 0 });
    status.capacity.snat = Some(SnatStatus { endpoint: text(), connections: 0, ports: 1 });
    status.capacity.conntrack = Some(ConntrackStatus { entries: 0, limit: 0, insert_failed: None });
    let route = RouteStatus {
        prefix: text(),
        kind: RouteKind::Host,
        services: Vec::new(),
        next_hop: text(),
        prepend: 0,
        communities: Vec::new(),
        large_communities: Vec::new(),
        med: None,
        local_pref: None,
    };
    status.lease = Some(LeaseStatus::default());
    status.bfd = vec![BfdSessionStatus::default()];
    status.bgp = Some(BgpStatus {
        flavour: Some(text()),
        repairs: Repairs::default().by_kind().map(|(kind, count)| (kind.to_owned(), count)).into(),
        peers: vec![PeerStatus {
            since: Some("2026-01-01T00:00:00Z".into()),
            desired: Some(0),
            sent: Some(0),
            astray: vec![AstrayStatus { prefix: text(), problem: text() }],
            ..PeerStatus::default()
        }],
        routes: vec![route],
        foreign_routes: vec![ForeignRouteStatus { prefix: text(), next_hop: text() }],
        ..BgpStatus::default()
    });
    status
}

/// An explanation that has something of everything.
fn explanation() -> Explanation {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    ask(&mut rig.planner, &mut rig.node, "shop/web".parse().unwrap(), rig.now).unwrap()
}

#[test]
fn the_fields_of_the_status_and_of_an_explanation_are_listed_in_the_readme() {
    the_readme_lists("status", &serde_json::to_value(status()).unwrap());
    the_readme_lists("explain", &serde_json::to_value(explanation()).unwrap());
}

/// Its block of this name holds the fields of `document`.
fn the_readme_lists(name: &str, document: &Value) {
    let mut found = BTreeSet::new();
    paths(document, "", &mut found);
    let readme = readme();
    let start = format!("```{name}\n");
    let listed = readme.split(&start).nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let listed: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
    assert_eq!(found, listed, "the README should list:\n{}", found.iter().cloned().collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_metric_is_in_the_readme_and_nothing_else() {
    let metrics = Metrics::default();
    metrics.session(&"10.0.1.1".parse().unwrap(), true);
    let text = metrics.render(&status()).unwrap();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let families: BTreeSet<&str> = families.filter_map(|name| name.strip_prefix("vipcast_")).collect();
    let readme = readme();
    let section = readme.split("## Metrics").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let names = cells.flat_map(|cell| cell.split(['`', ',', ' '])).filter(|name| !name.is_empty());
    let listed: BTreeSet<&str> = names.map(|name| name.strip_suffix("_total").unwrap_or(name)).collect();
    assert_eq!(families, listed);
}
