use std::time::Duration;

use tokio::io::BufReader;

use super::*;

async fn lines(text: &[u8]) -> Vec<Option<String>> {
    let mut reader = BufReader::new(text);
    let mut found = Vec::new();
    loop {
        match read_line(&mut reader).await {
            Ok(Some(line)) => found.push(Some(line)),
            Ok(None) => return found,
            Err(_) => {
                found.push(None);
                return found;
            }
        }
    }
}

#[tokio::test]
async fn lines_are_read_whole_or_not_at_all() {
    let said = |text: &str| Some(text.to_owned());
    assert_eq!(lines(b"").await, []);
    assert_eq!(lines(b"{}\n\n{\"a\":1}\n").await, [said("{}"), said(""), said("{\"a\":1}")]);
    assert_eq!(lines(b"{}\n{\"renewal\":{}").await, [said("{}")]);
    assert_eq!(lines(b"\xff\n").await, [said("\u{fffd}")]);
    let longest = usize::try_from(LONGEST).unwrap();
    assert_eq!(lines(&vec![b' '; longest + 10]).await, [None]);
    let mut fits = vec![b' '; longest - 1];
    fits.push(b'\n');
    assert_eq!(lines(&fits).await, [Some(" ".repeat(longest - 1))]);
}

#[test]
fn versions_meet_where_they_overlap() {
    let hello = |speaks| Hello { speaks, ..Hello::new(true) };
    let own = hello((2, 3));
    for (theirs, meet) in [((1, 1), false), ((1, 2), true), ((3, 9), true), ((2, 3), true), ((4, 4), false)] {
        assert_eq!(hello(theirs).meets(&own).is_ok(), meet, "{theirs:?}");
    }
    let refusal = Hello { version: "9.9".to_owned(), ..hello((4, 5)) }.meets(&own).unwrap_err();
    assert!(refusal.contains("vipcast 9.9") && refusal.contains("4 to 5") && refusal.contains("2 to 3"), "{refusal}");
}

#[test]
fn what_a_later_version_adds_is_passed_over() {
    let later = r#"{"hello":{"speaks":[1,7],"version":"8.0","agent":true,"mood":"good"},"weather":{"sun":true}}"#;
    let found: ToSpeaker = parse(later).unwrap();
    assert_eq!(found.hello.unwrap().speaks, (1, 7));
    assert_eq!(parse::<ToSpeaker>(r#"{"weather":{"sun":true}}"#).unwrap(), ToSpeaker::default());
    let request = parse::<ToSpeaker>(r#"{"request":"dance"}"#).unwrap().request;
    assert_eq!(request, Some(Request::Unknown));
}

#[test]
fn an_earlier_version_says_less() {
    let found: ToSpeaker = parse(r#"{"hello":{"speaks":[1,1]}}"#).unwrap();
    assert_eq!(found.hello, Some(Hello { speaks: (1, 1), version: String::new(), agent: false }));
    let found: ToSpeaker = parse(r#"{"renewal":{}}"#).unwrap();
    assert_eq!(found.renewal, Some(Renewal { objection: None }));
}

#[test]
fn garbage_is_named() {
    for (line, expected) in [
        ("", "EOF"),
        ("hello", "expected value"),
        ("[]", "invalid length 0"),
        ("{\"hello\":{}}", "hello: missing field `speaks`"),
        ("{\"hello\":{\"speaks\":[1]}}", "hello.speaks: "),
        ("{\"renewal\":{\"objection\":7}}", "renewal.objection: invalid type: integer `7`"),
    ] {
        match parse::<ToSpeaker>(line) {
            Err(error) => assert!(error.contains(expected), "{line}: {error}"),
            // serde reads a sequence as a struct's fields in their order.
            Ok(found) => assert_eq!((line, found), ("[]", ToSpeaker::default())),
        }
    }
}

#[test]
fn messages_survive_the_way() {
    let orders = Orders {
        ttl: Duration::from_millis(5500),
        fail_static: Duration::from_secs(3600),
        owned: Some(["10.96.0.0/16".parse().unwrap()].into()),
        canaries: Vec::new(),
        undecided: false,
        bfd: BTreeMap::new(),
        graceful_restart: false,
        announced_by: Default::default(),
    };
    let line = serde_json::to_string(&ToSpeaker { orders: Some(orders.clone()), ..ToSpeaker::default() }).unwrap();
    assert!(!line.contains("hello") && !line.contains('\n'), "{line}");
    assert_eq!(parse::<ToSpeaker>(&line).unwrap().orders, Some(orders));
}
