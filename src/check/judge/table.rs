//! The size of IPVS's connection table: `conn_tab_bits`, a parameter of the module `ip_vs` that is fixed when it is
//! loaded.

use super::super::Finding;
use super::super::facts::Facts;
use super::kernel::release;
use super::{error, warning};
use crate::config::Config;

/// The bits that a kernel of this release takes at most (`ip_vs_conn_init` in `net/netfilter/ipvs/ip_vs_conn.c`): 20,
/// and 27 since 6.5. Up to there 8 are the least; what is outside becomes the default of 12, or since 6.8 the nearest
/// bound, which is also what half of the machine's memory has room for.
pub(crate) fn most_bits(kernel: &str) -> u8 {
    if release(kernel).is_some_and(|release| release < (6, 5)) { 20 } else { 27 }
}

/// How the parameter gets another value.
pub(crate) fn remedy(bits: u8) -> String {
    format!(
        "boot the node again with `options ip_vs conn_tab_bits={bits}` in /etc/modprobe.d/ip_vs.conf (built in: \
         ip_vs.conn_tab_bits={bits} on the kernel's command line), or unload ip_vs, which ends all that it forwards, and \
         run `vipcast prepare`"
    )
}

pub(super) fn judge(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let most = most_bits(&facts.kernel);
    match (config.conn_tab_bits, facts.connection_table_bits) {
        (Some(wanted), _) if wanted > most => findings.push(error(
            "dataplane.connTabBits",
            wanted.to_string(),
            format!("at most {most}: kernel {} falls back to its default with more", facts.kernel),
            "correct it, or install kernel 6.5 or later",
        )),
        (Some(wanted), Some(found)) if found != u32::from(wanted) => findings.push(warning(
            "parameter conn_tab_bits of module ip_vs",
            found.to_string(),
            format!("{wanted}, as dataplane.connTabBits says; it is fixed when the module is loaded"),
            remedy(wanted),
        )),
        // Since 7.1 the table grows by itself.
        (None, Some(found)) if found < 16 && release(&facts.kernel).is_some_and(|release| release < (7, 1)) => {
            findings.push(warning(
                "parameter conn_tab_bits of module ip_vs",
                format!("{found}, so {} buckets, which are searched one entry after the other", 1u64 << found),
                "20 on a node for a million connections (8 MiB); it is fixed when the module is loaded",
                format!("set dataplane.connTabBits to 20, and {}", remedy(20)),
            ));
        }
        _ => {}
    }
}
