//! The documents that people read: links lead somewhere, and what can be pasted parses.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    docs.chain(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|name| root.join(name))).collect()
}

/// The lines of a document, and whether each is inside a block of code.
fn lines(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut code = false;
    text.lines().map(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        (line, code || fence)
    })
}

/// The anchors of a document's headings, as forges make them: lower case, no punctuation, hyphens for spaces.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = lines(text).filter(|(line, code)| !code && line.starts_with('#')).map(|(line, _)| line);
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    let anchor = |heading: &str| heading.trim_start_matches('#').trim().to_lowercase();
    headings.map(|heading| anchor(heading).chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let prose: Vec<&str> = lines(&text).filter(|(_, code)| !code).map(|(line, _)| line).collect();
        let prose = prose.join("\n");
        for link in prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: there is no {link}", document.display());
            let is_there = || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor);
            assert!(anchor.is_empty() || is_there(), "{}: there is no heading for {link}", document.display());
            links += 1;
        }
    }
    assert!(links > 20, "only {links} links were found");
}

#[test]
fn yaml_that_can_be_pasted_parses() {
    let mut blocks = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let fenced = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let here = text.split("<<'END'\n").skip(1).map(|rest| rest.split("\nEND\n").next().unwrap());
        for block in fenced.chain(here) {
            let parsed = serde_saphyr::from_str::<Value>(block);
            assert!(parsed.is_ok(), "{}: {}\n{block}", document.display(), parsed.unwrap_err());
            blocks += 1;
        }
    }
    assert!(blocks > 5, "only {blocks} blocks were found");
}
