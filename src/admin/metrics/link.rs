//! Metrics of the announcement lease and of BFD sessions, taken over from the status.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::sessions::SessionLabels;
use crate::plan::Status;

/// The states that the lease can have.
const STATES: [&str; 5] = ["unknown", "held", "static", "lapsed", "lost"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

/// What is known of the speaker.
#[derive(Debug, Default)]
pub(super) struct Link {
    lease: Family<StateLabels, Gauge>,
    bfd_up: Family<SessionLabels, Gauge>,
    bfd_flaps: Family<SessionLabels, Counter>,
}

impl Link {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "The announcement lease: 1 for the state that it is in; static, lapsed and lost are alarms";
        registry.register("lease", help, self.lease.clone());
        let help =
            "1 while the BFD session with a peer is up and believed; absent while this node holds it down on purpose";
        registry.register("bfd_session_up", help, self.bfd_up.clone());
        let help = "How often the BFD session with a peer has gone down, since the speaker was started";
        registry.register("bfd_session_flaps", help, self.bfd_flaps.clone());
    }

    pub(super) fn set(&self, status: &Status) {
        let found = status.lease.as_ref().map_or("unknown", |lease| &lease.state);
        for state in STATES {
            self.lease.get_or_create(&StateLabels { state }).set(i64::from(state == found));
        }
        self.bfd_up.clear();
        self.bfd_flaps.clear();
        for session in &status.bfd {
            let labels = SessionLabels { peer: session.peer.clone() };
            if !session.is_held_down() {
                self.bfd_up.get_or_create(&labels).set(i64::from(session.is_up()));
            }
            // The speaker counts, so the value is taken over and not added to.
            self.bfd_flaps.get_or_create(&labels).inner().store(u64::from(session.flaps), Ordering::Relaxed);
        }
    }
}
