//! Which event is to be sent when. Pure: time is an argument.
//!
//! An event has a name that follows from what it says, so all nodes give the same fact the same name: the API server
//! keeps the first one and answers the others that it exists. A fact that stands is sent again from time to time, since
//! events expire (`--event-ttl` of kube-apiserver, one hour by default). All events together keep to a rate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{ObjectRef, Time};
use crate::plan::Notice;

/// After how long a fact that stands is told again.
pub(super) const REMINDER: Duration = Duration::from_secs(15 * 60);
/// On average, one event in this time.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many events may go out at once after a silence.
const BURST: u32 = 20;
/// How long a failed attempt waits for the next one; twice as long after each failure.
const FIRST_RETRY: Duration = Duration::from_secs(10);

/// Something that users should know of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fact {
    /// The object.
    pub(super) object: ObjectRef,
    /// Its UID, if it is known.
    pub(super) uid: Option<Arc<str>>,
    /// One word.
    pub(super) reason: &'static str,
    /// What is wrong.
    pub(super) note: String,
}

/// When a fact is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Telling {
    due: Time,
    failures: u32,
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Tell this.
    Tell(Fact),
    /// Nothing before this time.
    At(Time),
    /// Nothing.
    Nothing,
}

/// The facts that stand.
#[derive(Debug, Default)]
pub(super) struct Book {
    facts: BTreeMap<Fact, Telling>,
    queue: BTreeSet<(Time, Fact)>,
    /// Facts that stand no more, with the time from which they may be told again if they return.
    past: BTreeMap<Fact, Time>,
    /// How far ahead of the rate the events so far are (the generic cell rate algorithm, ITU-T I.371 annex A).
    ahead: Time,
}

impl Book {
    /// Takes in what stands of an object now.
    pub(super) fn replace(&mut self, notice: Notice, now: Time) {
        let Notice { object, uid, problems } = notice;
        let stands: BTreeSet<Fact> = problems
            .into_iter()
            .map(|(reason, note)| Fact { object: object.clone(), uid: uid.clone(), reason, note })
            .collect();
        self.past.retain(|_, until| *until > now);
        let first = Fact { object: object.clone(), uid: None, reason: "", note: String::new() };
        let of_object = self.facts.range(first..).map(|(fact, _)| fact).take_while(|fact| fact.object == object);
        for fact in of_object.filter(|fact| !stands.contains(*fact)).cloned().collect::<Vec<_>>() {
            if let Some(telling) = self.facts.remove(&fact) {
                self.queue.remove(&(telling.due, fact.clone()));
                self.past.insert(fact, telling.due);
            }
        }
        for fact in stands {
            if !self.facts.contains_key(&fact) {
                let due = self.past.remove(&fact).unwrap_or(now);
                self.schedule(fact, Telling { due, failures: 0 });
            }
        }
    }

    /// What to tell now, or when to ask again. What is handed out comes back by [`Book::ended`].
    pub(super) fn next(&mut self, now: Time) -> Next {
        let Some((due, _)) = self.queue.first() else { return Next::Nothing };
        let slack = INTERVAL * (BURST - 1);
        let allowed = Time(self.ahead.0.saturating_sub(slack));
        let at = allowed.max(*due);
        if at > now {
            return Next::At(at);
        }
        self.ahead = self.ahead.max(now) + INTERVAL;
        self.queue.pop_first().map_or(Next::Nothing, |(_, fact)| Next::Tell(fact))
    }

    /// The fact was told, or could not be told. Answers whether it is the first failure in a row.
    pub(super) fn ended(&mut self, fact: Fact, told: bool, now: Time) -> bool {
        let failures = match self.facts.get(&fact) {
            Some(telling) if !told => telling.failures + 1,
            Some(_) => 0,
            // It stands no more.
            None => return false,
        };
        let pause = if told { REMINDER } else { REMINDER.min(FIRST_RETRY * 2_u32.saturating_pow(failures - 1)) };
        self.schedule(fact, Telling { due: now + pause, failures });
        failures == 1
    }

    fn schedule(&mut self, fact: Fact, telling: Telling) {
        self.queue.insert((telling.due, fact.clone()));
        self.facts.insert(fact, telling);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn notice(name: &str, problems: &[&str]) -> Notice {
        Notice {
            object: ObjectRef { kind: Kind::Service, name: Arc::from(name) },
            uid: None,
            problems: problems.iter().map(|note| ("Reason", (*note).to_owned())).collect(),
        }
    }

    fn at(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    /// What is told within a second from `now`, each told well.
    fn told(book: &mut Book, now: Time) -> Vec<String> {
        let mut told = Vec::new();
        while let Next::Tell(fact) = book.next(now) {
            told.push(format!("{} {}", fact.object.name, fact.note));
            book.ended(fact, true, now);
        }
        told
    }

    #[test]
    fn a_fact_is_told_once_and_again_only_as_a_reminder() {
        let mut book = Book::default();
        assert_eq!(book.next(at(0)), Next::Nothing);
        book.replace(notice("a/b", &["x", "y"]), at(0));
        assert_eq!(told(&mut book, at(0)), ["a/b x", "a/b y"]);
        book.replace(notice("a/b", &["y", "z"]), at(1));
        assert_eq!(told(&mut book, at(1)), ["a/b z"]);
        assert_eq!(book.next(at(2)), Next::At(at(0) + REMINDER));
        assert_eq!(told(&mut book, at(0) + REMINDER), ["a/b y"]);
        book.replace(notice("a/b", &[]), at(1000));
        assert_eq!(book.next(at(10_000)), Next::Nothing);
    }

    #[test]
    fn a_fact_that_comes_and_goes_is_not_told_each_time() {
        let mut book = Book::default();
        for second in 0..100 {
            book.replace(notice("a/b", &["x"]), at(second));
            let news = told(&mut book, at(second));
            assert_eq!(news.len(), usize::from(second == 0));
            book.replace(notice("a/b", &[]), at(second));
        }
    }

    #[test]
    fn many_facts_keep_to_the_rate() {
        let mut book = Book::default();
        (0..100).for_each(|number| book.replace(notice(&format!("a/{number}"), &["x"]), at(0)));
        assert_eq!(told(&mut book, at(0)).len(), 20);
        assert_eq!(book.next(at(0)), Next::At(at(1)));
        assert_eq!(told(&mut book, at(1)).len(), 1);
        assert_eq!(told(&mut book, at(11)).len(), 10);
    }

    #[test]
    fn what_could_not_be_told_is_tried_again_later_and_later() {
        let mut book = Book::default();
        book.replace(notice("a/b", &["x"]), at(0));
        let mut now = at(0);
        for (wait, first) in [(10, true), (20, false), (40, false), (80, false)] {
            let Next::Tell(fact) = book.next(now) else { panic!("nothing at {now:?}") };
            assert_eq!(book.ended(fact, false, now), first);
            now = now + Duration::from_secs(wait);
            assert_eq!(book.next(Time(now.0 - Duration::from_millis(1))), Next::At(now));
        }
    }

    #[test]
    fn what_stands_no_more_is_forgotten_while_it_is_told() {
        let mut book = Book::default();
        book.replace(notice("a/b", &["x"]), at(0));
        let Next::Tell(fact) = book.next(at(0)) else { panic!("nothing to tell") };
        book.replace(notice("a/b", &[]), at(0));
        assert!(!book.ended(fact, false, at(0)));
        assert_eq!(book.next(at(100)), Next::Nothing);
    }
}
