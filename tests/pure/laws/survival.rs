//! Forward first, announce after; a pass over unchanged input does nothing; death is harmless; faults pass.

use proptest::collection::vec;
use proptest::prelude::*;
use vipcast::model::settings::Announce;
use vipcast::model::{Event, Kind, Object, Prefix};
use vipcast::plan::change::Leave;
use vipcast::plan::{Change, Step};

use super::{any_gobgpd, cases, with_exclusive};
use crate::support::build::{range, reference, selector, service, settings, slice, tcp};
use crate::support::sim::{Act, Meddling, Side, Sim, any_act, any_calm_act};
use crate::support::watchman::FOREIGN;
use crate::support::world::{Happening, Setup, World, any_world};

/// A run: where it begins and what happens, the first complete list being told somewhere on the way.
#[derive(Debug, Clone)]
struct Run {
    setup: Setup,
    world: World,
    before: Vec<Act>,
    after: Vec<Act>,
}

fn any_run(act: impl Strategy<Value = Act> + 'static) -> impl Strategy<Value = Run> {
    let act = act.boxed();
    (any_gobgpd(), any_world(), vec(act.clone(), 0..10), vec(act, 10..90))
        .prop_map(|(setup, world, before, after)| Run { setup, world, before, after })
}

impl Run {
    /// Lets it happen, the watchman looking on.
    fn go(self) -> Sim {
        let mut sim = Sim::new(self.setup.0);
        sim.world = self.world;
        self.before.into_iter().for_each(|act| go_on(&mut sim, act));
        sim.list();
        self.after.into_iter().for_each(|act| go_on(&mut sim, act));
        sim
    }
}

/// Acts; whose gobgpd it is does not change with another agent.
fn go_on(sim: &mut Sim, act: Act) {
    let exclusive = sim.settings.bgp.as_ref().is_some_and(|bgp| bgp.exclusive);
    sim.act(match act {
        Act::Kill(setup) => Act::Kill(Box::new(with_exclusive(*setup, exclusive))),
        act => act,
    });
}

fn writes(steps: &[Step]) -> Vec<String> {
    steps.iter().filter(|step| !step.is_read()).map(Step::to_string).collect()
}

/// The writing steps of a new agent on this node until it rests.
fn writes_of_a_restart(sim: &Sim) -> Vec<String> {
    let mut again = sim.successor(sim.world.clone());
    again.list();
    again.settle();
    assert_eq!(again.node.model.state, sim.node.model.state);
    again.writes
}

/// Somebody replaces a virtual server that is on its way out, and a client connects to what he made between the last reading
/// and the end: nobody can know of that connection.
#[test]
fn what_somebody_makes_of_a_virtual_server_that_goes_may_end_with_it() {
    let mut sim = Sim::new(settings(&[range("10.96.0.0/16", Announce::None)]));
    let objects = [service("s0", &["10.96.0.1"], &[("", 80)]), slice("e0", "s0", &[("", 8080)], &["10.244.1.2"])];
    for object in objects {
        if let Event::Put(object) = object {
            sim.world.happen(Happening::Put(object));
        }
    }
    sim.list();
    let acts = [
        Act::Turn,
        Act::Happen(Happening::Gone(reference(Kind::Service, "shop/s0"))),
        Act::Meddle(Meddling::AddServer),
        Act::Plan,
        Act::Perform(Side::Kernel, 1),
        Act::Connect(0, 101),
        Act::Turn,
        Act::Sleep,
        Act::Plan,
        Act::Plan,
    ];
    acts.into_iter().for_each(|act| sim.act(act));
    assert!(sim.node.model.state.ipvs.contains_key(&tcp("10.96.0.1", 80)), "it was to be there until now");
    sim.settle();
    assert!(!sim.node.model.state.ipvs.contains_key(&tcp("10.96.0.1", 80)));
}

proptest! {
    #![proptest_config(cases(300))]

    /// Whatever fails, is meddled with or dies: the watchman finds no step out of order, and once it is over, the node
    /// comes to hold what the cluster asks for. Then nothing is left to do, for this agent and for the next one.
    #[test]
    fn every_run_keeps_order_and_arrives(run in any_run(any_act())) {
        let mut sim = run.go();
        sim.heal();
        sim.recover();
        sim.settle();
        sim.assert_converged();
        prop_assert_eq!(writes(&sim.plan()), Vec::<String>::new());
        let before = sim.node.model.state.clone();
        sim.now = sim.planner.next_resync();
        sim.settle();
        prop_assert_eq!(&sim.node.model.state, &before, "a resync changes nothing");
        prop_assert_eq!(writes_of_a_restart(&sim), Vec::<String>::new());
    }

    /// Without faults the same, and no step fails.
    #[test]
    fn a_calm_run_arrives(run in any_run(any_calm_act())) {
        let mut sim = run.go();
        sim.settle();
        sim.recover();
        sim.settle();
        sim.assert_converged();
    }

    /// The agent withdraws and leaves from every state that gobgpd answers in, even while the kernel's executor is
    /// stuck; the data plane stays.
    #[test]
    fn withdrawing_works_in_every_state(run in any_run(any_act())) {
        let mut sim = run.go();
        let delay = sim.settings.withdraw_delay;
        sim.node.speaker_faults.clear();
        if sim.node.silent {
            sim.act(Act::SpeakerUp);
        }
        let servers = sim.node.model.state.ipvs.clone();
        let before = (sim.now, paths(&sim));
        prop_assert!(sim.leave_with_stuck_kernel(Leave::Withdraw), "never finished: {:?}", sim.planner.status());
        prop_assert_eq!(paths(&sim), 0);
        prop_assert!(before.1 == 0 || sim.now.since(before.0) >= delay);
        prop_assert_eq!(&sim.node.model.state.ipvs, &servers);
    }

    /// Leaving without withdrawing is a matter of the moment, whatever is stuck.
    #[test]
    fn leaving_all_as_it_is_waits_for_nobody(run in any_run(any_act())) {
        let mut sim = run.go();
        sim.change(Change::Leave(Leave::Keep));
        let steps = sim.plan();
        prop_assert!(sim.finished);
        prop_assert_eq!(steps, Vec::new());
    }

    /// Whatever happened before, and whatever fails meanwhile: a node that loses its label comes to have nothing of ours,
    /// and one that gets it back has everything. A kill on the way changes nothing of that.
    #[test]
    fn a_label_comes_and_goes(run in any_run(any_act()), between in vec(any_act(), 0..20), killed in any::<bool>()) {
        let mut sim = run.go();
        sim.settings.node_selector = selector("role=lb");
        let settings = sim.settings.clone();
        sim.kill(settings.clone());
        for (label, role) in [("role=worker rack=a", "standing by"), ("role=lb rack=a", "serving")] {
            let flip = sim.world.label(label);
            sim.act(Act::Happen(flip));
            for act in &between {
                let is_node = matches!(act, Act::Happen(Happening::Put(Object::Node(_)) | Happening::Gone(_)));
                if !is_node && !matches!(act, Act::Kill(_)) {
                    sim.act(act.clone());
                }
            }
            if killed {
                sim.kill(settings.clone());
            }
            sim.heal();
            sim.recover();
            sim.settle();
            prop_assert_eq!(sim.planner.status().role, role);
            sim.assert_converged();
        }
    }

    /// `cleanup` leaves nothing of ours, and all of somebody else's.
    #[test]
    fn cleaning_up_removes_all_that_is_ours(run in any_run(any_act())) {
        let mut sim = run.go();
        sim.heal();
        sim.recover();
        sim.settle();
        let mut cleanup = sim.successor(World::default());
        prop_assert!(cleanup.leave(Leave::Remove), "never finished: {:?}", cleanup.planner.status());
        let left = &cleanup.node.model.state;
        prop_assert!(left.ipvs.contains_key(&FOREIGN));
        prop_assert_eq!(&left.addr, &Default::default());
        prop_assert_eq!(&left.nft, &Default::default());
        prop_assert_eq!(paths(&cleanup), 0);
        prop_assert!(left.bgp.as_ref().is_none_or(|bgp| bgp.peers.is_empty()));
    }
}

/// How many paths are out that the agent can know to be its own.
fn paths(sim: &Sim) -> usize {
    let exclusive = sim.settings.bgp.as_ref().is_some_and(|bgp| bgp.exclusive);
    let ranges = sim.settings.cluster_ips.clone().unwrap_or_default();
    let ours = |path: &&Prefix| exclusive || ranges.iter().any(|range| range.prefix.covers(**path));
    sim.node.model.state.bgp.iter().flat_map(|bgp| bgp.paths.keys()).filter(ours).count()
}
