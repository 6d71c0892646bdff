//! kube-apiserver, etcd and kubectl.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::module;
use crate::go::{Built, Go, Kit, Unavailable};
use crate::progress;

/// What they are built from.
pub(crate) const KIT: Kit = Kit {
    name: "kubernetes",
    module: "tests/apiserver",
    project: "k8s.io/kubernetes",
    programs: &[("kube-apiserver", "kube-apiserver"), ("etcd", "server"), ("kubectl", "kubectl")],
    // For `GET /version`.
    stamp: Some("k8s.io/component-base/version.gitVersion"),
    variable: "VIPCAST_KUBERNETES",
    made_by: "make test-api",
};

/// The programs of one version of Kubernetes.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The version, such as `v1.36.3`.
    pub version: String,
    /// The folder that holds them.
    pub folder: PathBuf,
}

impl Programs {
    /// The programs of `version`, or of the version that `tests/apiserver/go.mod` names; built if the cache has none,
    /// which takes minutes. Safe to call from several processes at once.
    pub fn provide(version: Option<&str>) -> Result<Result<Self, Unavailable>> {
        let built = match version {
            None => KIT.provide()?,
            Some(version) => KIT.provide_version(version, &|go| derived(go, version))?,
        };
        Ok(built.map(Self::from))
    }

    /// The programs that the harness provided for this test binary, else those of the pinned version if they were built
    /// before. Builds nothing.
    pub fn find() -> Result<Result<Self, Unavailable>> {
        Ok(KIT.find()?.map(Self::from))
    }

    /// `kube-apiserver`.
    pub fn kube_apiserver(&self) -> PathBuf {
        self.folder.join("kube-apiserver")
    }

    /// `etcd`.
    pub fn etcd(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    /// `kubectl`.
    pub fn kubectl(&self) -> PathBuf {
        self.folder.join("kubectl")
    }
}

impl From<Built> for Programs {
    fn from(Built { version, folder }: Built) -> Self {
        Self { version, folder }
    }
}

/// The module for a version that is not the pinned one.
fn derived(go: &Go, version: &str) -> Result<String> {
    progress(&format!("downloading k8s.io/kubernetes {version}"));
    // Outside of any module: in one, its replacements would hold.
    let mut command = go.command();
    command.args(["mod", "download", "-json", &format!("k8s.io/kubernetes@{version}")]);
    let output = command.current_dir(std::env::temp_dir()).output().context("run go mod download")?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let Some(file) = answer["GoMod"].as_str() else {
        let why = answer["Error"].as_str().map(str::to_owned);
        bail!(
            "no k8s.io/kubernetes {version}: {}",
            why.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).into())
        );
    };
    module::derive(version, &fs::read_to_string(file).with_context(|| format!("read {file}"))?)
}
