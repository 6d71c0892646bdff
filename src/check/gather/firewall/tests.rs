use super::*;

/// What nft 1.0.6 prints for a ruleset of firewalld's kind beside an iptables one.
const CHAINS: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
    {"chain": {"family": "inet", "table": "firewalld", "name": "filter_INPUT", "handle": 2, "type": "filter",
        "hook": "input", "prio": 10, "policy": "accept"}},
    {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter",
        "hook": "forward", "prio": 0, "policy": "drop"}},
    {"chain": {"family": "ip", "table": "nat", "name": "POSTROUTING", "handle": 1, "type": "nat",
        "hook": "postrouting", "prio": 100, "policy": "accept"}},
    {"chain": {"family": "ip", "table": "nat", "name": "KUBE-SERVICES", "handle": 2}},
    {"chain": {"family": "bridge", "table": "b", "name": "c", "handle": 1, "type": "filter",
        "hook": "forward", "prio": 0, "policy": "drop"}}]}"#;

#[test]
fn chains_of_nft() {
    let chain = |family: &str, table: &str, name: &str, hook: Option<&str>, priority, policy_drop| Chain {
        tool: "nft".into(),
        family: family.into(),
        table: table.into(),
        name: name.into(),
        hook: hook.map(str::to_owned),
        priority,
        policy_drop,
        refusal: None,
    };
    let expected = vec![
        chain("inet", "firewalld", "filter_INPUT", Some("input"), 10, false),
        chain("ip", "filter", "FORWARD", Some("forward"), 0, true),
        chain("ip", "nat", "POSTROUTING", None, 100, false),
        chain("ip", "nat", "KUBE-SERVICES", None, 0, false),
    ];
    assert_eq!(parse_chains(CHAINS), Ok(expected));
    assert_eq!(parse_chains("{}"), Err("nft's answer has no list".to_owned()));
}

#[test]
fn only_a_rule_without_conditions_refuses_everything() {
    let rule = |expressions: &str| {
        format!(r#"{{"nftables": [{{"metainfo": {{}}}}, {{"rule": {{"handle": 7, "expr": {expressions}}}}}]}}"#)
    };
    for (expressions, refusal) in [
        (r#"[{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]"#, Some("rule 7 (reject)")),
        (
            r#"[{"counter": {"packets": 0, "bytes": 0}}, {"log": {"prefix": "x"}}, {"drop": null}]"#,
            Some("rule 7 (drop)"),
        ),
        (
            r#"[{"xt": {"type": "match", "name": "comment"}}, {"xt": {"type": "target", "name": "REJECT"}}]"#,
            Some("rule 7 (reject)"),
        ),
        (r#"[{"xt": {"type": "match", "name": "set"}}, {"xt": {"type": "target", "name": "REJECT"}}]"#, None),
        (r#"[{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "invalid"}}, {"drop": null}]"#, None),
        (r#"[{"accept": null}]"#, None),
        (r#"[{"jump": {"target": "filter_X"}}]"#, None),
        ("[]", None),
    ] {
        assert_eq!(parse_refusal(&rule(expressions)), Ok(refusal.map(str::to_owned)), "{expressions}");
    }
}

#[test]
fn chains_of_the_legacy_iptables() {
    let save = "# Generated\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:KUBE-SERVICES - [0:0]\n\
                -A INPUT -p tcp -j DROP\n-A INPUT -j REJECT --reject-with icmp-port-unreachable\nCOMMIT\n";
    let chains = legacy("ip6", "filter", save);
    let summary: Vec<_> = chains
        .iter()
        .map(|chain| (chain.name.as_str(), chain.hook.as_deref(), chain.policy_drop, chain.refusal.as_deref()))
        .collect();
    let refusal = "rule -A INPUT -j REJECT --reject-with icmp-port-unreachable";
    let expected = [
        ("INPUT", Some("input"), false, Some(refusal)),
        ("FORWARD", Some("forward"), true, None),
        ("KUBE-SERVICES", None, false, None),
    ];
    assert_eq!(summary, expected);
    assert!(chains.iter().all(|chain| chain.tool == "ip6tables-legacy" && chain.family == "ip6"));
    assert_eq!(legacy("ip", "nat", ":INPUT ACCEPT [0:0]\n")[0].hook, None);
}

#[test]
fn what_might_load_a_module_is_not_run() {
    assert!(chains(Some(Module::Unknown)).is_err());
}
