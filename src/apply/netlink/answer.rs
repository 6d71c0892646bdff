//! Matching answers to the requests of a batch, by sequence number.

use rustix::io::Errno;

use super::{Attributes, KIND_DONE, KIND_ERROR, LOWEST_KIND, Messages};

/// How one request of a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was done.
    Done,
    /// The kernel answered with an error.
    Failed(Errno),
    /// Its answer was lost: it may or may not have been done.
    Unknown,
}

/// What is known of a batch whose answers are coming in.
#[derive(Debug)]
pub(super) struct Answers {
    first: u32,
    verdicts: Vec<Option<Verdict>>,
    lost: bool,
    interrupted: bool,
}

impl Answers {
    /// Answers to `count` requests that are numbered upwards from `first`.
    pub(super) fn new(first: u32, count: usize) -> Answers {
        Answers { first, verdicts: vec![None; count], lost: false, interrupted: false }
    }

    /// Takes in a datagram, and hands the attributes of each object in it to `object`. What answers other requests is
    /// passed over: it is left from a batch that was given up.
    pub(super) fn take(&mut self, datagram: &[u8], object: &mut dyn FnMut(Attributes<'_>)) {
        for message in Messages::new(datagram) {
            let Ok(message) = message else {
                self.lost = true;
                return;
            };
            let index = message.sequence.wrapping_sub(self.first) as usize;
            let Some(verdict) = self.verdicts.get_mut(index) else { continue };
            self.interrupted |= message.interrupted();
            match message.kind {
                KIND_ERROR | KIND_DONE => {
                    *verdict = Some(message.status().map_or_else(Verdict::Failed, |()| Verdict::Done))
                }
                LOWEST_KIND.. => object(message.attributes()),
                _ => {}
            }
        }
    }

    /// Notes that the kernel dropped answers.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    /// Did it all come in? The kernel answers in order, so the last answer ends the batch.
    pub(super) fn complete(&self) -> bool {
        !self.lost && self.verdicts.last().is_none_or(Option::is_some)
    }

    /// Did what was dumped change meanwhile?
    pub(super) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// How each request ended. No answer means that it was done, but only where none can have been lost.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let silent = if self.complete() { Verdict::Done } else { Verdict::Unknown };
        self.verdicts.iter().map(|verdict| verdict.unwrap_or(silent)).collect()
    }
}
