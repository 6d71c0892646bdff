//! Labels of a Node, and what selects by them.

use std::collections::BTreeMap;
use std::fmt;

/// The labels of an object, by key.
pub type Labels = BTreeMap<String, String>;

/// Labels that a Node has to have, each with just this value (`matchLabels`, as in a DaemonSet's `nodeSelector`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector(Labels);

impl Selector {
    /// Selects what has all of `labels`.
    pub fn new(labels: Labels) -> Selector {
        Selector(labels)
    }

    /// Does it ask for nothing, and so select everything?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Are all labels asked for among `labels`? None is asked for if it is empty.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// What is asked for and not among `labels`, as `key=value`, with commas.
    pub fn missing(&self, labels: &Labels) -> String {
        list(self.0.iter().filter(|(key, value)| labels.get(*key) != Some(value)))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&list(self.0.iter()))
    }
}

fn list<'a>(labels: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    labels.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_labels_asked_for_have_to_be_there() {
        let labels = |text: &str| -> Labels {
            let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        let cases = [
            ("", "", true, ""),
            ("", "role=lb", true, ""),
            ("role=lb", "role=lb rack=a", true, ""),
            ("role=lb", "", false, "role=lb"),
            ("role=lb", "role=worker", false, "role=lb"),
            ("role=lb", "role=", false, "role=lb"),
            ("role=", "role=", true, ""),
            ("role=lb rack=a", "role=lb rack=b", false, "rack=a"),
            ("role=lb rack=a", "x=y", false, "rack=a,role=lb"),
        ];
        for (selector, found, matches, missing) in cases {
            let (selector, found) = (Selector::new(labels(selector)), labels(found));
            assert_eq!(selector.matches(&found), matches, "{selector:?} {found:?}");
            assert_eq!(selector.missing(&found), missing, "{selector:?} {found:?}");
        }
        assert_eq!(Selector::new(labels("role=lb rack=a")).to_string(), "rack=a,role=lb");
    }
}
