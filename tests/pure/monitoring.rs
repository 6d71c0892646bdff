//! `deploy/monitoring`: what the alerts and the dashboard ask for is what `/metrics` has, and the runbook covers it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::promql::{Vocabulary, check};

mod promql;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    root().join("deploy/monitoring")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&read(&folder().join(name))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&read(&folder().join("dashboard.json"))).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key} in {value}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key} in {value}"))
}

fn alerts() -> Vec<Value> {
    list(&yaml("rules.yaml")["spec"], "groups").iter().flat_map(|group| list(group, "rules").to_vec()).collect()
}

/// The panels that show something.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(dashboard, "panels").iter().filter(|panel| panel["type"] != "row")
}

/// The names between `start` and what is no part of a name, wherever `start` stands in `text`.
fn names<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(start).skip(1).map(move |rest| &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())])
}

#[test]
fn alerts_ask_for_what_is_rendered() {
    let vocabulary = Vocabulary::of_the_agent();
    for alert in alerts() {
        let name = text(&alert, "alert");
        check(text(&alert, "expr"), &vocabulary).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (_, annotation) in alert["annotations"].as_object().unwrap() {
            for label in names(annotation.as_str().unwrap(), "$labels.") {
                assert!(vocabulary.has_label(label), "{name} speaks of the label {label}");
            }
        }
    }
}

#[test]
fn every_alert_is_complete_and_in_the_runbook() {
    let runbook = read(&root().join("docs/runbook.md"));
    let sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let cases = read(&folder().join("rules.test.yaml"));
    let mut seen = BTreeSet::new();
    for alert in alerts() {
        let name = text(&alert, "alert");
        let annotations = &alert["annotations"];
        for annotation in ["summary", "description", "runbook"] {
            assert!(!text(annotations, annotation).is_empty(), "{name} has an empty {annotation}");
        }
        let anchor = format!("docs/runbook.md#{}", name.to_lowercase());
        assert!(text(annotations, "runbook").ends_with(&anchor), "{name} should end its runbook line with {anchor}");
        assert!(["critical", "warning", "info"].contains(&text(&alert["labels"], "severity")), "{name}");
        assert!(cases.contains(&format!("alertname=\"{name}\"")), "{name} has no case in rules.test.yaml");
        assert!(seen.insert(name.to_owned()), "two alerts are called {name}");
    }
    assert_eq!(
        seen.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        sections,
        "alerts, and sections in the runbook"
    );
}

#[test]
fn the_dashboard_asks_for_what_is_rendered() {
    let vocabulary = Vocabulary::of_the_agent();
    let dashboard = dashboard();
    for panel in panels(&dashboard) {
        let title = text(panel, "title");
        for target in list(panel, "targets") {
            check(text(target, "expr"), &vocabulary).unwrap_or_else(|error| panic!("{title}: {error}"));
            for label in names(text(target, "legendFormat"), "{{") {
                assert!(vocabulary.has_label(label), "{title} speaks of the label {label}");
            }
        }
    }
    for variable in list(&dashboard["templating"], "list").iter().filter(|variable| variable["type"] == "query") {
        let query = text(&variable["query"], "query");
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
        let (selector, label) = inner.rsplit_once(", ").unwrap();
        check(selector, &vocabulary).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(vocabulary.has_label(label), "{query}");
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    // Grafana 10.0 came with 38; later ones migrate from any earlier number.
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| (36..=38).contains(&version)));
    let variables = list(&dashboard["templating"], "list").iter().map(|variable| text(variable, "name"));
    let variables: BTreeSet<&str> = variables.collect();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in list(&dashboard, "panels") {
        let title = text(panel, "title");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its number is taken");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is wider than the grid");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} lies over another panel");
            }
        }
    }
    for panel in panels(&dashboard) {
        let title = text(panel, "title");
        assert!(!text(panel, "description").is_empty(), "{title} says nothing of itself");
        let targets = list(panel, "targets");
        assert!(!targets.is_empty(), "{title} shows nothing");
        for source in targets.iter().chain([panel]) {
            assert_eq!(source["datasource"]["uid"], "${datasource}", "{title}");
        }
        for variable in targets.iter().flat_map(|target| names(text(target, "expr"), "$")) {
            assert!(variable == "__rate_interval" || variables.contains(variable), "{title}: ${variable}");
        }
    }
}

#[test]
fn the_kustomization_has_all_that_it_names() {
    let kustomization = yaml("kustomization.yaml");
    let files = list(&kustomization, "configMapGenerator").iter().flat_map(|map| list(map, "files"));
    let files = files.map(|file| file.as_str().unwrap().rsplit('=').next().unwrap());
    let named = list(&kustomization, "resources").iter().map(|resource| resource.as_str().unwrap()).chain(files);
    for name in named {
        assert!(folder().join(name).is_file(), "there is no {name}");
    }
    for (file, kind) in [("podmonitor.yaml", "PodMonitor"), ("rules.yaml", "PrometheusRule")] {
        let object = yaml(file);
        assert_eq!(object["apiVersion"], "monitoring.coreos.com/v1");
        assert_eq!(object["kind"], kind);
        assert_eq!(object["metadata"]["namespace"], kustomization["namespace"]);
    }
}
