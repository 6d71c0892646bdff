//! The Leases by which LB nodes agree who may leave, in a real API server, with the rights of `deploy/base`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use vipcast::apply::fleet::{Member, keep};
use vipcast::config::Kubernetes;
use vipcast::model::fleet::{Stance, Standing, Verdict};
use vipcast::plan::Change;
use vipcast::watch::kubernetes::Access;
use vipcast_lab::apiserver::ServerOptions;

use crate::cluster::{Call, Cluster, Control};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/vipcast/leases";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node of the fleet `name`.
struct Node {
    name: String,
    fleet: &'static str,
    max_unavailable: u32,
    standing: watch::Sender<Option<Standing>>,
    changes: mpsc::Receiver<Change>,
}

impl Node {
    fn start(runtime: &Runtime, control: &Control, fleet: &'static str, name: &str, max_unavailable: u32) -> Node {
        let source = Kubernetes { kubeconfig: Some(control.kubeconfig.clone()), ..Kubernetes::default() };
        let access = Access::new(&source, control.plane.folder(), false);
        let _inside = runtime.enter();
        let (standing, wanted) = watch::channel(None);
        let (sender, changes) = mpsc::channel(64);
        let member = Member { client: access.client(), namespace: "vipcast".to_owned(), node: name.to_owned() };
        runtime.spawn(keep(member, wanted, sender));
        Node { name: name.to_owned(), fleet, max_unavailable, standing, changes }
    }

    fn is(&self, stance: Stance) {
        let (fleet, max_unavailable) = (self.fleet.to_owned(), self.max_unavailable);
        let serves = matches!(stance, Stance::Present | Stance::Asking);
        self.standing.send_replace(Some(Standing { fleet, max_unavailable, stance, serves }));
    }

    /// What the fleet says next.
    async fn verdict(&mut self) -> Verdict {
        match timeout(PATIENCE, self.changes.recv()).await.expect("nothing is told") {
            Some(Change::Fleet(verdict)) => verdict,
            other => panic!("{other:?}"),
        }
    }

    /// What the fleet says once it can say yes or no.
    async fn answer(&mut self) -> Verdict {
        loop {
            match self.verdict().await {
                Verdict::Unknown(_) => {}
                verdict => return verdict,
            }
        }
    }
}

/// The Leases of a fleet that somebody holds, with their holders.
fn held(control: &Control, fleet: &str) -> Vec<(String, String)> {
    let text = control.server.kubectl(&["get", "--raw", LEASES], "").unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    let leases = list["items"].as_array().unwrap().iter();
    let of_fleet = leases.filter(|lease| lease["metadata"]["labels"]["vipcast.io/fleet"] == fleet);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let held = of_fleet.map(|lease| (text(&lease["metadata"]["name"]), text(&lease["spec"]["holderIdentity"])));
    held.filter(|(_, holder)| !holder.is_empty()).collect()
}

fn until_held(control: &Control, fleet: &str, expected: &[(&str, &str)]) {
    let named = |(lease, holder): &(&str, &str)| (format!("{fleet}-{lease}"), (*holder).to_owned());
    let expected: Vec<_> = expected.iter().map(named).collect();
    let started = Instant::now();
    loop {
        let found = held(control, fleet);
        if found == expected {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{found:?}, never {expected:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// So many nodes, which all announce.
fn fleet(runtime: &Runtime, control: &Control, fleet: &'static str, count: usize, max_unavailable: u32) -> Vec<Node> {
    let names: Vec<String> = (1..=count).map(|number| format!("lb{number}")).collect();
    let nodes: Vec<Node> =
        names.iter().map(|name| Node::start(runtime, control, fleet, name, max_unavailable)).collect();
    nodes.iter().for_each(|node| node.is(Stance::Present));
    let leases: Vec<(String, &str)> = names.iter().map(|name| (format!("here-{name}"), name.as_str())).collect();
    let leases: Vec<(&str, &str)> = leases.iter().map(|(lease, name)| (lease.as_str(), *name)).collect();
    until_held(control, fleet, &leases);
    nodes
}

/// All ask at once, again and again: one gets the slot, and the others are told who it is.
#[test]
fn of_all_that_ask_at_once_as_many_leave_as_may() {
    let Some(cluster) = Cluster::shared() else { return };
    let runtime = Runtime::new().unwrap();
    let mut nodes = fleet(&runtime, &cluster, "race", 4, 1);
    for _ in 0..3 {
        nodes.iter().for_each(|node| node.is(Stance::Asking));
        let mut gone = Vec::new();
        let mut refusals = Vec::new();
        for node in &mut nodes {
            match runtime.block_on(node.answer()) {
                Verdict::Granted => gone.push(node.name.clone()),
                Verdict::Refused(reason) => refusals.push(reason),
                Verdict::Unknown(reason) => unreachable!("{reason}"),
            }
        }
        assert_eq!((gone.len(), refusals.len()), (1, 3), "{gone:?} {refusals:?}");
        let expected = format!("{} is away, and drain.maxUnavailable is 1", gone[0]);
        assert!(refusals.iter().all(|reason| *reason == expected), "{refusals:?}");
        // It leaves and comes back, and the slot with it.
        let leaver = nodes.iter().find(|node| node.name == gone[0]).unwrap();
        leaver.is(Stance::Away);
        nodes.iter().filter(|node| node.name != gone[0]).for_each(|node| node.is(Stance::Present));
        let here = nodes.iter().filter(|node| node.name != gone[0]).map(|node| format!("here-{}", node.name));
        let here: Vec<String> = here.collect();
        let mut leases: Vec<(&str, &str)> = vec![("away-0", &gone[0])];
        leases.extend(here.iter().map(|lease| (lease.as_str(), &lease["here-".len()..])));
        until_held(&cluster, "race", &leases);
        let leaver = nodes.iter().find(|node| node.name == gone[0]).unwrap();
        leaver.is(Stance::Present);
        let all = ["lb1", "lb2", "lb3", "lb4"].map(|name| (format!("here-{name}"), name));
        until_held(&cluster, "race", &all.each_ref().map(|(lease, name)| (lease.as_str(), *name)));
        // What was said meanwhile is about the former question.
        nodes.iter_mut().for_each(|node| while node.changes.try_recv().is_ok() {});
    }
    let refused: Vec<_> = cluster.asked_by_agent().into_iter().filter(|asked| asked.code == 403).collect();
    assert!(refused.is_empty(), "the role is not enough: {refused:?}");
}

/// There is a slot for each, and each sees the other one announce: still one of them stays.
#[test]
fn the_last_two_do_not_leave_at_once() {
    let Some(cluster) = Cluster::shared() else { return };
    let runtime = Runtime::new().unwrap();
    let mut nodes = fleet(&runtime, &cluster, "pair", 2, 2);
    for _ in 0..5 {
        nodes.iter().for_each(|node| node.is(Stance::Asking));
        // Both may have to try again; whoever has leave keeps it.
        let mut gone: Option<String> = None;
        let started = Instant::now();
        while gone.is_none() {
            assert!(started.elapsed() < PATIENCE, "nobody may leave");
            for node in &mut nodes {
                if runtime.block_on(node.answer()) == Verdict::Granted {
                    assert_eq!(gone, None, "both may leave");
                    gone = Some(node.name.clone());
                }
            }
        }
        let stays = nodes.iter_mut().find(|node| Some(&node.name) != gone.as_ref()).unwrap();
        let refusal = runtime.block_on(stays.answer());
        let reason = format!("{} is the last LB node that announces ({} is away)", stays.name, gone.unwrap());
        assert_eq!(refusal, Verdict::Refused(reason));
        nodes.iter().for_each(|node| node.is(Stance::Present));
        until_held(&cluster, "pair", &[("here-lb1", "lb1"), ("here-lb2", "lb2")]);
        nodes.iter_mut().for_each(|node| while node.changes.try_recv().is_ok() {});
    }
}

/// A node that was forced takes a slot for others to see; one whose machine is off keeps it; one that nobody hears of
/// announces no more.
#[test]
fn who_is_away_counts_however_it_went() {
    let Some(cluster) = Cluster::shared() else { return };
    let runtime = Runtime::new().unwrap();
    let mut nodes = fleet(&runtime, &cluster, "away", 3, 1);
    // One after the other: who is first has the first slot.
    nodes[0].is(Stance::Away);
    until_held(&cluster, "away", &[("away-0", "lb1"), ("here-lb2", "lb2"), ("here-lb3", "lb3")]);
    nodes[1].is(Stance::Away);
    until_held(&cluster, "away", &[("away-0", "lb1"), ("away-1", "lb2"), ("here-lb3", "lb3")]);
    nodes[2].is(Stance::Asking);
    let reason = "lb3 is the last LB node that announces (lb1, lb2 are away)";
    assert_eq!(runtime.block_on(nodes[2].answer()), Verdict::Refused(reason.to_owned()));
    // One is back; the other one's machine is off, and nobody renews its slot.
    nodes[0].is(Stance::Present);
    until_held(&cluster, "away", &[("away-1", "lb2"), ("here-lb1", "lb1"), ("here-lb3", "lb3")]);
    nodes.remove(1);
    let refused = |reason: &str| Verdict::Refused(reason.to_owned());
    while runtime.block_on(nodes[1].answer()) != refused("lb2 is away, and drain.maxUnavailable is 1") {}
    // It was not heard of for so long that its place is given up.
    let spec = json!({ "spec": { "renewTime": "2026-01-01T00:00:00.000000Z" } });
    cluster.call(Call::patch(format!("{LEASES}/away-away-1"), spec));
    while runtime.block_on(nodes[1].answer()) != Verdict::Granted {}
}

#[test]
fn without_an_api_server_nobody_can_tell_and_nobody_leaves() {
    let Some(cluster) = Cluster::own(ServerOptions::default()) else { return };
    let runtime = Runtime::new().unwrap();
    let mut nodes = fleet(&runtime, &cluster, "vipcast", 2, 1);
    cluster.server.stop().unwrap();
    nodes[0].is(Stance::Asking);
    let Verdict::Unknown(reason) = runtime.block_on(nodes[0].verdict()) else { panic!("somebody knows") };
    assert!(!reason.is_empty());
}

/// A fleet that a node is not in any more is not told that it is there, nor is its slot kept.
#[test]
fn who_leaves_its_fleet_or_joins_another_leaves_no_lease_behind() {
    let Some(cluster) = Cluster::shared() else { return };
    let runtime = Runtime::new().unwrap();
    let mut nodes = fleet(&runtime, &cluster, "left", 2, 1);
    nodes[0].is(Stance::Away);
    until_held(&cluster, "left", &[("away-0", "lb1"), ("here-lb2", "lb2")]);
    nodes[0].standing.send_replace(None);
    until_held(&cluster, "left", &[("here-lb2", "lb2")]);
    nodes[1].fleet = "joined";
    nodes[1].is(Stance::Present);
    until_held(&cluster, "joined", &[("here-lb2", "lb2")]);
    until_held(&cluster, "left", &[]);
}
