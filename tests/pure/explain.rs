//! An explanation is given with what is read for it; but it does not wait for ever.

use std::time::Duration;

use vipcast::plan::explain::LinkKind;
use vipcast::plan::{Answer, Change, Outcome, Report, Step};

use crate::support::build::{dual_stack, endpoint, service, tcp, web};
use crate::support::rig::Rig;

fn serving() -> Rig {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    rig.node.connections.entry(tcp("10.96.0.10", 80)).or_default().set(endpoint("10.244.1.2", 8080), 7);
    rig
}

/// Asks under the number 9, and answers with the readings that are wanted for it.
fn ask(rig: &mut Rig, of: &str) -> (Vec<Step>, Vec<Answer>) {
    rig.change(Change::Explain(9, of.parse().unwrap()));
    let plan = rig.planner.plan(rig.now);
    (plan.steps, plan.answers)
}

fn connections(answer: &Answer) -> Vec<Option<u64>> {
    let explanation = answer.explanation.as_ref().unwrap();
    let destinations = explanation.links.iter().filter(|link| link.weight.is_some());
    destinations.map(|link| link.connections).collect()
}

#[test]
fn an_explanation_waits_until_its_virtual_servers_are_read() {
    let mut rig = serving();
    let (steps, answers) = ask(&mut rig, "10.96.0.10");
    assert_eq!(steps, [Step::ReadServer(tcp("10.96.0.10", 80))]);
    assert_eq!(answers, []);
    let outcome = rig.node.perform_one(&steps[0]);
    rig.change(Change::Report(Report { step: steps[0].clone(), outcome }));
    let answers = rig.planner.plan(rig.now).answers;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].ticket, 9);
    assert_eq!(connections(&answers[0]), [Some(7), Some(0)]);
    assert_eq!(answers[0].explanation.as_ref().unwrap().remarks, Vec::<String>::new());
    assert_eq!(rig.planner.plan(rig.now).answers, [], "it is given once");
    assert_eq!(rig.steps(), Vec::<String>::new(), "looking changes nothing");
}

#[test]
fn a_kernel_that_does_not_answer_makes_an_old_explanation_that_says_so() {
    let mut rig = serving();
    rig.change(Change::Explain(9, "10.96.0.10".parse().unwrap()));
    let plan = rig.planner.plan(rig.now);
    let late = rig.now + Duration::from_secs(2);
    assert_eq!(plan.wake_at, Some(late));
    assert_eq!(rig.planner.plan(late).answers.len(), 1);
    let (_, answers) = ask(&mut rig, "10.96.0.10");
    assert_eq!(answers, [], "the reading is still under way");
    rig.now = late + Duration::from_secs(2);
    let answers = rig.planner.plan(rig.now).answers;
    let explanation = answers[0].explanation.as_ref().unwrap();
    assert!(explanation.remarks[0].contains("did not answer within 2 s"), "{:?}", explanation.remarks);
    assert_eq!(connections(&answers[0]), [None, None]);
}

#[test]
fn a_virtual_server_that_cannot_be_read_is_named() {
    let mut rig = serving();
    let (steps, _) = ask(&mut rig, "10.96.0.10");
    let outcome = Outcome::Refused("not permitted".into());
    rig.change(Change::Report(Report { step: steps[0].clone(), outcome }));
    let answers = rig.planner.plan(rig.now).answers;
    let explanation = answers[0].explanation.as_ref().unwrap();
    assert_eq!(explanation.remarks, ["cannot read virtual server 10.96.0.10:80 TCP: not permitted"]);
}

/// The kernel has no part in what gobgpd refuses.
#[test]
fn a_route_that_gobgpd_refuses_is_mended_at_gobgpd() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web());
    for _ in 0..20 {
        for step in rig.planner.plan(rig.now).steps {
            let outcome = match &step {
                Step::Announce(..) => Outcome::Refused("one of its import policies rejects it".into()),
                _ => rig.node.perform_one(&step),
            };
            rig.change(Change::Report(Report { step, outcome }));
        }
    }
    rig.change(Change::Explain(9, "10.96.0.10".parse().unwrap()));
    let answers = rig.planner.plan(rig.now + Duration::from_secs(2)).answers;
    let links = &answers[0].explanation.as_ref().unwrap().links;
    let link = links.iter().find(|link| link.kind == LinkKind::Announcement).unwrap();
    let (reason, fix) = (link.reason.as_deref().unwrap_or_default(), link.fix.as_deref().unwrap_or_default());
    assert!(reason.starts_with("one of its import policies rejects it (tried"), "{link:?}");
    assert!(fix.contains("`gobgp global policy`") && !fix.contains("kernel"), "{link:?}");
}

#[test]
fn what_has_no_virtual_server_or_is_unknown_is_answered_at_once() {
    let mut rig = serving();
    rig.tell(service("bare", &["10.96.0.11"], &[])).run();
    let (steps, answers) = ask(&mut rig, "shop/bare");
    assert_eq!((steps.len(), answers.len()), (0, 1));
    let (steps, answers) = ask(&mut rig, "shop/nothing");
    assert_eq!(steps, []);
    assert!(answers[0].explanation.is_err());
}
