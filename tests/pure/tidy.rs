//! Rules about the code itself: what `model` and `plan` must not name, and how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

/// The longest that a source file may be, tests apart. Past 400 lines there is a seam to be found.
const LONGEST: usize = 400;

/// What deciding must not know: IO, clocks, async, and the types of those who do.
const FORBIDDEN: [&str; 14] = [
    "tokio",
    "kube::",
    "k8s_openapi",
    "tonic",
    "neli",
    "rtnetlink",
    "rustix",
    "std::fs",
    "std::process",
    "std::net::Tcp",
    "std::net::Udp",
    "Instant",
    "SystemTime",
    "std::thread",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code of a file: comments and everything from its test module on left out.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests") || path.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn model_and_plan_know_no_io_no_clock_and_no_async() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = sources(&root.join("model"));
    files.extend(sources(&root.join("plan")));
    files.extend(sources(&root.join("bfd")));
    files.extend([root.join("model.rs"), root.join("plan.rs"), root.join("bfd.rs")]);
    for file in files.iter().filter(|file| !is_test(file)) {
        let code = code(file);
        for name in FORBIDDEN {
            assert!(!code.contains(name), "{} names {name}", file.display());
        }
    }
}

#[test]
fn kubernetes_types_stop_in_convert() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // Events and Leases are all that is written to the API server.
    let writes = ["apply/events.rs", "apply/fleet.rs"].map(|file| root.join(file));
    let knows = |file: &Path| file.starts_with(root.join("watch")) || writes.iter().any(|writer| writer == file);
    for file in sources(&root).iter().filter(|file| !knows(file)) {
        assert!(!code(file).contains("k8s_openapi"), "{} names k8s_openapi", file.display());
    }
}

#[test]
fn no_file_is_long() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files =
        [root.join("src"), root.join("labs/harness/src")].iter().flat_map(|folder| sources(folder)).collect::<Vec<_>>();
    for file in files.iter().filter(|file| !is_test(file)) {
        let lines = fs::read_to_string(file).unwrap().lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", file.display());
    }
}
