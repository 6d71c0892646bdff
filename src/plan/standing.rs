//! What the planner makes of the node's role: which peers it has, whether all of ours has to go, and what is ours then.

use crate::model::ipvs::ServerKey;
use crate::model::{State, Time};

use super::away::{Away, Phase};
use super::change::Leave;
use super::news::News;
use super::planner::Planner;
use super::role::Role;

impl Planner {
    /// Is all that is ours to go?
    pub(super) fn is_removing(&self) -> bool {
        self.leaving == Some(Leave::Remove) || self.is_standing_by()
    }

    /// Is the node to have nothing of ours, while the agent goes on?
    pub(super) fn is_standing_by(&self) -> bool {
        matches!(self.role, Role::StandingBy(_))
    }

    /// Is the virtual server `key` ours? While all of ours goes, only if something in the kernel shows that an agent
    /// served here: otherwise what lies in a range is somebody else's who serves it on this node (kube-proxy, say).
    pub(super) fn owns_server(&self, key: &ServerKey) -> bool {
        let State { addr, nft, .. } = &self.actual;
        let served = addr.link.is_some_and(|link| link.dummy) || !addr.routes.is_empty() || *nft != Default::default();
        let owned =
            if self.here.addresses.contains(&key.address) { self.owns_node_port(key) } else { self.owns(key.address) };
        owned && (served || !self.is_removing())
    }

    /// Is the virtual server `key` on an address of this node a NodePort of ours, or was one by what the packet filter has?
    fn owns_node_port(&self, key: &ServerKey) -> bool {
        let ports = self.settings.dataplane.node_ports.as_ref();
        let configured = ports.is_some_and(|ports| (ports.ports.0..=ports.ports.1).contains(&key.port))
            && self.here.node_port_addresses.contains(&key.address);
        let table = self.actual.nft.table.as_ref();
        configured || table.is_some_and(|table| table.elements.masquerade.contains(key))
    }

    pub(super) fn on_leave(&mut self, leave: Leave, now: Time) {
        self.leaving = Some(leave);
        self.touch_all_vips();
        self.derive_ranges(now);
    }

    /// Works out from the node's labels what it is and which peers it has.
    pub(super) fn derive_role(&mut self) {
        // Who leaves has decided how.
        if self.leaving.is_some() {
            return;
        }
        self.derive_settings();
        let mut role = Role::of(&self.settings, &self.cluster);
        self.away.disowned = None;
        // Who serves leaves as everybody does before it has nothing of ours any more.
        if let Role::StandingBy(reason) = &role
            && self.role == Role::Serving
            && self.derived
            && self.away.state.phase() != Phase::Away
        {
            self.away.disowned = Some(reason.clone());
            role = Role::Serving;
        }
        let known = !matches!(role, Role::Unknown | Role::Frozen);
        // Who leaves keeps its sessions until the routes are gone, whatever its labels say of them.
        if known && self.away.disowned.is_none() && self.derive_peers() {
            let problems = self.peers.keys().filter(|peer| !self.held.contains_key(peer));
            let problems = problems.filter_map(|peer| Some((peer.clone(), self.peer_problem(peer)?)));
            let news: Vec<News> = problems.map(|(peer, problem)| News::Peer { peer, problem }).collect();
            self.news.extend(news);
            // Which routes can go out depends on the peers.
            self.touch_all_vips();
        }
        if role != self.role {
            if let Some(reason) = role.reason(&self.settings) {
                self.news.push(News::Idle(reason));
            } else if role == Role::Serving && self.settings.selects_by_labels() {
                self.news.push(News::Serving);
            }
            // Claims follow from the ranges in force, and from the role.
            self.derived = false;
            if matches!(role, Role::StandingBy(_)) {
                self.away.state = Away::default();
            }
            self.role = role;
            self.touch_all_vips();
        }
    }
}
