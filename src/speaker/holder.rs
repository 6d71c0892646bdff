//! Does to BGP sessions what [`super::reach`] says of them, one after the other, and again where gobgpd did not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::apply::bgp::{Endpoint, Speaker};
use crate::model::bgp::PeerName;

/// The pause before something is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Holds the BGP sessions that `wanted` names, and releases the others of those that were `held` before, for ever.
pub(super) async fn hold(
    endpoint: Endpoint,
    mut held: BTreeSet<PeerName>,
    mut wanted: watch::Receiver<BTreeMap<PeerName, String>>,
) {
    let mut gobgpd = Speaker::new(endpoint);
    let mut said: Option<String> = None;
    loop {
        let names = wanted.borrow_and_update().clone();
        let mut problem = None;
        for (peer, why) in &names {
            if held.contains(peer) {
                continue;
            }
            match gobgpd.hold(peer, why).await {
                Ok(()) => {
                    warn!(%peer, "BGP session ended and held down: {why}");
                    held.insert(peer.clone());
                }
                Err(error) => problem = Some(error),
            }
        }
        for peer in held.clone().iter().filter(|peer| !names.contains_key(peer)) {
            match gobgpd.release(peer).await {
                Ok(()) => {
                    info!(%peer, "BGP session released");
                    held.remove(peer);
                }
                Err(error) => problem = Some(error),
            }
        }
        // Said once, not on every attempt.
        if let Some(problem) = problem.as_ref().filter(|problem| said.as_ref() != Some(problem)) {
            warn!("{problem}; trying again");
        }
        let is_done = problem.is_none();
        said = problem;
        let changed = async {
            // The keeper lives as long as the speaker.
            if wanted.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(RETRY), if !is_done => {}
        }
    }
}
