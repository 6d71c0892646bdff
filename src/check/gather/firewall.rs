//! The packet filter's chains: nftables (which includes iptables on top of it), and the legacy iptables.
//!
//! Looking must not load anything: `nft` runs only where the kernel has nf_tables in it, and the legacy programs only
//! for tables that are loaded already.

use std::process::Command;

use serde_json::Value;

use super::super::facts::{Chain, Module};
use super::text;

/// All chains of the families ip, ip6 and inet; `nf_tables` is where the module of that name is.
pub(super) fn chains(nf_tables: Option<Module>) -> Result<Vec<Chain>, String> {
    let mut chains = match nf_tables {
        Some(Module::Present) => nftables()?,
        Some(Module::Unknown) | None => {
            return Err("whether nf_tables is loaded is not known, and looking could load it".to_owned());
        }
        Some(Module::Loadable | Module::Missing) => Vec::new(),
    };
    for (family, program) in [("ip", "iptables-legacy-save"), ("ip6", "ip6tables-legacy-save")] {
        let loaded = text(format!("/proc/net/{family}_tables_names")).unwrap_or_default();
        for table in loaded.lines().filter(|table| ["filter", "nat"].contains(table)) {
            chains.extend(legacy(family, table, &output(program, &["-t", table])?));
        }
    }
    Ok(chains)
}

/// The chains of nftables. Rules are read only of the base chains that can drop our packets: a node with kube-proxy's
/// iptables mode has tens of thousands of others.
fn nftables() -> Result<Vec<Chain>, String> {
    let mut chains = parse_chains(&output("nft", &["-j", "list", "chains"])?)?;
    for chain in chains.iter_mut().filter(|chain| chain.hook.is_some()) {
        let rules = output("nft", &["-j", "list", "chain", &chain.family, &chain.table, &chain.name])?;
        chain.refusal = parse_refusal(&rules)?;
    }
    Ok(chains)
}

/// What a program prints; its complaint if it fails.
fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The members of nft's JSON answer that are called `kind`.
fn members(json: &str, kind: &str) -> Result<Vec<Value>, String> {
    let answer: Value = serde_json::from_str(json).map_err(|error| format!("nft's answer: {error}"))?;
    let list = answer["nftables"].as_array().ok_or("nft's answer has no list")?;
    Ok(list.iter().filter_map(|member| member.get(kind)).cloned().collect())
}

fn parse_chains(json: &str) -> Result<Vec<Chain>, String> {
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let chains = members(json, "chain")?.into_iter().map(|chain| Chain {
        tool: "nft".to_owned(),
        family: string(&chain["family"]),
        table: string(&chain["table"]),
        name: string(&chain["name"]),
        hook: chain["hook"].as_str().filter(|_| chain["type"] == "filter").map(str::to_owned),
        priority: chain["prio"].as_i64().unwrap_or_default(),
        policy_drop: chain["policy"] == "drop",
        refusal: None,
    });
    Ok(chains.filter(|chain| ["ip", "ip6", "inet"].contains(&chain.family.as_str())).collect())
}

/// The first rule that lets nothing pass, whatever it is.
fn parse_refusal(json: &str) -> Result<Option<String>, String> {
    for rule in members(json, "rule")? {
        let expressions = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
        let Some((verdict, before)) = expressions.split_last() else { continue };
        let harmless = |expression: &Value| {
            let comment = expression["xt"]["type"] == "match" && expression["xt"]["name"] == "comment";
            comment || expression.get("counter").is_some() || expression.get("log").is_some()
        };
        let word = match verdict {
            _ if !before.iter().all(harmless) => None,
            Value::Object(verdict) if verdict.contains_key("drop") => Some("drop"),
            Value::Object(verdict) if verdict.contains_key("reject") => Some("reject"),
            verdict if verdict["xt"]["name"] == "REJECT" => Some("reject"),
            _ => None,
        };
        if let Some(word) = word {
            return Ok(Some(format!("rule {} ({word})", rule["handle"])));
        }
    }
    Ok(None)
}

/// The chains in what `iptables-legacy-save` prints: lines such as `:FORWARD DROP [0:0]`, where a chain without a
/// policy has `-`.
fn legacy(family: &str, table: &str, save: &str) -> Vec<Chain> {
    let hook = |name: &str| ["INPUT", "FORWARD", "OUTPUT"].contains(&name).then(|| name.to_lowercase());
    let chain = |line: &str| {
        let (name, rest) = line.strip_prefix(':')?.split_once(' ')?;
        let refusal =
            |line: &&str| *line == format!("-A {name} -j DROP") || line.starts_with(&format!("-A {name} -j REJECT"));
        Some(Chain {
            tool: if family == "ip" { "iptables-legacy" } else { "ip6tables-legacy" }.to_owned(),
            family: family.to_owned(),
            table: table.to_owned(),
            name: name.to_owned(),
            hook: hook(name).filter(|_| table == "filter"),
            priority: 0,
            policy_drop: rest.starts_with("DROP"),
            refusal: save.lines().find(refusal).map(|rule| format!("rule {rule}")),
        })
    };
    save.lines().filter_map(chain).collect()
}

#[cfg(test)]
mod tests;
