use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::*;

const FILE: &str = "source: {manifests: cluster}\nnode: lb1\nranges: {clusterIPs: [10.96.0.0/16]}\n\
                    bgp: {asn: 65001, peers: [{address: 10.0.1.1, asn: 65000, passwordFile: password}]}\n";

fn load(folder: &Path) -> Result<Config, ConfigError> {
    config::load(&folder.join("vipcast.yaml"), &|_| None)
}

fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join("vipcast.yaml"), text).unwrap();
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "hunter2\n").unwrap();
    write(folder.path(), FILE);
    folder
}

/// Replacements in the file; whether there are other settings then; and what is told of the file, if anything.
type Case<'a> = (&'a [(&'a str, &'a str)], bool, Option<Option<String>>);

#[test]
fn an_edit_changes_what_it_may() {
    let folder = folder();
    let config = load(folder.path()).unwrap();
    let file = config.file.display().to_string();
    let told = Loaded { file: file.clone(), at: 0, problem: None };
    let mut reloader = Reloader { config, told, changes: mpsc::channel(1).0 };
    let waits = |keys: &str| Some(format!("waits for a restart of the agent: {keys}"));
    let wrong =
        "2:7: node: found LB; allowed: the name of this node's Node object (lower-case letters, digits, '-' and '.')";
    let wrong = Some(format!("{file}:{wrong}; what was loaded before stays in force"));
    let cases: [Case; 11] = [
        (&[], false, None),
        (&[("65000", "65002")], true, Some(None)),
        (&[("node: lb1", "node: LB")], false, Some(wrong.clone())),
        (&[("node: lb1", "node: LB"), ("65001", "65009")], false, None),
        // As it was before the mistake.
        (&[("65000", "65002")], false, Some(None)),
        (&[("node: lb1", "node: lb2")], true, Some(waits("node"))),
        (
            &[("node: lb1", "node: lb2\nadmin: {metrics: 9181}\nshutdown: keep")],
            false,
            Some(waits("node, shutdown, admin")),
        ),
        (&[("asn: 65001", "asn: 65001, gobgpd: {spawn: /gobgpd}")], false, Some(waits("bgp.gobgpd"))),
        (&[("bgp:", "#")], false, Some(waits("bgp (given or not)"))),
        (&[("ranges:", "#")], false, Some(waits("ranges.clusterIPs (given or not)"))),
        (&[("cluster}", "kluster}\nrunDir: x")], false, None),
    ];
    for (number, (edits, other_settings, expected)) in cases.into_iter().enumerate() {
        let text = edits.iter().fold(FILE.to_owned(), |text, (from, to)| text.replace(from, to));
        write(folder.path(), &text);
        let changes = reloader.take(load(folder.path()), 7);
        let settings = changes.iter().any(|change| matches!(change, Change::Settings(_)));
        let told = changes.iter().find_map(|change| match change {
            Change::Loaded(loaded) => Some(loaded.problem.clone()),
            _ => None,
        });
        if number == 10 {
            assert!(told.is_some_and(|problem| problem.is_some_and(|problem| problem.contains("runDir"))));
            continue;
        }
        assert_eq!((settings, told), (other_settings, expected), "{text}");
    }
    // Nothing of what waits was taken over.
    write(folder.path(), FILE);
    let (merged, waiting) = reloader.config.reloaded(load(folder.path()).unwrap());
    assert_eq!(waiting, [] as [&str; 0]);
    assert_eq!(merged, load(folder.path()).unwrap());
}

/// The file and the password file are followed, and what comes says so.
#[tokio::test]
async fn files_are_followed() {
    let folder = folder();
    let (sender, mut changes) = mpsc::channel(16);
    let hangup = signal(SignalKind::user_defined2()).unwrap();
    let follower = tokio::spawn(follow(load(folder.path()).unwrap(), hangup, sender));
    let Some(Change::Loaded(Loaded { problem: None, .. })) = changes.recv().await else { panic!("nothing is told") };
    let mut settings = async || loop {
        if let Change::Settings(settings) = changes.recv().await.unwrap() {
            break settings;
        }
    };
    write(folder.path(), &FILE.replace("65000", "65003"));
    assert_eq!(settings().await.bgp.unwrap().peers[0].peer.asn, 65003);
    std::fs::write(folder.path().join("password"), "hunter3\n").unwrap();
    let password = settings().await.bgp.unwrap().peers[0].peer.password.clone();
    assert_eq!(password.unwrap().reveal(), "hunter3");
    drop(changes);
    follower.await.unwrap();
}
