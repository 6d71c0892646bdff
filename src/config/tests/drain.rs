//! `drain`.

use std::time::Duration;

use super::{BGP, SOURCE, assert_refused, good};
use crate::model::settings::{Drain, Taint};
use crate::plan::change::Leave;

const CLUSTER: &str = "source: {kubernetes: {}}\nnode: lb1\n";

fn drain(text: &str) -> Drain {
    good(text).settings.drain
}

#[test]
fn a_cluster_has_a_fleet_and_manifests_have_none() {
    assert_eq!(drain(SOURCE), Drain::default());
    assert_eq!(drain(CLUSTER).fleet.as_deref(), Some("vipcast"));
    assert_eq!(drain(&format!("{CLUSTER}drain: {{fleet: rack-a}}")).fleet.as_deref(), Some("rack-a"));
    assert_eq!(drain(&format!("{CLUSTER}drain: {{fleet: off}}")).fleet, None);
}

#[test]
fn everything_can_be_said() {
    let text = "drain: {maxUnavailable: 2, quiet: 5s, patience: 1m, deadline: 1h, prepend: 3, taints: [a.example/x, \
                'a.example/y=z', 'a.example/v:NoExecute', 'a.example/w=1:NoSchedule']}\nshutdown: drain\n";
    let config = good(&format!("{SOURCE}{text}"));
    assert_eq!(config.shutdown, Leave::Drain);
    let taint = |key: &str, value: Option<&str>, effect: Option<&str>| Taint {
        key: key.into(),
        value: value.map(Into::into),
        effect: effect.map(Into::into),
    };
    let taints = vec![
        taint("a.example/x", None, None),
        taint("a.example/y", Some("z"), None),
        taint("a.example/v", None, Some("NoExecute")),
        taint("a.example/w", Some("1"), Some("NoSchedule")),
    ];
    let expected = Drain {
        max_unavailable: 2,
        quiet: Duration::from_secs(5),
        patience: Duration::from_secs(60),
        deadline: Duration::from_secs(3600),
        prepend: 3,
        fleet: None,
        taints: taints.clone(),
    };
    assert_eq!(config.settings.drain, expected);
    let words: Vec<String> = taints.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["a.example/x", "a.example/y=z", "a.example/v:NoExecute", "a.example/w=1:NoSchedule"]);
}

#[test]
fn mistakes() {
    let taints =
        "allowed: a list of taints such as example.com/maintenance, or example.com/maintenance=soon:NoSchedule";
    let cases = [
        (
            "drain: {maxUnavailble: 1}",
            "2:9: drain.maxUnavailble: unknown key (did you mean maxUnavailable?); allowed: maxUnavailable, fleet, quiet, patience, deadline, prepend, taints".to_owned(),
        ),
        (
            "drain: {maxUnavailable: -1}",
            "2:25: drain.maxUnavailable: found -1; allowed: a number of LB nodes from 0 to 1000".to_owned(),
        ),
        ("drain: {quiet: 11m}", "2:16: drain.quiet: found 11m; allowed: a time such as 2s, from 0s to 600s".to_owned()),
        (
            "drain: {fleet: a}",
            "2:16: drain.fleet: found a, while the source is manifests, which has no Leases; allowed: fleet with source.kubernetes".to_owned(),
        ),
        ("drain: {prepend: 17}", "2:18: drain.prepend: found 17; allowed: a number of times from 0 to 16".to_owned()),
        ("drain: {taints: [a/b:Never]}", format!("2:18: drain.taints[0]: found a/b:Never; {taints}")),
        ("drain: {taints: ['=x']}", format!("2:18: drain.taints[0]: found the text \"=x\"; {taints}")),
        ("drain: {taints: a/b}", format!("2:17: drain.taints: found a/b; {taints}")),
    ];
    for (text, message) in cases {
        assert_refused(&[(format!("{SOURCE}{text}\n"), message.as_str())]);
    }
    let fleet = "allowed: off, or a name of at most 40 lower-case letters, digits and '-'";
    for name in ["Rack", "a.b", "-a", &"a".repeat(41)] {
        let message = format!("3:16: drain.fleet: found {name}; {fleet}");
        assert_refused(&[(format!("{CLUSTER}drain: {{fleet: {name}}}\n"), message.as_str())]);
    }
    // A peer in the own AS would take the routes for loops.
    let internal = format!("bgp: {{{}}}\n", BGP.replace("asn: 65000", "asn: 65001"));
    assert_refused(&[(
        format!("{SOURCE}{internal}drain: {{prepend: 1}}\n"),
        "3:18: drain.prepend: found 1, while a peer is in the same AS and would drop such routes as loops; allowed: prepend only where all peers are in other ASes",
    )]);
    assert_eq!(drain(&format!("{SOURCE}{internal}")).prepend, 0);
}
