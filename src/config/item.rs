//! A value of the file together with its key path, and the ways to read it. Every way either gives a typed value or a
//! [`Mistake`] that says what was found and what is allowed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::yaml::{Entry, Node, Place, Value};

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Mistake {
    /// The place in the file.
    pub(super) at: Place,
    /// Key path and problem, in words for the operator.
    pub(super) text: String,
}

impl Mistake {
    /// The `problem` with the value of `key` (empty: the file as a whole).
    pub(super) fn new(at: Place, key: &str, problem: impl Display) -> Mistake {
        let text = if key.is_empty() { problem.to_string() } else { format!("{key}: {problem}") };
        Mistake { at, text }
    }
}

/// A value with its key path, such as `bgp.peers[1].holdTime`.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    node: &'a Node,
    key: String,
}

impl<'a> Item<'a> {
    /// The whole file.
    pub(super) fn root(node: &'a Node) -> Item<'a> {
        Item { node, key: String::new() }
    }

    /// Its key path.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// A mistake in this value.
    pub(super) fn mistake(&self, problem: impl Display) -> Mistake {
        Mistake::new(self.node.at, &self.key, problem)
    }

    /// This value is none of the `allowed` ones.
    pub(super) fn refuse(&self, allowed: impl Display) -> Mistake {
        self.mistake(format_args!("found {}; allowed: {allowed}", self.found()))
    }

    /// This value cannot be, because of what `trouble` says of it.
    pub(super) fn conflict(&self, trouble: impl Display, allowed: impl Display) -> Mistake {
        self.mistake(format_args!("found {}, {trouble}; allowed: {allowed}", self.found()))
    }

    /// The value in words.
    fn found(&self) -> String {
        match &self.node.value {
            Value::Nothing => "nothing".to_owned(),
            Value::Text { text, quoted: true } => format!("the text {text:?}"),
            Value::Text { text, quoted: false } => text.clone(),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a mapping".to_owned(),
        }
    }

    /// Is it a mapping?
    pub(super) fn is_table(&self) -> bool {
        matches!(self.node.value, Value::Table(_))
    }

    /// Is it a list?
    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// Text for which `read` has a value.
    pub(super) fn parse<T>(&self, allowed: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Mistake> {
        match &self.node.value {
            Value::Text { text, .. } => read(text).ok_or_else(|| self.refuse(allowed)),
            _ => Err(self.refuse(allowed)),
        }
    }

    /// A number in decimal digits, in `range`.
    pub(super) fn number<T: TryFrom<u64>>(&self, range: RangeInclusive<u64>, what: &str) -> Result<T, Mistake> {
        let number = match &self.node.value {
            Value::Text { text, quoted: false } if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        };
        number
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| self.refuse(format_args!("{what} from {} to {}", range.start(), range.end())))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Mistake> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.parse(&words.join(", "), |text| choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value))
    }

    /// The members of a list.
    pub(super) fn list(&self, allowed: &str) -> Result<Vec<Item<'a>>, Mistake> {
        let Value::List(nodes) = &self.node.value else { return Err(self.refuse(allowed)) };
        let item = |(index, node)| Item { node, key: format!("{}[{index}]", self.key) };
        Ok(nodes.iter().enumerate().map(item).collect())
    }

    /// The members of a list that is not empty; `allowed` says also what to do instead of leaving it empty.
    pub(super) fn filled_list(&self, allowed: &str) -> Result<Vec<Item<'a>>, Mistake> {
        let items = self.list(allowed)?;
        if items.is_empty() { Err(self.refuse(allowed)) } else { Ok(items) }
    }

    /// The entries of a mapping whose keys are the operator's own, in their order.
    pub(super) fn pairs(&self, allowed: &str) -> Result<Vec<(String, Item<'a>)>, Mistake> {
        let Value::Table(entries) = &self.node.value else { return Err(self.refuse(allowed)) };
        let pair = |entry: &'a Entry| {
            let key = format!("{}.{}", self.key, entry.key);
            (entry.key.clone(), Item { node: &entry.node, key })
        };
        Ok(entries.iter().map(pair).collect())
    }

    /// A mapping that has no keys but `keys`, and each at most once.
    pub(super) fn table(&self, keys: &[&str]) -> Result<Table<'a>, Mistake> {
        let Value::Table(entries) = &self.node.value else {
            return Err(self.refuse(format_args!("a mapping with the keys {}", keys.join(", "))));
        };
        let mut items: BTreeMap<&str, (Item, Place)> = BTreeMap::new();
        for entry in entries {
            let key = if self.key.is_empty() { entry.key.clone() } else { format!("{}.{}", self.key, entry.key) };
            if !keys.contains(&entry.key.as_str()) {
                let hint = closest(&entry.key, keys).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                let problem = format!("unknown key{hint}; allowed: {}", keys.join(", "));
                return Err(Mistake::new(entry.at, &key, problem));
            }
            if let Some((_, first)) = items.get(entry.key.as_str()) {
                let problem = format!("given twice, before in line {}; allowed: once", first.line);
                return Err(Mistake::new(entry.at, &key, problem));
            }
            items.insert(&entry.key, (Item { node: &entry.node, key }, entry.at));
        }
        let items = items.into_iter().map(|(key, (item, _))| (key, item)).collect();
        Ok(Table { whole: self.clone(), items })
    }
}

/// A mapping by key.
#[derive(Debug)]
pub(super) struct Table<'a> {
    whole: Item<'a>,
    items: BTreeMap<&'a str, Item<'a>>,
}

impl<'a> Table<'a> {
    /// The value of `key`, if it is given.
    pub(super) fn get(&self, key: &str) -> Option<&Item<'a>> {
        self.items.get(key)
    }

    /// The value of `key` as `read` reads it, if it is given.
    pub(super) fn read<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Item<'a>) -> Result<T, Mistake>,
    ) -> Result<Option<T>, Mistake> {
        self.get(key).map(read).transpose()
    }

    /// The value of `key`, which has to be given: `allowed` says what.
    pub(super) fn require(&self, key: &str, allowed: &str) -> Result<&Item<'a>, Mistake> {
        self.get(key).ok_or_else(|| self.missing(key, allowed))
    }

    /// A key that has to be given and is not.
    pub(super) fn missing(&self, key: &str, allowed: &str) -> Mistake {
        let path = if self.whole.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.whole.key) };
        Mistake::new(self.whole.node.at, &path, format_args!("missing; allowed: {allowed}"))
    }

    /// The mapping as a whole.
    pub(super) fn whole(&self) -> &Item<'a> {
        &self.whole
    }
}

/// The key that somebody who wrote `word` may have meant.
fn closest<'k>(word: &str, keys: &[&'k str]) -> Option<&'k str> {
    let word = word.to_lowercase();
    let distance = |key: &str| strsim::damerau_levenshtein(&word, &key.to_lowercase());
    let near = keys.iter().map(|key| (distance(key), *key)).min()?;
    (near.0 <= near.1.len() / 3).then_some(near.1)
}
