//! A process that is held by a file descriptor, so that its ID cannot come to mean another one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use tokio::sync::oneshot;

/// A process, anybody's child.
pub(super) struct Process {
    pid: Pid,
    handle: OwnedFd,
    end: Option<oneshot::Receiver<()>>,
}

impl Process {
    /// The process that has this ID now.
    pub(super) fn open(pid: Pid) -> io::Result<Process> {
        Ok(Process { pid, handle: pidfd_open(pid, PidfdFlags::empty())?, end: None })
    }

    /// Its ID.
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends it a signal; it is no failure if it has ended.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it ends: in a thread, which ends with it.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        let end = match &mut self.end {
            Some(end) => end,
            none => {
                let handle = self.handle.try_clone()?;
                let (tell, end) = oneshot::channel();
                std::thread::Builder::new().name(format!("wait {}", self.pid)).spawn(move || {
                    let mut wanted = [PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)];
                    let _ = retry_on_intr(|| poll(&mut wanted, None));
                    let _ = tell.send(());
                })?;
                none.insert(end)
            }
        };
        let _ = end.await;
        Ok(())
    }

    /// Forgets it once it has ended, if it is a child of this process that nobody else waits for.
    pub(super) fn reap(&self) {
        // Somebody else's child is theirs.
        let _ = waitid(WaitId::PidFd(self.handle.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}
