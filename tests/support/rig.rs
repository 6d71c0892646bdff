//! A planner and a node to plan for, turned step by step without faults.

use vipcast::model::bgp::{PeerName, Session, SessionState};
use vipcast::model::{Event, Family, Settings, Time};
use vipcast::plan::rehearse::{Stage, rehearse};
use vipcast::plan::{Change, ModelNode, Planner};

use super::build::{host, ip, listed};

pub(crate) struct Rig {
    pub(crate) planner: Planner,
    pub(crate) node: ModelNode,
    pub(crate) now: Time,
}

impl Rig {
    /// On a node that has nothing yet.
    pub(crate) fn new(settings: Settings) -> Rig {
        Rig::on(settings, ModelNode { host: host(), ..ModelNode::default() })
    }

    /// A new agent on `node`. gobgpd can be reached.
    pub(crate) fn on(settings: Settings, node: ModelNode) -> Rig {
        let mut planner = Planner::new(settings, Time::ZERO);
        planner.apply(Change::SpeakerUp, Time::ZERO);
        Rig { planner, node, now: Time::ZERO }
    }

    pub(crate) fn change(&mut self, change: Change) -> &mut Rig {
        self.planner.apply(change, self.now);
        self
    }

    pub(crate) fn tell(&mut self, event: Event) -> &mut Rig {
        self.change(Change::Source(event))
    }

    pub(crate) fn tell_all(&mut self, events: impl IntoIterator<Item = Event>) -> &mut Rig {
        for event in events {
            self.tell(event);
        }
        self
    }

    /// Tells of `objects` as the complete list.
    pub(crate) fn list(&mut self, objects: impl IntoIterator<Item = Event>) -> &mut Rig {
        self.tell_all(listed(objects))
    }

    /// The session with this peer comes up, and carries this family.
    pub(crate) fn establish(&mut self, peer: &str, family: Family) -> &mut Rig {
        let name: PeerName = peer.parse().unwrap();
        let local = if family == Family::Ipv4 { "10.0.1.2" } else { "fd01::2" };
        let established = Session::new(SessionState::Established);
        let session = Session { local_address: Some(ip(local)), families: [family].into(), ..established };
        self.node.sessions.insert(name.clone(), session.clone());
        self.node.send_paths(None);
        self.change(Change::Session(name, session))
    }

    /// The session with this peer ends.
    pub(crate) fn part(&mut self, peer: &str) -> &mut Rig {
        let name: PeerName = peer.parse().unwrap();
        self.node.sessions.remove(&name);
        self.change(Change::Session(name, Session::new(SessionState::Active)))
    }

    /// Until nothing is left to do before the next resync.
    pub(crate) fn run(&mut self) -> Vec<Stage> {
        let (stages, now) = rehearse(&mut self.planner, &mut self.node, self.now);
        self.now = now;
        stages
    }

    /// The writing steps of a run, in words.
    pub(crate) fn steps(&mut self) -> Vec<String> {
        self.run().into_iter().flat_map(|stage| stage.steps).map(|step| step.to_string()).collect()
    }
}
