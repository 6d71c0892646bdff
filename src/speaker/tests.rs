//! What whoever looks after gobgpd does with words that come when none runs.

use super::*;

/// Nobody waits for ever for a gobgpd that cannot be started, and a word about a dead one is not kept for the next.
#[tokio::test]
async fn a_restart_that_cannot_be_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let socket = socket(folder.path());
    let program = Program::new(&folder.path().join("no-gobgpd"), folder.path());
    let (end, words) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel::<()>();
    let looking_after = async {
        supervise(&program, &socket, words, async { drop(stopped.await) }).await;
    };
    let asking = async {
        for _ in 0..3 {
            end.send(Word::Kill).await.unwrap();
            let (done, is_done) = oneshot::channel();
            end.send(Word::Restart { graceful: true, done }).await.unwrap();
            assert!(is_done.await.is_err());
        }
        stop.send(()).unwrap();
    };
    // Both end, or the test hangs: a bound for that.
    let both = futures::future::join(looking_after, asking);
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("nobody waits for ever");
}
