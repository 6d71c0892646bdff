//! `vipcast switch-config`: the switch's side, printed from the configuration.

use std::net::IpAddr;

use anyhow::Context;
use clap::Args;

use crate::config::Config;
use crate::model::Prefix;
use crate::switches::{self, Request, Vendor};

/// What `vipcast switch-config` is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SwitchConfig {
    /// The switch's operating system.
    #[arg(long, value_enum)]
    pub vendor: Vendor,
    /// Print static routes, for a switch without BGP.
    #[arg(long = "static")]
    pub static_routes: bool,
    /// An address of an LB node. Repeat it for all LB nodes, and for both of their families. Default: this node's
    /// (nodeIPs, or localAddress of the peers).
    #[arg(long, value_name = "ADDRESS")]
    pub neighbor: Vec<IpAddr>,
    /// An address of the switch in bgp.peers (with --static: in bfd.peers), where that has several switches. Repeat it for
    /// a switch with several addresses, such as a dual-stack one.
    #[arg(long, value_name = "ADDRESS")]
    pub peer: Vec<IpAddr>,
    /// A range, where ranges.clusterIPs leaves them to the cluster's ServiceCIDR objects. Can be repeated.
    #[arg(long, value_name = "PREFIX")]
    pub range: Vec<Prefix>,
}

impl SwitchConfig {
    /// The text, and a remark for the operator if something is missing in it.
    pub fn print(&self, config: &Config) -> anyhow::Result<(String, Option<&'static str>)> {
        let request = Request {
            peers: self.peer.clone(),
            neighbors: self.neighbor.clone(),
            ranges: self.range.clone(),
            static_routes: self.static_routes,
        };
        let switch = switches::describe(config, &request).with_context(|| config.file.display().to_string())?;
        let remark = switch
            .one_node
            .then_some("this has the addresses of this node only; name those of all LB nodes with --neighbor");
        Ok((switches::print(self.vendor, &switch), remark))
    }
}
