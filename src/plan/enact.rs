//! What a step does to a state: the one description that the planner (to believe what an executor did) and the model
//! of a node (to rehearse) share. It follows the kernel: what exists cannot be added, what is missing cannot be changed.

use std::collections::BTreeMap;

use crate::model::addr::{Link, PROBE_LINK, ProbeLink};
use crate::model::bgp::Bgp;
use crate::model::ipvs::VirtualServer;
use crate::model::nft::{Elements, Table};
use crate::model::prefix::first_overlap;
use crate::model::{Family, State};

use super::step::{Outcome, Step};

/// Performs `step` on `state`. Reading steps change nothing and are answered by whoever owns the state.
pub fn enact(state: &mut State, step: &Step) -> Outcome {
    match step {
        Step::SetSysctl(_, value) if value.parse::<i32>().is_err() => {
            return Outcome::Refused("the kernel parameter is a number".into());
        }
        Step::SetSysctl(name, value) => {
            state.sysctls.insert(name.clone(), value.clone());
        }
        Step::EnsureLink => match &mut state.addr.link {
            Some(link) if !link.dummy => return not_a_dummy(),
            link => *link = Some(Link::DESIRED),
        },
        Step::DeleteLink if state.addr.link.is_some_and(|link| !link.dummy) => return not_a_dummy(),
        Step::DeleteLink => {
            state.addr.link = None;
            state.addr.routes.retain(|_, route| !route.on_link);
        }
        Step::EnsureProbe(_) | Step::DeleteProbe if state.addr.probe.as_ref().is_some_and(|probe| !probe.paired) => {
            return Outcome::Refused(format!("the link {PROBE_LINK} is there and is no pair of ours"));
        }
        Step::EnsureProbe(routes) => state.addr.probe = Some(ProbeLink::desired(routes.clone())),
        Step::DeleteProbe => state.addr.probe = None,
        Step::ReplaceTable(table) => {
            if let Some(why) = misfit(table) {
                return Outcome::Refused(why);
            }
            state.nft.table = Some(table.clone());
        }
        Step::EditTable { add, remove } => return edit_table(state, add, remove),
        Step::DeleteTable => state.nft.table = None,
        Step::SetClassicSnat(family) => {
            state.nft.classic_broken.remove(family);
            state.nft.classic.insert(*family);
        }
        Step::DeleteClassicSnat(family) => {
            state.nft.classic_broken.remove(family);
            state.nft.classic.remove(family);
        }
        Step::SetRoute(prefix, route) => {
            match state.addr.link {
                None => return Outcome::Drifted("the link is not there".into()),
                Some(link) if !link.dummy => return not_a_dummy(),
                // IPv4 needs the link to exist, IPv6 needs it up.
                Some(link) if !link.up && prefix.family() == Family::Ipv6 => {
                    return Outcome::Drifted("the link is down".into());
                }
                Some(_) => state.addr.routes.insert(*prefix, *route),
            };
        }
        Step::DeleteRoute(prefix) => {
            state.addr.routes.remove(prefix);
        }
        Step::SetTimeouts(timeouts) => state.timeouts = Some(*timeouts),
        Step::AddServer(..)
        | Step::SetServer(..)
        | Step::DeleteServer(_)
        | Step::AddDestination(..)
        | Step::SetDestination(..)
        | Step::DeleteDestination(..) => return enact_ipvs(state, step),
        Step::StartBgp(_)
        | Step::StopBgp
        | Step::RejectImports(_)
        | Step::SetExports(_)
        | Step::AddPeer(..)
        | Step::DeletePeer(_)
        | Step::Resend(_)
        | Step::Announce(..)
        | Step::Withdraw(_) => return enact_bgp(state, step),
        Step::Forget(..)
        | Step::ReadHost
        | Step::ListServers
        | Step::ReadServer(_)
        | Step::ReadTraffic
        | Step::ReadSpeaker
        | Step::ReadSent(..) => {}
    }
    Outcome::Done
}

fn not_a_dummy() -> Outcome {
    Outcome::Refused("the link is there and is no dummy link".into())
}

/// Why the kernel does not take this table.
fn misfit(table: &Table) -> Option<String> {
    let overlap = [&table.masquerade, &table.guard, &table.pods].into_iter().find_map(first_overlap);
    overlap.map(|range| format!("{range} is inside another range of its set")).or_else(|| table.elements.misfit())
}

fn edit_table(state: &mut State, add: &Elements, remove: &Elements) -> Outcome {
    if let Some(why) = add.misfit() {
        return Outcome::Refused(why);
    }
    let Some(table) = &mut state.nft.table else {
        return Outcome::Drifted("the table is not there".into());
    };
    match table.elements.edited(add, remove) {
        Some(elements) => table.elements = elements,
        None => return Outcome::Drifted("the elements of the table are others".into()),
    }
    Outcome::Done
}

fn enact_ipvs(state: &mut State, step: &Step) -> Outcome {
    let missing = || Outcome::Drifted("no such virtual server".into());
    match step {
        Step::AddServer(key, settings) => {
            if state.ipvs.contains_key(key) {
                return Outcome::Drifted("the virtual server is there already".into());
            }
            let server = VirtualServer { settings: settings.clone(), destinations: BTreeMap::new() };
            state.ipvs.insert(*key, server);
        }
        Step::SetServer(key, settings) => match state.ipvs.get_mut(key) {
            Some(server) => server.settings = settings.clone(),
            None => return missing(),
        },
        Step::DeleteServer(key) => {
            state.ipvs.remove(key);
        }
        Step::AddDestination(key, name, destination) => match state.ipvs.get_mut(key) {
            Some(server) if server.destinations.contains_key(name) => {
                return Outcome::Drifted("the destination is there already".into());
            }
            Some(server) => {
                server.destinations.insert(*name, *destination);
            }
            None => return missing(),
        },
        Step::SetDestination(key, name, destination) => {
            match state.ipvs.get_mut(key).and_then(|server| server.destinations.get_mut(name)) {
                Some(there) => *there = *destination,
                None => return Outcome::Drifted("no such destination".into()),
            }
        }
        Step::DeleteDestination(key, name) => {
            if let Some(server) = state.ipvs.get_mut(key) {
                server.destinations.remove(name);
            }
        }
        _ => {}
    }
    Outcome::Done
}

fn enact_bgp(state: &mut State, step: &Step) -> Outcome {
    let bgp = state.bgp.get_or_insert_default();
    let started = bgp.global.is_some();
    match step {
        Step::StartBgp(_) if started => return Outcome::Drifted("BGP runs already".into()),
        Step::StartBgp(global) => bgp.global = Some(*global),
        Step::StopBgp => *bgp = Bgp::default(),
        _ if !started => return Outcome::Drifted("BGP is not started".into()),
        Step::RejectImports(neighbors) => bgp.rejected = Some(neighbors.clone()).filter(|set| !set.is_empty()),
        Step::SetExports(exports) => bgp.exports = Some(exports.clone()).filter(|exports| !exports.is_empty()),
        Step::AddPeer(name, peer) => {
            if bgp.peers.contains_key(name) || bgp.foreign_peers.contains(name) {
                return Outcome::Drifted("the peer is there already".into());
            }
            bgp.peers.insert(name.clone(), peer.clone());
        }
        Step::DeletePeer(address) => {
            bgp.peers.remove(address);
        }
        Step::Announce(prefix, path) => {
            bgp.paths.insert(*prefix, path.clone());
        }
        Step::Withdraw(prefix) => {
            bgp.paths.remove(prefix);
        }
        _ => {}
    }
    Outcome::Done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ipvs::{Protocol, ServerKey};

    fn key(port: u16) -> ServerKey {
        ServerKey { address: [10, 96, 0, 1].into(), protocol: Protocol::Tcp, port }
    }

    fn keep(ports: &[u16]) -> Elements {
        Elements { keep: ports.iter().copied().map(key).collect(), ..Elements::default() }
    }

    fn sources(texts: &[&str]) -> Elements {
        let prefixes = texts.iter().map(|text| text.parse().unwrap()).collect();
        Elements { sources: [(key(80), prefixes)].into(), ..Elements::default() }
    }

    #[test]
    fn an_edit_changes_elements_and_nothing_else() {
        let mut state = State::default();
        let edit = |add: Elements, remove: Elements| Step::EditTable { add, remove };
        assert!(matches!(enact(&mut state, &edit(keep(&[1]), keep(&[]))), Outcome::Drifted(_)));
        assert_eq!(state, State::default());

        let guard = ["10.96.0.0/16".parse().unwrap()].into();
        state.nft.table = Some(Table { guard, elements: keep(&[1, 2]), ..Table::default() });
        let before = state.clone();
        for (add, remove) in [(keep(&[1]), keep(&[])), (keep(&[3]), keep(&[4]))] {
            assert!(matches!(enact(&mut state, &edit(add, remove)), Outcome::Drifted(_)));
        }
        let overlapping = edit(sources(&["192.0.2.0/24", "192.0.2.7/32"]), keep(&[1]));
        assert!(matches!(enact(&mut state, &overlapping), Outcome::Refused(_)));
        assert_eq!(state, before);

        assert_eq!(enact(&mut state, &edit(keep(&[3]), keep(&[1]))), Outcome::Done);
        assert_eq!(state.nft.table.map(|table| table.elements), Some(keep(&[2, 3])));
    }

    #[test]
    fn an_edit_in_words() {
        let step = Step::EditTable {
            add: sources(&["192.0.2.0/24"]),
            remove: Elements { keep: keep(&[1, 2]).keep, ..sources(&[]) },
        };
        assert_eq!(
            step.to_string(),
            "edit nftables table inet vipcast: add sources of 10.96.0.1:80 TCP 192.0.2.0/24 \
             remove keep 10.96.0.1:1 TCP 10.96.0.1:2 TCP remove sources of 10.96.0.1:80 TCP none"
        );
    }
}
