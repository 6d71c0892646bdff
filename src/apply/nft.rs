//! Packet filter rules: the table `inet vipcast`, through `nft`, and the classic SNAT rule, through iptables.
//!
//! The table is replaced as a whole in one transaction, so it is always one that was meant; elements that come and go with
//! Services are put in and taken out by themselves. Reads are frequent and
//! programs are slow to start, so the kernel is asked first (`probe`) whether anything of ours exists and whether any
//! rule changed.

mod classic;
mod listing;
pub(in crate::apply) mod probe;
mod shape;
mod tool;
mod writing;

use std::collections::BTreeSet;
use std::fs;

use self::tool::{Program, ToolError};
use super::modules;
use super::netlink::Load;
use crate::model::nft::{Elements, Nft, Table};
use crate::model::{Family, Prefix};
use crate::plan::{Outcome, Step};

/// The name of our table.
pub(in crate::apply) const TABLE_NAME: &str = "vipcast";
/// The table of iptables that our chain is in, and the chain.
pub(in crate::apply) const CLASSIC: (&str, &str) = ("nat", classic::CHAIN);

/// The kernel's module of nftables. Any question about it over netlink loads it.
const MODULE: &str = "nf_tables";

const NFT: Program = Program { name: "nft", package: "nftables" };

/// The packet filter rules of the network namespace of the thread that uses it.
#[derive(Debug)]
pub struct Rules {
    load: Load,
    /// What was last read, and the generation of the namespace's rules that it is at least as new as.
    last: Option<(u32, Nft)>,
}

impl Rules {
    /// The rules of the network namespace; reading them loads modules only as `load` says.
    pub fn new(load: Load) -> Rules {
        Rules { load, last: None }
    }

    /// Performs `steps` in their order; their outcomes. Steps of other targets are refused.
    pub async fn perform(&self, steps: &[Step]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(steps.len());
        for step in steps {
            outcomes.push(match step {
                Step::ReplaceTable(table) => replace_table(table).await,
                Step::EditTable { add, remove } => edit_table(add, remove).await,
                Step::DeleteTable => outcome(delete_table().await),
                Step::SetClassicSnat(family) => outcome(set_classic(*family).await),
                Step::DeleteClassicSnat(family) => outcome(delete_classic(*family).await),
                other => Outcome::Refused(format!("{other:?} is no step for packet filter rules")),
            });
        }
        outcomes
    }

    /// Reads back what is ours. Where no rule of the namespace changed since the last time, that is asked of the kernel
    /// and nothing else.
    ///
    /// # Errors
    /// In words, when it cannot be read.
    pub async fn read(&mut self) -> Result<Nft, String> {
        // In a kernel without nftables there are no rules of nftables; to ask it would make it load them.
        let nftables = self.load == Load::Allowed || modules::Present::look().has(MODULE);
        // Before the rules, so that a change while they are read is a new generation the next time.
        let generation = if nftables { probe::generation()? } else { None };
        // What iptables legacy holds has no generation.
        let legacy = Family::ALL.into_iter().any(legacy_table_exists);
        match &self.last {
            Some((read_at, nft)) if !legacy && generation == Some(*read_at) => Ok(nft.clone()),
            _ => {
                let nft = read(self.load, nftables).await?;
                self.last = generation.map(|generation| (generation, nft.clone()));
                Ok(nft)
            }
        }
    }
}

/// Lets the kernel check the rules that ranges of `families` get, which loads the modules that they need, and changes
/// nothing.
///
/// # Errors
/// In words, when the kernel does not take them.
pub async fn rehearse(families: &BTreeSet<Family>) -> Result<(), String> {
    // Any addresses will do; these are for documentation (RFC 5737, RFC 3849).
    let documentation = ["192.0.2.0/24", "2001:db8::/32"].into_iter().filter_map(|text| text.parse().ok());
    let ranges: BTreeSet<Prefix> = documentation.filter(|range: &Prefix| families.contains(&range.family())).collect();
    let table = Table { masquerade: ranges.clone(), guard: ranges, ..Table::default() };
    let checked = NFT.run(&["--check", "-f", "-"], &writing::replacement(&table)).await;
    checked.map(drop).map_err(|error| error.to_string())
}

/// Reads everything, and from nftables only if the kernel is known to have it or may load it (`nftables`).
async fn read(load: Load, nftables: bool) -> Result<Nft, String> {
    let table = if nftables { read_table().await? } else { None };
    let mut found = Nft { table, ..Nft::default() };
    for family in Family::ALL {
        let in_legacy = legacy_table_exists(family);
        let in_nftables = nftables && classic_in_nftables(family)?;
        let backend = match load {
            _ if !in_legacy && !in_nftables => continue,
            Load::Allowed => Backend::Any,
            Load::Never => Backend::loaded(in_legacy, nftables),
        };
        let classic = match saved(family, backend).await {
            Ok(found) => found,
            // Nobody but us has a use for our chain, and we write it with the program that is missing.
            Err(ToolError::Missing(_)) if !(nftables && classic_in_nftables(family)?) => continue,
            Err(error) => return Err(error.to_string()),
        };
        if classic.is_whole() {
            found.classic.insert(family);
        } else if !classic.is_empty() {
            found.classic_broken.insert(family);
        }
    }
    Ok(found)
}

async fn nft(commands: &str) -> Result<(), ToolError> {
    NFT.run(&["-f", "-"], commands).await.map(drop)
}

fn outcome(done: Result<(), ToolError>) -> Outcome {
    done.map_or_else(|error| error.outcome(), |()| Outcome::Done)
}

async fn replace_table(table: &Table) -> Outcome {
    match table.elements.misfit() {
        Some(why) => Outcome::Refused(why),
        None => outcome(nft(&writing::replacement(table)).await),
    }
}

async fn edit_table(add: &Elements, remove: &Elements) -> Outcome {
    if let Some(why) = add.misfit() {
        return Outcome::Refused(why);
    }
    // ENOENT and EEXIST, in the words of the C library: other elements were there than was believed, or no table.
    let drift = ["No such file or directory", "File exists"];
    match nft(&writing::edit(add, remove)).await {
        Err(ToolError::Failed { words, .. }) if drift.iter().any(|errno| words.contains(errno)) => {
            Outcome::Drifted(format!("nft: {words}"))
        }
        done => outcome(done),
    }
}

fn our_table_exists() -> Result<bool, String> {
    probe::table_exists(probe::FAMILY_INET, TABLE_NAME)
}

/// How many packets in mid-stream found no connection since our table was made; none where there is no table. In the network
/// namespace of the calling thread.
///
/// # Errors
/// In words, when the kernel cannot be asked.
pub(in crate::apply) fn stray_packets() -> Result<Option<u64>, String> {
    probe::counted(probe::FAMILY_INET, TABLE_NAME, shape::STRAY)
}

async fn read_table() -> Result<Option<Table>, String> {
    if !our_table_exists()? {
        return Ok(None);
    }
    match NFT.run(&["-j", "-n", "list", "table", "inet", TABLE_NAME], "").await {
        Ok(listing) => listing::table(&listing).map(Some),
        // It may have been deleted meanwhile.
        Err(_) if !our_table_exists()? => Ok(None),
        Err(error) => Err(format!("cannot list the table inet {TABLE_NAME}: {error}")),
    }
}

async fn delete_table() -> Result<(), ToolError> {
    // Where there is none, there need be no nft either. An error here comes back from nft, in better words.
    if our_table_exists() == Ok(false) {
        return Ok(());
    }
    nft(&writing::removal()).await
}

async fn set_classic(family: Family) -> Result<(), ToolError> {
    let found = saved(family, Backend::Any).await?;
    if found.is_whole() { Ok(()) } else { restore(family, &found.repair()).await }
}

async fn delete_classic(family: Family) -> Result<(), ToolError> {
    if classic_is_possible(family) == Ok(false) {
        return Ok(());
    }
    let found = saved(family, Backend::Any).await?;
    if found.is_empty() { Ok(()) } else { restore(family, &found.removal()).await }
}

/// Which part of the kernel a program of iptables is to talk to. It loads that part if it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    /// Whichever the node's iptables uses.
    Any,
    Legacy,
    Nftables,
}

impl Backend {
    /// The widest one that needs no module to be loaded: `legacy` and `nftables` say what the kernel has already, and one
    /// of them it has.
    fn loaded(legacy: bool, nftables: bool) -> Backend {
        match (legacy, nftables) {
            (true, true) => Backend::Any,
            (true, false) => Backend::Legacy,
            (false, _) => Backend::Nftables,
        }
    }

    /// The program that prints the rules.
    fn save(self, family: Family) -> &'static str {
        match (self, family) {
            (Backend::Any, Family::Ipv4) => "iptables-save",
            (Backend::Any, Family::Ipv6) => "ip6tables-save",
            (Backend::Legacy, Family::Ipv4) => "iptables-legacy-save",
            (Backend::Legacy, Family::Ipv6) => "ip6tables-legacy-save",
            (Backend::Nftables, Family::Ipv4) => "iptables-nft-save",
            (Backend::Nftables, Family::Ipv6) => "ip6tables-nft-save",
        }
    }
}

async fn saved(family: Family, backend: Backend) -> Result<classic::Found, ToolError> {
    let name = backend.save(family);
    let saved = Program { name, package: "iptables" }.run(&["-t", CLASSIC.0], "").await?;
    Ok(classic::Found::parse(&saved))
}

async fn restore(family: Family, commands: &str) -> Result<(), ToolError> {
    let name = match family {
        Family::Ipv4 => "iptables-restore",
        Family::Ipv6 => "ip6tables-restore",
    };
    // Waits this many seconds for the lock that iptables' programs share.
    Program { name, package: "iptables" }.run(&["--noflush", "--wait", "10"], commands).await.map(drop)
}

/// Can there be anything of ours in iptables? A jump needs its chain, so the chain tells; what old iptables (legacy)
/// holds is only visible to its own programs.
fn classic_is_possible(family: Family) -> Result<bool, String> {
    Ok(legacy_table_exists(family) || classic_in_nftables(family)?)
}

/// Does our chain exist in the tables of iptables that are in nftables?
fn classic_in_nftables(family: Family) -> Result<bool, String> {
    let (table, chain) = CLASSIC;
    let family = match family {
        Family::Ipv4 => probe::FAMILY_IPV4,
        Family::Ipv6 => probe::FAMILY_IPV6,
    };
    probe::chain_exists(family, table, chain)
}

/// Does the table `nat` of iptables legacy exist?
fn legacy_table_exists(family: Family) -> bool {
    // Not /proc/net, which is that of the process: a thread can be in another network namespace.
    let names = match family {
        Family::Ipv4 => "/proc/thread-self/net/ip_tables_names",
        Family::Ipv6 => "/proc/thread-self/net/ip6_tables_names",
    };
    // Absent where iptables legacy is not loaded.
    fs::read_to_string(names).is_ok_and(|names| names.lines().any(|name| name == CLASSIC.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_runs_only_the_iptables_whose_modules_are_there() {
        for (legacy, nftables, program) in
            [(true, true, "iptables-save"), (true, false, "iptables-legacy-save"), (false, true, "iptables-nft-save")]
        {
            assert_eq!(Backend::loaded(legacy, nftables).save(Family::Ipv4), program);
        }
    }
}
