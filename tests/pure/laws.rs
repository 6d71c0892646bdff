//! The laws of the design, each as a property of the planner against a node that can fail.

mod order;
mod proportion;
mod separation;
mod settings;
mod survival;

use proptest::prelude::*;

use crate::support::world::{Setup, any_setup};

/// So many cases; more are run with `PROPTEST_CASES`.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    let more = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    ProptestConfig {
        cases: count.max(more),
        max_shrink_iters: 4096,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Settings with a gobgpd of our own, or one shared with others.
fn any_gobgpd() -> impl Strategy<Value = Setup> {
    (any_setup(), any::<bool>()).prop_map(|(setup, exclusive)| with_exclusive(setup, exclusive))
}

fn with_exclusive(Setup(mut settings): Setup, exclusive: bool) -> Setup {
    if let Some(bgp) = &mut settings.bgp {
        bgp.exclusive = exclusive;
    }
    Setup(settings)
}
