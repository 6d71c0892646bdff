//! `nodeSelector`, wherever it stands: labels that a Node has to have.

use super::item::{Item, Mistake};
use super::value;
use crate::model::{Labels, Selector};

/// What may stand here.
const ALLOWED: &str = "labels that the Node has to have, such as {role: lb}; {} for every node";

/// The longest name of a label, and the longest value.
const LONGEST: usize = 63;

/// A mapping of labels, as the API server takes them (`IsQualifiedName` and `IsValidLabelValue` in
/// `k8s.io/apimachinery/pkg/util/validation`): any other could match no Node.
pub(super) fn selector(item: &Item) -> Result<Selector, Mistake> {
    let mut labels = Labels::new();
    for (key, label) in item.pairs(ALLOWED)? {
        if !is_key(&key) {
            let allowed = "NAME or PREFIX/NAME, where NAME has up to 63 letters, digits, '-', '_' or '.'";
            return Err(label.mistake(format_args!("no name of a label; allowed: {allowed}")));
        }
        let text = label.parse("a label's value: up to 63 letters, digits, '-', '_' or '.'", |text| {
            (text.is_empty() || is_name(text)).then(|| text.to_owned())
        })?;
        if labels.insert(key, text).is_some() {
            return Err(label.mistake("given twice; allowed: once"));
        }
    }
    Ok(Selector::new(labels))
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => value::is_node_name(prefix) && is_name(name),
        None => is_name(key),
    }
}

fn is_name(text: &str) -> bool {
    let ends_well = |end: Option<char>| end.is_some_and(|end| end.is_ascii_alphanumeric());
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() <= LONGEST
        && text.chars().all(allowed)
        && ends_well(text.chars().next())
        && ends_well(text.chars().last())
}
