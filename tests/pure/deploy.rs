//! The manifests in `deploy/` and the program agree: what the ConfigMap says is a configuration, the arguments are
//! commands, the probes find their listener. (That an API server takes them is for the suite `api` to show.)

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::Value;
use vipcast::cli::{Cli, Command};
use vipcast::config::{self, Config};

/// The manifests that have containers, and which.
const CONTAINERS: [(&str, &[&str]); 3] = [
    ("base/daemonset.yaml", &["prepare", "agent"]),
    ("overlays/split/speaker.yaml", &["speaker"]),
    ("components/sidecar/speaker.yaml", &["prepare", "speaker"]),
];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(file(name)).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The containers of a manifest's pods, init containers first.
fn containers(manifest: &str) -> Vec<Value> {
    let pod = yaml(manifest)["spec"]["template"]["spec"].take();
    ["initContainers", "containers"].iter().flat_map(|key| pod[*key].as_array().cloned().unwrap_or_default()).collect()
}

/// The container `name`; its manifest is one of [`CONTAINERS`].
fn container(manifest: &str, name: &str) -> Value {
    containers(manifest).into_iter().find(|container| container["name"] == name).unwrap()
}

/// The configuration of the ConfigMap, as the containers see it.
fn configuration() -> Config {
    let env = |name: &str| (name == "NODE_NAME").then(|| "lb1".to_owned());
    config::load(&file("base/vipcast.yaml"), &env).unwrap()
}

fn command(container: &Value) -> Command {
    let words = container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    Cli::try_parse_from(std::iter::once("vipcast").chain(words)).unwrap().command
}

#[test]
fn the_containers_run_commands_that_exist() {
    for (manifest, names) in CONTAINERS {
        let found = containers(manifest);
        assert_eq!(found.iter().map(|container| container["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
        for container in found.iter().filter(|container| container.get("args").is_some()) {
            let expected = match container["name"].as_str().unwrap() {
                "prepare" => Command::Prepare,
                "agent" => Command::Run { no_speaker: true },
                _ => Command::Speaker { check: false },
            };
            assert_eq!(command(container), expected);
            assert_eq!(container["image"], "vipcast", "the name that the component `image` replaces");
            let env = &container["env"][0];
            assert_eq!(
                (&env["name"], &env["valueFrom"]["fieldRef"]["fieldPath"]),
                (&"NODE_NAME".into(), &"spec.nodeName".into())
            );
        }
    }
}

#[test]
fn the_config_map_is_a_configuration_and_the_mounts_fit_it() {
    let config = configuration();
    assert_eq!(config.settings.node, "lb1");
    let kustomization = yaml("base/kustomization.yaml");
    let generator = &kustomization["configMapGenerator"][0];
    assert_eq!((&generator["name"], &generator["files"][0]), (&"vipcast".into(), &"vipcast.yaml".into()));
    for (manifest, names) in CONTAINERS {
        for name in names.iter().filter(|name| **name != "prepare" || manifest.starts_with("base")) {
            let mounts = container(manifest, name)["volumeMounts"].take();
            let folders: BTreeSet<&str> =
                mounts.as_array().unwrap().iter().filter_map(|m| m["mountPath"].as_str()).collect();
            // Where `--config` looks by default, and what `runtimeDir` says.
            assert!(folders.contains("/etc/vipcast"), "{manifest}: {name}");
            let shared = folders.contains(config.runtime_dir.to_str().unwrap());
            assert_eq!(shared, *name != "prepare", "{manifest}: {name}");
        }
    }
}

#[test]
fn probes_find_the_listener() {
    let agent = container("base/daemonset.yaml", "agent");
    let port = &agent["ports"][0];
    let metrics = configuration().metrics.unwrap();
    assert!(metrics.ip().is_unspecified(), "the kubelet comes by the node's address");
    assert_eq!(port["containerPort"], metrics.port());
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        let get = &agent[probe]["httpGet"];
        assert_eq!((&get["path"], &get["port"]), (&path.into(), &port["name"]));
    }
}

#[test]
fn the_agent_leaves_before_the_speaker() {
    let config = configuration();
    let speaker = yaml("overlays/split/speaker.yaml")["spec"]["template"]["spec"].take();
    let sleep = speaker["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let (drain, delay) = (&config.settings.drain, config.settings.withdraw_delay.as_secs());
    // The agent reads its Node for up to five seconds, drains it, and gives up ten seconds after `withdrawDelay`.
    let withdrawn = 5 + drain.patience.as_secs() + delay + 10;
    assert!(sleep > withdrawn);
    let grace = |pod: &Value| pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    // The speaker gives gobgpd ten seconds, twice.
    assert!(grace(&speaker) > sleep + 20);
    let agent = yaml("base/daemonset.yaml")["spec"]["template"]["spec"].take();
    assert!(grace(&agent) > withdrawn + drain.deadline.as_secs());
    let both = yaml("components/sidecar/speaker.yaml")["spec"]["template"]["spec"].take();
    assert!(grace(&both) >= grace(&agent) + 20);
    assert_eq!(both["initContainers"][1]["restartPolicy"], "Always", "a sidecar is stopped last");
}

#[test]
fn the_speaker_is_the_same_in_both_overlays() {
    let split = container("overlays/split/speaker.yaml", "speaker");
    let sidecar = container("components/sidecar/speaker.yaml", "speaker");
    for field in ["image", "args", "env", "securityContext", "resources", "volumeMounts"] {
        assert_eq!(split[field], sidecar[field], "{field}");
    }
    let pod = |manifest: &str| yaml(manifest)["spec"]["template"]["spec"].take();
    let (speaker, agent) = (pod("overlays/split/speaker.yaml"), pod("base/daemonset.yaml"));
    for field in ["nodeSelector", "tolerations", "priorityClassName", "hostNetwork", "dnsPolicy"] {
        assert_eq!(speaker[field], agent[field], "{field}");
    }
}

#[test]
fn the_tag_is_this_version() {
    let image = yaml("components/image/kustomization.yaml")["images"][0].take();
    assert_eq!((&image["name"], &image["newTag"]), (&"vipcast".into(), &env!("CARGO_PKG_VERSION").into()));
    for overlay in ["split", "pod"] {
        let components = yaml(&format!("overlays/{overlay}/kustomization.yaml"))["components"].take();
        // The last one sees what the others brought.
        assert_eq!(components.as_array().unwrap().last(), Some(&"../../components/image".into()), "{overlay}");
    }
}
