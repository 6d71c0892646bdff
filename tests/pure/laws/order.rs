//! What a node comes to hold is decided by the objects that are there, not by the order in which they were told.

use proptest::collection::vec;
use proptest::prelude::*;
use vipcast::model::Object;

use super::{any_gobgpd, cases};
use crate::support::sim::{Act, Sim};
use crate::support::world::{Happening, any_happening, any_world};

/// The same objects, in two orders.
fn any_two_orders() -> impl Strategy<Value = (Vec<Object>, Vec<Object>)> {
    any_world().prop_flat_map(|world| {
        let objects: Vec<Object> = world.objects.into_values().collect();
        (Just(objects.clone()), Just(objects).prop_shuffle())
    })
}

/// Something happens, then `objects` come to be there in this order, and nothing else; passes in between.
fn told(sim: &mut Sim, happenings: Vec<Happening>, objects: &[Object], list_first: bool) {
    if list_first {
        sim.list();
    }
    for (n, happening) in happenings.into_iter().enumerate() {
        sim.act(Act::Happen(happening));
        sim.act(if n % 3 == 0 { Act::Turn } else { Act::Plan });
    }
    let names: Vec<_> = sim.world.objects.keys().cloned().collect();
    for name in names.into_iter().filter(|name| objects.iter().all(|object| object.reference() != *name)) {
        sim.act(Act::Happen(Happening::Gone(name)));
    }
    for object in objects {
        sim.act(Act::Happen(Happening::Put(object.clone())));
        sim.act(Act::Plan);
    }
    sim.recover();
    sim.settle();
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn the_order_of_input_does_not_matter(
        setup in any_gobgpd(),
        happenings in (vec(any_happening(), 0..30), vec(any_happening(), 0..30)),
        objects in any_two_orders(),
        list_first in any::<(bool, bool)>(),
    ) {
        let mut left = Sim::new(setup.0.clone());
        told(&mut left, happenings.0, &objects.0, list_first.0);
        let mut right = Sim::new(setup.0);
        told(&mut right, happenings.1, &objects.1, list_first.1);
        left.assert_converged();
        right.assert_converged();
        // What is left of gobgpd's identity on a node that does not serve depends on whether it ever did.
        if [&left, &right].iter().all(|sim| sim.planner.status().role == "serving") {
            prop_assert_eq!(&left.node.model.state.bgp, &right.node.model.state.bgp);
        }
    }
}
