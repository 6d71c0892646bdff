//! What annotations say about the routes of a Service's VIPs.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::{Asked, Fault, LEFT_OUT, truth, words};
use crate::model::bgp::Attributes;
use crate::model::service::Announcing;
use crate::model::settings::Use;
use crate::model::{Labels, Selector};

/// The most communities of one kind: far more than anybody needs, far less than fills an UPDATE (4096 bytes, RFC 4271
/// section 4), which carries all attributes of a route.
const MOST_COMMUNITIES: usize = 32;

/// The most prepends, as in the configuration. Longer paths help nobody, and some routers drop routes with very long ones.
const MOST_PREPENDS: u8 = 16;

pub(super) fn announce(text: &str, usage: Use, asked: &mut Asked) -> Result<(), Fault> {
    let is_wanted = truth(text)?;
    announcing(asked).wanted.insert(usage, is_wanted);
    Ok(())
}

pub(super) fn announce_nodes(text: &str, asked: &mut Asked) -> Result<(), Fault> {
    let mut labels = Labels::new();
    for word in words(text) {
        let (key, value) = word.split_once('=').map(|(key, value)| (key.trim(), value.trim())).ok_or(LEFT_OUT)?;
        // Any other could match no Node (`IsQualifiedName` in `k8s.io/apimachinery/pkg/util/validation`).
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_label = !key.is_empty() && key.chars().all(|c| in_name(c) || c == '/') && value.chars().all(in_name);
        if !is_label || labels.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(LEFT_OUT);
        }
    }
    announcing(asked).nodes = Some(Selector::new(labels));
    Ok(())
}

pub(super) fn communities(text: &str, asked: &mut Asked) -> Result<(), Fault> {
    attributes(asked).communities = list(text)?;
    Ok(())
}

pub(super) fn large_communities(text: &str, asked: &mut Asked) -> Result<(), Fault> {
    attributes(asked).large_communities = list(text)?;
    Ok(())
}

pub(super) fn med(text: &str, asked: &mut Asked) -> Result<(), Fault> {
    attributes(asked).med = Some(number(text)?);
    Ok(())
}

pub(super) fn local_pref(text: &str, asked: &mut Asked) -> Result<(), Fault> {
    attributes(asked).local_pref = Some(number(text)?);
    Ok(())
}

pub(super) fn prepend(text: &str, asked: &mut Asked) -> Result<(), Fault> {
    let count = number(text)?;
    if count > MOST_PREPENDS {
        return Err(LEFT_OUT);
    }
    attributes(asked).prepend = Some(count);
    Ok(())
}

fn announcing(asked: &mut Asked) -> &mut Announcing {
    asked.wishes.announcing.get_or_insert_default()
}

fn attributes(asked: &mut Asked) -> &mut Attributes {
    &mut announcing(asked).attributes
}

/// Digits alone: Rust reads a sign too.
fn number<T: FromStr>(text: &str) -> Result<T, Fault> {
    let number = text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    number.ok_or(LEFT_OUT)
}

fn list<T: FromStr + Ord>(text: &str) -> Result<BTreeSet<T>, Fault> {
    let found = words(text).map(|word| word.parse().map_err(|_| LEFT_OUT)).collect::<Result<BTreeSet<T>, Fault>>()?;
    if found.len() > MOST_COMMUNITIES { Err(LEFT_OUT) } else { Ok(found) }
}
