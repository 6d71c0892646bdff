//! Metrics of a node that leaves, taken over from the status.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::plan::away::Phase;
use crate::plan::status::DrainStatus;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

/// How far the node is on its way out, or back.
#[derive(Debug, Default)]
pub(super) struct Departure {
    phase: Family<PhaseLabels, Gauge>,
    new: Gauge,
    open: Gauge,
}

impl Departure {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "How far the node is on its way out, or back: 1 for the phase that it is in";
        registry.register("drain_phase", help, self.phase.clone());
        let help = "Connections that came since the routes of a node that is drained began to go";
        registry.register("drain_new_connections", help, self.new.clone());
        registry.register("drain_open_connections", "Open connections of a node that is drained", self.open.clone());
    }

    pub(super) fn set(&self, drain: &DrainStatus) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for phase in Phase::ALL {
            let is_so = phase.name() == drain.phase;
            self.phase.get_or_create(&PhaseLabels { phase: phase.name() }).set(i64::from(is_so));
        }
        self.new.set(number(drain.new_connections));
        self.open.set(number(drain.open_connections.unwrap_or_default()));
    }
}
