//! The export policy, in a gobgpd that may be somebody else's too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vipcast::model::Family;
use vipcast::model::bgp::{Attributes, Export};
use vipcast::plan::Step;

use super::daemon::{Flavour, Gobgpd, each_gobgpd};
use super::{done, identity, read};

type Exports = BTreeMap<IpAddr, Export>;

fn with_med(peers: &[(&str, u32)]) -> Exports {
    let export = |med: &u32| Attributes { med: Some(*med), ..Attributes::default() };
    peers
        .iter()
        .map(|(peer, med)| (peer.parse().unwrap(), Export { attributes: export(med), ..Export::default() }))
        .collect()
}

/// All that is there of policies. Only the assignment has an order.
async fn policies(gobgpd: &Gobgpd) -> (String, BTreeSet<String>) {
    let mut lines = BTreeSet::new();
    for listing in ["policy", "policy statement", "policy neighbor", "policy prefix"] {
        lines.extend(gobgpd.gobgp(listing).await.lines().map(str::to_owned));
    }
    (gobgpd.gobgp("global policy").await, lines)
}

async fn one_policy_takes_the_place_of_another_and_leaves_nothing_behind(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    done(&mut speaker, [Step::StartBgp(identity())]).await;
    for name in ["zeta", "alpha"] {
        gobgpd.gobgp(&format!("policy prefix add {name} 192.0.2.0/24")).await;
        gobgpd.gobgp(&format!("policy statement {name} add condition prefix {name}")).await;
        gobgpd.gobgp(&format!("policy statement {name} add action med add 5")).await;
        gobgpd.gobgp(&format!("policy add {name} {name}")).await;
    }
    gobgpd.gobgp("global policy export add zeta alpha default accept").await;
    let before = policies(&gobgpd).await;
    assert_eq!(read(&mut speaker).await.exports, None);

    let next_hops = [(Family::Ipv6, "2001:db8::9".parse().unwrap())].into();
    let mut next_hop = Exports::from([("127.0.0.8".parse().unwrap(), Export { next_hops, ..Export::default() })]);
    next_hop.extend(with_med(&[("127.0.0.5", 0)]));
    for wanted in [
        with_med(&[("127.0.0.5", 7)]),
        with_med(&[("127.0.0.5", 8), ("2001:db8::5", 7)]),
        with_med(&[("127.0.0.5", 8), ("2001:db8::5", 7)]),
        with_med(&[("127.0.0.6", u32::MAX)]),
        next_hop,
    ] {
        done(&mut speaker, [Step::SetExports(wanted.clone())]).await;
        assert_eq!(read(&mut speaker).await.exports, Some(wanted.clone()));
        // Ours comes first, and is the only one of ours that is left.
        let (assigned, all) = policies(&gobgpd).await;
        let place = |name: &str| assigned.find(name).unwrap_or_else(|| panic!("{name} is not in {assigned}"));
        assert!(place("vipcast-exports-") < place("zeta") && place("zeta") < place("alpha"), "{assigned}");
        let numbers: BTreeSet<&str> = all
            .iter()
            .flat_map(|line| line.split("vipcast-exports-").skip(1))
            .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap())
            .collect();
        assert_eq!(numbers.len(), 1, "{all:?}");
        // Another writer, as after a restart of the agent, finds the same.
        assert_eq!(read(&mut gobgpd.speaker()).await.exports, Some(wanted));
    }

    for _ in 0..2 {
        done(&mut speaker, [Step::SetExports(Exports::new())]).await;
        assert_eq!(read(&mut speaker).await.exports, None);
        assert_eq!(policies(&gobgpd).await, before);
    }
}

async fn whatever_is_left_of_the_export_policy_is_seen_mended_and_removed(flavour: Flavour) {
    let gobgpd = Gobgpd::start(flavour).await;
    let mut speaker = gobgpd.speaker();
    done(&mut speaker, [Step::StartBgp(identity())]).await;
    let (_, before) = policies(&gobgpd).await;
    let wanted = with_med(&[("127.0.0.5", 7)]);
    let part = "vipcast-exports-NUMBER-127.0.0.5";
    for damage in [
        "global policy export del".to_owned(),
        format!("policy statement {part}-IPv4 del action med set 7"),
        format!("policy statement {part}-IPv4 add action reject"),
        format!("policy statement {part}-IPv6 add condition route-type local"),
        format!("policy neighbor add {part} 127.0.0.6"),
        "policy neighbor add vipcast-exports-99-127.0.0.7 127.0.0.7".to_owned(),
        "policy statement vipcast-exports-98-127.0.0.7-IPv4 add action accept".to_owned(),
    ] {
        done(&mut speaker, [Step::SetExports(wanted.clone())]).await;
        assert_eq!(read(&mut speaker).await.exports, Some(wanted.clone()), "{damage}");
        let assigned = gobgpd.gobgp("global policy").await;
        let number: String =
            assigned.split("vipcast-exports-").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
        gobgpd.gobgp(&damage.replace("NUMBER", &number)).await;
        assert_eq!(read(&mut speaker).await.exports, Some(Exports::new()), "{damage}");
    }
    done(&mut speaker, [Step::SetExports(wanted.clone())]).await;
    assert_eq!(read(&mut speaker).await.exports, Some(wanted));
    done(&mut speaker, [Step::SetExports(Exports::new())]).await;
    assert_eq!(read(&mut speaker).await.exports, None);
    assert_eq!(policies(&gobgpd).await.1, before);
}

each_gobgpd!(
    one_policy_takes_the_place_of_another_and_leaves_nothing_behind,
    whatever_is_left_of_the_export_policy_is_seen_mended_and_removed,
);
