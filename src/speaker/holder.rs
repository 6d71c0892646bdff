//! Does to BGP sessions what [`super::reach`] says of them, one after the other, and again where gobgpd did not answer.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::{info, warn};

use super::sessions::Sessions;
use crate::apply::bgp::{Endpoint, Speaker};
use crate::model::bgp::PeerName;

/// The pause before something is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// How often it is seen to that what is held is down: another gobgpd knows nothing of it, and the agent may add the peer anew.
const AGAIN: Duration = Duration::from_secs(2);

/// Holds the BGP sessions that `sessions` wants held, and releases the others of those that were `held` before, for ever.
pub(super) async fn hold(endpoint: Endpoint, mut held: BTreeSet<PeerName>, sessions: Sessions) {
    let mut gobgpd = Speaker::new(endpoint);
    let mut wanted = sessions.held();
    let mut said: Option<String> = None;
    // Is what is held to be looked at, too?
    let mut again = true;
    loop {
        let names = wanted.borrow_and_update().clone();
        let mut problem = None;
        for (peer, why) in &names {
            // Written down before it is done, so that whoever comes next releases it.
            if held.insert(peer.clone()) {
                sessions.keep_held(&held);
            } else if !again {
                continue;
            }
            match gobgpd.hold(peer, why).await {
                Ok(true) => warn!(%peer, "BGP session ended and held down: {why}"),
                Ok(false) => {}
                Err(error) => problem = Some(error),
            }
        }
        for peer in held.clone().iter().filter(|peer| !names.contains_key(peer)) {
            match gobgpd.release(peer).await {
                Ok(()) => {
                    info!(%peer, "BGP session released");
                    held.remove(peer);
                    sessions.keep_held(&held);
                }
                Err(error) => problem = Some(error),
            }
        }
        // Said once, not on every attempt.
        if let Some(problem) = problem.as_ref().filter(|problem| said.as_ref() != Some(problem)) {
            warn!("{problem}; trying again");
        }
        let pause = if problem.is_some() { Some(RETRY) } else { (!names.is_empty()).then_some(AGAIN) };
        said = problem;
        let changed = async {
            // The keeper lives as long as the speaker.
            if wanted.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        again = tokio::select! {
            () = changed => said.is_some(),
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => true,
        };
    }
}
