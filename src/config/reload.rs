//! What of an edited configuration an agent takes over while it runs.

use super::Config;

impl Config {
    /// `edited`, as far as an agent that was started with `self` can take it over, and the keys that wait for its restart:
    /// they stay as they are.
    ///
    /// What an agent is by (its node, its folder, its sources and listeners, its gobgpd) is connected once. Whether
    /// `ranges.clusterIPs` is given says whether the ServiceCIDR objects are needed, of which an API server may have none.
    pub fn reloaded(&self, edited: Config) -> (Config, Vec<&'static str>) {
        let mut merged = edited;
        let mut waiting = Vec::new();
        let mut keep = |key: &'static str, differs: bool| {
            waiting.extend(differs.then_some(key));
            differs
        };
        if keep("node", self.settings.node != merged.settings.node) {
            merged.settings.node.clone_from(&self.settings.node);
        }
        if keep("runtimeDir", self.runtime_dir != merged.runtime_dir) {
            merged.runtime_dir.clone_from(&self.runtime_dir);
        }
        if keep("source", self.source != merged.source) {
            merged.source.clone_from(&self.source);
            // Its default follows from the source.
            merged.settings.node_selector.clone_from(&self.settings.node_selector);
            merged.shutdown = self.shutdown;
            merged.settings.drain.fleet.clone_from(&self.settings.drain.fleet);
        }
        let given = |config: &Config| config.settings.cluster_ips.is_some();
        if keep("ranges.clusterIPs (given or not)", given(self) != given(&merged)) {
            merged.settings.cluster_ips.clone_from(&self.settings.cluster_ips);
        }
        if keep("dataplane.connTabBits", self.conn_tab_bits != merged.conn_tab_bits) {
            merged.conn_tab_bits = self.conn_tab_bits;
        }
        match (&self.settings.bgp, &mut merged.settings.bgp) {
            (Some(before), Some(bgp)) => {
                if keep("bgp.gobgpd", self.gobgpd != merged.gobgpd) {
                    merged.gobgpd.clone_from(&self.gobgpd);
                    bgp.exclusive = before.exclusive;
                }
            }
            (None, None) => {}
            (before, after) => {
                keep("bgp (given or not)", true);
                after.clone_from(before);
                merged.gobgpd.clone_from(&self.gobgpd);
            }
        }
        if keep("bfd.peers (given or not, without bgp)", self.has_speaker() != merged.has_speaker()) {
            merged.settings.bfd.peers.clone_from(&self.settings.bfd.peers);
        }
        if keep("shutdown", self.shutdown != merged.shutdown) {
            merged.shutdown = self.shutdown;
        }
        if keep("admin", (self.admin, self.metrics) != (merged.admin, merged.metrics)) {
            (merged.admin, merged.metrics) = (self.admin, self.metrics);
        }
        (merged, waiting)
    }
}
