//! What documents and comments say is shown by a test, is: each test that they name exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The tests named as `file.rs::test` in `text`.
fn named(text: &str) -> Vec<(&str, &str)> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once("::"))
        .filter(|(file, _)| file.ends_with(".rs"))
        .collect()
}

/// Is there a test of this name, which may stand in a macro, in the file?
fn exists(file: &str, test: &str) -> bool {
    let text = read(file);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let begins = format!("fn {test}(");
    let is_test = |line: &str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    let mut places = lines.iter().enumerate().filter(|(_, line)| line.contains(&begins)).map(|(place, _)| place);
    places.any(|place| lines[..place].iter().rev().take_while(|line| line.starts_with('#')).any(|line| is_test(line)))
}

/// The rows of all tables of `text`, their heads left out, each with its cells.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| test | shown by"));
    lines.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim_matches([' ', '|'])).collect())
}

#[test]
fn every_test_that_is_named_exists() {
    for (name, least) in [("docs/conformance.md", 60), ("tests/pure/edges.rs", 7)] {
        let text = read(name);
        let tests = named(&text);
        assert!(tests.len() >= least, "{name} names {} tests", tests.len());
        for (file, test) in tests {
            assert!(exists(file, test), "{name}: there is no test {test} in {file}");
        }
    }
}

#[test]
fn every_row_has_a_test_or_a_reason() {
    let text = read("docs/conformance.md");
    let mut count = 0;
    for cells in rows(&text) {
        let [what, shown, remark] = cells[..] else { panic!("not three cells: {cells:?}") };
        let has_test = !named(shown).is_empty();
        assert!(has_test || shown == "none" && !remark.is_empty(), "{what}: neither a test nor a reason");
        count += 1;
    }
    assert!(count > 60, "only {count} rows were found");
}

/// The names of all tests in these files that begin so, and the number after that.
fn numbers(files: &[&str], begin: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for file in files {
        for line in read(file).lines().filter_map(|line| line.strip_prefix(&format!("fn {begin}_"))) {
            let (number, name) = line.split_once('_').unwrap_or_else(|| panic!("{file}: {line}"));
            let name = format!("{begin}_{number}_{}", name.split('(').next().unwrap());
            assert!(exists(file, &name), "{file}: {name} is no test");
            found.push(number.parse().unwrap());
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn every_case_and_every_edge_case_is_there_once() {
    let folder = |name: &str| -> Vec<String> {
        let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        entries.map(|entry| format!("{name}/{}", entry.unwrap().file_name().display())).collect()
    };
    let cases = folder("tests/pure/cases");
    let cases = numbers(&cases.iter().map(String::as_str).collect::<Vec<_>>(), "case");
    assert_eq!(cases, (1..=38).collect::<Vec<_>>());

    let mut files = folder("tests/pure/edges");
    files.push("tests/pure/edges.rs".to_owned());
    let edges = numbers(&files.iter().map(String::as_str).collect::<Vec<_>>(), "edge");
    let comment = read("tests/pure/edges.rs");
    let elsewhere = comment.lines().filter_map(|line| line.strip_prefix("//! | ")?.split(' ').next()?.parse().ok());
    let all: BTreeSet<u32> = edges.iter().copied().chain(elsewhere.clone()).collect();
    assert_eq!(all, (1..=28).collect());
    assert_eq!(edges.len() + elsewhere.count(), 28, "one of them is there twice");
}
