//! BFD: what vendors say of timers, apart from where they say it of a session or a route.

use super::page::Page;
use super::why;
use crate::model::bfd::Timers;

/// FRR: a profile. As in FRR's user guide, chapter "BFD"; a lab loads it.
pub(super) fn profile(page: &mut Page, name: &str, timers: Timers) {
    let interval = timers.interval.as_millis();
    page.why(0, why::bfd(timers));
    page.line(0, "bfd");
    page.line(1, format_args!("profile {name}"));
    page.line(2, format_args!("detect-multiplier {}", timers.multiplier));
    page.line(2, format_args!("receive-interval {interval}"));
    page.line(2, format_args!("transmit-interval {interval}"));
    page.line(1, "exit");
    page.line(0, "exit");
    page.gap();
}

/// EOS: for the whole switch. As in the "EOS User Manual", chapter "Bidirectional Forwarding Detection".
pub(super) fn eos(page: &mut Page, timers: Option<Timers>, multihop: bool) {
    let Some(timers) = timers else { return };
    let (interval, multiplier) = (timers.interval.as_millis(), timers.multiplier);
    let kind = if multihop { "multihop " } else { "" };
    page.why(0, format_args!("{} EOS has them for the whole switch.", why::bfd(timers)));
    page.line(0, "router bfd");
    page.line(1, format_args!("{kind}interval {interval} min-rx {interval} multiplier {multiplier}"));
    page.gap();
}

/// NX-OS: for the whole switch. As in the "Cisco Nexus 9000 Series NX-OS Interfaces Configuration Guide", chapter
/// "Configuring Bidirectional Forwarding Detection".
pub(super) fn nxos(page: &mut Page, timers: Option<Timers>) {
    let Some(timers) = timers else { return };
    let (interval, multiplier) = (timers.interval.as_millis(), timers.multiplier);
    page.why(
        0,
        format_args!(
            "{} NX-OS has them for the whole switch. On the interfaces that lead to LB nodes add `no bfd echo` and `no ip \
             redirects`. {}",
            why::bfd(timers),
            why::NO_ECHO
        ),
    );
    page.line(0, "feature bfd");
    page.line(0, format_args!("bfd interval {interval} min_rx {interval} multiplier {multiplier}"));
    page.gap();
}

/// Junos: in a group or a next hop. As in the "Junos CLI Reference": `bfd-liveness-detection (Protocols BGP)` and
/// `(Routing Options Static Route)`.
pub(super) fn junos(page: &mut Page, level: usize, timers: Timers) {
    page.line(level, "bfd-liveness-detection {");
    page.line(level + 1, format_args!("minimum-interval {};", timers.interval.as_millis()));
    page.line(level + 1, format_args!("multiplier {};", timers.multiplier));
    page.line(level, "}");
}

/// SR Linux: for subinterfaces. As in Nokia's YANG model `srl_nokia-bfd`.
pub(super) fn srlinux(page: &mut Page, timers: Option<Timers>) {
    let Some(timers) = timers else { return };
    let interval = timers.interval.as_micros();
    page.why(
        0,
        format_args!(
            "{} SR Linux has them for each subinterface: put in those that lead to LB nodes.",
            why::bfd(timers)
        ),
    );
    let subinterface = "set / bfd subinterface SUBINTERFACE";
    page.line(0, format_args!("{subinterface} admin-state enable"));
    page.line(0, format_args!("{subinterface} desired-minimum-transmit-interval {interval}"));
    page.line(0, format_args!("{subinterface} required-minimum-receive {interval}"));
    page.line(0, format_args!("{subinterface} detection-multiplier {}", timers.multiplier));
}

/// BIRD: the protocol, which there is once. As in the "BIRD 2.0 User's Guide", chapter "Protocols", BFD; a lab loads it.
pub(super) fn bird(page: &mut Page, timers: Option<Timers>) {
    let Some(timers) = timers else { return };
    let (interval, multiplier) = (timers.interval.as_millis(), timers.multiplier);
    page.why(0, format_args!("{} BIRD has this protocol once.", why::bfd(timers)));
    page.line(0, "protocol bfd vipcast_bfd {");
    page.line(1, format_args!("interface \"*\" {{ interval {interval} ms; multiplier {multiplier}; }};"));
    page.line(1, format_args!("multihop {{ interval {interval} ms; multiplier {multiplier}; }};"));
    page.line(0, "}");
}
