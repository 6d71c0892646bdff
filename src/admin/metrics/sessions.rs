//! Metrics of single peers, taken over from the status.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::plan::status::PeerStatus;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SessionLabels {
    pub(super) peer: String,
}

/// What is known of each peer's session, and of what it was sent.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    flaps: Family<SessionLabels, Counter>,
    since: Family<SessionLabels, Gauge>,
    desired: Family<SessionLabels, Gauge>,
    sent: Family<SessionLabels, Gauge>,
    astray: Family<SessionLabels, Gauge>,
}

impl Sessions {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "How often the session with a peer has ended, since the agent was started";
        registry.register("bgp_session_flaps", help, self.flaps.clone());
        let help = "When the session with a peer was established, in seconds since 1970; absent while it is not";
        registry.register("bgp_session_established_timestamp_seconds", help, self.since.clone());
        registry.register(
            "bgp_prefixes_desired",
            "Routes that a peer should be sent; absent while its session is not established",
            self.desired.clone(),
        );
        let help = "Routes that a peer was sent; absent where that is not known";
        registry.register("bgp_prefixes_sent", help, self.sent.clone());
        let help = "Routes that a peer was not sent as they should be, or should not have been";
        registry.register("bgp_prefixes_astray", help, self.astray.clone());
    }

    pub(super) fn set(&self, peers: &[PeerStatus]) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.flaps.clear();
        for gauges in [&self.since, &self.desired, &self.sent, &self.astray] {
            gauges.clear();
        }
        for peer in peers {
            let labels = SessionLabels { peer: peer.name.clone() };
            // Somebody else counts, so the value is taken over and not added to.
            self.flaps.get_or_create(&labels).inner().store(u64::from(peer.flaps), Ordering::Relaxed);
            let since = peer.since.as_deref().and_then(|since| since.parse::<Timestamp>().ok());
            if let Some(since) = since {
                self.since.get_or_create(&labels).set(since.as_second());
            }
            if let Some(desired) = peer.desired {
                self.desired.get_or_create(&labels).set(number(desired));
            }
            if let Some(sent) = peer.sent {
                self.sent.get_or_create(&labels).set(number(sent));
            }
            self.astray.get_or_create(&labels).set(number(peer.astray.len()));
        }
    }
}
