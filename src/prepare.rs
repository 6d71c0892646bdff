//! `vipcast prepare`: what the node needs before an agent without rights can work on it. Kernel modules, with their
//! parameters, and kernel parameters.
//!
//! An agent in a container that is not privileged finds `/proc/sys` read-only, and a module's parameters are fixed when it
//! is loaded. So this runs before it, for a moment and with all rights. It says what it found and what it set; where
//! everything is as it should be it changes nothing.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::{Context, anyhow, bail};

use crate::apply::addr::Links;
use crate::apply::modules::{Modprobe, Present};
use crate::apply::{nft, sysctl};
use crate::check::{self, needed};
use crate::config::Config;
use crate::model::Family;
use crate::model::sysctl::{Sysctl, Sysctls};
use crate::plan::sysctl::{before_forwarding, desired, satisfies};
use crate::plan::{Outcome, Step};

/// The parameter of `ip_vs` that sizes its connection table.
const TABLE_BITS: &str = "conn_tab_bits";

/// Prepares the node for `config`, and tells `out` line by line.
///
/// # Errors
/// When something cannot be had: the message names it.
pub async fn prepare(config: &Config, out: &mut impl Write) -> anyhow::Result<()> {
    load_modules(config, &Modprobe::default(), out)?;
    let host =
        Links::connect().context("rtnetlink")?.read_host().await.map_err(|error| anyhow!("addresses: {error}"))?;
    let families = needed::families(config, &host.addresses);
    nft::rehearse(&families).await.map_err(|error| anyhow!("the packet filter rules cannot be had: {error}"))?;
    writeln!(out, "packet filter rules for {}: the kernel takes them", listed(&families))?;
    for (name, value) in before_forwarding(&families, &host) {
        set(&name, &value, None, out)?;
    }
    let found = read()?;
    for (name, value) in desired(&families) {
        let now = found.get(&name).map(String::as_str);
        if satisfies(&name, now, &value) {
            writeln!(out, "{name} = {}", now.unwrap_or_default())?;
        } else {
            set(&name, &value, now, out)?;
        }
    }
    writeln!(out, "prepared")?;
    Ok(())
}

/// Loads the modules that are not in the kernel.
fn load_modules(config: &Config, modprobe: &Modprobe, out: &mut impl Write) -> anyhow::Result<()> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let most = check::most_bits(&kernel);
    if let Some(bits) = config.conn_tab_bits.filter(|bits| *bits > most) {
        bail!("dataplane.connTabBits is {bits}, and kernel {kernel} takes at most {most}");
    }
    let present = Present::look();
    for name in needed::modules(config) {
        let bits = config.conn_tab_bits.filter(|_| name == "ip_vs");
        if present.has(&name) {
            writeln!(out, "module {name}: there")?;
        } else {
            let parameters: Vec<String> = bits.iter().map(|bits| format!("{TABLE_BITS}={bits}")).collect();
            modprobe.load(&name, &parameters).map_err(|error| anyhow!("module {name} cannot be loaded: {error}"))?;
            writeln!(out, "module {name}: {}", [&["loaded".to_owned()], &parameters[..]].concat().join(" "))?;
        }
        if let (Some(wanted), Some(found)) = (bits, check::connection_table_bits())
            && found != u32::from(wanted)
        {
            let remedy = check::table_remedy(wanted);
            writeln!(
                out,
                "WARNING: {TABLE_BITS} of module ip_vs is {found}, and dataplane.connTabBits is {wanted}: {remedy}"
            )?;
        }
    }
    Ok(())
}

fn read() -> anyhow::Result<Sysctls> {
    sysctl::read().map_err(|error| anyhow!("kernel parameters: {error}"))
}

/// Sets a kernel parameter that is `found` now.
fn set(name: &Sysctl, value: &str, found: Option<&str>, out: &mut impl Write) -> anyhow::Result<()> {
    match sysctl::perform(&Step::SetSysctl(name.clone(), value.to_owned())) {
        Outcome::Done => {}
        Outcome::Drifted(words) | Outcome::Refused(words) | Outcome::Later(words) => bail!(words),
        Outcome::Read(_) => bail!("{name} cannot be set to {value}"),
    }
    match found {
        Some(found) => writeln!(out, "{name} = {value}, was {found}")?,
        None => writeln!(out, "{name} = {value}")?,
    }
    Ok(())
}

fn listed(families: &BTreeSet<Family>) -> String {
    families.iter().map(Family::to_string).collect::<Vec<_>>().join(" and ")
}
