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
    /// It is this.
    Known(Known),
}

#[derive(Debug, Default)]
struct Known {
    /// What gobgpd was seen to hold.
    held: BTreeMap<Prefix, Path>,
    /// What it was told since and has not echoed yet, oldest first.
    told: BTreeMap<Prefix, Vec<Option<Path>>>,
}

/// How many unechoed changes of one prefix are remembered: more come together only where nobody listens to the echo.
const UNECHOED: usize = 8;

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
                *belief = Belief::Known(Known { held: paths.clone(), ..Known::default() });
            }
        });
    }

    /// This is what gobgpd is about to be told.
    pub(crate) fn expect(&self, prefix: Prefix, path: Option<&Path>) {
        self.with(|belief| {
            if let Belief::Known(known) = belief {
                known.expect(prefix, path);
            }
        });
    }

    /// gobgpd told that the path of `prefix` is this now. Is that news which calls for reading gobgpd? It is so once
    /// until the next read.
    pub(crate) fn is_news(&self, prefix: Prefix, path: Option<&Path>) -> bool {
        self.with(|belief| {
            let news = match belief {
                Belief::Known(known) => !known.accounts_for(prefix, path),
                Belief::Unknown { said } => !*said,
            };
            if news {
                *belief = Belief::Unknown { said: true };
            }
            news
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Belief) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    fn expect(&mut self, prefix: Prefix, path: Option<&Path>) {
        let told = self.told.entry(prefix).or_default();
        let last = told.last().map_or_else(|| self.held.get(&prefix), Option::as_ref);
        // What changes nothing has no echo.
        if last != path {
            told.push(path.cloned());
        }
        if told.len() > UNECHOED {
            told.remove(0);
        }
        if told.is_empty() {
            self.told.remove(&prefix);
        }
    }

    /// Was gobgpd told this, or is it what was seen before?
    fn accounts_for(&mut self, prefix: Prefix, path: Option<&Path>) -> bool {
        let told = self.told.get_mut(&prefix);
        let Some((told, echoed)) = told.and_then(|told| {
            let echoed = told.iter().position(|told| told.as_ref() == path)?;
            Some((told, echoed))
        }) else {
            return self.held.get(&prefix) == path;
        };
        told.drain(..=echoed);
        if told.is_empty() {
            self.told.remove(&prefix);
        }
        match path {
            Some(path) => drop(self.held.insert(prefix, path.clone())),
            None => drop(self.held.remove(&prefix)),
        }
        true
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
        Path::new(NextHop::Own)
    }

    fn other() -> Path {
        Path { next_hop: NextHop::Address("192.0.2.1".parse().unwrap()), ..path() }
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
    fn late_echoes_of_our_own_doing_are_no_news() {
        let ledger = Ledger::default();
        ledger.learn(&BTreeMap::new());
        let range = prefix("10.96.0.0/16");
        let told = [Some(path()), Some(other()), None, Some(path())];
        for told in &told {
            ledger.expect(range, told.as_ref());
        }
        for told in &told {
            assert!(!ledger.is_news(range, told.as_ref()));
        }
        assert!(ledger.is_news(range, None), "each echo is accounted for once");
    }

    #[test]
    fn telling_gobgpd_what_it_holds_hides_nothing() {
        let ledger = Ledger::default();
        ledger.learn(&[(prefix("10.96.0.0/16"), path())].into());
        ledger.expect(prefix("10.96.0.0/16"), Some(&path()));
        ledger.expect(prefix("10.97.0.0/16"), None);
        assert!(ledger.is_news(prefix("10.96.0.0/16"), None));
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
