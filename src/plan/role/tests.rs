use super::*;
use crate::model::node::Node;
use crate::model::settings::{Announce, Dataplane, Range, Use};
use crate::model::{Event, Kind, Object, ObjectRef, Selector};
use std::time::Duration;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn settings(selector: &[(&str, &str)]) -> Settings {
    Settings {
        node: "lb1".into(),
        node_selector: Selector::new(labels(selector)),
        node_ips: Vec::new(),
        cluster_ips: None,
        allowed: Vec::new(),
        dataplane: Dataplane::default(),
        bgp: None,
        bfd: Default::default(),
        lease: Default::default(),
        proof: Default::default(),
        brake: Default::default(),
        drain: Default::default(),
        withdraw_delay: Duration::from_secs(2),
        resync: Duration::from_secs(300),
    }
}

/// What is known of the Node.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// Nothing: no list is complete.
    Nothing,
    /// Its labels, before all lists are complete.
    Early(&'static str),
    /// All lists are complete, and it is in none.
    Absent,
    /// All lists are complete, and it has this label.
    Label(&'static str),
    /// The same, and kubelet shuts it down.
    Down(&'static str),
    /// It was there, and is deleted.
    Deleted,
    /// It is there, and was never understood.
    Bad,
}

fn cluster(told: Told) -> Cluster {
    let mut cluster = Cluster::seen_from("lb1");
    let list = |cluster: &mut Cluster| Kind::ALL.into_iter().map(Event::Listed).for_each(|e| drop(cluster.apply(e)));
    let node = |role: &str, shutting_down| {
        Event::Put(Object::Node(Node { labels: labels(&[("role", role)]), shutting_down, ..Node::default() }))
    };
    let name = || ObjectRef { kind: Kind::Node, name: "lb1".into() };
    match told {
        Told::Nothing => {}
        Told::Early(role) => drop(cluster.apply(node(role, false))),
        Told::Absent => list(&mut cluster),
        Told::Label(role) | Told::Down(role) => {
            cluster.apply(node(role, matches!(told, Told::Down(_))));
            list(&mut cluster);
        }
        Told::Deleted => {
            cluster.apply(node("lb", false));
            list(&mut cluster);
            cluster.apply(Event::Gone(name()));
        }
        Told::Bad => {
            cluster.apply(Event::Bad(name(), "no".into()));
            list(&mut cluster);
        }
    }
    cluster
}

#[test]
fn the_label_decides_what_a_node_is() {
    let missing = Role::StandingBy("this node has not the label role=lb: standing by".into());
    let deleted = Role::StandingBy("the Node lb1 was deleted: standing by".into());
    let cases = [
        (Told::Nothing, Role::Unknown),
        (Told::Early("lb"), Role::Unknown),
        (Told::Early("worker"), Role::Unknown),
        (Told::Absent, Role::Frozen),
        (Told::Bad, Role::Frozen),
        (Told::Label("lb"), Role::Serving),
        (Told::Down("lb"), Role::Serving),
        (Told::Label("worker"), missing),
        (Told::Deleted, deleted),
    ];
    for (told, expected) in cases {
        let role = Role::of(&settings(&[("role", "lb")]), &cluster(told));
        assert_eq!(role, expected, "{told:?}");
        assert!(Role::NAMES.contains(&role.name()));
        assert_eq!(Role::of(&settings(&[]), &cluster(told)), Role::Serving, "{told:?}, and no selector");
    }
    let frozen = Role::Frozen.reason(&settings(&[])).unwrap();
    assert!(frozen.contains("no Node lb1") && frozen.contains("`node`"), "{frozen}");
}

/// Labels that only choose peers or ranges make nobody stand by, but they have to be known.
#[test]
fn without_a_role_label_a_node_serves_once_its_labels_are_known() {
    let mut settings = settings(&[]);
    settings.cluster_ips = Some(vec![Range {
        node_selector: Selector::new(labels(&[("rack", "a")])),
        ..Range::new("10.96.0.0/16".parse().unwrap(), Use::ClusterIp, Announce::Aggregate)
    }]);
    let cases = [
        (Told::Nothing, Role::Unknown),
        (Told::Absent, Role::Frozen),
        (Told::Label("worker"), Role::Serving),
        (Told::Deleted, Role::Serving),
    ];
    for (told, expected) in cases {
        assert_eq!(Role::of(&settings, &cluster(told)), expected, "{told:?}");
    }
}

#[test]
fn the_node_decides_how_an_agent_leaves() {
    use Leave::{Keep, Remove, Withdraw};
    let cases = [
        // What is known, and how the agent leaves with `shutdown: keep` and `shutdown: withdraw`.
        (Told::Nothing, Keep, Withdraw),
        (Told::Absent, Keep, Withdraw),
        (Told::Bad, Keep, Withdraw),
        (Told::Early("lb"), Keep, Withdraw),
        (Told::Label("lb"), Keep, Withdraw),
        (Told::Down("lb"), Withdraw, Withdraw),
        (Told::Early("worker"), Remove, Remove),
        (Told::Label("worker"), Remove, Remove),
        (Told::Down("worker"), Remove, Remove),
        (Told::Deleted, Remove, Remove),
    ];
    let lb = settings(&[("role", "lb")]);
    for (told, keep, withdraw) in cases {
        let found = [Keep, Withdraw].map(|configured| farewell(&lb, &cluster(told), configured));
        assert_eq!(found, [keep, withdraw], "{told:?}");
    }
    // Every node is an LB node: only its end counts.
    for (told, expected) in [(Told::Label("worker"), Keep), (Told::Deleted, Keep), (Told::Down("x"), Withdraw)] {
        assert_eq!(farewell(&settings(&[]), &cluster(told), Keep), expected, "{told:?}");
    }
}
