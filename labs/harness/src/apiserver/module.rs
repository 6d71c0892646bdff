//! The Go module for another version of Kubernetes than the repository's.

use anyhow::{Context, Result, ensure};

use crate::go::module::{go_version, is_new_enough, version as required};

/// The oldest Go whose modules may have `tool` lines.
const OLDEST: &str = "1.24.0";

/// A module for another version of Kubernetes, from the `go.mod` of k8s.io/kubernetes at that version.
///
/// What its `replace` lines take from its own tree (`./staging/src/…`) is published as `v0.MINOR.PATCH`; etcd's server is
/// taken in the version of its client there. The indirect requirements are left to the go command.
pub(super) fn derive(version: &str, kubernetes: &str) -> Result<String> {
    let staging = version.strip_prefix("v1.").map(|rest| format!("v0.{rest}"));
    let staging = staging.with_context(|| format!("{version} is no version of Kubernetes such as v1.33.13"))?;
    let etcd = required(kubernetes, "go.etcd.io/etcd/client/v3").context("the module of this Kubernetes")?;
    let own = go_version(kubernetes)?;
    let go = if is_new_enough(&format!("go{own}"), OLDEST) { own } else { OLDEST };
    let staged: Vec<String> = kubernetes
        .lines()
        .filter(|line| line.contains("=> ./staging/"))
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("k8s.io/")))
        .map(|module| format!("\t{module} => {module} {staging}\n"))
        .collect();
    ensure!(!staged.is_empty(), "the go.mod of k8s.io/kubernetes {version} replaces nothing");
    Ok(format!(
        "module vipcast/tests/apiserver\n\ngo {go}\n\n\
         tool (\n\tgo.etcd.io/etcd/server/v3\n\tk8s.io/kubernetes/cmd/kube-apiserver\n\tk8s.io/kubernetes/cmd/kubectl\n)\n\n\
         require (\n\tgo.etcd.io/etcd/server/v3 {etcd}\n\tk8s.io/kubernetes {version}\n)\n\nreplace (\n{})\n",
        staged.concat()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECT: &str = crate::apiserver::KIT.project;

    const KUBERNETES: &str = "module k8s.io/kubernetes\n\ngo 1.23.0\n\nrequire (\n\tgo.etcd.io/etcd/client/v3 v3.5.21\n\
        \tk8s.io/api v0.0.0\n)\n\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n";

    #[test]
    fn another_version_takes_what_is_published() {
        let module = derive("v1.33.13", KUBERNETES).expect("a module");
        assert!(module.contains("\tk8s.io/api => k8s.io/api v0.33.13\n"), "{module}");
        assert!(module.contains("\tgo.etcd.io/etcd/server/v3 v3.5.21\n"), "{module}");
        assert_eq!(required(&module, PROJECT).expect("a version"), "v1.33.13");
        assert_eq!(go_version(&module).expect("a line"), "1.24.0", "with an older one there are no tool lines");
        assert!(derive("1.33", KUBERNETES).is_err());
        assert!(derive("v1.33.13", "go 1.23.0\nrequire go.etcd.io/etcd/client/v3 v3.5.21\n").is_err());
    }

    #[test]
    fn the_module_of_the_repository_is_understood() {
        let module = include_str!("../../../../tests/apiserver/go.mod");
        let version = required(module, PROJECT).expect("a version");
        let staging = version.replace("v1.", "v0.");
        assert!(
            module.contains(&format!("k8s.io/api => k8s.io/api {staging}\n")),
            "the replace lines follow {version}"
        );
        assert!(go_version(module).is_ok());
        let readme = include_str!("../../../../README.md");
        assert!(readme.contains(&version.replacen('v', "Kubernetes ", 1)), "the README names {version}");
    }
}
