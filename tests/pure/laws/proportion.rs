//! Work is proportional to the change, not to the cluster. Counted, never timed.

use vipcast::model::Settings;
use vipcast::plan::Change;

use crate::support::build::{dual_stack, host_routes, service, slice};
use crate::support::rig::Rig;

fn vip(n: usize) -> String {
    format!("10.96.{}.{}", n / 250, n % 250 + 1)
}

/// A node that serves `count` Services, at rest.
fn serving(settings: Settings, count: usize) -> Rig {
    let mut rig = Rig::new(settings);
    let objects = (0..count).flat_map(|n| {
        let name = format!("s{n}");
        let pods = [format!("10.244.{}.{}", n / 250, n % 250 + 1), format!("10.245.{}.{}", n / 250, n % 250 + 1)];
        [service(&name, &[&vip(n)], &[("http", 80)]), slice(&name, &name, &[("http", 8080)], &[&pods[0], &pods[1]])]
    });
    rig.list(objects).run();
    assert_eq!(rig.node.state.ipvs.len(), count);
    rig
}

/// All steps, reading ones too, and passes until nothing is left to do.
fn work(rig: &mut Rig) -> (Vec<String>, usize) {
    let mut steps = Vec::new();
    for passes in 1.. {
        let plan = rig.planner.plan(rig.now);
        if plan.steps.is_empty() {
            return (steps, passes);
        }
        for step in plan.steps {
            let outcome = rig.node.perform_one(&step);
            steps.push(step.to_string());
            rig.change(Change::Report(vipcast::plan::Report { step, outcome }));
        }
    }
    unreachable!("passes without end")
}

#[test]
fn one_endpoint_costs_the_same_among_few_and_many() {
    for settings in [dual_stack(), host_routes()] {
        let [few, many] = [100, 5000].map(|count| {
            let mut rig = serving(settings.clone(), count);
            rig.tell(slice("s7", "s7", &[("http", 8080)], &["10.244.0.8", "10.246.0.1"]));
            let change = work(&mut rig);
            rig.tell(slice("s7", "s7", &[("http", 8080)], &[]));
            let end = work(&mut rig);
            rig.tell(service("new", &["10.96.200.1"], &[("http", 80)]));
            rig.tell(slice("new", "new", &[("http", 8080)], &["10.246.0.2"]));
            (change, end, work(&mut rig))
        });
        assert_eq!(few.0.0.len(), 4, "one destination added; one gets weight 0, is read and deleted: {:?}", few.0);
        assert_eq!(few, many);
    }
}

#[test]
fn an_event_that_changes_nothing_costs_nothing() {
    let mut rig = serving(dual_stack(), 100);
    rig.tell(service("s7", &[&vip(7)], &[("http", 80)]));
    assert_eq!(work(&mut rig), (Vec::new(), 1));
}
