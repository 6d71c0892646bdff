//! The text of a `go.mod`.

use anyhow::{Context, Result};

/// The version in which a module (`k8s.io/kubernetes`) is required (`v1.36.3`).
pub(crate) fn version<'a>(module: &'a str, name: &str) -> Result<&'a str> {
    let required = |line: &'a str| {
        let mut words = line.split_whitespace().skip_while(|&word| word == "require");
        (words.next()? == name).then(|| words.next()).flatten().filter(|version| version.starts_with('v'))
    };
    module.lines().find_map(required).with_context(|| format!("it requires no {name}"))
}

/// The oldest Go that will do, from the line `go 1.26.0`.
pub(crate) fn go_version(module: &str) -> Result<&str> {
    module.lines().find_map(|line| line.strip_prefix("go ")).map(str::trim).context("the module has no line `go`")
}

/// Is this version of Go (`go1.26.8`) `wanted` (`1.26.0`) or newer? A development version is taken for new enough.
pub(crate) fn is_new_enough(version: &str, wanted: &str) -> bool {
    let numbers = |text: &str| {
        let release = text.split(|c: char| c != '.' && !c.is_ascii_digit()).next().unwrap_or_default();
        release.split('.').map(|part| part.parse().unwrap_or(0)).chain([0; 3]).take(3).collect::<Vec<u32>>()
    };
    match version.strip_prefix("go") {
        Some(release) => numbers(release) >= numbers(wanted),
        None => version.starts_with("devel"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_requirement_is_found() {
        let module = "module a\n\ngo 1.25.0\n\ntool (\n\texample.org/b/cmd\n)\n\nrequire example.org/c v0.1.0\n\n\
                      require (\n\texample.org/b v2.3.4 // indirect\n)\n";
        for (name, expected) in [
            ("example.org/b", Some("v2.3.4")),
            ("example.org/c", Some("v0.1.0")),
            // A tool is not what is required.
            ("example.org/b/cmd", None),
            ("example.org", None),
        ] {
            assert_eq!(version(module, name).ok(), expected, "{name}");
        }
        assert_eq!(go_version(module).ok(), Some("1.25.0"));
        assert!(go_version("module a\n").is_err());
    }

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        for (version, wanted, answer) in [
            ("go1.26.8", "1.26.0", true),
            ("go1.26", "1.26.0", true),
            ("go1.9.7", "1.26.0", false),
            ("go1.26rc1", "1.26.0", true),
            ("go1.25.9 X:nocoverageredesign", "1.26", false),
            ("devel go1.27-abcdef", "1.26.0", true),
            ("", "1.26.0", false),
        ] {
            assert_eq!(is_new_enough(version, wanted), answer, "{version} for {wanted}");
        }
    }
}
