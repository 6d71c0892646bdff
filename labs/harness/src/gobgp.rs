//! GoBGP 4 for tests: gobgpd and gobgp, built from the Go module `tests/gobgp`. GoBGP 3 is Debian's package.
//!
//! Where they were built, the LB nodes of labs have them at [`IN_NODE`]; with `bgp.gobgpd.spawn:
//! ../../opt/gobgp4/gobgpd` in its `/etc/vipcast/config.yaml`, a node runs that gobgpd. The path is one of the node, as the
//! others in that file: labs side by side share nothing, and nothing stays behind.

use std::path::PathBuf;

use anyhow::Result;

use crate::go::{Built, Kit, Unavailable};

/// What they are built from.
pub(crate) const KIT: Kit = Kit {
    name: "gobgp",
    module: "tests/gobgp",
    project: "github.com/osrg/gobgp/v4",
    programs: &[("gobgpd", "gobgpd"), ("gobgp", "gobgp")],
    stamp: None,
    variable: "VIPCAST_GOBGP4",
    made_by: "make test-pure",
};

/// Where an LB node has the programs: a path in the node.
pub const IN_NODE: &str = "/opt/gobgp4";

/// The programs of GoBGP 4.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The version, such as `v4.8.0`.
    pub version: String,
    /// The folder that holds them.
    pub folder: PathBuf,
}

impl Programs {
    /// The programs of the version that `tests/gobgp/go.mod` names; built if the cache has none, which takes minutes.
    /// Safe to call from several processes at once.
    pub fn provide() -> Result<Result<Self, Unavailable>> {
        Ok(KIT.provide()?.map(Self::from))
    }

    /// The programs that the harness provided for this test binary, else those in the cache if they were built before.
    /// Builds nothing.
    pub fn find() -> Result<Result<Self, Unavailable>> {
        Ok(KIT.find()?.map(Self::from))
    }

    /// `gobgpd`.
    pub fn gobgpd(&self) -> PathBuf {
        self.folder.join("gobgpd")
    }

    /// `gobgp`, the command line.
    pub fn gobgp(&self) -> PathBuf {
        self.folder.join("gobgp")
    }
}

impl From<Built> for Programs {
    fn from(Built { version, folder }: Built) -> Self {
        Self { version, folder }
    }
}
