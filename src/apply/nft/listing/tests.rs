use super::super::writing::tests::whole;
use super::*;
use crate::model::nft::{Mss, Source};

/// What nft 1.0.6 lists after it read the text that the test of `writing` shows.
const NUMERIC: &str = include_str!("nft-1.0.6-numeric.json");
/// The same without `-n`.
const NAMED: &str = include_str!("nft-1.0.6-named.json");

fn strays(json: &str) -> Vec<String> {
    table(json).unwrap().stray.into_iter().collect()
}

/// The listing with its objects changed.
fn changed(change: impl FnOnce(&mut Vec<Value>)) -> String {
    let mut listing: Value = serde_json::from_str(NUMERIC).unwrap();
    change(listing["nftables"].as_array_mut().unwrap());
    listing.to_string()
}

/// The object of this kind and name.
fn object<'a>(objects: &'a mut [Value], kind: &str, name: &str) -> &'a mut Value {
    objects.iter_mut().filter_map(|object| object.get_mut(kind)).find(|object| object["name"] == name).unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    assert_eq!(table(NUMERIC), Ok(whole()));
    assert_eq!(table(NAMED), Ok(whole()));
}

#[test]
fn other_spellings_mean_the_same() {
    let spellings = [
        (r#""flags": ["interval"]"#, r#""flags": "interval""#),
        (r#""flags": "fully-random""#, r#""flags": ["fully-random"]"#),
        (r#"{"reject": {"type": "icmpx", "expr": 1}}"#, r#"{"reject": null}"#),
        (r#"{"set": [1, 58]}"#, r#"{"set": ["icmpv6", "icmp"]}"#),
        (r#", "policy": "accept""#, ""),
        ("[1, 2, 4, 16]", r#"{"|": [{"|": [{"|": ["fin", "syn"]}, "rst"]}, "ack"]}"#),
    ];
    for (ours, theirs) in spellings {
        assert!(NUMERIC.contains(ours), "{ours}");
        assert_eq!(table(&NUMERIC.replace(ours, theirs)), Ok(whole()), "{theirs}");
    }
}

#[test]
fn an_empty_table_lacks_everything() {
    let json = r#"{"nftables": [{"metainfo": {}}, {"table": {"family": "inet", "name": "vipcast", "handle": 2}}]}"#;
    let strays = strays(json);
    assert!(strays.iter().all(|stray| stray.ends_with(" is missing")), "{strays:?}");
    for name in ["chain postrouting", "chain admission", "set keep6"] {
        assert!(strays.contains(&format!("{name} is missing")), "{strays:?}");
    }
}

#[test]
fn what_rules_vary_with_is_read_from_them() {
    let source = r#""addr": {"range": ["192.0.2.10", "192.0.2.13"]}, "port": {"range": [1024, 65535]}"#;
    let single = table(&NUMERIC.replace(source, r#""addr": "192.0.2.10", "port": {"range": [1024, 65535]}"#)).unwrap();
    let address = "192.0.2.10".parse().unwrap();
    assert_eq!(single.source.pool, [(Family::Ipv4, (address, address))].into());
    assert!(single.stray.is_empty(), "{single:?}");

    // nft names a range by its prefix where it is one.
    let prefix = source
        .replace(r#"{"range": ["192.0.2.10", "192.0.2.13"]}"#, r#"{"prefix": {"addr": "192.0.2.12", "len": 30}}"#);
    let aligned = table(&NUMERIC.replace(source, &prefix)).unwrap();
    let ends = ["192.0.2.12", "192.0.2.15"].map(|end| end.parse().unwrap());
    assert_eq!(aligned.source.pool, [(Family::Ipv4, ends.into())].into());
    assert!(aligned.stray.is_empty(), "{aligned:?}");

    let ports = table(&NUMERIC.replace("[1024, 65535]", "[2000, 2999]")).unwrap();
    assert_eq!(ports, Table { source: Source { ports: Some((2000, 2999)), ..whole().source }, ..whole() });

    let auto = NUMERIC.replace(r#""value": 1240"#, r#""value": {"rt": {"key": "mtu"}}"#);
    let auto = auto.replace(r#""value": 1220"#, r#""value": {"rt": {"key": "mtu"}}"#);
    assert_eq!(table(&auto), Ok(Table { mss: Some(Mss::Auto), ..whole() }));

    let off = changed(|objects| {
        let clamp = |name: &Value| name.as_str().is_some_and(|name| name.starts_with("clamp"));
        objects.retain(|object| !clamp(&object["chain"]["name"]) && !clamp(&object["rule"]["chain"]));
    });
    assert_eq!(table(&off), Ok(Table { mss: None, ..whole() }));
}

#[test]
fn rules_that_contradict_each_other_are_named() {
    // The size for IPv6 does not follow from the one for IPv4, nor do the ports of one from those of the other.
    let sizes = strays(&NUMERIC.replace(r#""value": 1220"#, r#""value": 1300"#));
    assert!(sizes.contains(&"the rules of chain clamp are not the ones of inet vipcast in their order".to_owned()));
    let ports =
        strays(&NUMERIC.replace(r#"{"masquerade": {"port": {"range": [1024, 65535]}"#, r#"{"masquerade": {"port": 9"#));
    assert!(ports.iter().any(|stray| stray.starts_with("rule missing in chain translate: ")), "{ports:?}");
}

#[test]
fn a_change_in_a_rule_is_named() {
    let cases = [
        (r#""flags": "fully-random""#, r#""flags": "random""#, "rule missing in chain translate: meta nfproto 2"),
        (r#""op": "!=""#, r#""op": "==""#, "rule missing in chain postrouting: ct original ip daddr @masquerade4"),
        (
            r#""right": "@guard4""#,
            r#""right": "10.0.0.1""#,
            "rule missing in chain input: ip daddr @guard4 goto refuse",
        ),
        (r#""type": "tcp reset""#, r#""type": "icmp""#, "rule missing in chain refuse: meta l4proto 6 reject"),
        (r#"{"set": [1, 58]}"#, r#"{"set": [1]}"#, "rule missing in chain refuse: meta l4proto { 1, 58 } accept"),
    ];
    for (ours, theirs, expected) in cases {
        assert!(NUMERIC.contains(ours), "{ours}");
        let found = strays(&NUMERIC.replace(ours, theirs));
        assert!(found.iter().any(|stray| stray.starts_with(expected)), "{theirs}: {found:?}");
    }
}

#[test]
fn rules_are_compared_in_their_order() {
    let swapped = changed(|objects| {
        let rules: Vec<usize> = (0..objects.len()).filter(|&i| objects[i]["rule"]["chain"] == "refuse").collect();
        objects.swap(rules[0], rules[1]);
    });
    assert_eq!(strays(&swapped), ["the rules of chain refuse are not the ones of inet vipcast in their order"]);
    let twice = changed(|objects| {
        let last = objects.last().unwrap().clone();
        objects.push(last);
    });
    assert_eq!(strays(&twice).len(), 1);
}

#[test]
fn an_additional_rule_is_named() {
    let added = changed(|objects| {
        objects.push(serde_json::json!({"rule": {"chain": "input", "handle": 99, "expr": [{"accept": null}]}}));
    });
    assert!(strays(&added).contains(&r#"rule in chain input: [{"accept":null}]"#.to_owned()), "{:?}", strays(&added));
}

#[test]
fn chains_elsewhere_and_switched_off_tables_are_named() {
    let moved = changed(|objects| object(objects, "chain", "input")["prio"] = 0.into());
    assert_eq!(
        strays(&moved),
        [r#"chain input is in another place: type "filter" hook "input" prio 0 policy "accept""#]
    );
    let closed = changed(|objects| object(objects, "chain", "input")["policy"] = "drop".into());
    assert_eq!(strays(&closed).len(), 1);
    let hooked = changed(|objects| object(objects, "chain", "refuse")["hook"] = "input".into());
    assert_eq!(strays(&hooked), [r#"chain refuse is in another place: hook "input""#]);
    let dormant = changed(|objects| object(objects, "table", "vipcast")["flags"] = "dormant".into());
    assert_eq!(strays(&dormant), [r#"flags of the table: "dormant""#]);
}

#[test]
fn missing_and_additional_objects_are_named() {
    let gone = changed(|objects| objects.retain(|object| object["set"]["name"] != "guard6"));
    assert_eq!(strays(&gone), ["set guard6 is missing"]);
    let gone = changed(|objects| {
        objects.retain(|object| object["chain"]["name"] != "refuse" && object["rule"]["chain"] != "refuse");
    });
    assert_eq!(strays(&gone), ["chain refuse is missing"]);
    let more = changed(|objects| {
        objects.push(serde_json::json!({"chain": {"name": "mine"}}));
        objects.push(serde_json::json!({"set": {"name": "theirs"}}));
        objects.push(serde_json::json!({"counter": {"name": "hits"}}));
    });
    assert_eq!(strays(&more), ["chain mine", "counter hits", "set theirs"]);
}

#[test]
fn a_change_in_a_set_is_seen() {
    let elements = |name: &'static str, elements: Value| {
        let json = changed(|objects| object(objects, "set", name)["elem"] = elements);
        table(&json).unwrap()
    };
    let other = elements("guard4", serde_json::json!(["10.96.0.1"]));
    assert_eq!(other.guard, BTreeSet::from(["10.96.0.1/32".parse().unwrap()]));
    assert!(other.stray.is_empty());

    let range = elements("guard4", serde_json::json!([{"range": ["10.96.0.1", "10.96.0.9"]}]));
    assert!(range.stray.contains(r#"element of set guard: {"range":["10.96.0.1","10.96.0.9"]}"#), "{range:?}");

    let emptied = elements("guard4", serde_json::json!([]));
    assert_eq!(emptied, Table { guard: BTreeSet::new(), ..whole() });

    let strange = elements("keep4", serde_json::json!([{"concat": ["10.96.0.1", 33, 80]}]));
    assert!(strange.stray.contains(r#"element of set keep: {"concat":["10.96.0.1",33,80]}"#), "{strange:?}");

    let unfiltered = elements("filtered4", serde_json::json!([]));
    let source = "192.0.2.0/24 is allowed to 10.96.0.1:80 TCP, which is not filtered";
    assert!(unfiltered.stray.contains(source), "{unfiltered:?}");

    let timed = changed(|objects| object(objects, "set", "guard4")["timeout"] = 60.into());
    assert_eq!(strays(&timed), ["set guard4 is of another kind"]);
}

#[test]
fn what_is_no_listing_is_an_error() {
    assert!(table("").unwrap_err().starts_with("nft did not answer in JSON: "));
    assert_eq!(table("{}").unwrap_err(), "nft's answer holds no list `nftables`");
}
