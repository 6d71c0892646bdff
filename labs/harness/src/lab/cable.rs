//! Pulling cables.

use anyhow::{Context, Result};

use super::Lab;
use crate::clab::Endpoint;

impl Lab {
    /// Pulls the cable out of a node's interface: both ends lose their carrier.
    ///
    /// The other end is set down, not this one, so that this node keeps its addresses and static routes, as a machine
    /// does whose cable is pulled.
    pub fn link_down(&self, node: &str, interface: &str) -> Result<()> {
        let far = self.far_end(node, interface)?;
        self.find(&far.node)?.netns().netlink(async |netlink| netlink.down(&far.interface).await)
    }

    /// Plugs the cable in again.
    pub fn link_up(&self, node: &str, interface: &str) -> Result<()> {
        let far = self.far_end(node, interface)?;
        self.find(&far.node)?.netns().netlink(async |netlink| netlink.up(&far.interface).await)
    }

    /// Pulls all cables of a node: for everybody else its power is off.
    pub fn cut(&self, node: &str) -> Result<()> {
        self.interfaces(node)?.iter().try_for_each(|interface| self.link_down(node, interface))
    }

    /// Plugs all cables of a node in again.
    pub fn mend(&self, node: &str) -> Result<()> {
        self.interfaces(node)?.iter().try_for_each(|interface| self.link_up(node, interface))
    }

    /// Takes the carrier off the other ends of a node's cables, as a machine does that is switched off: what they are in
    /// keeps its own addresses and static routes.
    pub fn darken(&self, node: &str, interfaces: &[&str]) -> Result<()> {
        let netns = self.find(node)?.netns();
        interfaces.iter().try_for_each(|interface| netns.netlink(async |netlink| netlink.down(interface).await))
    }

    /// Gives it back.
    pub fn lighten(&self, node: &str, interfaces: &[&str]) -> Result<()> {
        let netns = self.find(node)?.netns();
        interfaces.iter().try_for_each(|interface| netns.netlink(async |netlink| netlink.up(interface).await))
    }

    /// The interfaces of a node that have a cable, by name.
    fn interfaces(&self, node: &str) -> Result<Vec<String>> {
        self.find(node)?;
        let ends = self.links.iter().flat_map(|(a, b)| [a, b]);
        Ok(ends.filter(|end| end.node == node).map(|end| end.interface.clone()).collect())
    }

    fn far_end(&self, node: &str, interface: &str) -> Result<&Endpoint> {
        let here = |end: &Endpoint| end.node == node && end.interface == interface;
        let links = self.links.iter();
        links
            .filter_map(|(a, b)| if here(a) { Some(b) } else { here(b).then_some(a) })
            .next()
            .with_context(|| format!("no cable in {node}:{interface}"))
    }
}
