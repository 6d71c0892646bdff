//! What one watch's requests pass through: it paces them, and knows when the watch works again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::{Request, Response};
use kube::client::Body;
use tokio::time::{Instant, sleep_until};

use super::servers::{Servers, Unreachable, is_watch};

/// The least time between two watches of a kind. A server, or something before it, that ends each watch as soon as it
/// began must not be asked without end; kube's watcher does so, since it takes the end of a watch as nothing unusual.
const PACE: Duration = Duration::from_millis(500);

/// How many watches in a row may end at once before that is trouble.
const SHORT_WATCHES: u32 = 4;

/// A watch that began counts as working after this time without another one.
const STEADY: Duration = Duration::from_secs(2);

/// The gate of one watch.
#[derive(Debug)]
pub(super) struct Gate {
    servers: Arc<Servers>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the last watch began.
    began: Option<Instant>,
    /// How many watches in a row ended at once.
    short: u32,
    /// The last watch was granted.
    granted: bool,
}

impl Gate {
    pub(super) fn new(servers: Arc<Servers>) -> Gate {
        Gate { servers, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request to an API server.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Unreachable> {
        if !is_watch(&request) {
            self.state().granted = false;
            return self.servers.send(request).await;
        }
        self.pace().await?;
        let answer = self.servers.send(request).await;
        let mut state = self.state();
        state.began = Some(Instant::now());
        state.granted = answer.as_ref().is_ok_and(|response| response.status().is_success());
        answer
    }

    /// Waits until the next watch may begin.
    async fn pace(&self) -> Result<(), Unreachable> {
        let began = {
            let mut state = self.state();
            let Some(began) = state.began.filter(|_| state.granted) else { return Ok(()) };
            state.granted = false;
            state.short = if began.elapsed() < STEADY { state.short + 1 } else { 0 };
            if state.short >= SHORT_WATCHES {
                state.short = 0;
                return Err(Unreachable::Fickle);
            }
            began
        };
        sleep_until(began + PACE).await;
        Ok(())
    }

    /// Waits until a watch works.
    pub(super) async fn steady(&self) {
        loop {
            let due = {
                let state = self.state();
                let now = Instant::now();
                match state.began.filter(|_| state.granted) {
                    Some(began) if now >= began + STEADY => return,
                    Some(began) => began + STEADY,
                    None => now + STEADY,
                }
            };
            sleep_until(due).await;
        }
    }
}
