//! What gobgpd is believed to hold, so that news of our own doing can be told from news of somebody else's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::Prefix;
use crate::model::bgp::Path;

/// The local paths that gobgpd is believed to hold. The executor writes it, the sensor compares gobgpd's events with
/// it; both hold a clone of the same one.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Belief>>);

#[derive(Debug)]
enum Belief {
    /// gobgpd has to be read; was it said already?
    Unknown { said: bool },
    /// These.
    Known(BTreeMap<Prefix, Path>),
}

impl Default for Belief {
    fn default() -> Belief {
        Belief::Unknown { said: false }
    }
}

impl Ledger {
    /// Nothing is believed any more: gobgpd is about to be read, or what it was asked may or may not have been done.
    pub(crate) fn forget(&self) {
        self.with(|belief| *belief = Belief::default());
    }

    /// This is what was read.
    pub(crate) fn learn(&self, paths: &BTreeMap<Prefix, Path>) {
        self.with(|belief| {
            // An event that came while gobgpd was read may or may not be in what was read.
            if !matches!(belief, Belief::Unknown { said: true }) {
                *belief = Belief::Known(paths.clone());
            }
        });
    }

    /// This is what gobgpd is about to be told.
    pub(crate) fn expect(&self, prefix: Prefix, path: Option<&Path>) {
        self.with(|belief| {
            if let Belief::Known(paths) = belief {
                match path {
                    Some(path) => drop(paths.insert(prefix, path.clone())),
                    None => drop(paths.remove(&prefix)),
                }
            }
        });
    }

    /// gobgpd told that the path of `prefix` is this now. Is that news which calls for reading gobgpd? It is so once
    /// until the next read.
    pub(crate) fn is_news(&self, prefix: Prefix, path: Option<&Path>) -> bool {
        self.with(|belief| match belief {
            Belief::Known(paths) if paths.get(&prefix) == path => false,
            Belief::Unknown { said: true } => false,
            Belief::Known(_) | Belief::Unknown { said: false } => {
                *belief = Belief::Unknown { said: true };
                true
            }
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Belief) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bgp::NextHop;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn path() -> Path {
        Path { next_hop: NextHop::Own, communities: Default::default() }
    }

    #[test]
    fn our_own_doing_is_no_news() {
        let ledger = Ledger::default();
        ledger.forget();
        ledger.learn(&[(prefix("10.96.0.0/16"), path())].into());
        ledger.expect(prefix("10.97.0.0/16"), Some(&path()));
        assert!(!ledger.is_news(prefix("10.97.0.0/16"), Some(&path())));
        ledger.expect(prefix("10.96.0.0/16"), None);
        assert!(!ledger.is_news(prefix("10.96.0.0/16"), None));
        assert!(!ledger.is_news(prefix("10.98.0.0/16"), None));
    }

    #[test]
    fn what_others_do_is_news_once_until_gobgpd_is_read() {
        let ledger = Ledger::default();
        ledger.learn(&[(prefix("10.96.0.0/16"), path())].into());
        assert!(ledger.is_news(prefix("10.96.0.0/16"), None));
        assert!(!ledger.is_news(prefix("10.97.0.0/16"), Some(&path())));
        ledger.forget();
        ledger.learn(&BTreeMap::new());
        assert!(ledger.is_news(prefix("10.97.0.0/16"), Some(&path())));
    }

    #[test]
    fn what_happens_during_a_read_is_news_whatever_was_read() {
        let ledger = Ledger::default();
        ledger.forget();
        assert!(ledger.is_news(prefix("10.96.0.0/16"), None));
        ledger.learn(&[(prefix("10.96.0.0/16"), path())].into());
        assert!(!ledger.is_news(prefix("10.96.0.0/16"), None), "said already, and the read that follows forgets");
        ledger.forget();
        assert!(ledger.is_news(prefix("10.96.0.0/16"), None));
    }
}
