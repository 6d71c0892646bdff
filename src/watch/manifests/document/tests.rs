use std::io::Write;

use super::*;
use crate::model::Object;

/// What a file of this name and text holds, read on the node `lb1`.
fn content(name: &str, text: &str) -> Content {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    read(file, Path::new(name), "lb1")
}

/// The same in short: a line for each object, other kind and problem.
fn summary(content: &Content) -> Vec<String> {
    let mut lines = Vec::new();
    for (object, reading) in &content.objects {
        lines.push(match &**reading {
            Reading::Good(_) => object.to_string(),
            Reading::Partly(_, problem) | Reading::Bad(problem) => format!("{object}: {problem}"),
            Reading::Ignored => format!("{object} ignored"),
        });
    }
    lines.extend(content.others.iter().map(|kind| format!("other {kind}")));
    lines.extend(content.problem.iter().map(|problem| format!("problem {problem}")));
    lines
}

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
";
const SLICE: &str = "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: demo, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1]}]
";

#[test]
fn documents_of_all_kinds() {
    let node = |name: &str| format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n");
    let cidr = "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: kubernetes}\nspec: {cidrs: []}\n";
    let text =
        format!("# All of it.\n---\n{SERVICE}---\n{SLICE}---\n---\n{}---\n{}---\n{cidr}", node("lb1"), node("lb2"));
    let content = content("all.yaml", &text);
    let expected =
        ["Service default/web", "EndpointSlice demo/web-1", "Node lb1", "Node lb2", "ServiceCIDR kubernetes"];
    assert_eq!(summary(&content), expected);
    let reading = |name| &*content.objects[&convert::reference(Kind::Node, None, name)];
    assert!(matches!(reading("lb1"), Reading::Good(Object::Node(_))), "our own is told whole");
    assert!(matches!(reading("lb2"), Reading::Good(Object::OtherNode(..))));
    assert!(content.readable);
}

#[test]
fn a_file_is_read_the_same_in_every_form() {
    let yaml = content("all.yaml", &format!("{SERVICE}---\n{SLICE}"));
    assert_eq!(yaml.objects.len(), 2);
    let values: Vec<Value> = [SERVICE, SLICE].into_iter().map(|yaml| serde_saphyr::from_str(yaml).unwrap()).collect();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": values});
    let json = serde_json::to_string_pretty(&list).unwrap();
    assert_eq!(content("all.json", &json), yaml);
    assert_eq!(content("json-in.yaml", &json), yaml);
    assert_eq!(content("all.json", &format!("{}\n{}", values[0], values[1])), yaml, "several JSON texts in a file");
    // As kubectl prints it: in the order of the keys' names.
    let indented = |yaml: &str| yaml.trim_end().replace('\n', "\n  ");
    let items = format!("apiVersion: v1\nitems:\n- {}\n- {}\nkind: List\n", indented(SERVICE), indented(SLICE));
    assert_eq!(content("list.yaml", &items), yaml);
}

#[test]
fn typed_lists_say_what_their_items_are() {
    let item = "- metadata: {name: web}\n  spec: {clusterIP: 10.96.0.1}\n";
    let cases = [
        (format!("apiVersion: v1\nkind: ServiceList\nitems:\n{item}"), vec!["Service default/web"]),
        (format!("apiVersion: v1\nitems:\n{item}kind: ServiceList\n"), vec!["Service default/web"]),
        ("apiVersion: v1\nkind: ServiceList\nitems: []\n".to_owned(), vec![]),
        ("apiVersion: v1\nkind: List\nitems: []\n".to_owned(), vec![]),
        ("apiVersion: v1\nkind: List\n".to_owned(), vec![]),
        ("apiVersion: v1\nkind: List\nitems: ~\n".to_owned(), vec![]),
        (format!("apiVersion: v1\nkind: PodList\nitems:\n{item}"), vec!["other Pod (v1)"]),
        (
            format!("apiVersion: v1\nkind: List\nitems:\n{item}"),
            vec!["problem line 4: an object without apiVersion or kind"],
        ),
        (
            "apiVersion: v1\nkind: ServiceList\nitems:\n- web\n".to_owned(),
            vec!["problem line 4: an item of ServiceList is \"web\"; allowed: an object"],
        ),
        (
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: []}\n".to_owned(),
            vec!["problem line 4: a List where an object belongs"],
        ),
        (
            "apiVersion: example.org/v1\nkind: AllowList\nmetadata: {name: x}\n".to_owned(),
            vec!["other AllowList (example.org/v1)"],
        ),
    ];
    for (text, expected) in cases {
        let content = content("list.yaml", &text);
        assert_eq!(summary(&content), expected, "{text}");
        assert!(content.readable, "{text}");
    }
}

#[test]
fn other_kinds_are_named() {
    let text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: y}}
---
{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: web}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: b}, spec: {limit: .inf}}
";
    let expected = ["other ConfigMap (v1)", "other Deployment (apps/v1)", "other Service (serving.knative.dev/v1)"];
    assert_eq!(summary(&content("all.yaml", text)), expected);
}

#[test]
fn a_bad_object_hurts_only_itself() {
    let text = format!(
        "{SERVICE}---
apiVersion: v1
kind: Service
metadata: {{name: api, namespace: demo}}
spec: {{clusterIP: 10.96.0.2, ports: [{{port: eighty}}]}}
---
{{apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice, metadata: {{name: old}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: head, labels: {{service.kubernetes.io/headless: ''}}}}}}
"
    );
    let expected = [
        "Service default/head ignored",
        "Service default/web",
        "Service demo/api: spec.ports[0].port: invalid type: string \"eighty\", expected i32 (all.yaml, line 6)",
        "EndpointSlice default/old: apiVersion is \"discovery.k8s.io/v1beta1\"; allowed: discovery.k8s.io/v1 (all.yaml, \
         line 11)",
    ];
    assert_eq!(summary(&content("all.yaml", &text)), expected);
}

#[test]
fn what_cannot_be_pinned_on_an_object_is_told_with_its_line() {
    let name = "allowed: text of a-z, 0-9, '-' and '.'";
    let long = "x".repeat(254);
    let cases = [
        ("foo: bar", "line 6: an object without apiVersion or kind".to_owned()),
        ("{kind: Service, metadata: {name: x}}", "line 6: an object without apiVersion or kind".to_owned()),
        (
            "{apiVersion: v1, kind: Service, metadata: {generateName: x}}",
            "line 6: a Service without metadata.name".to_owned(),
        ),
        ("{apiVersion: v1, kind: Service}", "line 6: a Service without metadata.name".to_owned()),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: 80}}",
            format!("line 6: metadata.name of a Service is 80; {name}"),
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a/b}}",
            format!("line 6: metadata.name of a Service is \"a/b\"; {name}"),
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: x, namespace: \"\\e[2J\"}}",
            format!("line 6: metadata.namespace of a Service is \"\\u001b[2J\"; {name}"),
        ),
        (
            &format!("{{apiVersion: v1, kind: Service, metadata: {{name: {long}}}}}"),
            format!("line 6: metadata.name of a Service is \"{long}\"; {name}"),
        ),
        (SERVICE.trim_end(), "line 6: Service default/web again; the first one counts".to_owned()),
        ("a: 1\na: 2", "duplicate mapping key: a not allowed here at line 7, column 1".to_owned()),
        ("- a\n- b", "expected mapping start at line 6, column 1".to_owned()),
        ("text", "expected mapping start at line 6, column 1".to_owned()),
        ("{apiVersion: v1, kind: List, items: {}}", "expected sequence start at line 6, column 37".to_owned()),
    ];
    for (document, expected) in cases {
        let content = content("all.yaml", &format!("{SERVICE}---\n{document}\n---\n{SLICE}"));
        let expected = ["Service default/web", "EndpointSlice demo/web-1", &format!("problem {expected}")];
        assert_eq!(summary(&content), expected, "{document}");
        assert!(content.readable, "{document}");
    }
    let two = content("all.yaml", &format!("{SERVICE}---\nfoo: bar\n---\nfoo: bar\n"));
    assert_eq!(two.problem.as_deref(), Some("line 6: an object without apiVersion or kind (and 1 more)"));
}

#[test]
fn a_file_that_does_not_parse_holds_nothing() {
    let cases = [
        ("x.yaml", "", "is empty"),
        ("x.json", "", "is empty"),
        ("x.yaml", "a: {", "unclosed bracket '{' at line 6, column 4"),
        ("x.yaml", "a:\n\tb: 1", "tabs disallowed within this context (block indentation) at line 7, column 2"),
        ("x.yaml", "a: *b", "reference to unknown value at line 6, column 4"),
        ("x.json", "{\"a\": 1", "EOF while parsing an object at line 1 column 7"),
        ("x.json", "{\"a\": 1,}", "trailing comma at line 1 column 9"),
        ("x.json", "[]", "invalid type: sequence, expected a Kubernetes object at line 1 column 1"),
    ];
    for (name, broken, expected) in cases {
        let text = match (name, broken) {
            (_, "") => String::new(),
            ("x.yaml", _) => format!("{SERVICE}---\n{broken}\n"),
            (_, broken) => broken.to_owned(),
        };
        let content = content(name, &text);
        assert_eq!(content, Content { problem: content.problem.clone(), ..Content::default() }, "{text}");
        assert_eq!(content.problem.as_deref(), Some(expected), "{text}");
    }
    let not_text = {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a: \xff\xfe\n").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        read(file, Path::new("x.yaml"), "lb1")
    };
    assert!(!not_text.readable && not_text.problem.is_some());
}

#[test]
fn comments_alone_are_a_file_without_objects() {
    for text in ["# Nothing here yet.\n", "---\n---\n", "\n", "~\n"] {
        let content = content("x.yaml", text);
        assert_eq!(content, Content { readable: true, ..Content::default() }, "{text:?}");
    }
}

#[test]
fn a_file_may_be_large() {
    let documents = (0..3000).map(|i| SERVICE.replace("name: web", &format!("name: web-{i}")));
    let content = content("large.yaml", &documents.collect::<Vec<_>>().join("---\n"));
    assert_eq!((content.objects.len(), content.problem), (3000, None));
    let last = &content.objects[&convert::reference(Kind::Service, None, "web-2999")];
    assert!(matches!(&**last, Reading::Good(Object::Service(..))));
}
