//! The kernel, its modules and parameters, our rights, and the programs that we run.

use super::super::facts::{Facts, Module};
use super::super::{Finding, needed};
use super::{error, table, warning};
use crate::config::{Config, Gobgpd};
use crate::model::Family;
use crate::plan;

/// Capabilities by number (`include/uapi/linux/capability.h`).
const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_ADMIN: u32 = 12;
pub(super) const CAP_NET_RAW: u32 = 13;

/// Fewer tracked connections than kube-proxy asks for at least (its `conntrack.min`).
const CONNTRACK_MIN: u64 = 131_072;

/// What no step could succeed without.
pub(super) fn judge_foundations(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    judge_release(facts, findings);
    for (name, place) in &facts.modules {
        judge_module(name, *place, facts, findings);
    }
    judge_rights(config, facts, findings);
    for (program, trouble) in &facts.programs {
        if let Err(trouble) = trouble {
            let package = package(config, program);
            findings.push(error(
                format!("program {program}"),
                trouble,
                format!("the program {program}"),
                format!("apt install {package}"),
            ));
        }
    }
    if needed::configured_families(config).contains(&Family::Ipv6) && !facts.ipv6 {
        findings.push(error(
            "IPv6",
            "a kernel without it, while there is an IPv6 range",
            "IPv6",
            "remove ipv6.disable=1 from the kernel's command line, or the IPv6 ranges from the configuration",
        ));
    }
}

/// The Debian package that `program` is in.
fn package(config: &Config, program: &str) -> &'static str {
    match program {
        "nft" => "nftables",
        "iptables" | "ip6tables" => "iptables",
        _ if matches!(&config.gobgpd, Some(Gobgpd::Spawn(path)) if path.display().to_string() == program) => "gobgpd",
        _ => "the package that has it",
    }
}

fn judge_release(facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = "kernel release";
    let found = facts.kernel.as_str();
    match release(found) {
        None => findings.push(warning(subject, found, "a number such as 6.12", "find out which kernel this is")),
        Some(release) if release < (5, 9) => findings.push(error(
            subject,
            found,
            "5.9 or later: before, a connection that reuses a port waits a second (net.ipv4.vs.conn_reuse_mode)",
            "install a later kernel",
        )),
        Some(release) if release < (6, 3) => findings.push(warning(
            subject,
            found,
            "6.3 or later: before, IPVS counts its statistics in one timer, which stalls the network with tens of \
             thousands of destinations",
            "install a later kernel, for example Debian's from backports",
        )),
        Some(_) => {}
    }
}

/// The first two numbers of a release such as 6.1.0-18-amd64.
pub(super) fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn judge_module(name: &str, place: Module, facts: &Facts, findings: &mut Vec<Finding>) {
    let subject = format!("module {name}");
    let wanted = "loaded, built in, or in /lib/modules for the kernel to load";
    match place {
        Module::Present => {}
        Module::Loadable if facts.modules_disabled => findings.push(error(
            subject,
            "not loaded, and the kernel loads no modules any more (kernel.modules_disabled = 1)",
            wanted,
            format!("echo {name} > /etc/modules-load.d/{name}.conf, and boot again"),
        )),
        Module::Loadable => {}
        Module::Missing => findings.push(error(
            subject,
            format!("neither in the kernel nor in /lib/modules/{}", facts.kernel),
            wanted,
            "apt install linux-image-amd64 and boot it (Ubuntu: linux-modules-extra-$(uname -r)), or build the kernel \
             with it",
        )),
        Module::Unknown => findings.push(warning(
            subject,
            format!("not loaded, and there is no /lib/modules/{} to look in", facts.kernel),
            wanted,
            format!(
                "run `vipcast prepare` in a privileged container that has the host's /lib/modules, or on the host: \
                 modprobe {name}"
            ),
        )),
    }
}

fn judge_rights(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let has = |capability: u32| facts.capabilities & (1 << capability) != 0;
    if !has(CAP_NET_ADMIN) {
        findings.push(error(
            "capability CAP_NET_ADMIN",
            "not among this process's",
            "CAP_NET_ADMIN, for IPVS, nftables, links and routes",
            "run as root, or add NET_ADMIN to the container's capabilities",
        ));
    }
    if !config.settings.proof.canaries.is_empty() && !has(CAP_NET_RAW) {
        findings.push(error(
            "capability CAP_NET_RAW",
            "not among this process's",
            "CAP_NET_RAW, for the packets by which the data plane is proved",
            "run as root, or add NET_RAW to the container's capabilities or CAP_NET_RAW to the unit's, or set proof.canaries to off",
        ));
    }
    if !facts.initial_user_namespace {
        findings.push(error(
            "user namespace",
            "not the initial one",
            "the initial one: IPVS takes orders from nobody else",
            "run without user namespaces (hostUsers: true; no rootless container)",
        ));
    }
    let port = config.settings.bgp.as_ref().and_then(|bgp| bgp.listen_port);
    let spawned = matches!(config.gobgpd, Some(Gobgpd::Spawn(_)));
    if port.is_some_and(|port| port < 1024) && spawned && !has(CAP_NET_BIND_SERVICE) {
        findings.push(error(
            "capability CAP_NET_BIND_SERVICE",
            "not among this process's",
            "CAP_NET_BIND_SERVICE, for a bgp.listenPort below 1024",
            "add it, or set bgp.listenPort to none",
        ));
    }
}

/// Kernel parameters, and the sizes of the kernel's tables.
pub(super) fn judge_parameters(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    judge_settings(config, facts, findings);
    judge_conntrack(facts, findings);
    judge_timeouts(config, facts, findings);
    table::judge(config, facts, findings);
}

/// Parameters that are not as they should be do not matter where we can set them.
fn judge_settings(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let (mut found, mut wanted, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value) in needed::sysctls(config, &facts.addresses) {
        match facts.sysctls.get(&name) {
            Some(parameter) if plan::sysctl::satisfies(&name, Some(&parameter.value), &value) => {}
            Some(parameter) if !parameter.writable => {
                found.push(format!("{name}={}", parameter.value));
                wanted.push(format!("{name}={value}"));
            }
            None if facts.sysctls_locked => absent.push(format!("{name}={value}")),
            _ => {}
        }
    }
    if !wanted.is_empty() {
        let wanted = wanted.join(" ");
        findings.push(error(
            "kernel parameters",
            format!("{}, which this process cannot write", found.join(" ")),
            &wanted,
            format!("run `vipcast prepare` in a privileged container, or on the host: sysctl -w {wanted}"),
        ));
    }
    if !absent.is_empty() {
        let absent = absent.join(" ");
        findings.push(warning(
            "kernel parameters",
            "/proc/sys, which this process cannot write, without those of modules that are not loaded yet",
            &absent,
            format!(
                "run `vipcast prepare` in a privileged container, or on the host: modprobe ip_vs; sysctl -w {absent}"
            ),
        ));
    }
}

fn judge_conntrack(facts: &Facts, findings: &mut Vec<Finding>) {
    // A limit of 0 is none (`nf_conntrack_max` in `net/netfilter/nf_conntrack_core.c`).
    if let Some(conntrack) = facts.conntrack.filter(|conntrack| conntrack.max > 0) {
        let subject = "kernel parameter net/netfilter/nf_conntrack_max";
        let raise = "sysctl -w net/netfilter/nf_conntrack_max=1048576 (about 320 bytes each)";
        if conntrack.count >= conntrack.max / 10 * 8 {
            let found = format!("{} of {} connections in use", conntrack.count, conntrack.max);
            findings.push(warning(subject, found, "room: new connections are dropped when it is full", raise));
        } else if conntrack.max < CONNTRACK_MIN {
            let wanted = format!("{CONNTRACK_MIN} or more: every connection through this node takes one");
            findings.push(warning(subject, conntrack.max.to_string(), wanted, raise));
        }
    }
}

/// What conntrack forgets before IPVS does gets another source port with its next packet, which its endpoint does not know.
fn judge_timeouts(config: &Config, facts: &Facts, findings: &mut Vec<Finding>) {
    let (Some(conntrack), wanted) = (facts.conntrack, config.settings.dataplane.timeouts) else { return };
    for (name, found, key, wanted) in [
        ("tcp_timeout_established", conntrack.tcp, "tcp", wanted.tcp),
        ("udp_timeout_stream", conntrack.udp, "udp", wanted.udp),
    ] {
        if let Some(found) = found.filter(|found| *found < wanted) {
            let name = format!("net/netfilter/nf_conntrack_{name}");
            findings.push(warning(
                format!("kernel parameter {name}"),
                format!("{found} seconds, so conntrack forgets idle connections before IPVS does"),
                format!("{wanted} or more, as dataplane.timeouts.{key} says"),
                format!("sysctl -w {name}={wanted}, or a smaller dataplane.timeouts.{key}"),
            ));
        }
    }
}
