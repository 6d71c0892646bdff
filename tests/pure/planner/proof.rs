//! `vipcast plan` on a node that is to become an LB node, beside whoever serves there now.

use vipcast::cli::plan::Document;
use vipcast::model::{Event, Settings};
use vipcast::plan::{ModelNode, Step};

use crate::support::build::{DESTINATION, dual_stack, endpoint, host, ip, node, selector, web};
use crate::support::rig::Rig;

/// LB nodes have the label role=lb.
fn labelled() -> Settings {
    Settings { node_selector: selector("role=lb"), ..dual_stack() }
}

fn with(labels: &str) -> Vec<Event> {
    web().into_iter().chain([node(labels)]).collect()
}

/// A node on which somebody else serves `web` just as vipcast would.
fn others() -> ModelNode {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    let mut others = ModelNode { host: host(), ..ModelNode::default() };
    others.state.ipvs = rig.node.state.ipvs;
    assert!(!others.state.ipvs.is_empty());
    others
}

fn plan(settings: Settings, node: ModelNode, labels: &str) -> Document {
    let mut rig = Rig::on(settings, node);
    let stages = rig.list(with(labels)).run();
    Document::new(&stages, Vec::new(), &rig.planner.status())
}

#[test]
fn the_plan_as_lb_node_is_the_one_of_a_node_with_the_label() {
    let agreeing = others();
    let mut differing = agreeing.clone();
    let server = differing.state.ipvs.values_mut().next().unwrap();
    server.destinations.insert(endpoint("192.0.2.99", 99), DESTINATION);
    for (node, ipvs) in [(agreeing, 0), (differing, 2)] {
        let document = plan(labelled().as_lb_node(), node.clone(), "role=worker");
        assert_eq!(document.summary["ipvs"], ipvs, "{document:#?}");
        assert!(document.summary["addr"] > 0 && document.remaining.is_empty(), "{document:#?}");
        assert_eq!(document, plan(labelled(), node, "role=lb"));
    }
}

#[test]
fn the_plan_of_a_node_without_the_label_says_that_it_is_no_proof() {
    for labels in ["", "role=worker"] {
        let document = plan(labelled(), others(), labels);
        assert!(!document.changes && document.summary["ipvs"] == 0, "{document:#?}");
        let text = document.text();
        let top: Vec<&str> = text.lines().take(2).collect();
        assert_eq!(top[0], "Not the plan of an LB node:", "{text}");
        let json = serde_json::to_value(&document).unwrap();
        for said in [top[1], json["remaining"][0].as_str().unwrap()] {
            assert!(said.contains("role=lb") && said.contains("--as-lb-node"), "{said}");
        }
        assert!(!text.contains("as it should be"), "{text}");
        assert_eq!(text.matches("--as-lb-node").count(), 1, "{text}");
    }
    let text = plan(labelled(), others(), "role=lb").text();
    assert!(text.starts_with("Stage 1") && !text.contains("--as-lb-node"), "{text}");
}

/// A peer that is only for some nodes is asked by the node's own labels.
#[test]
fn peers_of_the_plan_as_lb_node_go_by_the_labels_that_the_node_has() {
    for (labels, expected) in [("rack=a", 2), ("rack=b", 1)] {
        let mut settings = labelled();
        settings.bgp.as_mut().unwrap().peers[0].node_selector = selector("rack=a");
        let mut rig = Rig::on(settings.as_lb_node(), others());
        let stages = rig.list(with(labels)).run();
        let steps: Vec<&Step> = stages.iter().flat_map(|stage| &stage.steps).collect();
        let peers: Vec<_> = rig.node.state.bgp.as_ref().unwrap().peers.keys().collect();
        assert_eq!(peers.len(), expected, "{labels}: {steps:#?}");
        assert_eq!(peers.contains(&&ip("10.0.1.1").into()), labels == "rack=a");
    }
}
