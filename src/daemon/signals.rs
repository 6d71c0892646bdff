//! Signals: the first one ends the agent in the way that its Node asks for, the second one at once.

use std::future::pending;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Sender;
use tracing::{error, info, warn};

use crate::model::{Event, Kind, Object, ObjectRef};
use crate::plan::Change;
use crate::plan::change::Leave;
use crate::watch::kubernetes::NodeReader;

/// SIGTERM and SIGINT, kept from the moment on in which this was made until somebody asks for them.
pub(super) struct Signals([Signal; 2]);

impl Signals {
    pub(super) fn new() -> std::io::Result<Signals> {
        Ok(Signals([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]))
    }

    async fn next(&mut self) {
        let [terminate, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Waits for a signal, has the Node read once more where a `reader` is given, and tells the loop to end, with what
/// `configured` says for a node that is an LB node. A second signal ends the process, whatever is left to do.
pub(super) async fn obey(mut signals: Signals, reader: Option<NodeReader>, configured: Leave, changes: Sender<Change>) {
    signals.next().await;
    info!("told to end");
    let leave = async {
        let news = match reader {
            Some(reader) => reread(&reader).await,
            None => None,
        };
        for change in news.map(Change::Source).into_iter().chain([Change::End(configured)]) {
            // A loop that does not listen any more has ended already.
            let _ = changes.send(change).await;
        }
        pending::<()>().await;
    };
    tokio::select! {
        () = leave => {}
        () = signals.next() => {}
    }
    error!("second signal: leaving at once, whatever is left to do");
    std::process::exit(1);
}

/// What the Node is now. If that cannot be learnt, what was last known of it counts.
async fn reread(reader: &NodeReader) -> Option<Event> {
    match reader.read().await {
        Ok(Some(node)) => Some(Event::Put(Object::Node(node))),
        Ok(None) => Some(Event::Gone(ObjectRef { kind: Kind::Node, name: Arc::from("") })),
        Err(problem) => {
            warn!("{problem}; what was last known of the Node decides");
            None
        }
    }
}
