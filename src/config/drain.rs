//! `drain`: how this node leaves.

use std::time::Duration;

use super::Source;
use super::item::{Item, Mistake};
use super::value;
use crate::model::settings::{BgpSettings, Drain, Taint};

/// The name of the fleet if none is given.
const FLEET: &str = "vipcast";

/// The longest name of a fleet: those of its Leases have the node's behind it, and 253 bytes.
const LONGEST_FLEET: usize = 40;

/// The effects that a taint can have.
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// `drain`, of a node with this source and these peers.
pub(super) fn read(item: Option<&Item>, source: &Source, bgp: Option<&BgpSettings>) -> Result<Drain, Mistake> {
    let is_fleet = matches!(source, Source::Kubernetes(_));
    let default = Drain { fleet: is_fleet.then(|| FLEET.to_owned()), ..Drain::default() };
    let Some(item) = item else { return Ok(default) };
    let table = item.table(&["maxUnavailable", "fleet", "quiet", "patience", "deadline", "prepend", "taints"])?;
    let time = |key: &str, most: u64, default: Duration| {
        let limits = format!("a time such as {}s, from 0s to {most}s", default.as_secs());
        let read = |item: &Item| value::duration(item, Duration::ZERO..=Duration::from_secs(most), &limits);
        Ok(table.read(key, read)?.unwrap_or(default))
    };
    let prepend = table.read("prepend", |item| {
        let times = item.number(0..=16, "a number of times")?;
        let is_internal = bgp.is_some_and(|bgp| bgp.peers.iter().any(|entry| entry.peer.asn == bgp.asn));
        if times > 0 && is_internal {
            let trouble = "while a peer is in the same AS and would drop such routes as loops";
            return Err(item.conflict(trouble, "prepend only where all peers are in other ASes"));
        }
        Ok(times)
    })?;
    if let Some(fleet) = table.get("fleet").filter(|_| !is_fleet) {
        let trouble = "while the source is manifests, which has no Leases";
        return Err(fleet.conflict(trouble, "fleet with source.kubernetes"));
    }
    Ok(Drain {
        max_unavailable: table
            .read("maxUnavailable", |item| item.number(0..=1000, "a number of LB nodes"))?
            .unwrap_or(default.max_unavailable),
        deadline: time("deadline", 86400, default.deadline)?,
        quiet: time("quiet", 600, default.quiet)?,
        patience: time("patience", 3600, default.patience)?,
        prepend: prepend.unwrap_or(default.prepend),
        fleet: table.read("fleet", fleet)?.unwrap_or(default.fleet),
        taints: table.read("taints", taints)?.unwrap_or(default.taints),
    })
}

/// `fleet`: `off`, or the name that the fleet's Leases begin with.
fn fleet(item: &Item) -> Result<Option<String>, Mistake> {
    let allowed = format!("off, or a name of at most {LONGEST_FLEET} lower-case letters, digits and '-'");
    item.parse(&allowed, |text| match text {
        "off" => Some(None),
        name => {
            let fits = name.len() <= LONGEST_FLEET && !name.contains('.') && value::is_node_name(name);
            fits.then(|| Some(name.to_owned()))
        }
    })
}

/// `taints`: as kubectl writes them, `KEY`, `KEY=VALUE`, `KEY:EFFECT` or `KEY=VALUE:EFFECT`.
fn taints(item: &Item) -> Result<Vec<Taint>, Mistake> {
    const ALLOWED: &str =
        "a list of taints such as example.com/maintenance, or example.com/maintenance=soon:NoSchedule";
    item.list(ALLOWED)?.iter().map(|item| item.parse(ALLOWED, taint)).collect()
}

fn taint(text: &str) -> Option<Taint> {
    let (rest, effect) = match text.rsplit_once(':') {
        Some((rest, effect)) => (rest, Some(effect).filter(|effect| EFFECTS.contains(effect)).map(Some)?),
        None => (text, None),
    };
    let (key, value) = rest.split_once('=').map_or((rest, None), |(key, value)| (key, Some(value)));
    // Of the API server's rules (a qualified name) just what keeps two taints apart.
    let is_word = |word: &str| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "=:,".contains(c));
    let fits = is_word(key) && value.is_none_or(is_word);
    fits.then(|| Taint { key: key.to_owned(), value: value.map(str::to_owned), effect: effect.map(str::to_owned) })
}
